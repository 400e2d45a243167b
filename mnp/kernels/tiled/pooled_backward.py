"""The gradients of a convolution under 2x2 max pooling: only winners are multiplied.

Pooling passes a window's gradient to the one pixel that won, so three quarters of the convolution's
incoming gradient are zeros, and skipping them is exact. With v = (a, b) a window, m[n,f,v] its winner and
(r, s) = (2a + m/2, 2b + m%2) the pixel that won, the plain loop is

      for n, f, v, i, j:
          dweight[f, :, i, j] += dy[n,f,v] * x[n, :, r + i, s + j]
          dx[n, :, r + i, s + j] += dy[n,f,v] * weight[f, :, i, j]

Here images are laid out channels last, so that a row of a patch, KW x C floats, is one run; and so are
the rows of the weights. Each product of a number and a run goes through a tile of one row (`axpy`), where
every multiply-add needs a vector from the first cache. A vector that crosses the border of a cache line is
two loads, so none may cross one: lines of pixels begin on a border, and a run that begins behind one is
read from that border on.

      border       border       border           read: 3 whole vectors
        |...xxxxxxxxx|xxxxxxxxxxxx|xxx.........|         x: the run, .: lanes that are not used
         `-' shift

The winners of a filter are listed by their `shift`, in at most four lists (AVX2, with shorter vectors: two),
as a pixel's channels are filled up to a multiple of 4. Each list has its own sum, from border to
border; at the end these are added up, each moved by its shift. Where a whole row of a patch fits 8 lanes (one
channel), all rows of a patch go through one tile instead, from where they are.

A filter's sums are taken image by image, all by one thread, and an image's gradient by one thread, too: the
bits depend on the batch, never on the number of threads.
"""

import numpy as np

from mnp.kernels.registers import WIDE, get, make_tile, put
from mnp.kernels.tiled.compiling import device, device_inline
from mnp.kernels.tiled.layouts import aligned, channels_first, channels_last, clear, copy, transpose
from mnp.kernels.tiled.parallel import BYTES, FLOATS, INT, INTS, shared, tuples

LANES = 16 if WIDE else 8  # of a vector, whose borders are every so many floats
_LONG, _SHORT = (7, 4) if WIDE else (13, 8)  # vectors of a tile
_patch5, _lane16 = make_tile(1, 5, 8), make_tile(1, 1)
_PATCH = 8  # floats that a row of a patch may have, to go with others through one tile
_STEP, _SHIFTS = 4, LANES // 4  # a pixel is filled up to a multiple of so many floats; the shifts that leaves
_CACHE = 9000  # floats of a block of images: timed with a first cache of 48 KB
_SLACK = 128


def slack(line):
    """Room behind the images for what the last tiles read beyond them."""
    return 5 * line + _SLACK


@device
def steps(channels, w, kw):
    """Floats from pixel to pixel, and from line to line, of an image laid out here."""
    if kw * channels <= _PATCH:
        return channels, w * channels
    pixel = (channels + _STEP - 1) // _STEP * _STEP
    return pixel, (w * pixel + LANES - 1) // LANES * LANES


@device
def run_width(size):
    """Floats reserved for a run of `size`: as many as its tiles touch, long ones, the last may be short."""
    vectors = (size + LANES - 1) // LANES
    rest = vectors % _LONG
    return (vectors - rest + (_LONG if rest > _SHORT else (rest > 0) * _SHORT)) * LANES


def _make_add(vectors):
    tile = make_tile(1, vectors, LANES)

    @device_inline
    def add(gradients, offsets, first, end, source, base_offset, out, at):
        """out[at : ] += sum over the entries of gradient * source[base_offset + offset : ], one tile long."""
        t = tile.load(out, at, 0, LANES)
        for e in range(first, end):
            t = tile.axpy(t, get(gradients, e), source, base_offset + get(offsets, e), LANES)
        tile.store(t, out, at, 0, LANES)

    return add


_add_long, _add_short = _make_add(_LONG), _make_add(_SHORT)


@device
def _sort(dy, winner, row, count, places, base, ends, offsets, gradients):
    """Append the pixels that won one filter's windows (flat from `row`) to the list of their shift, whose end
    is ends[shift]; an offset is that of the border before the pixel. True: a bad winner."""
    # Without a branch: a winner outside 0..3 is remembered in `bad`, and its two low bits are used.
    bad = np.int64(0)
    for p in range(count):
        q = np.int64(get(winner, row + p))
        bad |= q
        offset = np.int64(get(places, 4 * p + (q & 3)))
        shift = (offset & (LANES - 1)) // _STEP
        to = get(ends, shift)
        put(offsets, to, np.int32(base + (offset & -LANES)))
        put(gradients, to, get(dy, row + p))
        put(ends, shift, to + 1)
    return bad > 3


@device
def _add_patches(dy, winner, row, count, places, xs, base, line, kh, part, at):
    """part[at + 8*i : ][:8] += sum over one filter's windows (flat from `row`) of gradient * (row i of the
    patch whose pixel won), in the image at xs[base]. True: a bad winner."""
    bad = np.int64(0)
    for i in range(0, kh, 5):  # five rows of 8 lanes; two tiles, to have enough sums under way
        t, u = _patch5.load(part, at + i * _PATCH, 0, _PATCH), _patch5.zero()
        base_offset = base + i * line
        for p in range(0, count - 1, 2):
            q, r = np.int64(get(winner, row + p)), np.int64(get(winner, row + p + 1))
            bad |= q | r
            a, b = base_offset + get(places, 4 * p + (q & 3)), base_offset + get(places, 4 * p + 4 + (r & 3))
            t = _patch5.axpy(t, get(dy, row + p), xs, a, line)
            u = _patch5.axpy(u, get(dy, row + p + 1), xs, b, line)
        if count % 2:
            q = np.int64(get(winner, row + count - 1))
            bad |= q
            a = base_offset + get(places, 4 * count - 4 + (q & 3))
            t = _patch5.axpy(t, get(dy, row + count - 1), xs, a, line)
        # The two tiles meet once per image, always in this order.
        _patch5.store(_patch5.add(t, u), part, at + i * _PATCH, 0, _PATCH)
    return bad > 3


@device
def _spread_patches(dy, winner, row, filters, places, line, pixel, size, kh, ws, dxs, won_counts, rows, gs):
    """dxs (channels last) += every filter's weights, placed where it won; one image, from `row` of dy."""
    # A pixel of a window wins for some filters only. Sorted by pixel, all weights that go to one place of the
    # image are added in registers, and the place is read and written once.
    pooled, width = places.size // 4, run_width(size)
    for bucket in range(4 * pooled):
        put(won_counts, bucket, 0)
    for f in range(filters):  # one bucket for every pixel of a window: the filters for which it won
        for p in range(pooled):
            bucket = 4 * p + (get(winner, row + f * pooled + p) & 3)
            won = get(won_counts, bucket)
            put(rows, bucket * filters + won, f * width)
            put(gs, bucket * filters + won, get(dy, row + f * pooled + p))
            put(won_counts, bucket, won + 1)
    for i in range(kh):
        column = 0
        while column < size:
            long, base_offset = size - column > _SHORT * LANES, i * filters * width + column
            for bucket in range(4 * pooled):
                first, end = bucket * filters, bucket * filters + won_counts[bucket]
                here = get(places, bucket) + i * line + column
                if long:
                    _add_long(gs, rows, first, end, ws, base_offset, dxs, here)
                else:
                    _add_short(gs, rows, first, end, ws, base_offset, dxs, here)
            column += (_LONG if long else _SHORT) * LANES


@device
def _sum_lanes(values, first, count, before, sums, at):
    """sums[at : ][:16] += the values, lane by lane in turn; so many others came before them."""
    # Value number e of all images goes to lane e % 16: whole vectors where lane 0 begins, the rest alone.
    e, t = 0, _lane16.load(sums, at, 0, 0)
    while before % 16 == 0 and e + 16 <= count:
        t = _lane16.add(t, _lane16.load(values, first + e, 0, 0))
        e += 16
    _lane16.store(t, sums, at, 0, 0)
    while e < count:
        lane = at + (before + e) % 16
        put(sums, lane, get(sums, lane) + get(values, first + e))
        e += 1


@device
def _add_lists(gradients, offsets, shifts, capacity, ends, xs, base, line, reach, rows, part, at, width):
    """part[at + (k*rows + i)*width : ][:reach] += sum over shift k's list of gradient * (row i of xs from the
    border at base + offset), for i = 0 ... rows-1."""
    # Columns outside, lists inside: a tile's sums stay in registers while a whole list goes by.
    column = 0
    while column < reach:
        long = reach - column > _SHORT * LANES
        for k in range(shifts):
            first, end, to = k * capacity, get(ends, k), at + k * rows * width + column
            for i in range(rows if end > first else 0):
                source, target = base + i * line + column, to + i * width
                if long:
                    _add_long(gradients, offsets, first, end, xs, source, part, target)
                else:
                    _add_short(gradients, offsets, first, end, xs, source, part, target)
        column += (_LONG if long else _SHORT) * LANES


@device
def _filters_gradients(first, end, dy, winner, count, shape, filters, places, xs, dweight, dbias):
    """dweight and dbias of filters first ... end-1, from all images. True: a bad winner."""
    channels, h, w, kh, kw = shape
    pixel, line = steps(channels, w, kw)
    pooled, image, size = places.size // 4, h * line, kw * pixel
    patches = size <= _PATCH
    shifts = 1 if patches or pixel % LANES == 0 else _SHIFTS
    reach = size + (shifts - 1) * _STEP  # from a border to the end of a run behind it
    width = _PATCH if patches else run_width(reach)
    rows = (kh + 4) // 5 * 5 if patches else kh
    images_per_block = max(1, min(count, _CACHE // image))  # images that share the first cache
    # part[f, k, i, :]: what filter f has added up for row i from the pixels of shift k, border to border.
    part, sums = aligned((end - first) * shifts * rows * width), aligned((end - first) * 16)
    clear(part, 0, part.size)
    clear(sums, 0, sums.size)
    # Room for a list that holds every window of the block, for each shift.
    capacity = 0 if patches else images_per_block * pooled
    offsets, gradients = np.empty(shifts * capacity, np.int32), np.empty(shifts * capacity, np.float32)
    ends = np.empty(shifts, np.int64)
    bad = False
    # A block of images stays in the first cache while all filters of this share go by. The images' order is
    # the order of the sums, whatever the number of threads.
    for n in range(0, count, images_per_block):
        for f in range(first, end):
            at = (f - first) * shifts * rows * width
            # First list the winning pixels of all images of the block, then multiply: the lists are long
            # enough for the tiles to be worth loading.
            for k in range(shifts):
                put(ends, k, k * capacity)
            for m in range(n, min(n + images_per_block, count)):
                row = (m * filters + f) * pooled
                _sum_lanes(dy, row, pooled, m * pooled, sums, (f - first) * 16)
                if patches:
                    bad |= _add_patches(dy, winner, row, pooled, places, xs, m * image, line, kh, part, at)
                else:  # offsets from the first of these images: they are 32 bits long
                    bad |= _sort(dy, winner, row, pooled, places, (m - n) * image, ends, offsets, gradients)
            if not patches:
                lists = gradients, offsets, shifts, capacity, ends
                _add_lists(*lists, xs, n * image, line, reach, kh, part, at, width)
    # Add up the shifts, each moved back to where its runs begin, and turn (tap, channel) into (channel, tap).
    taps = np.empty(kh * kw * channels, np.float32)
    for f in range(end - first):
        clear(taps, 0, taps.size)
        for k in range(shifts):
            for i in range(kh):
                for j in range(kw):
                    at = ((f * shifts + k) * rows + i) * width + k * _STEP + j * pixel
                    for c in range(channels):
                        to = (i * kw + j) * channels + c
                        put(taps, to, get(taps, to) + get(part, at + c))
        transpose(taps, 0, channels, kh * kw, channels, dweight, (first + f) * taps.size, kh * kw)
        # The bias's 16 partial sums, one after the other.
        total = np.float32(0)
        for lane in range(16):
            total += sums[f * 16 + lane]
        dbias[first + f] = total
    return bad


@device
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


@device
def _image_gradient(n, dy, winner, shape, filters, padding, places, ws, dx):
    """dx of one image."""
    channels, h, w, kh, kw = shape
    pixel, line = steps(channels, w, kw)
    pooled = places.size // 4
    dxs = aligned(h * line + _SLACK)
    clear(dxs, 0, dxs.size)
    won_counts = np.empty(4 * pooled, np.int64)
    rows, gs = np.empty(4 * pooled * filters, np.int32), np.empty(4 * pooled * filters, np.float32)
    # Channels last, where each weight's row is one run; then back to the layout of x, without the padding.
    row = n * filters * pooled
    _spread_patches(
        dy, winner, row, filters, places, line, pixel, kw * pixel, kh, ws, dxs, won_counts, rows, gs
    )
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
