"""The reference: the textbook's kernels, and the fused pairs composed of them."""

import difflib
import inspect

import numpy as np

from mnp.errors import MnpError
from mnp.kernels import FUSED, KERNELS, textbook

INTERFACE = {**KERNELS, **FUSED}
IN_PLACE = {"sgd_step": ("weights", "velocities")}  # arguments that come back changed, not returned
OUTPUTS = {  # "(dy, x, weight) -> dx or None, dweight, dbias" gives dx, dweight, dbias
    kernel: IN_PLACE.get(kernel) or tuple(signature.partition(" -> ")[2].replace(" or None", "").split(", "))
    for kernel, signature in INTERFACE.items()
}


def conv2d_maxpool2d_forward(x, weight, bias, stride, padding, size, pool_stride):
    """Convolution followed by max pooling.

        y, winner = maxpool2d_forward(conv2d_forward(x, weight, bias, stride, padding), size, pool_stride)

    Shapes, ties and errors are those of the two plain kernels.
    """
    z = textbook.conv2d_forward(x, weight, bias, stride, padding)
    return textbook.maxpool2d_forward(z, size, pool_stride)


def conv2d_maxpool2d_backward(dy, winner, x, weight, stride, padding, size, pool_stride, need_dx=True):
    """Gradients of conv2d_maxpool2d_forward with respect to x, weight and bias."""
    bias = np.zeros(len(weight), dy.dtype)
    z_shape = textbook.conv2d_forward(x, weight, bias, stride, padding).shape
    dz = textbook.maxpool2d_backward(dy, winner, z_shape, size, pool_stride)
    return textbook.conv2d_backward(dz, x, weight, stride, padding, need_dx=need_dx)


def dense_maxout_forward(x, weight, bias, relu=False, keep=None, p=0.0):
    """Maxout layer: dense, then ReLU and dropout where asked for, then the maximum of each unit.

        z[n, u, j] = bias[u, j] + sum_i weight[u, j, i] * x[n, i]
        y, winner  = maxout_forward(dropout_forward(relu_forward(z), keep, p))

    Parameters
    ----------
    x : (N, in) float
    weight, bias : (units, k, in) and (units, k) float
    relu : bool
    keep : (N, units, k) bool, or None for no dropout
    p : float in [0, 1)

    Returns
    -------
    y : (N, units) float
    winner : (N, units) int
        After ReLU and dropout ties at zero are common; the lowest index wins them.
    """
    units, k, features = weight.shape
    z = textbook.dense_forward(x, weight.reshape(units * k, features), bias.reshape(-1)).reshape(-1, units, k)
    if relu:
        z = textbook.relu_forward(z)
    if keep is not None:
        z = textbook.dropout_forward(z, keep, p)
    return textbook.maxout_forward(z)


def dense_maxout_backward(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
    """Gradients of dense_maxout_forward with respect to x, weight and bias.

    A unit whose winner was cut by the ReLU has y = 0, so y stands for the ReLU's output here.
    """
    units, k, features = weight.shape
    if relu:
        dy = textbook.relu_backward(dy, y)
    dz = textbook.maxout_backward(dy, winner, k)
    if keep is not None:
        dz = textbook.dropout_backward(dz, keep, p)
    flat = weight.reshape(units * k, features)
    dx, dweight, dbias = textbook.dense_backward(dz.reshape(-1, units * k), x, flat, need_dx=need_dx)
    return dx, dweight.reshape(weight.shape), dbias.reshape(units, k)


def function(kernel):
    """Return the definition of a kernel; MnpError for any other name, with those like it."""
    if kernel not in OUTPUTS:
        alike = [name for name in OUTPUTS if kernel and kernel.lower() in name]
        alike = alike or difflib.get_close_matches(kernel, OUTPUTS) or OUTPUTS
        raise MnpError(f"{kernel!r} is not a kernel of the interface: choose from {', '.join(alike)}")
    return getattr(textbook, kernel, None) or globals()[kernel]


def widen(value):
    """Copy an argument, floating arrays as float64; tuples element by element; anything else as it is.

    >>> widen((np.float32([0.5]), None, 3))
    (array([0.5]), None, 3)
    """
    if isinstance(value, tuple):
        return tuple(widen(v) for v in value)
    if isinstance(value, np.ndarray):
        return np.array(value, np.float64 if value.dtype.kind == "f" else value.dtype, order="C")
    return value


def bind(kernel, args, keywords):
    """Name the arguments of a call of a kernel, defaults included."""
    given = inspect.signature(function(kernel)).bind(*args, **keywords)
    given.apply_defaults()
    return dict(given.arguments)


def named(kernel, returned):
    """Name what a kernel returned, one value or a tuple of them."""
    names = OUTPUTS[kernel]
    return dict(zip(names, returned if len(names) > 1 else (returned,), strict=True))


def call(kernel, args):
    """Run a definition on copies of the arguments, floating ones in float64, and name what it returns.

    Returns a dict of output name -> array, tuple of arrays, or None for a dx that was not asked for. A kernel
    that works in place gives the arrays as it left them.
    """
    args = {name: widen(value) for name, value in args.items()}
    returned = function(kernel)(**args)
    return {name: args[name] for name in IN_PLACE[kernel]} if kernel in IN_PLACE else named(kernel, returned)
