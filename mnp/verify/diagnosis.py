"""Guess which usual mistake a wrong kernel has made.

For every kernel there is a table of wrong versions, each a line: the textbook with one thing changed.
A wrong version explains a candidate if it gives the candidate's answers in all cases that were
judged, the right ones included, and an error where the candidate had one. The table knows nothing
of how the candidate was written, and two mistakes at once are named one after the other.
"""

import numpy as np

from mnp.verify import reference
from mnp.verify.judge import INTEGERS, close
from mnp.verify.mistakes import TABLE

MOST = 3  # guesses that are worth reading


def agrees(case, wanted, outputs):
    """Say whether a wrong version's outputs are the candidate's."""
    for name, want in wanted.items():
        got = outputs[name]
        wants, gots = (want, got) if isinstance(want, tuple) else ((want,), (got,))
        for one, other in zip(wants, gots, strict=True):
            if one is None or other is None or isinstance(other, str):
                if one is not None or other is not None:
                    return False
                continue
            one = np.asarray(one)
            if one.shape != other.shape:
                return False
            # A wrong version works in float64; the candidate in float32 may cancel differently, and
            # where one overflows to infinity the other may have come to NaN.
            tolerance = 0.0 if name in INTEGERS else max(case.tolerance, 1e-9) * 10
            both_burst = ~np.isfinite(one) & ~np.isfinite(other) & (name not in INTEGERS)
            if not (close(one, other, tolerance) | both_burst).all():
                return False
    return True


def explains(mistake, case, expected, answer):
    """Say whether a wrong version gives a candidate's answer in one case.

    Where the wrong version cannot run (a transposed weight that does not fit), or gives another shape than
    is right, an error of the candidate fits too: it may have made room for the right shape.
    """
    args = {name: reference.widen(value) for name, value in case.args.items()}
    right = {name: reference.widen(value) for name, value in expected.items()}
    try:
        with np.errstate(all="ignore"):
            wanted = {**expected, **mistake(args, right)}
    except Exception:
        return answer.problem.startswith("raised")
    if answer.problem:
        other_shape = any(_shapes(wanted[name]) != _shapes(expected[name]) for name in wanted)
        return answer.problem.startswith("raised") and other_shape
    return agrees(case, wanted, answer.outputs)


def _shapes(value):
    return [np.shape(v) for v in value] if isinstance(value, tuple) else np.shape(value)


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
        Mistakes each of which explains all answers, the right ones included. If there is none: a mistake
        that explains most of the wrong cases, then one for those that are left, and so on; how many it
        explains is said. Otherwise an empty list.
    """
    table = {**TABLE.get(kernel, {}), **_generic(kernel, judged)}
    # The wrong cases first: nearly every entry of the table stumbles over the first of them.
    items = [item[:3] for item in sorted(judged, key=lambda item: not item[3])]
    whole = [words for words, mistake in table.items() if all(explains(mistake, *item) for item in items)]
    if whole:
        return whole[:MOST]
    wrong = [item[:3] for item in judged if item[3]]
    fits = {words: {i for i, item in enumerate(wrong) if explains(m, *item)} for words, m in table.items()}
    words, left = [], set(range(len(wrong)))
    while left and len(words) < MOST:
        best = max(fits, key=lambda w: len(fits[w] & left))  # of equals the first in the table
        if not fits[best] & left:
            break
        words.append(f"{best} (in {len(fits[best])} of {len(wrong)} wrong cases)")
        left -= fits[best]
    return words


def _generic(kernel, judged):
    """Wrong versions that any array can suffer: sign, zeros, transposition, a constant factor."""
    table = {}
    for name in reference.OUTPUTS[kernel]:
        if name in INTEGERS:
            continue

        def change(how, name=name):
            def mistake(_, right):
                value = right[name]
                if isinstance(value, tuple):
                    return {name: tuple(how(v) for v in value)}
                return {name: value if value is None else how(np.asarray(value))}

            return mistake

        table[f"the sign of {name}"] = change(np.negative)
        table[f"{name} left at zero"] = change(np.zeros_like)
        table[f"{name} transposed"] = change(np.transpose)
        table[f"{name} last axes swapped"] = change(lambda v: np.swapaxes(v, -1, -2))
        table[f"{name} in the reverse order"] = change(lambda v: v[::-1])
        for words, factor in _FACTORS.items():
            table[f"{name} {words}"] = _scaled(name, factor)
    return table


def _scaled(name, factor):
    def mistake(args, right):
        value = right[name]
        if isinstance(value, tuple):
            return {name: tuple(v * factor(args) for v in value)}
        return {name: value if value is None else value * factor(args)}

    return mistake


def _batch(args):
    return next(len(args[name]) for name in ("x", "dy", "logits", "winner", "z") if name in args)


_FACTORS = {
    "multiplied by the batch size: a sum where a mean is agreed": _batch,
    "divided by the batch size: a mean where a sum is agreed": lambda a: 1 / _batch(a),
    "divided by all of dy's pixels: a mean where a sum is agreed": lambda a: (
        1 / (a["dy"].size / a["dy"].shape[1])
    ),
    "multiplied by the pixels of a window: a sum where a mean is agreed": lambda a: a["size"] ** 2,
    "divided by size instead of size * size": lambda a: a["size"],
    "divided by the pixels of a window: a mean where none is agreed": lambda a: 1 / a["size"] ** 2,
    "twice too large": lambda a: 2.0,
    "half as large": lambda a: 0.5,
}
