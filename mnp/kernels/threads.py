"""Start Numba's threads, and keep three accidents away from them.

Numba runs a parallel loop through one C function, `numba_parallel_for`, of the threading layer that it found:
OpenMP (`omp`) on most machines, its own `workqueue` on macOS. Whoever is first to run compiled code calls
`start_threads`, which takes care of what these layers do not:

- A thread of OpenMP that has finished its share spins, for milliseconds, before it sleeps. With another
  busy process on the machine that takes the core from the thread everybody is waiting for. So it
  spins for `SPIN_COUNT` turns only (some 20 microseconds), unless the user has set how long.
- GNU OpenMP does not survive a fork: Numba ends a child that starts a parallel loop. Here the child
  runs its loops in its one thread.
- Two Python threads may not be in workqueue's function at the same time: the process would be aborted.
  Here the second one runs its loop alone.

Both detours give the same bits, since no result of ours depends on the number of threads.
"""

import ctypes
import os
import threading
from functools import cache

import llvmlite.binding as llvm
import numba
from llvmlite import ir

from mnp.errors import MnpError

# Median of the LeNet's step of 64 on two cores, two threads. On a quiet machine 3.4 ms at 100 turns, 3.2 at
# 1,000, 3.2 at 10,000, 3.2 without a limit. Beside one busy process 6.1, 6.4 and 12.0 ms; one thread 5.7.
SPIN_COUNT = 1000

_alone = ctypes.c_int64(0)  # 1: run loops in the calling thread
_keep = []  # the machine code below
_lock = threading.Lock()


@cache
def start_threads():
    """Start the threads of Numba's parallel loops; must be called before any of our loops is loaded."""
    with _lock:  # a guard around a guard would never see that nobody is inside
        _start_once()


@cache
def _start_once():
    _load_openmp()
    try:
        numba.get_num_threads()
    except ValueError as error:
        raise MnpError(f"NUMBA_THREADING_LAYER: {str(error).splitlines()[0]}") from error
    layer = numba.threading_layer()
    if layer != "tbb":
        llvm.add_symbol("numba_parallel_for", _guard(layer == "workqueue"))
    if layer == "omp" and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: setattr(_alone, "value", 1))
    elif layer == "workqueue" and hasattr(os, "register_at_fork"):
        # Whoever was in the function is not part of the child, where Numba starts new threads.
        os.register_at_fork(after_in_child=lambda: setattr(_alone, "value", 0))


def _load_openmp():
    """Load OpenMP, which reads its settings from the environment at that moment and never again."""
    ours = "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if ours:
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    try:
        import numba.np.ufunc.omppool  # noqa: F401
    except ImportError:
        pass  # Numba will use another layer
    finally:
        if ours:
            del os.environ["GOMP_SPINCOUNT"]  # other libraries and child processes keep their own


def _guard(one_at_a_time):
    """Make the function that our loops call in place of numba_parallel_for; return its address.

    if _alone:                        # one_at_a_time: and set it in the same instruction
        kernel(args, dims, steps, data)
    else:
        numba_parallel_for(kernel, args, dims, steps, data, ...)
        _alone = 0                    # one_at_a_time
    """
    void, number = ir.VoidType(), ir.IntType(8 * ctypes.sizeof(ctypes.c_void_p))
    pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(64)
    parallel_for = ir.FunctionType(void, [pointer] * 5 + [number] * 3)
    kernel = ir.FunctionType(void, [pointer] * 4)
    module = ir.Module("mnp_threads")
    function = ir.Function(module, parallel_for, "mnp_parallel_for")
    entry, serial, parallel = (function.append_basic_block(name) for name in ("entry", "serial", "parallel"))

    builder = ir.IRBuilder(entry)
    alone = builder.inttoptr(ir.Constant(number, ctypes.addressof(_alone)), flag.as_pointer())
    if one_at_a_time:
        value = builder.atomic_rmw("xchg", alone, ir.Constant(flag, 1), "acquire")
    else:
        value = builder.load_atomic(alone, "monotonic", 8)
    builder.cbranch(builder.icmp_signed("!=", value, ir.Constant(flag, 0)), serial, parallel)

    builder = ir.IRBuilder(serial)
    builder.call(builder.bitcast(function.args[0], kernel.as_pointer()), function.args[1:5])
    builder.ret_void()

    builder = ir.IRBuilder(parallel)
    address = ir.Constant(number, llvm.address_of_symbol("numba_parallel_for"))
    builder.call(builder.inttoptr(address, parallel_for.as_pointer()), function.args)
    if one_at_a_time:
        builder.store_atomic(ir.Constant(flag, 0), alone, "release", 8)
    builder.ret_void()

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    _keep.append(engine)
    return engine.get_function_address("mnp_parallel_for")
