"""How this package hands a loop to Numba: one decorator, so that the settings are stated once."""

import hashlib
import pickle
from contextlib import contextmanager, suppress
from pathlib import Path

import numba
import numpy as np
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache

from mnp.kernels.threads import start_threads

# Let a product and the sum after it become one instruction. Nothing else of `fastmath`: with all of it
# on, a loop may assume that NaN does not exist, and a NaN must come through here.
FASTMATH = frozenset({"contract"})

_listeners = []  # of notify_compilation: called, and removed, at the next compilation


def compiled(**options):
    """Compile a function when it is first called, and keep the machine code for the next process.

        @compiled(parallel=True)
        def loop(x, y): ...

    The code is kept in Numba's cache folder (`NUMBA_CACHE_DIR`, else `__pycache__`, else one in the
    user's home). Where none of them can be written, everything works and is compiled anew each time; a
    damaged file is replaced. Division by zero gives inf or NaN as in NumPy. With `NUMBA_DISABLE_JIT=1` the
    function stays plain Python, for a debugger.

    Numba's cache notices a change in the function's own file only, so a loop may call loops of the
    same file and no others.

    Parameters
    ----------
    options
        For `numba.njit`. `parallel=True` only where each iteration owns what it writes: then the bits do
        not depend on the number of threads.
    """
    return lambda function: compile_with(Cache, function, options)


def compile_with(cache_type, function, options):
    """Compile as `compiled` says, with the machine code kept in a cache of this type."""
    dispatcher = numba.njit(**{"error_model": "numpy", "fastmath": set(FASTMATH), **options})(function)
    if dispatcher is not function:  # it is with NUMBA_DISABLE_JIT=1
        try:
            dispatcher._cache = cache_type(function)
        except RuntimeError:  # Numba's "no locator available": no folder it may write to
            dispatcher._cache = NoCache()
    return dispatcher


def contiguous(array):
    """The array as compiled loops take it: in C order and the machine's byte order; copied only if it is not.

    >>> contiguous(np.array([[1, 2], [3, 4]], ">f4").T).dtype == np.float32
    True
    """
    return np.ascontiguousarray(array, dtype=array.dtype.type)


@contextmanager
def notify_compilation(log):
    """Inside the block, call log(line) as soon as a kernel is compiled; once, or never if all are cached.

    >>> with notify_compilation(print):
    ...     pass
    """
    _listeners.append(log)
    try:
        yield
    finally:
        if log in _listeners:
            _listeners.remove(log)


def _before_compilation():
    while _listeners:
        _listeners.pop()(
            "compiling the kernels for the first time on this machine; the next start will be quick"
        )


class CacheFiles(IndexDataCacheFile):
    """Numba's index (.nbi) and machine code (.nbc), with a checksum behind each.

    Code that was damaged, or that belongs to another state of the source, is as good as none. Numba
    itself would end with an error, or run it.
    """

    def load(self, key):
        entry = super().load((key, self._source_stamp))
        return entry[1] if entry and entry[0] == (key, self._source_stamp) else None

    def save(self, key, data):
        key = key, self._source_stamp
        super().save(key, (key, data))

    def _load_index(self):
        try:
            return super()._load_index()
        except Exception:  # whatever a damaged pickle may raise
            return {}

    def _load_data(self, name):
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[:-32]).digest() != content[-32:]:
            return None
        return pickle.loads(content)

    def _dump(self, obj):
        data = super()._dump(obj)
        return data + hashlib.sha256(data).digest()  # behind the pickle's end, where it is not read


class Cache(FunctionCache):
    """Numba's cache of one function; it never stops a program whose code it cannot read or write."""

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = CacheFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def load_overload(self, signature, target):
        """The machine code, or None: Numba asks here before it compiles anything."""
        start_threads()
        try:
            code = super().load_overload(signature, target)
        except Exception:  # written by a Numba that arranged it in another way
            code = None
        if code is None:
            _before_compilation()
        return code

    def save_overload(self, signature, code):
        """Keep the machine code, unless the disk is full or over quota."""
        with suppress(OSError):
            super().save_overload(signature, code)


class NoCache(NullCache):
    """Where nothing can be kept."""

    def load_overload(self, signature, target):
        start_threads()
        _before_compilation()
