"""Kernels of a program in any language, behind the same interface as a Python module.

`mnp check --command "./mine"` starts the command and writes lines of JSON to its standard input. The program
answers each with one line on its standard output:

    asked:     {"kernel": "list"}
    answered:  conv2d_forward win_counts                        the kernels that it has
    asked:     {"kernel": "conv2d_forward", "inputs": "/tmp/x/inputs.safetensors", "npz": "/tmp/x/inputs.npz",
                "outputs": "/tmp/x/outputs.safetensors",
                "arguments": {"x": {"array": "x"}, ..., "stride": 1, "padding": 0}}
    answered:  ok                                               the outputs are written
               not implemented
               anything else is shown as an error

- `inputs` and `npz` hold the same arrays, in C order. {"array": "x"} is the array named x of them, null is
  None; a list of arrays has the names "weights.0", "weights.1" and so on.
- The program writes its outputs under the interface's names (`y`, `winner`), in the inputs' floating type,
  to `outputs`, or to the same name with the suffix .npz. A kernel that works in place writes its
  "weights.0", "velocities.0", ... as they are afterwards.
- A program that ends after an answer, with exit status 0, is started again for the next line.
"""

import contextlib
import inspect
import json
import os
import shlex
import signal
import subprocess
import tempfile
import types
from pathlib import Path

import numpy as np

from mnp.errors import MnpError
from mnp.verify import reference, safetensors_file

PREFIX = "command: "  # of a candidate that is a command, and not a module


class ProgramError(Exception):
    """What a program did wrong, in the words of a verdict."""


class Program(types.ModuleType):
    """A module whose kernels are those of a command, split as by a shell, started without one.

    Raises MnpError for a command that does not start or does not list its kernels, and without the library
    safetensors.
    """

    def __init__(self, command):
        super().__init__("program")
        safetensors_file.need("safetensors")  # to read outputs: said now, not as the verdict of a kernel
        # Windows splits a command itself; there a backslash stands between folders.
        self.words, self.process = command if os.name == "nt" else shlex.split(command), None
        self.temporary = tempfile.TemporaryDirectory(prefix="mnp-check-", ignore_cleanup_errors=True)
        self.folder = Path(self.temporary.name)
        try:
            names = self.ask({"kernel": "list"}).split()
        except (ProgramError, OSError, IndexError) as error:
            raise MnpError(f'{command}: does not answer {{"kernel": "list"}}: {error}') from None
        for name in reference.OUTPUTS:
            if name in names:
                setattr(self, name, self.kernel(name))

    def ask(self, message):
        """Send one line and return the answer; ProgramError if the program ends without one."""
        while True:
            started_now = self.process is None or self.process.poll() is not None
            if started_now:
                self.process = self.start()
            with contextlib.suppress(OSError):
                self.process.stdin.write(json.dumps(message).encode() + b"\n")
                self.process.stdin.flush()
            answer = self.process.stdout.readline()
            if answer:
                return answer.decode(errors="replace").strip()
            ended = how_it_ended(self.process)
            self.process.kill()
            if started_now or self.process.wait() != 0:
                errors = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace").split("\n")
                said = "".join(f": {line.strip()}" for line in errors if line.strip())
                raise ProgramError(f"ended the process ({ended}){said}"[:300])

    def start(self):
        """Start the command, its error output in a file."""
        with (self.folder / "stderr").open("wb") as errors:
            pipe = subprocess.PIPE
            return subprocess.Popen(self.words, stdin=pipe, stdout=pipe, stderr=errors)

    def kernel(self, name):
        """Make the function that has the program run one kernel."""

        def call(*args, **keywords):
            given = reference.bind(name, args, keywords)
            arrays, outputs = {}, self.folder / "outputs.safetensors"
            described = {key: safetensors_file.store(arrays, key, value) for key, value in given.items()}
            files = {"inputs": "inputs.safetensors", "npz": "inputs.npz", "outputs": outputs.name}
            files = {key: str(self.folder / file) for key, file in files.items()}
            Path(files["inputs"]).write_bytes(safetensors_file.to_bytes(arrays))
            np.savez(files["npz"], **arrays)
            for file in (outputs, outputs.with_suffix(".npz")):
                file.unlink(missing_ok=True)
            answer = self.ask({"kernel": name, **files, "arguments": described})
            if answer == "not implemented":
                raise NotImplementedError
            if answer != "ok":
                raise ProgramError(f"says: {answer[:280]}")
            found = read_outputs(outputs)
            for key in reference.IN_PLACE.get(name, ()):
                for i, array in enumerate(given[key]):
                    if f"{key}.{i}" not in found:
                        raise ProgramError(f"wrote no output {key}.{i}")
                    array[...] = found[f"{key}.{i}"]
            returned = tuple(found.get(key) for key in reference.OUTPUTS[name])
            return None if name in reference.IN_PLACE else returned if len(returned) > 1 else returned[0]

        call.__signature__ = inspect.signature(reference.function(name))
        return call


def read_outputs(path):
    """Read what a program wrote: a safetensors file, or an .npz file in its place."""
    if path.exists():
        return safetensors_file.from_bytes(path.read_bytes(), path.name)
    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise ProgramError(f"answered ok, but wrote no {path.name}") from None


def how_it_ended(process):
    """Describe the end of a process that sends no more messages."""
    try:
        status = process.wait(5.0)
    except subprocess.TimeoutExpired:  # it has closed its end of the pipe and runs on
        return "closed its output"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"{signal.Signals(-status).name}: {signal.strsignal(-status)}"
    except ValueError:
        return f"signal {-status}"
