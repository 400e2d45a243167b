"""The assignments: every version is generated, and every answer gets the points it deserves."""

import contextlib
import doctest
import inspect
import io
import json
import os
import re
import subprocess
import sys
import types
from functools import partial

import pytest
from hand_ins import ASSIGNMENTS, WORTH, WRONG, full, grade, hand_in, stub, tool, typical

from mnp.kernels import textbook
from mnp.pruning import neurons, relevance, weights

make, checking, reference, answers = (tool(name) for name in ("make", "checking", "reference", "answers"))
STEMS = [source.stem for source in make.sources()]
OLD_SEED = 987_654_321


@pytest.fixture(scope="module", autouse=True)
def markers(pytestconfig):
    """The sources' own markers, which this run's --strict-markers would refuse."""
    for name in (*WORTH, "points"):
        pytestconfig.addinivalue_line("markers", f"{name}: see notebooks/assignments/conftest.py")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The student's and the instructor's folder, as the command writes them."""
    out = tmp_path_factory.mktemp("course")
    for version in ("student", "instructor"):
        make.main([version, "--out", str(out / version)])
    return out


def run_checks(folder, *options):
    """What a student types, in a Python of its own."""
    command = [sys.executable, "-m", "pytest", *options]
    bare = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # other packages' plugins only cost time
    done = subprocess.run(
        command, cwd=folder, env=bare, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def judged(module, functions, seed):
    """Points and messages of the checks of a source on functions in this process."""
    answer, points, messages = answers.LocalAnswer(functions, "answer.py"), 0, []
    for name, worth, check in make.checks_of(module):
        draws = checking.Draws(seed, name)
        try:
            check(checking.Ask(answer, reference.Reference(module), draws))
            points += worth
        except AssertionError as error:
            messages.append(str(error))
    return points, messages


@pytest.mark.parametrize("stem", STEMS)
def test_every_known_slip_costs_some_points_and_is_named(stem):
    module = make.load(stem)
    right = {name: getattr(module, name) for name in checking.OUTPUTS if hasattr(module, name)}
    worth = WORTH[stem.split("_")[0]]
    for seed in (checking.PUBLIC_SEED, 1, OLD_SEED):
        assert judged(module, types.SimpleNamespace(**right), seed) == (worth, [])
        for function, slips in module.MISTAKES.items():
            for slip, text in slips:
                slipped = types.SimpleNamespace(**right | {function: partial(slip, right[function])})
                points, messages = judged(module, slipped, seed)
                assert worth / 4 < points < worth, slip.__name__
                assert any(text in message for message in messages), slip.__name__
                assert all(function in message for message in messages), "a slip in one costs another nothing"


@pytest.mark.parametrize("stem", STEMS)
def test_the_examples_in_the_docstrings_hold(stem):
    failed, tried = doctest.testmod(make.load(stem))
    assert failed == 0 and tried > 0


@pytest.mark.parametrize("stem", STEMS)
def test_no_task_needs_another(stem):
    """Neither the answer nor its checks import a task, and mnp is not needed at all."""
    source = next(source for source in make.sources() if source.stem == stem)
    imported = re.findall(r"^\s*(?:import|from) (\w+)", full(source) + make.checks_file(source), re.M)
    assert set(imported) <= {"numpy", "pytest"}


def test_the_student_folder_holds_no_solution(generated):
    student, solved = generated / "student", generated / "instructor"
    for source in make.sources():
        text = (student / f"{source.stem}.py").read_text()
        functions = re.findall(r"^def (\w+)", text, re.M)
        assert text.count("raise NotImplementedError") == len(functions) >= 2
        assert "SOLUTION" not in text + (solved / f"{source.stem}.py").read_text()
        bodies = make.SOLUTION.findall(source.answer)
        lines = {line.strip() for _, body in bodies for line in body.splitlines() if len(line.strip()) > 30}
        assert lines
        for path in student.rglob("*"):
            if path.suffix in (".py", ".ipynb", ".md"):
                assert not [line for line in lines if line in path.read_text()], path.name
    assert not list(student.glob("INSTRUCTORS.md")) and (solved / "INSTRUCTORS.md").exists()
    assert "hidden" not in (student / "README.md").read_text()


def test_nothing_is_overwritten(generated, capsys):
    with pytest.raises(SystemExit):
        make.main(["student", "--out", str(generated / "student")])
    assert "not empty" in capsys.readouterr().err


def test_pytest_in_the_students_folder(generated, tmp_path):
    code, told = run_checks(generated / "instructor")
    assert code == 0 and [f"{task}: {n} of {n} points" in told for task, n in WORTH.items()] == [True] * 5
    code, told = run_checks(generated / "student", "-m", "task3")
    assert code == 1 and "task3: 0 of 20 points" in told and "not written yet: task3: maxout_forward" in told
    assert "task1" not in told
    # A wrong answer: the message says where, and which slip it is.
    source = make.sources()[2]
    path = generated / "student" / f"{source.stem}.py"
    before = path.read_text()
    path.write_text(typical(source))
    code, told = run_checks(generated / "student", "-m", "task3")
    path.write_text(before)
    assert "task3: 12 of 20 points" in told
    assert "dz is wrong in" in told and "It looks as if dy is shared among the k neurons" in told
    stored = answers.StoredCases(generated / "student" / "cases" / f"{source.stem}.npz")
    with pytest.raises(checking.AnswerError, match="no stored case fits these inputs"):
        stored.look_up("maxout_forward", [checking.Draws(5, "another seed").distinct(2, 3, 4)], {})


def test_an_error_in_the_students_own_code_shows_its_line(generated):
    path = generated / "student" / "task4_relevance.py"
    before = path.read_text()
    path.write_text("def win_counts(winner, k):\n    return winner.no_such_thing\n")
    _, told = run_checks(generated / "student", "-m", "task4", "-k", "counts_by_hand")
    path.write_text(before)
    assert "task4_relevance.py:2" in told and "no_such_thing" in told


@pytest.mark.parametrize("stem", STEMS)
def test_the_notebooks_run_with_the_solution(generated, stem, monkeypatch):
    """Cell by cell, in this process; a kernel would do the same more slowly."""
    pytest.importorskip("matplotlib").use("Agg")
    notebook = json.loads((generated / "instructor" / f"{stem}.ipynb").read_text())
    assert notebook["nbformat"] == 4 and len(notebook["cells"]) <= 30
    assert f"{stem}.py" in "".join(notebook["cells"][0]["source"])
    monkeypatch.chdir(generated / "instructor")
    monkeypatch.syspath_prepend(str(generated / "instructor"))
    for name in ("course_check", stem):
        monkeypatch.delitem(sys.modules, name, raising=False)
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "".join(cells[-1].split()) == f'fromcourse_checkimportrunrun("{stem.split("_")[0]}")'
    space, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in cells[:-1]:
            lines = [line for line in cell.splitlines() if not line.startswith("%")]
            assert len(lines) <= 14 and not [line for line in lines if line.startswith("def ")]
            exec(compile("\n".join(lines), stem, "exec"), space)
        if stem == STEMS[0]:
            exec(cells[-1], space)
    monkeypatch.delitem(sys.modules, stem, raising=False)
    if stem == STEMS[0]:
        assert "task1: 30 of 30 points" in printed.getvalue()
        numbers = re.findall(r"(?:numerical|yours): +\[(.*?)\]", printed.getvalue())
        assert len({" ".join(n.split()) for n in numbers}) == 1 and len(numbers) == 2


def test_one_command_grades_a_folder(tmp_path):
    folder = tmp_path / "submissions"
    for name, text in [("full", full), ("stub", stub), ("wrong", typical)]:
        hand_in(folder, name, {f"{source.stem}.py": text(source) for source in make.sources()})
    hand_in(folder, "nothing", {})
    # The stored outputs of the student's folder, learnt by heart, are of no use: other numbers are asked.
    by_heart = "import numpy as np\n" + "".join(
        f"def {name}(*a, **k): return np.zeros(3)\n"
        for name in checking.OUTPUTS
        if not name.startswith("max")
    )
    hand_in(folder, "by heart", {f"{stem}.py": by_heart + LEARNT for stem in STEMS})
    rows = grade(folder, tmp_path / "grades.csv", "--jobs", "2", "--feedback", tmp_path / "feedback")
    left = {task: points for task, (_, _, points) in WRONG.items()}
    expected = {"full": WORTH, "wrong": left} | dict.fromkeys(
        ["stub", "nothing", "by heart"], dict.fromkeys(WORTH, 0)
    )
    assert {name: {task: int(row[task]) for task in WORTH} for name, row in rows.items()} == expected
    assert float(rows["full"]["percent"]) == 100 and float(rows["stub"]["percent"]) == 0
    assert {row["out_of"] for row in rows.values()} == {"100"} and {row["seed"] for row in rows.values()} == {
        "4711"
    }
    assert max(float(row["seconds"]) for row in rows.values()) < 60
    told = (tmp_path / "feedback" / "wrong.txt").read_text()
    assert "row unit + m of the flattened array" in told and "wrong: 75 of 100 points" in told
    assert "is missing from the submission" in (tmp_path / "feedback" / "nothing.txt").read_text()


LEARNT = """
from pathlib import Path
def maxout_forward(z):
    with np.load("cases/task3_maxout.npz") as stored: return stored[sorted(stored)[0]]
maxout_backward = maxpool2d_forward = maxpool2d_backward = maxout_forward
"""


def test_the_public_seed_is_refused_and_mistakes_of_the_caller_are_one_line(tmp_path):
    grader = [sys.executable, ASSIGNMENTS / "grade.py"]
    for options, told in [
        (["--seed", str(checking.PUBLIC_SEED)], "students' own"),
        (["--tasks", "task9"], "unknown tasks: task9"),
    ]:
        done = subprocess.run([*grader, tmp_path, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("stem", STEMS)
def test_the_package_itself_passes_the_tasks(stem):
    """Same names, same arguments, same rules: what a student wrote could stand in mnp, and the reverse."""
    module = make.load(stem)
    own = {name: getattr(module, name) for name in checking.OUTPUTS if hasattr(module, name)}
    ours = {}
    for home in (textbook, relevance, neurons, weights):
        ours |= {name: getattr(home, name) for name in own if hasattr(home, name)}
    # These two work on a Network in the package; a student's network is a dict of arrays.
    assert set(own) - set(ours) <= {"prune_neurons", "apply_masks"}
    for name, function in ours.items():
        assert inspect.signature(function) == inspect.signature(own[name]), name
    points, messages = judged(module, types.SimpleNamespace(**own | ours), OLD_SEED)
    assert (points, messages) == (WORTH[stem.split("_")[0]], [])
