"""Batch normalisation: each thread owns some channels; sums are kept in float64."""

import numpy as np
from numba import prange

from mnp.kernels import shapes
from mnp.kernels.compiling import FASTMATH, compiled


def batchnorm2d_forward(x, weight, bias, eps):
    """Shift and scale every channel to mean 0 and variance 1 over the batch, then to what was learnt.

        mean[c] = mean_{n, h, w} x[n, c, h, w]
        var[c]  = mean_{n, h, w} (x[n, c, h, w] - mean[c])^2          (divided by M = N H W, not M - 1)
        y[n, c, h, w] = weight[c] * (x[n, c, h, w] - mean[c]) / sqrt(var[c] + eps) + bias[c]

    x (N, C, H, W), weight, bias (C,) float; eps float -> y like x; mean, var (C,).

    >>> x = np.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    >>> y, mean, var = batchnorm2d_forward(x, np.array([2.0]), np.array([10.0]), eps=0.0)
    >>> y.ravel(), mean, var
    (array([ 8., 12.]), array([2.]), array([1.]))
    """
    shapes.check_batchnorm2d("batchnorm2d_forward", x, weight=weight, bias=bias)
    weight, bias = np.ascontiguousarray(weight), np.ascontiguousarray(bias)
    y, mean, var = np.empty(x.shape, dtype=x.dtype), np.empty_like(weight), np.empty_like(weight)
    _forward(_planes(x), weight, bias, x.dtype.type(eps), _planes(y), mean, var)
    return y, mean, var


def batchnorm2d_inference(x, weight, bias, mean, var, eps):
    """Normalise every channel with statistics that were gathered before.

        y[n, c, h, w] = weight[c] * (x[n, c, h, w] - mean[c]) / sqrt(var[c] + eps) + bias[c]

    x (N, C, H, W), weight, bias, mean, var (C,) float; eps float -> y like x.

    >>> one = np.ones(1)
    >>> batchnorm2d_inference(np.full((1, 1, 1, 1), 7.0), 2 * one, one, 3 * one, 4 * one, 0.0).ravel()
    array([5.])
    """
    shapes.check_batchnorm2d("batchnorm2d_inference", x, weight=weight, bias=bias, mean=mean, var=var)
    y = np.empty(x.shape, dtype=x.dtype)
    scale = weight / np.sqrt(var + x.dtype.type(eps))
    _scale_and_shift(_planes(x), np.ascontiguousarray(mean), scale, np.ascontiguousarray(bias), _planes(y))
    return y


def batchnorm2d_backward(dy, x, weight, mean, var, eps):
    """Hand the derivative back through a batch normalisation, its statistics included.

    With xhat = (x - mean) / sqrt(var + eps) and M = N H W:

        dbias[c]   = sum_{n, h, w} dy[n, c, h, w]
        dweight[c] = sum_{n, h, w} dy[n, c, h, w] * xhat[n, c, h, w]
        dx         = weight / sqrt(var + eps) * (dy - dbias / M - xhat * dweight / M)

    dy, x (N, C, H, W), weight, mean, var (C,) float; eps float -> dx like x; dweight, dbias (C,).

    >>> x, dy = np.array([1.0, 3.0]).reshape(2, 1, 1, 1), np.array([5.0, 6.0]).reshape(2, 1, 1, 1)
    >>> dx, dweight, dbias = batchnorm2d_backward(dy, x, np.ones(1), np.array([2.0]), np.ones(1), 0.0)
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.]), array([1.]), array([11.]))
    """
    shapes.check_batchnorm2d("batchnorm2d_backward", x, weight=weight, mean=mean, var=var)
    shapes.check_floats("batchnorm2d_backward", x=x, dy=dy)
    shapes.check_shape("batchnorm2d_backward", "dy", dy, x.shape, "the elements of x")
    dx = np.empty(x.shape, dtype=x.dtype)
    dweight, dbias = np.empty_like(weight), np.empty_like(weight)
    inv_std = 1 / np.sqrt(var + x.dtype.type(eps))
    mean, weight = np.ascontiguousarray(mean), np.ascontiguousarray(weight)
    _backward(_planes(dy), _planes(x), weight, mean, inv_std, _planes(dx), dweight, dbias)
    return dx, dweight, dbias


def _planes(x):
    """See (N, C, H, W) as (N, C, H * W)."""
    return np.ascontiguousarray(x).reshape(*x.shape[:2], x.shape[2] * x.shape[3])


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
