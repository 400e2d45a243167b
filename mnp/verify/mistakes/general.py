"""Wrong versions that any kernel can suffer: sign, zeros, transposition, a constant factor, another order."""

import itertools

import numpy as np

from mnp.verify import reference
from mnp.verify.judge import INTEGERS


def _batch(args):
    return next(len(args[name]) for name in ("x", "dy", "logits", "winner", "z") if name in args)


FACTORS = {
    "multiplied by the batch size: a sum where a mean is agreed": _batch,
    "divided by the batch size: a mean where a sum is agreed": lambda a: 1 / _batch(a),
    "divided by all of dy's pixels: a mean where a sum is agreed": lambda a: (
        1 / (a["dy"].size / a["dy"].shape[1])
    ),
    "multiplied by the pixels of a window: a sum where a mean is agreed": lambda a: a["size"] ** 2,
    "divided by size instead of size * size": lambda a: a["size"],
    "divided by the pixels of a window: a mean where none is agreed": lambda a: 1 / a["size"] ** 2,
    "twice too large": lambda a: 2.0,
    "half as large": lambda a: 0.5,
}
CHANGES = {
    "the sign of {}": np.negative,
    "{} left at zero": np.zeros_like,
    "{} transposed": np.transpose,
    "{} last axes swapped": lambda v: np.swapaxes(v, -1, -2),
    "{} in the reverse order": lambda v: v[::-1],
}


def table(kernel):
    """Make the wrong versions of one kernel from its right outputs.

    Returns
    -------
    table : dict of words -> function of (a, right)
        As the tables of the single kernels.

    >>> list(table("maxout_forward"))[-1]
    'returned in another order: winner, y'
    """
    found, names = {}, reference.OUTPUTS[kernel]
    for name in names:
        if name not in INTEGERS:
            for words, how in CHANGES.items():
                found[words.format(name)] = _changed(name, how)
            for words, factor in FACTORS.items():
                found[f"{name} {words}"] = _scaled(name, factor)
    if kernel not in reference.IN_PLACE:
        for order in itertools.permutations(names):
            if order != names:
                found[f"returned in another order: {', '.join(order)}"] = _reordered(names, order)
    return found


def _changed(name, how):
    def mistake(_, right):
        value = right[name]
        if isinstance(value, tuple):
            return {name: tuple(how(v) for v in value)}
        return {name: value if value is None else how(np.asarray(value))}

    return mistake


def _scaled(name, factor):
    def mistake(args, right):
        value = right[name]
        if isinstance(value, tuple):
            return {name: tuple(v * factor(args) for v in value)}
        return {name: value if value is None else value * factor(args)}

    return mistake


def _reordered(names, order):
    return lambda _, right: {name: right[other] for name, other in zip(names, order, strict=True)}
