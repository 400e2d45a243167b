"""Compare a candidate's outputs with the reference, and report the first mismatch."""

from dataclasses import dataclass, field

import numpy as np

INTEGERS = ("winner", "counts")


@dataclass
class Verdict:
    """Result of checking one kernel: `status` is "passed", "failed" or "not implemented".

    `cases` were judged, `wrong` of them failed, `not_run` were left when the kernel was stopped; `lines` tell
    the first mismatch, `looks_like` the common mistakes that would give these answers, best guess first.
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
        if self.status == "not implemented" and details:
            how_many = f"({details.pop()})"
        if self.looks_like:
            details.append("looks like: " + ", or ".join(self.looks_like))
        text = f"{self.kernel:<26} {self.status:<16} {how_many}".rstrip()
        return "\n".join([text, *("    " + line for line in details)])


def compare_arrays(name, expected, got, dtype, tolerance, least=0.0):
    """Compare one output: the first thing that is wrong, in one line, or None.

    Integers and bools are compared exactly, anything else as `close` says. `got` is a str that describes
    what was returned if that was no array.
    """
    if expected is None:
        return None if got is None else f"{name} is not None although need_dx=False"
    if got is None or isinstance(got, str):
        what = "a NumPy scalar of the inputs' type" if name == "loss" else "a NumPy array"
        return f"{name} is {got}; expected {what}"
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
    """Compare two arrays element by element, relative to the largest magnitude expected.

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
    """Smallest scale for `close`: a probability is rounded at 1, also when what is left of it is 0."""
    if case.kernel != "softmax_cross_entropy":
        return 0.0
    return 1.0 if name == "loss" else 1.0 / len(case.args["labels"])


def flat(outputs):
    """Outputs by name, the arrays of a tuple one by one.

    >>> flat({"loss": 1.0, "weights": (2, 3)})
    {'loss': 1.0, 'weights[0]': 2, 'weights[1]': 3}
    """
    found = {}
    for name, value in outputs.items():
        found |= (
            {f"{name}[{i}]": v for i, v in enumerate(value)} if isinstance(value, tuple) else {name: value}
        )
    return found


def compare(case, expected, outputs):
    """First mismatch among all outputs of a case, in one line; None if there is none."""
    got, how = flat(outputs), (case.dtype, case.tolerance)
    pairs = ((name, want, got[name], *how, least_scale(case, name)) for name, want in flat(expected).items())
    return next(filter(None, (compare_arrays(*pair) for pair in pairs)), None)


def describe_inputs(args):
    """List a case's inputs by name, arrays by shape and type.

    >>> describe_inputs({"x": np.zeros((2, 3)), "k": 4, "keep": None})
    'x (2, 3) float64, k = 4, keep = None'
    """
    texts = []
    for name, value in args.items():
        if isinstance(value, np.ndarray):
            texts.append(f"{name} {value.shape} {value.dtype}")
        elif isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
            texts.append(f"{name} of {len(value)} arrays")
        else:
            texts.append(f"{name} = {value}")
    return ", ".join(texts)


def judge(kernel, cases, answers, guess):
    """Judge one kernel: its Verdict.

    answers is a list of Answer that may stop early, at a problem; None if the kernel is not implemented.
    `guess` (`mnp.verify.diagnosis.guess`) is asked for the common mistakes if something is wrong.
    """
    if answers is None:
        return Verdict(kernel, "not implemented")
    if answers and answers[-1].problem == "NotImplementedError":
        return Verdict(kernel, "not implemented", lines=["it still raises NotImplementedError"])
    judged, wrong = [], []
    for i, (case, answer) in enumerate(zip(cases, answers, strict=False)):
        expected = case.expected()
        mismatch = None if answer.problem else compare(case, expected, answer.outputs)
        judged.append((case, expected, answer, bool(mismatch or answer.problem)))
        if judged[-1][3]:
            wrong.append((i, case, answer, mismatch))
    if not wrong:
        return Verdict(kernel, "passed", len(cases))
    # A mismatch teaches more than an exception, so the first of those is shown if there is one.
    number, case, answer, mismatch = next((entry for entry in wrong if entry[3]), wrong[0])
    lines = [f"case {number}: {case}", f"inputs: {describe_inputs(case.args)}", mismatch or answer.problem]
    if mismatch:
        lines += [f"in case {i}: {a.problem}" for i, _, a, _ in wrong if a.problem][:1]
    not_run = len(cases) - len(judged)
    return Verdict(kernel, "failed", len(judged), len(wrong), not_run, lines, guess(kernel, judged))
