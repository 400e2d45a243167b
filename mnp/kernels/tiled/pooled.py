"""Convolution with max pooling: checks, memory, and the calls of the loops in `pooled_*`.

z[n, f, r, s] = bias[f] + sum_{c, i, j} weight[f, c, i, j] * xp[n, c, r + i, s + j]
y[n, f, a, b] = max(z[n, f, 2a, 2b], z[n, f, 2a, 2b+1], z[n, f, 2a+1, 2b], z[n, f, 2a+1, 2b+1])
"""

from functools import cache, lru_cache

import numpy as np

from mnp.kernels import fused, jitted
from mnp.kernels.tiled import pooled_backward, pooled_forward
from mnp.kernels.tiled.convolution import short_filters
from mnp.kernels.tiled.parallel import threads
from mnp.kernels.tiled.support import (
    FLOAT32,
    NOTHING,
    bytes_of,
    cache_aligned_empty,
    flat,
    flats32,
    floats32,
    workspace,
)

# Short filters need fewer multiplications, but first the sums and differences of pixels, which many filters
# and channels must share. Both limits were found by timing.
_CHANNELS, _WINDOWS = 8, 512


def conv2d_maxpool2d_forward(x, weight, bias, stride, padding, size, pool_stride):
    """As `fused.conv2d_maxpool2d_forward`, in one pass for float32, stride 1 and pooling 2/2.

    winner is the place in its window, row by row: 0 1 / 2 3. A last row or column that fills no window is
    left out; the first NaN wins over any number.
    """
    plan = _plan(x.shape, weight.shape, stride, padding, size, pool_stride)
    arrays = None if plan is None or bias.shape != weight.shape[:1] else flats32(x, weight, bias)
    if arrays is None:
        return fused.conv2d_maxpool2d_forward(jitted, x, weight, bias, stride, padding, size, pool_stride)
    shape, pooled, windows, short = plan
    count = x.shape[0]
    # For one image, the alignment would take longer than it saves.
    y = cache_aligned_empty(pooled) if count >= 16 else np.empty(pooled, FLOAT32)
    winner = np.empty(pooled, np.uint8)
    if short and short_filters(x, weight, bias, padding, windows, y, winner):
        return y, winner
    parts = 1 if count >= 16 else max(1, threads() // count)  # for few images, threads share one
    x, weight, bias = arrays
    outputs = y.ravel(), winner.ravel()
    pooled_forward.conv_pool_forward(count * parts, parts, x, shape, weight, bias, int(padding), *outputs)
    return y, winner


def conv2d_maxpool2d_backward(dy, winner, x, weight, stride, padding, size, pool_stride, need_dx=True):
    """As `fused.conv2d_maxpool2d_backward`, in one pass for float32, stride 1 and pooling 2/2.

    dz is three quarters zeros, which are never multiplied. Sums over examples are taken in an order that
    depends on the shapes and the winners only.
    """
    plan = _plan(x.shape, weight.shape, stride, padding, size, pool_stride)
    answer = None
    if plan is not None and floats32(dy, x, weight):
        (c, h, w, kh, kw), pooled, _, _ = plan
        shape = (c, h + 2 * padding, w + 2 * padding, kh, kw)
        if dy.shape == winner.shape == pooled:
            answer = _backward(dy, bytes_of(winner, 4), x, weight, shape, int(padding), need_dx)
    if answer is None:  # other shapes, or a mistake, which these functions name
        sizes = stride, padding, size, pool_stride
        answer = fused.conv2d_maxpool2d_backward(jitted, dy, winner, x, weight, *sizes, need_dx)
    return answer


@lru_cache
def _plan(x_shape, weight_shape, stride, padding, size, pool_stride):
    """What the fused loops need to know of these sizes, or None if they cannot take them.

    (C, H, W, KH, KW), the shape of y, the windows of an image, and whether short filters are worth it.
    """
    if len(x_shape) != 4 or len(weight_shape) != 4 or (stride, size, pool_stride) != (1, 2, 2) or padding < 0:
        return None
    (count, c, h, w), (filters, channels, kh, kw) = x_shape, weight_shape
    high, wide = h + 2 * padding, w + 2 * padding
    if c != channels or min(high, wide) < max(kh, kw):
        return None
    ph, pw = (high - kh + 1) // 2, (wide - kw + 1) // 2
    short = kh == kw and kh in (3, 5) and c >= _CHANNELS and count * ph * pw >= _WINDOWS
    return (c, h, w, kh, kw), (count, filters, ph, pw), ph * pw, short


def _backward(dy, winner, x, weight, shape, padding, need_dx):
    """The fused gradients, or None for a winner outside 0..3."""
    if winner is None:
        return None
    c, h, w, kh, kw = shape
    count, filters = x.shape[0], weight.shape[0]
    blocks = min(filters, 4 * threads())  # few, for each reads all images; no bit depends on them
    images = count if need_dx else 0
    pixel, line = pooled_backward.steps_of(c, w, kw)
    xs = workspace("images", count * h * line + pooled_backward.slack(line))
    ws = workspace("filters", kh * filters * pooled_backward.padded(kw * pixel)) if need_dx else NOTHING
    flat_weight = flat(weight)
    pooled_backward.lay_out(
        count + (filters if need_dx else 0), flat(x), flat_weight, shape, count, filters, padding, xs, ws
    )
    dx = np.empty(x.shape if need_dx else 0, np.float32)
    dweight, dbias = np.empty(weight.shape, np.float32), np.empty(filters, np.float32)
    bad = np.empty(blocks, np.uint8)
    places = _places((h - kh + 1) // 2, (w - kw + 1) // 2, line, pixel)
    pooled_backward.conv_pool_backward(
        *(blocks + images, blocks, flat(dy), winner, shape, count, filters, padding, places, xs, ws),
        *(dx.reshape(-1), dweight.reshape(-1), dbias, bad),
    )
    return None if bad.any() else (dx if need_dx else None, dweight, dbias)


@cache
def _places(ph, pw, line, pixel):
    """Where, channels last, the four pixels of each pooling window lie."""
    p = np.arange(ph * pw)[:, np.newaxis]
    first = 2 * (p // pw) * line + 2 * (p % pw) * pixel
    return (first + np.array([0, pixel, line, line + pixel])).astype(np.int32).ravel()
