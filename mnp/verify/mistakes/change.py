"""The commonest way to write a wrong version: the right kernel on changed arguments."""

import numpy as np

from mnp.verify import reference


def changed(kernel, outputs=None, **changes):
    """Make a mistake that is the right kernel on changed arguments, in some outputs or in all.

    Parameters
    ----------
    kernel : str
    outputs : tuple of str, optional
        Those that come out wrong; the others stay right.
    **changes
        Argument name -> its new value, or a function of all arguments (a dict) that gives it.

    Returns
    -------
    mistake : callable of (a, right)

    >>> double = changed("relu_forward", x=lambda a: 2 * a["x"])
    >>> double({"x": np.array([1.0, -1.0])}, None)
    {'y': array([2., 0.])}
    """

    def mistake(a, right):
        new = {name: change(a) if callable(change) else change for name, change in changes.items()}
        wrong = reference.call(kernel, {**a, **new})
        return {name: wrong[name] for name in outputs or wrong}

    return mistake


def zero(name):
    """Change an argument to zeros: what forgetting it amounts to."""
    return lambda a: np.zeros_like(a[name])


def flipped(name):
    """Turn a kernel by half a circle."""
    return lambda a: a[name][..., ::-1, ::-1]


def last_argmax(values):
    """Find the last of equal maxima along the last axis: the wrong tie rule.

    >>> int(last_argmax(np.array([3, 1, 3])))
    2
    """
    return values.shape[-1] - 1 - values[..., ::-1].argmax(axis=-1)


def scanned(values):
    """What a scan that begins with the first value makes of NaN: the first stays, later ones lose.

    >>> scanned(np.array([[np.nan, 1.0], [1.0, np.nan]]))
    array([[ nan, -inf],
           [  1., -inf]])
    """
    lost = np.isnan(values[..., :1]) | np.isnan(values)
    lost[..., 0] = False
    return np.where(lost, -np.inf, values)


def without_nan(values):
    """Replace NaN by minus infinity: what a loop of `if value > best` makes of it."""
    return np.where(np.isnan(values), -np.inf, values)
