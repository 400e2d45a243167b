"""How this package hands a loop to Numba: one decorator, so that the settings are stated once."""

import numba

# Let a product and the sum after it become one instruction. Nothing else of `fastmath`: with all of it
# on, a loop may assume that NaN does not exist, and a NaN must come through here.
FASTMATH = frozenset({"contract"})


def compiled(**options):
    """Compile a function when it is first called, and keep the machine code for the next process.

        @compiled(parallel=True)
        def loop(x, y): ...

    The code is kept in Numba's cache folder (`NUMBA_CACHE_DIR`, else `__pycache__`, else one in the
    user's home). Where none of them can be written, everything works and is compiled anew each time.
    Division by zero gives inf or NaN as in NumPy. With `NUMBA_DISABLE_JIT=1` the function stays plain
    Python, for a debugger.

    Numba's cache notices a change in the function's own file only, so a loop may call loops of its own
    file and no others.

    Parameters
    ----------
    options
        For `numba.njit`. `parallel=True` only where each iteration owns what it writes: then the bits do
        not depend on the number of threads.
    """

    def decorate(function):
        settings = {"error_model": "numpy", "fastmath": set(FASTMATH), **options}
        try:
            return numba.njit(cache=True, **settings)(function)
        except RuntimeError:  # Numba's "no locator available": no folder it may write to
            return numba.njit(**settings)(function)

    return decorate
