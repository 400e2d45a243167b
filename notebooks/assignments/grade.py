"""Grades a folder of submissions into a CSV of points: python grade.py SUBMISSIONS --out grades.csv

SUBMISSIONS holds the task*.py files of every student, in one of the forms of submissions.py. Every
submission is judged by the checks of source/, on inputs drawn from a hidden seed. Three processes share
the work, so that a submission can neither stop nor fool the grading:

    this one     never reads a line of a submission as code; keeps the time, writes the CSV
    pytest       one per submission: draws the inputs, knows the right outputs, counts the points
    the answer   one per task: locked (see sandbox.py), computes outputs for inputs
"""

import argparse
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

import submissions
from checking import PUBLIC_SEED
from make import answer_file, checks_of, load, sources
from submissions import plain, write_csv

HERE = Path(__file__).resolve().parent
HARD_LIMIT = 30.0  # seconds per task of a whole submission; the limits inside keep well below


class GradingError(Exception):
    """The grading itself cannot continue; one line that says why."""


def judge(submission, tasks, seed, options=()):
    """Run the checks of some tasks on one submission; gives the report that conftest.py writes."""
    chosen = [source for source in sources() if source.task in tasks]
    files, remarks = submission.files([source.stem for source in chosen])
    limit = HARD_LIMIT * len(chosen)
    with tempfile.TemporaryDirectory(prefix="grading") as scratch:
        listed, report = Path(scratch, "files.json"), Path(scratch, "report.json")
        listed.write_text(json.dumps({stem: str(path.absolute()) for stem, path in files.items()}))
        command = [sys.executable, "-P", "-m", "pytest", "-c", HERE / "pytest.ini", f"--rootdir={HERE}"]
        command += ["--no-header", "--no-summary", "--color=no", "-m", " or ".join(tasks)]
        command += [f"--report={report}", f"--submission={listed}", f"--seed={seed}", *options]
        command += [HERE / "source" / f"{source.stem}.py" for source in chosen]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=scratch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        problems = []
        try:
            told, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest ends the answer's process on its way out
            try:
                told, _ = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                told, _ = process.communicate()
            problems = [f"stopped after {limit:g} s: only the checks that had finished count"]
        if not report.exists():
            raise GradingError(f"the checks did not run: {told.strip().splitlines()[-1:] or 'no output'}")
        found = json.loads(report.read_text("utf-8"))
    if not problems and process.returncode not in (0, 1):
        problems = [f"the checks ended early (status {process.returncode}): those that had finished count"]
    problems += [*remarks, *reasons(submission, files, found, chosen)]
    problem = plain("; ".join(problems))
    return found | {"seconds": round(time.monotonic() - began, 1), "problem": problem}


def reasons(submission, files, found, chosen):
    """Why a task got no points at all: a file that is missing, or the first thing its checks say."""
    if not files:
        return [f"no task file; handed in: {submission.others() or 'nothing'}"]
    told = []
    if missing := [f"{source.stem}.py" for source in chosen if source.stem not in files]:
        told.append(f"missing: {', '.join(missing)}")
    for source in chosen:
        checks = found["tasks"].get(source.task, {}).values()
        if source.stem in files and not any(check["points"] for check in checks):
            message = next((check["message"] for check in checks if check["message"]), "no check was run")
            told.append(f"{source.task}: {message.splitlines()[0][:150]}")
    return told


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
        found = judge(submissions.one(folder), tasks, seed, options)
    if points(found, tasks) != out_of(tasks):
        checks = [check for task in found["tasks"].values() for check in task.values()]
        wrong = next((check["message"] for check in checks if not check["passed"]), found["problem"])
        raise GradingError(f"the reference itself does not get all points on this machine: {wrong}")
    return found


def feedback(name, found, tasks):
    """What a student reads: each failed check, what it asked and what it found."""
    got, worth = points(found, tasks), out_of(tasks)
    lines = [f"{name}: {sum(got.values())} of {sum(worth.values())} points", ""]
    lines += [found["problem"], ""] if found["problem"] else []
    for task in tasks:
        lines += [f"{task}: {got[task]} of {worth[task]}"]
        said = None
        for check, told in found["tasks"].get(task, {}).items():
            if told["passed"] and not told["message"]:
                continue
            state = "passed" if told["passed"] else told["out_of"]
            lines += [f"  {check} ({state}): {told['purpose']}"]
            if told["message"] != said:  # what holds for the whole file is said once
                lines += ["      " + told["message"].replace("\n", "\n      ")]
            said = told["message"]
        lines += [""]
    return "\n".join(lines)


def row(submission, found, tasks, chosen):
    """One line of the CSV, in the columns that were asked for."""
    got, worth = points(found, tasks), out_of(tasks)
    total, full = sum(got.values()), sum(worth.values())
    if chosen.csv == "moodle":
        text = feedback(plain(submission.student), found, tasks)
        return submissions.moodle_row(submission, total, full, text)
    if chosen.csv == "canvas":
        return submissions.canvas_row(submission, total, chosen.assignment)
    cells = {"submission": plain(submission.name), "total": total, "out_of": full}
    cells |= {"percent": round(100 * total / full, 1)} | got
    return cells | {"seconds": found["seconds"], "seed": chosen.seed, "problem": found["problem"]}


def grade_folder(chosen, tasks, options):
    """Grade every submission of a folder and write the CSV; gives their number."""
    handed_in, strays = submissions.find(chosen.submissions, [source.stem for source in sources()])
    if strays:
        print(f"warning: not graded, nobody's name is in these: {', '.join(strays)}", file=sys.stderr)
    others = [one.name for one in handed_in if chosen.csv not in ("plain", one.system)]
    if others:
        told = f"--csv {chosen.csv} needs the names that its download gives, with the student's number"
        raise GradingError(f"{told}; without: {', '.join(others[:5])}")
    if chosen.feedback:
        chosen.feedback.mkdir(parents=True, exist_ok=True)
    worth = sum(out_of(tasks).values())
    first = submissions.Submission("", "    Points Possible")
    rows = [submissions.canvas_row(first, worth, chosen.assignment)] if chosen.csv == "canvas" else []

    def one(submission):
        try:
            return judge(submission, tasks, chosen.seed, options)
        except GradingError as error:  # the others still get their points
            return {"tasks": {}, "seconds": 0.0, "problem": str(error)}

    with ThreadPoolExecutor(chosen.jobs) as pool:
        for submission, found in zip(handed_in, pool.map(one, handed_in), strict=True):
            rows.append(row(submission, found, tasks, chosen))
            write_csv(chosen.out, rows)
            name, total = plain(submission.name), sum(points(found, tasks).values())
            if chosen.feedback:
                path = chosen.feedback / f"{submission.name}.txt"
                path.write_text(feedback(name, found, tasks), encoding="utf-8", errors="backslashreplace")
            told = f"{total:3d} of {worth}   {found['seconds']:5.1f} s   {name}   {found['problem']}"
            print(told.rstrip(), flush=True)
    return len(handed_in)


def main(arguments=None):
    """Grade a folder of submissions, one submission, or only the grader itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("submissions", type=Path, nargs="?", help="the folder of submissions, unpacked")
    parser.add_argument("--out", type=Path, default=Path("grades.csv"), help="the CSV (default: grades.csv)")
    parser.add_argument(
        "--csv", choices=["plain", "moodle", "canvas"], default="plain", help="the columns of the CSV"
    )
    parser.add_argument(
        "--assignment", default="Maxout neuron pruning", help="--csv canvas: the column of the gradebook"
    )
    parser.add_argument("--feedback", type=Path, help="write a text for each student into this folder")
    parser.add_argument("--tasks", default="task1,task2,task3,task4,task5", help="only these, with commas")
    parser.add_argument("--seed", type=int, help="the hidden seed (default: drawn, and named in the CSV)")
    parser.add_argument("--seed-file", type=Path, help="read the hidden seed from a file")
    parser.add_argument("--jobs", type=int, default=1, help="submissions graded at the same time")
    parser.add_argument("--call-seconds", type=float, default=3.0, help="how long one call may take")
    parser.add_argument("--layers", default="seccomp+audit", help="what locks answers in (see sandbox.py)")
    parser.add_argument(
        "--require-seccomp", action="store_true", help="do not grade without the kernel's lock"
    )
    parser.add_argument(
        "--self-test", action="store_true", help="only check that the reference gets all points"
    )
    parser.add_argument("--one", type=Path, help="judge this one submission and print its feedback")
    parser.add_argument("--report", type=Path, help="with --one: also write the JSON report here")
    chosen = parser.parse_args(arguments)
    tasks = [task.strip() for task in chosen.tasks.split(",")]
    options = (f"--call-seconds={chosen.call_seconds}", f"--layers={chosen.layers}")
    try:
        seed = int(chosen.seed_file.read_text()) if chosen.seed_file else chosen.seed
        chosen.seed = seed = secrets.randbelow(2**31) + 10_000 if seed is None else seed
        if seed == PUBLIC_SEED:
            raise GradingError(f"seed {seed} is the students' own: choose another")
        if unknown := set(tasks) - {source.task for source in sources()}:
            raise GradingError(f"unknown tasks: {', '.join(sorted(unknown))}")
        if chosen.one:
            found = judge(submissions.one(chosen.one), tasks, seed, options)
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
        if chosen.submissions is None:
            raise GradingError("name the folder of submissions")
        graded = grade_folder(chosen, tasks, options)
    except (GradingError, submissions.SubmissionsError, OSError) as error:
        print(f"grade.py: {error}", file=sys.stderr)
        return 2
    print(f"{graded} submissions -> {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
