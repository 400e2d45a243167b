"""What the public functions share: when tiles can run, what their loops can take, memory for them."""

import math
import os
import threading

import numba
import numpy as np

from mnp.kernels.registers import LINE, VECTORS

FLOAT32, NOTHING, NO_BYTES = np.dtype(np.float32), np.empty(0, np.float32), np.empty(0, np.uint8)

_Array = np.ndarray  # looked up once: one image's inference asks a dozen times

FORCED = os.environ.get("MNP_FORCE_FALLBACK") == "1"


def available():
    """Whether this backend's own loops can run here; where not, its functions are those of `jitted`.

    True if Numba compiles (no NUMBA_DISABLE_JIT=1), and for a CPU with AVX-512, or AVX2 and FMA (which
    NUMBA_CPU_NAME=generic is not on x86), or NEON, and the environment did not hold MNP_FORCE_FALLBACK=1,
    which is there for tests, when Python started.
    """
    return VECTORS and not FORCED and not numba.config.DISABLE_JIT


def floats32(*arrays):
    """Whether all of these are float32 arrays with something in them, and tiles can run."""
    for array in arrays:
        if type(array) is not _Array or array.dtype is not FLOAT32 or not array.size:
            return False
    return available()


def flats32(*arrays):
    """These arrays as `flat` gives them, or None if they are not what `floats32` says. In one call, for at
    one image the calls count."""
    views = []
    for array in arrays:
        if type(array) is not _Array or array.dtype is not FLOAT32 or not array.size:
            return None
        views.append((array if array.flags.carray else np.array(array, order="C")).ravel())
    return views if available() else None


def flat(array):
    """The array with one axis, contiguous, aligned and writable as the loops expect it: a view, or a copy."""
    return (array if array.flags.carray else np.array(array, order="C")).ravel()


def bytes_of(winner, choices):
    """Winners as flat uint8, or None if they are no integers in [0, choices)."""
    if winner.dtype != np.uint8:
        if winner.dtype.kind not in "iu" or winner.min() < 0 or winner.max() >= min(choices, 256):
            return None
        winner = winner.astype(np.uint8)
    return flat(winner)


def cache_aligned_empty(shape):
    """A new float32 array that starts on a cache line, where vectors load fastest."""
    size = math.prod(shape)
    raw = np.empty(size + LINE, np.float32)
    return raw[-raw.ctypes.data // 4 % LINE :][:size].reshape(shape)


class _Workspaces(threading.local):
    """Scratch memory of a call, kept for the next call of the same Python thread."""

    def __init__(self):
        self.arrays = {}

    def __call__(self, name, size):
        """A flat float32 array of this size that starts on a cache line; its contents are undefined."""
        array = self.arrays.get(name)
        if array is None or array.size < size:
            array = self.arrays[name] = cache_aligned_empty((size,))
        return array[:size]


workspace = _Workspaces()
