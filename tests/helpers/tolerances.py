"""How close is close: each comparison of numbers in the kernel tests names one of these bounds.

Errors are relative to the largest element expected, because a sum of numbers of both signs may come out
near zero while its rounding error is as large as that of its neighbours.
"""

import numpy as np

TEXTBOOK = {"float32": 1e-6, "float64": 1e-14}  # a fast kernel against the definition
GRADIENT = 1e-7  # an analytic gradient against a numerical one, float64, away from kinks


def assert_close(actual, expected, bound, what="", largest_term=0.0):
    """Same shape, same dtype, NaN and inf in the same places, and the rest within the bound.

    largest_term: of the numbers that were added up, for outputs so few that all may come out near zero.
    """
    assert (actual is None) == (expected is None), f"{what}: {type(actual)} for {type(expected)}"
    if expected is None:
        return
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} for {expected.shape}"
    if expected.dtype.kind in "iub":  # winners, counts: any integer type, the same numbers
        assert actual.dtype.kind in "iub", f"{what}: {actual.dtype} for {expected.dtype}"
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype} for {expected.dtype}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=what)
    if finite.any():
        error = np.abs(actual[finite].astype(float) - expected[finite]).max()
        scale = max(np.abs(expected[finite]).max(), largest_term)
        assert error <= bound * scale, f"{what}: off by {error:.3g} where the largest is {scale:.3g}"


def assert_results_close(actual, expected, bound, what="", largest_term=0.0):
    """assert_close for what a kernel returns: an array, a scalar, None, or a tuple of them."""
    if isinstance(expected, tuple):
        assert isinstance(actual, tuple) and len(actual) == len(expected), f"{what}: {type(actual)}"
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_close(a, e, bound, f"{what} result {i}", largest_term)
    else:
        assert_close(actual, expected, bound, what, largest_term)
