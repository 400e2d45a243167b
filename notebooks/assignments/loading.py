"""Loads a student's file, in the same way on the student's machine and in the grader.

A submission may import NumPy with its submodules and the modules of STANDARD. Other imports are rejected in
both places, so that the student's own checks show it before the grades do.
"""

import builtins
import contextlib
import importlib
import sys
import warnings

STANDARD = """
__future__ abc array bisect builtins cmath collections contextlib copy dataclasses decimal enum fractions
functools heapq importlib inspect io itertools json logging math numbers operator os pathlib pprint random re
statistics string struct sys textwrap time traceback types typing unittest warnings
"""
NUMPY = """
numpy numpy.char numpy.core numpy.ctypeslib numpy.dtypes numpy.exceptions numpy.f2py numpy.fft
numpy.lib.array_utils numpy.lib.format numpy.lib.introspect numpy.lib.mixins numpy.lib.npyio
numpy.lib.recfunctions numpy.lib.scimath numpy.lib.stride_tricks numpy.linalg numpy.ma numpy.ma.mrecords
numpy.matlib numpy.polynomial numpy.random numpy.rec numpy.strings numpy.testing numpy.typing numpy.version
"""


def preload():
    """Import everything that is allowed; in the grader's process no file can be opened later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (STANDARD + NUMPY).split():
            with contextlib.suppress(ImportError):  # older NumPy versions have fewer submodules
                importlib.import_module(name)


def only_allowed(name, globals=None, locals=None, fromlist=(), level=0):
    """The __import__ of a student's file."""
    top = name.partition(".")[0]
    if isinstance(fromlist, list):  # no import statement: breakpoint() looks for its debugger
        return builtins.__import__(name, globals, locals, fromlist, level)
    if level or not (top in STANDARD.split() or (top == "numpy" and name in sys.modules)):
        allowed = ", ".join(STANDARD.split())
        raise ImportError(f"{name} is not available: a submission may import NumPy and {allowed}")
    return builtins.__import__(name, globals, locals, fromlist, level)


def load(text, module, path):
    """Execute the text of a student's file as a module."""
    module.__file__ = str(path)
    module.__dict__["__builtins__"] = vars(builtins) | {"__import__": only_allowed}
    exec(compile(text, str(path), "exec"), module.__dict__)


def describe(error, path):
    """What went wrong, and the last line of the student's own file that took part in it."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno or 0
    try:
        text = str(error)[:1000]
    except BaseException:
        text = ""
    return {"error": type(error).__name__[:80], "text": text, "line": line}


def sentence(described, filename):
    """The description as a student reads it."""
    kind, text = str(described.get("error"))[:80], str(described.get("text"))[:1000]
    where = f" (line {described['line']} of {filename})" if described.get("line") else ""
    if kind == "NotImplementedError":
        return f"not written yet{where}: {text}"
    if kind in ("SystemExit", "KeyboardInterrupt"):
        return f"your code ends the program{where}: return a value instead"
    return f"your code raises {kind}{where}: {text}"
