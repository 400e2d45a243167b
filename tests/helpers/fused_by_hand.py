"""A kernel module that offers the fused pairs by composing the textbook's plain kernels.

It lets the fused path of layers and networks be tested without any fast kernel; `calls` counts what
was used.
"""

from collections import Counter
from types import SimpleNamespace

from mnp.kernels import KERNELS, textbook


def make():
    """A fresh module-like object with every agreed name and the four fused ones."""
    calls = Counter()

    def conv2d_maxpool2d_forward(x, weight, bias, stride, padding, size, pool_stride):
        calls["conv2d_maxpool2d_forward"] += 1
        y = textbook.conv2d_forward(x, weight, bias, stride, padding)
        return textbook.maxpool2d_forward(y, size, pool_stride)

    def conv2d_maxpool2d_backward(dy, winner, x, weight, stride, padding, size, pool_stride, need_dx=True):
        calls["conv2d_maxpool2d_backward"] += 1
        bias = weight[:, 0, 0, 0]
        between = textbook.conv2d_forward(x, weight, bias, stride, padding).shape
        dz = textbook.maxpool2d_backward(dy, winner, between, size, pool_stride)
        return textbook.conv2d_backward(dz, x, weight, stride, padding, need_dx)

    def neurons(x, weight, bias, relu, keep, p):
        z = textbook.dense_forward(x, weight.reshape(-1, weight.shape[2]), bias.reshape(-1))
        z = z.reshape(len(x), *bias.shape)
        z = textbook.relu_forward(z) if relu else z
        return z if keep is None else textbook.dropout_forward(z, keep, p)

    def dense_maxout_forward(x, weight, bias, relu=False, keep=None, p=0.0):
        calls["dense_maxout_forward"] += 1
        return textbook.maxout_forward(neurons(x, weight, bias, relu, keep, p))

    def dense_maxout_backward(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
        calls["dense_maxout_backward"] += 1
        if relu:
            dy = textbook.relu_backward(dy, y)
        dz = textbook.maxout_backward(dy, winner, weight.shape[1])
        if keep is not None:
            dz = textbook.dropout_backward(dz, keep, p)
        flat = weight.reshape(-1, weight.shape[2])
        dx, dweight, dbias = textbook.dense_backward(dz.reshape(len(x), -1), x, flat, need_dx)
        return dx, dweight.reshape(weight.shape), dbias.reshape(weight.shape[:2])

    fused = {name: f for name, f in locals().items() if name.startswith(("conv2d_", "dense_"))}
    plain = {name: getattr(textbook, name) for name in KERNELS}
    return SimpleNamespace(__name__="fused_by_hand", calls=calls, **plain, **fused)
