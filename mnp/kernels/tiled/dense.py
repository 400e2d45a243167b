"""Dense layers, alone or as maxout units: checks, memory, and the calls of the loops in `dense_loops`.

z[n, u, j] = bias[u, j] + sum_i weight[u, j, i] * x[n, i],      y[n, u] = max_j z[n, u, j]
"""

import numpy as np

from mnp.kernels import fused, jitted
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
    """As `fused.dense_maxout_forward`, in one pass; sizes and dtypes as in `dense_forward`."""
    units, k = weight.shape[:2]
    fits = weight.ndim == 3 and bias.shape == (units, k) and _fits(x, weight)
    fits = fits and (keep is None or (keep.dtype == bool and keep.shape == (len(x), units, k) and 0 <= p < 1))
    arrays = flats32(x, weight, bias) if fits else None
    if arrays is not None:
        bytes_ = NO_BYTES if keep is None else flat(keep).view(np.uint8)
        winner = np.empty((len(x), units), np.uint8)
        y = _forward(arrays, (*x.shape, units, k), winner.ravel(), relu, bytes_, 1.0 - p)
        return y, winner
    return fused.dense_maxout_forward(jitted, x, weight, bias, relu, keep, p)


def dense_maxout_backward(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
    """As `fused.dense_maxout_backward`, in one pass; sizes and dtypes as in `dense_forward`."""
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
    return fused.dense_maxout_backward(jitted, dy, y, winner, x, weight, relu, keep, p, need_dx)


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
