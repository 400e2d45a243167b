"""Loops of the sparse layers with SIMD tiles, in float32: every non-zero weight is used for many numbers.

`dense` and `conv` at the end are the functions of `mnp.sparse.loops`. Each task owns its outputs, so the
bits do not depend on the number of threads.

One weight of a sparse matrix is met once, so its load and its index are dear. They pay off when the
weight then multiplies a whole vector of inputs that lie side by side:

    dense          x transposed, a block of 32 examples at a time: lanes are examples
    convolution    flat images (see `mnp.sparse.plain.conv`): lanes are neighbouring pixels

      sums[lanes] += values[p] * x[columns[p]][lanes],    p in starts[row] .. starts[row + 1] - 1

and the sums stay in the CPU's registers until the row is finished.
"""

import numpy as np
from numba import types

from mnp.kernels.registers import WIDE, make_tile
from mnp.kernels.tiled.compiling import device
from mnp.kernels.tiled.layouts import clear, transpose
from mnp.kernels.tiled.parallel import FLOATS, INT, shared, threads
from mnp.kernels.tiled.support import flat
from mnp.sparse import loops

LANES = 32 if WIDE else 16  # examples in a block; 800 inputs of 32 are 100 KB and stay in the L2 cache
MIN_BATCH = 8  # with fewer examples most lanes of a block would be idle
SPAN = 96  # pixels in a block, six vectors
GROUP = 16  # units of a block that are written out together: a cache line of y
UINTS = types.uint32[::1]

_examples, _pixels, _pair = make_tile(1, LANES // 16), make_tile(1, SPAN // 16), make_tile(1, 2)


@device
def _by_lanes(x, width, first, present, xt):
    """xt[j * LANES + lane] = x[(first + lane) * width + j]; lanes without an example are 0."""
    # The last block of examples may be short; its other lanes must not hold what was there before.
    if present < LANES:
        clear(xt, 0, xt.size)
    for j in range(0, width, GROUP):
        strip = min(GROUP, width - j)
        transpose(x, first * width + j, width, present, strip, xt, j * LANES, LANES)


@device
def _row(values, columns, p, end, xt):
    """The sums of one row of the matrix for a block of examples."""
    a = b = c = d = _examples.zero()  # four sums that do not wait for each other
    while p + 4 <= end:
        a = _examples.axpy(a, values[p], xt, columns[p] * LANES, 16)
        b = _examples.axpy(b, values[p + 1], xt, columns[p + 1] * LANES, 16)
        c = _examples.axpy(c, values[p + 2], xt, columns[p + 2] * LANES, 16)
        d = _examples.axpy(d, values[p + 3], xt, columns[p + 3] * LANES, 16)
        p += 4
    while p < end:
        a = _examples.axpy(a, values[p], xt, columns[p] * LANES, 16)
        p += 1
    return _examples.add(_examples.add(a, b), _examples.add(c, d))


@shared(FLOATS, INT, FLOATS, UINTS, UINTS, FLOATS, INT, INT, INT, FLOATS)
def _dense(index, x, width, values, columns, starts, bias, k, examples, parts, y):
    """One block of examples, or one of its `parts`: index = block * parts + part."""
    units = bias.size // k
    first, part, groups = index // parts * LANES, index % parts, -(-units // GROUP)
    present = min(LANES, examples - first)
    xt = np.empty(width * LANES, np.float32)
    best, z = np.empty(GROUP * LANES, np.float32), np.empty(LANES, np.float32)
    # Transposed once per block, and used by every row of the matrix.
    _by_lanes(x, width, first, present, xt)
    for group in range(groups * part // parts, groups * (part + 1) // parts):
        # 16 units together, whose outputs are one cache line of y per example.
        start, stop = group * GROUP, min(group * GROUP + GROUP, units)
        for u in range(start, stop):
            at = (u - start) * LANES
            for row in range(u * k, u * k + k):
                sums = _row(values, columns, np.int64(starts[row]), np.int64(starts[row + 1]), xt)
                sums = _examples.add_rows(sums, bias, row)
                # The first neuron of a unit is the maximum so far, of whatever sign or NaN it is.
                if row == u * k:
                    _examples.store(sums, best, at, 0, 16)
                    continue
                _examples.store(sums, z, 0, 0, 16)
                for lane in range(LANES):
                    v, top = z[lane], best[at + lane]
                    best[at + lane] = v if v > top or v != v else top
        transpose(best, 0, LANES, stop - start, present, y, first * units + start, units)


@device
def _pooled(plane, line, size, stride, rows, columns, tall, trash, small):
    """small[i * columns + j] = max over a, b < size of plane[(i * stride + a) * line + j * stride + b]."""
    wide = (columns - 1) * stride + size  # pixels of a row that some window sees
    for i in range(rows):
        start = i * stride * line
        if size == 2 and stride == 2:
            # Down: the larger of two rows, 16 pixels at a time. Across: the larger of even and odd.
            for q in range(0, wide, 16):
                _pair.max_columns(_pair.load(plane, start + q, 0, line), tall, trash, q, 0)
            for j in range(0, columns, 16):
                _pair.max_columns(_pair.load_pairs(tall, 2 * j, 0), small, trash, i * columns + j, 0)
            continue
        if size == 1 and stride == 1:
            for j in range(columns):
                small[i * columns + j] = plane[start + j]
            continue
        # Any other size: down the columns first, then across, so each pixel is compared once per direction.
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


@shared(FLOATS, INT, FLOATS, UINTS, UINTS, FLOATS, INT, INT, INT, INT, INT, INT, INT, FLOATS)
def _conv(
    index, frames, length, values, offsets, starts, bias, line, span, size, stride, rows, columns, parts, y
):
    """One image, or the filters of one of its `parts`: index = image * parts + part."""
    n, part, filters = index // parts, index % parts, bias.size
    # Vectors reach over the ends of these; what they write there is overwritten or not read.
    plane = np.zeros(-(-span // SPAN) * SPAN + line + 16, np.float32)
    tall = np.zeros(line + 48, np.float32)
    small = np.empty(rows * columns + 16, np.float32)
    trash = np.empty(rows * columns + line + 48, np.uint8)
    for f in range(filters * part // parts, filters * (part + 1) // parts):
        for q in range(0, span, SPAN):
            # 96 pixels at a time: each weight and its index are loaded once for six vectors.
            at, sums = n * length + q, _pixels.zero()
            for p in range(np.int64(starts[f]), np.int64(starts[f + 1])):
                sums = _pixels.axpy(sums, values[p], frames, at + offsets[p], 16)
            _pixels.store(_pixels.add_rows(sums, bias, f), plane, q, 0, 16)
        _pooled(plane, line, size, stride, rows, columns, tall, trash, small)
        to = (n * filters + f) * rows * columns
        for i in range(rows * columns):
            y[to + i] = small[i]


def dense(x, values, columns, starts, bias, k=1):
    """`loops.dense`, 32 examples at a time; the arguments are the same, all float32."""
    if len(x) < MIN_BATCH:
        return loops.dense(x, values, columns, starts, bias, k)
    y = np.empty((len(x), bias.size // k), dtype=np.float32)
    blocks, matrix = -(-len(x) // LANES), (flat(values), flat(columns), flat(starts), flat(bias))
    parts = _parts(blocks)
    _dense(blocks * parts, flat(x), x.shape[1], *matrix, k, len(x), parts, y.reshape(-1))
    return y


def conv(frames, values, offsets, starts, bias, line, oh, ow, size, stride):
    """`loops.conv`, 96 pixels at a time; the arguments are the same, all float32."""
    rows, columns = (oh - size) // stride + 1, (ow - size) // stride + 1
    y = np.empty((len(frames), bias.size, rows, columns), dtype=np.float32)
    matrix = flat(values), flat(offsets), flat(starts), flat(bias)
    span, parts = (oh - 1) * line + ow, _parts(len(y))
    shape = (line, span, size, stride, rows, columns, parts)
    _conv(len(y) * parts, flat(frames), frames.shape[1], *matrix, *shape, y.reshape(-1))
    return y


def _parts(tasks):
    """Number of parts to cut each task into, so that every thread has one."""
    return 1 if tasks >= threads() else threads()
