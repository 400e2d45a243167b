"""What textbook and jitted have in common: output sizes, NaN, and what they refuse; names of the backends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import Sizes, arguments

from mnp.errors import MnpError
from mnp.kernels import FUSED, KERNELS, default_backend, get_backend, jitted, textbook, tiled
from mnp.kernels.shapes import ShapeError, conv2d_output_size, pool2d_output_size

BOTH = [textbook, jitted]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
)
def test_conv2d_output_size_counts_the_windows_that_fit(sides, kernel, stride, padding):
    counts = tuple(
        len([at for at in range(0, n + 2 * padding, stride) if at + k <= n + 2 * padding])
        for n, k in zip(sides, kernel, strict=True)
    )
    if all(counts):
        assert conv2d_output_size(*sides, *kernel, stride, padding) == counts
    else:
        with pytest.raises(ShapeError, match="does not fit"):
            conv2d_output_size(*sides, *kernel, stride, padding)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(h=st.integers(1, 12), w=st.integers(1, 12), size=st.integers(1, 5), stride=st.integers(1, 4))
def test_pool2d_output_size_is_a_convolution_without_padding(h, w, size, stride):
    if size <= min(h, w):
        assert pool2d_output_size(h, w, size, stride) == conv2d_output_size(h, w, size, size, stride, 0)
    else:
        with pytest.raises(ShapeError, match="does not fit"):
            pool2d_output_size(h, w, size, stride)


@pytest.mark.parametrize(
    "wrong", [lambda: conv2d_output_size(5, 5, 3, 3, 0, 0), lambda: conv2d_output_size(5, 5, 3, 3, 1, -1)]
)
def test_a_stride_of_nothing_or_negative_padding(wrong):
    with pytest.raises(ShapeError, match="stride must be >= 1"):
        wrong()
    for size, stride in ((0, 1), (2, 0)):
        with pytest.raises(ShapeError, match="both must be >= 1"):
            pool2d_output_size(4, 4, size, stride)


def test_names_of_the_tiers():
    assert get_backend("textbook") is textbook and get_backend("jitted") is jitted
    with pytest.raises(MnpError, match="textbook, jitted, tiled"):
        get_backend("fast")
    assert set(textbook.__all__) == set(jitted.__all__) == set(KERNELS) and {*KERNELS, *FUSED} <= set(
        tiled.__all__
    )
    for module in (textbook, jitted, tiled):
        assert all(callable(getattr(module, name)) for name in module.__all__)


def test_default_is_tiled_only_where_it_is_available(monkeypatch):
    fallback = default_backend()
    assert fallback in (jitted, get_backend("tiled"))
    monkeypatch.setattr(get_backend("tiled"), "available", lambda: True)
    assert default_backend() is get_backend("tiled")
    monkeypatch.setattr(get_backend("tiled"), "available", lambda: False)
    assert default_backend() is jitted


# Per kernel: (argument, axis) pairs; that axis made twice as long no longer fits the other arguments.
TOO_LONG = {
    "conv2d_forward": [(0, 1), (1, 0), (1, 1), (2, 0)],
    "conv2d_backward": [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)],
    "maxpool2d_backward": [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)],
    "avgpool2d_backward": [(0, 0), (0, 1), (0, 2), (0, 3)],
    "dense_forward": [(0, 1), (1, 0), (1, 1), (2, 0)],
    "dense_backward": [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)],
    "maxout_backward": [(0, 0), (0, 1), (1, 0), (1, 1)],
    "relu_backward": [(0, 0), (0, 1), (1, 0), (1, 1)],
    "dropout_forward": [(0, 0), (0, 1), (1, 0), (1, 1)],
    "dropout_backward": [(0, 0), (0, 1), (1, 0), (1, 1)],
    "softmax_cross_entropy": [(0, 0), (1, 0)],
    "batchnorm2d_forward": [(0, 1), (1, 0), (2, 0)],
    "batchnorm2d_inference": [(0, 1), (1, 0), (2, 0), (3, 0), (4, 0)],
    "batchnorm2d_backward": [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (3, 0), (4, 0)],
}


def refused(module, kernel, args, i, wrong):
    """Call a kernel with one argument replaced; the error must be one line that names the kernel."""
    with pytest.raises(MnpError) as error:
        getattr(module, kernel)(*args[:i], wrong, *args[i + 1 :])
    assert "\n" not in str(error.value) and kernel in str(error.value)


@pytest.mark.parametrize("module", BOTH)
@pytest.mark.parametrize("kernel", TOO_LONG)
def test_an_axis_too_long_is_one_line(module, kernel):
    args = arguments(kernel, Sizes(), np.random.default_rng(0))
    for i, axis in TOO_LONG[kernel]:
        refused(module, kernel, args, i, np.concatenate([args[i], args[i]], axis=axis))


@pytest.mark.parametrize("module", BOTH)
@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel != "sgd_step"])
def test_another_type_or_one_more_axis_is_one_line(module, kernel):
    args = arguments(kernel, Sizes(), np.random.default_rng(0))
    floats = [i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype == np.float64]
    for i in floats:
        refused(module, kernel, args, i, args[i].astype(np.float16))
        refused(module, kernel, args, i, args[i].astype(np.int64))
        refused(module, kernel, args, i, args[i].tolist())
        if len(floats) > 1:
            refused(module, kernel, args, i, args[i].astype(np.float32))
        if kernel != "relu_forward":
            refused(module, kernel, args, i, args[i][None])


@pytest.mark.parametrize("module", BOTH)
def test_sgd_step_wants_one_of_each(module):
    s = arguments("sgd_step", Sizes(), np.random.default_rng(0))
    for i in range(4):
        refused(module, "sgd_step", s, i, s[i][:-1])
    for i in range(3):
        refused(module, "sgd_step", s, i, (s[i][0][:-1], *s[i][1:]))
        refused(module, "sgd_step", s, i, (s[i][0].astype(np.float32), *s[i][1:]))
    refused(module, "sgd_step", s, 3, (s[3][0][:, :1], *s[3][1:]))


@pytest.mark.parametrize("module", BOTH)
def test_other_mistakes_say_what_to_do(module):
    x = np.ones((1, 1, 4, 4))
    cases = [
        (lambda: module.relu_forward([1.0, 2.0]), "x is a list: pass a NumPy array"),
        (lambda: module.relu_forward(np.array([1, 2])), "int64: convert it to float32 or float64"),
        (lambda: module.conv2d_forward(x, np.ones((1, 1, 5, 5)), np.ones(1), 1, 0), "more padding"),
        (lambda: module.dropout_forward(x, np.ones(x.shape), 0.5), "keep is float64: it must be bool"),
        (lambda: module.dropout_forward(x, x > 0, 1.0), r"must lie in \[0, 1\)"),
        (lambda: module.dropout_backward(x, x > 0, -0.1), r"must lie in \[0, 1\)"),
        (lambda: module.softmax_cross_entropy(np.ones((1, 3)), np.array([1.0])), "labels are float64"),
        (lambda: module.softmax_cross_entropy(np.ones((1, 3)), np.array([-1])), "from -1 to -1"),
        (lambda: module.maxout_backward(np.ones((1, 2)), np.zeros((1, 2)), 3), "winner is float64"),
        (lambda: module.softmax_cross_entropy(np.ones((1, 3)), np.array([3])), "3 classes"),
        (lambda: module.maxout_forward(np.ones((1, 2, 0))), "k must be >= 1"),
        (lambda: module.win_counts(np.array([[3]]), 3), "must lie in"),  # the authors' defect (b)
        (lambda: module.maxpool2d_forward(x, 6, 1), "does not fit"),
        (lambda: module.maxpool2d_backward(x, np.full(x.shape, 1), x.shape, 1, 1), "must lie in"),
        (lambda: module.maxpool2d_backward(x, np.full(x.shape, -1), x.shape, 1, 1), "must lie in"),
        (lambda: module.maxpool2d_backward(x, np.zeros(x.shape, int), (4, 4), 1, 1), "x_shape must be"),
        (lambda: module.sgd_step((x,), (x,), (), (None,), 0.1, 0.9, 0.0), "0 velocities"),
        (lambda: module.sgd_step((x,), (x,), (x,), (x,), 0.1, 0.9, 0.0), r"masks\[0\] is float64"),
    ]
    for call, expected in cases:
        with pytest.raises(MnpError, match=expected) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("module", BOTH)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_nan_wins_every_maximum(module, dtype):
    for place in range(4):
        values = np.array([3.0, 1.0, 2.0, 9.0], dtype=dtype)
        values[[place, 3]] = np.nan
        for size, stride in (
            (2, 2),
            (2, 1),
        ):  # jitted has its own loop for one, a general one for the other
            y, winner = module.maxpool2d_forward(values.reshape(1, 1, 2, 2), size, stride)
            assert np.isnan(y[0, 0, 0, 0]) and winner[0, 0, 0, 0] == place
        y, winner = module.maxout_forward(values.reshape(1, 1, 4))
        assert np.isnan(y[0, 0]) and winner[0, 0] == place
    assert np.isnan(module.relu_forward(np.array([np.nan], dtype=dtype)))[0]
