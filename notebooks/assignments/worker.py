"""Runs one student's file and calls its functions: a process of its own, locked before it starts.

    python -I -S -B worker.py NUMPY_FOLDER LAYERS SECONDS

Started by runner.py. Requests come in on standard input, answers leave on what was standard output;
the student's own prints go nowhere. The first request carries the text of the file, every further one
a function name and its arguments. The process is given inputs only: the right outputs are compared in
the process that asks.
"""

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

import loading  # noqa: E402
import numpy as np  # noqa: E402
import sandbox  # noqa: E402
from protocol import LIMIT, pack, unpack  # noqa: E402

loading.preload()


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
    """Send one answer; a result that is too large is replaced by the error that says so."""
    try:
        message = pack(value)
    except BaseException as error:
        message = pack({"id": value["id"], "error": type(error).__name__, "text": str(error), "line": 0})
    message = memoryview(struct.pack(">I", len(message)) + message)
    while message:
        message = message[os.write(descriptor, message) :]


def main():
    """Lock, load the file, then answer until the pipe closes."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    # A student's file has no use for these; without them `import sandbox` finds nothing either.
    for name in ("sandbox", "protocol", "loading", "ctypes", "_ctypes"):
        sys.modules.pop(name, None)
    sys.path[:] = python_path
    sys.breakpointhook = lambda *args, **kwargs: None  # one that was left in is passed over
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
                sys.modules[module.__name__] = module
                loading.load(request["load"], module, filename)
            else:
                arguments = list(request["args"])
                function = getattr(module, request["function"], None)
                if not callable(function):
                    raise NameError(f"{filename} defines no function {request['function']}")
                reply["result"] = function(*arguments, **request["kwargs"])
                reply["after"] = arguments if request["after"] else None
        except BaseException as error:
            reply = {"id": request["id"], **loading.describe(error, filename)}
        write_message(answers, reply)


main()
