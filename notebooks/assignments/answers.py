"""The student's own run: the answer in this process, the right outputs from a file."""

import contextlib
import copy
import functools
import types
from pathlib import Path
from unittest import mock

import numpy as np
from checking import AnswerError, calls_others, fingerprint, functions_above
from loading import describe, load, preload, sentence
from protocol import unpack


class LocalAnswer:
    """Calls the functions of a module in this process; `unusable` says why there is no module."""

    def __init__(self, module, filename, text="", unusable=None):
        self.module, self.filename, self.text, self.unusable = module, filename, text, unusable

    def calls_others(self, function):
        """Whether another function of the file may be to blame."""
        return calls_others(self.text, function)

    def call(self, function, args, kwargs=None, after=False, oracle=None):
        """The result on copies of the arguments, and these copies as they are afterwards.

        With an oracle, the functions above this one in the file are replaced by right ones for this call.
        """
        if self.unusable:
            raise AnswerError(self.unusable)
        if not callable(getattr(self.module, function, None)):
            raise AnswerError(f"{self.filename} defines no function {function}")
        args = copy.deepcopy(list(args))
        right = {name: functools.partial(_look_up, oracle, name) for name in functions_above(function)}
        replaced = mock.patch.dict(vars(self.module), right) if oracle else contextlib.nullcontext()
        try:
            with replaced:
                return getattr(self.module, function)(*args, **(kwargs or {})), args
        except NotImplementedError as error:
            raise AnswerError(f"not written yet: {error}") from None


def _look_up(oracle, function, *args, **kwargs):
    return copy.deepcopy(oracle.look_up(function, args, kwargs)[0])


def load_file(path):
    """The LocalAnswer of a student's file, which may import what the grader allows and nothing else."""
    path, module, text = Path(path), types.ModuleType(Path(path).stem), ""
    preload()
    try:
        text = path.read_text(encoding="utf-8-sig")
        load(text, module, path)
    except OSError as error:
        return LocalAnswer(None, path.name, unusable=f"{path.name} cannot be read: {error.strerror}")
    except (Exception, SystemExit) as error:
        return LocalAnswer(None, path.name, unusable=sentence(describe(error, path), path.name))
    return LocalAnswer(module, path.name, text)


class StoredCases:
    """Looks right outputs up in the file that came with the task."""

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as file:
            self.cases = {key: file[key] for key in file.files}

    def look_up(self, function, args, kwargs, after=False):
        """The right outputs and [(what the slip is, the outputs it gives)]."""
        key = fingerprint([function, list(args), kwargs, after])
        if key not in self.cases:
            raise AnswerError(
                "no stored case fits these inputs: the checks were changed, or --seed was given"
            )
        expected, slips = unpack(self.cases[key].tobytes())
        return expected, slips
