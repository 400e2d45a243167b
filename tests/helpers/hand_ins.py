"""Submissions for the assignments' grader, and the one command that grades them."""

import csv
import importlib
import re
import subprocess
import sys
from pathlib import Path

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
        return {row["submission"]: row for row in csv.DictReader(file)}
