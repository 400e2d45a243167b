"""Writes the course from its one source: python make.py student|instructor|nbgrader --out DIR

Each file in source/ holds a whole task: the notebook's cells as comments (# %% [markdown], # %% [code]),
the answer with its solution between two marks (# %% answer), the checks (# %% checks) and the known slips
(# %% mistakes). From these come

    student     a folder to work in: notebooks, files to fill, checks, stored right outputs; no solution
    instructor  the same with the solutions filled in, and INSTRUCTORS.md
    nbgrader    a course for nbgrader: source/task1 ... source/task5, its configuration, the grader
"""

import argparse
import ast
import functools
import importlib.util
import json
import re
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from answers import LocalAnswer
from checking import PUBLIC_SEED, Ask, Draws
from reference import Recorder

HERE = Path(__file__).resolve().parent
DIGITS = HERE.parents[1] / "mnp" / "data" / "files"
SHARED = ("conftest.py", "answers.py", "checking.py", "loading.py", "protocol.py", "course_check.py")
GRADER = (*SHARED, "grade.py", "make.py", "nbgrader_cells.py", "pytest.ini", "reference.py", "runner.py")
GRADER += ("sandbox.py", "submissions.py", "worker.py", "README_STUDENT.md", "INSTRUCTORS.md")
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n", re.M | re.S)
QUESTION = re.compile(r"^\*\*(\d[ab])\*\* (.*?)\n\n", re.M | re.S)
STUDENT_INI = "[pytest]\naddopts = -q --strict-markers --tb=short -p no:cacheprovider -rN\n"


@dataclass(frozen=True)
class Source:
    """One task, taken apart."""

    stem: str  # task3_maxout
    title: str  # Task 3: maxout, forward and backward.
    cells: tuple  # ((kind, text), ...) with kind markdown or code
    answer: str
    checks: str

    @property
    def task(self):
        """The marker: task3."""
        return self.stem.split("_")[0]


@functools.cache
def sources():
    """The tasks that are graded, in order."""
    return tuple(parse(path) for path in sorted((HERE / "source").glob("task[1-5]_*.py")))


@functools.cache
def capstone():
    """Task 6, which puts the others together and is not graded by checks."""
    return parse(HERE / "source" / "task6_network.py")


def parse(path):
    """Take one source file apart at its # %% lines."""
    text = path.read_text(encoding="utf-8")
    parts = re.split(r"^# %% (.*)\n", text, flags=re.M)
    cells, found = [], {}
    for kind, body in zip(parts[1::2], parts[2::2], strict=True):
        if kind in ("[markdown]", "[code]"):
            lines = [re.sub("^# ?", "", line) for line in body.strip().splitlines()]
            cells.append((kind.strip("[]"), "\n".join(lines)))
        else:
            found[kind] = body.strip() + "\n"
    title = ast.get_docstring(ast.parse(text))
    return Source(path.stem, title, tuple(cells), found["answer"], found.get("checks", ""))


def answer_file(source, solved):
    """The .py file of a task: as a student gets it, or with the solution."""

    def replace(match):
        if solved:
            return match.group(2)
        name = re.findall(r"^def (\w+)", source.answer[: match.start()], re.M)[-1]
        return f'{match.group(1)}raise NotImplementedError("{source.task}: {name}")\n'

    then = f"run: pytest -m {source.task}" if source.checks else f"run the cells of {source.stem}.ipynb"
    head = f'"""{source.title}\n\nFill in the functions, then {then}\n"""\n\nimport numpy as np\n'
    space = "" if source.answer.startswith("from ") else "\n\n"
    return head + space + SOLUTION.sub(replace, source.answer)


def checks_file(source):
    """The test file of a task: its checks, without the reference."""
    head = f'"""The checks of t{source.title[1:]}"""\n\nimport numpy as np\nimport pytest\n\n'
    return head + source.checks


@functools.cache
def load(stem):
    """A source as a module: the reference, the checks and the known slips."""
    found = importlib.util.spec_from_file_location(stem, HERE / "source" / f"{stem}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def checks_of(module):
    """[(name, points, function)] in the order of the file."""
    return [
        (name, next(mark.args[0] for mark in function.pytestmark if mark.name == "points"), function)
        for name, function in vars(module).items()
        if name.startswith("test_")
    ]


def stored_cases(stem):
    """What the checks ask for with the public seed, and the right outputs."""
    module = load(stem)
    recorder = Recorder(module)
    for name, _, check in checks_of(module):
        check(Ask(LocalAnswer(module, f"{stem}.py"), recorder, Draws(PUBLIC_SEED, name)))
    return recorder.cases


def notebook(source, graded=False):
    """The notebook of a task; graded: with nbgrader's cells, one for each check, instead of the last."""
    cells = [_cell(f"{source.task}-{i:02d}", kind, text) for i, (kind, text) in enumerate(source.cells)]
    if graded:
        cells[-1] = _cell(
            f"{source.task}-run", "code", f'from course_check import run\n\nresults = run("{source.task}")'
        )
        _mark(cells[-1], points=None)
        for name, points, check in checks_of(load(source.stem)):
            text = f'# {" ".join(check.__doc__.split())}\nresults.check("{name}")'
            cells.append(_cell(f"{source.task}-{name.replace('_', '-')}"[:64], "code", text))
            _mark(cells[-1], points)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cell(name, kind, text):
    cell = {"cell_type": kind, "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _mark(cell, points):
    """nbgrader's metadata: a locked cell, worth points if it is graded."""
    told = {"grade": points is not None, "grade_id": cell["id"], "locked": True, "schema_version": 3}
    told |= {"solution": False, "task": False} | ({"points": points} if points is not None else {})
    cell["metadata"] = {"nbgrader": told, "editable": False, "deletable": False}


def write_folder(out, found, solved=False, graded=False):
    """A folder a student can work in, for the given tasks."""
    (out / "cases").mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        shutil.copy(HERE / name, out / name)
    (out / "pytest.ini").write_text(STUDENT_INI, encoding="utf-8")
    for source in found:
        (out / f"{source.stem}.py").write_text(answer_file(source, solved), encoding="utf-8")
        text = json.dumps(notebook(source, graded), indent=1, ensure_ascii=False) + "\n"
        (out / f"{source.stem}.ipynb").write_text(text, encoding="utf-8")
        if source.checks:
            (out / f"test_{source.stem}.py").write_text(checks_file(source), encoding="utf-8")
            np.savez_compressed(out / "cases" / f"{source.stem}.npz", **stored_cases(source.stem))


def student(out, solved=False):
    """Write the student's folder, or with the solutions the instructor's, into a new or empty folder."""
    out = Path(out)
    check_empty(out)
    write_folder(out, [*sources(), capstone()], solved)
    for name in ("digits.csv.gz", "DIGITS-LICENCE.txt"):
        shutil.copy(DIGITS / name, out / name)
    shutil.copy(HERE / "README_STUDENT.md", out / "README.md")
    (out / "answers.md").write_text(questions(), encoding="utf-8")
    if solved:
        shutil.copy(HERE / "INSTRUCTORS.md", out / "INSTRUCTORS.md")
        shutil.copy(HERE / "task6_reference.png", out / "task6_reference.png")


def questions():
    """The questions of INSTRUCTORS.md without their model answers: a form to fill in."""
    text = (HERE / "INSTRUCTORS.md").read_text(encoding="utf-8")
    asked = [f"**{number}** {question}\n\n(your answer)\n" for number, question in QUESTION.findall(text)]
    told = "Two to five sentences each, with numbers of your own where you have any.\n"
    return "\n".join(["# Questions in words\n", told, *asked])


def check_empty(out):
    """Raise FileExistsError for a folder with something in it: nobody's work is overwritten."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} already exists and is not an empty folder: choose another")


def write_nbgrader(out, seed):
    """A course folder: every task an assignment, and the grader beside them, never released."""
    found = sources()
    for source in found:  # task 6 needs all others in one folder and is not graded: hand it out by itself
        write_folder(out / "source" / source.task, [source], graded=True)
    grader = out / "grader"
    shutil.copytree(HERE / "source", grader / "source", ignore=shutil.ignore_patterns("__pycache__"))
    for name in GRADER:
        shutil.copy(HERE / name, grader / name)
    (grader / "hidden_seed.txt").write_text(f"{seed}\n", encoding="utf-8")
    own = {source.task: [f"{source.stem}.py"] for source in found}
    shutil.copy(HERE / "nbgrader_config_template.py", out / "nbgrader_config.py")
    (grader / "own_files.json").write_text(json.dumps(own, indent=1) + "\n", encoding="utf-8")


def main(arguments=None):
    """Write one version of the course into a new or empty folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", choices=["student", "instructor", "nbgrader"])
    parser.add_argument("--out", type=Path, required=True, help="a folder that is new or empty")
    parser.add_argument("--seed", type=int, help="nbgrader: the hidden seed (default: drawn)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.version == "nbgrader":
            check_empty(chosen.out)
            seed = secrets.randbelow(2**31) + 10_000 if chosen.seed is None else chosen.seed
            write_nbgrader(chosen.out, seed)
        else:
            student(chosen.out, solved=chosen.version == "instructor")
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    print(f"wrote the {chosen.version} version to {chosen.out}")


if __name__ == "__main__":
    sys.exit(main())
