"""Cases for the kernels of images: convolution, pooling, batch normalisation.

Each function yields (note, arguments by name in the order of the interface).
"""

import numpy as np

from mnp.kernels import textbook
from mnp.verify.inputs import LAYOUTS, backward_cases


def conv2d_forward(draw):
    """Odd sizes, kernels that are not square, every kind of stride and padding."""
    for note, n, c, h, w, f, kh, kw, stride, padding in (
        ("3x3 kernel on 5x5", 2, 2, 5, 5, 3, 3, 3, 1, 0),
        ("padding 1", 2, 2, 5, 4, 3, 3, 3, 1, 1),
        ("batch of one, 1x1 kernel", 1, 3, 4, 3, 2, 1, 1, 1, 0),
        ("odd sizes, 2x3 kernel", 2, 2, 7, 5, 2, 2, 3, 1, 0),
        ("stride 2 that leaves a rest", 2, 1, 8, 7, 2, 3, 3, 2, 0),
        ("stride 3, padding 2, 4x3 kernel", 1, 2, 7, 9, 3, 4, 3, 3, 2),
        ("kernel as large as the image", 3, 2, 4, 5, 2, 4, 5, 1, 0),
        ("5x5 kernel, stride 2, padding 2", 2, 1, 9, 6, 4, 5, 5, 2, 2),
    ):
        x, weight = draw.grid(n, c, h, w), draw.grid(f, c, kh, kw)
        yield note, {"x": x, "weight": weight, "bias": draw.grid(f), "stride": stride, "padding": padding}
    sides = {"stride": 1, "padding": 1}
    x, weight, bias = draw.normal(2, 3, 6, 5), draw.normal(4, 3, 3, 2), draw.normal(4)
    yield "random numbers", {"x": x, "weight": weight, "bias": bias, **sides}
    x, weight = draw.normal(2, 2, 5, 5, scale=1e12), draw.normal(2, 2, 3, 3, scale=1e6)
    yield "large magnitudes", {"x": x, "weight": weight, "bias": draw.normal(2), **sides}
    for note in LAYOUTS:
        x, weight = draw.grid(3, 2, 5, 6), draw.grid(3, 2, 3, 2)
        yield note, {"x": x, "weight": weight, "bias": draw.grid(3), **sides}


def conv2d_backward(draw):
    """The forward cases, each with a dy, and one without dx."""
    yield from backward_cases("conv2d_backward", conv2d_forward(draw), draw)
    a = {"dy": draw.grid(2, 3, 4, 4), "x": draw.grid(2, 2, 4, 4), "weight": draw.grid(3, 2, 3, 3)}
    yield "need_dx=False", {**a, "stride": 1, "padding": 1, "need_dx": False}


def _pool_inputs(draw):
    """Inputs of any pooling."""
    for note, n, c, h, w, size, stride in (
        ("2x2 windows", 2, 2, 4, 6, 2, 2),
        ("batch of one, odd sizes with a rest", 1, 3, 7, 5, 2, 2),
        ("overlapping windows", 2, 2, 6, 5, 3, 2),
        ("stride 1, every window overlaps", 2, 1, 5, 6, 3, 1),
        ("stride beyond the size", 2, 2, 8, 7, 2, 3),
        ("one window for the whole image", 2, 2, 3, 3, 3, 1),
    ):
        yield note, {"x": draw.normal(n, c, h, w), "size": size, "stride": stride}
    yield "large magnitudes", {"x": draw.normal(2, 1, 5, 5, scale=1e30), "size": 2, "stride": 2}
    for note in LAYOUTS:
        yield note, {"x": draw.grid(3, 2, 5, 6), "size": 2, "stride": 2}


def maxpool2d_forward(draw):
    """Windows of every kind, ties, values below any start value, and NaN, of which the first wins."""
    yield from _pool_inputs(draw)
    yield "ties, disjoint windows", {"x": draw.ties(3, 2, 6, 6), "size": 2, "stride": 2}
    yield "ties, overlapping windows", {"x": draw.ties(2, 2, 6, 7), "size": 3, "stride": 2}
    yield "constant image", {"x": np.zeros((1, 2, 4, 4), draw.dtype), "size": 2, "stride": 2}
    yield "all negative", {"x": -1 - np.abs(draw.normal(2, 2, 4, 5)), "size": 2, "stride": 1}
    x = np.full((1, 1, 4, 4), -np.inf, draw.dtype)
    yield "minus infinity everywhere", {"x": x, "size": 2, "stride": 2}
    x = draw.grid(1, 2, 4, 4)
    x[0, 0, 1, 1] = x[0, 1, 0, 0] = x[0, 1, 0, 1] = np.nan
    yield "NaN in a window", {"x": x, "size": 2, "stride": 2}


def avgpool2d_forward(draw):
    """Windows of every kind."""
    yield from _pool_inputs(draw)


def _norm_inputs(draw):
    """Images whose channels differ, with one value of eps that nobody can overlook."""
    for note, shape, eps in (
        ("channels of a small batch", (3, 4, 3, 2), 1e-5),
        ("batch of one", (1, 3, 4, 4), 1e-5),
        ("one pixel an image", (5, 2, 1, 1), 1e-5),
        ("a large eps", (2, 3, 3, 3), 0.5),
    ):
        yield note, draw.normal(*shape), eps
    yield "far from zero", (draw.normal(4, 2, 3, 3) + 30).astype(draw.dtype), 1e-3
    yield "a constant channel", np.full((3, 2, 2, 2), 1.5, draw.dtype), 1e-3
    yield "large magnitudes", draw.normal(3, 2, 3, 3, scale=1e6), 1e-5
    for note in LAYOUTS:
        yield note, draw.normal(4, 3, 2, 4), 1e-5


def batchnorm2d_forward(draw):
    """Statistics over the batch and both image axes, for each channel."""
    for note, x, eps in _norm_inputs(draw):
        c = x.shape[1]
        yield note, {"x": x, "weight": draw.grid(c), "bias": draw.grid(c), "eps": eps}


def batchnorm2d_inference(draw):
    """Statistics that were gathered before, so not those of x."""
    for note, x, eps in _norm_inputs(draw):
        c = x.shape[1]
        stats = {"mean": draw.grid(c), "var": draw.positive(c)}
        yield note, {"x": x, "weight": draw.grid(c), "bias": draw.grid(c), **stats, "eps": eps}


def batchnorm2d_backward(draw):
    """With the textbook's statistics of the same x."""
    for note, x, eps in _norm_inputs(draw):
        weight = draw.grid(x.shape[1])
        _, mean, var = textbook.batchnorm2d_forward(x, weight, weight, eps)
        stats = {"mean": mean, "var": var}
        yield note, {"dy": draw.grid(*x.shape), "x": x, "weight": weight, **stats, "eps": eps}


def conv2d_maxpool2d_forward(draw):
    """The fused pair: sizes with a rest, windows that overlap, ties in the convolution's output."""
    for note, n, c, h, w, f, kh, kw, stride, padding, size, pool_stride in (
        ("5x5 kernel, 2x2 windows", 2, 2, 8, 10, 4, 5, 5, 1, 0, 2, 2),
        ("batch of one, 3x3 kernel, padding 1", 1, 3, 6, 6, 3, 3, 3, 1, 1, 2, 2),
        ("odd sizes with a rest", 2, 1, 9, 8, 2, 3, 2, 1, 0, 2, 2),
        ("overlapping windows", 2, 2, 8, 7, 3, 3, 3, 1, 1, 3, 2),
        ("stride 2, padding 2", 2, 2, 11, 9, 5, 5, 5, 2, 2, 2, 2),
    ):
        x, weight = draw.grid(n, c, h, w), draw.grid(f, c, kh, kw)
        sides = {"stride": stride, "padding": padding, "size": size, "pool_stride": pool_stride}
        yield note, {"x": x, "weight": weight, "bias": draw.grid(f), **sides}
    sides = {"stride": 1, "padding": 0, "size": 2, "pool_stride": 2}
    yield "ties", {"x": draw.ties(3, 1, 6, 6), "weight": draw.ties(4, 1, 3, 3), "bias": draw.grid(4), **sides}
    for note in LAYOUTS:
        x, weight = draw.grid(3, 2, 6, 8), draw.grid(3, 2, 3, 3)
        yield note, {"x": x, "weight": weight, "bias": draw.grid(3), **sides}
