"""Sparse layers for speed, in float32: every non-zero weight is used for many numbers at once.

One weight of a sparse matrix is met once, so its load and its index are dear. They pay off when the
weight then multiplies a whole vector of inputs that lie side by side:

    dense          x transposed, a block of 32 examples at a time: lanes are examples
    convolution    flat images (see `sparse_loops.conv`): lanes are neighbouring pixels

and the sums stay in the CPU's registers until the row is finished (see `mnp.kernels.registers`).
Each task of a parallel loop owns its outputs: the bits do not depend on the number of threads.
"""

import numpy as np
from numba import get_num_threads, prange

from mnp.kernels.registers import make_tile
from mnp.kernels.tiled.compiling import compiled, inner
from mnp.kernels.tiled.layouts import transpose
from mnp.pruning import sparse_loops

LANES = 32  # examples in a block; 800 inputs of 32 examples are 100 KB and stay in the L2 cache
SPAN = 96  # pixels in a block, six vectors
GROUP = 16  # units of a block that are written out together: a cache line of y
FEW = 8  # below this many examples most lanes would idle

EXAMPLES = make_tile(1, LANES // 16)
PIXELS = make_tile(1, SPAN // 16)
PAIR = make_tile(1, 2)


def dense(x, values, columns, starts, bias, k=1):
    """`sparse_loops.dense`, 32 examples at a time; the arguments are the same, all float32."""
    if len(x) < FEW:
        return sparse_loops.dense(x, values, columns, starts, bias, k)
    y = np.empty((len(x), bias.size // k), dtype=np.float32)
    blocks = -(-len(x) // LANES)
    parts = 1 if blocks >= get_num_threads() else get_num_threads()
    _dense(x.reshape(-1), x.shape[1], values, columns, starts, bias, k, len(x), parts, y.reshape(-1))
    return y


@inner
def _by_lanes(x, width, first, there, xt):
    """xt[j * LANES + lane] = x[(first + lane) * width + j]; lanes without an example are 0."""
    if there < LANES:
        xt[:] = 0
    for j in range(0, width, GROUP):
        strip = min(GROUP, width - j)
        transpose(x, first * width + j, width, there, strip, xt, j * LANES, LANES)


@compiled(parallel=True)
def _dense(x, width, values, columns, starts, bias, k, examples, parts, y):
    units = bias.size // k
    blocks, groups = -(-examples // LANES), -(-units // GROUP)
    for task in prange(blocks * parts):
        first, part = task // parts * LANES, task % parts
        there = min(LANES, examples - first)
        xt = np.empty(width * LANES, np.float32)
        best, z = np.empty(GROUP * LANES, np.float32), np.empty(LANES, np.float32)
        _by_lanes(x, width, first, there, xt)
        for group in range(groups * part // parts, groups * (part + 1) // parts):
            start, stop = group * GROUP, min(group * GROUP + GROUP, units)
            for u in range(start, stop):
                at = (u - start) * LANES
                for j in range(k):
                    row = u * k + j
                    # Four sums that do not wait for each other; added up at the end of the row.
                    a = b = c = d = EXAMPLES.zero()
                    p, end = starts[row], starts[row + 1]
                    while p + 4 <= end:
                        a = EXAMPLES.axpy(a, values[p], xt, columns[p] * LANES, 16)
                        b = EXAMPLES.axpy(b, values[p + 1], xt, columns[p + 1] * LANES, 16)
                        c = EXAMPLES.axpy(c, values[p + 2], xt, columns[p + 2] * LANES, 16)
                        d = EXAMPLES.axpy(d, values[p + 3], xt, columns[p + 3] * LANES, 16)
                        p += 4
                    while p < end:
                        a = EXAMPLES.axpy(a, values[p], xt, columns[p] * LANES, 16)
                        p += 1
                    a = EXAMPLES.add(EXAMPLES.add(a, b), EXAMPLES.add(c, d))
                    a = EXAMPLES.add_rows(a, bias, row)
                    if j == 0:
                        EXAMPLES.store(a, best, at, 0, 16)
                    else:
                        EXAMPLES.store(a, z, 0, 0, 16)
                        for lane in range(LANES):
                            v, top = z[lane], best[at + lane]
                            best[at + lane] = v if v > top or v != v else top
            transpose(best, 0, LANES, stop - start, there, y, first * units + start, units)


def conv(frames, values, offsets, starts, bias, line, oh, ow, size, stride):
    """`sparse_loops.conv`, 96 pixels at a time; the arguments are the same, all float32."""
    shape = (len(frames), bias.size, (oh - size) // stride + 1, (ow - size) // stride + 1)
    y = np.empty(shape, dtype=np.float32)
    parts = 1 if len(frames) >= get_num_threads() else get_num_threads()
    span = (oh - 1) * line + ow
    _conv(frames.reshape(-1), values, offsets, starts, bias, line, span, size, stride, parts, y)
    return y


@compiled(parallel=True)
def _conv(frames, values, offsets, starts, bias, line, span, size, stride, parts, y):
    images, filters, rows, columns = y.shape
    length, flat = frames.size // images, y.reshape(-1)
    for task in prange(images * parts):
        n, part = task // parts, task % parts
        # Vectors reach over the ends of these; what they write there is overwritten or not read.
        plane = np.zeros(-(-span // SPAN) * SPAN + line + 16, np.float32)
        tall = np.zeros(line + 48, np.float32)
        small = np.empty(rows * columns + 16, np.float32)
        trash = np.empty(rows * columns + line + 48, np.uint8)
        for f in range(filters * part // parts, filters * (part + 1) // parts):
            for q in range(0, span, SPAN):
                at = n * length + q
                sums = PIXELS.zero()
                for p in range(starts[f], starts[f + 1]):
                    sums = PIXELS.axpy(sums, values[p], frames, at + offsets[p], 16)
                PIXELS.store(PIXELS.add_rows(sums, bias, f), plane, q, 0, 16)
            _pooled(plane, line, size, stride, rows, columns, tall, trash, small)
            to = (n * filters + f) * rows * columns
            for i in range(rows * columns):
                flat[to + i] = small[i]


@inner
def _pooled(plane, line, size, stride, rows, columns, tall, trash, small):
    """small[i * columns + j] = max over a, b < size of plane[(i * stride + a) * line + j * stride + b]."""
    wide = (columns - 1) * stride + size  # pixels of a row that some window sees
    for i in range(rows):
        start = i * stride * line
        if size == 2 and stride == 2:
            # Down: the larger of two rows, 16 pixels at a time. Across: the larger of even and odd.
            for q in range(0, wide, 16):
                PAIR.max_columns(PAIR.load(plane, start + q, 0, line), tall, trash, q, 0)
            for j in range(0, columns, 16):
                PAIR.max_columns(PAIR.load_pairs(tall, 2 * j, 0), small, trash, i * columns + j, 0)
            continue
        if size == 1 and stride == 1:
            for j in range(columns):
                small[i * columns + j] = plane[start + j]
            continue
        for q in range(wide):
            tall[q] = plane[start + q]
        for _ in range(1, size):
            start += line
            for q in range(wide):
                v = plane[start + q]
                tall[q] = v if v > tall[q] or v != v else tall[q]
        for j in range(columns):
            best = tall[j * stride]
            for q in range(j * stride + 1, j * stride + size):
                v = tall[q]
                best = v if v > best or v != v else best
            small[i * columns + j] = best
