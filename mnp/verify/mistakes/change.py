"""The commonest way to write a wrong version: the right kernel on changed arguments."""

import numpy as np

from mnp.verify import reference


def changed(kernel, outputs=None, **changes):
    """Make a mistake that is the right kernel on changed arguments, in some outputs or in all.

    `changes` maps an argument's name to its new value, or to a function of all arguments that gives it.

    >>> double = changed("relu_forward", x=lambda a: 2 * a["x"])
    >>> double({"x": np.array([1.0, -1.0])}, None)
    {'y': array([2., 0.])}
    """

    def mistake(a, right):
        new = {name: change(a) if callable(change) else change for name, change in changes.items()}
        wrong = reference.call(kernel, {**a, **new})
        return {name: wrong[name] for name in outputs or wrong}

    return mistake


def scaled(factor, *names):
    """Make a mistake that multiplies outputs by a function of all arguments."""
    return lambda a, right: {name: right[name] * factor(a) for name in names}


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


def maximum(values):
    """Usual mistakes in a maximum along the last axis and its index, of a function of the arguments."""

    def of(change):
        return lambda a, r: {"y": change(values(a)).max(-1), "winner": change(values(a)).argmax(-1)}

    return {
        "wrong tie rule: the last index wins": lambda a, r: {"winner": last_argmax(values(a))},
        "NaN lost: it loses every comparison": of(without_nan),
        "NaN lost unless it comes first: it loses every comparison": of(scanned),
        "the last NaN wins instead of the first": lambda a, r: {
            "winner": np.where(np.isnan(r["y"]), last_argmax(np.isnan(values(a))), r["winner"])
        },
        "the maximum starts at zero": lambda a, r: {"y": np.maximum(r["y"], 0)},
        "the maximum and its winner start at zero": lambda a, r: {
            "y": np.maximum(r["y"], 0),
            "winner": np.where(r["y"] > 0, r["winner"], 0),
        },
        "a minimum": lambda a, r: {"y": values(a).min(-1), "winner": values(a).argmin(-1)},
        "a mean instead of a maximum": lambda a, r: {"y": values(a).mean(-1)},
        "the maximum of magnitudes": of(np.abs),
        "the winner counted from one": lambda a, r: {"winner": r["winner"] + 1},
    }
