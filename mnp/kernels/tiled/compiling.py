"""How this backend compiles: `compiled` for functions that Python calls, `device` for those that they call.

Numba keeps machine code from one process to the next, and forgets it when the file of the compiled
function changes. Here, though, a compiled function contains code of other files: the tiles of
`registers.py`, the helpers beside it. So a digest of all those files becomes part of the key under which
its code is kept, and of the file's name: two processes that compile different states of the sources at the
same time must not write into one file.
"""

import hashlib
from functools import cache
from pathlib import Path

import numba
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from mnp.kernels import compiling, registers


@cache
def sources_digest(own):
    """A digest of every file whose code may be contained in a kernel of this backend, the file that has it
    (`own`, elsewhere for the benchmark's loop) among them, and of the tiles' size."""
    digest = hashlib.sha256(str(registers.WIDE).encode())
    for path in [Path(registers.__file__), Path(own), *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Cache(compiling.Cache):
    """The cache of one function, with the digest as the key in place of the function's own code.

    A function made inside another file's function is known by its module and name, see `parallel`.
    """

    def __init__(self, function):
        super().__init__(function)
        self._digest = sources_digest(getattr(function, "source", function.__code__.co_filename))
        name = f"{self._impl.filename_base}.{function.__module__.rpartition('.')[2]}.{self._digest[:16]}"
        self._cache_file = compiling.CacheFiles(self._cache_path, name, self._impl.locator.get_source_stamp())

    def _index_key(self, signature, codegen):
        return signature, codegen.magic_tuple(), function_name(self._py_func), self._digest


def function_name(function):
    """Module and name: what tells compiled functions apart."""
    return f"{function.__module__}.{function.__qualname__}"


def compiled(**options):
    """Like `mnp.kernels.compiling.compiled`, but safe for functions that contain code of other files."""
    return lambda function: compiling.compile_with(_Cache, function, options)


class _Part(JITCodeLibrary):
    """Code that is linked into other code, and optimised and translated to machine code only there."""

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    @property
    def codegen(self):
        return self

    def set_env(self, name, env):
        """No code of this library runs, so none needs its environment."""


class _PartCompiler(Compiler):
    def define_pipelines(self):
        self.state.library = _Part(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


def device(function, **options):
    """Compile a function as a part of those that call it (CUDA's word for a function that is no entry)."""
    options |= {"error_model": "numpy", "fastmath": set(compiling.FASTMATH), "pipeline_class": _PartCompiler}
    function = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
    if not numba.config.DISABLE_JIT:
        # Numba would compile the function again for every constant that some caller writes.
        template = function.get_call_template
        function.get_call_template = lambda args, kws: template([types.unliteral(a) for a in args], kws)
    return function


def device_noalloc(function):
    """`device` for functions that create no array: Numba then counts no references to their arguments.
    Around a few numbers' work, with a branch in it, the counting took 20 times as long as the work."""
    return device(function, _nrt=False)


def device_inline(function):
    """`device` for the innermost small functions: a call passes each array as seven numbers on the stack,
    which takes as long as a small tile's work. Left to the compiler, not all of them are inlined."""
    return device(function, forceinline=True)
