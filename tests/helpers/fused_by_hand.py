"""A backend that offers the fused kernels of `mnp.kernels.fused`, beside the textbook's plain ones.

It lets the fused path of layers and networks be tested without any fast kernel; `calls` counts what was used.
"""

from collections import Counter
from types import SimpleNamespace

from mnp.kernels import FUSED, KERNELS, fused, textbook


def make():
    """A fresh module-like object with every agreed name and the four fused ones."""
    calls = Counter()

    def counted(kernel):
        def call(*args, **more):
            calls[kernel] += 1
            return getattr(fused, kernel)(textbook, *args, **more)

        return call

    kernels = {name: getattr(textbook, name) for name in KERNELS} | {name: counted(name) for name in FUSED}
    return SimpleNamespace(__name__="fused_by_hand", calls=calls, **kernels)
