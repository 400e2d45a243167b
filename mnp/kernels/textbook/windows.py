"""Convolution and pooling, with the loop over the places of the sliding window written out.

N examples, C channels in, F filters out, H x W image, KH x KW kernel, OH x OW output; p and q are a
window's place in the output, i and j a pixel's place in the window. Results are made with
`dtype.type`: the input's float type, in the machine's byte order.
"""

import numpy as np

from mnp.kernels import shapes


def conv2d_forward(x, weight, bias, stride, padding):
    """2-D convolution (cross-correlation) of a batch of images.

        y[n, f, p, q] = bias[f] + sum_{c, i, j} weight[f, c, i, j] * xp[n, c, p*stride + i, q*stride + j]

    where xp is x with `padding` zeros on all four sides. (Strictly a cross-correlation: the filter is
    not flipped. All frameworks call it convolution.)

    Parameters
    ----------
    x : (N, C, H, W) float
        Images.
    weight : (F, C, KH, KW) float
        Filters.
    bias : (F,) float
    stride, padding : int

    Returns
    -------
    y : (N, F, OH, OW) float
        Sizes as in `shapes.conv2d_output_size`.

    Raises ShapeError when channels or sizes do not fit.
    Source: LeCun, Bottou, Bengio and Haffner, 1998, section II.

    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d_forward(x, np.array([[[[1.0, 0.0], [0.0, -1.0]]]]), np.array([10.0]), 1, 0)
    array([[[[6., 6.],
             [6., 6.]]]])
    """
    oh, ow = shapes.check_conv2d("conv2d_forward", x, weight, bias, stride, padding)
    kh, kw = weight.shape[2:]
    xp = _pad(x, padding)
    y = np.empty((len(x), len(weight), oh, ow), dtype=x.dtype.type)
    for p in range(oh):
        for q in range(ow):
            top, left = p * stride, q * stride
            window = xp[:, :, top : top + kh, left : left + kw]  # (N, C, KH, KW)
            y[:, :, p, q] = np.tensordot(window, weight, axes=([1, 2, 3], [1, 2, 3])) + bias
    return y


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    """Gradients of a convolution with respect to input, weights and bias.

    Every output position touched one window; the three lines in the loop are the product rule for it:

        dbias[f]            = sum_{n, p, q} dy[n, f, p, q]
        dweight[f, c, i, j] = sum_{n, p, q} dy[n, f, p, q] * xp[n, c, p*stride + i, q*stride + j]
        dxp[n, c, p*stride + i, q*stride + j] += sum_f dy[n, f, p, q] * weight[f, c, i, j]

    Parameters
    ----------
    dy : (N, F, OH, OW) float
        Gradient of the loss with respect to y.
    x, weight, stride, padding
        As given to conv2d_forward.
    need_dx : bool
        False for the first layer of a network, whose input gradient is not needed.

    Returns
    -------
    dx : (N, C, H, W) float, or None
    dweight : (F, C, KH, KW) float
    dbias : (F,) float
        Sums over the batch, not means.

    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> dx, dweight, dbias = conv2d_backward(np.ones((1, 1, 2, 2)), x, np.ones((1, 1, 2, 2)), 1, 0)
    >>> dx[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    >>> dweight[0, 0], dbias
    (array([[ 8., 12.],
           [20., 24.]]), array([4.]))
    """
    oh, ow = shapes.check_conv2d_backward("conv2d_backward", dy, x, weight, stride, padding)
    h, w = x.shape[2:]
    kh, kw = weight.shape[2:]
    xp = _pad(x, padding)
    dxp, dweight = np.zeros(xp.shape, dtype=x.dtype.type), np.zeros(weight.shape, dtype=x.dtype.type)
    for p in range(oh):
        for q in range(ow):
            top, left = p * stride, q * stride
            window = xp[:, :, top : top + kh, left : left + kw]
            dy_here = dy[:, :, p, q]  # (N, F)
            dweight += np.tensordot(dy_here, window, axes=(0, 0))
            if need_dx:
                dxp[:, :, top : top + kh, left : left + kw] += np.tensordot(dy_here, weight, axes=(1, 0))
    dx = dxp[:, :, padding : padding + h, padding : padding + w].copy() if need_dx else None
    return dx, dweight, dy.sum(axis=(0, 2, 3))


def _pad(x, padding):
    """Pad every image with zeros on all four sides; a new array in C order."""
    n, c, h, w = x.shape
    xp = np.zeros((n, c, h + 2 * padding, w + 2 * padding), dtype=x.dtype)
    xp[:, :, padding : padding + h, padding : padding + w] = x
    return xp


def maxpool2d_forward(x, size, stride):
    """Max pooling: the largest pixel of every window, and its place in the window.

        y[n, c, p, q]      = max_{i, j} x[n, c, p*stride + i, q*stride + j]      0 <= i, j < size
        winner[n, c, p, q] = i * size + j of that pixel

    Parameters
    ----------
    x : (N, C, H, W) float
    size, stride : int
        Square windows; no padding. Pixels that no whole window covers are not used.

    Returns
    -------
    y : (N, C, OH, OW) float
    winner : (N, C, OH, OW) int in [0, size * size)
        Row-major place in the window. The lowest wins a tie; the first NaN wins over any number.

    >>> y, winner = maxpool2d_forward(np.array([[[[1.0, 5.0, 2.0, 2.0], [0.0, 3.0, 2.0, 1.0]]]]), 2, 2)
    >>> y[0, 0], winner[0, 0]
    (array([[5., 2.]]), array([[1, 0]]))
    """
    oh, ow = shapes.check_pool2d("maxpool2d_forward", x, size, stride)
    n, c = x.shape[:2]
    y = np.empty((n, c, oh, ow), dtype=x.dtype.type)
    winner = np.empty((n, c, oh, ow), dtype=np.int64)
    for p in range(oh):
        for q in range(ow):
            top, left = p * stride, q * stride
            window = x[:, :, top : top + size, left : left + size].reshape(n, c, size * size)
            y[:, :, p, q] = window.max(axis=2)
            winner[:, :, p, q] = window.argmax(axis=2)  # the first of equals
    return y, winner


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    """Gradient of max pooling: dy goes to the pixel that won, zero to the others.

        dx[n, c, p*stride + i, q*stride + j] += dy[n, c, p, q]   where winner[n, c, p, q] = i * size + j

    A pixel that won several overlapping windows collects the sum.

    Parameters
    ----------
    dy : (N, C, OH, OW) float
    winner : (N, C, OH, OW) int
        From maxpool2d_forward.
    x_shape : (N, C, H, W)
    size, stride : int

    Returns
    -------
    dx : (N, C, H, W) float

    >>> maxpool2d_backward(np.array([[[[7.0, 9.0]]]]), np.array([[[[1, 0]]]]), (1, 1, 2, 4), 2, 2)[0, 0]
    array([[0., 7., 9., 0.],
           [0., 0., 0., 0.]])
    """
    oh, ow = shapes.check_pool2d_backward("maxpool2d_backward", dy, x_shape, size, stride)
    shapes.check_winner("maxpool2d_backward", winner, dy.shape, size * size)
    n, c = np.ogrid[: x_shape[0], : x_shape[1]]
    i, j = winner // size, winner % size
    dx = np.zeros(x_shape, dtype=dy.dtype.type)
    for p in range(oh):
        for q in range(ow):
            # One pixel per image and channel, so no index occurs twice and += adds every one.
            dx[n, c, p * stride + i[:, :, p, q], q * stride + j[:, :, p, q]] += dy[:, :, p, q]
    return dx


def avgpool2d_forward(x, size, stride):
    """Average pooling: the mean of every window.

        y[n, c, p, q] = 1 / size^2 * sum_{i, j} x[n, c, p*stride + i, q*stride + j]      0 <= i, j < size

    Parameters
    ----------
    x : (N, C, H, W) float
    size, stride : int
        As in maxpool2d_forward.

    Returns
    -------
    y : (N, C, OH, OW) float

    >>> avgpool2d_forward(np.array([[[[1.0, 5.0, 2.0, 2.0], [0.0, 2.0, 3.0, 1.0]]]]), 2, 2)[0, 0]
    array([[2., 2.]])
    """
    oh, ow = shapes.check_pool2d("avgpool2d_forward", x, size, stride)
    y = np.empty((*x.shape[:2], oh, ow), dtype=x.dtype.type)
    for p in range(oh):
        for q in range(ow):
            top, left = p * stride, q * stride
            y[:, :, p, q] = x[:, :, top : top + size, left : left + size].mean(axis=(2, 3))
    return y


def avgpool2d_backward(dy, x_shape, size, stride):
    """Gradient of average pooling: dy is shared equally between the pixels of a window.

        dx[n, c, p*stride + i, q*stride + j] += dy[n, c, p, q] / size^2      0 <= i, j < size

    Parameters
    ----------
    dy : (N, C, OH, OW) float
    x_shape : (N, C, H, W)
    size, stride : int

    Returns
    -------
    dx : (N, C, H, W) float

    >>> avgpool2d_backward(np.array([[[[4.0, 8.0]]]]), (1, 1, 2, 4), 2, 2)[0, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]])
    """
    oh, ow = shapes.check_pool2d_backward("avgpool2d_backward", dy, x_shape, size, stride)
    dx = np.zeros(x_shape, dtype=dy.dtype.type)
    for p in range(oh):
        for q in range(ow):
            top, left = p * stride, q * stride
            dx[:, :, top : top + size, left : left + size] += dy[:, :, p : p + 1, q : q + 1] / size**2
    return dx
