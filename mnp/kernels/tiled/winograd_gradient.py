"""The gradient of a 3x3 convolution's weights with 16 products instead of 36 (see `winograd_factors`).

      for n, f, p, q, c, i, j:                                        # the plain loop
          dweight[f, c, i, j] += dy[n, f, p, q] * xp[n, c, p + i, q + j]

A factor's gradient is the sum over all squares of the output's gradient times the other factor; seen from a
product, the outputs y0 = A + B + C and y1 = B - C + D hand back

      dA = dy0        dB = dy0 + dy1        dC = dy0 - dy1        dD = dy1

and from the factors of the weights, g0, (g0 + g1 + g2)/2, (g0 - g1 + g2)/2 and g2,

      dg0 = gA + (gB + gC)/2        dg1 = (gB - gC)/2        dg2 = gD + (gB + gC)/2

Here channels and filters lie in the lanes, 16 a vector, their number rounded up (C16, F16):

      xs[plane, square, c]   sums and differences of pixels       products[plane, f, c] = sum over squares
      ds[plane, square, f]   those of the output's gradients                              of ds * xs

A few images at a time, so that xs and ds stay in cache. A sum over 64 squares starts at zero and is then
added to what was there: of long sums of numbers of both signs, shorter ones keep more digits.
"""

import numpy as np

from mnp.kernels.registers import WIDE, get, make_tile, put
from mnp.kernels.tiled.compiling import device
from mnp.kernels.tiled.layouts import aligned, clear, transpose
from mnp.kernels.tiled.parallel import FLOATS, INT, shared, tuples

PLANES, _RUN = 16, 64
LANES = 16 if WIDE else 8  # channels whose 4x4 pixels fit the registers
_four, _two, _one = make_tile(1, 4, LANES), make_tile(1, 2, LANES), make_tile(1, 1)


@device
def _channels_last(x, at, channels, h, w, padding, high, wide, out):
    """out[(r*wide + s)*C + c] = the image at x[at], zeros round it up to high x wide."""
    clear(out, 0, out.size)
    for r in range(h):
        to = ((r + padding) * wide + padding) * channels
        transpose(x, at + r * w, h * w, channels, w, out, to, channels)


@device
def _pixels(image, rows, columns, channels, vectors, half, xs, first, plane, part):
    """xs of one image's squares, from square `first` on: sums and differences of rows, then of columns.
    part 0: the planes (A, A) ... (B, D); part 1: (C, A) ... (D, D)."""
    wide = 2 * columns + 2
    line, width = wide * channels, 16 * vectors
    for ty in range(rows):
        for tx in range(columns):
            to = 8 * part * plane + (first + ty * columns + tx) * width
            for v in range(0, width, LANES):
                at = (2 * ty * wide + 2 * tx) * channels + v
                # Rows: two of the four sums and differences, for four columns of pixels at a time.
                r1 = _four.load(image, at + line, 0, channels)
                r2 = _four.load(image, at + 2 * line, 0, channels)
                if part == 0:
                    _four.store(_four.sub(_four.load(image, at, 0, channels), r2), half, 0, 0, LANES)
                    _four.store(_four.add(r1, r2), half, 4 * LANES, 0, LANES)
                else:
                    r3 = _four.load(image, at + 3 * line, 0, channels)
                    _four.store(_four.sub(r2, r1), half, 0, 0, LANES)
                    _four.store(_four.sub(r3, r1), half, 4 * LANES, 0, LANES)
                # Columns: all four, for both of those rows.
                c0, c1 = _two.load(half, 0, 0, 4 * LANES), _two.load(half, LANES, 0, 4 * LANES)
                c2, c3 = _two.load(half, 2 * LANES, 0, 4 * LANES), _two.load(half, 3 * LANES, 0, 4 * LANES)
                _two.store(_two.sub(c0, c2), xs, to + v, 0, 4 * plane)
                _two.store(_two.add(c1, c2), xs, to + v + plane, 0, 4 * plane)
                _two.store(_two.sub(c2, c1), xs, to + v + 2 * plane, 0, 4 * plane)
                _two.store(_two.sub(c3, c1), xs, to + v + 3 * plane, 0, 4 * plane)


@device
def _outputs(image, rows, columns, filters, vectors, half, ds, first, plane, part):
    """ds of one image's squares, likewise."""
    wide, width = 2 * columns, 16 * vectors
    for ty in range(rows):
        for tx in range(columns):
            to = 8 * part * plane + (first + ty * columns + tx) * width
            for v in range(0, width, LANES):
                at = (2 * ty * wide + 2 * tx) * filters + v
                r0 = _two.load(image, at, 0, filters)
                r1 = _two.load(image, at + wide * filters, 0, filters)
                if part == 0:
                    _two.store(r0, half, 0, 0, LANES)
                    _two.store(_two.add(r0, r1), half, 2 * LANES, 0, LANES)
                else:
                    _two.store(_two.sub(r0, r1), half, 0, 0, LANES)
                    _two.store(r1, half, 2 * LANES, 0, LANES)
                c0, c1 = _two.load(half, 0, 0, 2 * LANES), _two.load(half, LANES, 0, 2 * LANES)
                _two.store(c0, ds, to + v, 0, 4 * plane)
                _two.store(_two.add(c0, c1), ds, to + v + plane, 0, 4 * plane)
                _two.store(_two.sub(c0, c1), ds, to + v + 2 * plane, 0, 4 * plane)
                _two.store(c1, ds, to + v + 3 * plane, 0, 4 * plane)


@shared(INT, INT, FLOATS, FLOATS, tuples(INT, 4), INT, INT, FLOATS, FLOATS)
def lay_out(index, image, images, x, dy, shape, filters, padding, xs, ds):
    """Fill half the planes of xs for image + index, or, from index = images on, of ds; and from 2 * images on
    the other half, so that a thread most often lays out what it is going to `multiply`.

    shape = (C, H, W, squares in all)
    """
    channels, h, w, squares = shape
    oh, ow = h + 2 * padding - 2, w + 2 * padding - 2
    rows, columns = (oh + 1) // 2, (ow + 1) // 2
    half = aligned(8 * LANES)
    part, n = index // (2 * images), index % (2 * images)
    if n < images:
        vectors = (channels + 15) // 16
        high, wide = 2 * rows + 2, 2 * columns + 2
        own = aligned(high * wide * channels + 16)  # and room for the last vector's lanes
        _channels_last(x, (image + n) * channels * h * w, channels, h, w, padding, high, wide, own)
        first, plane = n * rows * columns, squares * 16 * vectors
        _pixels(own, rows, columns, channels, vectors, half, xs, first, plane, part)
    else:
        vectors, n = (filters + 15) // 16, n - images
        own = aligned(4 * rows * columns * filters + 16)
        _channels_last(dy, (image + n) * filters * oh * ow, filters, oh, ow, 0, 2 * rows, 2 * columns, own)
        first, plane = n * rows * columns, squares * 16 * vectors
        _outputs(own, rows, columns, filters, vectors, half, ds, first, plane, part)


def _make_block(rows, columns):
    tile = make_tile(rows, columns)

    @device
    def block(ds, d, d_step, xs, x, x_step, squares, products, at, step):
        """products[at + p*step + 16*q : ][:16] += ds of `rows` filters * 16*columns channels of xs."""
        for first in range(0, squares, _RUN):
            t = tile.zero()
            for s in range(first, min(first + _RUN, squares)):
                t = tile.outer(t, ds, d + s * d_step, 1, xs, x + s * x_step, 16)
            tile.store(tile.add(t, tile.load(products, at, step, 16)), products, at, step, 16)

    return block


_FEW = 16 if WIDE else 4  # filters that one vector of channels can be multiplied with at a time
_wide, _few = _make_block(8, 2), _make_block(_FEW, 1)


@shared(FLOATS, FLOATS, INT, INT, INT, INT, FLOATS, FLOATS)
def multiply(index, xs, ds, channels16, filters16, squares, all_squares, products, dbias):
    """products[plane, 16 filters, :] += ds * xs, one plane after the other, 16 filters at a time.

    Every number of plane (B, B) in ds is the sum of a square of the output's gradient; so the bias's
    gradient is its sum.
    """
    # A plane's xs and ds were most likely laid out by this thread and are in its cache.
    blocks = filters16 // 16
    plane, block = index // blocks, index % blocks * 16
    x0, d0 = plane * all_squares * channels16, plane * all_squares * filters16 + block
    at = (plane * filters16 + block) * channels16
    c = 0
    while c < channels16:
        # The widest tile for the channels that are left. Each is 16 sums of 16 lanes (AVX2: 4 of 16), whose
        # rounding does not depend on which tile it was.
        left = channels16 - c
        if WIDE and left >= 32:
            for f in range(0, 16, 8):
                to = at + f * channels16 + c
                _wide(ds, d0 + f, filters16, xs, x0 + c, channels16, squares, products, to, channels16)
            c += 32
        else:
            for f in range(0, 16, _FEW):
                to = at + f * channels16 + c
                _few(ds, d0 + f, filters16, xs, x0 + c, channels16, squares, products, to, channels16)
            c += 16
    if plane == 5:  # (B, B), see above
        for first in range(0, squares, _RUN):
            t = _one.zero()
            for s in range(first, min(first + _RUN, squares)):
                t = _one.add(t, _one.load(ds, d0 + s * filters16, 0, 0))
            _one.store(_one.add(t, _one.load(dbias, block, 0, 0)), dbias, block, 0, 0)


@shared(FLOATS, INT, INT, INT, FLOATS)
def weights_of(index, products, channels, channels16, filters16, dweight):
    """dweight[f] for filter f = index from all the products."""
    # 16 channels at a time: from 4x4 products to 4x3 along the columns, then to 3x3 along the rows.
    plane, half, three = filters16 * channels16, aligned(12 * 16), aligned(9 * channels16)
    for c in range(0, channels16, 16):
        at = index * channels16 + c
        for a in range(4):  # along columns: products (a, A ... D) -> weights g0, g1, g2 of row a
            p = at + 4 * a * plane
            both, other = _one.load(products, p + plane, 0, 0), _one.load(products, p + 2 * plane, 0, 0)
            _three(_one.load(products, p, 0, 0), both, other, products, p + 3 * plane, half, a * 48, 16)
        for b in range(3):  # and along rows
            both, other = _one.load(half, 48 + 16 * b, 0, 0), _one.load(half, 96 + 16 * b, 0, 0)
            to = b * channels16 + c
            _three(_one.load(half, 16 * b, 0, 0), both, other, half, 144 + 16 * b, three, to, 3 * channels16)
    # From channels in the lanes to the weights' own order, without the channels that only fill a vector.
    for tap in range(9):
        for c in range(channels):
            put(dweight, (index * channels + c) * 9 + tap, get(three, tap * channels16 + c))


@device
def _three(first, b, c, last, last_at, out, at, step):
    """g0, g1, g2 from the gradients of the factors A, B, C, D."""
    half = np.float32(0.5)
    mean = _one.scale(_one.add(b, c), half)
    _one.store(_one.add(first, mean), out, at, 0, 0)
    _one.store(_one.scale(_one.sub(b, c), half), out, at + step, 0, 0)
    _one.store(_one.add(_one.load(last, last_at, 0, 0), mean), out, at + 2 * step, 0, 0)
