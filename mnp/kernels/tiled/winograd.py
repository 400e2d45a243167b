"""Convolution with fewer multiplications: Winograd's short filters, for 3x3 and 5x5 kernels.

Two neighbouring outputs of a filter of 3 taps, y0 = d0 g0 + d1 g1 + d2 g2 and y1 = d1 g0 + d2 g1 + d3 g2,
need four products instead of six (Winograd 1980; Lavin and Gray 2016, arXiv 1509.09308):

      A = (d0 - d2) g0         B = (d1 + d2)(g0 + g1 + g2)/2
      D = (d3 - d1) g2         C = (d2 - d1)(g0 - g1 + g2)/2         y0 = A + B + C,   y1 = B - C + D

and a filter of 5 taps is one of 3 and one of 2, whose products join the same sums:

      A += (d3 - d4) g3        B += d4 (g3 + g4)        D += (d5 - d4) g4

Done along rows and columns, a square of 2x2 outputs takes 16 products per channel instead of 36, or 49
instead of 100, and 16 sums over channels (AA, AB ... DD), after which the outputs are made of sums and
differences. All factors are powers of two, so small integers stay exact, and where the input does not change
along a row or column, neither does the output, to the last bit: ties between equal pixels remain ties.

64 squares at a time, a *panel*, lie in the lanes of 4 vectors:

      values[plane, c, lane]   sums and differences of pixels             plane: one of 4x4 or 7x7 products
      factors[plane, f*C + c]  sums and differences of weights
      sums[ab, f, lane]        sum over c and over the planes that belong to ab = AA ... DD
"""

import numpy as np

from mnp.kernels.registers import get, make_tile, put
from mnp.kernels.tiled.compiling import inner
from mnp.kernels.tiled.layouts import aligned, transpose
from mnp.kernels.tiled.parallel import BYTES, FLOATS, INT, shared, tuples

PANEL, _PITCH = (
    64,
    80,
)  # lanes of a panel; of a row of gathered pixels, whose last run may be written too long
_tile, _wide, _pool, _pairs = make_tile(4, 4), make_tile(1, 4), make_tile(1, 4), make_tile(1, 2)
_pairs4, _FIELDS = make_tile(1, 2, 4), 6


@inner
def _products(kernel):
    """How many products a row of two outputs takes, and so a column: planes = products squared."""
    return 4 if kernel == 3 else 7


@inner
def _plane_size(pairs):
    return (pairs + PANEL - 1) // PANEL * PANEL


def factors_size(filters, channels, kernel):
    """Floats that `make_factors` writes, with room behind for a tile that has filters to spare."""
    return (4 if kernel == 3 else 7) ** 2 * (filters * channels + PANEL) + 4 * channels


@inner
def _plane_of(kernel, letter):
    """Of the products of one axis, the first that belongs to A, B, C or D (0 ... 3)."""
    return letter if kernel == 3 else (0, 2, 4, 5, 7)[letter]


@inner
def _vectors(a, at):
    return _wide.load(a, at, 0, 16)


@inner
def _pixel_factors(kernel, a, at, step, out, to, out_step):
    """64 lanes of the pixels d0, d1 ... -> their sums and differences, in the order A.., B.., C, D.. ."""
    d1, d2, d3 = _vectors(a, at + step), _vectors(a, at + 2 * step), _vectors(a, at + 3 * step)
    _wide.store(_wide.sub(_vectors(a, at), d2), out, to, 0, 16)
    if kernel == 3:
        _wide.store(_wide.add(d1, d2), out, to + out_step, 0, 16)
        _wide.store(_wide.sub(d2, d1), out, to + 2 * out_step, 0, 16)
        _wide.store(_wide.sub(d3, d1), out, to + 3 * out_step, 0, 16)
    else:
        d4, d5 = _vectors(a, at + 4 * step), _vectors(a, at + 5 * step)
        _wide.store(_wide.sub(d3, d4), out, to + out_step, 0, 16)
        _wide.store(_wide.add(d1, d2), out, to + 2 * out_step, 0, 16)
        _wide.store(d4, out, to + 3 * out_step, 0, 16)
        _wide.store(_wide.sub(d2, d1), out, to + 4 * out_step, 0, 16)
        _wide.store(_wide.sub(d3, d1), out, to + 5 * out_step, 0, 16)
        _wide.store(_wide.sub(d5, d4), out, to + 6 * out_step, 0, 16)


@inner
def _weight_factors(kernel, a, at, step, out, to, out_step):
    """The same for the weights g0, g1 ... : the other factor of each product."""
    g0, g1, g2 = _vectors(a, at), _vectors(a, at + step), _vectors(a, at + 2 * step)
    outer, half = _wide.add(g0, g2), np.float32(0.5)
    b, c = _wide.scale(_wide.add(outer, g1), half), _wide.scale(_wide.sub(outer, g1), half)
    _wide.store(g0, out, to, 0, 16)
    if kernel == 3:
        _wide.store(b, out, to + out_step, 0, 16)
        _wide.store(c, out, to + 2 * out_step, 0, 16)
        _wide.store(g2, out, to + 3 * out_step, 0, 16)
    else:
        g3, g4 = _vectors(a, at + 3 * step), _vectors(a, at + 4 * step)
        _wide.store(g3, out, to + out_step, 0, 16)
        _wide.store(b, out, to + 2 * out_step, 0, 16)
        _wide.store(_wide.add(g3, g4), out, to + 3 * out_step, 0, 16)
        _wide.store(c, out, to + 4 * out_step, 0, 16)
        _wide.store(g2, out, to + 5 * out_step, 0, 16)
        _wide.store(g4, out, to + 6 * out_step, 0, 16)


@shared(FLOATS, INT, INT, INT, INT, FLOATS)
def make_factors(index, weight, filters, channels, kernel, turned, factors):
    """factors of 64 pairs (filter, channel) from 64*index on; count = pairs / 64, rounded up.

    turned = 1 makes those of the convolution that gives dx: filters and channels change places (and so
    the arguments are the weights' own), and each kernel is turned by half a circle.
    """
    taps, n = kernel * kernel, _products(kernel)
    first, pairs = index * PANEL, filters * channels
    lanes, plane = min(PANEL, pairs - first), _plane_size(pairs)
    g, half = aligned(taps * PANEL), aligned(n * kernel * PANEL)
    if turned:
        for lane in range(lanes):
            f, c = (first + lane) % filters, (first + lane) // filters
            for tap in range(taps):
                put(g, (taps - 1 - tap) * PANEL + lane, get(weight, (f * channels + c) * taps + tap))
    else:
        transpose(weight, first * taps, taps, lanes, taps, g, 0, PANEL)
    for j in range(kernel):
        _weight_factors(kernel, g, j * PANEL, kernel * PANEL, half, j * PANEL, kernel * PANEL)
    for a in range(n):
        _weight_factors(kernel, half, a * kernel * PANEL, PANEL, factors, a * n * plane + first, plane)


@inner
def _runs(first, lanes, rows, columns, kernel, runs, slots):
    """Cut a panel into runs of squares that are neighbours in an image.

    runs[_FIELDS*i : ] = lane, length, image, row of squares, first column of squares, slot
    slots[2*slot : ] = image, row of pixels (counting the padding); overlapping rows of squares share them
    """
    lane, count, slot, used = 0, 0, 0, 0
    while lane < lanes:
        n, square = (first + lane) // (rows * columns), (first + lane) % (rows * columns)
        ty, tx = square // columns, square % columns
        slot = slot + 2 if lane and square else used
        length = min(columns - tx, lanes - lane)
        at = _FIELDS * count
        runs[at], runs[at + 1], runs[at + 2], runs[at + 3], runs[at + 4] = lane, length, n, ty, tx
        runs[at + 5] = slot
        while used < slot + kernel + 1:
            slots[2 * used], slots[2 * used + 1] = n, 2 * ty + used - slot
            used += 1
        lane += length
        count += 1
    return count, used


@inner
def _copy_rows(x, c, shape, padding, slots, used, rows, start, pitch):
    """rows[start + slot*pitch + padding : ] = the slots' rows of channel c; what is padding stays zero."""
    channels, h, w, _, _ = shape
    for slot in range(used):
        r = slots[2 * slot + 1] - padding
        if 0 <= r < h:
            source, to = ((slots[2 * slot] * channels + c) * h + r) * w, start + slot * pitch + padding
            for s in range(w):
                put(rows, to + s, get(x, source + s))


@inner
def _gather(kernel, rows, start, pitch, runs, count, pixels, to):
    """pixels[to + (u*(K+1) + v)*_PITCH + lane] = pixel (2*ty + u, 2*tx + v) of the square in that lane."""
    side = kernel + 1
    for i in range(count):
        at = _FIELDS * i
        lane, length, source = to + runs[at], runs[at + 1], start + runs[at + 5] * pitch + 2 * runs[at + 4]
        for u in range(side):
            for v in range(0, side, 2):  # even columns and odd ones
                pixel, place = source + u * pitch + v, lane + (u * side + v) * _PITCH
                if length <= 4:
                    _pairs4.store(_pairs4.load_pairs(rows, pixel, 0), pixels, place, 0, _PITCH)
                else:
                    for s in range(0, length, 16):
                        _pairs.store(_pairs.load_pairs(rows, pixel + 2 * s, 0), pixels, place + s, 0, _PITCH)


@inner
def _panel_factors(kernel, pixels, start, half, values, c, channels):
    """values[plane, c, :] from one channel's pixels: along columns, then along rows."""
    n, side = _products(kernel), kernel + 1
    for v in range(side):
        _pixel_factors(kernel, pixels, start + v * _PITCH, side * _PITCH, half, v * PANEL, side * PANEL)
    for a in range(n):
        to = (a * n * channels + c) * PANEL
        _pixel_factors(kernel, half, a * side * PANEL, PANEL, values, to, channels * PANEL)


@inner
def _multiply(kernel, channels, filters, factors, values, sums):
    """sums[ab, f, lane] = sum over c and the planes of ab of factors * values; four filters a tile."""
    n, plane, whole = _products(kernel), _plane_size(filters * channels), (filters + 3) // 4 * 4
    for ab in range(16):
        a0, a1 = _plane_of(kernel, ab // 4), _plane_of(kernel, ab // 4 + 1)
        b0, b1 = _plane_of(kernel, ab % 4), _plane_of(kernel, ab % 4 + 1)
        for f in range(0, filters, 4):
            t = _tile.zero()
            for a in range(a0, a1):
                for b in range(b0, b1):
                    w, v = (a * n + b) * plane + f * channels, (a * n + b) * channels * PANEL
                    for c in range(channels):
                        t = _tile.outer(t, factors, w + c, channels, values, v + c * PANEL, 16)
            _tile.store(t, sums, (ab * whole + f) * PANEL, PANEL, 16)


@inner
def _outputs(sums, at, step, halves, y):
    """The 2x2 outputs of 64 squares: y[0..3][lane] from the 16 sums of one filter."""
    for a in range(4):
        s = at + 4 * a * step
        both, other = _vectors(sums, s + step), _vectors(sums, s + 2 * step)
        _wide.store(_wide.add(_wide.add(_vectors(sums, s), both), other), halves, a * PANEL, 0, 16)
        _wide.store(
            _wide.add(_wide.sub(both, other), _vectors(sums, s + 3 * step)), halves, (4 + a) * PANEL, 0, 16
        )
    for column in range(2):
        half = 4 * column * PANEL
        both, other = _vectors(halves, half + PANEL), _vectors(halves, half + 2 * PANEL)
        _wide.store(_wide.add(_wide.add(_vectors(halves, half), both), other), y, column * PANEL, 0, 16)
        lower = _wide.add(_wide.sub(both, other), _vectors(halves, half + 3 * PANEL))
        _wide.store(lower, y, (2 + column) * PANEL, 0, 16)


@inner
def _largest(four, bias, f, y, winner):
    """The largest of each square's outputs, and which of them it is."""
    for lane in range(0, PANEL, 16):
        t = _pool.add_rows(_pool.load(four, lane, 0, PANEL), bias, f)
        _pool.max_columns(t, y, winner, lane, 0)


@inner
def _interleave(four, bias, f, y):
    """The squares' two rows of outputs, left and right taking turns: y[below*128 + 2*lane + right]."""
    for below in range(2):
        for lane in range(0, PANEL, 16):
            t = _pairs.add_rows(_pairs.load(four, 2 * below * PANEL + lane, 0, PANEL), bias, f)
            _pairs.store_pairs(t, y, 2 * (below * PANEL + lane), 0)


@shared(FLOATS, tuples(INT, 5), FLOATS, FLOATS, INT, INT, INT, FLOATS, BYTES)
def convolve(index, x, shape, factors, bias, filters, padding, count, y, winner):
    """Panel `index` of the convolution's squares, or, where winner is not empty, of its pooled windows.

    shape = (C, H, W, K, K). A last row or column of outputs that fills no square is written without
    pooling and left out with it; so squares are rounded up or down.
    """
    channels, h, w, kernel, _ = shape
    oh, ow = h + 2 * padding - kernel + 1, w + 2 * padding - kernel + 1
    pooled = winner.size > 0
    rows, columns = (oh // 2, ow // 2) if pooled else ((oh + 1) // 2, (ow + 1) // 2)
    squares, n_products = rows * columns, _products(kernel)
    first = index * PANEL
    lanes = min(PANEL, count * squares - first)
    runs, slots = np.empty(_FIELDS * PANEL, np.int64), np.empty(2 * (kernel + 1) * PANEL, np.int64)
    runs_count, used = _runs(first, lanes, rows, columns, kernel, runs, slots)
    pitch, size = 2 * columns + kernel + 2 * 16, (kernel + 1) * (kernel + 1) * _PITCH
    lines, pixels = aligned(2 * used * pitch), aligned(2 * size)
    lines[:] = 0
    pixels[:] = 0
    half = aligned(n_products * (kernel + 1) * PANEL)
    values = aligned(n_products * n_products * channels * PANEL)
    # Three steps for each channel, on three channels at a time: what one step writes, the next reads a
    # round later. A vector that is read right after it was written piece by piece makes the CPU wait.
    for c in range(channels + 2):
        now, before = c % 2, (c + 1) % 2
        if c < channels:
            _copy_rows(x, c, shape, padding, slots, used, lines, now * used * pitch, pitch)
        if 1 <= c <= channels:
            _gather(kernel, lines, before * used * pitch, pitch, runs, runs_count, pixels, before * size)
        if c >= 2:
            _panel_factors(kernel, pixels, now * size, half, values, c - 2, channels)
    whole = (filters + 3) // 4 * 4
    sums = aligned(16 * whole * PANEL)
    _multiply(kernel, channels, filters, factors, values, sums)
    halves, four, spare, won = (
        aligned(8 * PANEL),
        aligned(4 * PANEL),
        aligned(4 * PANEL),
        np.empty(PANEL, np.uint8),
    )
    for f in range(filters):
        _outputs(sums, f * PANEL, whole * PANEL, halves, four)
        if pooled:
            _largest(four, bias, f, spare, won)
        else:
            _interleave(four, bias, f, spare)
        for i in range(runs_count):
            lane, length, n = runs[_FIELDS * i], runs[_FIELDS * i + 1], runs[_FIELDS * i + 2]
            ty, tx = runs[_FIELDS * i + 3], runs[_FIELDS * i + 4]
            if pooled:
                to = ((n * filters + f) * rows + ty) * columns + tx
                for s in range(length):
                    put(y, to + s, get(spare, lane + s))
                    put(winner, to + s, get(won, lane + s))
            else:
                for below in range(min(2, oh - 2 * ty)):
                    to = ((n * filters + f) * oh + 2 * ty + below) * ow + 2 * tx
                    for s in range(min(2 * length, ow - 2 * tx)):
                        put(y, to + s, get(spare, 2 * (below * PANEL + lane) + s))
