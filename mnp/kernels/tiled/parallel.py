"""Run one function for every index, shared out among Numba's threads: `@shared`.

    @shared(FLOATS, FLOATS, types.int64)
    def double(index, x, y, size):                 # one index's share of the work, in jitted code
        for i in range(index * size, (index + 1) * size):
            y[i] = 2 * x[i]

    double(count, x, y, size)                      # from Python: the function for index = 0 ... count - 1

It does what a `prange` loop does, with two differences that matter here. Numba compiles the body of a
`prange` four times over on its way to machine code, which for register tiles takes a minute in all; here
the body is compiled once, and a loop of three lines, compiled once for everything, calls it by its
address. And every thread begins with its own share, the same one each time, so that what it left
in its cache is still of use; when that is done it helps the others, so that a thread which the system put
to sleep holds up only what it is doing.

Each index must own what it writes: then no bit depends on which thread ran it, or how many there are.

For one example a small network's loops are so short that a good third of the time goes to Python, which calls
them one by one. As with CUDA graphs, `capture` keeps the calls that a function makes, and `CapturedCalls.run`
repeats all of them at once.
"""

import threading

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mnp.kernels.tiled.compiling import compiled, device

FLOATS, BYTES, INTS = types.float32[::1], types.uint8[::1], types.int32[::1]
INT, FLOAT = types.int64, types.float64

_LONG = ir.IntType(64)
_PITCH = 8  # counters of two threads are on different cache lines


def tuples(kind, count):
    """The type of a tuple of `count` things of one type."""
    return types.UniTuple(kind, count)


@intrinsic
def _threads(typing):
    """Number of threads that Numba may use now (what its own parallel loops ask)."""

    def code(context, builder, signature, values):
        kind = ir.FunctionType(_LONG, [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "get_num_threads"), [])

    return types.int64(), code


@intrinsic
def _fetch_add(typing, counters, at):
    """Return counters[at] and add 1 to it, atomically: no two threads get the same."""

    def code(context, builder, signature, values):
        data = context.make_array(signature.args[0])(context, builder, value=values[0]).data
        place = builder.gep(data, [values[1]], inbounds=True)
        return builder.atomic_rmw("add", place, ir.Constant(_LONG, 1), "monotonic")

    return types.int64(types.int64[::1], types.int64), code


@intrinsic
def _call_address(typing, address, numbers):
    """Call the C function at the address, which takes a tuple of int64 and returns nothing."""

    def code(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [_LONG] * len(numbers))
        arguments = [builder.extract_value(values[1], i) for i in range(len(numbers))]
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(numbers))), code


def _borrowed(context, builder, kind, value):
    """The tuple with its arrays borrowed: without reference counts, over which all threads would contend."""
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
def _pack_args(typing, arguments):
    """Store a tuple on this function's stack; return its address, valid until the function returns."""

    def code(context, builder, signature, values):
        value = _borrowed(context, builder, signature.args[0], values[0])
        return builder.ptrtoint(cgutils.alloca_once_value(builder, value), _LONG)

    return types.int64(arguments), code


@intrinsic
def _pack_args_at(typing, address, arguments):
    """Store a tuple at an address; return its size in bytes. Address 0: nothing is stored."""

    def code(context, builder, signature, values):
        value = _borrowed(context, builder, signature.args[1], values[1])
        with builder.if_then(builder.icmp_unsigned("!=", values[0], ir.Constant(_LONG, 0))):
            builder.store(value, builder.inttoptr(values[0], value.type.as_pointer()))
        return ir.Constant(_LONG, context.get_abi_sizeof(value.type))

    return types.int64(types.int64, arguments), code


def _make_unpack_args(kind):
    @intrinsic
    def unpack_args(typing, address):
        """The tuple that `_pack_args` stored."""

        def code(context, builder, signature, values):
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.inttoptr(values[0], pointer))

        return kind(types.int64), code

    return unpack_args


@compiled()
def _count():  # pragma: no cover - machine code only
    return _threads()


def threads():
    """Number of threads that Numba may use now: numba.get_num_threads() in a tenth of its time."""
    return _count()


@compiled(parallel=True)
def _run(address, count, arguments):  # pragma: no cover - it calls an address: never run as Python
    if count == 1:  # waking the threads would take longer than most single shares
        _call_address(address, (0, arguments))
        return
    shares = min(_threads(), count)
    # One counter per share, each on a separate cache line: its next index that nobody has taken.
    counters = np.empty(shares * _PITCH, np.int64)
    for t in range(shares):
        counters[t * _PITCH] = t * count // shares
    for thread in numba.prange(shares):
        # First the thread's own share, then what the others have left: a thread that the system has put to
        # sleep delays only the index it is working on.
        for turn in range(shares):
            share = (thread + turn) % shares
            end = (share + 1) * count // shares
            index = _fetch_add(counters, share * _PITCH)
            while index < end:
                _call_address(address, (index, arguments))
                index = _fetch_add(counters, share * _PITCH)


@compiled()
def _run_all(calls):  # pragma: no cover - as _run
    for i in range(len(calls)):
        _run(calls[i, 0], calls[i, 1], calls[i, 2])


def _address(function):
    (code,) = function.overloads.values()
    return code.library.get_pointer_to_function(code.fndesc.llvm_cfunc_wrapper_name)


_capturing = {}  # thread id -> the calls so far, while `capture` runs


class Shared:
    """A function made by `@shared`. Nothing is compiled before the first call."""

    def __init__(self, function, kinds):
        self.function, self.kinds, self._address, self._store = function, kinds, None, None

    def __call__(self, count, *arguments):
        """Run the function for index = 0 ... count - 1 with these arguments, which must be of its types."""
        if self._address is None:
            self._compile()
        if _capturing:
            _capturing.get(threading.get_ident(), []).append((self, count, arguments))
        self._launch(self._run, self._address, count, arguments)

    def bind(self, count, arguments):
        """Bind arguments: (address, count, address of the arguments), and the memory that holds those."""
        if self._store is None:
            self._compile_store()
        memory = np.empty(self._store(0, arguments) // 8, np.int64)
        self._store(memory.ctypes.data, arguments)
        return (self._address, count, memory.ctypes.data), memory

    def _compile(self):
        share, unpack_args = device(self.function), _make_unpack_args(types.Tuple(self.kinds))

        def body(index, address):  # pragma: no cover - machine code only, as launch
            share(index, *unpack_args(address))

        def launch(run, address, count, arguments):  # pragma: no cover
            _call_address(run, (address, count, _pack_args(arguments)))

        # Each compiled alone and called by its address: inside a prange it would be compiled four times.
        _run.compile((INT, INT, INT))
        self._run, body = _address(_run), self._compiled(body, INT, INT, no_cpython_wrapper=True)
        (code,) = self._compiled(
            launch, INT, INT, INT, types.Tuple(self.kinds), no_cfunc_wrapper=True
        ).overloads.values()
        self._launch = code.entry_point  # past Numba's look at the types: they are always the same
        self._address = _address(body)

    def _compile_store(self):
        def store(address, arguments):  # pragma: no cover
            return _pack_args_at(address, arguments)

        self._store = self._compiled(store, INT, types.Tuple(self.kinds))

    def _compiled(self, part, *kinds, **options):
        # Numba keeps compiled code under these names.
        part.__module__ = self.function.__module__
        part.__qualname__ = f"{self.function.__qualname__}_{part.__name__}"
        part.source = self.function.__code__.co_filename
        part = compiled(**options)(part)
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


class CapturedCalls:
    """Calls of shared loops, repeated by `run()`. What Python computed in between is not part of it.

    calls : list of (function, count, arguments)
        The arguments are the same arrays each time.
    """

    def __init__(self, calls):
        self.calls = calls
        bound = [function.bind(count, arguments) for function, count, arguments in calls]
        self._memory = [memory for _, memory in bound]  # the addresses are valid as long as this lives
        self._addresses = np.array([call for call, _ in bound], np.int64).reshape(-1, 3)

    def run(self):
        """Make the calls, in order."""
        _run_all(self._addresses)


def capture(function, *arguments):
    """Call function(*arguments); return the shared loops that it called as CapturedCalls, and its result."""
    thread = threading.get_ident()
    _capturing[thread] = calls = []
    try:
        result = function(*arguments)
    finally:
        del _capturing[thread]
    return CapturedCalls(calls), result
