"""Calls the functions of a student's file in a locked process, through a pipe.

The file's text is handed to a fresh process (worker.py), which locks itself in and then
computes outputs for the inputs it is sent. Whatever that process does, this one only ever sees
bytes from a pipe, reads no more of them than a right answer could need, and waits no longer than
the limits say.
"""

import contextlib
import copy
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from checking import AnswerError, calls_others
from loading import sentence
from protocol import LIMIT, ProtocolError, pack, unpack

LARGEST_FILE = 200_000
LAYERS = "seccomp+audit"
START_SECONDS = 20.0


def read_submission(path, filename):
    """The text of a handed-in file. Raises AnswerError for anything but a small, regular, readable file.

    A link is not followed, neither the file nor its folder: it might lead to the solution. A pipe or
    a device is not opened at all.
    """
    if path is None:
        raise AnswerError(f"{filename} is missing from the submission: hand it in under exactly this name")
    path = Path(path)
    if path.parent.is_symlink() or path.is_symlink() or not path.is_file():
        raise AnswerError(f"{filename} is not a regular file: hand in the file itself, no link")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise AnswerError(f"{filename} is longer than {LARGEST_FILE} bytes: hand in your functions only")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AnswerError(f"{filename} is not UTF-8 text: save it again as plain Python") from None
    except OSError as error:
        raise AnswerError(f"{filename} cannot be read: {error.strerror}") from None


class LockedAnswer:
    """Calls the functions of a student's file, each within limits, in a process that has been locked.

    A function that once hung or killed its process is not tried again; the others get a new process.
    """

    def __init__(self, path, filename, call_seconds=3.0, task_seconds=9.0, layers=LAYERS):
        self.filename, self.layers = filename, layers
        self.call_seconds, self.left = call_seconds, task_seconds
        self.process = None
        self.broken = {}  # function -> the message of the call that broke it
        self.helped = {}  # function -> the same answer with right versions of the functions above it
        self.held = None
        self.scratch = None
        self.number = 0
        self.text, self.unusable = "", None
        try:
            self.text = read_submission(path, filename)
        except AnswerError as error:
            self.unusable = str(error)

    def calls_others(self, function):
        """Whether another function of the file may be to blame."""
        return not self.unusable and calls_others(self.text, function)

    def call(self, function, args, kwargs=None, after=False, oracle=None):
        """The result of function(*args) and, if wanted, the arguments as they are afterwards.

        With an oracle, the reference's functions above this one are appended to the file. That is done in
        a process of its own, which is asked for this one function only, so that no other gains by it.
        """
        if self.unusable:
            raise AnswerError(self.unusable)
        if oracle:
            if function not in self.helped:
                self.helped[function] = again = copy.copy(self)
                again.text += "\n\n" + oracle.functions_above(function)
                again.process = again.scratch = None
                again.broken, again.helped, again.left = {}, {}, self.call_seconds
            return self.helped[function].call(function, args, kwargs, after)
        if function in self.broken:
            raise AnswerError(self.broken[function])
        try:
            if self.process is None:
                self._start()
            request = {"function": function, "args": list(args), "kwargs": kwargs or {}, "after": after}
            reply = self._exchange(request, f"{function}(...)")
        except _BrokenError as error:
            self.close()
            self.broken[function] = str(error)
            raise AnswerError(str(error)) from None
        if reply.get("error"):
            raise AnswerError(sentence(reply, self.filename))
        if "result" not in reply:
            raise AnswerError(f"{function} gave no result")
        return reply["result"], reply.get("after")

    def _start(self):
        if self.left <= 0:
            self.unusable = f"the time for {self.filename} is used up by calls that took too long"
            raise AnswerError(self.unusable)
        self.scratch = tempfile.TemporaryDirectory(prefix="answer")
        child = Path(__file__).with_name("worker.py")
        numpy_folder = Path(np.__file__).parent.parent
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM")}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", child, numpy_folder, self.layers, str(int(self.left) + 5)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.scratch.name,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", **threads},
            start_new_session=True,
        )
        os.set_blocking(self.process.stdin.fileno(), False)
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            # The interpreter and NumPy have to start first: that time is not the student's.
            self.held = str(self._reply(0, START_SECONDS, "the process").get("held"))
            reply = self._exchange({"load": self.text, "filename": self.filename}, "the file's top level")
        except _BrokenError as error:
            self.unusable = str(error)
            raise
        if reply.get("error"):
            self.unusable = sentence(reply, self.filename)
            raise AnswerError(self.unusable)

    def _exchange(self, request, what):
        """Send one message and wait for its answer, within the limits of a call and of the task."""
        self.number += 1
        began = time.monotonic()
        seconds = max(0.0, min(self.call_seconds, self.left))
        message = pack(request | {"id": self.number})
        try:
            self._write(struct.pack(">I", len(message)) + message, began + seconds, what)
            return self._reply(self.number, seconds, what)
        finally:
            self.left -= time.monotonic() - began

    def _reply(self, number, seconds, what):
        deadline = time.monotonic() + seconds
        (length,) = struct.unpack(">I", self._read(4, deadline, what))
        if length > LIMIT:
            raise _BrokenError(f"{what} sent far more than a right answer could need")
        try:
            reply = unpack(self._read(length, deadline, what))
        except ProtocolError as error:
            raise _BrokenError(f"{what} sent {error} instead of a result") from None
        if type(reply) is not dict or reply.get("id") != number:
            raise _BrokenError(f"{what} sent an answer to another question")
        return reply

    def _write(self, data, deadline, what):
        view = memoryview(data)
        while view:
            self._wait([], [self.process.stdin], deadline, what)
            try:
                view = view[os.write(self.process.stdin.fileno(), view) :]
            except BlockingIOError:
                continue
            except OSError:
                raise _BrokenError(self._ended(what)) from None

    def _read(self, count, deadline, what):
        data = bytearray()
        while len(data) < count:
            self._wait([self.process.stdout], [], deadline, what)
            try:
                part = os.read(self.process.stdout.fileno(), min(count - len(data), 1 << 16))
            except BlockingIOError:
                continue
            if not part:
                raise _BrokenError(self._ended(what))
            data += part
        return bytes(data)

    def _wait(self, reading, writing, deadline, what):
        left = deadline - time.monotonic()
        if left <= 0 or not any(select.select(reading, writing, [], left)):
            limit = f"{self.call_seconds:g} s"
            raise _BrokenError(f"{what} did not come back within {limit}: does one of its loops never end?")

    def _ended(self, what):
        return f"{what} ended the whole process: no exit, no endless recursion, no gigabytes"

    def close(self):
        """End the process, and those of the same answer with help."""
        for again in self.helped.values():
            again.close()
        if self.process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
            self.process = None
        if self.scratch is not None:
            self.scratch.cleanup()
            self.scratch = None


class _BrokenError(Exception):
    """The process is of no further use."""
