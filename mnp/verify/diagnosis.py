"""Guess which common mistake a wrong kernel has made.

For every kernel there is a table of wrong versions, each a line: the textbook with one thing changed.
A wrong version explains a candidate if it gives the candidate's answers in all cases that were
judged, the right ones included, and an error where the candidate had one. The table knows nothing
of how the candidate was written. Two mistakes at once are named together if each has outputs of its
own (dweight, dbias), and one after the other if each has its own cases (ties, NaN).
"""

import functools

import numpy as np

from mnp.verify import reference
from mnp.verify.judge import INTEGERS, close, flat, least_scale
from mnp.verify.mistakes import TABLE, general
from mnp.verify.mistakes.change import outputs_of

MAX_GUESSES = 3
SINGLE = 1e-5  # relative error of float32 arithmetic


def guess(kernel, judged):
    """Name the common mistakes that give a candidate's answers, best guess first.

    `judged` is a list of (Case, expected outputs, Answer, wrong : bool), of which at least one is wrong.

    Returns at most three mistakes each of which explains all answers, the right ones included. If there is
    none: mistakes that do it together, output by output; or else a mistake that explains the first wrong
    case, then one for the cases that are left, and so on; how many it explains is said. Otherwise an
    empty list.
    """
    own, common = TABLE.get(kernel, {}), general.table(kernel)
    items = [Item({**common, **own}, *one) for one in judged]
    slips = list(dict.fromkeys(words for item in items for words in item.slips))
    wrong = [item for item in items if item.wrong]
    words = _usual(own, common, items) if wrong else []
    if wrong and not words:
        if all(item.case.dtype == "float64" and item.within(SINGLE) for item in wrong):
            slips.append("right to single precision only: somewhere inside it is computed in float32")
        elif all(item.within(100 * item.case.tolerance) for item in wrong):
            slips.append("nearly right, digits are lost in rounding: a small difference of large numbers?")
        elif slips:
            slips.append("something else that is none of the common mistakes")
    return ["; and ".join([*words[:1], *slips]), *words[1:MAX_GUESSES]] if words or slips else []


class Item:
    """One judged case, what can be said of it without any table, and what the entries of tables explain.

    `wrong` is the set of outputs whose numbers are wrong; all of them after an exception. `slips` are the
    words for right numbers in a wrong type, and for a dx that was not asked for.
    """

    def __init__(self, entries, case, expected, answer, judged_wrong):
        self.entries, self.case, self.expected, self.answer, self.slips = entries, case, expected, answer, []
        self.explained = functools.cache(self._explained)
        self.names = set(flat(expected))
        arrays = [v for v in case.args.values() if isinstance(v, np.ndarray)]
        self.finite = all(np.isfinite(v).all() for v in arrays)  # so that what is not was computed
        if answer.problem:
            self.wrong = self.names
            return
        self.outputs = flat(answer.outputs)
        if expected.get("dx", 0) is None and isinstance(self.outputs["dx"], np.ndarray):
            self.outputs["dx"] = None
            self.slips.append("need_dx ignored")
        right = flat(expected)
        self.wrong = {name for name in self.names if not self.agrees(name, right[name], self.outputs[name])}
        if judged_wrong and not self.wrong and not self.slips:
            self.slips.append(_type_slip(case, self.outputs))

    def agrees(self, name, want, got, slack=1.0, tolerance=None):
        """Say whether one output is the same in numbers, whatever its type."""
        if want is None or got is None or isinstance(got, str):
            return want is None and got is None
        want, got = np.asarray(want), np.asarray(got)
        if want.shape != got.shape:
            return False
        limit = tolerance or self.case.tolerance
        if got.dtype.itemsize == 4 and got.dtype.kind == "f":
            limit = max(limit, SINGLE)
        limit = 0.0 if name in INTEGERS else limit * slack
        # A wrong version works in float64; the candidate in float32 may cancel differently, and where
        # one overflows to infinity the other may have come to NaN.
        both_overflow = ~np.isfinite(want) & ~np.isfinite(got) & (name not in INTEGERS) & (slack > 1)
        both_overflow &= self.finite
        return (close(want, got, limit, least_scale(self.case, name)) | both_overflow).all()

    def within(self, tolerance):
        """Say whether an answer is right to a larger tolerance."""
        right = flat(self.expected)
        return not self.answer.problem and all(
            self.agrees(name, right[name], self.outputs[name], tolerance=tolerance) for name in self.wrong
        )

    def whole(self, entry):
        """Say whether an entry gives all outputs."""
        return self.explained(entry)[0] == self.names

    def speaks_for(self, entry):
        """Say whether wrong numbers, and not an error alone, speak for an entry."""
        return bool(self.explained(entry)[1] & self.wrong)

    def _explained(self, entry):
        """Say which outputs a wrong version gives as the candidate did, and which of them it makes wrong.

        Where the wrong version cannot run (a transposed weight that does not fit), or gives another shape
        than is right, an error of the candidate fits too: it may have made room for the right shape.
        """
        mistake, raised = self.entries[entry], self.answer.problem.startswith("raised")
        args, right = self.case.args, {name: reference.widen(v) for name, v in self.expected.items()}
        if not isinstance(mistake, general.MemoryInCOrder):
            args = {name: reference.widen(value) for name, value in args.items()}
        try:
            with np.errstate(all="ignore"):
                wanted = flat(outputs_of(mistake, args, right))
        except general.UnpredictableError:
            return self.names, set()
        except Exception:
            return (self.names if raised else set()), set()
        right = flat(right)
        if self.answer.problem:
            other_shape = any(np.shape(wanted[name]) != np.shape(right[name]) for name in wanted)
            return (self.names if raised and other_shape else set()), set()
        touched = {name for name in wanted if not self.agrees(name, right[name], wanted[name])}
        given = {**right, **wanted}
        slack = 10.0 * max(1.0, 1e-9 / self.case.tolerance)
        same = {name for name in right if self.agrees(name, given[name], self.outputs[name], slack)}
        return same, touched


def _type_slip(case, outputs):
    """Describe right numbers in a wrong type."""
    for name, array in outputs.items():
        if array is None:
            continue
        if name in INTEGERS and array.dtype.kind == "f":
            return f"right numbers, but {name} holds floats: np.zeros(shape, dtype=int) holds integers"
        if name not in INTEGERS and array.dtype != np.dtype(case.dtype):
            if array.dtype == np.float64:
                return "right numbers, but in float64: np.zeros and np.empty need dtype=x.dtype"
            return f"computed in {array.dtype} whatever comes in"
    return "right numbers in the wrong type"


def _usual(own, common, items):
    """Find the entries of two tables that explain the items; see `guess`."""
    # The wrong cases first: nearly every entry of the table fails at the first of them.
    items = sorted(items, key=lambda item: not item.wrong)
    # Errors alone are evidence if the candidate is right wherever the wrong version is.
    some_right = any(not item.wrong for item in items)

    def explains_all(entry):
        in_memory = isinstance(items[0].entries[entry], general.MemoryInCOrder)
        for item in items:
            idle = item.wrong and not item.answer.problem and not item.explained(entry)[1]
            if not item.whole(entry) or (idle and not in_memory):
                return False  # it gives something else, or is right where the candidate is wrong
        return some_right or any(item.speaks_for(entry) for item in items)

    # An entry of the kernel's own table says more than the same in general words.
    for table in (own, common):
        if whole := [entry for entry in table if explains_all(entry)]:
            return whole[:MAX_GUESSES]
    together = _output_by_output([*own, *common], items)
    return ["; and ".join(together)] if together else _case_by_case([*own, *common], items)


def _output_by_output(entries, items):
    """Find entries that explain all wrong outputs together; an empty list if there are none."""
    spoken = [item for item in items if not item.answer.problem]
    reach = {}  # entry -> the outputs that it changes, and gives as the candidate did in all cases
    for entry in entries:
        if all(now <= same for same, now in (item.explained(entry) for item in spoken)):
            touched = set().union(*(item.explained(entry)[1] for item in spoken))
            # What it touches must be the candidate's in the cases that it leaves right, too.
            if touched and all(touched <= item.explained(entry)[0] for item in spoken):
                reach[entry] = touched
    left, found = set().union(*(item.wrong for item in spoken)), []
    while left and len(found) < MAX_GUESSES:
        best = max(reach, key=lambda entry: len(reach[entry] & left), default=None)
        if best is None or not reach[best] & left:
            return []
        found.append(best)
        left -= reach[best]
    return [] if left else found


def _case_by_case(entries, items):
    """Find an entry that explains the first wrong case, then others for the wrong cases that are left."""
    wrong = [item for item in items if item.wrong]
    fits = {entry: {item for item in wrong if item.whole(entry)} for entry in entries}
    fits = {entry: cases for entry, cases in fits.items() if any(item.speaks_for(entry) for item in cases)}
    # The first is the case that the user is shown: a guess that is about others only would mislead.
    shown = next((item for item in wrong if not item.answer.problem), wrong[0])
    left, words = set(wrong), []
    candidates = [entry for entry in fits if shown in fits[entry]]
    while candidates and left and len(words) < MAX_GUESSES:
        best = max(candidates, key=lambda entry: len(fits[entry] & left))  # of equals the first in the table
        if not fits[best] & left:
            break
        words.append(f"{best} (in {len(fits[best])} of {len(wrong)} wrong cases)")
        left -= fits[best]
        candidates = list(fits)
    return words
