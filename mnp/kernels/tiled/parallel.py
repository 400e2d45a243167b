"""Run one function for every index, shared out among Numba's threads: `@shared`.

    @shared(FLOATS, FLOATS, types.int64)
    def double(index, x, y, size):                 # one index's share of the work, in jitted code
        for i in range(index * size, (index + 1) * size):
            y[i] = 2 * x[i]

    double(count, x, y, size)                      # from Python: the function for index = 0 ... count - 1

It does what a `prange` loop does, with two differences that matter here. Numba compiles the body of a
`prange` four times over on its way to machine code, which for register tiles takes a minute in all; here
the body is compiled once, and a loop of three lines, compiled once for everything, calls it by its
address. And every thread begins with a share of its own, the same one each time, so that what it left
in its cache is still of use; when that is done it helps the others, so that a thread which the system put
to sleep holds up only what it is doing.

Each index must own what it writes: then no bit depends on which thread ran it, or how many there are.
"""

from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mnp.kernels.tiled.compiling import compiled, inner

FLOATS, BYTES, INTS = types.float32[::1], types.uint8[::1], types.int32[::1]
INT, FLOAT = types.int64, types.float64

_LONG = ir.IntType(64)
_APART = 8  # counters of two threads are on different cache lines


def tuples(kind, count):
    """The type of a tuple of `count` things of one type."""
    return types.UniTuple(kind, count)


@intrinsic
def _threads(typing):
    """How many threads Numba may use now (the function that Numba's own parallel loops ask)."""

    def code(context, builder, signature, values):
        kind = ir.FunctionType(_LONG, [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "get_num_threads"), [])

    return types.int64(), code


@intrinsic
def _take(typing, counters, at):
    """counters[at], which is one larger afterwards; in one step, so that no two threads take the same."""

    def code(context, builder, signature, values):
        data = context.make_array(signature.args[0])(context, builder, value=values[0]).data
        place = builder.gep(data, [values[1]], inbounds=True)
        return builder.atomic_rmw("add", place, ir.Constant(_LONG, 1), "monotonic")

    return types.int64(types.int64[::1], types.int64), code


@intrinsic
def _call(typing, address, index, arguments):
    """Call the C function void(int64 index, int64 arguments) at the address."""

    def code(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [_LONG, _LONG])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), list(values[1:]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic
def _put_down(typing, arguments):
    """Store a tuple in this function's own memory and give its address, good until the function returns.

    Arrays are stored as borrowed, without their reference count, which all threads would fight over.
    """

    def code(context, builder, signature, values):
        def borrowed(kind, value):
            if isinstance(kind, types.BaseTuple):
                for i, item in enumerate(kind.types):
                    part = borrowed(item, builder.extract_value(value, i))
                    value = builder.insert_value(value, part, i)
            elif isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, value=value)
                array.meminfo = cgutils.get_null_value(array.meminfo.type)
                array.parent = cgutils.get_null_value(array.parent.type)
                value = array._getvalue()
            return value

        value = borrowed(signature.args[0], values[0])
        return builder.ptrtoint(cgutils.alloca_once_value(builder, value), _LONG)

    return types.int64(arguments), code


def _make_pick_up(kind):
    @intrinsic
    def pick_up(typing, address):
        """The tuple that `_put_down` stored."""

        def code(context, builder, signature, values):
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.inttoptr(values[0], pointer))

        return kind(types.int64), code

    return pick_up


@cache
def _start():
    """Start Numba's threads, without which compiled code from its cache has nothing to call."""
    numba.get_num_threads()


@compiled()
def _count():  # pragma: no cover - machine code only
    return _threads()


def threads():
    """How many threads Numba may use now: numba.get_num_threads() in a tenth of its time."""
    _start()
    return _count()


@compiled(parallel=True)
def _run(address, count, arguments):  # pragma: no cover - it calls an address: never run as Python
    if count == 1:
        _call(address, 0, arguments)
        return
    shares = min(_threads(), count)
    counters = np.empty(shares * _APART, np.int64)
    for t in range(shares):
        counters[t * _APART] = t * count // shares
    for thread in numba.prange(shares):
        for turn in range(shares):
            share = (thread + turn) % shares
            end = (share + 1) * count // shares
            index = _take(counters, share * _APART)
            while index < end:
                _call(address, index, arguments)
                index = _take(counters, share * _APART)


class Shared:
    """A function made by `@shared`. Nothing is compiled before the first call."""

    def __init__(self, function, kinds):
        self.function, self.kinds, self._address = function, kinds, None

    def __call__(self, count, *arguments):
        """Run the function for index = 0 ... count - 1 with these arguments, which must be of its types."""
        if self._address is None:
            self._compile()
        self._launch(self._address, count, arguments)

    def _compile(self):
        _start()
        share, pick_up = inner(self.function), _make_pick_up(types.Tuple(self.kinds))

        def body(index, address):  # pragma: no cover - machine code only, as launch
            share(index, *pick_up(address))

        def launch(address, count, arguments):  # pragma: no cover
            _run(address, count, _put_down(arguments))

        for part in (body, launch):  # Numba keeps compiled code under these names
            part.__module__ = self.function.__module__
            part.__qualname__ = f"{self.function.__qualname__}_{part.__name__}"
            part.source = self.function.__code__.co_filename
        self._launch, body = compiled()(launch), compiled()(body)
        body.compile((INT, INT))
        self._launch.compile((INT, INT, types.Tuple(self.kinds)))
        self._launch.disable_compile()  # other types are a mistake, not a reason to compile again
        (code,) = body.overloads.values()
        self._address = code.library.get_pointer_to_function(code.fndesc.llvm_cfunc_wrapper_name)


def shared(*kinds):
    """Make a function (index, *arguments) of jitted code one that Python calls as (count, *arguments).

    Parameters
    ----------
    kinds : Numba types
        Of the arguments behind the index. Arrays are flat and writable: FLOATS, BYTES, INTS.
    """
    return lambda function: Shared(function, kinds)
