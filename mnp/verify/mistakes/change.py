"""How the entries of the tables are written.

An entry is {output: function}. The names of the function's parameters say what it is given: arguments of the
kernel and its right outputs (the argument, if there are both). Outputs that are not mentioned are right.
An entry may also be a function (args, right) that returns the wrong outputs, as `changed` makes one.
"""

import numpy as np

from mnp.verify import reference


def by_name(function, known):
    """Call a function with those values that its parameters name."""
    code = function.__code__
    return function(*(known[name] for name in code.co_varnames[: code.co_argcount]))


def outputs_of(mistake, args, right):
    """The outputs that an entry makes wrong, by name; a dx that was not asked for stays None."""
    if callable(mistake):
        return mistake(args, right)
    known = {**right, **args}
    return {name: None if right[name] is None else by_name(f, known) for name, f in mistake.items()}


def changed(kernel, outputs=None, **changes):
    """Make an entry that is the right kernel on changed arguments, in some outputs or in all.

    `changes` maps an argument's name to its new value, or to a function like those of an entry.

    >>> double = changed("relu_forward", x=lambda x: 2 * x)
    >>> double({"x": np.array([1.0, -1.0])}, None)
    {'y': array([2., 0.])}
    """

    def mistake(args, right):
        new = {n: by_name(change, args) if callable(change) else change for n, change in changes.items()}
        wrong = reference.call(kernel, {**args, **new})
        return {name: wrong[name] for name in outputs or wrong}

    return mistake


def scaled(factor, *names):
    """Make an entry that multiplies outputs by a function of the arguments."""
    return lambda args, right: {name: right[name] * by_name(factor, args) for name in names}


def flipped(weight):
    """Turn a kernel by half a circle."""
    return weight[..., ::-1, ::-1]


def windows(x, size, stride):
    """All windows of the images: (N, C, OH, OW, size, size)."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def joined(view):
    """The last two axes as one.

    >>> joined(np.zeros((2, 3, 4))).shape
    (2, 12)
    """
    return view.reshape(*view.shape[:-2], -1)


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


def maximum(values):
    """Usual mistakes in a maximum along the last axis and its index, of a function of the arguments."""

    def of(change, best=np.max, index=np.argmax):
        def mistake(args, right):
            v = change(by_name(values, args))
            return {"y": best(v, -1), "winner": index(v, -1)}

        return mistake

    def last_nan(args, right):
        last = last_argmax(np.isnan(by_name(values, args)))
        return {"winner": np.where(np.isnan(right["y"]), last, right["winner"])}

    return {
        "wrong tie rule: the last index wins": lambda a, r: {"winner": last_argmax(by_name(values, a))},
        "NaN lost: it loses every comparison": of(lambda v: np.where(np.isnan(v), -np.inf, v)),
        "NaN lost unless it comes first: it loses every comparison": of(scanned),
        "the last NaN wins instead of the first": last_nan,
        "the maximum starts at zero": {"y": lambda y: np.maximum(y, 0)},
        "the maximum and its winner start at zero": {
            "y": lambda y: np.maximum(y, 0),
            "winner": lambda y, winner: np.where(y > 0, winner, 0),
        },
        "a minimum": of(lambda v: v, np.min, np.argmin),
        "a mean instead of a maximum": lambda a, r: {"y": by_name(values, a).mean(-1)},
        "the maximum of magnitudes": of(np.abs),
        "the winner counted from one": {"winner": lambda winner: winner + 1},
    }
