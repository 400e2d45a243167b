"""Wrong versions of any kernel: sign, zeros, transposition, a constant factor, another order, memory."""

import inspect
import itertools

import numpy as np

from mnp.verify import reference
from mnp.verify.candidate import copy_keeping_layout
from mnp.verify.judge import INTEGERS
from mnp.verify.mistakes.change import changed


def _batch(args):
    return next(len(args[name]) for name in ("x", "dy", "logits", "winner", "z") if name in args)


FACTORS = {
    "multiplied by the batch size: a sum where a mean is agreed": _batch,
    "divided by the batch size: a mean where a sum is agreed": lambda a: 1 / _batch(a),
    "divided by all of dy's pixels: a mean where a sum is agreed": lambda a: a["dy"].shape[1] / a["dy"].size,
    "multiplied by the pixels of a window: a sum where a mean is agreed": lambda a: a["size"] ** 2,
    "divided by size instead of size * size": lambda a: a["size"],
    "divided by the pixels of a window: a mean where none is agreed": lambda a: 1 / a["size"] ** 2,
    "twice too large": lambda a: 2.0,
    "half as large": lambda a: 0.5,
}
FORGOTTEN = {  # words -> an argument, and what it is to a kernel that knows nothing of it; see `changed`
    "padding forgotten": {"padding": 0},
    "stride forgotten": {"stride": 1},
    "bias forgotten": {"bias": lambda bias: np.zeros_like(bias)},
    "weight forgotten": {"weight": lambda weight: np.ones_like(weight)},
    "mean forgotten": {"mean": lambda mean: np.zeros_like(mean)},
    "eps forgotten": {"eps": 0.0},
    "ReLU forgotten": {"relu": False},
    "dropout forgotten": {"keep": None},
    "dropout's scaling forgotten": {"p": 0.0},
    "the winner ignored: the first neuron or pixel gets all": {"winner": lambda winner: 0 * winner},
}
CHANGES = {
    "the sign of {}": np.negative,
    "{} left at zero": np.zeros_like,
    "{} transposed": np.transpose,
    "{} last axes swapped": lambda v: np.swapaxes(v, -1, -2),
    "{} in the reverse order": lambda v: v[::-1],
}


class UnpredictableError(Exception):
    """The mistake reads memory that is not the array's: its result may be anything."""


class MemoryInCOrder:
    """The right kernel on arrays whose memory is read in C order, as a pointer in C does.

    It needs the arrays as they lie in memory, not the copies that other mistakes get.
    """

    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, a, right):
        return reference.call(self.kernel, {name: self.reread(value) for name, value in a.items()})

    def reread(self, value):
        if not isinstance(value, np.ndarray) or value.flags.c_contiguous:
            return value
        if any(stride < 0 for stride in value.strides):
            raise UnpredictableError
        copy = copy_keeping_layout(value)  # what lies between the elements is as the candidate saw it
        return np.lib.stride_tricks.as_strided(copy, value.shape, np.empty_like(value, order="C").strides)


def table(kernel):
    """Make the wrong versions of one kernel from its right outputs, as a table like those of the kernels.

    >>> list(table("maxout_forward"))[-2]
    'returned in another order: winner, y'
    """
    mistakes, names = {}, reference.OUTPUTS[kernel]
    arguments = inspect.signature(reference.function(kernel)).parameters
    for words, change in FORGOTTEN.items():
        if change.keys() <= arguments.keys():
            mistakes[words] = changed(kernel, **change)
    for name in names:
        if name not in INTEGERS:
            for words, how in CHANGES.items():
                mistakes[words.format(name)] = _changed(name, lambda v, a, how=how: how(np.asarray(v)))
            for words, factor in FACTORS.items():
                mistakes[f"{name} {words}"] = _changed(name, lambda v, a, factor=factor: v * factor(a))
    if kernel not in reference.IN_PLACE:
        for order in itertools.permutations(names):
            if order != names:
                mistakes[f"returned in another order: {', '.join(order)}"] = lambda _, right, order=order: {
                    name: right[other] for name, other in zip(names, order, strict=True)
                }
        words = "memory read in C order, whatever the strides: np.ascontiguousarray makes it so"
        mistakes[words] = MemoryInCOrder(kernel)
    return mistakes


def _changed(name, how):
    def mistake(args, right):
        value = right[name]
        if isinstance(value, tuple):
            return {name: tuple(how(v, args) for v in value)}
        return {name: None if value is None else how(value, args)}

    return mistake
