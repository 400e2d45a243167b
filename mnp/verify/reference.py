"""The reference: the textbook's kernels, and the fused kernels composed of them."""

import difflib
import functools
import inspect

import numpy as np

from mnp.errors import MnpError
from mnp.kernels import FUSED, KERNELS, fused, textbook

INTERFACE = {**KERNELS, **FUSED}
IN_PLACE = {"sgd_step": ("weights", "velocities")}  # arguments that come back changed, not returned
OUTPUTS = {  # "(dy, x, weight) -> dx or None, dweight, dbias" gives dx, dweight, dbias
    kernel: IN_PLACE.get(kernel) or tuple(signature.partition(" -> ")[2].replace(" or None", "").split(", "))
    for kernel, signature in INTERFACE.items()
}


def function(kernel):
    """Return the definition of a kernel; MnpError for any other name, with those like it."""
    if kernel not in OUTPUTS:
        alike = [name for name in OUTPUTS if kernel and kernel.lower() in name]
        alike = alike or difflib.get_close_matches(kernel, OUTPUTS) or OUTPUTS
        raise MnpError(f"{kernel!r} is not a kernel of the interface: choose from {', '.join(alike)}")
    return getattr(textbook, kernel, None) or functools.partial(getattr(fused, kernel), textbook)


def widen(value):
    """Copy an argument, floating arrays as float64; tuples element by element; anything else as it is.

    >>> widen((np.float32([0.5]), None, 3))
    (array([0.5]), None, 3)
    """
    if isinstance(value, tuple):
        return tuple(widen(v) for v in value)
    if isinstance(value, np.ndarray):
        return np.array(value, np.float64 if value.dtype.kind == "f" else value.dtype, order="C")
    return value


def bind(kernel, args, keywords):
    """Name the arguments of a call of a kernel, defaults included."""
    given = inspect.signature(function(kernel)).bind(*args, **keywords)
    given.apply_defaults()
    return dict(given.arguments)


def named(kernel, returned):
    """Name what a kernel returned, one value or a tuple of them."""
    names = OUTPUTS[kernel]
    return dict(zip(names, returned if len(names) > 1 else (returned,), strict=True))


def call(kernel, args):
    """Run a definition on copies of the arguments, floating ones in float64, and name what it returns.

    Returns a dict of output name -> array, tuple of arrays, or None for a dx that was not asked for. A kernel
    that works in place gives the arrays as it left them.
    """
    args = {name: widen(value) for name, value in args.items()}
    returned = function(kernel)(**args)
    return {name: args[name] for name in IN_PLACE[kernel]} if kernel in IN_PLACE else named(kernel, returned)
