"""Sparse layers for speed, in float32: every non-zero weight is used for many numbers at once.

The same two functions as in `sparse_loops`, called the same way. How they work is told where the loops
are, in `mnp.kernels.tiled.sparse_loops`; each task of theirs owns its outputs, so the bits do not depend
on the number of threads.
"""

import numpy as np

from mnp.kernels.tiled import sparse_loops as tiles
from mnp.kernels.tiled.parallel import threads
from mnp.kernels.tiled.support import flat
from mnp.pruning import sparse_loops

FEW = 8  # below this many examples most lanes of a block would idle


def dense(x, values, columns, starts, bias, k=1):
    """`sparse_loops.dense`, 32 examples at a time; the arguments are the same, all float32."""
    if len(x) < FEW:
        return sparse_loops.dense(x, values, columns, starts, bias, k)
    y = np.empty((len(x), bias.size // k), dtype=np.float32)
    blocks, matrix = -(-len(x) // tiles.LANES), (flat(values), flat(columns), flat(starts), flat(bias))
    parts = _parts(blocks)
    tiles.dense(blocks * parts, flat(x), x.shape[1], *matrix, k, len(x), parts, y.reshape(-1))
    return y


def conv(frames, values, offsets, starts, bias, line, oh, ow, size, stride):
    """`sparse_loops.conv`, 96 pixels at a time; the arguments are the same, all float32."""
    rows, columns = (oh - size) // stride + 1, (ow - size) // stride + 1
    y = np.empty((len(frames), bias.size, rows, columns), dtype=np.float32)
    matrix, span, parts = (
        (flat(values), flat(offsets), flat(starts), flat(bias)),
        (oh - 1) * line + ow,
        _parts(len(y)),
    )
    shape = (line, span, size, stride, rows, columns, parts)
    tiles.conv(len(y) * parts, flat(frames), frames.shape[1], *matrix, *shape, y.reshape(-1))
    return y


def _parts(tasks):
    """Into how many parts to cut each task, so that every thread has one."""
    return 1 if tasks >= threads() else threads()
