"""Programs in a Python of their own, which finds the modules that this one finds."""

import os
import subprocess
import sys
import textwrap


def python_path():
    """PYTHONPATH for it; absolute, so that it may start anywhere."""
    return os.pathsep.join(os.path.abspath(path) for path in sys.path if path)


def run_python(*words, cwd=None, check=True, options=(), **environment):
    """Run `python -c WORDS`; the finished process, with its text. With `check`, a failure fails the test."""
    code, *words = words
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code), *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": python_path(), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
