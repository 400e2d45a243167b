"""Load a candidate's module, call its kernels on cases, and keep what they return.

Nothing is judged here. These functions run in the child process of `mnp.verify.sandbox`, where a
kernel may exit, print or loop without harm; tests and notebooks may also call them directly.
"""

import builtins
import contextlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mnp.errors import MnpError
from mnp.verify import program, reference

MODEL = "model: "  # of a candidate that is a whole model, "model: FILE:function"
MAX_BYTES = 1 << 26  # bytes of one returned array; anything larger is described, not kept


@dataclass
class Answer:
    """What a kernel returned for one case.

    `outputs` maps output names to arrays, tuples of arrays, None, or a str that describes something
    else ("a list"). `problem` is set when there are no outputs: one line that says why.
    """

    outputs: dict = field(default_factory=dict)
    problem: str = ""


def one_line(error):
    """Format an exception as one line of at most 300 characters.

    >>> one_line(ValueError("first\\nsecond"))
    'ValueError: first second'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def where_raised(error, file):
    """Name the last line of a file in an exception's traceback; an empty string if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f" ({Path(file).name}, line {lines[-1]})" if lines else ""


def file_of(where):
    """Return the resolved path of a candidate that is given as a Python file, None for any other."""
    if where.startswith(program.PREFIX):
        return None
    if where.startswith(MODEL):
        where = where.removeprefix(MODEL).rpartition(":")[0]
    return Path(where).resolve() if where.endswith(".py") or os.sep in where or "/" in where else None


def folder_of(where):
    """Return the folder whose modules a candidate may import: its file's own, or the working folder."""
    file = file_of(where)
    return str(file.parent) if file else os.getcwd()


def load_module(where):
    """Import a module by its dotted name or its file, or start a program.

    `where` is "package.module", a path that ends in .py or holds a separator, or "command: WORDS". Modules
    beside it can be imported but hide no others: they come last.

    Raises MnpError in one line for a file that is not found and for whatever an import can raise,
    sys.exit included.
    """
    if where.startswith(program.PREFIX):
        return program.Program(where.removeprefix(program.PREFIX))
    file, folder = file_of(where), folder_of(where)
    own = file or Path(folder, *where.split(".")).with_suffix(".py")  # for the line number of an error
    if file and not file.is_file():
        raise MnpError(f"{where}: no such file: give the path of a Python file or a module's dotted name")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        if not file:
            return importlib.import_module(where)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if spec is None:
            raise ImportError("not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(file.stem, module)
        spec.loader.exec_module(module)
        return module
    except BaseException as error:
        raise MnpError(f"{where} does not import: {one_line(error)}{where_raised(error, own)}") from error


def run_as_script(where):
    """Let a candidate see `sys.argv` and its neighbours as a script would; for a child process only.

    An import statement in a file of the candidate's folder finds the modules of that folder first, and
    nobody else's imports do: a candidate may have its own `random.py`, while NumPy keeps Python's.
    """
    sys.argv = [where]
    folder, plain, neighbours = folder_of(where), builtins.__import__, {}

    def import_(name, globals=None, locals=None, fromlist=(), level=0):
        file = str((globals or {}).get("__file__"))
        theirs = file.startswith(folder + os.sep) and "site-packages" not in file
        if theirs and level == 0 and "." not in name:
            neighbour = _load_neighbour(name, folder, neighbours)
            if neighbour is not None and neighbour.__file__ != file:
                return neighbour
        return plain(name, globals, locals, fromlist, level)

    builtins.__import__ = import_


def _load_neighbour(name, folder, neighbours):
    """Import folder/name.py if the name is another module's as well; otherwise None.

    It does not go into `sys.modules`. What it lacks is looked up in the module that it hides.
    """
    if name in neighbours:
        return neighbours[name]
    neighbours[name] = None
    spec = importlib.machinery.PathFinder.find_spec(name, [folder])
    hidden = sys.modules.get(name) or importlib.util.find_spec(name)
    file = getattr(hidden, "origin", None) or getattr(hidden, "__file__", None)
    if spec is None or spec.submodule_search_locations is not None or file == spec.origin:
        return None
    module = neighbours[name] = importlib.util.module_from_spec(spec)
    module.__getattr__ = lambda attribute: getattr(importlib.import_module(name), attribute)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del neighbours[name]
        raise
    return module


def implemented(module):
    """List the kernels that a module has, in the order of the interface."""
    return [name for name in reference.OUTPUTS if callable(getattr(module, name, None))]


def split_arguments(kernel, args):
    """Split a case's arguments into positional ones and keywords; those at their default are left out.

    >>> split_arguments("dense_backward", {"dy": 1, "x": 2, "weight": 3, "need_dx": False})
    ([1, 2, 3], {'need_dx': False})
    """
    positional, keywords = [], {}
    for name, p in inspect.signature(reference.function(kernel)).parameters.items():
        if p.default is p.empty:
            positional.append(args[name])
        elif name in args and (isinstance(args[name], np.ndarray) or args[name] != p.default):
            keywords[name] = args[name]
    return positional, keywords


def copy_keeping_layout(value):
    """Copy arguments with their strides, so that a case can be used again."""
    if isinstance(value, tuple):
        return tuple(copy_keeping_layout(v) for v in value)
    if not isinstance(value, np.ndarray) or not value.size:
        return value
    reach = [(n - 1) * step for n, step in zip(value.shape, value.strides, strict=True)]
    offset = -sum(r for r in reach if r < 0)  # where element [0, ..., 0] lies in the memory it spans
    span = sum(abs(r) for r in reach) + value.itemsize
    copy = np.ndarray(value.shape, value.dtype, bytearray(span), offset, value.strides)
    copy[...] = value
    return copy


def call_case(function, case):
    """Run a candidate's kernel on copies of a case's arrays: its Answer.

    A changed input and an exception are problems; wrong numbers are returned as they are.
    """
    args = {name: copy_keeping_layout(value) for name, value in case.args.items()}
    positional, keywords = split_arguments(case.kernel, args)
    with contextlib.suppress(ValueError):  # it was compiled elsewhere: let the call tell
        signature = inspect.signature(function)
        if not _takes(signature, positional, keywords, case.kernel):
            expected = reference.INTERFACE[case.kernel].split(" -> ")[0]
            return Answer(problem=f"its arguments are {signature}, expected {expected}")
    in_place = reference.IN_PLACE.get(case.kernel, ())
    try:
        with np.errstate(all="ignore"):
            returned = function(*positional, **keywords)
    except NotImplementedError:
        return Answer(problem="NotImplementedError")
    except program.ProgramError as error:
        return Answer(problem=str(error))
    except (Exception, SystemExit) as error:
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        rebound = in_place and "assignment" in str(error)
        hint = ": write into the arrays, weights[i][...] = ..." if rebound else ""
        return Answer(problem=f"raised {one_line(error)}{hint}{where_raised(error, file)}")
    for name, value in case.args.items():
        if name not in in_place and not _same(value, args[name]):
            return Answer(problem=f"changed its input {name}: compute into a new array")
    if in_place:
        if returned is not None:
            return Answer(problem=f"returned {_kind(returned)}; it works in place and returns None")
        return Answer({name: args[name] for name in in_place})
    names, several = reference.OUTPUTS[case.kernel], isinstance(returned, (tuple, list))
    if len(names) > 1 and not (several and len(returned) == len(names)):
        many = f"{len(returned)} values" if several else _kind(returned)
        return Answer(problem=f"returned {many}; expected {len(names)}: {', '.join(names)}")
    return Answer({name: _plain(value) for name, value in reference.named(case.kernel, returned).items()})


def _same(a, b):
    """Compare an argument with its copy, NaN equal to NaN."""
    if isinstance(a, tuple):
        return all(map(_same, a, b))
    return not isinstance(a, np.ndarray) or a.tobytes() == b.tobytes()


def _takes(signature, positional, keywords, kernel):
    """Say whether a call fits, and no names of the interface are swapped; other names are allowed."""
    try:
        signature.bind(*positional, **keywords)
    except TypeError:
        return False
    right = list(inspect.signature(reference.function(kernel)).parameters)
    pairs = zip(signature.parameters, right, strict=False)
    return all(name == other or name not in right for name, other in pairs)


def _kind(value):
    """Name what was returned: "a torch.Tensor", "an int", "None"."""
    if value is None:
        return "None"
    name = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _plain(value):
    """Keep a NumPy array or scalar and None; describe anything else in a few words."""
    if value is None:
        return None
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            return f"an array of {array.dtype}"
        return f"an array of {array.nbytes} bytes" if array.nbytes > MAX_BYTES else array
    return _kind(value)
