"""The gradients of a convolution under 2x2 max pooling: only winners are multiplied.

Pooling passes a window's gradient to the one pixel that won, so three quarters of the convolution's
incoming gradient are zeros, and skipping them is exact. With p = (a, b) a window, q[n,f,p] its winner and
(r, s) = (2a + q/2, 2b + q%2) the pixel that won:

      dweight[f, :, i, j] = sum_{n,p} dy[n,f,p] x[n, :, r + i, s + j]
      dx[n, :, r + i, s + j] += dy[n,f,p] weight[f, :, i, j]

Here images are laid out channels last, so that a row of a patch, KW x C floats, is one run; and so are
the rows of the weights. Each product of a number and a run goes through a tile of one row (`axpy`), where
every multiply-add needs a vector from the first cache. A vector that crosses the border of a cache line is
two loads, so none may cross one: lines of pixels begin on a border, and a run that begins behind one is
read from that border on.

      border       border       border           read: 3 whole vectors
        |...xxxxxxxxx|xxxxxxxxxxxx|xxx.........|         x: the run, .: lanes that nobody will look at
         `-' lead

The winners of a filter are listed by their `lead`, four lists at most (AVX2, with shorter vectors: two), as a
pixel's channels are filled up to a multiple of 4; and each list's sum is added to the others' shifted by its
lead. Where a whole row of a patch fits 8 lanes (one channel), all rows of a patch go through one tile
instead, from where they are.

Sums over images are taken over fixed groups of images, and the groups' sums added in their order: the bits
depend on the batch, never on the number of threads.
"""

import numpy as np

from mnp.kernels.registers import WIDE, get, make_tile, put
from mnp.kernels.tiled.compiling import inlined, inner
from mnp.kernels.tiled.layouts import aligned, channels_first, channels_last, clear, copy, transpose
from mnp.kernels.tiled.parallel import BYTES, FLOATS, INT, INTS, shared, tuples

LANES = 16 if WIDE else 8  # of a vector, whose borders are every so many floats
_LONG, _SHORT = (7, 4) if WIDE else (13, 8)  # vectors of a tile
_long, _short, _patch5, _lane16 = (
    make_tile(1, _LONG, LANES),
    make_tile(1, _SHORT, LANES),
    make_tile(1, 5, 8),
    make_tile(1, 1),
)
_PATCH = 8  # floats that a row of a patch may have, to go with others through one tile
_STEP, _LEADS = 4, LANES // 4  # a pixel is filled up to a multiple of so many floats; the leads that leaves
_SLACK = 128


def slack(line):
    """Room behind the images for what the last tiles read beyond them."""
    return 5 * line + _SLACK


@inner
def steps(channels, w, kw):
    """Floats from pixel to pixel, and from line to line, of an image laid out here."""
    if kw * channels <= _PATCH:
        return channels, w * channels
    pixel = (channels + _STEP - 1) // _STEP * _STEP
    return pixel, (w * pixel + LANES - 1) // LANES * LANES


@inner
def run_width(size):
    """Floats reserved for a run of `size`: as many as its tiles touch, long ones, the last may be short."""
    vectors = (size + LANES - 1) // LANES
    rest = vectors % _LONG
    return (vectors - rest + (_LONG if rest > _SHORT else (rest > 0) * _SHORT)) * LANES


@inlined
def _add_runs(gradients, offsets, first, end, source, there, out, at, long):
    """out[at : ][:size] += sum over entries first ... end-1 of gradient * source[there + offset : ][:size];
    the size is that of a long tile, or of a short one."""
    if long:
        t = _long.load(out, at, 0, LANES)
        for e in range(first, end):
            t = _long.axpy(t, get(gradients, e), source, there + get(offsets, e), LANES)
        _long.store(t, out, at, 0, LANES)
    else:
        u = _short.load(out, at, 0, LANES)
        for e in range(first, end):
            u = _short.axpy(u, get(gradients, e), source, there + get(offsets, e), LANES)
        _short.store(u, out, at, 0, LANES)


@inner
def _collect(dy, winner, row, count, places, line, pixel, base, offsets, gradients, at):
    """List the pixels that won one filter's windows (flat from `row`). True: a bad winner."""
    bad, line, pixel, base = np.int32(0), np.int32(line), np.int32(pixel), np.int32(base)
    for p in range(count):
        q = np.int32(get(winner, row + p))
        bad |= q
        put(offsets, at + p, base + get(places, p) + ((q >> 1) & 1) * line + (q & 1) * pixel)
        put(gradients, at + p, get(dy, row + p))
    return bad > 3


@inner
def _sort(offsets, gradients, count, listed, to_offsets, to_gradients):
    """Sort the list into one for each lead: listed[lead // 4] entries, `count` apart, offsets of borders."""
    for lead in range(_LEADS):
        put(listed, lead, 0)
    for e in range(count):
        offset = np.int64(get(offsets, e))
        lead = (offset & (LANES - 1)) // _STEP
        to = lead * count + get(listed, lead)
        put(to_offsets, to, offset & -LANES)
        put(to_gradients, to, get(gradients, e))
        put(listed, lead, get(listed, lead) + 1)


@inner
def _add_patches(offsets, gradients, count, xs, base, line, kh, part, at):
    """part[at + 8*i : ][:8] += sum over the list of gradient * (row i of the patch at offset)."""
    for i in range(0, kh, 5):  # five rows of 8 lanes; two tiles, to have enough sums under way
        t, u = _patch5.load(part, at + i * _PATCH, 0, _PATCH), _patch5.zero()
        for e in range(0, count - 1, 2):
            t = _patch5.axpy(t, get(gradients, e), xs, base + get(offsets, e) + i * line, line)
            u = _patch5.axpy(u, get(gradients, e + 1), xs, base + get(offsets, e + 1) + i * line, line)
        if count % 2:
            t = _patch5.axpy(
                t, get(gradients, count - 1), xs, base + get(offsets, count - 1) + i * line, line
            )
        _patch5.store(_patch5.add(t, u), part, at + i * _PATCH, 0, _PATCH)


@inner
def _spread_patches(dy, winner, row, filters, places, line, pixel, size, kh, ws, dxs, wins, rows, gs):
    """dxs (channels last) += every filter's weights, placed where it won; one image, from `row` of dy."""
    pooled, width = places.size, run_width(size)
    for bucket in range(4 * pooled):
        put(wins, bucket, 0)
    for f in range(filters):  # bucket the filters of each window by the pixel that won
        for p in range(pooled):
            bucket = 4 * p + (get(winner, row + f * pooled + p) & 3)
            won = get(wins, bucket)
            put(rows, bucket * filters + won, f * width)
            put(gs, bucket * filters + won, get(dy, row + f * pooled + p))
            put(wins, bucket, won + 1)
    for i in range(kh):
        column = 0
        while column < size:
            long, there = size - column > _SHORT * LANES, i * filters * width + column
            for bucket in range(4 * pooled):
                first, end = bucket * filters, bucket * filters + wins[bucket]
                here = places[bucket // 4] + (bucket // 2 % 2 + i) * line + bucket % 2 * pixel + column
                _add_runs(gs, rows, first, end, ws, there, dxs, here, long)
            column += (_LONG if long else _SHORT) * LANES


@inner
def _sum_lanes(values, count, sums, at):
    """sums[at : ][:16] += the values, lane by lane: value e goes to lane e % 16."""
    e, t = 0, _lane16.load(sums, at, 0, 0)
    while e + 16 <= count:
        t = _lane16.add(t, _lane16.load(values, e, 0, 0))
        e += 16
    _lane16.store(t, sums, at, 0, 0)
    while e < count:
        put(sums, at + e % 16, get(sums, at + e % 16) + get(values, e))
        e += 1


@inner
def _filters_gradients(first, end, dy, winner, count, shape, filters, places, xs, dweight, dbias):
    """dweight and dbias of filters first ... end-1, from all images. True: a bad winner."""
    channels, h, w, kh, kw = shape
    pixel, line = steps(channels, w, kw)
    pooled, image, size = places.size, h * line, kw * pixel
    patches = size <= _PATCH
    before = 0 if patches else LANES  # room for leads in front of each row
    width = _PATCH if patches else before + run_width(size + LANES - _STEP)
    rows = (kh + 4) // 5 * 5 if patches else kh
    together = max(1, min(count, 6144 // image))  # images that share the first cache
    part, sums = aligned((end - first) * rows * width), aligned((end - first) * 16)
    clear(part, 0, part.size)
    clear(sums, 0, sums.size)
    most = together * pooled
    offsets, gradients = np.empty(most, np.int32), np.empty(most, np.float32)
    by_lead = 0 if patches else _LEADS * most
    borders, sorted_ = np.empty(by_lead, np.int32), np.empty(by_lead, np.float32)
    listed = np.empty(_LEADS, np.int64)
    bad = False
    for n in range(0, count, together):
        images = min(together, count - n)
        for f in range(first, end):
            for m in range(images):
                row, base = ((n + m) * filters + f) * pooled, m * image
                bad |= _collect(
                    dy, winner, row, pooled, places, line, pixel, base, offsets, gradients, m * pooled
                )
            entries, at = images * pooled, (f - first) * rows * width
            _sum_lanes(gradients, entries, sums, (f - first) * 16)
            if patches:
                _add_patches(offsets, gradients, entries, xs, n * image, line, kh, part, at)
                continue
            _sort(offsets, gradients, entries, listed, borders, sorted_)
            column = 0
            while column < size + LANES - _STEP:
                long = size + LANES - _STEP - column > _SHORT * LANES
                for k in range(_LEADS):
                    start, stop = k * entries, k * entries + listed[k]
                    for i in range(kh):
                        there, to = (
                            n * image + i * line + column,
                            at + i * width + before - k * _STEP + column,
                        )
                        _add_runs(sorted_, borders, start, stop, xs, there, part, to, long)
                column += (_LONG if long else _SHORT) * LANES
    taps = np.empty(kh * kw * channels, np.float32)
    for f in range(end - first):
        for i in range(kh):
            for j in range(kw):
                at = (f * rows + i) * width + before + j * pixel
                copy(part, at, channels, taps, (i * kw + j) * channels)
        transpose(taps, 0, channels, kh * kw, channels, dweight, (first + f) * taps.size, kh * kw)
        total = np.float32(0)
        for lane in range(16):
            total += sums[f * 16 + lane]
        dbias[first + f] = total
    return bad


@inner
def _pack_filter(f, weight, shape, filters, ws):
    """ws[(i*F + f)*width + j*pixel + c] = weight[f, c, i, j], zeros behind each pixel and each row."""
    channels, _, w, kh, kw = shape
    pixel, _ = steps(channels, w, kw)
    width = run_width(kw * pixel)
    taps = np.empty(kh * kw * channels, np.float32)
    transpose(weight, f * taps.size, kh * kw, channels, kh * kw, taps, 0, channels)
    for i in range(kh):
        at = (i * filters + f) * width
        clear(ws, at, at + width)
        for j in range(kw):
            copy(taps, (i * kw + j) * channels, channels, ws, at + j * pixel)


@inner
def _image_gradient(n, dy, winner, shape, filters, padding, places, ws, dx):
    """dx of one image."""
    channels, h, w, kh, kw = shape
    pixel, line = steps(channels, w, kw)
    pooled = places.size
    dxs = aligned(h * line + _SLACK)
    clear(dxs, 0, dxs.size)
    wins = np.empty(4 * pooled, np.int64)
    rows, gs = np.empty(4 * pooled * filters, np.int32), np.empty(4 * pooled * filters, np.float32)
    row = n * filters * pooled
    _spread_patches(dy, winner, row, filters, places, line, pixel, kw * pixel, kh, ws, dxs, wins, rows, gs)
    h, w = h - 2 * padding, w - 2 * padding
    channels_first(dxs, pixel, line, channels, h, w, padding, dx, n * channels * h * w)


# The same for Python.
padded = run_width.py_func if hasattr(run_width, "py_func") else run_width
steps_of = steps.py_func if hasattr(steps, "py_func") else steps


@shared(FLOATS, FLOATS, tuples(INT, 5), INT, INT, INT, FLOATS, FLOATS)
def lay_out(index, x, weight, shape, count, filters, padding, xs, ws):
    """Lay image `index` out in xs, or, from index = count on, filter index - count in ws."""
    channels, h, w, _, kw = shape
    if index < count:
        pixel, line = steps(channels, w, kw)
        to, h, w = index * h * line, h - 2 * padding, w - 2 * padding
        channels_last(x, index * channels * h * w, channels, h, w, padding, xs, to, pixel, line)
    else:
        _pack_filter(index - count, weight, shape, filters, ws)


@shared(
    INT, FLOATS, BYTES, tuples(INT, 5), INT, INT, INT, INTS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, BYTES
)
def conv_pool_backward(
    index, blocks, dy, winner, shape, count, filters, padding, places, xs, ws, dx, dweight, dbias, bad
):
    """dweight and dbias of block `index` of the filters; then, after them, dx of image index - blocks."""
    if index < blocks:
        first, end = index * filters // blocks, (index + 1) * filters // blocks
        bad[index] = _filters_gradients(
            first, end, dy, winner, count, shape, filters, places, xs, dweight, dbias
        )
    else:
        _image_gradient(index - blocks, dy, winner, shape, filters, padding, places, ws, dx)
