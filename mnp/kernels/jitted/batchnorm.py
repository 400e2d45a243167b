"""Batch normalisation: each thread owns some channels; sums are kept in float64.

Formulas, arguments and examples are those of `mnp.kernels.textbook.batchnorm`.
"""

import numpy as np
from numba import prange

from mnp.kernels import shapes
from mnp.kernels.compiling import FASTMATH, compiled, contiguous


def batchnorm2d_forward(x, weight, bias, eps):
    """As `textbook.batchnorm2d_forward`."""
    shapes.check_batchnorm2d("batchnorm2d_forward", x, weight=weight, bias=bias)
    x, weight, bias = contiguous(x), contiguous(weight), contiguous(bias)
    y, mean, var = np.empty_like(x), np.empty_like(weight), np.empty_like(weight)
    _forward(_planes(x), weight, bias, x.dtype.type(eps), _planes(y), mean, var)
    return y, mean, var


def batchnorm2d_inference(x, weight, bias, mean, var, eps):
    """As `textbook.batchnorm2d_inference`."""
    shapes.check_batchnorm2d("batchnorm2d_inference", x, weight=weight, bias=bias, mean=mean, var=var)
    x, scale = contiguous(x), weight / np.sqrt(var + x.dtype.type(eps))
    y = np.empty_like(x)
    _scale_and_shift(_planes(x), contiguous(mean), scale, contiguous(bias), _planes(y))
    return y


def batchnorm2d_backward(dy, x, weight, mean, var, eps):
    """As `textbook.batchnorm2d_backward`."""
    shapes.check_batchnorm2d("batchnorm2d_backward", x, weight=weight, mean=mean, var=var)
    shapes.check_floats("batchnorm2d_backward", x=x, dy=dy)
    shapes.check_shape("batchnorm2d_backward", "dy", dy, x.shape, "the elements of x")
    inv_std = 1 / np.sqrt(var + x.dtype.type(eps))
    dy, x, weight, mean = contiguous(dy), contiguous(x), contiguous(weight), contiguous(mean)
    dx, dweight, dbias = np.empty_like(x), np.empty_like(weight), np.empty_like(weight)
    _backward(_planes(dy), _planes(x), weight, mean, inv_std, _planes(dx), dweight, dbias)
    return dx, dweight, dbias


def _planes(x):
    """View contiguous (N, C, H, W) as (N, C, H * W)."""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


@compiled(fastmath={*FASTMATH, "reassoc"})  # a sum may be kept in several parts, one for each SIMD lane
def _sum_of(values):
    total = 0.0
    for i in range(values.size):
        total += values[i]
    return total


@compiled(fastmath={*FASTMATH, "reassoc"})
def _sum_of_products(values, others, mean):
    """sum_i values[i] * (others[i] - mean)"""
    total = 0.0
    for i in range(values.size):
        total += values[i] * (others[i] - mean)
    return total


@compiled(fastmath={*FASTMATH, "reassoc"})
def _sum_of_squares(values, mean):
    """sum_i (values[i] - mean)^2"""
    total = 0.0
    for i in range(values.size):
        total += (values[i] - mean) * (values[i] - mean)
    return total


@compiled(parallel=True)
def _forward(x, weight, bias, eps, y, mean, var):
    # Image by image, so that memory is read once: a plane's own mean, its squares about that, and both
    # joined to those of the planes before it (the pairwise update of Chan, Golub and LeVeque 1983). Then
    # the channel is normalised at once, while it is in the core's cache.
    images, channels, places = x.shape
    for c in prange(channels):
        centre, squares = 0.0, 0.0
        for n in range(images):
            of_plane = _sum_of(x[n, c]) / places
            apart = of_plane - centre
            centre += apart / (n + 1)
            squares += _sum_of_squares(x[n, c], of_plane) + apart * apart * places * n / (n + 1)
        mean[c], var[c] = centre, squares / (images * places)
        scale = weight[c] / np.sqrt(var[c] + eps)
        for n in range(images):
            for i in range(places):
                y[n, c, i] = scale * (x[n, c, i] - mean[c]) + bias[c]


@compiled(parallel=True)
def _scale_and_shift(x, mean, scale, bias, y):
    images, channels, places = x.shape
    for n in prange(images):
        for c in range(channels):
            for i in range(places):
                y[n, c, i] = scale[c] * (x[n, c, i] - mean[c]) + bias[c]


@compiled(parallel=True)
def _backward(dy, x, weight, mean, inv_std, dx, dweight, dbias):
    images, channels, places = x.shape
    for c in prange(channels):
        total, products = 0.0, 0.0
        for n in range(images):
            total += _sum_of(dy[n, c])
            products += _sum_of_products(dy[n, c], x[n, c], mean[c])
        dbias[c], dweight[c] = total, products * inv_std[c]
        m = images * places
        # dx = factor * (dy - shift - (x - mean) * slope), with xhat * dweight / M written out
        factor = weight[c] * inv_std[c]
        shift = dbias.dtype.type(total / m)
        slope = dbias.dtype.type(products * inv_std[c] * inv_std[c] / m)
        for n in range(images):
            for i in range(places):
                dx[n, c, i] = factor * (dy[n, c, i] - shift - (x[n, c, i] - mean[c]) * slope)
