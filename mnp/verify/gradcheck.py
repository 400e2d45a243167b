"""Numerical gradients, which every backward function and whole networks are checked against.

Central differences, element by element:

    df/dx[i] = (f(x + h e_i) - f(x - h e_i)) / (2 h) + O(h^2)

In float64 with h = 1e-6 rounding costs about 1e-10 of the values (2^-53 / h) and the formula itself much
less (h^2 / 6, about 2e-13), so that an analytic gradient should agree to about 1e-7 of its largest element.
That holds where f is smooth, not within h of a maximum's tie or of a ReLU's zero: `distinct_values` gives
values that are far from both.
"""

import numpy as np

from mnp.errors import MnpError


def numerical_gradient(function, x, h=1e-6):
    """Gradient of a scalar function with respect to each element of x, by central differences.

        step        = h * max(1, |x[i]|)
        gradient[i] = (function with x[i] + step  -  function with x[i] - step) / (what x[i] has moved)

    Parameters
    ----------
    function : callable without arguments -> float
        Computes the result from x as it stands. x is changed in place, one element at a time, and restored,
        so it may be a parameter deep inside a network.
    x : float64 array, any shape
    h : float

    Returns
    -------
    gradient : float64 array, the shape of x
        Takes two calls for each element: for small arrays only.

    Raises MnpError for an x that is not float64, and for an element that the step cannot move: NaN,
    infinite, next to overflow, or an h that is too small.

    >>> x = np.array([1.0, 2.0, 3.0])
    >>> numerical_gradient(lambda: float((x**2).sum()), x).round(6)
    array([2., 4., 6.])
    """
    if x.dtype != np.float64:
        raise MnpError(f"numerical_gradient: x is {x.dtype}: differences this small need float64")
    gradient = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        before = float(x[place])
        step = h * max(1.0, abs(before))
        up, down = before + step, before - step
        moved = up - down  # about 2 step, but exact
        if not 0 < moved < np.inf:
            raise MnpError(
                f"numerical_gradient: x{list(place)} is {before:g}, which a step of {step:g} cannot change"
            )
        try:
            x[place] = up
            above = function()
            x[place] = down
            below = function()
        finally:
            x[place] = before
        gradient[place] = (above - below) / moved
    return gradient


def gradient_error(analytic, numerical):
    """Largest difference of two gradients, float arrays of one shape, relative to the largest element.

        max |analytic - numerical| / max(max |analytic|, max |numerical|, 1e-12)

    About 1e-9 for a right gradient, about 1 for a wrong one; NaN if either contains a NaN.

    >>> print(gradient_error(np.array([2.0, 4.0]), np.array([2.0, 4.4])).round(3))
    0.091
    """
    if analytic.shape != numerical.shape:
        raise MnpError(f"gradient_error: the shapes {analytic.shape} and {numerical.shape} differ")
    if analytic.size == 0:
        return np.float64(0.0)
    scale = np.maximum(np.abs(analytic).max(), np.abs(numerical).max())
    return np.abs(analytic - numerical).max() / np.maximum(scale, 1e-12)


def distinct_values(shape, rng):
    """Numbers between -1 and 1 of which no two are close, and none is close to zero: float64 of any shape.

    They are an even grid in random order, of spacing 2 / size, so that no maximum and no ReLU is near its
    kink.

    >>> np.sort(distinct_values((2, 2), np.random.default_rng(0)), axis=None)
    array([-0.75, -0.25,  0.25,  0.75])
    """
    size = int(np.prod(shape))
    grid = (2 * np.arange(size) + 1 - size) / max(size, 1)
    if size % 2:
        grid += 0.5 / size  # an odd number of grid points would have one at zero
    return rng.permutation(grid).reshape(shape)
