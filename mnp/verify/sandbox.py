"""Run a candidate's kernels in its own process, with a time limit.

The parent sends a module's name, the kernels wanted and the seed; the child draws the same cases, calls the
candidate and sends the answers back, pickled. So an exception, an exit, an endless loop or megabytes of
printing in one kernel leave the others to be judged, and what is judged is judged in the parent.
"""

import contextlib
import itertools
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from mnp.errors import MnpError
from mnp.process import python_command
from mnp.verify import candidate, cases, reference
from mnp.verify.candidate import Answer
from mnp.verify.program import how_it_ended

MAX_TIMEOUT = 1e6  # seconds; an endless limit would overflow
STARTED = "started"
START_TIMEOUT = 120.0  # seconds for the interpreter and this package to start, however busy the machine is


class Child:
    """A process that runs `child_main` with these arguments, and the messages that come from it."""

    def __init__(self, where, seed, names=None):
        code = f"from mnp.verify.sandbox import child_main; child_main({where!r}, {seed!r}, {names!r})"
        self.folder = tempfile.mkdtemp(prefix="mnp-check-")
        self.process = subprocess.Popen(
            python_command(code, candidate.folder_of(where)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "TMPDIR": self.folder},  # what is left there goes with the process
        )
        self.messages = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        with contextlib.suppress(OSError):
            if self.next(START_TIMEOUT) == STARTED:
                return
        errors = self.stop().splitlines() or ["no answer"]
        raise MnpError(f"no child process could be started with {sys.executable}: {errors[-1][:300]}")

    def _read(self):
        # An exception is the end of the pipe, or something that the candidate has written there itself.
        with contextlib.suppress(Exception):
            while True:
                self.messages.put(pickle.load(self.process.stdout))
        self.messages.put(None)

    def next(self, seconds, deadline=None):
        """Wait for a message; ChildProcessError if the process ended, TimeoutError if it takes too long."""
        left = seconds if deadline is None else deadline - time.monotonic()
        try:
            message = self.messages.get(timeout=min(max(0.0, left), MAX_TIMEOUT))
        except queue.Empty:
            raise TimeoutError(f"did not return within {seconds:g} s") from None
        if message is None:
            raise ChildProcessError(f"ended the process ({how_it_ended(self.process)})")
        return message

    def stop(self):
        """End the process and whatever it started; return what went wrong while it started."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.reader.join(5.0)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.process.stdout.close()
        with self.process.stderr as stderr:
            return stderr.read().decode(errors="replace").strip()


def answers(where, only=None, seed=0, seconds=120.0):
    """Yield (kernel, list of Answer, or None if it is not implemented); arguments as in `conformance.check`.

    A list that is shorter than the cases ends with the problem that stopped the kernel.
    """
    names = list(only or reference.OUTPUTS)
    while names:
        child, stopped = Child(where, seed, names), False
        try:
            try:
                implemented = child.next(seconds)
            except OSError as error:
                implemented = f"{where} does not import: {error}"
            if isinstance(implemented, str):
                raise MnpError(implemented)
            while names and not stopped:  # what stops a kernel ends its process: the next needs a new one
                name, got = names.pop(0), None
                if name in implemented:
                    got, stopped = _one_kernel(child, name, seed, seconds)
                yield name, got
        finally:
            child.stop()


def network_notes(where, seed=0, seconds=120.0):
    """Run `network.pruning_round` on a candidate's kernels in a child process: its notes, and a remark.

    If it failed, there are no notes, and the remark is the problem.
    """
    (message,) = _messages(where, seed, seconds, 1)
    return message if isinstance(message, tuple) else ({}, message)


def stages(where, seed=0, seconds=120.0):
    """Run the stages of a model in a child process; yields what `user_models.measure` does.

    Raises MnpError for a model that cannot be checked at all. A stage that ends the process or takes longer
    than `seconds` is the last one.
    """
    from mnp.verify.models import STAGES

    for stage, message in zip(STAGES, _messages(where, seed, seconds, len(STAGES)), strict=False):
        if isinstance(message, str) and stage == STAGES[0]:
            raise MnpError(message)
        yield message if isinstance(message, tuple) else (stage, {}, message)


def _messages(where, seed, seconds, count):
    """Yield the messages of a child, the last one a str if something has stopped it."""
    child = Child(where, seed)
    try:
        for _ in range(count):
            message = child.next(seconds)
            yield message
            if isinstance(message, str):
                return
    except OSError as error:
        yield str(error)
    finally:
        child.stop()


def _one_kernel(child, name, seed, seconds):
    """Collect one kernel's answers; return them and whether the child is of no more use."""
    got, deadline, wanted = [], time.monotonic() + seconds, len(cases.generate(name, seed))
    try:
        while len(got) < wanted and (not got or got[-1].problem != "NotImplementedError"):
            got.append(child.next(seconds, deadline))
    except OSError as error:
        slow = got and isinstance(error, TimeoutError)
        done = f", with {len(got)} of {wanted} cases done: --seconds gives more" if slow else ""
        return [*got, Answer(problem=f"{error}{done}")], True
    return got, False


def serve(where, seed, names=None):
    """Import a candidate and yield the messages of the child; a str is the error that ends everything.

    First the list of those `names` that are implemented, then the Answer to each of their cases; without
    names, (notes, remark) of a network, or the stages of a model.
    """
    try:
        if where.startswith(candidate.MODEL):
            from mnp.verify import user_models

            yield from user_models.measure(where, seed)
            return
        module = candidate.load_module(where)
    except MnpError as error:
        yield str(error)
        return
    if names is None:
        from mnp.verify import network

        try:
            notes = network.pruning_round(network.backend_of(module), seed)
            yield notes, network.what_is_used(module)
        except (Exception, SystemExit) as error:  # the candidate's, whatever it is
            line = candidate.where_raised(error, getattr(module, "__file__", None) or "")
            yield f"raised {candidate.one_line(error)}{line}"
        return
    names = [name for name in names if name in candidate.implemented(module)]
    yield names
    for name in names:
        for case in cases.generate(name, seed):
            answer = candidate.call_case(getattr(module, name), case)
            yield answer
            if answer.problem == "NotImplementedError":
                break


def child_main(where, seed, names):
    """Be the child: its output is the channel, and what the candidate prints goes nowhere."""
    channel = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    candidate.run_as_script(where)
    for message in itertools.chain([STARTED], serve(where, seed, names)):
        pickle.dump(message, channel)
        channel.flush()
    os._exit(0)  # threads that the candidate left behind do not keep the process
