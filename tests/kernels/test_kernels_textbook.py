"""The textbook kernels: cases worked by hand, ties, NaN, memory layouts, and a numerical gradient."""

import numpy as np
import pytest
from kernel_cases import LAYOUTS, Sizes, arguments, arrays_of, call, copied
from tolerances import GRADIENT, assert_results_close

from mnp.kernels import KERNELS, textbook
from mnp.verify.gradcheck import gradient_error, numerical_gradient


def test_every_kernel_is_explained():
    for name in KERNELS:
        doc = getattr(textbook, name).__doc__
        for part in ("Parameters\n", ">>> ", "\n\n"):
            assert part in doc, f"{name} has no {part.strip() or 'paragraphs'}"


# ---- worked by hand ----------------------------------------------------------------------------------


def test_convolution_with_stride_and_padding_by_hand():
    # x with its frame of zeros, and the four 2x2 windows at stride 2 (rows 0-1 and 2-3, columns likewise):
    #   0 0 0 0
    #   0 1 2 0      windows  0 0   0 0   0 3   4 0
    #   0 3 4 0               0 1   2 0   0 0   0 0
    #   0 0 0 0
    # with weight 1 10 / 100 1000 and bias 5:  1000+5, 200+5, 30+5, 4+5
    x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    weight = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    y = textbook.conv2d_forward(x, weight, np.array([5.0]), stride=2, padding=1)
    np.testing.assert_array_equal(y[0, 0], [[1005.0, 205.0], [35.0, 9.0]])

    # dy = a b / c d: every pixel sat in one window, under one weight.
    dy = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    dx, dweight, dbias = textbook.conv2d_backward(dy, x, weight, stride=2, padding=1)
    np.testing.assert_array_equal(dx[0, 0], [[1000.0, 200.0], [30.0, 4.0]])
    np.testing.assert_array_equal(dweight[0, 0], [[4 * 4.0, 3 * 3.0], [2 * 2.0, 1 * 1.0]])
    np.testing.assert_array_equal(dbias, [10.0])


def test_max_pooling_ties_and_overlap_by_hand():
    # windows of 2 at stride 1 over 5 5 1 / 5 0 1: a tie of three fives, then a single five
    x = np.array([[[[5.0, 5.0, 1.0], [5.0, 0.0, 1.0]]]])
    y, winner = textbook.maxpool2d_forward(x, size=2, stride=1)
    np.testing.assert_array_equal(y.ravel(), [5, 5])
    np.testing.assert_array_equal(winner.ravel(), [0, 0])  # pixel (0, 0), then pixel (0, 1)
    dx = textbook.maxpool2d_backward(np.array([[[[2.0, 3.0]]]]), winner, x.shape, 2, 1)
    np.testing.assert_array_equal(dx[0, 0], [[2, 3, 0], [0, 0, 0]])
    # pixel (0, 1) wins both windows: as 1 in the first, as 0 in the second; its derivatives add up
    y, winner = textbook.maxpool2d_forward(np.array([[[[0.0, 9.0, 1.0], [5.0, 0.0, 1.0]]]]), 2, 1)
    np.testing.assert_array_equal(winner.ravel(), [1, 0])
    dx = textbook.maxpool2d_backward(np.array([[[[2.0, 3.0]]]]), winner, x.shape, 2, 1)
    np.testing.assert_array_equal(dx[0, 0], [[0, 5, 0], [0, 0, 0]])


def test_maxout_ties_go_to_the_lowest_neuron():
    z = np.array([[[2.0, 2.0, 2.0], [1.0, 3.0, 3.0], [0.0, -0.0, -1.0]]])
    y, winner = textbook.maxout_forward(z)
    np.testing.assert_array_equal(y, [[2, 3, 0]])
    np.testing.assert_array_equal(winner, [[0, 1, 0]])
    dz = textbook.maxout_backward(np.array([[1.0, 2.0, 3.0]]), winner, 3)
    np.testing.assert_array_equal(dz[0], [[1, 0, 0], [0, 2, 0], [3, 0, 0]])  # all to one, not shared


def test_softmax_cross_entropy_by_hand_and_far_out():
    # odds 1 : 3, so the probabilities are a quarter and three quarters
    logits = np.log(np.array([[1.0, 3.0], [3.0, 1.0]]))
    loss, dlogits = textbook.softmax_cross_entropy(logits, np.array([1, 1]))
    assert abs(loss - (np.log(4 / 3) + np.log(4)) / 2) < 1e-15
    np.testing.assert_allclose(dlogits, [[0.125, -0.125], [0.375, -0.375]], rtol=1e-15)
    loss, dlogits = textbook.softmax_cross_entropy(np.array([[1e4, -1e4]]), np.array([1]))
    assert loss == 2e4 and np.isfinite(dlogits).all()


def test_sgd_keeps_what_is_pruned_at_zero():
    w, v = np.array([1.0, 2.0]), np.array([5.0, 7.0])
    for _ in range(5):
        textbook.sgd_step((w,), (np.array([1.0, 1.0]),), (v,), (np.array([True, False]),), 0.1, 0.9, 0.01)
        assert w[1] == 0.0 and v[1] == 0.0 and w[0] != 0.0
    # the first step by hand: v = 0.9 * 5 + 1 + 0.01 * 1 = 5.51, w = 1 - 0.551
    w, v = np.array([1.0]), np.array([5.0])
    textbook.sgd_step((w,), (np.array([1.0]),), (v,), (None,), 0.1, 0.9, 0.01)
    np.testing.assert_allclose([v[0], w[0]], [5.51, 0.449], rtol=1e-14)


# ---- NaN ---------------------------------------------------------------------------------------------


def test_relu_and_dropout_of_nan():
    np.testing.assert_array_equal(
        textbook.relu_forward(np.array([np.nan, -np.inf, np.inf])), [np.nan, 0, np.inf]
    )
    np.testing.assert_array_equal(
        textbook.relu_backward(np.array([7.0, 7.0]), np.array([np.nan, 1.0])), [0, 7]
    )
    keep = np.array([True, False])
    np.testing.assert_array_equal(
        textbook.dropout_forward(np.array([np.nan, np.nan]), keep, 0.5), [np.nan, 0]
    )
    assert np.isnan(textbook.softmax_cross_entropy(np.array([[np.nan, 1.0]]), np.array([1]))[0])


# ---- what holds for all ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", KERNELS)
def test_any_memory_layout_same_dtype_inputs_untouched(kernel, dtype, layout):
    plain = arguments(kernel, Sizes(), np.random.default_rng(5), dtype)
    other = arguments(kernel, Sizes(), np.random.default_rng(5), dtype, layout)
    expected = call(textbook, kernel, copied(plain))
    untouched = copied(other)
    result = call(textbook, kernel, other)
    assert_results_close(result, expected, 1e-6 if dtype == np.float32 else 1e-14, kernel)
    for array in arrays_of(
        tuple(np.asarray(r) for r in (result if isinstance(result, tuple) else (result,)))
    ):
        assert array.dtype == dtype or array.dtype.kind == "i"
    if kernel != "sgd_step":
        for before, after in zip(arrays_of(untouched), arrays_of(other), strict=True):
            np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    "stride, padding, kernel", [(1, 0, (3, 2)), (2, 1, (3, 3)), (3, 2, (2, 4)), (1, 1, (1, 1))]
)
def test_gradient_of_convolution(stride, padding, kernel):
    """Of filters that are not square; `test_layers` and `mnp check` have the gradients of all kernels."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 2, 5, 4)), rng.standard_normal((3, 2, *kernel))
    bias = rng.standard_normal(3)
    dy = rng.standard_normal(textbook.conv2d_forward(x, weight, bias, stride, padding).shape)

    def loss():
        return float((dy * textbook.conv2d_forward(x, weight, bias, stride, padding)).sum())

    gradients = textbook.conv2d_backward(dy, x, weight, stride, padding)
    for array, gradient in zip((x, weight, bias), gradients, strict=True):
        assert gradient.shape == array.shape
        assert gradient_error(gradient, numerical_gradient(loss, array)) < GRADIENT
