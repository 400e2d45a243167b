"""Convolution with fewer multiplications, in panels of 64 squares of 2x2 outputs (see `winograd_factors`).

      for n, f, p, q:  y[n, f, p, q] = bias[f]                        # the plain loop
          for c, i, j:  y[n, f, p, q] += weight[f, c, i, j] * xp[n, c, p + i, q + j]

A panel's squares lie in the lanes of 4 vectors:

      values[plane, c, lane]   sums and differences of pixels             plane: one of 4x4 or 7x7 products
      factors[plane, f*C + c]  sums and differences of weights
      sums[ab, f, lane]        sum over c and over the planes that belong to ab = AA ... DD
"""

import numpy as np

from mnp.kernels.registers import get, make_tile, put
from mnp.kernels.tiled.compiling import device
from mnp.kernels.tiled.layouts import aligned, clear
from mnp.kernels.tiled.parallel import BYTES, FLOATS, INT, shared, tuples
from mnp.kernels.tiled.winograd_factors import (
    PANEL,
    STRIP,
    pixel_factors,
    plane_of,
    plane_size,
    products,
    strip,
    vectors,
)

_PITCH = PANEL + 16  # of a row of gathered pixels, whose last run may be written too long
_FIELDS = 6  # numbers that describe a run, see _runs
_tile = make_tile(4, STRIP // 16)
_four = make_tile(1, 4)  # the four outputs of 16 squares
_two, _two4 = make_tile(1, 2), make_tile(1, 2, 4)  # left and right pixels
_one = make_tile(1, 1)


@device
def _runs(first, lanes, rows, columns, kernel, runs, slots):
    """Cut a panel into runs of squares that are neighbours in an image.

    runs[_FIELDS*i : ] = lane, length, image, row of squares, first column of squares, slot
    slots[2*slot : ] = image, row of pixels (counting the padding); overlapping rows of squares share them
    """
    # A panel may end in the middle of one row of squares, and of one image, and go on in the next.
    lane, count, slot, used = 0, 0, 0, 0
    while lane < lanes:
        n, square = (first + lane) // (rows * columns), (first + lane) % (rows * columns)
        ty, tx = square // columns, square % columns
        # The next row of squares begins two rows of pixels further, most of which have their slots already;
        # those of another image need new ones.
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


@device
def _copy_rows(x, c, shape, padding, slots, used, rows, start, pitch):
    """rows[start + slot*pitch + padding : ] = the slots' rows of channel c; what is padding stays zero."""
    channels, h, w, _, _ = shape
    for slot in range(used):
        r = slots[2 * slot + 1] - padding
        if 0 <= r < h:
            source, to = ((slots[2 * slot] * channels + c) * h + r) * w, start + slot * pitch + padding
            for s in range(w):
                put(rows, to + s, get(x, source + s))


@device
def _gather(kernel, rows, start, pitch, runs, count, pixels, to):
    """pixels[to + (u*(K+1) + v)*_PITCH + lane] = pixel (2*ty + u, 2*tx + v) of the square in that lane."""
    # A lane per square: what lies side by side in a row of the image must come from every second pixel.
    side = kernel + 1
    for i in range(count):
        at = _FIELDS * i
        lane, length, source = to + runs[at], runs[at + 1], start + runs[at + 5] * pitch + 2 * runs[at + 4]
        for u in range(side):
            for v in range(0, side, 2):  # even columns and odd ones
                pixel, place = source + u * pitch + v, lane + (u * side + v) * _PITCH
                if length <= 4:
                    _two4.store(_two4.load_pairs(rows, pixel, 0), pixels, place, 0, _PITCH)
                else:
                    for s in range(0, length, 16):
                        _two.store(_two.load_pairs(rows, pixel + 2 * s, 0), pixels, place + s, 0, _PITCH)


@device
def _panel_factors(kernel, pixels, start, half, values, c, channels):
    """values[plane, c, :] from one channel's pixels: along columns, then along rows."""
    n, side = products(kernel), kernel + 1
    for v in range(side):
        pixel_factors(kernel, pixels, start + v * _PITCH, side * _PITCH, half, v * PANEL, side * PANEL)
    for a in range(n):
        to = (a * n * channels + c) * PANEL
        pixel_factors(kernel, half, a * side * PANEL, PANEL, values, to, channels * PANEL)


@device
def _multiply(kernel, channels, filters, factors, values, sums):
    """sums[ab, f, lane] = sum over c and the planes of ab of factors * values; four filters a tile."""
    n, plane, whole = products(kernel), plane_size(filters * channels), (filters + 3) // 4 * 4
    # Sixteen matrix products, factors (filters, channels) times values (channels, lanes), one for each ab. A
    # 5x5 kernel's AA takes four planes, which join in the tile's registers.
    for ab in range(16):
        a0, a1 = plane_of(kernel, ab // 4), plane_of(kernel, ab // 4 + 1)
        b0, b1 = plane_of(kernel, ab % 4), plane_of(kernel, ab % 4 + 1)
        for lane in range(0, PANEL, STRIP):
            for f in range(0, filters, 4):
                t = _tile.zero()
                for a in range(a0, a1):
                    for b in range(b0, b1):
                        w, v = (a * n + b) * plane + f * channels, (a * n + b) * channels * PANEL + lane
                        for c in range(channels):
                            t = _tile.outer(t, factors, w + c, channels, values, v + c * PANEL, 16)
                _tile.store(t, sums, (ab * whole + f) * PANEL + lane, PANEL, 16)


@device
def _outputs(sums, at, step, halves, y):
    """The 2x2 outputs of 64 squares: y[0..3][lane] from the 16 sums of one filter."""
    # Rows first, 16 sums to 8; then columns, 8 to 4.
    for lane in range(0, PANEL, STRIP):
        for a in range(4):
            s, to = at + 4 * a * step + lane, a * PANEL + lane
            both, other = vectors(sums, s + step), vectors(sums, s + 2 * step)
            strip.store(strip.add(strip.add(vectors(sums, s), both), other), halves, to, 0, 16)
            lower = strip.add(strip.sub(both, other), vectors(sums, s + 3 * step))
            strip.store(lower, halves, to + 4 * PANEL, 0, 16)
        for column in range(2):
            half, to = 4 * column * PANEL + lane, column * PANEL + lane
            both, other = vectors(halves, half + PANEL), vectors(halves, half + 2 * PANEL)
            strip.store(strip.add(strip.add(vectors(halves, half), both), other), y, to, 0, 16)
            lower = strip.add(strip.sub(both, other), vectors(halves, half + 3 * PANEL))
            strip.store(lower, y, to + 2 * PANEL, 0, 16)


@device
def _largest(four, lanes, places, bias, f, at, spare, won, y, winner):
    """y[at + places[lane]] = the largest of each square's outputs; in winner, which of them it is."""
    for lane in range(0, lanes, 16):
        t = _four.add_rows(_four.load(four, lane, 0, PANEL), bias, f)
        last = min(lane + 15, lanes - 1)
        if get(places, last) - get(places, lane) == 15:  # side by side, all of one image
            _four.max_columns(t, y, winner, at + get(places, lane), 0)
        else:
            # The vector ends in another row or image: take it apart.
            _four.max_columns(t, spare, won, 0, 0)
            for s in range(lane, last + 1):
                put(y, at + get(places, s), get(spare, s - lane))
                put(winner, at + get(places, s), get(won, s - lane))


@device
def _interleave(four, bias, f, y):
    """The squares' two rows of outputs, left and right taking turns: y[below*128 + 2*lane + right]."""
    for below in range(2):
        for lane in range(0, PANEL, 16):
            t = _two.add_rows(_two.load(four, 2 * below * PANEL + lane, 0, PANEL), bias, f)
            _two.store_pairs(t, y, 2 * (below * PANEL + lane), 0)


@device
def _not_finite(four, nonfinite, at):
    """nonfinite[at : ][:16] += values - values: 0, and NaN for ever once a value was infinite or NaN."""
    t = _one.load(nonfinite, at, 0, 0)
    for lane in range(0, 4 * PANEL, 16):
        v = _one.load(four, lane, 0, 0)
        t = _one.add(t, _one.sub(v, v))
    _one.store(t, nonfinite, at, 0, 0)


@shared(FLOATS, tuples(INT, 5), FLOATS, FLOATS, INT, INT, INT, FLOATS, BYTES, FLOATS)
def convolve(index, x, shape, factors, bias, filters, padding, count, y, winner, nonfinite):
    """Panel `index` of the convolution's squares, or, where winner is not empty, of its pooled windows.

    shape = (C, H, W, K, K). A last row or column of outputs that fills no square is written without
    pooling and left out with it; so squares are rounded up or down. nonfinite[16*index : ][:16] becomes
    zeros, or, if an output is not a finite number, NaN among them: then an infinite pixel has spread further
    than its products, or a sum was too large that need not have been, and the caller takes another way.
    """
    channels, h, w, kernel, _ = shape
    oh, ow = h + 2 * padding - kernel + 1, w + 2 * padding - kernel + 1
    pooled = winner.size > 0
    rows, columns = (oh // 2, ow // 2) if pooled else ((oh + 1) // 2, (ow + 1) // 2)
    squares, n_products = rows * columns, products(kernel)
    first = index * PANEL
    lanes = min(PANEL, count * squares - first)
    runs, slots = np.empty(_FIELDS * PANEL, np.int64), np.empty(2 * (kernel + 1) * PANEL, np.int64)
    runs_count, used = _runs(first, lanes, rows, columns, kernel, runs, slots)
    pitch, size = 2 * columns + kernel + 2 * 16, (kernel + 1) * (kernel + 1) * _PITCH
    lines, pixels = aligned(2 * used * pitch), aligned(2 * size)
    # Padding, and lanes without a square, stay zero: nothing below writes to them.
    clear(lines, 0, lines.size)
    clear(pixels, 0, pixels.size)
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
    halves, four, spare = aligned(8 * PANEL), aligned(4 * PANEL), aligned(4 * PANEL)
    won, places = np.empty(16, np.uint8), np.empty(PANEL, np.int64)
    for lane in range(lanes):  # of a window in the first filter's part of y
        n, square = (first + lane) // squares, (first + lane) % squares
        put(places, lane, n * filters * squares + square)
    clear(nonfinite, 16 * index, 16 * index + 16)
    # Filter by filter: its 16 sums of 64 squares are in the first cache for all that follows.
    for f in range(filters):
        _outputs(sums, f * PANEL, whole * PANEL, halves, four)
        _not_finite(four, nonfinite, 16 * index)
        if pooled:
            _largest(four, lanes, places, bias, f, f * squares, spare, won, y, winner)
            continue
        # Two rows of outputs per row of squares, written where the panel's runs lie in y; a last row or
        # column that only fills a square is left out.
        _interleave(four, bias, f, spare)
        for i in range(runs_count):
            lane, length, n = runs[_FIELDS * i], runs[_FIELDS * i + 1], runs[_FIELDS * i + 2]
            ty, tx = runs[_FIELDS * i + 3], runs[_FIELDS * i + 4]
            for below in range(min(2, oh - 2 * ty)):
                to = ((n * filters + f) * oh + 2 * ty + below) * ow + 2 * tx
                for s in range(min(2 * length, ow - 2 * tx)):
                    put(y, to + s, get(spare, 2 * (below * PANEL + lane) + s))
