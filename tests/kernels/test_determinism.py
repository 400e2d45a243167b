"""The same numbers again: a whole run, for one number of threads and for another, on every tier.

Kernels are compared bit by bit in `test_kernels_jitted.py` and `test_tiled.py`; here everything that a run
leaves is. The fast tiers never add two threads' shares into one number, so their bound is 0: equal bits.
The textbook multiplies matrices with NumPy's BLAS, which may cut a sum elsewhere for another number of
threads: its runs agree within `TEXTBOOK_BOUND`.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mnp.checkpoint import load_checkpoint

RECIPE = ["data.train_images=160", "data.test_images=50", "train.epochs=1", "prune.epochs=1"]
TEXTBOOK_BOUND = 1e-4  # of the largest weight of a layer, after twenty iterations


def run(out, backend, threads, blas="1"):
    """Training and three rounds of pruning; the arrays of every checkpoint by name, and the summary."""
    words = [sys.executable, "-m", "mnp", "run", "digits", "--backend", backend]
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": blas}
    words += ["--out", str(out), "--no-figures", "--set", *RECIPE]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    arrays = {}
    for path in sorted((out / "checkpoints").iterdir()):
        found, meta = load_checkpoint(path)
        meta["row"].pop("seconds")
        arrays[path.stem] = found, meta
    return arrays, json.loads((out / "summary.json").read_text())


def bits(arrays):
    return {
        step: ({name: (a.dtype.str, a.shape, a.tobytes()) for name, a in found.items()}, meta)
        for step, (found, meta) in arrays.items()
    }


@pytest.mark.parametrize("backend", ["jitted", "tiled"])
def test_a_run_has_the_same_bits_for_any_number_of_threads_and_every_time(tmp_path, backend):
    first, summary = run(tmp_path / "1", backend, 1)
    assert len(first) == 4 and summary["threads"]["numba"] == 1
    for threads in (1, 2, 4):
        again, summary = run(tmp_path / f"{threads} again", backend, threads)
        assert summary["threads"] == {"numba": threads, "blas": 1}
        assert bits(again) == bits(first), f"{threads} threads"


def test_a_run_of_the_textbook_has_the_same_bits_every_time_and_a_bound_for_more_threads(tmp_path):
    (one, _), (again, _), (two, summary) = (
        run(tmp_path / str(i), "textbook", 1, n) for i, n in enumerate("112")
    )
    assert bits(one) == bits(again)
    for step, (arrays, meta) in one.items():
        others, other = two[step]
        assert abs(meta["row"]["error"] - other["row"]["error"]) <= 2.0  # one image of fifty
        for name, array in arrays.items():
            if name.startswith("state/"):
                apart = np.abs(array - others[name]).max()
                assert apart <= TEXTBOOK_BOUND * np.abs(array).max(), f"{step} {name}: {apart}"
    # the summary says what the bits depend on
    assert summary["seed"] == 0 and summary["kernels"] == "textbook"
    assert set(summary["versions"]) >= {"mnp", "python", "numpy", "numba"}
    assert summary["threads"]["blas"] == 2 and summary["cpu"]["count"] == os.cpu_count()
    assert all(summary["versions"].values()) and summary["cpu"]["architecture"]
