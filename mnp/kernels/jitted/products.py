"""Convolution and dense layers as products of matrix rows (formulas: `textbook.windows`, `textbook.dense`).

A convolution becomes a product when every window is unfolded into a row:

    rows[(p, q), (i, j, c)] = xp[p*stride + i, q*stride + j, c]           one image, channels last
    y[f, (p, q)]            = bias[f] + rows[(p, q)] . weight[f]          (. is the sum of products)

so that it and the dense layer need two inner loops between them:

    add_dots      out[a, b] += left[a] . right[b]             forward: every row with every other row
    add_rows      out[:]    += sum_t factor[t] * rows[t]      backward: only where the factor is not 0

Behind a max pooling or a maxout three quarters of dy are zeros, and leaving them out is exact. Images
are unfolded a band of output rows at a time, and dense layers work through a chunk of rows at a time,
small enough to stay in a core's cache.

Why loops, and not NumPy's `@`: the threads of NumPy's BLAS spin for milliseconds after a product and take
the cores from Numba's. On two cores one product between two parallel loops cost more than the loops here,
and those also skip the zeros.
"""

import numpy as np
from numba import get_num_threads

from mnp.kernels import shapes
from mnp.kernels.compiling import contiguous
from mnp.kernels.jitted import loops

CHUNK = 1 << 17  # numbers in an unfolded band or a chunk of rows: 512 KiB of float32, half of a usual L2
LANES = 16  # unfolded rows are padded with zeros to a multiple of it, so that no loop has a remainder


def conv2d_forward(x, weight, bias, stride, padding):
    """As `textbook.conv2d_forward`: unfold the windows, then multiply rows by filters.

    The threads share out images and bands; each writes its own part of y.
    """
    oh, ow = shapes.check_conv2d("conv2d_forward", x, weight, bias, stride, padding)
    filters, channels, kh, kw = weight.shape
    x, weight, bias, threads = contiguous(x), contiguous(weight), contiguous(bias), get_num_threads()
    y = np.empty((len(x), filters, oh, ow), dtype=x.dtype)
    band = max(1, min(oh, CHUNK // (weight[0].size * ow)))
    if kw * channels < LANES:
        flat = weight.reshape(filters, -1)
        loops.conv_forward_columns(_padded(x, padding), flat, bias, kh, kw, stride, band, y, threads)
    else:
        images, rows = _channels_last(x, padding), _filter_rows(weight)
        loops.conv_forward(images, rows, bias, kh, kw, stride, band, y, threads)
    return y


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    """As `textbook.conv2d_backward`, but a term whose dy is exactly 0 is skipped, even beside inf or NaN.

    For dweight each thread owns some filters, for dx some images.
    """
    oh, ow = shapes.check_conv2d_backward("conv2d_backward", dy, x, weight, stride, padding)
    filters, channels, kh, kw = weight.shape
    dy, x, weight, threads = contiguous(dy), contiguous(x), contiguous(weight), get_num_threads()
    rows = _filter_rows(weight)
    band = max(1, min(oh, CHUNK // (weight[0].size * ow)))
    dbias = np.empty(filters, dtype=x.dtype)
    if kw * channels < LANES:
        dweight = np.zeros(weight.shape, dtype=x.dtype)
        flat = dweight.reshape(filters, -1)
        loops.conv_backward_columns(dy, _padded(x, padding), kh, kw, stride, band, flat, dbias, threads)
    else:
        images, drows = _channels_last(x, padding), np.zeros_like(rows)
        loops.conv_backward_weight(dy, images, kh, kw, stride, band, drows, dbias, threads)
        drows = drows[:, : weight[0].size].reshape(filters, kh, kw, channels)
        dweight = np.ascontiguousarray(drows.transpose(0, 3, 1, 2))
    dx = None
    if need_dx:
        dx = np.empty(x.shape, dtype=x.dtype)
        loops.conv_backward_input(dy, rows, kh, kw, stride, padding, dx, threads)
    return dx, dweight, dbias


def dense_forward(x, weight, bias):
    """As `textbook.dense_forward`."""
    shapes.check_dense("dense_forward", x, weight, bias)
    x, weight = contiguous(x), contiguous(weight)
    y = np.empty((len(x), len(weight)), dtype=x.dtype)
    y[:] = bias
    loops.dense_forward(x, weight, y, _chunk(x.shape[1]), get_num_threads())
    return y


def dense_backward(dy, x, weight, need_dx=True):
    """As `textbook.dense_backward`, but a term whose dy is exactly 0 is skipped, even beside inf or NaN."""
    shapes.check_dense_backward("dense_backward", dy, x, weight)
    x, weight = contiguous(x), contiguous(weight)
    dweight = np.zeros(weight.shape, dtype=x.dtype)
    chunk, threads = _chunk(x.shape[1]), get_num_threads()
    loops.sums_of_rows(contiguous(dy.T), x, dweight, chunk, threads)
    dx = None
    if need_dx:
        dx = np.zeros(x.shape, dtype=x.dtype)
        loops.sums_of_rows(contiguous(dy), weight, dx, chunk, threads)
    return dx, dweight, dy.sum(axis=0)


def _chunk(length):
    """How many rows of a length fit into a core's cache."""
    return max(4, CHUNK // max(1, length))


def _padded(x, padding):
    """Pad every image with zeros on all four sides."""
    if padding == 0:
        return x
    n, c, h, w = x.shape
    xp = np.zeros((n, c, h + 2 * padding, w + 2 * padding), dtype=x.dtype)
    xp[:, :, padding : padding + h, padding : padding + w] = x
    return xp


def _channels_last(x, padding):
    """Copy (N, C, H, W) to (N, H, W, C), padded with zeros."""
    n, c, h, w = x.shape
    images = np.zeros((n, h + 2 * padding, w + 2 * padding, c), dtype=x.dtype)
    loops.channels_last(x, padding, images)
    return images


def _filter_rows(weight):
    """Copy the filters to the order of unfolded windows, (F, KH * KW * C), and fill up whole vectors."""
    filters, terms = len(weight), weight[0].size
    rows = np.zeros((filters, -(-terms // LANES) * LANES), dtype=weight.dtype)
    rows[:, :terms] = weight.transpose(0, 2, 3, 1).reshape(filters, terms)
    return rows
