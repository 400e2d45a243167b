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

The winners of a filter are listed by their `lead`, four lists at most (AVX2, with shorter vectors: two),
as a pixel's channels are filled up to a multiple of 4. Each list has a sum of its own, from border to
border; at the end these are added up, each shifted by its lead. With AVX-512 two rows of a patch are
summed at once: a number and its place are then read once for both. Where a whole row of a patch fits 8
lanes (one channel), all rows of a patch go through one tile instead, from where they are.

A filter's sums are taken image by image, all by one thread, and an image's gradient by one thread, too: the
bits depend on the batch, never on the number of threads.
"""

import numpy as np

from mnp.kernels.registers import WIDE, get, make_tile, put
from mnp.kernels.tiled.compiling import inlined, inner
from mnp.kernels.tiled.layouts import aligned, channels_first, channels_last, clear, copy, transpose
from mnp.kernels.tiled.parallel import BYTES, FLOATS, INT, INTS, shared, tuples

LANES = 16 if WIDE else 8  # of a vector, whose borders are every so many floats
_LONG, _SHORT = (7, 4) if WIDE else (13, 8)  # vectors of a tile
_patch5, _lane16 = make_tile(1, 5, 8), make_tile(1, 1)
_PATCH = 8  # floats that a row of a patch may have, to go with others through one tile
_STEP, _LEADS = 4, LANES // 4  # a pixel is filled up to a multiple of so many floats; the leads that leaves
_CACHE = 9000  # floats of the images that go through the filters together: timed with a first cache of 48 KB
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


def _make_add(vectors):
    tile = make_tile(1, vectors, LANES)

    @inlined
    def one(gradients, offsets, first, end, source, there, out, at):
        """out[at : ] += sum over entries first ... end-1 of gradient * source[there + offset : ], as many
        floats as the tile holds."""
        t = tile.load(out, at, 0, LANES)
        for e in range(first, end):
            t = tile.axpy(t, get(gradients, e), source, there + get(offsets, e), LANES)
        tile.store(t, out, at, 0, LANES)

    @inlined
    def two(gradients, offsets, first, end, source, there, line, out, at, step):
        """The same, and once more `line` further in source and `step` further in out: a tile or more."""
        t, u = tile.load(out, at, 0, LANES), tile.load(out, at + step, 0, LANES)
        for e in range(first, end):
            g, offset = get(gradients, e), there + get(offsets, e)
            t = tile.axpy(t, g, source, offset, LANES)
            u = tile.axpy(u, g, source, offset + line, LANES)
        tile.store(t, out, at, 0, LANES)
        tile.store(u, out, at + step, 0, LANES)

    return one, two


(_add_long, _add_two_long), (_add_short, _add_two_short) = _make_add(_LONG), _make_add(_SHORT)


@inlined
def _add_rows(gradients, offsets, first, end, source, there, line, out, at, step, rows, long):
    """For i = 0 ... rows-1: out[at + i*step : ] += sum over entries of
    gradient * source[there + i*line + offset : ], each as long as a long tile, or a short one."""
    i = 0
    while i < rows:
        x, y = there + i * line, at + i * step
        if WIDE and rows - i >= 2:
            if long:
                _add_two_long(gradients, offsets, first, end, source, x, line, out, y, step)
            else:
                _add_two_short(gradients, offsets, first, end, source, x, line, out, y, step)
            i += 2
        else:
            if long:
                _add_long(gradients, offsets, first, end, source, x, out, y)
            else:
                _add_short(gradients, offsets, first, end, source, x, out, y)
            i += 1


@inner
def _sort(dy, winner, row, count, places, base, listed, offsets, gradients):
    """Append the pixels that won one filter's windows (flat from `row`) to the list of their lead, which goes
    on at listed[lead // 4]; an offset is that of the border before the pixel. True: a bad winner."""
    bad = np.int64(0)
    for p in range(count):
        q = np.int64(get(winner, row + p))
        bad |= q
        offset = np.int64(get(places, 4 * p + (q & 3)))
        lead = (offset & (LANES - 1)) // _STEP
        to = get(listed, lead)
        put(offsets, to, np.int32(base + (offset & -LANES)))
        put(gradients, to, get(dy, row + p))
        put(listed, lead, to + 1)
    return bad > 3


@inner
def _add_patches(dy, winner, row, count, places, xs, base, line, kh, part, at):
    """part[at + 8*i : ][:8] += sum over one filter's windows (flat from `row`) of gradient * (row i of the
    patch whose pixel won), in the image at xs[base]. True: a bad winner."""
    bad = np.int64(0)
    for i in range(0, kh, 5):  # five rows of 8 lanes; two tiles, to have enough sums under way
        t, u = _patch5.load(part, at + i * _PATCH, 0, _PATCH), _patch5.zero()
        there = base + i * line
        for p in range(0, count - 1, 2):
            q, r = np.int64(get(winner, row + p)), np.int64(get(winner, row + p + 1))
            bad |= q | r
            a, b = there + get(places, 4 * p + (q & 3)), there + get(places, 4 * p + 4 + (r & 3))
            t = _patch5.axpy(t, get(dy, row + p), xs, a, line)
            u = _patch5.axpy(u, get(dy, row + p + 1), xs, b, line)
        if count % 2:
            q = np.int64(get(winner, row + count - 1))
            bad |= q
            a = there + get(places, 4 * count - 4 + (q & 3))
            t = _patch5.axpy(t, get(dy, row + count - 1), xs, a, line)
        _patch5.store(_patch5.add(t, u), part, at + i * _PATCH, 0, _PATCH)
    return bad > 3


@inner
def _spread_patches(dy, winner, row, filters, places, line, pixel, size, kh, ws, dxs, wins, rows, gs):
    """dxs (channels last) += every filter's weights, placed where it won; one image, from `row` of dy."""
    pooled, width = places.size // 4, run_width(size)
    for bucket in range(4 * pooled):
        put(wins, bucket, 0)
    for f in range(filters):  # one bucket for every pixel of a window: the filters for which it won
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
                here = get(places, bucket) + i * line + column
                if long:
                    _add_long(gs, rows, first, end, ws, there, dxs, here)
                else:
                    _add_short(gs, rows, first, end, ws, there, dxs, here)
            column += (_LONG if long else _SHORT) * LANES


@inner
def _sum_lanes(values, first, count, before, sums, at):
    """sums[at : ][:16] += the values, lane by lane in turn; so many others came before them."""
    e, t = 0, _lane16.load(sums, at, 0, 0)
    while before % 16 == 0 and e + 16 <= count:
        t = _lane16.add(t, _lane16.load(values, first + e, 0, 0))
        e += 16
    _lane16.store(t, sums, at, 0, 0)
    while e < count:
        lane = at + (before + e) % 16
        put(sums, lane, get(sums, lane) + get(values, first + e))
        e += 1


@inner
def _add_lists(gradients, offsets, leads, most, listed, xs, base, line, reach, rows, part, at, width):
    """part[at + (k*rows + i)*width : ][:reach] += sum over lead k's list of gradient * (row i from the border
    at base + offset of xs), for i = 0 ... rows-1."""
    column = 0
    while column < reach:
        long = reach - column > _SHORT * LANES
        for k in range(leads):
            first, end, to = k * most, get(listed, k), at + k * rows * width + column
            if end > first:
                _add_rows(
                    gradients, offsets, first, end, xs, base + column, line, part, to, width, rows, long
                )
        column += (_LONG if long else _SHORT) * LANES


@inner
def _filters_gradients(first, end, dy, winner, count, shape, filters, places, xs, dweight, dbias):
    """dweight and dbias of filters first ... end-1, from all images. True: a bad winner."""
    channels, h, w, kh, kw = shape
    pixel, line = steps(channels, w, kw)
    pooled, image, size = places.size // 4, h * line, kw * pixel
    patches = size <= _PATCH
    leads = 1 if patches or pixel % LANES == 0 else _LEADS
    reach = size + (leads - 1) * _STEP  # from a border to the end of a run behind it
    width = _PATCH if patches else run_width(reach)
    rows = (kh + 4) // 5 * 5 if patches else kh
    together = max(1, min(count, _CACHE // image))  # images that share the first cache
    part, sums = aligned((end - first) * leads * rows * width), aligned((end - first) * 16)
    clear(part, 0, part.size)
    clear(sums, 0, sums.size)
    most = 0 if patches else together * pooled
    offsets, gradients = np.empty(leads * most, np.int32), np.empty(leads * most, np.float32)
    listed = np.empty(leads, np.int64)
    bad = False
    for n in range(0, count, together):
        for f in range(first, end):
            at = (f - first) * leads * rows * width
            for k in range(leads):
                put(listed, k, k * most)
            for m in range(n, min(n + together, count)):
                row = (m * filters + f) * pooled
                _sum_lanes(dy, row, pooled, m * pooled, sums, (f - first) * 16)
                if patches:
                    bad |= _add_patches(dy, winner, row, pooled, places, xs, m * image, line, kh, part, at)
                else:  # offsets from the first of these images: they are 32 bits long
                    bad |= _sort(dy, winner, row, pooled, places, (m - n) * image, listed, offsets, gradients)
            if not patches:
                _add_lists(
                    gradients, offsets, leads, most, listed, xs, n * image, line, reach, kh, part, at, width
                )
    taps = np.empty(kh * kw * channels, np.float32)
    for f in range(end - first):
        clear(taps, 0, taps.size)
        for k in range(leads):
            for i in range(kh):
                for j in range(kw):
                    at = ((f * leads + k) * rows + i) * width + k * _STEP + j * pixel
                    for c in range(channels):
                        to = (i * kw + j) * channels + c
                        put(taps, to, get(taps, to) + get(part, at + c))
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
    pooled = places.size // 4
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
