"""Output sizes, and checks of arguments that all backends share.

Every error is one line that names the arrays, prints their shapes and says what was expected.
"""

import numpy as np

from mnp.errors import MnpError


class ShapeError(MnpError):
    """Arrays whose shapes do not fit together, or a size that leaves no output."""


def conv2d_output_size(h, w, kh, kw, stride, padding):
    """Rows and columns of the output of a convolution.

        oh = (h + 2 padding - kh) // stride + 1,   ow likewise

    A last window that would reach over the edge of the padded image is not used (the rule of PyTorch,
    ONNX and Caffe for convolutions). Raises ShapeError for a kernel larger than the padded image.

    >>> conv2d_output_size(28, 28, 5, 5, stride=1, padding=0)
    (24, 24)
    >>> conv2d_output_size(6, 7, 3, 3, stride=2, padding=1)
    (3, 4)
    """
    if stride < 1 or padding < 0:
        raise ShapeError(f"conv2d: stride {stride}, padding {padding}: stride must be >= 1, padding >= 0")
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    if kh < 1 or kw < 1 or oh < 1 or ow < 1:
        raise ShapeError(
            f"conv2d: a {kh}x{kw} kernel does not fit a {h}x{w} image with padding {padding}:"
            " use a smaller kernel or more padding"
        )
    return oh, ow


def pool2d_output_size(h, w, size, stride):
    """Rows and columns of the output of a pooling without padding.

        oh = (h - size) // stride + 1,   ow likewise

    Rows and columns that no whole window covers are left out. (Caffe rounds up instead; for LeNet-5
    and VGG16, where the windows cover the image exactly, the two rules agree.)

    >>> pool2d_output_size(24, 24, size=2, stride=2)
    (12, 12)
    >>> pool2d_output_size(5, 7, size=2, stride=2)
    (2, 3)
    """
    if size < 1 or stride < 1:
        raise ShapeError(f"pool2d: size {size}, stride {stride}: both must be >= 1")
    oh, ow = (h - size) // stride + 1, (w - size) // stride + 1
    if h < size or w < size:
        raise ShapeError(f"pool2d: a {size}x{size} window does not fit a {h}x{w} image: use a smaller size")
    return oh, ow


def check_floats(kernel, **arrays):
    """Raise MnpError unless all are NumPy arrays of one float type, float32 or float64, in any byte order.

    >>> check_floats("relu_forward", x=np.zeros(3, dtype=np.int64))
    Traceback (most recent call last):
        ...
    mnp.errors.MnpError: relu_forward: x is int64: convert it to float32 or float64
    """
    first = None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise MnpError(f"{kernel}: {name} is a {type(array).__name__}: pass a NumPy array")
        if array.dtype.char not in "fd":
            raise MnpError(f"{kernel}: {name} is {array.dtype}: convert it to float32 or float64")
        if first is None:
            first = name, array.dtype
        elif array.dtype.char != first[1].char:  # another byte order is as good
            raise MnpError(
                f"{kernel}: {first[0]} is {first[1]} but {name} is {array.dtype}: use one float type for all"
            )


def check_finite(images, what="images"):
    """Raise MnpError if images hold NaN or infinity: once for a data set, not for every batch.

    >>> check_finite(np.array([[[[1.0]]], [[[np.nan]]]]))
    Traceback (most recent call last):
        ...
    mnp.errors.MnpError: images: example 1 holds nan; repair it or leave it out
    """
    # A sum is NaN or infinite if any of its terms is, and needs no array for it.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(images.sum(dtype=np.float64)):
            return
    for number, image in enumerate(images):
        if not np.isfinite(image).all():
            value = image[~np.isfinite(image)].flat[0]
            raise MnpError(f"{what}: example {number} holds {value}; repair it or leave it out")


def check_ndim(kernel, name, array, axes):
    """Raise ShapeError unless the array has the axes named, as in "N, C, H, W"."""
    if array.ndim != axes.count(",") + 1:
        raise ShapeError(f"{kernel}: {name} must be ({axes}), but its shape is {array.shape}")


def check_shape(kernel, name, array, expected, because):
    """Raise ShapeError unless the array has the expected shape; `because` says where that comes from."""
    if array.shape != tuple(expected):
        raise ShapeError(f"{kernel}: {name} is {array.shape}, but {because} ask for {tuple(expected)}")


def check_winner(kernel, winner, shape, size):
    """Raise MnpError for winners of another shape, of a non-integer type, or outside [0, size).

    >>> check_winner("maxout_backward", np.array([[0, 4]]), (1, 2), 4)
    Traceback (most recent call last):
        ...
    mnp.errors.MnpError: maxout_backward: winner holds values from 0 to 4, but must lie in [0, 4)
    """
    if winner.dtype.kind not in "iu":
        raise MnpError(f"{kernel}: winner is {winner.dtype}: it must hold integers")
    check_shape(kernel, "winner", winner, shape, "the other arguments")
    if winner.size and (winner.min() < 0 or winner.max() >= size):
        raise MnpError(
            f"{kernel}: winner holds values from {winner.min()} to {winner.max()},"
            f" but must lie in [0, {size})"
        )


def check_conv2d(kernel, x, weight, bias, stride, padding):
    """Check the arguments of a convolution; return the output's rows and columns."""
    check_floats(kernel, x=x, weight=weight, bias=bias)
    check_ndim(kernel, "x", x, "N, C, H, W")
    check_ndim(kernel, "weight", weight, "F, C, KH, KW")
    if x.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"{kernel}: x {x.shape} has {x.shape[1]} channels,"
            f" but weight {weight.shape} takes {weight.shape[1]}"
        )
    check_shape(kernel, "bias", bias, weight.shape[:1], f"the filters of weight {weight.shape}")
    return conv2d_output_size(*x.shape[2:], *weight.shape[2:], stride, padding)


def check_conv2d_backward(kernel, dy, x, weight, stride, padding):
    """Check the arguments of a convolution's backward pass; return the output's rows and columns."""
    check_floats(kernel, dy=dy, x=x, weight=weight)
    oh, ow = check_conv2d(kernel, x, weight, weight[:, 0, 0, 0], stride, padding)
    expected = (x.shape[0], weight.shape[0], oh, ow)
    check_shape(kernel, "dy", dy, expected, f"x {x.shape} and weight {weight.shape}")
    return oh, ow


def check_pool2d(kernel, x, size, stride):
    """Check the arguments of a pooling; return the output's rows and columns."""
    check_floats(kernel, x=x)
    check_ndim(kernel, "x", x, "N, C, H, W")
    return pool2d_output_size(*x.shape[2:], size, stride)


def check_pool2d_backward(kernel, dy, x_shape, size, stride):
    """Check the arguments of a pooling's backward pass; return the output's rows and columns."""
    check_floats(kernel, dy=dy)
    if len(x_shape) != 4:
        raise ShapeError(f"{kernel}: x_shape must be (N, C, H, W), but is {tuple(x_shape)}")
    oh, ow = pool2d_output_size(*x_shape[2:], size, stride)
    check_shape(kernel, "dy", dy, (*x_shape[:2], oh, ow), f"x_shape {tuple(x_shape)} and size {size}")
    return oh, ow


def check_dense(kernel, x, weight, bias):
    """Check the arguments of a dense layer."""
    check_floats(kernel, x=x, weight=weight, bias=bias)
    check_ndim(kernel, "x", x, "N, in")
    check_ndim(kernel, "weight", weight, "out, in")
    if x.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"{kernel}: x {x.shape} has {x.shape[1]} features,"
            f" but weight {weight.shape} takes {weight.shape[1]}"
        )
    check_shape(kernel, "bias", bias, weight.shape[:1], f"the outputs of weight {weight.shape}")


def check_dense_backward(kernel, dy, x, weight):
    """Check the arguments of a dense layer's backward pass."""
    check_floats(kernel, dy=dy, x=x, weight=weight)
    check_dense(kernel, x, weight, weight[:, 0])
    check_shape(kernel, "dy", dy, (len(x), len(weight)), f"x {x.shape} and weight {weight.shape}")


def check_maxout(kernel, z):
    """Check the input of a maxout."""
    check_floats(kernel, z=z)
    check_ndim(kernel, "z", z, "N, units, k")
    if z.shape[2] < 1:
        raise ShapeError(f"{kernel}: z {z.shape} has no neurons: k must be >= 1")


def check_maxout_backward(kernel, dy, winner, k):
    """Check the arguments of a maxout's backward pass."""
    check_floats(kernel, dy=dy)
    check_ndim(kernel, "dy", dy, "N, units")
    check_winner(kernel, winner, dy.shape, k)


def check_dropout(kernel, name, array, keep, p):
    """Check the mask and the probability of a dropout."""
    check_floats(kernel, **{name: array})
    if keep.dtype != np.bool_:
        raise MnpError(f"{kernel}: keep is {keep.dtype}: it must be bool, True = kept")
    check_shape(kernel, "keep", keep, array.shape, f"the elements of {name}")
    if not 0.0 <= p < 1.0:
        raise MnpError(f"{kernel}: p is {p}: the probability of dropping must lie in [0, 1)")


def check_labels(kernel, logits, labels):
    """Check logits (N, classes) and integer labels (N,) in [0, classes)."""
    check_floats(kernel, logits=logits)
    check_ndim(kernel, "logits", logits, "N, classes")
    if labels.dtype.kind not in "iu":
        raise MnpError(f"{kernel}: labels are {labels.dtype}: they must be integers")
    check_shape(kernel, "labels", labels, logits.shape[:1], f"the rows of logits {logits.shape}")
    if labels.size and (labels.min() < 0 or labels.max() >= logits.shape[1]):
        raise MnpError(
            f"{kernel}: labels run from {labels.min()} to {labels.max()}, but logits {logits.shape} have"
            f" {logits.shape[1]} classes"
        )


def check_batchnorm2d(kernel, x, **per_channel):
    """Check images and the arrays that hold one number per channel."""
    check_floats(kernel, x=x, **per_channel)
    check_ndim(kernel, "x", x, "N, C, H, W")
    for name, array in per_channel.items():
        check_shape(kernel, name, array, x.shape[1:2], f"the channels of x {x.shape}")


def check_sgd(kernel, weights, grads, velocities, masks):
    """Check that every weight has a gradient, a velocity and a mask (or None) of its shape."""
    if not len(weights) == len(grads) == len(velocities) == len(masks):
        raise ShapeError(
            f"{kernel}: {len(weights)} weights, {len(grads)} grads, {len(velocities)} velocities and"
            f" {len(masks)} masks: pass one of each for every weight (None where nothing is pruned)"
        )
    for i, (w, g, v, mask) in enumerate(zip(weights, grads, velocities, masks, strict=True)):
        check_floats(kernel, weight=w, grad=g, velocity=v)
        check_shape(kernel, f"grads[{i}]", g, w.shape, f"weights[{i}]")
        check_shape(kernel, f"velocities[{i}]", v, w.shape, f"weights[{i}]")
        if mask is not None:
            if mask.dtype != np.bool_:
                raise MnpError(f"{kernel}: masks[{i}] is {mask.dtype}: it must be bool, True = kept")
            check_shape(kernel, f"masks[{i}]", mask, w.shape, f"weights[{i}]")
