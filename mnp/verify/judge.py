"""Compare what a candidate gave with what the textbook says, and put the first difference in words."""

from dataclasses import dataclass, field

import numpy as np

from mnp.verify import reference

INTEGERS = ("winner", "counts")


@dataclass
class Verdict:
    """The judgement on one agreed name.

    `status` is "passed", "failed" or "not offered"; `cases` how many were judged, `wrong` how many
    of them failed, `not_run` how many were left when the kernel stopped for good; `lines` what to print
    about the first mismatch; `looks_like` the usual mistakes that would give these answers, best guess first.
    """

    kernel: str
    status: str
    cases: int = 0
    wrong: int = 0
    not_run: int = 0
    lines: list = field(default_factory=list)
    looks_like: list = field(default_factory=list)

    def __str__(self):
        how_many = f"{self.cases} cases" if self.status == "passed" else ""
        if self.status == "failed" and self.cases:
            how_many = f"{self.wrong} of {self.cases} cases wrong"
            how_many += f", {self.not_run} not run" if self.not_run else ""
        details = list(self.lines)
        if self.status == "not offered" and details:
            how_many = f"({details.pop()})"
        text = f"{self.kernel:<26} {self.status:<12} {how_many}".rstrip()
        if self.looks_like:
            details.append("looks like: " + ", or ".join(self.looks_like))
        return "\n".join([text, *("    " + line for line in details)])


def compare_arrays(name, expected, got, dtype, tolerance, least=0.0):
    """Compare one output; None if it is right.

    Parameters
    ----------
    name : str
        "winner" and "counts" are compared exactly (winner: any integer type); anything else must be
        of the case's dtype, and may differ as `close` says.
    expected : array
    got : array, None, or a str that describes what else was returned
    dtype : str
    tolerance, least : float
        For `close`.

    Returns
    -------
    mismatch : str or None
        The first thing that is wrong, in one line.
    """
    if expected is None:
        return None if got is None else f"{name} is not None although need_dx=False"
    if got is None or isinstance(got, str):
        what = "a NumPy scalar of the inputs' type" if name == "loss" else "a NumPy array"
        return f"{name} is {got}; {what} is agreed"
    expected = np.asarray(expected)
    if got.shape != expected.shape:
        return f"{name} has shape {got.shape}, expected {expected.shape}"
    if expected.dtype.kind in "iub":
        wanted = "int64" if name == "counts" else "bool" if expected.dtype.kind == "b" else "integers"
        kinds = "b" if wanted == "bool" else "iu"
        if got.dtype.kind not in kinds or (name == "counts" and got.dtype != np.int64):
            return f"{name} is of type {got.dtype}, expected {wanted}"
        wrong = got != expected
    else:
        if got.dtype != np.dtype(dtype):
            return f"{name} is of type {got.dtype}, expected {dtype}, as the inputs are"
        wrong = ~close(expected, got, tolerance, least)
    if not wrong.any():
        return None
    element = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f"[{', '.join(map(str, element))}]" if element else ""
    share = f" ({wrong.sum()} of {wrong.size} elements differ)" if wrong.size > 1 else ""
    return f"{name}{where}: expected {1 * expected[element]:.9g}, got {1 * got[element]:.9g}{share}"


def close(expected, got, tolerance, least=0.0):
    """Say element by element whether two arrays agree.

        |got - expected| <= tolerance * max(largest finite |expected|, least)

    NaN must meet NaN, an infinity the same infinity.

    >>> close([1.0, 1000.0, np.nan], [1.01, 1000.0, np.nan], 1e-4)
    array([ True,  True,  True])
    """
    expected, got = np.asarray(expected, np.float64), np.asarray(got, np.float64)
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=least)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(got - expected) <= tolerance * scale
    return np.where(finite, near, (got == expected) | (np.isnan(got) & np.isnan(expected)))


def least_scale(case, name):
    """Give the magnitude that rounding is measured by where the right answer may be zero.

    A probability is rounded at 1, also when the difference that is left of it is 0.
    """
    if case.kernel != "softmax_cross_entropy":
        return 0.0
    return 1.0 if name == "loss" else 1.0 / len(case.args["labels"])


def compare(case, expected, outputs):
    """Find the first mismatch among all outputs of a case; None if there is none."""
    for name in reference.OUTPUTS[case.kernel]:
        want, got = expected[name], outputs[name]
        pairs = [(want, got)] if not isinstance(want, tuple) else list(zip(want, got, strict=True))
        for i, (one, other) in enumerate(pairs):
            mismatch = compare_arrays(name, one, other, case.dtype, case.tolerance, least_scale(case, name))
            if mismatch is not None:
                of_tuple = f"{name}[{i}]" if isinstance(want, tuple) else name
                return mismatch.replace(name, of_tuple, 1)
    return None


def describe_inputs(args):
    """List a case's inputs by name, arrays by shape and type.

    >>> describe_inputs({"x": np.zeros((2, 3)), "k": 4, "keep": None})
    'x (2, 3) float64, k = 4, keep = None'
    """
    return ", ".join(
        f"{name} {value.shape} {value.dtype}"
        if isinstance(value, np.ndarray)
        else f"{name} of {len(value)} arrays"
        if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value)
        else f"{name} = {value}"
        for name, value in args.items()
    )


def judge(kernel, cases, answers, guess=None):
    """Judge one kernel from its answers.

    Parameters
    ----------
    kernel : str
    cases : list of Case
    answers : list of Answer, or None if the kernel is not offered
        May stop early, at a problem.
    guess : callable, optional
        `mnp.verify.diagnosis.guess`; asked for the usual mistakes if something is wrong.

    Returns
    -------
    verdict : Verdict
    """
    if answers is None:
        return Verdict(kernel, "not offered")
    if answers and answers[-1].problem == "NotImplementedError":
        return Verdict(kernel, "not offered", lines=["it still raises NotImplementedError"])
    judged = []
    for case, answer in zip(cases, answers, strict=False):
        expected = case.expected()
        mismatch = None if answer.problem else compare(case, expected, answer.outputs)
        judged.append((case, expected, answer, mismatch))
    wrong = [
        (i, case, a, mismatch) for i, (case, _, a, mismatch) in enumerate(judged) if mismatch or a.problem
    ]
    if not wrong and len(judged) == len(cases):
        return Verdict(kernel, "passed", len(cases))
    # A mismatch teaches more than an exception, so the first of those is shown if there is one.
    number, case, answer, mismatch = next((entry for entry in wrong if entry[3]), wrong[0])
    lines = [f"case {number}: {case}", f"inputs: {describe_inputs(case.args)}", mismatch or answer.problem]
    other = next((f"in case {i}: {a.problem}" for i, _, a, _ in wrong if a.problem), "")
    if mismatch and other:
        lines.append(other)
    looks_like = guess(kernel, [(c, e, a, bool(m or a.problem)) for c, e, a, m in judged]) if guess else []
    return Verdict(kernel, "failed", len(judged), len(wrong), len(cases) - len(judged), lines, looks_like)
