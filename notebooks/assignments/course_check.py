"""Runs the checks of one task from a notebook and keeps the result: run("task3").

The checks run in a Python of their own, so that they see the file as it is on disk now.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Results:
    """What the checks of a task found."""

    def __init__(self, task, checks, text):
        self.task, self.checks, self.text = task, checks, text

    def check(self, name):
        """Raise an AssertionError with the message of a check that failed."""
        found = self.checks.get(name)
        assert found is not None, f"{name} was not run:\n{self.text}"
        assert found["passed"], f"{found['purpose']}\n{found['message']}"

    def __repr__(self):
        points, out_of = (sum(c[key] for c in self.checks.values()) for key in ("points", "out_of"))
        return f"{self.task}: {points} of {out_of} points"


def run(task):
    """Run the checks of one task, print what they say, and give the Results."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        if grader := os.environ.get("ASSIGNMENT_GRADER"):  # set by the course, never by a student
            command = [sys.executable, str(Path(grader, "grade.py")), "--one", str(HERE)]
            command += ["--tasks", task, "--seed-file", str(Path(grader, "hidden_seed.txt"))]
            command += ["--report", str(report)]
        else:
            command = [sys.executable, "-m", "pytest", "--color=no", "-m", task, f"--report={report}"]
        # Other packages' plugins cost time; Windows would print in another encoding.
        bare = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONUTF8": "1"}
        done = subprocess.run(command, cwd=HERE, env=bare, encoding="utf-8", capture_output=True, check=False)
        text = (done.stdout + done.stderr).strip()
        print(text)
        checks = json.loads(report.read_text("utf-8"))["tasks"].get(task, {}) if report.exists() else {}
    return Results(task, checks, text)
