"""Random inputs of the generated cases, their layouts in memory, and the cases of backward kernels."""

import inspect

import numpy as np

from mnp.verify import reference


class Draw:
    """Random arrays of one floating type.

    Many inputs lie on a *grid* (multiples of 1/4 between -2 and 2). Sums and products of such
    numbers are exact in float32, whatever the order, so ties are true ties and a winner has one
    right answer.

    >>> Draw(np.random.default_rng(0), np.float32).grid(3)
    array([1.5, 0.5, 0. ], dtype=float32)
    """

    def __init__(self, rng, dtype):
        self.rng, self.dtype = rng, dtype

    def grid(self, *shape):
        """Draw multiples of 1/4 in [-2, 2]."""
        return (self.rng.integers(-8, 9, shape) / 4).astype(self.dtype)

    def normal(self, *shape, scale=1.0):
        """Draw from a normal distribution with this standard deviation."""
        return (scale * self.rng.standard_normal(shape)).astype(self.dtype)

    def positive(self, *shape):
        """Draw multiples of 1/4 in [1/4, 2]."""
        return (self.rng.integers(1, 9, shape) / 4).astype(self.dtype)

    def ties(self, *shape):
        """Draw only -1, 0 and 1, so that most maxima are shared."""
        return self.rng.integers(-1, 2, shape).astype(self.dtype)

    def keep(self, p, *shape):
        """Draw kept positions, each with probability 1 - p."""
        return self.rng.random(shape) >= p

    def winner(self, k, *shape):
        """Draw indices in [0, k)."""
        return self.rng.integers(0, k, shape)


def strided(a):
    """Copy an array into every second element of a larger one.

    >>> a = strided(np.arange(3))
    >>> a, a.flags.c_contiguous
    (array([0, 1, 2]), False)
    """
    wide = np.ones((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def backwards(a):
    """Copy an array so that its first stride is negative."""
    return np.ascontiguousarray(a[::-1])[::-1]


LAYOUTS = {"Fortran order": np.asfortranarray, "strided input": strided, "negative strides": backwards}


def with_layout(note, args):
    """Return arguments in the memory layout that the note of their case names, if it names one.

    What has one axis stays as it is, labels excepted.
    """

    def laid_out(name, value):
        if isinstance(value, tuple):
            return tuple(laid_out(name, v) for v in value)
        if not isinstance(value, np.ndarray) or name == "bias" or (value.ndim == 1 and name != "labels"):
            return value
        return LAYOUTS[note](value)

    return {name: laid_out(name, value) for name, value in args.items()} if note in LAYOUTS else args


def backward_cases(kernel, forward_cases, draw):
    """Turn the cases of a forward kernel into those of its backward kernel: (note, arguments by name).

    It takes the forward kernel's arguments, the textbook's outputs and a random dy. NaN has no gradient, so
    those cases are left out.
    """
    forward = kernel.replace("backward", "forward")
    names = inspect.signature(reference.function(kernel)).parameters
    for note, args in forward_cases:
        if "NaN" in note:
            continue
        given = reference.named(forward, reference.function(forward)(**args))
        given["dy"] = draw.grid(*given["y"].shape)
        given |= {"x_shape": args["x"].shape} if "x" in args else {"k": args["z"].shape[2]}
        given |= {**args, "need_dx": True}
        backward = {name: given[name] for name in names}
        yield note, backward
        if "need_dx" in names and note == "ties":
            yield "need_dx=False", {**backward, "need_dx": False}
