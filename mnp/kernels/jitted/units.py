"""Maxout units, win counts, ReLU and dropout: one pass over the numbers, shared between the threads."""

import numpy as np
from numba import get_num_threads, prange

from mnp.kernels import shapes
from mnp.kernels.compiling import compiled

_FEW = 4096  # elements for which starting threads takes longer than the work


def maxout_forward(z):
    """Let the k neurons of each unit compete; the largest value goes on.

        y[n, u] = max_j z[n, u, j],      winner[n, u] = the j of that maximum

    z (N, units, k) float -> y (N, units) float, winner (N, units) int32. The lowest index wins a tie; the
    first NaN wins over any number.

    >>> y, winner = maxout_forward(np.array([[[1.0, 3.0, 2.0], [4.0, 4.0, 0.0]]]))
    >>> print(y, winner)
    [[3. 4.]] [[1 0]]
    """
    shapes.check_maxout("maxout_forward", z)
    y, winner = np.empty(z.shape[:2], dtype=z.dtype), np.empty(z.shape[:2], dtype=np.int32)
    _maxout_forward(np.ascontiguousarray(z), y, winner)
    return y, winner


def maxout_backward(dy, winner, k):
    """Send each unit's derivative to the neuron that won; the other k - 1 get zero.

        dz[n, u, j] = dy[n, u] if winner[n, u] = j else 0

    dy (N, units) float, winner (N, units) int in [0, k) -> dz (N, units, k) float.

    >>> maxout_backward(np.array([[5.0, 7.0]]), np.array([[1, 0]]), k=3)
    array([[[0., 5., 0.],
            [7., 0., 0.]]])
    """
    shapes.check_maxout_backward("maxout_backward", dy, winner, k)
    dz = np.empty((*dy.shape, k), dtype=dy.dtype)
    _maxout_backward(np.ascontiguousarray(dy), _int32(winner), dz)
    return dz


def win_counts(winner, k):
    """Count how often each neuron wins its maxout unit: the paper's relevance.

        counts[u, j] = #{ n : winner[n, u] = j }

    winner (N, units) int in [0, k) -> counts (units, k) int64; every row sums to N, and counts of two
    batches add. Each thread owns some units.

    >>> win_counts(np.array([[1, 0], [1, 2], [0, 0]]), k=3)
    array([[1, 2, 0],
           [2, 0, 1]])
    """
    shapes.check_ndim("win_counts", "winner", winner, "N, units")
    shapes.check_winner("win_counts", winner, winner.shape, k)
    counts = np.zeros((winner.shape[1], k), dtype=np.int64)
    _win_counts(_int32(winner), counts, get_num_threads())
    return counts


def relu_forward(x):
    """Cut off everything below zero.

        y = max(x, 0), element by element; NaN stays NaN

    x float, any shape -> y float, the same shape.

    >>> relu_forward(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    shapes.check_floats("relu_forward", x=x)
    if x.size < _FEW:
        return np.maximum(np.ascontiguousarray(x), 0)
    y = np.empty(x.shape, dtype=x.dtype)
    _relu_forward(_flat(x), y.reshape(-1))
    return y


def relu_backward(dy, y):
    """Let the derivative through where the output was positive.

        dx = dy where y > 0, else 0

    dy, y float, one shape (y is the output of relu_forward) -> dx float, the same shape.

    >>> relu_backward(np.array([5.0, 6.0, 7.0]), np.array([0.0, 0.0, 2.0]))
    array([0., 0., 7.])
    """
    shapes.check_floats("relu_backward", dy=dy, y=y)
    shapes.check_shape("relu_backward", "dy", dy, y.shape, "the elements of y")
    dx = np.empty(dy.shape, dtype=dy.dtype)
    _relu_backward(_flat(dy), _flat(y), dx.reshape(-1))
    return dx


def dropout_forward(x, keep, p):
    """Silence the positions that were drawn, and turn the others up to make good for it.

        y = x / (1 - p) where keep, else 0

    x float and keep bool, one shape; p float in [0, 1) -> y float, the same shape.

    >>> dropout_forward(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]), 0.5)
    array([2., 0., 6.])
    """
    shapes.check_dropout("dropout_forward", "x", x, keep, p)
    return _scaled_where(x, keep, p)


def dropout_backward(dy, keep, p):
    """Hand the derivative back through the same positions with the same factor.

        dx = dy / (1 - p) where keep, else 0

    dy float and keep bool, one shape; p float in [0, 1) -> dx float, the same shape.

    >>> dropout_backward(np.array([1.0, 1.0]), np.array([True, False]), 0.75)
    array([4., 0.])
    """
    shapes.check_dropout("dropout_backward", "dy", dy, keep, p)
    return _scaled_where(dy, keep, p)


def _scaled_where(x, keep, p):
    y = np.empty(x.shape, dtype=x.dtype)
    _dropout(_flat(x), _flat(keep), x.dtype.type(1.0 / (1.0 - p)), y.reshape(-1))
    return y


def _flat(x):
    return np.ascontiguousarray(x).reshape(-1)


def _int32(winner):
    """One integer type for the loops, so that they are compiled once."""
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


@compiled(parallel=True)
def _win_counts(winner, counts, threads):
    examples, units = winner.shape
    for part in prange(threads):
        for n in range(examples):
            for u in range(part * units // threads, (part + 1) * units // threads):
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
