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

For one example a small network's loops are so short that a good third of the time goes to Python, which calls
them one by one. `record` keeps the calls that a function makes, and `Recording.run` makes all of them again
at once.
"""

import threading

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


def _borrowed(context, builder, kind, value):
    """A tuple with its arrays as borrowed: no reference counts, which all threads would fight over."""
    if isinstance(kind, types.BaseTuple):
        for i, item in enumerate(kind.types):
            part = _borrowed(context, builder, item, builder.extract_value(value, i))
            value = builder.insert_value(value, part, i)
    elif isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value=value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        value = array._getvalue()
    return value


@intrinsic
def _put_down(typing, arguments):
    """Store a tuple in this function's own memory and give its address, good until the function returns."""

    def code(context, builder, signature, values):
        value = _borrowed(context, builder, signature.args[0], values[0])
        return builder.ptrtoint(cgutils.alloca_once_value(builder, value), _LONG)

    return types.int64(arguments), code


@intrinsic
def _put_at(typing, address, arguments):
    """Store a tuple at an address; give the bytes that it takes. Address 0: nothing is stored."""

    def code(context, builder, signature, values):
        value = _borrowed(context, builder, signature.args[1], values[1])
        with builder.if_then(builder.icmp_unsigned("!=", values[0], ir.Constant(_LONG, 0))):
            builder.store(value, builder.inttoptr(values[0], value.type.as_pointer()))
        return ir.Constant(_LONG, context.get_abi_sizeof(value.type))

    return types.int64(types.int64, arguments), code


def _make_pick_up(kind):
    @intrinsic
    def pick_up(typing, address):
        """The tuple that `_put_down` stored."""

        def code(context, builder, signature, values):
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.inttoptr(values[0], pointer))

        return kind(types.int64), code

    return pick_up


@compiled()
def _count():  # pragma: no cover - machine code only
    return _threads()


def threads():
    """How many threads Numba may use now: numba.get_num_threads() in a tenth of its time."""
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


@compiled()
def _run_all(calls):  # pragma: no cover - as _run
    for i in range(len(calls)):
        _run(calls[i, 0], calls[i, 1], calls[i, 2])


_recorded = {}  # of a Python thread that is recording: the calls so far


class Shared:
    """A function made by `@shared`. Nothing is compiled before the first call."""

    def __init__(self, function, kinds):
        self.function, self.kinds, self._address, self._store = function, kinds, None, None

    def __call__(self, count, *arguments):
        """Run the function for index = 0 ... count - 1 with these arguments, which must be of its types."""
        if self._address is None:
            self._compile()
        if _recorded:
            _recorded.get(threading.get_ident(), []).append((self, count, arguments))
        self._launch(self._address, count, arguments)

    def kept(self, count, arguments):
        """A call as (address, count, address of its arguments), and the memory that holds those."""
        if self._store is None:
            self._compile_store()
        memory = np.empty(self._store(0, arguments) // 8, np.int64)
        self._store(memory.ctypes.data, arguments)
        return (self._address, count, memory.ctypes.data), memory

    def _compile(self):
        share, pick_up = inner(self.function), _make_pick_up(types.Tuple(self.kinds))

        def body(index, address):  # pragma: no cover - machine code only, as launch
            share(index, *pick_up(address))

        def launch(address, count, arguments):  # pragma: no cover
            _run(address, count, _put_down(arguments))

        body = self._compiled(body, INT, INT)
        self._launch = self._compiled(launch, INT, INT, types.Tuple(self.kinds))
        (code,) = body.overloads.values()
        self._address = code.library.get_pointer_to_function(code.fndesc.llvm_cfunc_wrapper_name)

    def _compile_store(self):
        def store(address, arguments):  # pragma: no cover
            return _put_at(address, arguments)

        self._store = self._compiled(store, INT, types.Tuple(self.kinds))

    def _compiled(self, part, *kinds):
        # Numba keeps compiled code under these names.
        part.__module__ = self.function.__module__
        part.__qualname__ = f"{self.function.__qualname__}_{part.__name__}"
        part.source = self.function.__code__.co_filename
        part = compiled()(part)
        part.compile(kinds)
        part.disable_compile()  # other types are a mistake, not a reason to compile again
        return part


def shared(*kinds):
    """Make a function (index, *arguments) of jitted code one that Python calls as (count, *arguments).

    Parameters
    ----------
    kinds : Numba types
        Of the arguments behind the index. Arrays are flat and writable: FLOATS, BYTES, INTS.
    """
    return lambda function: Shared(function, kinds)


class Recording:
    """Calls of shared loops, to be made again: `run()`. What Python computed in between is no part of it.

    calls : list of (function, count, arguments)
        The arguments are the same arrays each time.
    """

    def __init__(self, calls):
        self.calls = calls
        kept = [function.kept(count, arguments) for function, count, arguments in calls]
        self._memory = [memory for _, memory in kept]  # the addresses are good as long as this
        self._addresses = np.array([call for call, _ in kept], np.int64).reshape(-1, 3)

    def run(self):
        """Make the calls, in order."""
        _run_all(self._addresses)


def record(function, *arguments):
    """Call function(*arguments); give the recording of the shared loops that it called, and its result."""
    thread = threading.get_ident()
    _recorded[thread] = calls = []
    try:
        result = function(*arguments)
    finally:
        del _recorded[thread]
    return Recording(calls), result
