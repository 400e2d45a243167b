"""ReLU as a shared loop, so that a recorded network (`parallel.record`) contains it."""

import numpy as np

from mnp.kernels import jitted
from mnp.kernels.registers import get, put
from mnp.kernels.tiled.parallel import FLOATS, shared
from mnp.kernels.tiled.support import flat, floats32

PIECE = 8192


def relu_forward(x):
    """Cut off everything below zero.

        y = max(x, 0), element by element; NaN stays NaN

    x float, any shape -> y float, the same shape.

    >>> print(relu_forward(np.array([-1.0, 0.0, 2.0], np.float32)))
    [0. 0. 2.]
    """
    if not floats32(x):
        return jitted.relu_forward(x)
    y = np.empty(x.shape, np.float32)
    _relu((x.size + PIECE - 1) // PIECE, flat(x), y.reshape(-1))
    return y


@shared(FLOATS, FLOATS)
def _relu(index, x, y):
    for i in range(index * PIECE, min(x.size, index * PIECE + PIECE)):
        v = get(x, i)
        put(y, i, np.float32(0) if v <= 0 else v)  # a NaN is not <= 0
