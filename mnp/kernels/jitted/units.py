"""Maxout units, win counts, ReLU and dropout: one pass over the numbers, shared between the threads.

Formulas, arguments and examples are those of `mnp.kernels.textbook.dense`.
"""

import numpy as np
from numba import prange

from mnp.kernels import shapes
from mnp.kernels.compiling import compiled, contiguous

_FEW = 4096  # elements for which starting threads takes longer than the work


def maxout_forward(z):
    """As `textbook.maxout_forward`; winner is int32."""
    shapes.check_maxout("maxout_forward", z)
    y, winner = np.empty(z.shape[:2], dtype=z.dtype.type), np.empty(z.shape[:2], dtype=np.int32)
    _maxout_forward(contiguous(z), y, winner)
    return y, winner


def maxout_backward(dy, winner, k):
    """As `textbook.maxout_backward`."""
    shapes.check_maxout_backward("maxout_backward", dy, winner, k)
    dz = np.empty((*dy.shape, k), dtype=dy.dtype.type)
    _maxout_backward(contiguous(dy), _int32(winner), dz)
    return dz


def win_counts(winner, k):
    """As `textbook.win_counts`."""
    shapes.check_ndim("win_counts", "winner", winner, "N, units")
    shapes.check_winner("win_counts", winner, winner.shape, k)
    counts = np.zeros((winner.shape[1], k), dtype=np.int64)
    _win_counts(_int32(winner), counts)
    return counts


def relu_forward(x):
    """As `textbook.relu_forward`."""
    shapes.check_floats("relu_forward", x=x)
    if x.size < _FEW:
        return np.maximum(contiguous(x), 0)
    y = np.empty(x.shape, dtype=x.dtype.type)
    _relu_forward(_flat(x), y.reshape(-1))
    return y


def relu_backward(dy, y):
    """As `textbook.relu_backward`."""
    shapes.check_floats("relu_backward", dy=dy, y=y)
    shapes.check_shape("relu_backward", "dy", dy, y.shape, "the elements of y")
    dx = np.empty(dy.shape, dtype=dy.dtype.type)
    _relu_backward(_flat(dy), _flat(y), dx.reshape(-1))
    return dx


def dropout_forward(x, keep, p):
    """As `textbook.dropout_forward`."""
    shapes.check_dropout("dropout_forward", "x", x, keep, p)
    return _scaled_where(x, keep, p)


def dropout_backward(dy, keep, p):
    """As `textbook.dropout_backward`."""
    shapes.check_dropout("dropout_backward", "dy", dy, keep, p)
    return _scaled_where(dy, keep, p)


def _scaled_where(x, keep, p):
    y = np.empty(x.shape, dtype=x.dtype.type)
    _dropout(_flat(x), _flat(keep), x.dtype.type(1.0 / (1.0 - p)), y.reshape(-1))
    return y


def _flat(x):
    return contiguous(x).reshape(-1)


def _int32(winner):
    """Convert to one integer type, so that the loops are compiled once."""
    return np.ascontiguousarray(winner, dtype=np.int32)


@compiled(parallel=True)
def _maxout_forward(z, y, winner):
    examples, units, k = z.shape
    for n in prange(examples):
        for u in range(units):
            best, won = z[n, u, 0], 0
            for j in range(1, k):
                # Larger, or the first NaN: "not <=" is true for a NaN, "best == best" until then.
                if not z[n, u, j] <= best and best == best:
                    best, won = z[n, u, j], j
            y[n, u], winner[n, u] = best, won


@compiled(parallel=True)
def _maxout_backward(dy, winner, dz):
    examples, units, k = dz.shape
    for n in prange(examples):
        for u in range(units):
            for j in range(k):
                dz[n, u, j] = dy[n, u] if winner[n, u] == j else 0


@compiled()  # one addition for each unit: threads would not pay
def _win_counts(winner, counts):
    examples, units = winner.shape
    for n in range(examples):
        for u in range(units):
            counts[u, winner[n, u]] += 1


@compiled(parallel=True)
def _relu_forward(x, y):
    for i in prange(x.size):
        y[i] = 0 if x[i] <= 0 else x[i]  # a NaN is not <= 0


@compiled(parallel=True)
def _relu_backward(dy, y, dx):
    for i in prange(dy.size):
        dx[i] = dy[i] if y[i] > 0 else 0


@compiled(parallel=True)
def _dropout(x, keep, scale, y):
    for i in prange(x.size):
        y[i] = x[i] * scale if keep[i] else 0
