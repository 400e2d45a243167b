"""Numerical gradients: right on functions whose derivative is known, alarmed by wrong ones."""

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.verify.gradcheck import distinct_values, gradient_error, numerical_gradient


def test_known_derivatives_and_x_is_put_back():
    x = np.array([[0.3, -1.2], [2.0, 0.7]])
    before = x.copy()
    gradient = numerical_gradient(lambda: float(np.sin(x).sum() + x[0, 0] * x[1, 1]), x)
    expected = np.cos(before) + np.array([[0.7, 0.0], [0.0, 0.3]])
    assert gradient_error(expected, gradient) < 1e-9
    np.testing.assert_array_equal(x, before)


def test_works_through_a_view_deep_inside():
    inside = {"weight": np.arange(12.0).reshape(3, 4)}
    gradient = numerical_gradient(lambda: float((inside["weight"] ** 2).sum()), inside["weight"].T)
    assert gradient_error(2 * inside["weight"].T, gradient) < 1e-8


@pytest.mark.parametrize("value", [0.0, -1.0, 255.0, 1e8, -1e10, 1e11, 1e15, 1e300, 1e-300])
def test_the_step_suits_the_value(value):
    x = np.array([value])
    assert abs(numerical_gradient(lambda: 3 * float(x[0]), x)[0] - 3) < 1e-8
    assert x[0] == value
    x = np.array([[value, 2.0]])
    gradient = numerical_gradient(lambda: float(x[0, 0] / max(abs(value), 1.0) + x[0, 1] ** 2), x)
    assert gradient_error(np.array([[1 / max(abs(value), 1.0), 4.0]]), gradient) < 1e-8


@pytest.mark.parametrize(
    ("value", "h"), [(np.nan, 1e-6), (np.inf, 1e-6), (1.7976931e308, 1e-2), (1.0, 1e-20)]
)
def test_a_value_that_no_step_can_change_is_rejected(value, h):
    with pytest.raises(MnpError, match=r"x\[1\] is .*, which a step of .* cannot change"):
        numerical_gradient(lambda: 1.0, np.array([0.0, value]), h)
    x = np.array([2.0])
    with pytest.raises(ZeroDivisionError):
        numerical_gradient(lambda: 1 / 0, x)
    assert x[0] == 2.0, "restored after an exception too"


def test_a_wrong_gradient_is_seen():
    x = np.array([1.0, 2.0, 3.0])
    numerical = numerical_gradient(lambda: float((x**3).sum()), x)
    assert gradient_error(3 * x**2, numerical) < 1e-8
    assert gradient_error(3 * x**2 / len(x), numerical) > 0.5  # a mean where a sum is meant
    assert gradient_error(-3 * x**2, numerical) > 1.0
    wrong_in_one = 3 * x**2 + np.array([0.0, 1e-3, 0.0])
    assert 1e-5 < gradient_error(wrong_in_one, numerical) < 1e-4


def test_nan_is_not_taken_for_agreement():
    assert np.isnan(gradient_error(np.array([1.0, np.nan]), np.array([1.0, 1.0])))
    assert gradient_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0
    assert gradient_error(np.zeros(3), np.zeros(3)) == 0.0


def test_errors_are_one_line():
    with pytest.raises(MnpError, match="float32"):
        numerical_gradient(lambda: 0.0, np.zeros(3, dtype=np.float32))
    with pytest.raises(MnpError, match=r"\(2,\) and \(3,\)"):
        gradient_error(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize("shape", [(1,), (4,), (7,), (3, 5, 2), (2, 3, 4, 4)])
def test_distinct_values_has_no_neighbours(shape):
    x = distinct_values(shape, np.random.default_rng(3))
    values = np.sort(np.append(x.ravel(), 0.0))
    assert x.shape == shape and np.abs(x).max() <= 1.0
    assert np.diff(values).min() > 0.4 / x.size
