"""Convolution and 2x2 max pooling in one pass: the SIMD lanes are pooling windows. The plain loop:

      for n, f, a, b:
          for m in 0, 1, 2, 3:  z[m] = bias[f]                        the window's four pixels
              for c, i, j:  z[m] += weight[f, c, i, j] * x[n, c, 2a + m/2 + i, 2b + m%2 + j]
          y[n, f, a, b], winner[n, f, a, b] = max(z), argmax(z)

A register tile keeps, for P filters and 16 neighbouring windows (AVX2: 8), their four sums each. When the
last tap is in, maximum and winner are taken in registers: the convolution's output is never written.

For that, one image at a time is laid out so that windows lie side by side (`lay_out_windows`):

      windows[c, u, v, a*PW + b] = x[c, 2a + u, 2b + v]        u in 0..KH, v in 0..KW

and pixel m of a window meets tap (i, j) in the plane (u, v) = (i + m/2, j + m%2).
"""

import numpy as np

from mnp.kernels.registers import LINE, WIDE, make_tile
from mnp.kernels.tiled.compiling import device_noalloc
from mnp.kernels.tiled.layouts import aligned, lay_out_windows, pad_image
from mnp.kernels.tiled.parallel import BYTES, FLOATS, INT, shared, tuples

LANES = 16 if WIDE else 8  # windows of a tile


def _make_block(rows):
    tile = make_tile(rows, 4, LANES)

    @device_noalloc
    def block(windows, start, wide, weight, f, shape, bias, y, winner, at, step):
        """LANES windows, `rows` filters from f on, all taps; y and winner lie `step` from one to the next."""
        channels, kh, kw = shape
        taps = channels * kh * kw
        line = (kw + 1) * wide
        # For every tap: one weight per filter times four vectors, the window's four pixels.
        t = tile.zero()
        w = f * taps
        for c in range(channels):
            for i in range(kh):
                x = start + (c * (kh + 1) + i) * line
                for j in range(kw):
                    q, r = x + j * wide, x + j * wide + line
                    t = tile.outer_at(t, weight, w + j, taps, windows, (q, q + wide, r, r + wide))
                w += kw
        # The maximum is taken in registers; the four times larger output of the convolution is never stored.
        t = tile.add_rows(t, bias, f)
        tile.max_columns(t, y, winner, at, step)

    return block


_block6, _block2, _block1 = _make_block(6), _make_block(2), _make_block(1)


@device_noalloc
def _filters(windows, start, wide, weight, f, end, shape, bias, y, winner, at, step):
    """Filters f ... end-1 for LANES windows, as many rows a time as fit; AVX2 holds no more than two."""
    while f < end:
        if WIDE and end - f >= 6:
            _block6(windows, start, wide, weight, f, shape, bias, y, winner, at, step)
            rows = 6
        elif end - f >= 2:
            _block2(windows, start, wide, weight, f, shape, bias, y, winner, at, step)
            rows = 2
        else:
            _block1(windows, start, wide, weight, f, shape, bias, y, winner, at, step)
            rows = 1
        f += rows
        at += rows * step


@shared(INT, FLOATS, tuples(INT, 5), FLOATS, FLOATS, INT, FLOATS, BYTES)
def conv_pool_forward(index, parts, x, shape, weight, bias, padding, y, winner):
    """y, winner = the pooled convolution; count = images * parts, shape = (C, H, W, KH, KW).

    Where images are few, `parts` > 1 lets several threads share one, each with a part of the filters.
    """
    n, part = index // parts, index % parts
    channels, h, w, kh, kw = shape
    high, wide = h + 2 * padding, w + 2 * padding
    filters, pitch = bias.size, (wide + 1) // 2 * 2
    ph, pw = (high - kh + 1) // 2, (wide - kw + 1) // 2
    pooled = ph * pw
    line = (pooled + 15) // 16 * 16
    plane = np.empty(channels * high * pitch + LINE, np.float32)
    halves = np.empty(high * pitch + 3 * LINE, np.float32)
    windows = aligned(channels * (kh + 1) * (kw + 1) * line + 2 * LINE)
    # An image's windows are laid out once and stay in the core's cache for all filters.
    pad_image(x, n * channels * h * w, channels, h, w, padding, plane, pitch)
    for c in range(channels):
        lay_out_windows(plane, c, high, pitch, kh, kw, ph, pw, halves, windows, line)
    twos = (filters + 1) // 2  # the smallest whole tiles, see _filters
    first, end = part * twos // parts * 2, min((part + 1) * twos // parts * 2, filters)
    taps = (channels, kh, kw)
    at = (n * filters + first) * pooled
    spare_y, spare_winner = np.empty(filters * LANES, np.float32), np.empty(filters * LANES, np.uint8)
    # Filters in the inner loop: their weights, a few KB, stay in the first cache.
    for start in range(0, (pooled + LANES - 1) // LANES * LANES, LANES):
        whole = start + LANES <= pooled  # fewer windows left: whole vectors go to a spare place first
        to_y, to_winner = (y, winner) if whole else (spare_y, spare_winner)
        to, step = (at + start, pooled) if whole else (0, LANES)
        _filters(windows, start, line, weight, first, end, taps, bias, to_y, to_winner, to, step)
        if not whole:
            for f in range(end - first):
                for lane in range(pooled - start):
                    y[at + f * pooled + start + lane] = spare_y[f * LANES + lane]
                    winner[at + f * pooled + start + lane] = spare_winner[f * LANES + lane]
