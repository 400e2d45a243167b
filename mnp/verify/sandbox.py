"""Run a candidate's kernels in a process of their own, with a time limit.

The parent sends nothing but a module's name, the kernels wanted and the seed; the child draws the
same cases, calls the candidate and writes the answers back as plain arrays. So an exception, an
exit, an endless loop or megabytes of printing in one kernel leave the others to be judged, and what
is judged is judged in the parent, where the candidate has no hand in it.
"""

import json
import math
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time

import numpy as np

from mnp.errors import MnpError
from mnp.verify import candidate, cases
from mnp.verify.candidate import Answer

FRAME_LIMIT = 1 << 30
LONGEST = 1e6  # seconds; an endless limit would overflow
START = 120.0  # seconds for the interpreter and this package to start, however busy the machine is


def pack(header, arrays=()):
    """Write one message as bytes: two lengths, a JSON header, the arrays' bytes one after another.

    >>> import io
    >>> read_frame(io.BytesIO(pack({"a": 1}, [np.arange(2)])))
    ({'a': 1}, [array([0, 1])])
    """
    header = dict(header, arrays=[[a.dtype.str, list(a.shape)] for a in arrays])
    text = json.dumps(header).encode()
    body = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    return struct.pack("<QQ", len(text), len(body)) + text + body


def read_frame(stream):
    """Read one message; None when the stream has ended or holds something else."""
    lengths = stream.read(16)
    if len(lengths) < 16:
        return None
    text_length, body_length = struct.unpack("<QQ", lengths)
    if text_length + body_length > FRAME_LIMIT:
        return None
    text, body = stream.read(text_length), stream.read(body_length)
    if len(text) < text_length or len(body) < body_length:
        return None
    try:
        header = json.loads(text)
        arrays, at = [], 0
        for dtype, shape in header.pop("arrays"):
            array = np.frombuffer(body, np.dtype(dtype), math.prod(shape), at).reshape(shape)
            at += array.nbytes
            arrays.append(array)
    except (ValueError, TypeError, KeyError):  # the candidate has written into the channel itself
        return None
    return header, arrays


def flatten(answer):
    """Split an Answer into a JSON header and a list of arrays."""
    arrays, outputs = [], {}
    for name, value in answer.outputs.items():
        if isinstance(value, np.ndarray):
            outputs[name] = "array"
            arrays.append(value)
        elif isinstance(value, tuple):
            outputs[name] = len(value)
            arrays += value
        else:
            outputs[name] = value if value is None else f"other:{value}"
    return {"problem": answer.problem, "outputs": outputs}, arrays


def unflatten(header, arrays):
    """Undo `flatten`."""
    arrays, outputs = iter(arrays), {}
    for name, value in header["outputs"].items():
        if value == "array":
            outputs[name] = next(arrays)
        elif isinstance(value, int):
            outputs[name] = tuple(next(arrays) for _ in range(value))
        else:
            outputs[name] = value and value.removeprefix("other:")
    return Answer(outputs, header["problem"])


class Child:
    """One child process and the messages that come from it."""

    def __init__(self, job):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mnp.verify.sandbox", json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        )
        self.messages = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            started = self.next(time.monotonic() + START)
        except TimeoutError:
            started = None
        if started is None:
            self.stop()
            raise MnpError(f"no child process could be started with {sys.executable}: try again")

    def _read(self):
        try:
            while (frame := read_frame(self.process.stdout)) is not None:
                self.messages.put(frame)
        finally:
            self.messages.put(None)

    def next(self, deadline):
        """Wait for a message; None if the process ended, TimeoutError if the deadline passed."""
        try:
            return self.messages.get(timeout=min(max(0.0, deadline - time.monotonic()), LONGEST))
        except queue.Empty:
            raise TimeoutError from None

    def stop(self):
        """End the process and whatever it started; return its exit status."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError, AttributeError):
            self.process.kill()
        status = self.process.wait()
        self.reader.join(5.0)
        self.process.stdout.close()
        return status


def answers(where, only=None, seed=0, seconds=120.0):
    """Collect what a candidate gives for every case, kernel by kernel.

    Parameters
    ----------
    where : str
        A module's dotted name or its file.
    only : list of str, optional
        These agreed names and no others.
    seed : int
        Draws the cases.
    seconds : float
        Time limit of one kernel with all its cases, and of the import.

    Yields
    ------
    kernel, answers : str, list of Answer or None
        In the agreed order. None: not offered. A list that is shorter than the cases ends with the
        problem that stopped the kernel.

    Raises MnpError if the module does not import.
    """
    names = list(only or candidate.reference.OUTPUTS)
    while names:
        child = Child({"where": where, "names": names, "seed": seed})
        try:
            first = _first_message(child, where, seconds)
            while names:
                name, stopped = names[0], False
                if name in first["offered"]:
                    got, stopped = _one_kernel(child, name, seed, seconds)
                else:
                    got = None
                names.pop(0)
                yield name, got
                if stopped:
                    break
        finally:
            child.stop()


def network_notes(where, seed=0, seconds=120.0):
    """Run `network.pruning_round` on a candidate's kernels in a process of their own.

    Returns
    -------
    notes : dict of name -> array
        Empty if it came to nothing.
    remark : str
        How many kernels were the candidate's, or the problem.
    """
    child = Child({"where": where, "seed": seed, "network": True})
    try:
        header, arrays = child.next(time.monotonic() + seconds) or ({}, [])
    except TimeoutError:
        return {}, f"did not return within {seconds:g} s"
    finally:
        status = child.stop()
    if "names" in header:
        return dict(zip(header["names"], arrays, strict=True)), header["used"]
    return {}, header.get("error", f"ended the process (exit status {status})")


def _first_message(child, where, seconds):
    try:
        message = child.next(time.monotonic() + seconds)
    except TimeoutError:
        raise MnpError(f"{where} does not import: no answer within {seconds:g} s") from None
    if message is None:
        raise MnpError(f"{where} does not import: it ended its process with status {child.process.wait()}")
    if "error" in message[0]:
        raise MnpError(message[0]["error"])
    return message[0]


def _one_kernel(child, name, seed, seconds):
    """Collect one kernel's answers; say whether the child is of no more use."""
    got, deadline = [], time.monotonic() + seconds
    wanted = len(cases.generate(name, seed))
    while len(got) < wanted:
        try:
            message = child.next(deadline)
        except TimeoutError:
            done = f", with {len(got)} of {wanted} cases done: --seconds gives more" if got else ""
            return [*got, Answer(problem=f"did not return within {seconds:g} s{done}")], True
        if message is None:
            return [*got, Answer(problem=f"ended the process (exit status {child.stop()})")], True
        got.append(unflatten(*message))
        if got[-1].problem == "NotImplementedError":
            break
    return got, False


def serve(job, channel):
    """Do the child's work: import, say what is offered, answer case by case.

    Parameters
    ----------
    job : dict
        where, seed, and names (the kernels wanted, in order) or network (True).
    channel : binary stream
        Receives the messages.
    """

    def send(header, arrays=()):
        channel.write(pack(header, arrays))
        channel.flush()

    send({"started": True})  # the candidate's time begins now
    try:
        module = candidate.load_module(job["where"])
    except MnpError as error:
        send({"error": str(error)})
        return
    if job.get("network"):
        from mnp.verify import network

        try:
            notes = network.pruning_round(network.kernels_of(module), job["seed"])
            send({"names": list(notes), "used": network.what_is_used(module)}, list(notes.values()))
        except (Exception, SystemExit) as error:  # the candidate's, whatever it is
            line = candidate.where_raised(error, getattr(module, "__file__", None) or "")
            send({"error": f"raised {candidate.one_line(error)}{line}"})
        return
    names = [name for name in job["names"] if name in candidate.offered(module)]
    send({"offered": names})
    for name in names:
        for case in cases.generate(name, job["seed"]):
            answer = candidate.call_case(getattr(module, name), case)
            send(*flatten(answer))
            if answer.problem == "NotImplementedError":
                break


def child_main(job):
    """Be the child: what is printed goes nowhere, the real output is the channel."""
    channel = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    serve(job, channel)
    os._exit(0)  # threads that the candidate left behind do not keep the process


if __name__ == "__main__":
    child_main(json.loads(sys.argv[1]))
