"""The gradients of a convolution under 2x2 max pooling: only winners are multiplied.

Pooling passes a window's gradient to the one pixel that won, so three quarters of the convolution's
incoming gradient are zeros, and skipping them is exact. With p = (a, b) a window, q[n,f,p] its winner and
(r, s) = (2a + q/2, 2b + q%2) the pixel that won:

      dweight[f, :, i, j] = sum_{n,p} dy[n,f,p] x[n, :, r + i, s + j]
      dx[n, :, r + i, s + j] += dy[n,f,p] weight[f, :, i, j]

Here images are laid out channels last, so that a row of a patch, KW x C floats, is one run; and so are
the rows of the weights. Each product of a number and a run goes through a tile of one row (`axpy`). Its
vectors have 8 lanes: runs start anywhere, and 8 lanes cross the border of a cache line less often than 16.

Sums over images are taken over fixed groups of images, and the groups' sums added in their order: the bits
depend on the batch, never on the number of threads.
"""

import numpy as np

from mnp.kernels.registers import LINE, get, make_tile, put
from mnp.kernels.tiled.compiling import inner
from mnp.kernels.tiled.layouts import aligned, channels_first, channels_last, clear, copy, transpose
from mnp.kernels.tiled.parallel import BYTES, FLOATS, INT, INTS, shared, tuples

_row13, _row4, _patch5, _lane16 = (
    make_tile(1, 13, 8),
    make_tile(1, 4, 8),
    make_tile(1, 5, 8),
    make_tile(1, 1, 16),
)
_SLACK = 13 * 8 + LINE


def slack(line):
    """Room behind the images for what the last tiles read beyond them; `line` is a row of an image."""
    return 5 * line + _SLACK


@inner
def run_width(size):
    """Floats reserved for a run of `size`: as many as its tiles touch, 13 vectors a time or 4."""
    vectors = (size + 7) // 8
    rest = vectors % 13
    return (vectors - rest + (13 if rest > 8 else (rest + 3) // 4 * 4)) * 8


@inner
def _collect(dy, winner, row, count, places, line, channels, base, offsets, gradients, at):
    """List the pixels that won one filter's windows (flat from `row`). True: a bad winner."""
    bad, line, channels, base = np.int32(0), np.int32(line), np.int32(channels), np.int32(base)
    for p in range(count):
        q = np.int32(get(winner, row + p))
        bad |= q
        put(offsets, at + p, base + get(places, p) + ((q >> 1) & 1) * line + (q & 1) * channels)
        put(gradients, at + p, get(dy, row + p))
    return bad > 3


@inner
def _add_patches(offsets, gradients, count, xs, base, line, size, kh, part, at, width):
    """part[at + i*width : ][:size] += sum over the list of gradient * (row i of the patch at offset)."""
    if size <= 8:  # a whole patch in one tile: five rows of 8 lanes; two tiles, to have enough sums under way
        for i in range(0, kh, 5):
            t, u = _patch5.load(part, at + i * width, 0, width), _patch5.zero()
            for e in range(0, count - 1, 2):
                t = _patch5.axpy(t, get(gradients, e), xs, base + get(offsets, e) + i * line, line)
                u = _patch5.axpy(u, get(gradients, e + 1), xs, base + get(offsets, e + 1) + i * line, line)
            if count % 2:
                t = _patch5.axpy(
                    t, get(gradients, count - 1), xs, base + get(offsets, count - 1) + i * line, line
                )
            _patch5.store(_patch5.add(t, u), part, at + i * width, 0, width)
        return
    for i in range(kh):
        left, here, there = size, at + i * width, base + i * line
        while left > 0:
            if left > 64:
                t = _row13.load(part, here, 0, 8)
                for e in range(count):
                    t = _row13.axpy(t, get(gradients, e), xs, get(offsets, e) + there, 8)
                _row13.store(t, part, here, 0, 8)
                step = 104
            else:
                u = _row4.load(part, here, 0, 8)
                for e in range(count):
                    u = _row4.axpy(u, get(gradients, e), xs, get(offsets, e) + there, 8)
                _row4.store(u, part, here, 0, 8)
                step = 32
            left, here, there = left - step, here + step, there + step


@inner
def _spread_patches(dy, winner, row, filters, places, line, channels, size, kh, ws, dxs, wins, rows, gs):
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
        for bucket in range(4 * pooled):
            first, end = bucket * filters, bucket * filters + wins[bucket]
            here = places[bucket // 4] + (bucket // 2 % 2 + i) * line + bucket % 2 * channels
            left, column = size, i * filters * width
            while left > 0:
                if left > 64:
                    t = _row13.load(dxs, here, 0, 8)
                    for e in range(first, end):
                        t = _row13.axpy(t, get(gs, e), ws, column + get(rows, e), 8)
                    _row13.store(t, dxs, here, 0, 8)
                    step = 104
                else:
                    u = _row4.load(dxs, here, 0, 8)
                    for e in range(first, end):
                        u = _row4.axpy(u, get(gs, e), ws, column + get(rows, e), 8)
                    _row4.store(u, dxs, here, 0, 8)
                    step = 32
                left, here, column = left - step, here + step, column + step


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
    pooled, image, line, size = places.size, h * w * channels, w * channels, kw * channels
    width = 8 if size <= 8 else run_width(size)
    rows = (kh + 4) // 5 * 5 if size <= 8 else kh
    together = max(1, min(count, 6144 // image))  # images that share the first cache
    part, sums = aligned((end - first) * rows * width), aligned((end - first) * 16)
    clear(part, 0, part.size)
    clear(sums, 0, sums.size)
    offsets, gradients = np.empty(together * pooled, np.int32), np.empty(together * pooled, np.float32)
    bad = False
    for n in range(0, count, together):
        images = min(together, count - n)
        for f in range(first, end):
            for m in range(images):
                row, base = ((n + m) * filters + f) * pooled, m * image
                bad |= _collect(
                    dy, winner, row, pooled, places, line, channels, base, offsets, gradients, m * pooled
                )
            listed, at = images * pooled, f - first
            _sum_lanes(gradients, listed, sums, at * 16)
            at *= rows * width
            _add_patches(offsets, gradients, listed, xs, n * image, line, size, kh, part, at, width)
    taps = np.empty(kh * size, np.float32)
    for f in range(end - first):
        for i in range(kh):
            copy(part, (f * rows + i) * width, size, taps, i * size)
        at = (first + f) * kh * size
        transpose(taps, 0, channels, kh * kw, channels, dweight, at, kh * kw)
        total = np.float32(0)
        for lane in range(16):
            total += sums[f * 16 + lane]
        dbias[first + f] = total
    return bad


@inner
def _pack_filter(f, weight, shape, filters, ws):
    """ws[(i*F + f)*width + j*C + c] = weight[f, c, i, j], zeros behind each row."""
    channels, _, _, kh, kw = shape
    size = kw * channels
    width = run_width(size)
    taps = np.empty(kh * size, np.float32)
    transpose(weight, f * kh * size, kh * kw, channels, kh * kw, taps, 0, channels)
    for i in range(kh):
        at = (i * filters + f) * width
        copy(taps, i * size, size, ws, at)
        clear(ws, at + size, at + width)


@inner
def _image_gradient(n, dy, winner, shape, filters, padding, places, ws, dx):
    """dx of one image."""
    channels, h, w, kh, kw = shape
    pooled, line, size = places.size, w * channels, kw * channels
    dxs = aligned(h * line + _SLACK)
    clear(dxs, 0, dxs.size)
    wins = np.empty(4 * pooled, np.int64)
    rows, gs = np.empty(4 * pooled * filters, np.int32), np.empty(4 * pooled * filters, np.float32)
    _spread_patches(
        dy, winner, n * filters * pooled, filters, places, line, channels, size, kh, ws, dxs, wins, rows, gs
    )
    h, w = h - 2 * padding, w - 2 * padding
    channels_first(dxs, channels, h, w, padding, dx, n * channels * h * w)


padded = run_width.py_func if hasattr(run_width, "py_func") else run_width  # the same for Python


@shared(FLOATS, FLOATS, tuples(INT, 5), INT, INT, INT, FLOATS, FLOATS)
def lay_out(index, x, weight, shape, count, filters, padding, xs, ws):
    """Lay image `index` out in xs, or, from index = count on, filter index - count in ws."""
    channels, h, w, _, _ = shape
    if index < count:
        image, h, w = h * w * channels, h - 2 * padding, w - 2 * padding
        channels_last(x, index * channels * h * w, channels, h, w, padding, xs, index * image)
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
