"""The student's own run: the answer in this process, the right outputs from a file."""

import copy

import numpy as np
from checking import AnswerError, fingerprint
from protocol import unpack


class LocalAnswer:
    """Calls the functions of a module that lives in this process: the student's own run."""

    def __init__(self, module, filename):
        self.module, self.filename = module, filename

    def call(self, function, args, kwargs=None, after=False):
        """The result on copies of the arguments, and these copies as they are afterwards."""
        if not callable(getattr(self.module, function, None)):
            raise AnswerError(f"{self.filename} defines no function {function}")
        args = copy.deepcopy(list(args))
        try:
            return getattr(self.module, function)(*args, **(kwargs or {})), args
        except NotImplementedError as error:
            raise AnswerError(f"not written yet: {error}") from None


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
