"""Max and average pooling: each thread owns some of the N * C image planes.

Formulas, arguments and examples are those of `mnp.kernels.textbook.windows`.
"""

import numpy as np
from numba import prange

from mnp.kernels import shapes
from mnp.kernels.compiling import compiled, contiguous


def maxpool2d_forward(x, size, stride):
    """As `textbook.maxpool2d_forward`; winner is int32."""
    oh, ow = shapes.check_pool2d("maxpool2d_forward", x, size, stride)
    y = np.empty((*x.shape[:2], oh, ow), dtype=x.dtype.type)
    winner = np.empty(y.shape, dtype=np.int32)
    if size == stride == 2:
        _maxpool_forward_2x2(_planes(x), _planes(y), _planes(winner))
    else:
        _maxpool_forward(_planes(x), size, stride, _planes(y), _planes(winner))
    return y, winner


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    """As `textbook.maxpool2d_backward`."""
    shapes.check_pool2d_backward("maxpool2d_backward", dy, x_shape, size, stride)
    shapes.check_winner("maxpool2d_backward", winner, dy.shape, size * size)
    winner = _planes(winner.astype(np.int32, copy=False))
    if size == stride == 2 and tuple(x_shape[2:]) == (2 * dy.shape[2], 2 * dy.shape[3]):
        dx = np.empty(x_shape, dtype=dy.dtype.type)  # windows cover every pixel: all of it is written
    else:
        dx = np.zeros(x_shape, dtype=dy.dtype.type)
    if size == stride == 2:
        _maxpool_backward_2x2(_planes(dy), winner, _planes(dx))
    else:
        _maxpool_backward(_planes(dy), winner, size, stride, _planes(dx))
    return dx


def avgpool2d_forward(x, size, stride):
    """As `textbook.avgpool2d_forward`."""
    oh, ow = shapes.check_pool2d("avgpool2d_forward", x, size, stride)
    y = np.empty((*x.shape[:2], oh, ow), dtype=x.dtype.type)
    _avgpool_forward(_planes(x), size, stride, _planes(y))
    return y


def avgpool2d_backward(dy, x_shape, size, stride):
    """As `textbook.avgpool2d_backward`."""
    shapes.check_pool2d_backward("avgpool2d_backward", dy, x_shape, size, stride)
    dx = np.zeros(x_shape, dtype=dy.dtype.type)
    _avgpool_backward(_planes(dy), size, stride, _planes(dx))
    return dx


def _planes(x):
    """View (N, C, H, W) as (N * C, H, W)."""
    return contiguous(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


@compiled(parallel=True)
def _maxpool_forward(x, size, stride, y, winner):
    planes, oh, ow = y.shape
    for plane in prange(planes):
        for p in range(oh):
            for q in range(ow):
                best, won = x[plane, p * stride, q * stride], 0
                for i in range(size):
                    for j in range(size):
                        value = x[plane, p * stride + i, q * stride + j]
                        # Larger, or the first NaN: "not <=" is true for a NaN, "best == best" until then.
                        if not value <= best and best == best:
                            best, won = value, i * size + j
                y[plane, p, q], winner[plane, p, q] = best, won


@compiled(parallel=True)
def _maxpool_forward_2x2(x, y, winner):
    """_maxpool_forward for size = stride = 2, four times as fast: no loop in the loop, so SIMD fits."""
    planes, oh, ow = y.shape
    for plane in prange(planes):
        for p in range(oh):
            top, bottom = x[plane, 2 * p], x[plane, 2 * p + 1]
            for q in range(ow):
                best, won = top[2 * q], 0
                second, third, fourth = top[2 * q + 1], bottom[2 * q], bottom[2 * q + 1]
                if not second <= best and best == best:
                    best, won = second, 1
                if not third <= best and best == best:
                    best, won = third, 2
                if not fourth <= best and best == best:
                    best, won = fourth, 3
                y[plane, p, q], winner[plane, p, q] = best, won


@compiled(parallel=True)
def _maxpool_backward(dy, winner, size, stride, dx):
    planes, oh, ow = dy.shape
    for plane in prange(planes):
        for p in range(oh):
            for q in range(ow):
                won = winner[plane, p, q]
                dx[plane, p * stride + won // size, q * stride + won % size] += dy[plane, p, q]


@compiled(parallel=True)
def _maxpool_backward_2x2(dy, winner, dx):
    """_maxpool_backward for size = stride = 2: windows do not overlap, so each writes its four pixels."""
    planes, oh, ow = dy.shape
    for plane in prange(planes):
        for p in range(oh):
            top, bottom = dx[plane, 2 * p], dx[plane, 2 * p + 1]
            for q in range(ow):
                value, won = dy[plane, p, q], winner[plane, p, q]
                top[2 * q] = value if won == 0 else 0
                top[2 * q + 1] = value if won == 1 else 0
                bottom[2 * q] = value if won == 2 else 0
                bottom[2 * q + 1] = value if won == 3 else 0


@compiled(parallel=True)
def _avgpool_forward(x, size, stride, y):
    planes, oh, ow = y.shape
    for plane in prange(planes):
        for p in range(oh):
            for q in range(ow):
                total = x.dtype.type(0)
                for i in range(size):
                    for j in range(size):
                        total += x[plane, p * stride + i, q * stride + j]
                y[plane, p, q] = total / (size * size)


@compiled(parallel=True)
def _avgpool_backward(dy, size, stride, dx):
    planes, oh, ow = dy.shape
    for plane in prange(planes):
        for p in range(oh):
            for q in range(ow):
                share = dy[plane, p, q] / (size * size)
                for i in range(size):
                    for j in range(size):
                        dx[plane, p * stride + i, q * stride + j] += share
