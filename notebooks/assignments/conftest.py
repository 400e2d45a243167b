"""The front of the checks: `pytest -m task3` judges task 3 and says what to look at.

In a student's folder the checks import the student's own file, so a debugger stops where it should.
The grader runs the same checks with --submission and --seed: then the answer runs in a process of
its own, on other inputs (see runner.py), and nothing of it is imported here.
"""

import json
import os
from pathlib import Path

import pytest
from answers import LocalAnswer, StoredCases, load_file
from checking import PUBLIC_SEED, AnswerError, Ask, Draws, WrongError

TASKS = {
    "task1": "convolution forward and backward",
    "task2": "max pooling",
    "task3": "maxout forward and backward",
    "task4": "win counts, ranking and keep",
    "task5": "removing neurons, masking weights",
}


def pytest_addoption(parser):
    """The grader's options; a student needs none of them."""
    group = parser.getgroup("assignments")
    group.addoption("--submission", help="grade the files of this JSON list, in a process of their own")
    group.addoption("--seed", type=int, default=PUBLIC_SEED, help="draw the inputs from this seed")
    group.addoption("--report", help="write the points to this JSON file")
    group.addoption("--call-seconds", type=float, default=3.0, help="how long one call may take")
    group.addoption("--task-seconds", type=float, default=9.0, help="how long all calls of a task may take")
    group.addoption("--layers", default="seccomp+audit", help="what locks the answer in (see sandbox.py)")


def pytest_configure(config):
    """Name the markers and start counting."""
    for task, title in TASKS.items():
        config.addinivalue_line("markers", f"{task}: {title}")
    config.addinivalue_line("markers", "points(n): what a check is worth")
    config.answers, config.points = {}, {}


def _answer(config, module):
    stem = module.__name__.removeprefix("test_")
    if stem not in config.answers:
        if listed := config.getoption("--submission"):
            from runner import LockedAnswer

            path = json.loads(Path(listed).read_text(encoding="utf-8")).get(stem)
            names = ("call_seconds", "task_seconds", "layers")
            limits = {name: config.getoption(f"--{name.replace('_', '-')}") for name in names}
            config.answers[stem] = LockedAnswer(path, f"{stem}.py", **limits)
        elif hasattr(module, "MISTAKES"):  # a source checks itself
            config.answers[stem] = LocalAnswer(module, f"{stem}.py")
        else:
            config.answers[stem] = load_file(Path(module.__file__).with_name(f"{stem}.py"))
    return config.answers[stem]


@pytest.fixture
def ask(request):
    """The check's way to the answer, to the right outputs, and to its own inputs."""
    config, module = request.config, request.module
    if hasattr(module, "MISTAKES"):
        from reference import Reference

        oracle = Reference(module)
    else:
        oracle = StoredCases(Path(module.__file__).with_name("cases") / f"{module.__name__[5:]}.npz")
    draws = Draws(config.getoption("--seed"), request.node.name)
    request.node.ask = Ask(_answer(config, module), oracle, draws)
    return request.node.ask


def printable(text):
    """Text without control characters: some of it was written by the program under test."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(text))


def _sentence_of_the_check(item, excinfo):
    """What a check's own `assert ..., "sentence"` says, without pytest's picture of the arrays; else ""."""
    raised_in = Path(str(excinfo.traceback[-1].path)) if excinfo.traceback else None
    if not excinfo.errisinstance(AssertionError) or raised_in != Path(item.path):
        return ""  # an assert in the student's own code speaks for itself, with its line
    sentence, shown, _ = str(excinfo.value).partition("\nassert ")
    return sentence if shown else ""


def _is_check(item):
    return _task_of(item) is not None and item.get_closest_marker("points") is not None


def _task_of(item):
    return next((name for name in TASKS if item.get_closest_marker(name)), None)


def _enter(item, message, passed=False, finished=False):
    """Write down how a check stands; the report is written each time, in case the next one ends it all."""
    out_of = item.get_closest_marker("points").args[0]
    item.config.points.setdefault(_task_of(item), {})[item.name] = {
        "passed": passed,
        "finished": finished,
        "points": out_of if passed else 0,
        "out_of": out_of,
        "purpose": " ".join((item.obj.__doc__ or "").split()),
        "message": message,
    }
    _write_report(item.config)


def pytest_collection_finish(session):
    """Every check begins as not passed."""
    for item in filter(_is_check, session.items):
        _enter(item, "not run: the checks were stopped before this one")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A check counts when its call has finished; a failed one gives sentences instead of a traceback."""
    outcome = yield
    report = outcome.get_result()
    if not _is_check(item):  # a test of the student's own
        return
    message = ""
    if call.excinfo is not None:
        own = _sentence_of_the_check(item, call.excinfo)
        if own or call.excinfo.errisinstance((WrongError, AnswerError)):
            message = printable(own or call.excinfo.value)
            out_of = item.get_closest_marker("points").args[0]
            title = f"{_task_of(item)}, {item.name} ({out_of} point{'s' * (out_of != 1)})"
            purpose = " ".join((item.obj.__doc__ or "").split())
            report.longrepr = f"{title}\nAsked: {purpose}\nFound: {message}\n"
        else:
            message = printable(f"{call.excinfo.typename}: {call.excinfo.value}")
    if report.when == "call":
        if report.passed and item.ask.carried:
            names = " and ".join(dict.fromkeys(item.ask.carried))
            message = f"{names}: right if the functions above it are; their slips are not charged again"
        _enter(item, message, report.passed, finished=True)
    elif report.when == "setup":
        unfinished = "not finished: interrupted, out of time or ended by a crash while it ran"
        _enter(item, message or unfinished)


def _write_report(config):
    """After every check, so that an interrupted run keeps what it had."""
    if path := config.getoption("--report"):
        held = sorted(
            {str(answer.held) for answer in config.answers.values() if getattr(answer, "held", None)}
        )
        report = {"seed": config.getoption("--seed"), "held": held, "tasks": config.points}
        Path(f"{path}.part").write_text(json.dumps(report), encoding="utf-8")
        os.replace(f"{path}.part", path)


def pytest_sessionfinish(session):
    """Close the processes and leave the final report."""
    for answer in session.config.answers.values():
        if hasattr(answer, "close"):
            answer.close()
    _write_report(session.config)


def pytest_terminal_summary(terminalreporter, config):
    """One line per task."""
    for task, checks in sorted(config.points.items()):
        points, out_of = (sum(check[key] for check in checks.values()) for key in ("points", "out_of"))
        unfinished = sum(not check["finished"] for check in checks.values())
        told = f"; {unfinished} of {len(checks)} checks not finished: they do not count" if unfinished else ""
        terminalreporter.write_line(f"{task}: {points} of {out_of} points   ({TASKS[task]}){told}")
        for note in dict.fromkeys(c["message"] for c in checks.values() if c["passed"] and c["message"]):
            terminalreporter.write_line(f"  {note}")
