"""What the fused kernels compute: the definition of each, composed of a backend's plain kernels.

`tiled` has loops for the common sizes and calls these, with `jitted`, for all others.
"""

from mnp.kernels.shapes import conv2d_output_size


def conv2d_maxpool2d_forward(backend, x, weight, bias, stride, padding, size, pool_stride):
    """Convolution followed by max pooling.

        y, winner = maxpool2d_forward(conv2d_forward(x, weight, bias, stride, padding), size, pool_stride)

    Shapes, ties and errors are those of the two plain kernels. winner is the place in its window that gave
    the maximum, row by row: 0 1 / 2 3. A last row or column that fills no window is left out.
    """
    z = backend.conv2d_forward(x, weight, bias, stride, padding)
    return backend.maxpool2d_forward(z, size, pool_stride)


def conv2d_maxpool2d_backward(
    backend, dy, winner, x, weight, stride, padding, size, pool_stride, need_dx=True
):
    """Gradients of `conv2d_maxpool2d_forward` with respect to x, weight and bias.

    dz = maxpool2d_backward(dy, winner, z.shape, size, pool_stride)        z: the convolution's output
    dx, dweight, dbias = conv2d_backward(dz, x, weight, stride, padding, need_dx)
    """
    image = conv2d_output_size(*x.shape[2:], *weight.shape[2:], stride, padding)
    dz = backend.maxpool2d_backward(dy, winner, (*dy.shape[:2], *image), size, pool_stride)
    return backend.conv2d_backward(dz, x, weight, stride, padding, need_dx)


def dense_maxout_forward(backend, x, weight, bias, relu=False, keep=None, p=0.0):
    """Maxout layer: dense, then ReLU and dropout where asked for, then the maximum of each unit.

        z[n, u, j] = bias[u, j] + sum_i weight[u, j, i] * x[n, i]
        y, winner  = maxout_forward(dropout_forward(relu_forward(z), keep, p))

    Parameters
    ----------
    x : (N, in) float
    weight, bias : (units, k, in) and (units, k) float
    relu : bool
    keep : (N, units, k) bool, or None for no dropout
        True where the neuron is not dropped; those that stay are divided by 1 - p.
    p : float in [0, 1)

    Returns
    -------
    y : (N, units) float
    winner : (N, units) int
        After ReLU and dropout ties at zero are common; the lowest index wins them. The first NaN wins.

    Raises ShapeError for shapes that do not fit.
    """
    units, k = weight.shape[:2]
    z = backend.dense_forward(x, weight.reshape(units * k, -1), bias.reshape(-1)).reshape(-1, units, k)
    if relu:
        z = backend.relu_forward(z)
    if keep is not None:
        z = backend.dropout_forward(z, keep, p)
    return backend.maxout_forward(z)


def dense_maxout_backward(backend, dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
    """Gradients of `dense_maxout_forward` with respect to x, weight and bias; only neurons that won have any.

        g[n, u]          = dy[n, u] through dropout (keep, p) and ReLU at the winner; 0 where it was cut off
        dx[n, :]         = sum_u g[n, u] * weight[u, winner[n, u], :]
        dweight[u, j, :] = sum_{n : winner[n, u] = j} g[n, u] * x[n, :]
        dbias[u, j]      = sum_{n : winner[n, u] = j} g[n, u]

    A unit whose winner was cut off by the ReLU has y = 0, so y stands for the ReLU's output here.

    Parameters
    ----------
    dy, y, winner : (N, units) float, float, int
        y and winner as the forward call gave them.
    x, weight : (N, in), (units, k, in) float
    relu, keep, p
        As in the forward call.
    need_dx : bool

    Returns
    -------
    dx : (N, in) or None; dweight : (units, k, in); dbias : (units, k)

    Raises ShapeError for shapes that do not fit, MnpError for winners outside [0, k).
    """
    units, k = weight.shape[:2]
    if relu:
        dy = backend.relu_backward(dy, y)
    dz = backend.maxout_backward(dy, winner, k)
    if keep is not None:
        dz = backend.dropout_backward(dz, keep, p)
    flat = weight.reshape(units * k, -1)
    dx, dweight, dbias = backend.dense_backward(dz.reshape(-1, units * k), x, flat, need_dx)
    return dx, dweight.reshape(weight.shape), dbias.reshape(units, k)
