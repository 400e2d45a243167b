"""Guess which usual mistake a wrong kernel has made.

For every kernel there is a table of wrong versions, each a line: the textbook with one thing changed.
A wrong version explains a candidate if it gives the candidate's answers in all cases that were
judged, the right ones included, and an error where the candidate had one. The table knows nothing
of how the candidate was written. Two mistakes at once are named together if each has outputs of its
own (dweight, dbias), and one after the other if each has cases of its own (ties, NaN).
"""

import dataclasses

import numpy as np

from mnp.verify import reference
from mnp.verify.judge import INTEGERS, close, least_scale
from mnp.verify.mistakes import TABLE, general

MOST = 3  # guesses that are worth reading
SINGLE = 1e-5  # relative error of float32 arithmetic


def guess(kernel, judged):
    """Name the usual mistakes that give a candidate's answers, best guess first.

    Parameters
    ----------
    kernel : str
    judged : list of (Case, expected outputs, Answer, wrong : bool)
        At least one is wrong.

    Returns
    -------
    words : list of str, at most three
        Mistakes each of which explains all answers, the right ones included. If there is none: mistakes
        that do it together, output by output; or else a mistake that explains most of the wrong cases, then
        one for those that are left, and so on; how many it explains is said. Otherwise an empty list.
    """
    items, slips = [], []
    for case, expected, answer, wrong in judged:
        item = Item(case, expected, answer, wrong)
        slips += [words for words in item.slips if words not in slips]
        items.append(item)
    wrong = [item for item in items if item.wrong]
    words = _usual({**TABLE.get(kernel, {}), **general.table(kernel)}, items) if wrong else []
    if wrong and not words and all(item.single_precision() for item in wrong):
        slips.append("right to single precision only: somewhere inside it is computed in float32")
    elif wrong and not words and all(item.nearly() for item in wrong):
        slips.append("nearly right, digits are lost in rounding: a small difference of large numbers?")
    elif wrong and slips and not words:
        slips.append("something else that is none of the usual mistakes")
    return ["; and ".join([*words[:1], *slips]), *words[1:MOST]] if words or slips else []


class Item:
    """One judged case, with what can be said of it without any table taken out.

    `wrong` is the set of outputs whose numbers are wrong; all of them after an exception. `slips` are the
    words for right numbers in a wrong type, and for a dx that nobody asked for.
    """

    def __init__(self, case, expected, answer, judged_wrong):
        self.case, self.expected, self.answer, self.slips = case, expected, answer, []
        names = reference.OUTPUTS[case.kernel]
        if answer.problem:
            self.wrong = set(names)
            return
        outputs = dict(answer.outputs)
        if expected.get("dx", 0) is None and isinstance(outputs["dx"], np.ndarray):
            outputs["dx"] = None
            self.slips.append("need_dx ignored")
        self.answer = dataclasses.replace(answer, outputs=outputs)
        self.wrong = {name for name in names if not self.agrees(name, expected[name], outputs[name])}
        if judged_wrong and not self.wrong and not self.slips:
            self.slips.append(_type_slip(case, expected, outputs))

    def agrees(self, name, one, other, slack=1.0, tolerance=None):
        """Say whether one output is the same in numbers, whatever its type."""
        pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
        for want, got in pairs:
            if want is None or got is None or isinstance(got, str):
                if want is not None or got is not None:
                    return False
                continue
            want, got = np.asarray(want), np.asarray(got)
            if want.shape != got.shape:
                return False
            limit = tolerance or self.case.tolerance
            if got.dtype.itemsize == 4 and got.dtype.kind == "f":
                limit = max(limit, SINGLE)
            limit = 0.0 if name in INTEGERS else limit * slack
            # A wrong version works in float64; the candidate in float32 may cancel differently, and where
            # one overflows to infinity the other may have come to NaN.
            both_burst = ~np.isfinite(want) & ~np.isfinite(got) & (name not in INTEGERS) & (slack > 1)
            if not (close(want, got, limit, least_scale(self.case, name)) | both_burst).all():
                return False
        return True

    def single_precision(self):
        """Say whether a float64 answer is right to the precision of float32."""
        return self.case.dtype == "float64" and self._within(SINGLE)

    def nearly(self):
        """Say whether an answer is off by rounding, though by more than is allowed."""
        return self._within(100 * self.case.tolerance)

    def _within(self, tolerance):
        outputs = self.answer.outputs
        return not self.answer.problem and all(
            self.agrees(name, self.expected[name], outputs[name], tolerance=tolerance) for name in self.wrong
        )

    def explained(self, mistake):
        """Say which outputs a wrong version gives as the candidate did, and which of them it makes wrong.

        Where the wrong version cannot run (a transposed weight that does not fit), or gives another shape
        than is right, an error of the candidate fits too: it may have made room for the right shape.
        """
        args = {name: reference.widen(value) for name, value in self.case.args.items()}
        right = {name: reference.widen(value) for name, value in self.expected.items()}
        raised = self.answer.problem.startswith("raised")
        try:
            with np.errstate(all="ignore"):
                wanted = mistake(args, right)
        except Exception:
            return (set(right) if raised else set()), set()
        if self.answer.problem:
            other_shape = any(_shapes(wanted[name]) != _shapes(right[name]) for name in wanted)
            return (set(right) if raised and other_shape else set()), set()
        touched = {name for name in wanted if not self.agrees(name, right[name], wanted[name])}
        given = {**right, **wanted}
        slack = 10.0 * max(1.0, 1e-9 / self.case.tolerance)
        same = {name for name in right if self.agrees(name, given[name], self.answer.outputs[name], slack)}
        return same, touched


def _shapes(value):
    return [np.shape(v) for v in value] if isinstance(value, tuple) else np.shape(value)


def _type_slip(case, expected, outputs):
    """Put right numbers in a wrong type into words."""
    for name, value in outputs.items():
        for array in value if isinstance(value, tuple) else (value,):
            if array is None:
                continue
            if name in INTEGERS and array.dtype.kind == "f":
                return f"right numbers, but {name} holds floats: np.zeros(shape, dtype=int) holds integers"
            if name not in INTEGERS and array.dtype != np.dtype(case.dtype):
                if array.dtype == np.float64:
                    return "right numbers, but in float64: np.zeros and np.empty need dtype=x.dtype"
                return f"computed in {array.dtype} whatever comes in"
    return "right numbers in the wrong type"


def _usual(table, items):
    """Find the entries of a table that explain the items; see `guess`."""
    names = set(reference.OUTPUTS[items[0].case.kernel])
    # The wrong cases first: nearly every entry of the table stumbles over the first of them.
    items = sorted(items, key=lambda item: not item.wrong)
    memo = {}

    def explained(words, i):
        if (words, i) not in memo:
            memo[words, i] = items[i].explained(table[words])
        return memo[words, i]

    def seen(words, cases):
        """Wrong numbers must speak for a guess, not errors alone."""
        return any(explained(words, i)[1] & items[i].wrong for i in cases)

    every = range(len(items))
    # Errors alone do if the candidate is right wherever the wrong version is.
    some_right = any(not item.wrong for item in items)

    def does_it(words):
        return all(
            explained(words, i)[0] == names
            and (not item.wrong or item.answer.problem or explained(words, i)[1])  # or it does nothing at all
            for i, item in enumerate(items)
        ) and (some_right or seen(words, every))

    whole = [words for words in table if does_it(words)]
    if whole:
        return whole[:MOST]
    parts, all_of_it = _output_by_output(table, items, explained)
    if all_of_it:
        return ["; and ".join(parts)]
    wrong = [i for i in every if items[i].wrong]
    fits = {w: {i for i in wrong if explained(w, i)[0] == names} for w in table}
    fits = {w: found for w, found in fits.items() if seen(w, found)}
    words, left = [], set(wrong)
    while left and fits and len(words) < MOST:
        best = max(fits, key=lambda w: len(fits[w] & left))  # of equals the first in the table
        if not fits[best] & left:
            break
        words.append(f"{best} (in {len(fits[best])} of {len(wrong)} wrong cases)")
        left -= fits[best]
    return ["; and ".join(parts)] if parts and left else words


def _output_by_output(table, items, explained):
    """Find entries that explain together what none explains alone.

    Returns
    -------
    words : list of str
        Entries that give the candidate's numbers in all outputs that they touch, in all cases.
    all_of_it : bool
        Whether every wrong output is explained so.
    """
    spoken = [i for i, item in enumerate(items) if not item.answer.problem]
    left, words = set().union(*(items[i].wrong for i in spoken)) if spoken else set(), []
    reach = {}
    for entry in table:
        touched = set()
        for i in spoken:
            same, now = explained(entry, i)
            touched |= now
            if not now <= same:
                break
        # What it touches must come out as the candidate's in the cases that it leaves right, too.
        else:
            if touched and all(touched <= explained(entry, i)[0] for i in spoken):
                reach[entry] = touched
    while left and len(words) < MOST:
        best = max(reach, key=lambda entry: len(reach[entry] & left), default=None)
        if best is None or not reach[best] & left:
            break
        words.append(best)
        left -= reach[best]
    return words, bool(words) and not left
