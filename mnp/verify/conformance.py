"""Judge any module that offers the agreed kernel names, whole or in part, against the textbook.

    mnp check my_kernels.py
    mnp check tests/frameworks/torch_kernels.py --only conv2d_forward
    mnp check mnp.kernels.jitted --network

The steps are separate on purpose: `cases.generate` draws the inputs, `sandbox.answers` lets the
candidate run on them in a process of its own, `judge.judge` compares, `diagnosis.guess` names the
usual mistakes that fit.
"""

from mnp.errors import MnpError
from mnp.verify import candidate, cases, reference, sandbox
from mnp.verify.diagnosis import guess
from mnp.verify.judge import judge


def check(where, only=None, seed=0, seconds=120.0):
    """Judge a module, kernel by kernel, each with a time limit.

    Parameters
    ----------
    where : str
        A dotted module name or the path of a Python file.
    only : list of str, optional
        These agreed names and no others.
    seed : int
        Draws the cases: another seed gives other numbers in the same shapes.
    seconds : float
        Time limit of one kernel with all its cases.

    Yields
    ------
    verdict : Verdict
        One for each agreed name.

    Raises MnpError for a module that does not import and for a name in `only` that is not agreed.
    """
    for kernel in only or ():
        reference.function(kernel)
    if not seconds > 0:
        raise MnpError(f"the time limit is {seconds:g} s: give a positive number of seconds")
    for kernel, answers in sandbox.answers(where, only, seed, seconds):
        yield judge(kernel, cases.generate(kernel, seed), answers, guess)


def check_module(module, only=None, seed=0):
    """Judge a module that is already imported, in this process and without a time limit.

    For notebooks and tests, where stepping into the candidate with a debugger is the point.

    Returns
    -------
    verdicts : list of Verdict

    >>> from mnp.kernels import textbook
    >>> print(check_module(textbook, only=["relu_forward"])[0])
    relu_forward               passed       20 cases
    """
    verdicts = []
    for kernel in only or reference.OUTPUTS:
        reference.function(kernel)
        drawn, function = cases.generate(kernel, seed), getattr(module, kernel, None)
        answers = [candidate.call_case(function, case) for case in drawn] if callable(function) else None
        stub = answers is not None and all(a.problem == "NotImplementedError" for a in answers)
        verdicts.append(judge(kernel, drawn, answers[:1] if stub else answers, guess))
    return verdicts


def summary(verdicts):
    """Say in one line how many kernels passed, failed and were not offered.

    >>> from mnp.verify.judge import Verdict
    >>> summary([Verdict("relu_forward", "passed", 20), Verdict("win_counts", "not offered")])
    '1 passed, 0 failed, 1 not offered; 20 cases'
    """
    count = {
        status: sum(v.status == status for v in verdicts) for status in ("passed", "failed", "not offered")
    }
    return (
        ", ".join(f"{n} {status}" for status, n in count.items())
        + f"; {sum(v.cases for v in verdicts)} cases"
    )


def all_passed(verdicts):
    """Say whether something was offered and all of it passed: exit status 0."""
    offered = [v for v in verdicts if v.status != "not offered"]
    return bool(offered) and all(v.status == "passed" for v in offered)
