"""Submissions for the assignments' grader, and the one command that grades them."""

import csv
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ASSIGNMENTS = Path(__file__).parents[2] / "notebooks" / "assignments"

# Typical wrong answers, one a task: (function, slip, points of the task that are left).
WRONG = {
    "task1": ("conv2d_forward", "_flipped", 20),
    "task2": ("maxpool2d_backward", "_overwrites", 13),
    "task3": ("maxout_backward", "_shared", 12),
    "task4": ("rank_neurons", "_ties_turned", 14),
    "task5": ("take_neurons", "_row_unit_plus_neuron", 16),
}
WORTH = {"task1": 30, "task2": 15, "task3": 20, "task4": 15, "task5": 20}


@pytest.fixture(scope="module", autouse=True)
def markers(pytestconfig):
    """The sources' own markers, which this run's --strict-markers would reject; import it to have it."""
    for name in (*WORTH, "points"):
        pytestconfig.addinivalue_line("markers", f"{name}: see notebooks/assignments/conftest.py")


def tool(name):
    """A module of the assignments' folder, which is no package."""
    if str(ASSIGNMENTS) not in sys.path:
        sys.path.append(str(ASSIGNMENTS))
    return importlib.import_module(name)


def full(source):
    """The text of a task's file with its solution."""
    return tool("make").answer_file(source, solved=True)


def stub(source):
    """The text of a task's file as a student gets it."""
    return tool("make").answer_file(source, solved=False)


def wrong(source, function, slip):
    """The text of a task's file in which one function makes one of the known slips."""
    text = (ASSIGNMENTS / "source" / f"{source.stem}.py").read_text(encoding="utf-8")
    slips = re.search(r"^# %% mistakes\n(.*?)^MISTAKES", text, re.M | re.S).group(1)
    return (
        f"{full(source)}\n\n{slips}\nimport functools\n{function} = functools.partial({slip}, {function})\n"
    )


def typical(source):
    """The text of a task's file with the typical wrong answer of WRONG."""
    return wrong(source, *WRONG[source.task][:2])


def judged(module, functions, seed, text=""):
    """Points and {check: message} of a source's checks on functions in this process."""
    make, checking, reference, answers = map(tool, ("make", "checking", "reference", "answers"))
    answer, points, messages = answers.LocalAnswer(functions, "answer.py", text), 0, {}
    for name, worth, check in make.checks_of(module):
        try:
            check(checking.Ask(answer, reference.Reference(module), checking.Draws(seed, name)))
            points += worth
        except AssertionError as error:
            messages[name] = str(error)
    return points, messages


def hints(message):
    """The slips that a message names, without "It looks as if"."""
    return [line.split(" as if ", 1)[1] for line in message.splitlines() if " as if " in line]


def bare():
    """The environment for a separate pytest: other packages' plugins only cost time."""
    return os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run_checks(folder, *options, **more):
    """What a student types, in a separate Python process: the exit status and what is printed."""
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(
        command, cwd=folder, env=bare(), capture_output=True, text=True, timeout=120, check=False, **more
    )
    return done.returncode, done.stdout + done.stderr


def hand_in(folder, name, files):
    """A submission: {file name: text or bytes}."""
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def grade(folder, out, *options, seed=4711):
    """Run the one command; gives the rows of its CSV by submission."""
    command = [sys.executable, ASSIGNMENTS / "grade.py", folder, "--out", out, "--seed", str(seed), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["submission"]: row for row in rows} if "submission" in rows[0] else rows
