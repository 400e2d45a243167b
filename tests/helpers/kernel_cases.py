"""Arguments for every agreed kernel, of any size, float type and memory layout."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from mnp.kernels import textbook
from mnp.kernels.shapes import conv2d_output_size, pool2d_output_size

LAYOUTS = ("C", "Fortran", "strided", "reversed")


class Sizes(NamedTuple):
    """Enough to call any kernel: images, one convolution, one pooling, dense and maxout sizes."""

    n: int = 3
    channels: int = 2
    height: int = 7
    width: int = 6
    filters: int = 5
    kh: int = 3
    kw: int = 2
    stride: int = 1
    padding: int = 0
    size: int = 2
    pool_stride: int = 2
    units: int = 4
    k: int = 3


@st.composite
def sizes(draw):
    """Sizes for which at least one window fits, in the convolution and in the pooling."""
    some = st.integers(1, 7)
    height, width, padding = draw(some), draw(some), draw(st.integers(0, 2))
    return Sizes(
        n=draw(st.integers(1, 4)),
        channels=draw(st.sampled_from([1, 2, 3, 8, 17])),
        height=height,
        width=width,
        filters=draw(st.sampled_from([1, 2, 4, 5, 9])),
        kh=draw(st.integers(1, min(5, height + 2 * padding))),
        kw=draw(st.integers(1, min(5, width + 2 * padding))),
        stride=draw(st.integers(1, 3)),
        padding=padding,
        size=draw(st.integers(1, min(3, height, width))),
        pool_stride=draw(st.integers(1, 3)),
        units=draw(st.integers(1, 6)),
        k=draw(st.integers(1, 5)),
    )


def laid_out(array, layout):
    """The same numbers in another order in memory."""
    if layout == "Fortran":
        return np.asfortranarray(array)
    if layout == "strided":
        roomy = np.full([2 * length for length in array.shape], 77).astype(array.dtype)
        roomy[tuple(slice(None, None, 2) for _ in array.shape)] = array
        return roomy[tuple(slice(None, None, 2) for _ in array.shape)]
    if layout == "reversed":
        return np.flip(np.flip(array).copy())
    return array


def draw(rng, shape, coarse=False, layout="C", dtype=np.float32):
    """Random floats; coarse ones are small integers, so that ties are many and sums exact."""
    values = rng.integers(-2, 3, shape) if coarse else rng.standard_normal(shape)
    return laid_out(np.asarray(values).astype(dtype), layout)


def arguments(kernel, s, rng, dtype=np.float64, layout="C", coarse=False):
    """Draw the arguments of one kernel; see `draw`."""

    def floats(*shape):
        return draw(rng, shape, coarse, layout, dtype)

    def integers(high, *shape):
        return laid_out(rng.integers(0, high, shape), layout)

    def booleans(*shape):
        return laid_out(rng.random(shape) < 0.5, layout)

    x_shape = (s.n, s.channels, s.height, s.width)
    filters = (s.filters, s.channels, s.kh, s.kw)
    if kernel.startswith("conv2d"):
        x, weight = floats(*x_shape), floats(*filters)
        if kernel == "conv2d_forward":
            return x, weight, floats(s.filters), s.stride, s.padding
        oh, ow = conv2d_output_size(s.height, s.width, s.kh, s.kw, s.stride, s.padding)
        return floats(s.n, s.filters, oh, ow), x, weight, s.stride, s.padding
    if "pool2d" in kernel:
        if kernel.endswith("forward"):
            return floats(*x_shape), s.size, s.pool_stride
        y_shape = x_shape[:2] + pool2d_output_size(s.height, s.width, s.size, s.pool_stride)
        winner = (integers(s.size**2, *y_shape),) if kernel == "maxpool2d_backward" else ()
        return floats(*y_shape), *winner, x_shape, s.size, s.pool_stride
    if kernel.startswith("batchnorm2d"):
        x, weight = floats(*x_shape), floats(s.channels)
        if kernel == "batchnorm2d_forward":
            return x, weight, floats(s.channels), 1e-5
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        if kernel == "batchnorm2d_inference":
            return x, weight, floats(s.channels), mean, var, 1e-5
        return floats(*x_shape), x, weight, mean, var, 1e-5
    inputs, outputs = s.height * s.width, s.units * s.k
    dense = floats(s.n, inputs), floats(outputs, inputs)
    shapes = [(s.units, s.k, 3), (s.k,), (2, s.units)]
    return {
        "dense_forward": lambda: (*dense, floats(outputs)),
        "dense_backward": lambda: (floats(s.n, outputs), *dense),
        "maxout_forward": lambda: (floats(s.n, s.units, s.k),),
        "maxout_backward": lambda: (floats(s.n, s.units), integers(s.k, s.n, s.units), s.k),
        "relu_forward": lambda: (floats(s.n, inputs),),
        "relu_backward": lambda: (floats(s.n, inputs), textbook.relu_forward(floats(s.n, inputs))),
        "dropout_forward": lambda: (floats(s.n, inputs), booleans(s.n, inputs), 0.3),
        "dropout_backward": lambda: (floats(s.n, inputs), booleans(s.n, inputs), 0.3),
        "softmax_cross_entropy": lambda: (floats(s.n, outputs), integers(outputs, s.n)),
        "win_counts": lambda: (integers(s.k, s.n, s.units), s.k),
        "sgd_step": lambda: (
            *(tuple(floats(*shape) for shape in shapes) for _ in range(3)),
            (booleans(*shapes[0]), None, booleans(*shapes[2])),
            0.1,
            0.9,
            5e-4,
        ),
    }[kernel]()


def copied(args):
    """The same arguments in fresh memory, each array in its own layout."""
    return tuple(
        a.copy(order="K") if isinstance(a, np.ndarray) else copied(a) if isinstance(a, tuple) else a
        for a in args
    )


def call(module, kernel, args):
    """Call a kernel; return what it returns, or for the one that works in place, what it changed."""
    result = getattr(module, kernel)(*args)
    return result if kernel != "sgd_step" else (*args[0], *args[2])


def arrays_of(args):
    """All arrays among the arguments, also those inside tuples."""
    for a in args:
        if isinstance(a, np.ndarray):
            yield a
        elif isinstance(a, tuple):
            yield from arrays_of(a)
