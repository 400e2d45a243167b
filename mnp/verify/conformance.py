"""Check a module that implements the kernel interface, in whole or in part, against the textbook.

    mnp check my_kernels.py
    mnp check tests/frameworks/torch_kernels.py --only conv2d_forward
    mnp check mnp.kernels.jitted --network
    mnp check --command "node mine.js"
    mnp check --model mine.py:model --golden DIR

Each step has a module: `cases.generate` draws the inputs, `sandbox.answers` lets the candidate run on them
in its own process, `judge.judge` compares, `diagnosis.guess` names the common mistakes that fit.
"""

from pathlib import Path

from mnp.errors import MnpError
from mnp.verify import candidate, cases, models, network, reference, sandbox
from mnp.verify.diagnosis import guess
from mnp.verify.judge import Verdict, judge
from mnp.verify.mistakes.pipeline import Guesses


def check(where, only=None, seed=0, seconds=120.0):
    """Check a module, kernel by kernel; yield a Verdict for each.

    Parameters
    ----------
    where : str
        A dotted module name, the path of a Python file, or "command: WORDS" for a program in any
        language; see `mnp.verify.program`.
    only : list of str, optional
        These kernels and no others.
    seed : int
        Another seed gives other numbers in the same shapes.
    seconds : float
        Time limit of one kernel with all its cases.

    Raises MnpError for a module that does not import and for an unknown kernel in `only`.
    """
    for kernel in only or ():
        reference.function(kernel)
    if not seconds > 0:
        raise MnpError(f"the time limit is {seconds:g} s: give a positive number of seconds")
    for kernel, answers in sandbox.answers(where, only, seed, seconds):
        yield judge(kernel, cases.generate(kernel, seed), answers, guess)


def check_module(module, only=None, seed=0):
    """Check a module that is already imported, in this process and without a time limit.

    For notebooks and tests, where a debugger may step into the candidate. Returns a list of Verdict.

    >>> from mnp.kernels import textbook
    >>> print(check_module(textbook, only=["relu_forward"])[0])
    relu_forward               passed           20 cases
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
    """Count in one line how many kernels passed, failed and are not implemented.

    >>> summary([Verdict("relu_forward", "passed", 20), Verdict("win_counts", "not implemented")])
    '1 passed, 0 failed, 1 not implemented; 20 cases'
    """
    statuses = [v.status for v in verdicts]
    counts = (f"{statuses.count(status)} {status}" for status in ("passed", "failed", "not implemented"))
    return f"{', '.join(counts)}; {sum(v.cases for v in verdicts)} cases"


def report(where, only=None, with_network=False, seed=0, seconds=120.0, folder=None):
    """Check a module and print the verdicts as they come: what `mnp check` does.

    `with_network` runs `network.pruning_round` on the module as well; `folder` has golden vectors of the
    network that a whole model is, in place of those of the seed.

    Returns whether something is implemented and all of it passed.
    """
    if where.startswith(candidate.MODEL):
        source = seed if folder is None else str(Path(folder).resolve())
        names, golden = models.STAGES, models.Golden(source)
        found = models.judge_model(sandbox.stages(where, source, seconds), golden, Guesses(golden))
    else:
        names = [*(only or reference.OUTPUTS), *(["network"] if with_network else [])]
        found = _verdicts(where, only, with_network, seed, seconds)
    verdicts = []
    for name, verdict in zip(names, found, strict=False):  # a model may end at its first stage
        verdicts.append(verdict)
        print(str(verdict).removeprefix(f"{name} " if len(verdicts) > 1 else ""))
        if len(verdicts) < len(names):  # the name of what is running now: it may take a while
            print(names[len(verdicts)], end=" ", flush=True)
    print(summary(verdicts))
    failed = [v.kernel for v in verdicts if v.status == "failed" and v.kernel in reference.OUTPUTS]
    if failed and names is not models.STAGES:
        inputs = f'mnp.verify.cases.generate("{failed[0]}", seed={seed})'
        print(f"the inputs of {failed[0]}'s case n, to step through: {inputs}[n].args")
    statuses = {v.status for v in verdicts}
    if statuses == {"not implemented"}:
        print(f"{where} implements none of the kernels; `mnp stub` writes a module to begin with")
    return statuses - {"not implemented"} == {"passed"}


def _verdicts(where, only, with_network, seed, seconds):
    yield from check(where, only, seed, seconds)
    if with_network:
        notes, remark = sandbox.network_notes(where, seed, seconds)
        verdict = network.judge_round(notes, seed) if notes else Verdict("network", "failed")
        verdict.lines.append(remark)
        yield verdict
