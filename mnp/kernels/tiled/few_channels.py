"""The gradient of a 3x3 convolution's weights where few channels come in: plain products along the rows.

      for n, f, p, q, c, i, j:                                        # the plain loop
          dweight[f, c, i, j] += dy[n, f, p, q] * x[n, c, p + i - padding, q + j - padding]

Short filters (`winograd_gradient`) save multiplications, but first want sums and differences of all pixels,
with channels in the lanes: three channels would fill three lanes of 16. Here 16 neighbours q are the lanes.
For one channel and one row i of the kernel a tile keeps 8 filters by 3 places j (AVX2: 4 filters, 8 lanes):

      dy of 8 filters  |  tile[f][j] += dy[f][q : q+16] * x[c][q+j : q+j+16]      24 sums of 16 lanes
      x at 3 places    |  11 vectors loaded for 24 products

Images are cut into strips of a few rows, whose dy stays in the first cache for all channels and rows i.
What a strip adds up starts at zero and is then added to the sums of its group of images; the groups, and
the order in which they are added up, depend on the shapes only.
"""

from mnp.kernels.registers import LINE, WIDE, make_tile
from mnp.kernels.tiled.compiling import device
from mnp.kernels.tiled.layouts import aligned, clear, pad_image
from mnp.kernels.tiled.parallel import FLOATS, INT, shared, tuples

FILTERS, LANES = (8, 16) if WIDE else (4, 8)  # of a tile
TAPS = 9  # of a 3x3 kernel
MAX_CHANNELS, GROUPS = 16, 8  # channels; groups of images
_STRIP = 1024  # floats of a strip of dy, for each filter of a tile
_tile, _column, _one = make_tile(FILTERS, 3, LANES), make_tile(FILTERS, 1, LANES), make_tile(1, 1, LANES)


def sums_size(filters, channels):
    """Floats of one group's sums: a vector for each weight, and for each filter's bias."""
    return (filters * channels * TAPS + filters) * LANES


def fits(channels, filters, width):
    """Whether this is the faster way: few channels (found by timing), and rows of whole vectors."""
    return channels <= MAX_CHANNELS and filters % FILTERS == 0 and width % LANES == 0


@device
def _strip(dy, at, plane_dy, line_dy, image, x, line, rows, sums, to, step):
    """Add one strip's products for a tile's filters, one channel and one row of the kernel to their sums."""
    # From zero, and only then added to the sums so far: shorter sums keep more digits.
    t = _tile.zero()
    for r in range(rows):
        for b in range(0, line_dy, LANES):
            t = _tile.dot(t, dy, at + r * line_dy + b, plane_dy, image, x + r * line + b, 1)
    _tile.store(_tile.add(t, _tile.load(sums, to, step, LANES)), sums, to, step, LANES)


@device
def _bias(dy, at, plane_dy, count, sums, to):
    t = _column.zero()
    for b in range(0, count, LANES):
        t = _column.add(t, _column.load(dy, at + b, plane_dy, 0))
    _column.store(_column.add(t, _column.load(sums, to, LANES, 0)), sums, to, LANES, 0)


@shared(FLOATS, FLOATS, tuples(INT, 4), INT, INT, INT, INT, FLOATS)
def gather(index, x, dy, shape, filters, padding, groups, size, sums):
    """sums of group `index` = over its images: [f, c, i, j, lane], then [f, lane]; shape = (N, C, H, W)."""
    count, channels, h, w = shape
    oh, ow = h + 2 * padding - 2, w + 2 * padding - 2
    high, pitch = h + 2 * padding, (w + 2 * padding + 15) // 16 * 16
    image = aligned(channels * high * pitch + LINE)
    own, plane = index * size, oh * ow
    bias, step = own + filters * channels * TAPS * LANES, channels * TAPS * LANES
    clear(sums, own, own + size)
    # The loops go from what is largest in memory to what is smallest: an image is padded once, a strip of dy
    # is then in the first cache for all channels and rows of the kernel.
    rows_per_strip = max(1, _STRIP // ow)
    for n in range(index * count // groups, (index + 1) * count // groups):
        pad_image(x, n * channels * h * w, channels, h, w, padding, image, pitch)
        for f in range(0, filters, FILTERS):
            for row in range(0, oh, rows_per_strip):
                rows = min(rows_per_strip, oh - row)
                at = (n * filters + f) * plane + row * ow
                _bias(dy, at, plane, rows * ow, sums, bias + f * LANES)
                for c in range(channels):
                    for i in range(3):
                        from_ = (c * high + row + i) * pitch
                        to = own + ((f * channels + c) * TAPS + 3 * i) * LANES
                        _strip(dy, at, plane, ow, image, from_, pitch, rows, sums, to, step)


@shared(FLOATS, INT, INT, INT, INT, FLOATS, FLOATS)
def reduce_groups(index, sums, channels, filters, groups, size, dweight, dbias):
    """dweight and dbias of filter `index`: the sums of all groups, then of their lanes."""
    # Lanes were kept apart until here: to add them up once costs nothing, once per strip it would.
    weights = channels * TAPS
    for tap in range(weights + 1):
        at = (index * weights + tap if tap < weights else filters * weights + index) * LANES
        t = _one.zero()
        for g in range(groups):  # always in this order, whichever thread made them
            t = _one.add(t, _one.load(sums, at + g * size, 0, 0))
        if tap < weights:
            _one.sum_lanes(t, dweight, index * weights + tap, 0)
        else:
            _one.sum_lanes(t, dbias, index, 0)
