"""Batch normalisation of images: one mean and one variance per channel."""

import numpy as np

from mnp.kernels import shapes


def batchnorm2d_forward(x, weight, bias, eps):
    """Normalise each channel over the batch, then apply the learned scale and shift.

        mean[c] = mean_{n, h, w} x[n, c, h, w]
        var[c]  = mean_{n, h, w} (x[n, c, h, w] - mean[c])^2          (divided by M = N H W, not M - 1)
        y[n, c, h, w] = weight[c] * (x[n, c, h, w] - mean[c]) / sqrt(var[c] + eps) + bias[c]

    Parameters
    ----------
    x : (N, C, H, W) float
    weight, bias : (C,) float
    eps : float
        Keeps a constant channel from dividing by zero.

    Returns
    -------
    y : (N, C, H, W) float
    mean, var : (C,) float
        For backward, and for the running statistics of evaluation mode.

    Source: Ioffe and Szegedy, 2015, algorithm 1.

    >>> x = np.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    >>> y, mean, var = batchnorm2d_forward(x, np.array([2.0]), np.array([10.0]), eps=0.0)
    >>> y.ravel(), mean, var
    (array([ 8., 12.]), array([2.]), array([1.]))
    """
    shapes.check_batchnorm2d("batchnorm2d_forward", x, weight=weight, bias=bias)
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    return batchnorm2d_inference(x, weight, bias, mean, var, eps), mean, var


def batchnorm2d_inference(x, weight, bias, mean, var, eps):
    """Batch normalisation with given mean and variance (evaluation mode).

        y[n, c, h, w] = weight[c] * (x[n, c, h, w] - mean[c]) / sqrt(var[c] + eps) + bias[c]

    Parameters
    ----------
    x : (N, C, H, W) float
    weight, bias, mean, var : (C,) float
    eps : float

    Returns
    -------
    y : (N, C, H, W) float

    >>> one = np.ones(1)
    >>> batchnorm2d_inference(np.full((1, 1, 1, 1), 7.0), 2 * one, one, 3 * one, 4 * one, 0.0).ravel()
    array([5.])
    """
    shapes.check_batchnorm2d("batchnorm2d_inference", x, weight=weight, bias=bias, mean=mean, var=var)
    xhat = (x - _channels(mean)) / np.sqrt(_channels(var) + x.dtype.type(eps))
    return _channels(weight) * xhat + _channels(bias)


def batchnorm2d_backward(dy, x, weight, mean, var, eps):
    """Gradients of batch normalisation, including those through mean and variance.

    With xhat = (x - mean) / sqrt(var + eps) and M = N H W:

        dbias[c]   = sum_{n, h, w} dy[n, c, h, w]
        dweight[c] = sum_{n, h, w} dy[n, c, h, w] * xhat[n, c, h, w]
        dx         = weight / sqrt(var + eps) * (dy - dbias / M - xhat * dweight / M)

    The two subtracted terms are what mean and var contribute: every pixel moves them a little.

    Parameters
    ----------
    dy, x : (N, C, H, W) float
    weight, mean, var : (C,) float
        mean and var from batchnorm2d_forward of the same x.
    eps : float

    Returns
    -------
    dx : (N, C, H, W) float
    dweight, dbias : (C,) float

    >>> x, dy = np.array([1.0, 3.0]).reshape(2, 1, 1, 1), np.array([5.0, 6.0]).reshape(2, 1, 1, 1)
    >>> dx, dweight, dbias = batchnorm2d_backward(dy, x, np.ones(1), np.array([2.0]), np.ones(1), 0.0)
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.]), array([1.]), array([11.]))
    """
    shapes.check_batchnorm2d("batchnorm2d_backward", x, weight=weight, mean=mean, var=var)
    shapes.check_floats("batchnorm2d_backward", x=x, dy=dy)
    shapes.check_shape("batchnorm2d_backward", "dy", dy, x.shape, "the elements of x")
    m = x.dtype.type(x.size // x.shape[1])
    inv_std = 1 / np.sqrt(_channels(var) + x.dtype.type(eps))
    xhat = (x - _channels(mean)) * inv_std
    dbias = dy.sum(axis=(0, 2, 3))
    dweight = (dy * xhat).sum(axis=(0, 2, 3))
    dx = _channels(weight) * inv_std * (dy - _channels(dbias) / m - xhat * _channels(dweight) / m)
    return dx, dweight, dbias


def _channels(v):
    """Reshape (C,) to (1, C, 1, 1) for broadcasting."""
    return v[None, :, None, None]
