"""Element by element: ReLU, and the SGD update of eight arrays per call.

      for i:  y[i] = max(x[i], 0)
      for i:  v[i] = momentum * v[i] + g[i] + weight_decay * w[i];  w[i] -= lr * v[i];  0 where masked

ReLU gains nothing from tiles. It is here so that a captured network (`parallel.capture`) contains it.
"""

import numpy as np

from mnp.kernels import jitted
from mnp.kernels.registers import get, put
from mnp.kernels.tiled.parallel import BYTES, FLOAT, FLOATS, shared, tuples
from mnp.kernels.tiled.support import NO_BYTES, NOTHING, flat, flats32, floats32

ARRAYS, PIECE = 8, 8192  # arrays per call; elements per share of a thread


def relu_forward(x):
    """As `textbook.relu_forward`."""
    arrays = flats32(x)
    if arrays is None:
        return jitted.relu_forward(x)
    y = np.empty(x.size, np.float32)
    _relu((x.size + PIECE - 1) // PIECE, arrays[0], y)
    return y.reshape(x.shape)


@shared(FLOATS, FLOATS)
def _relu(index, x, y):
    for i in range(index * PIECE, min(x.size, index * PIECE + PIECE)):
        v = get(x, i)
        put(y, i, np.float32(0) if v <= 0 else v)  # a NaN is not <= 0


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    """As `textbook.sgd_step`: changes weights and velocities in place."""
    if not _fits(weights, grads, velocities, masks):
        jitted.sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay)
        return
    numbers = float(lr), float(momentum), float(weight_decay)
    for first in range(0, len(weights), ARRAYS):
        # A compiled loop has a fixed number of arguments: the last call is filled up with empty arrays.
        eight = slice(first, first + ARRAYS)
        spare = (NOTHING,) * (ARRAYS - len(weights[eight]))
        arrays = [(*(flat(a) for a in group[eight]), *spare) for group in (weights, grads, velocities)]
        kept = [NO_BYTES if mask is None else flat(mask).view(np.uint8) for mask in masks[eight]]
        pieces = sum((w.size + PIECE - 1) // PIECE for w in weights[eight])
        _sgd_step(pieces, *arrays, (*kept, *(NO_BYTES for _ in spare)), *numbers)


def _fits(weights, grads, velocities, masks):
    same = len(weights) == len(grads) == len(velocities) == len(masks)
    return (same and floats32(*weights, *grads, *velocities)) and all(
        w.shape == g.shape == v.shape
        and (w.flags.carray and v.flags.carray)
        and (mask is None or (mask.dtype == bool and mask.shape == w.shape))
        for w, g, v, mask in zip(weights, grads, velocities, masks, strict=True)
    )


_EIGHT = tuples(FLOATS, ARRAYS)


@shared(_EIGHT, _EIGHT, _EIGHT, tuples(BYTES, ARRAYS), FLOAT, FLOAT, FLOAT)
def _sgd_step(index, weights, grads, velocities, masks, lr, momentum, weight_decay):
    """Update piece `index`, counted through the arrays: v = momentum*v + g + weight_decay*w; w -= lr*v."""
    # Pieces are numbered through all arrays: large and small ones are shared out alike.
    for a in range(ARRAYS):
        w = weights[a]
        pieces = (w.size + PIECE - 1) // PIECE
        if index < pieces:
            g, v, mask = grads[a], velocities[a], masks[a]
            rate, keep, decay = np.float32(lr), np.float32(momentum), np.float32(weight_decay)
            start, end = index * PIECE, min(w.size, index * PIECE + PIECE)
            for i in range(start, end):
                new = keep * get(v, i) + get(g, i) + decay * get(w, i)
                put(v, i, new)
                put(w, i, get(w, i) - rate * new)
            # In a separate loop: with a branch per element, neither would become SIMD code.
            if mask.size:
                for i in range(start, end):
                    put(v, i, get(v, i) if get(mask, i) else np.float32(0))
                    put(w, i, get(w, i) if get(mask, i) else np.float32(0))
            return
        index -= pieces
