"""Dense layers, alone or as maxout units: checks, memory, and the calls of the loops in `dense_loops`.

z[n, u, j] = bias[u, j] + sum_i weight[u, j, i] * x[n, i],      y[n, u] = max_j z[n, u, j]
"""

import numpy as np

from mnp.kernels import jitted
from mnp.kernels.tiled import dense_loops
from mnp.kernels.tiled.support import FLOAT32, NO_BYTES, NOTHING, bytes_of, flat, flats32, floats32


def dense_forward(x, weight, bias):
    """As `textbook.dense_forward`. Fewer than 16 features or 8 outputs, and float64, run in `jitted`."""
    if _fits(x, weight) and bias.shape == weight.shape[:1]:
        arrays = flats32(x, weight, bias)
        if arrays is not None:
            return _forward(arrays, (*x.shape, len(weight), 1), NO_BYTES, False, NO_BYTES, 1.0)
    return jitted.dense_forward(x, weight, bias)


def dense_backward(dy, x, weight, need_dx=True):
    """As `textbook.dense_backward`, but a term whose dy is exactly 0 is skipped, as in `jitted`."""
    if not _fits(x, weight) or not floats32(dy, x, weight) or dy.shape != (len(x), len(weight)):
        return jitted.dense_backward(dy, x, weight, need_dx)
    return _backward(dy, NOTHING, NO_BYTES, x, weight, weight.shape[0], 1, False, NO_BYTES, 1.0, need_dx)


def dense_maxout_forward(x, weight, bias, relu=False, keep=None, p=0.0):
    """Dense layer, ReLU, dropout and maxout in one pass.

        z[n, u, j] = bias[u, j] + sum_i weight[u, j, i] * x[n, i]
        z = relu(z) if relu;  z = dropout(z, keep, p) if keep is given
        y[n, u], winner[n, u] = max, argmax over j of z[n, u, j]

    Parameters
    ----------
    x : (N, in) float
    weight, bias : (units, k, in), (units, k) float
    relu : bool
    keep : (N, units, k) bool, or None
        True where the neuron is not dropped; those that stay are divided by 1 - p.
    p : float in [0, 1)

    Returns
    -------
    y : (N, units) float
    winner : (N, units) int
        The lowest index wins a tie, so a unit whose neurons are all zero gives 0; the first NaN wins.

    Raises ShapeError for shapes that do not fit.

    >>> weight = np.array([[[1.0], [-1.0]]])                # |x|
    >>> y, winner = dense_maxout_forward(np.array([[3.0], [-3.0]]), weight, np.zeros((1, 2)))
    >>> print(y.tolist(), winner.tolist())
    [[3.0], [3.0]] [[0], [1]]
    """
    units, k = weight.shape[:2]
    fits = weight.ndim == 3 and bias.shape == (units, k) and _fits(x, weight)
    fits = fits and (keep is None or (keep.dtype == bool and keep.shape == (len(x), units, k) and 0 <= p < 1))
    arrays = flats32(x, weight, bias) if fits else None
    if arrays is not None:
        bytes_ = NO_BYTES if keep is None else flat(keep).view(np.uint8)
        winner = np.empty((len(x), units), np.uint8)
        y = _forward(arrays, (*x.shape, units, k), winner.ravel(), relu, bytes_, 1.0 - p)
        return y, winner
    z = jitted.dense_forward(x, weight.reshape(units * k, -1), bias.reshape(-1)).reshape(-1, units, k)
    if relu:
        z = jitted.relu_forward(z)
    if keep is not None:
        z = jitted.dropout_forward(z, keep, p)
    return jitted.maxout_forward(z)


def dense_maxout_backward(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
    """Gradients of `dense_maxout_forward`; only neurons that won have any.

        g[n, u]          = dy[n, u] through dropout (keep, p) and ReLU at the winner; 0 where it was cut off
        dx[n, :]         = sum_u g[n, u] * weight[u, winner[n, u], :]
        dweight[u, j, :] = sum_{n : winner[n, u] = j} g[n, u] * x[n, :]
        dbias[u, j]      = sum_{n : winner[n, u] = j} g[n, u]

    Parameters
    ----------
    dy, y, winner : (N, units) float, float, int
        y and winner as the forward call gave them: behind a ReLU, y > 0 says that the winner was not cut off.
    x, weight : (N, in), (units, k, in) float
    relu, keep, p
        As in the forward call.
    need_dx : bool

    Returns
    -------
    dx : (N, in) or None; dweight : (units, k, in); dbias : (units, k)

    Raises ShapeError for shapes that do not fit, MnpError for winners outside [0, k).

    >>> x, weight, dy = np.array([[3.0], [-3.0]]), np.array([[[1.0], [-1.0]]]), np.ones((2, 1))
    >>> dx, dweight, dbias = dense_maxout_backward(dy, np.full((2, 1), 3.0), np.array([[0], [1]]), x, weight)
    >>> print(dx.tolist(), dweight.tolist(), dbias.tolist())
    [[1.0], [-1.0]] [[[3.0], [-3.0]]] [[1.0, 1.0]]
    """
    units, k = weight.shape[:2]
    pairs = (len(x), units)
    fits = weight.ndim == 3 and dy.shape == y.shape == winner.shape == pairs and _fits(x, weight)
    fits = fits and (keep is None or (keep.dtype == bool and keep.shape == (*pairs, k) and 0 <= p < 1))
    if fits and floats32(dy, x, y, weight):
        bytes_, winners = NO_BYTES if keep is None else flat(keep).view(np.uint8), bytes_of(winner, k)
        if winners is not None:
            answer = _backward(dy, y, winners, x, weight, units, k, relu, bytes_, 1.0 - p, need_dx)
            if answer is not None:
                return answer
    dz = jitted.maxout_backward(dy, winner, k)
    if keep is not None:
        dz = jitted.dropout_backward(dz, keep, p)
    if relu:  # y stands for its winner's value before the dropout: what that dropped has no gradient left
        dz = jitted.relu_backward(dz, np.repeat(y[:, :, np.newaxis], k, axis=2))
    dx, dweight, dbias = jitted.dense_backward(
        dz.reshape(len(dz), -1), x, weight.reshape(units * k, -1), need_dx
    )
    return dx, dweight.reshape(weight.shape), dbias.reshape(units, k)


def _fits(x, weight):
    """Whether the loops can take these sizes: whole vectors of features, whole tiles of neurons."""
    features, k = weight.shape[-1], weight.shape[1] if weight.ndim == 3 else 1
    return x.ndim == 2 and x.shape[1] == features >= 16 and len(weight) * k >= 8 and k < 256


def _forward(arrays, sizes, winner, relu, keep, scale):
    count, _, units, k = sizes
    y = np.empty((count, units), FLOAT32)
    groups = max(1, min(units, units * k // 16))  # about 16 neurons: enough groups for every thread
    shares = (count + 127) // 128 * groups
    dense_loops.dense_forward(shares, groups, *arrays, sizes, int(relu), keep, scale, y.ravel(), winner)
    return y


def _backward(dy, y, winner, x, weight, units, k, relu, keep, scale, need_dx):
    """The gradients, or None for a winner that is no neuron."""
    count, depth = x.shape
    blocks = max(1, min(units, units * k // 8))  # of units, for dweight; groups of examples follow, for dx
    dx = np.empty(x.shape if need_dx else 0, np.float32)
    dweight, dbias = np.empty(weight.shape, np.float32), np.empty(weight.shape[:-1], np.float32)
    bad = np.empty(blocks, np.uint8)
    groups = (count + dense_loops.GROUP - 1) // dense_loops.GROUP if need_dx else 0
    dense_loops.dense_backward(
        *(blocks + groups, blocks, flat(dy), flat(y), winner, flat(x), flat(weight)),
        *((count, depth, units, k), int(relu), keep, float(scale)),
        *(dx.reshape(-1), dweight.reshape(-1), dbias.reshape(-1), bad),
    )
    return None if bad.any() else (dx if need_dx else None, dweight, dbias)
