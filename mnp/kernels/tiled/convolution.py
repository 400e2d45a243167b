"""3x3 convolution: checks, memory, and the calls of the loops in `winograd*` and `few_channels`.

y[n, f, p, q] = bias[f] + sum_{c, i, j} weight[f, c, i, j] * xp[n, c, p + i, q + j]
"""

import numpy as np

from mnp.kernels import jitted
from mnp.kernels.tiled import few_channels, winograd, winograd_factors, winograd_gradient
from mnp.kernels.tiled.support import NO_BYTES, flat, floats32, workspace

_LEAST = 2 * winograd_factors.PANEL  # squares below which a panel's preparations are not worth it
_CHUNK = 1 << 19  # floats of sums and differences that are made before they are multiplied: a second cache


def conv2d_forward(x, weight, bias, stride, padding):
    """As `textbook.conv2d_forward`. Only 3x3 kernels of stride 1 in float32 run here, the rest in `jitted`.

    Rounding errors grow with the largest pixel near a filter, not with each pixel; their bound is stated
    and tested with the other kernels' (`tests/helpers/error_bounds.py`).
    """
    y = None
    if _fits(x, weight, stride, padding) and floats32(x, weight, bias) and bias.shape == weight.shape[:1]:
        y = _short(x, weight, bias, padding, transposed=False)
    return jitted.conv2d_forward(x, weight, bias, stride, padding) if y is None else y


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    """As `textbook.conv2d_backward`. The order of the sums depends on the shapes only."""
    answer = None
    if _fits(x, weight, stride, padding) and floats32(dy, x, weight):
        oh, ow = x.shape[2] + 2 * padding - 2, x.shape[3] + 2 * padding - 2
        if dy.shape == (x.shape[0], weight.shape[0], oh, ow):
            answer = _backward(dy, x, weight, padding, need_dx)
    return jitted.conv2d_backward(dy, x, weight, stride, padding, need_dx) if answer is None else answer


def _fits(x, weight, stride, padding):
    """Whether the loops here can take it, and are worth it."""
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[2:] != (3, 3) or stride != 1:
        return False
    (n, c, h, w), p = x.shape, padding
    if c != weight.shape[1] or not 0 <= p <= 2 or min(h, w) + 2 * p < 3:
        return False
    return n * ((h + 2 * p - 1) // 2) * ((w + 2 * p - 1) // 2) >= _LEAST


def short_filters(x, weight, bias, padding, squares, y, winner, transposed=False):
    """Run `winograd.convolve` into y (and winner); False if an output is not a finite number."""
    outputs, inputs, kernel = weight.shape[:3]
    filters, channels = (inputs, outputs) if transposed else (outputs, inputs)
    factors = workspace("factors", winograd_factors.factors_size(outputs, inputs, kernel))
    panel = winograd_factors.PANEL
    blocks = (outputs * inputs + panel - 1) // panel
    winograd_factors.make_factors(blocks, flat(weight), outputs, inputs, kernel, int(transposed), factors)
    count, _, h, w = x.shape
    panels = (count * squares + panel - 1) // panel
    # An infinite pixel spreads through sums and differences further than its products. Then the caller takes
    # another way, so that inf and NaN come out where they belong.
    nonfinite = np.empty(16 * panels, np.float32)
    inputs = flat(x), (channels, h, w, kernel, kernel), factors, flat(bias), filters, int(padding), count
    winograd.convolve(panels, *inputs, flat(y), flat(winner), nonfinite)
    return not nonfinite.any()


def _short(x, weight, bias, padding, transposed):
    """The convolution, or None if an output is not a finite number; transposed: the one that gives dx."""
    n, _, h, w = x.shape
    oh, ow = h + 2 * padding - 2, w + 2 * padding - 2
    y = np.empty((n, bias.size, oh, ow), np.float32)
    finite = short_filters(x, weight, bias, padding, (oh + 1) // 2 * ((ow + 1) // 2), y, NO_BYTES, transposed)
    return y if finite else None


def _backward(dy, x, weight, padding, need_dx):
    """All gradients, or None if one is not a finite number."""
    # dx is a convolution of dy with the filters' channels swapped and each kernel turned by half a circle.
    dx = None
    if need_dx:
        dx = _short(dy, weight, np.zeros(x.shape[1], np.float32), 2 - padding, transposed=True)
        if dx is None:
            return None
    if few_channels.fits(x.shape[1], weight.shape[0], dy.shape[3]):
        dweight, dbias = _plain_gradients(dy, x, weight, padding)
    else:
        dweight, dbias = _short_gradients(dy, x, weight, padding)
    if not (np.isfinite(dweight).all() and np.isfinite(dbias).all()):
        return None
    return dx, dweight, dbias


def _plain_gradients(dy, x, weight, padding):
    """dweight and dbias by `few_channels`."""
    (n, c, h, w), f = x.shape, weight.shape[0]
    groups = min(n, few_channels.GROUPS)
    size = few_channels.sums_size(f, c)
    sums = workspace("sums", groups * size)
    few_channels.gather(groups, flat(x), flat(dy), (n, c, h, w), f, int(padding), groups, size, sums)
    dweight, dbias = np.empty(weight.shape, np.float32), np.empty(f, np.float32)
    few_channels.reduce_groups(f, sums, c, f, groups, size, flat(dweight), dbias)
    return dweight, dbias


def _short_gradients(dy, x, weight, padding):
    """dweight and dbias by `winograd_gradient`."""
    (n, c, h, w), f = x.shape, weight.shape[0]
    channels16, filters16 = (c + 15) // 16 * 16, (f + 15) // 16 * 16
    squares = (dy.shape[2] + 1) // 2 * ((dy.shape[3] + 1) // 2)
    planes = winograd_gradient.PLANES
    images_per_block = min(n, max(1, _CHUNK // (planes * squares * (channels16 + filters16))))
    # One square to spare: planes a power of two apart would fight for the same cache lines.
    whole = images_per_block * squares + 1
    xs = workspace("pixels", planes * whole * channels16)
    ds = workspace("outputs", planes * whole * filters16)
    products, dbias = workspace("products", planes * filters16 * channels16), np.zeros(filters16, np.float32)
    products[:] = 0
    # As many images at a time as their sums and differences fit a second cache; the products of all of them
    # add up in one array, image after image: an order that no number of threads changes.
    flat_x, flat_dy, shape = flat(x), flat(dy), (c, h, w, whole)
    for image in range(0, n, images_per_block):
        images = min(images_per_block, n - image)
        winograd_gradient.lay_out(4 * images, image, images, flat_x, flat_dy, shape, f, int(padding), xs, ds)
        winograd_gradient.multiply(
            planes * filters16 // 16, xs, ds, channels16, filters16, images * squares, whole, products, dbias
        )
    dweight = np.empty(weight.shape, np.float32)
    winograd_gradient.weights_of(f, products, c, channels16, filters16, flat(dweight))
    return dweight, dbias[:f].copy()
