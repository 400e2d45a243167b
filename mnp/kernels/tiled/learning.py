"""The SGD step: one pass over weights, gradients and velocities, eight arrays a call."""

import numpy as np

from mnp.kernels import jitted
from mnp.kernels.registers import get, put
from mnp.kernels.tiled.parallel import BYTES, FLOAT, FLOATS, shared, tuples
from mnp.kernels.tiled.support import NO_BYTES, NOTHING, flat, floats32

ARRAYS, PIECE = 8, 8192


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    """Move every weight one step downhill, with momentum and weight decay. Changes its arguments.

        v <- momentum * v + g + weight_decay * w
        w <- w - lr * v
        w = v = 0 wherever the mask is False

    weights, grads, velocities: tuples of float arrays; masks: tuple of bool arrays or None, True = kept.

    >>> w, v = np.array([1.0, 2.0], np.float32), np.array([0.0, 1.0], np.float32)
    >>> g = np.array([1.0, 1.0], np.float32)
    >>> sgd_step((w,), (g,), (v,), (np.array([True, False]),), 0.1, 0.9, 0.5)
    >>> print(w, v)
    [0.85 0.  ] [1.5 0. ]
    """
    if not _fits(weights, grads, velocities, masks):
        jitted.sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay)
        return
    numbers = float(lr), float(momentum), float(weight_decay)
    for first in range(0, len(weights), ARRAYS):
        eight = slice(first, first + ARRAYS)
        spare = (NOTHING,) * (ARRAYS - len(weights[eight]))
        arrays = [(*(flat(a) for a in group[eight]), *spare) for group in (weights, grads, velocities)]
        kept = [NO_BYTES if mask is None else flat(mask).view(np.uint8) for mask in masks[eight]]
        pieces = sum((w.size + PIECE - 1) // PIECE for w in weights[eight])
        _sgd_step(pieces, *arrays, (*kept, *(NO_BYTES for _ in spare)), *numbers)


def _fits(weights, grads, velocities, masks):
    if not len(weights) == len(grads) == len(velocities) == len(masks) or not floats32(
        *weights, *grads, *velocities
    ):
        return False
    for w, g, v, mask in zip(weights, grads, velocities, masks, strict=True):
        if not (w.shape == g.shape == v.shape and w.flags.carray and v.flags.carray):
            return False
        if mask is not None and (mask.dtype != bool or mask.shape != w.shape):
            return False
    return True


@shared(
    tuples(FLOATS, ARRAYS),
    tuples(FLOATS, ARRAYS),
    tuples(FLOATS, ARRAYS),
    tuples(BYTES, ARRAYS),
    FLOAT,
    FLOAT,
    FLOAT,
)
def _sgd_step(index, weights, grads, velocities, masks, lr, momentum, weight_decay):
    """Update piece `index`, counted through the arrays: v = momentum*v + g + weight_decay*w; w -= lr*v."""
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
            if mask.size:
                for i in range(start, end):
                    put(v, i, get(v, i) if get(mask, i) else np.float32(0))
                    put(w, i, get(w, i) if get(mask, i) else np.float32(0))
            return
        index -= pieces
