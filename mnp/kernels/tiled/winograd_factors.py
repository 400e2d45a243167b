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

Sums, differences and factors are made for 64 numbers at a time: squares of pixels, or pairs of a filter and
a channel. A *plane* holds those of one product: 4x4 planes for a 3x3 kernel, 7x7 for 5x5, row by row.
"""

import numpy as np

from mnp.kernels.registers import WIDE, get, make_tile, put
from mnp.kernels.tiled.compiling import device, device_inline
from mnp.kernels.tiled.layouts import aligned, transpose
from mnp.kernels.tiled.parallel import FLOATS, INT, shared

PANEL = 64  # numbers made at a time: the lanes of 4 vectors
STRIP = PANEL if WIDE else 16  # of these, as many as the CPU's registers can take at once
strip = make_tile(1, STRIP // 16)


@device
def products(kernel):
    """How many products a row of two outputs takes, and so a column: planes = products squared."""
    return 4 if kernel == 3 else 7


@device
def plane_size(pairs):
    return (pairs + PANEL - 1) // PANEL * PANEL


def factors_size(filters, channels, kernel):
    """Floats that `make_factors` writes, with room behind for a tile that has filters to spare."""
    return (4 if kernel == 3 else 7) ** 2 * (filters * channels + PANEL) + 4 * channels


@device
def plane_of(kernel, letter):
    """Of the products of one axis, the first that belongs to A, B, C or D (0 ... 3)."""
    return letter if kernel == 3 else (0, 2, 4, 5, 7)[letter]


@device
def vectors(a, at):
    return strip.load(a, at, 0, 16)


@device_inline
def pixel_factors(kernel, a, at, step, out, to, out_step):
    """64 lanes of the pixels d0, d1 ... -> their sums and differences, in the order A.., B.., C, D.. ."""
    for _ in range(0, PANEL, STRIP):
        d1, d2, d3 = vectors(a, at + step), vectors(a, at + 2 * step), vectors(a, at + 3 * step)
        strip.store(strip.sub(vectors(a, at), d2), out, to, 0, 16)
        if kernel == 3:
            strip.store(strip.add(d1, d2), out, to + out_step, 0, 16)
            strip.store(strip.sub(d2, d1), out, to + 2 * out_step, 0, 16)
            strip.store(strip.sub(d3, d1), out, to + 3 * out_step, 0, 16)
        else:
            d4, d5 = vectors(a, at + 4 * step), vectors(a, at + 5 * step)
            strip.store(strip.sub(d3, d4), out, to + out_step, 0, 16)
            strip.store(strip.add(d1, d2), out, to + 2 * out_step, 0, 16)
            strip.store(d4, out, to + 3 * out_step, 0, 16)
            strip.store(strip.sub(d2, d1), out, to + 4 * out_step, 0, 16)
            strip.store(strip.sub(d3, d1), out, to + 5 * out_step, 0, 16)
            strip.store(strip.sub(d5, d4), out, to + 6 * out_step, 0, 16)
        at += STRIP
        to += STRIP


@device_inline
def weight_factors(kernel, a, at, step, out, to, out_step):
    """The same for the weights g0, g1 ... : the other factor of each product."""
    half = np.float32(0.5)
    for _ in range(0, PANEL, STRIP):
        g0, g1, g2 = vectors(a, at), vectors(a, at + step), vectors(a, at + 2 * step)
        outer = strip.add(g0, g2)
        b, c = strip.scale(strip.add(outer, g1), half), strip.scale(strip.sub(outer, g1), half)
        strip.store(g0, out, to, 0, 16)
        if kernel == 3:
            strip.store(b, out, to + out_step, 0, 16)
            strip.store(c, out, to + 2 * out_step, 0, 16)
            strip.store(g2, out, to + 3 * out_step, 0, 16)
        else:
            g3, g4 = vectors(a, at + 3 * step), vectors(a, at + 4 * step)
            strip.store(g3, out, to + out_step, 0, 16)
            strip.store(b, out, to + 2 * out_step, 0, 16)
            strip.store(strip.add(g3, g4), out, to + 3 * out_step, 0, 16)
            strip.store(c, out, to + 4 * out_step, 0, 16)
            strip.store(g2, out, to + 5 * out_step, 0, 16)
            strip.store(g4, out, to + 6 * out_step, 0, 16)
        at += STRIP
        to += STRIP


@shared(FLOATS, INT, INT, INT, INT, FLOATS)
def make_factors(index, weight, filters, channels, kernel, transposed, factors):
    """factors of 64 pairs (filter, channel) from 64*index on; count = pairs / 64, rounded up.

    transposed = 1 makes those of the convolution that gives dx: filters and channels change places (and so
    the arguments are the weights' own), and each kernel is rotated by 180 degrees.
    """
    taps, n = kernel * kernel, products(kernel)
    first, pairs = index * PANEL, filters * channels
    lanes, plane = min(PANEL, pairs - first), plane_size(pairs)
    g, half = aligned(taps * PANEL), aligned(n * kernel * PANEL)
    if transposed:
        # The pairs in the other order, (channel, filter), and the taps backwards.
        for lane in range(lanes):
            f, c = (first + lane) % filters, (first + lane) // filters
            for tap in range(taps):
                put(g, (taps - 1 - tap) * PANEL + lane, get(weight, (f * channels + c) * taps + tap))
    else:
        transpose(weight, first * taps, taps, lanes, taps, g, 0, PANEL)
    # The same sums and differences along the kernel's rows, then along its columns.
    for j in range(kernel):
        weight_factors(kernel, g, j * PANEL, kernel * PANEL, half, j * PANEL, kernel * PANEL)
    for a in range(n):
        weight_factors(kernel, half, a * kernel * PANEL, PANEL, factors, a * n * plane + first, plane)
