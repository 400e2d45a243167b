"""Files in the working folder hide no module from `mnp` and from the processes that it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mnp
from mnp.process import python_command

ROOT = str(Path(mnp.__file__).parents[1])
TRAIN = ["train.epochs=1", "prune.epochs=1", "train.batch_size=64"]
TINY = [*TRAIN, "model.neurons=8", "model.conv1=2", "model.conv2=3"]


@pytest.mark.parametrize("name", ["random", "types", "numpy"])
def test_a_child_imports_its_own_modules(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    command = python_command(f"import {name}, numpy.random, mnp.nn; print(mnp.__file__)", str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(Path(mnp.__file__)), done.stderr


def test_runs_side_by_side_start_beside_a_random_py(tmp_path):
    (tmp_path / "random.py").write_text('"""Mine."""\n', encoding="utf-8")
    command = [sys.executable, "-m", "mnp", "run", "digits", "--seeds", "2", "--jobs", "2", "--out", "out"]
    command += ["--no-figures", "--backend", "textbook", "--set", *TINY]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "seed 1 is done" in done.stdout, done.stdout + done.stderr
