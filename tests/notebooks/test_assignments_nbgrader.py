"""The course for nbgrader, generated, released, handed in and graded by nbgrader's own autograder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hand_ins import ASSIGNMENTS, WORTH, WRONG, full, stub, tool, typical

pytest.importorskip("nbgrader")
pytest.importorskip("ipykernel")
make = tool("make")

# Runs in a separate Python process: release every task, wait for the hand-ins, grade them, print the scores.
DRIVER = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from traitlets.config.loader import PyFileConfigLoader

course, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
api = NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config())
for kind, task, student in jobs:
    done = api.generate_assignment(task) if kind == "release" else api.autograde(task, student)
    assert done["success"], done["log"][-3000:]
with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
    found = [s for task in book.assignments for s in book.assignment_submissions(task.name)]
    print(json.dumps([[s.student.id, s.assignment.name, s.score, s.max_score] for s in found]))
"""

CHEAT = """
import builtins, subprocess, course_check
course_check.Results.check = lambda self, name: None
subprocess.run = lambda *a, **k: None
AssertionError = KeyError
"""
ANSWER_OF_THE_CHEAT = """
def maxout_forward(z): return z.max(axis=2), z.argmax(axis=2)
def maxout_backward(dy, winner, k):
    while True: pass
"""


def drive(course, jobs, tmp_path):
    """Let nbgrader do what the jobs say; gives {(student, task): (score, max_score)}."""
    environment = os.environ | {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
    # nbgrader calls alembic by its name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-c", DRIVER, str(course), json.dumps(jobs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return {(who, task): (score, most) for who, task, score, most in json.loads(done.stdout.splitlines()[-1])}


def hand_in(course, student, source, text):
    """What a student hands in: the released folder with the answer filled in."""
    folder = course / "submitted" / student / source.task
    shutil.copytree(course / "release" / source.task, folder)
    (folder / f"{source.stem}.py").write_text(text)
    return folder


@pytest.mark.timeout(560)
def test_a_course_graded_by_nbgrader(tmp_path):
    course = tmp_path / "course"
    make_it = [sys.executable, ASSIGNMENTS / "make.py", "nbgrader", "--out", course, "--seed", "4711"]
    subprocess.run(make_it, check=True, capture_output=True)
    sources = make.sources()
    drive(course, [["release", source.task, ""] for source in sources], tmp_path)
    assert not list((course / "release").rglob("grade*")), "the grader is never released"
    solution = full(sources[2]).split('"""')[-1].strip()
    assert not [p for p in (course / "release").rglob("*.*") if solution in p.read_bytes().decode("latin-1")]

    kinds = {"full": full, "wrong": typical, "stub": stub}
    given = [("full", 0), ("full", 1), ("full", 3), ("wrong", 2), ("wrong", 4), ("stub", 2)]
    for student, number in given:
        hand_in(course, student, sources[number], kinds[student](sources[number]))
    # One who lost nbgrader's metadata, patches the kernel and brings modules of his own; right in part.
    folder = hand_in(course, "cheat", sources[2], ANSWER_OF_THE_CHEAT)
    path = folder / f"{sources[2].stem}.ipynb"
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    notebook["cells"][0] |= {"cell_type": "code", "source": CHEAT, "outputs": [], "execution_count": None}
    path.write_text(json.dumps(notebook))
    for name in (
        "course_check.py",
        "conftest.py",
        "ipykernel_launcher.py",
        "subprocess.py",
        "nbgrader_cells.py",
    ):
        (folder / name).write_text("def run(task): return None\n")
    (folder / "json").mkdir()
    (folder / "json" / "__init__.py").write_text("")
    # One whose answer is a link to the solution.
    folder = hand_in(course, "link", sources[2], "")
    (folder / f"{sources[2].stem}.py").unlink()
    (folder / f"{sources[2].stem}.py").symlink_to(course / "grader" / "source" / f"{sources[2].stem}.py")

    given += [("cheat", 2), ("link", 2)]
    jobs = [["grade", sources[number].task, student] for student, number in given]
    scores = drive(course, jobs, tmp_path)
    left = {"full": WORTH, "wrong": {task: points for task, (_, _, points) in WRONG.items()}}
    left |= {"stub": {"task3": 0}, "cheat": {"task3": 12}, "link": {"task3": 0}}
    expected = {(who, task): (left[who][task], WORTH[task]) for _, task, who in jobs}
    assert scores == expected
    graded = (course / "autograded" / "wrong" / "task3" / "task3_maxout.ipynb").read_text()
    assert "dy is shared among the k neurons" in graded
