"""The student's side: checks that were interrupted, imports, a hand-in that does not load, the way in."""

import ast
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from hand_ins import ASSIGNMENTS, WORTH, bare, full, hand_in, markers, run_checks, tool  # noqa: F401

make, submissions = tool("make"), tool("submissions")
SOURCES = make.sources()
MAXOUT = SOURCES[2]
FORWARD = "import numpy as np\ndef maxout_forward(z): return z.max(axis=2), z.argmax(axis=2)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A student's folder."""
    out = tmp_path_factory.mktemp("student") / "course"
    make.student(out)
    return out


def write(folder, source, text):
    (folder / f"{source.stem}.py").write_text(text, encoding="utf-8")


@pytest.mark.posix
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL", "os._exit"])
def test_a_check_that_did_not_finish_is_not_passed(folder, tmp_path, how):
    started = tmp_path / "started"
    ending = "os._exit(0)" if how == "os._exit" else "time.sleep(100)"
    write(
        folder,
        MAXOUT,
        f"{FORWARD}import os, time\ndef maxout_backward(dy, winner, k):\n"
        f"    open({str(started)!r}, 'w').close()\n    {ending}\n",
    )
    command = [sys.executable, "-m", "pytest", "-m", "task3", f"--report={tmp_path / 'report.json'}"]
    process = subprocess.Popen(command, cwd=folder, env=bare(), stdout=subprocess.PIPE, text=True)
    while not started.exists() and process.poll() is None:
        time.sleep(0.05)
    if how != "os._exit":
        process.send_signal(getattr(signal, how))
    told, _ = process.communicate(timeout=60)
    checks = json.loads((tmp_path / "report.json").read_text())["tasks"]["task3"]
    assert sum(check["points"] for check in checks.values()) == 10  # the four forward checks before it
    assert checks["test_backward_by_hand"]["message"].startswith("not finished")
    assert checks["test_k_of_one"]["message"].startswith("not run")  # it would be right
    if how == "SIGINT":
        assert "task3: 10 of 20 points" in told and "4 of 8 checks not finished: they do not count" in told


def test_leaving_the_debugger_gives_no_points(folder):
    write(folder, MAXOUT, FORWARD.replace(": return", ":\n    breakpoint()\n    return"))
    _, told = run_checks(folder, "-m", "task3", "-s", "-k", "test_forward_by_hand", input="q\n")
    assert "task3: 0 of 2 points" in told and "1 of 1 checks not finished" in told
    assert told.count("(Pdb)") == 1, "and is not asked twice"


def test_a_breakpoint_left_in_a_hand_in_is_passed_over(tmp_path):
    text = full(MAXOUT).replace("return z.max", "breakpoint()\n    return z.max")
    hand_in(tmp_path, "one", {f"{MAXOUT.stem}.py": text})
    found = tool("grade").judge(submissions.one(tmp_path / "one"), ["task3"], 4711)
    assert sum(check["points"] for check in found["tasks"]["task3"].values()) == 20


ALLOWED = """from __future__ import annotations
from numpy.typing import NDArray
import numpy.linalg as la, numpy.ma, numpy.polynomial.polynomial
from numpy.lib.stride_tricks import sliding_window_view
from numpy import *  # which loads every submodule
import math, itertools, dataclasses
try:
    import matplotlib.pyplot as plt
except ImportError:
    plt = None"""
REJECTED = ("import pandas", "from task1_convolution import conv2d_forward", "import mnp", "from . import x")


@pytest.mark.parametrize("line", [ALLOWED, *REJECTED])
def test_imports_are_judged_alike_on_the_students_machine_and_by_the_grader(folder, tmp_path, line):
    text = f"{line}\n{full(MAXOUT)}"
    write(folder, MAXOUT, text)
    _, told = run_checks(folder, "-m", "task3")
    hand_in(tmp_path, "one", {f"{MAXOUT.stem}.py": text})
    found = tool("grade").judge(submissions.one(tmp_path / "one"), ["task3"], 4711)
    points = sum(check["points"] for check in found["tasks"]["task3"].values())
    assert points == (20 if line == ALLOWED else 0)
    assert f"task3: {points} of 20 points" in told
    if points == 0:
        message = found["tasks"]["task3"]["test_k_of_one"]["message"]
        assert "(line 1 of task3_maxout.py)" in message and "a submission may import NumPy and" in message
        assert message.splitlines()[0] in told and "Traceback" not in told


def test_the_student_is_told_what_a_hand_in_may_import():
    readme = (ASSIGNMENTS / "README_STUDENT.md").read_text(encoding="utf-8")
    listed = " ".join(re.findall(r"^> (.*)$", readme, re.M)).split()
    assert listed == tool("loading").STANDARD.split()


def test_a_file_that_does_not_load_is_told_in_one_line_without_the_courses_own_code(folder):
    write(folder, MAXOUT, "def maxout_forward(z:\n")
    _, told = run_checks(folder, "-m", "task3")
    assert "SyntaxError (line 1 of task3_maxout.py)" in told
    assert "conftest.py" not in told and "Traceback" not in told


def test_the_students_side_needs_nothing_that_windows_lacks():
    posix = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "select", "syslog", "termios", "tty"}
    local = {path.stem for path in ASSIGNMENTS.glob("*.py")}
    for name in make.SHARED:
        tree = ast.parse((ASSIGNMENTS / name).read_text(encoding="utf-8"))
        top = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
        assert not names & posix and names & local <= {n.removesuffix(".py") for n in make.SHARED}, name
        assert (
            "os.fork" not in (ASSIGNMENTS / name).read_text()
            and "killpg" not in (ASSIGNMENTS / name).read_text()
        )


def test_every_task_has_its_questions_a_model_answer_and_a_rubric(folder):
    text = (ASSIGNMENTS / "INSTRUCTORS.md").read_text(encoding="utf-8")
    questions = dict(make.QUESTION.findall(text))
    assert list(questions) == ["1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b", "5a", "5b", "6a"]
    part = text[text.index("**1a**") : text.index("## The reference run")]
    for answer in re.split(r"^\*\*\d[ab]\*\* ", part, flags=re.M)[1:]:
        model = " ".join(re.findall(r"^> (.*)$", answer, re.M))
        assert "**" in model and re.search(r" 2: .* 1: .* 0: ", model), answer
    form = (folder / "answers.md").read_text(encoding="utf-8")
    assert all(question in form for question in questions.values())
    assert form.count("(your answer)") == 11 and "> " not in form
    plan = text[text.index("## Six meetings") : text.index("## Generate")]
    assert len(re.findall(r"^\| \d \| 0\d .* \| .*\d.* \| \d[ab]: ", plan, re.M)) == 6
    assert {task: int(n) for task, n in re.findall(r"^\| (\d) [a-z].* \| (\d+) \| ", text, re.M)} == {
        task[-1]: worth for task, worth in WORTH.items()
    }
    for source in (*SOURCES, make.capstone()):
        assert f"{source.task[-1]}a" in " ".join(text for _, text in source.cells), source.task


def test_mnp_course_writes_the_students_folder(tmp_path, capsys, monkeypatch):
    from mnp import cli

    out = tmp_path / "my course"
    assert cli.main(["course", "--out", str(out)]) == 0
    assert "README.md" in capsys.readouterr().out
    assert (out / "task6_network.ipynb").exists() and (out / "digits.csv.gz").exists()
    assert "mnp course --out" in (out / "README.md").read_text(encoding="utf-8").split("##")[0]
    assert cli.main(["course", "--out", str(out)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    # Installed as a wheel, there is no course beside the package.
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "site-packages/mnp/cli.py"))
    assert cli.main(["course", "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert "make.py student" in error and error.count("\n") == 1 and not (tmp_path / "new").exists()
