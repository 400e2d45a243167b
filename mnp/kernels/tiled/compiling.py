"""How this tier compiles: `compiled` for the functions that Python calls, `inner` for those that they call.

Numba keeps machine code from one process to the next, and forgets it when the file of the compiled
function changes. Here, though, a compiled function contains code of other files: the tiles of
`registers.py`, the helpers beside it. So the contents of all those files become part of the key under
which its code is kept.
"""

import hashlib
from functools import cache
from pathlib import Path

import numba
from numba.core.caching import FunctionCache

from mnp.kernels import compiling, registers


@cache
def sources_digest():
    """A digest of every file whose code may be contained in a kernel of this tier."""
    digest = hashlib.sha256()
    for path in [Path(registers.__file__), *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Cache(FunctionCache):
    """Numba's cache of one function, with the digest as the key in place of the function's own code."""

    def _index_key(self, signature, codegen):
        return signature, codegen.magic_tuple(), sources_digest()


def compiled(**options):
    """Like `mnp.kernels.compiling.compiled`, but safe for functions that contain code of other files."""

    def decorate(function):
        dispatcher = compiling.compiled(**options)(function)
        if isinstance(getattr(dispatcher, "_cache", None), FunctionCache):  # not so without a compiler
            dispatcher._cache = _Cache(function)
        return dispatcher

    return decorate


def inner(function):
    """Compile a function as a part of those that call it."""
    options = {"error_model": "numpy", "fastmath": set(compiling.FASTMATH)}
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
