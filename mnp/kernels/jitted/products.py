"""Convolution and dense layers: long rows of numbers multiplied with long rows of numbers.

A convolution becomes a product when every window is unfolded into a row:

    rows[(p, q), (i, j, c)] = xp[p*stride + i, q*stride + j, c]           one image, channels last
    y[f, (p, q)]            = bias[f] + rows[(p, q)] . weight[f]          (. is the sum of products)

so that it and the dense layer need two inner loops between them:

    add_dots      out[a, b] += left[a] . right[b]             forward: every row with every other row
    add_rows      out[:]    += sum_t factor[t] * rows[t]      backward: only where the factor is not 0

Behind a max pooling or a maxout three quarters of dy are zeros, and leaving them out is exact. Images
are unfolded a band of output rows at a time, and dense layers work through a chunk of rows at a time,
small enough to stay in a core's cache.

Why loops, and not NumPy's `@`: NumPy's library keeps threads of its own, which go on turning for
milliseconds after a product and take the cores from Numba's. On two cores one product between two
parallel loops cost more than the loops here, and those also skip the zeros.
"""

import numpy as np
from numba import get_num_threads

from mnp.kernels import shapes
from mnp.kernels.jitted import loops

CHUNK = 1 << 17  # numbers in an unfolded band or a chunk of rows: 512 KiB of float32, half of a usual L2
LANES = 16  # unfolded rows are filled up with zeros to a multiple of it, so that no loop has a ragged end


def conv2d_forward(x, weight, bias, stride, padding):
    """Slide every filter over every image: unfold the windows, then multiply rows by filters.

        y[n, f, p, q] = bias[f] + sum_{c, i, j} weight[f, c, i, j] * xp[n, c, p*stride + i, q*stride + j]

    x (N, C, H, W), weight (F, C, KH, KW), bias (F,) float; stride, padding int -> y (N, F, OH, OW).
    The threads share out images and bands; each writes its own part of y.

    >>> conv2d_forward(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.ones(1), 1, 0)
    array([[[[5., 5.],
             [5., 5.]]]])
    """
    oh, ow = shapes.check_conv2d("conv2d_forward", x, weight, bias, stride, padding)
    filters, channels, kh, kw = weight.shape
    bias, threads = np.ascontiguousarray(bias), get_num_threads()
    y = np.empty((len(x), filters, oh, ow), dtype=x.dtype)
    band = max(1, min(oh, CHUNK // (weight[0].size * ow)))
    if kw * channels < LANES:
        flat = np.ascontiguousarray(weight).reshape(filters, -1)
        loops.conv_forward_columns(_framed(x, padding), flat, bias, kh, kw, stride, band, y, threads)
    else:
        images, rows = _channels_last(x, padding), _filter_rows(weight)
        loops.conv_forward(images, rows, bias, kh, kw, stride, band, y, threads)
    return y


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    """Hand the loss's derivative back through a convolution, skipping what is multiplied by zero.

        dweight[f, c, i, j] = sum_{n, p, q} dy[n, f, p, q] * xp[n, c, p*stride + i, q*stride + j]
        dxp[n, c, p*stride + i, q*stride + j] += sum_f dy[n, f, p, q] * weight[f, c, i, j]
        dbias[f]            = sum_{n, p, q} dy[n, f, p, q]

    dy (N, F, OH, OW), x (N, C, H, W), weight (F, C, KH, KW) -> dx like x or None, dweight, dbias (F,).
    For dweight each thread owns some filters, for dx some images. A term whose dy is exactly 0 is left
    out, also where the other factor is inf or NaN.

    >>> dy, x, weight = np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    >>> dx, dweight, dbias = conv2d_backward(dy, x, weight, 1, 0)
    >>> print(dx[0, 0, 1], dweight.ravel(), dbias)
    [2. 4. 2.] [4. 4. 4. 4.] [4.]
    """
    oh, ow = shapes.check_conv2d_backward("conv2d_backward", dy, x, weight, stride, padding)
    filters, channels, kh, kw = weight.shape
    dy, rows, threads = np.ascontiguousarray(dy), _filter_rows(weight), get_num_threads()
    band = max(1, min(oh, CHUNK // (weight[0].size * ow)))
    dbias = np.empty(filters, dtype=x.dtype)
    if kw * channels < LANES:
        dweight = np.zeros(weight.shape, dtype=x.dtype)
        flat = dweight.reshape(filters, -1)
        loops.conv_backward_columns(dy, _framed(x, padding), kh, kw, stride, band, flat, dbias, threads)
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
    """Let every output weigh all features of an example.

        y[n, o] = bias[o] + sum_i weight[o, i] * x[n, i]

    x (N, in), weight (out, in), bias (out,) float -> y (N, out).

    >>> dense_forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, -1.0]]), np.array([0.5, 0.0]))
    array([[11.5, -2. ]])
    """
    shapes.check_dense("dense_forward", x, weight, bias)
    y = np.empty((len(x), len(weight)), dtype=x.dtype)
    y[:] = bias
    x, weight, threads = np.ascontiguousarray(x), np.ascontiguousarray(weight), get_num_threads()
    loops.dense_forward(x, weight, y, _chunk(x.shape[1]), threads)
    return y


def dense_backward(dy, x, weight, need_dx=True):
    """Hand the loss's derivative back through a dense layer, skipping what is multiplied by zero.

        dx[n, i]      = sum_o dy[n, o] * weight[o, i]
        dweight[o, i] = sum_n dy[n, o] * x[n, i]
        dbias[o]      = sum_n dy[n, o]

    dy (N, out), x (N, in), weight (out, in) float -> dx (N, in) or None, dweight (out, in), dbias (out,).
    Both products add rows, of weight and of x; a term whose dy is exactly 0 is left out.

    >>> dense_backward(np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    (array([[1., 2.]]), array([[ 3.,  5.],
           [ 6., 10.]]), array([1., 2.]))
    """
    shapes.check_dense_backward("dense_backward", dy, x, weight)
    dweight = np.zeros(weight.shape, dtype=x.dtype)
    chunk, threads = _chunk(x.shape[1]), get_num_threads()
    loops.sums_of_rows(np.ascontiguousarray(dy.T), np.ascontiguousarray(x), dweight, chunk, threads)
    dx = None
    if need_dx:
        dx = np.zeros(x.shape, dtype=x.dtype)
        loops.sums_of_rows(np.ascontiguousarray(dy), np.ascontiguousarray(weight), dx, chunk, threads)
    return dx, dweight, dy.sum(axis=0)


def _chunk(length):
    """Say how many rows of a length fit into a core's cache."""
    return max(4, CHUNK // max(1, length))


def _framed(x, padding):
    """Put a frame of zeros round every image; contiguous in any case."""
    if padding == 0:
        return np.ascontiguousarray(x)
    n, c, h, w = x.shape
    xp = np.zeros((n, c, h + 2 * padding, w + 2 * padding), dtype=x.dtype)
    xp[:, :, padding : padding + h, padding : padding + w] = x
    return xp


def _channels_last(x, padding):
    """Copy (N, C, H, W) to (N, H, W, C), in a frame of zeros."""
    n, c, h, w = x.shape
    images = np.zeros((n, h + 2 * padding, w + 2 * padding, c), dtype=x.dtype)
    loops.channels_last(np.ascontiguousarray(x), padding, images)
    return images


def _filter_rows(weight):
    """Lay the filters out as the unfolded windows are: (F, KH * KW * C), and zeros to a whole vector."""
    filters, terms = len(weight), weight[0].size
    rows = np.zeros((filters, -(-terms // LANES) * LANES), dtype=weight.dtype)
    rows[:, :terms] = weight.transpose(0, 2, 3, 1).reshape(filters, terms)
    return rows
