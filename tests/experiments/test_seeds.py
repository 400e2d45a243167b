"""Several seeds: one after another, side by side, and the statistics over them."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_runs import NEURONS, assert_same_bits, carry_out, without_seconds

from mnp.errors import MnpError
from mnp.experiments import side_by_side
from mnp.experiments.recipes import TrainRecipe
from mnp.experiments.seeds import run_seeds
from mnp.experiments.statistics import mean_and_sd, paired_interval, t_quantile


def test_seeds_side_by_side_give_what_they_give_one_after_another(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    said, results = [], []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        results.append(
            run_seeds(
                NEURONS, [0, 1], out, jobs=jobs, command="mnp run tiny", backend="textbook", log=said.append
            )
        )
    one, two = results
    assert (
        without_seconds(one["rows"]) == without_seconds(two["rows"]) and one["aggregate"] == two["aggregate"]
    )
    for seed in ("seed-0", "seed-1"):
        assert_same_bits(tmp_path / "2" / seed, tmp_path / "1" / seed)
    assert list(one)[:4] == ["recipe", "command", "seeds", "versions"] and one["seeds"] == [0, 1]
    assert [(r["seed"], r["step"]) for r in one["rows"]] == [(s, i) for s in (0, 1) for i in range(3)]
    assert json.loads((tmp_path / "1" / "summary.json").read_text()) == one
    errors = [[r["error"] for r in one["rows"] if r["seed"] == s] for s in (0, 1)]
    last = one["aggregate"][-1]
    assert last["error_mean"] == (errors[0][2] + errors[1][2]) / 2
    assert last["change"] == pytest.approx(last["error_mean"] - one["aggregate"][0]["error_mean"])
    assert last["change_low"] <= last["change"] <= last["change_high"]
    with pytest.raises(MnpError, match="runs of several seeds, not a run of one seed"):
        carry_out(NEURONS, tmp_path / "1")
    with pytest.raises(MnpError, match="a run of one seed, not runs of several seeds"):
        run_seeds(NEURONS, [0], tmp_path / "1" / "seed-0")


def test_a_seed_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    bad = dataclasses.replace(NEURONS, train=TrainRecipe(batch_size=1000))
    with pytest.raises(MnpError, match=r"seed 0: train\.batch_size = 1000") as caught:
        run_seeds(bad, [0, 1], tmp_path / "out", jobs=2, backend="textbook", log=lambda _: None)
    assert "\n" not in str(caught.value)


def test_a_run_that_misses_the_interrupt_is_ended(monkeypatch):
    deaf = "import signal, time; signal.signal(2, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    monkeypatch.setattr(side_by_side, "PATIENCE", 0.2)
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        began = time.perf_counter()
        side_by_side.stop(process)
        assert process.returncode == -signal.SIGKILL and time.perf_counter() - began < 30


def test_t_quantiles_are_the_tables_and_scipys():
    assert [round(t_quantile(df), 3) for df in (1, 2, 3, 4, 9, 30)] == [
        12.706,
        4.303,
        3.182,
        2.776,
        2.262,
        2.042,
    ]
    t = pytest.importorskip("scipy.stats").t
    for df in (1, 2, 3, 4, 5, 17, 100):
        for confidence in (0.5, 0.9, 0.99):
            assert t_quantile(df, confidence) == pytest.approx(t.ppf(0.5 + confidence / 2, df), rel=1e-9)


def test_paired_intervals_are_of_the_differences():
    values, references = [1.0, 2.0, 4.0], [0.5, 1.0, 2.5]
    change, low, high = paired_interval(values, references)
    assert change == 1.0 and high - change == pytest.approx(4.303 * 0.5 / 3**0.5, rel=1e-3)
    assert high - change == pytest.approx(change - low)
    assert paired_interval([1.0], [2.0]) == (-1.0, None, None)
    assert mean_and_sd([3.0]) == (3.0, None)
    for bad in (([], []), ([1.0], [])):
        with pytest.raises(MnpError, match="cannot be paired"):
            paired_interval(*bad)
    with pytest.raises(MnpError, match="df must be"):
        t_quantile(0)
