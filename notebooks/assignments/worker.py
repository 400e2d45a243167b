"""Runs one student's file and calls its functions: a process of its own, locked before it starts.

    python -I -S -B worker.py NUMPY_FOLDER LAYERS SECONDS

Not started by hand: runner.py does it. Requests come in on standard input, answers leave on what
was standard output; the student's own prints go nowhere. The first request carries the text of the
file, every further one a function name and its arguments. The process knows inputs only: what the
outputs should be is known to the process that asks, and to no other.
"""

import importlib
import os
import struct
import sys
import types
import warnings

numpy_folder, layers, seconds = sys.argv[1], sys.argv[2].split("+"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
python_path = list(sys.path)
sys.path[:] = [numpy_folder, here, *python_path]
sys.argv = ["answer"]

import sandbox  # noqa: E402
import numpy as np  # noqa: E402
from protocol import LIMIT, pack, unpack  # noqa: E402

# Whatever an answer may import has to be loaded now: later, no file can be opened.
PROVIDED = """
abc array bisect cmath collections contextlib copy dataclasses decimal enum fractions functools heapq
inspect io itertools json logging math numbers operator pathlib pprint random re statistics string
textwrap time traceback types typing unittest warnings
numpy.fft numpy.lib.stride_tricks numpy.linalg numpy.random numpy.testing
"""
for provided in PROVIDED.split():
    importlib.import_module(provided)


def read_message(descriptor):
    """The next request, or None when the grader has closed the pipe."""
    data = b""
    wanted = 4
    while len(data) < wanted:
        part = os.read(descriptor, min(wanted - len(data), 1 << 16))
        if not part:
            return None
        data += part
        if len(data) == 4 and wanted == 4:
            wanted = 4 + min(struct.unpack(">I", data)[0], LIMIT)
    return unpack(data[4:])


def write_message(descriptor, value):
    """Send one answer; a result that is too large is replaced by a word about that."""
    try:
        message = pack(value)
    except BaseException as error:
        message = pack({"id": value["id"], "error": type(error).__name__, "text": str(error), "line": 0})
    message = memoryview(struct.pack(">I", len(message)) + message)
    while message:
        message = message[os.write(descriptor, message) :]


def describe(error, filename):
    """What went wrong, and the last line of the student's own file that took part in it."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == filename:
        line = error.lineno or 0
    try:
        text = str(error)[:1000]
    except BaseException:
        text = ""
    return {"error": type(error).__name__[:80], "text": text, "line": line}


def main():
    """Lock, load the file, then answer until the pipe closes."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    # A student's file has no business with these; without them `import sandbox` finds nothing either.
    for name in ("sandbox", "protocol", "ctypes", "_ctypes"):
        sys.modules.pop(name, None)
    sys.path[:] = python_path
    np.seterr(all="ignore")
    warnings.simplefilter("ignore")

    sandbox.limit_resources(seconds)
    write_message(answers, {"id": 0, "held": "+".join(sandbox.lock(layers))})

    module, filename = None, "answer.py"
    while (request := read_message(requests)) is not None:
        reply = {"id": request["id"], "error": None}
        try:
            if "load" in request:
                filename = request["filename"]
                module = types.ModuleType(filename.removesuffix(".py"))
                module.__file__ = filename
                sys.modules[module.__name__] = module
                exec(compile(request["load"], filename, "exec"), module.__dict__)
            else:
                arguments = list(request["args"])
                function = getattr(module, request["function"], None)
                if not callable(function):
                    raise NameError(f"{filename} defines no function {request['function']}")
                reply["result"] = function(*arguments, **request["kwargs"])
                reply["after"] = arguments if request["after"] else None
        except BaseException as error:
            reply = {"id": request["id"], **describe(error, filename)}
        write_message(answers, reply)


main()
