"""The assignments: every version is generated, and every answer gets the points it deserves."""

import contextlib
import doctest
import inspect
import io
import json
import re
import subprocess
import sys
import types

import pytest
from hand_ins import ASSIGNMENTS, WORTH, full, judged, markers, run_checks, tool, typical  # noqa: F401

from mnp.kernels import textbook
from mnp.pruning import neurons, relevance, weights

make, checking, answers = tool("make"), tool("checking"), tool("answers")
STEMS = [source.stem for source in make.sources()]
OLD_SEED = 987_654_321


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The student's and the instructor's folder, as the command writes them."""
    out = tmp_path_factory.mktemp("course")
    for version in ("student", "instructor"):
        make.main([version, "--out", str(out / version)])
    return out


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
    for source in (*make.sources(), make.capstone()):
        text = (student / f"{source.stem}.py").read_text()
        bodies = make.SOLUTION.findall(source.answer)
        assert text.count("raise NotImplementedError") == len(bodies) >= 2
        if source.checks:
            assert len(bodies) == len(re.findall(r"^def (\w+)", text, re.M))
        assert "SOLUTION" not in text + (solved / f"{source.stem}.py").read_text()
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
    assert "not an empty folder" in capsys.readouterr().err


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


def code_cells(folder, stem):
    """The code cells of a generated notebook, without lines for IPython alone."""
    notebook = json.loads((folder / f"{stem}.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and len(notebook["cells"]) <= 30
    assert f"{stem}.py" in "".join(notebook["cells"][0]["source"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            lines = [line for line in "".join(cell["source"]).splitlines() if not line.startswith("%")]
            assert len(lines) <= 14 and not [line for line in lines if line.startswith("def ")]
            yield "\n".join(lines)


@pytest.mark.parametrize("stem", STEMS)
def test_the_notebooks_run_with_the_solution(generated, stem, monkeypatch):
    """Cell by cell, in this process; a kernel would do the same more slowly."""
    pytest.importorskip("matplotlib").use("Agg")
    cells = list(code_cells(generated / "instructor", stem))
    monkeypatch.chdir(generated / "instructor")
    monkeypatch.syspath_prepend(str(generated / "instructor"))
    for name in ("course_check", stem):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert "".join(cells[-1].split()) == f'fromcourse_checkimportrunrun("{stem.split("_")[0]}")'
    space, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in cells if stem == STEMS[0] else cells[:-1]:
            exec(compile(cell, stem, "exec"), space)
    monkeypatch.delitem(sys.modules, stem, raising=False)
    if stem == STEMS[0]:
        assert "task1: 30 of 30 points" in printed.getvalue()
        numbers = re.findall(r"(?:numerical|yours): +\[(.*?)\]", printed.getvalue())
        assert len({" ".join(n.split()) for n in numbers}) == 1 and len(numbers) == 2


def test_task_6_trains_and_prunes_with_the_students_own_functions(generated):
    """In a separate process: its time counts, and all six files are imported by name."""
    stem = make.capstone().stem
    cells = "\n".join(code_cells(generated / "instructor", stem))
    measured = "import json, time; print(json.dumps([rounds, time.process_time()]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import matplotlib; matplotlib.use('agg')\n{cells}\n{measured}"],
        cwd=generated / "instructor",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rounds, seconds = json.loads(done.stdout.splitlines()[-1])
    assert seconds < 60
    sizes = [[row[:2] for row in rounds[arm]] for arm in ("fewest wins", "random", "nothing removed")]
    assert sizes[0] == sizes[1] == [[4, 3750], [3, 2870], [2, 1990], [1, 1110]]
    assert sizes[2] == [[4, 3750]] * 4
    wins, chance, longer = ([row[2:] for row in rounds[arm]] for arm in rounds)
    for removed, retrained in [*wins, *chance, *longer]:
        assert 4 < retrained < 15 and removed < 60
    # What the model answer of question 6a says, with room for other roundings.
    assert chance[3][0] > wins[3][0] + 10 and abs(chance[3][1] - wins[3][1]) < 5
    text = (generated / "student" / f"{stem}.py").read_text(encoding="utf-8")
    assert text.count("raise NotImplementedError") == 2


def test_the_public_seed_is_rejected_and_mistakes_of_the_caller_are_one_line(tmp_path):
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
    assert (points, messages) == (WORTH[stem.split("_")[0]], {})
