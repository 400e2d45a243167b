"""Grades a folder of submissions into a CSV of points: python grade.py SUBMISSIONS --out grades.csv

SUBMISSIONS holds a folder for each student with the five task*.py files. Every submission is judged by
the checks of source/, on inputs drawn from a hidden seed. Three processes share the work, so that a
submission can neither stop nor fool the grading:

    this one     never reads a line of a submission as code; keeps the time, writes the CSV
    pytest       one a submission: draws the inputs, knows the right outputs, counts the points
    the answer   one a task: locked (see sandbox.py), computes outputs for inputs, knows nothing else
"""

import argparse
import csv
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checking import PUBLIC_SEED
from make import answer_file, checks_of, load, sources

HERE = Path(__file__).resolve().parent
HARD_LIMIT = 60.0  # seconds for a whole submission; the limits inside keep well below


class GradingError(Exception):
    """The grading itself cannot go on; one line that says why."""


def judge(folder, tasks, seed, options=()):
    """Run the checks of some tasks on one submission; gives the report that conftest.py writes."""
    with tempfile.TemporaryDirectory(prefix="grading") as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, "-P", "-m", "pytest", "-c", HERE / "pytest.ini", f"--rootdir={HERE}"]
        command += [
            "--no-header",
            "--no-summary",
            "--color=no",
            "-m",
            " or ".join(tasks),
            f"--report={report}",
        ]
        command += [f"--submission={Path(folder).absolute()}", f"--seed={seed}", *options]
        command += [HERE / "source" / f"{source.stem}.py" for source in sources() if source.task in tasks]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=scratch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        problem = ""
        try:
            told, _ = process.communicate(timeout=HARD_LIMIT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest ends the answer's process on its way out
            problem = f"stopped after {HARD_LIMIT:g} s; the points until then count"
            try:
                told, _ = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                told, _ = process.communicate()
        if not report.exists():
            raise GradingError(f"the checks did not run: {told.strip().splitlines()[-1:] or 'no output'}")
        found = json.loads(report.read_text("utf-8"))
    return found | {"seconds": round(time.monotonic() - began, 1), "problem": problem}


def out_of(tasks):
    """What each task is worth."""
    found = [source for source in sources() if source.task in tasks]
    return {source.task: sum(worth for _, worth, _ in checks_of(load(source.stem))) for source in found}


def points(found, tasks):
    """The points of a report, task by task; a check that was never reached counts nothing."""
    return {task: sum(check["points"] for check in found["tasks"].get(task, {}).values()) for task in tasks}


def self_test(tasks, seed, options=()):
    """Grade the reference like a submission: it must get all points, or no other result means anything."""
    with tempfile.TemporaryDirectory(prefix="reference") as folder:
        for source in sources():
            Path(folder, f"{source.stem}.py").write_text(answer_file(source, solved=True), encoding="utf-8")
        found = judge(folder, tasks, seed, options)
    if points(found, tasks) != out_of(tasks):
        checks = [check for task in found["tasks"].values() for check in task.values()]
        wrong = next((check["message"] for check in checks if not check["passed"]), found["problem"])
        raise GradingError(f"the reference itself does not get all points on this machine: {wrong}")
    return found


def feedback(name, found, tasks):
    """What a student reads: each failed check, what it asked and what it found."""
    got, worth = points(found, tasks), out_of(tasks)
    lines = [f"{name}: {sum(got.values())} of {sum(worth.values())} points", ""]
    for task in tasks:
        lines += [f"{task}: {got[task]} of {worth[task]}"]
        for check, told in found["tasks"].get(task, {}).items():
            if not told["passed"]:
                message = told["message"].replace("\n", "\n      ")
                lines += [f"  {check} ({told['out_of']}): {told['purpose']}", f"      {message}"]
        lines += [""]
    return "\n".join(lines)


def plain(name):
    """A folder's name as a spreadsheet may open it: a leading = + - @ would be taken for a formula."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def row(name, found, tasks, seed):
    """One line of the CSV."""
    got, worth = points(found, tasks), out_of(tasks)
    total, full = sum(got.values()), sum(worth.values())
    cells = {
        "submission": plain(name),
        "total": total,
        "out_of": full,
        "percent": round(100 * total / full, 1),
    }
    return cells | got | {"seconds": found["seconds"], "seed": seed, "problem": found["problem"]}


def write_csv(path, rows):
    """Write all rows so far and replace the file in one step."""
    part = Path(f"{path}.part")
    with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def grade_folder(chosen, tasks, seed, options):
    """Grade every folder in chosen.submissions; gives the rows of the CSV."""
    names = sorted(p.name for p in chosen.submissions.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise GradingError(f"{chosen.submissions} holds no folders: one folder for each student is expected")
    if chosen.feedback:
        chosen.feedback.mkdir(parents=True, exist_ok=True)
    rows = []

    def one(name):
        try:
            return judge(chosen.submissions / name, tasks, seed, options)
        except GradingError as error:  # the others still get their points
            return {"tasks": {}, "seconds": 0.0, "problem": str(error)}

    with ThreadPoolExecutor(chosen.jobs) as pool:
        for name, found in zip(names, pool.map(one, names), strict=True):
            rows.append(row(name, found, tasks, seed))
            write_csv(chosen.out, rows)
            if chosen.feedback:
                text = feedback(plain(name), found, tasks)
                (chosen.feedback / f"{name}.txt").write_text(
                    text, encoding="utf-8", errors="backslashreplace"
                )
            told = f"{rows[-1]['total']:3d} of {rows[-1]['out_of']}   {rows[-1]['seconds']:5.1f} s"
            print(f"{told}   {plain(name)}   {found['problem']}".rstrip(), flush=True)
    return rows


def main(arguments=None):
    """Grade a folder of submissions, one submission, or only the grader itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("submissions", type=Path, nargs="?", help="a folder with one folder for each student")
    parser.add_argument("--out", type=Path, default=Path("grades.csv"), help="the CSV (default: grades.csv)")
    parser.add_argument("--feedback", type=Path, help="write a text for each student into this folder")
    parser.add_argument("--tasks", default="task1,task2,task3,task4,task5", help="only these, with commas")
    parser.add_argument("--seed", type=int, help="the hidden seed (default: drawn, and named in the CSV)")
    parser.add_argument("--seed-file", type=Path, help="read the hidden seed from a file")
    parser.add_argument("--jobs", type=int, default=1, help="submissions graded at the same time")
    parser.add_argument("--call-seconds", type=float, default=3.0, help="how long one call may take")
    parser.add_argument("--layers", default="seccomp+audit", help="what locks answers in (see sandbox.py)")
    parser.add_argument(
        "--require-seccomp", action="store_true", help="refuse to grade without the kernel's lock"
    )
    parser.add_argument(
        "--self-test", action="store_true", help="only check that the reference gets all points"
    )
    parser.add_argument("--one", type=Path, help="judge this one submission and print its feedback")
    parser.add_argument("--report", type=Path, help="with --one: also write the JSON report here")
    chosen = parser.parse_args(arguments)
    tasks = chosen.tasks.split(",")
    options = (f"--call-seconds={chosen.call_seconds}", f"--layers={chosen.layers}")
    try:
        seed = int(chosen.seed_file.read_text()) if chosen.seed_file else chosen.seed
        seed = secrets.randbelow(2**31) + 10_000 if seed is None else seed
        if seed == PUBLIC_SEED:
            raise GradingError(f"seed {seed} is the students' own: choose another")
        if unknown := set(tasks) - {source.task for source in sources()}:
            raise GradingError(f"unknown tasks: {', '.join(sorted(unknown))}")
        if chosen.one:
            found = judge(chosen.one, tasks, seed, options)
            print(feedback("your answer", found, tasks))
            if chosen.report:
                chosen.report.write_text(json.dumps(found), encoding="utf-8")
            return 0
        found = self_test(tasks, seed, options)
        held = "+".join(found["held"])
        print(
            f"seed {seed}; the reference gets all points in {found['seconds']} s; answers are held by {held}"
        )
        if "seccomp" not in held:
            told = "the kernel's lock (seccomp, Linux on x86-64 or aarch64) is not available"
            if chosen.require_seccomp:
                raise GradingError(told)
            print(f"warning: {told}; only the audit hook holds answers in", file=sys.stderr)
        if chosen.self_test:
            return 0
        if chosen.submissions is None or not chosen.submissions.is_dir():
            raise GradingError("name the folder of submissions")
        rows = grade_folder(chosen, tasks, seed, options)
    except (GradingError, OSError) as error:
        print(f"grade.py: {error}", file=sys.stderr)
        return 2
    print(f"{len(rows)} submissions -> {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
