"""Several seeds: one after another, in parallel, and the statistics over them."""

import dataclasses
import json
import multiprocessing
import os
import signal
import statistics
import threading
import time

import pytest
from fresh_python import python_path
from one_line import one_line
from tiny_runs import NEURONS, assert_same_bits, carry_out, without_seconds

from mnp.errors import MnpError
from mnp.experiments import classification, parallel, registry
from mnp.experiments.recipes import PruneRecipe, TrainRecipe
from mnp.experiments.results import T_QUANTILES, format_summary, mean_sd_se, paired_interval
from mnp.experiments.seeds import run_seeds


def test_seeds_in_parallel_give_the_bits_that_they_give_one_after_another(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", python_path())
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
    monkeypatch.setenv("PYTHONPATH", python_path())
    bad = dataclasses.replace(NEURONS, train=TrainRecipe(batch_size=1000))
    with one_line(r"seed 0: train\.batch_size = 1000"):
        run_seeds(bad, [0, 1], tmp_path / "out", jobs=2, backend="textbook", log=lambda _: None)


@pytest.mark.posix
def test_nothing_is_begun_after_a_failure(tmp_path):
    runs = {name: (NEURONS, tmp_path / name) for name in ("a", "b", "c")}
    with pytest.raises(MnpError, match=r"a: no luck$"):
        parallel.run_in_processes(fail, runs, 1, log=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def fail(experiment, folder):
    raise MnpError("no luck")


def test_the_processes_end_when_the_run_is_interrupted(tmp_path):
    """Even one that ignores the interrupt; nothing is started afterwards."""
    said = []

    def interrupt():
        while not (tmp_path / "a" / "deaf").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        runs = {name: (NEURONS, tmp_path / name) for name in ("a", "b", "c")}
        parallel.run_in_processes(be_deaf, runs, 1, log=said.append)
    assert len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and not multiprocessing.active_children()


def be_deaf(experiment, folder):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (folder / "deaf").touch()
    time.sleep(60)


def test_seeds_on_different_data_are_not_aggregated(tmp_path, monkeypatch):
    run_seeds(NEURONS, [0], tmp_path / "out", backend="textbook", log=lambda _: None)
    load = classification.load_data

    def other_data(recipe, folder):
        data = load(recipe, folder)
        return dataclasses.replace(data, test_images=data.test_images[::-1].copy())

    monkeypatch.setattr(classification, "load_data", other_data)
    with pytest.raises(MnpError, match="was run on other data than"):
        run_seeds(NEURONS, [0, 1], tmp_path / "out", backend="textbook", log=lambda _: None)


def test_another_first_seed_is_said_by_name(tmp_path):
    run_seeds(NEURONS, [0], tmp_path / "out", backend="textbook", log=lambda _: None)
    with pytest.raises(MnpError, match="with seed = 0, not 1"):
        run_seeds(dataclasses.replace(NEURONS, seed=1), [1], tmp_path / "out", log=lambda _: None)
    with pytest.raises(MnpError, match=r"with train\.epochs = 2, not 3; prune\.to_k = 1, not 2"):
        other = dataclasses.replace(NEURONS, train=dataclasses.replace(NEURONS.train, epochs=3))
        registry.check_run_folder(
            tmp_path / "out", dataclasses.replace(other, prune=PruneRecipe(to_k=2, epochs=1)), several=True
        )


def test_t_quantiles_are_scipys():
    assert [round(T_QUANTILES[df - 1], 3) for df in (1, 2, 3, 4, 9)] == [12.706, 4.303, 3.182, 2.776, 2.262]
    assert sorted(T_QUANTILES, reverse=True) == list(T_QUANTILES) and len(T_QUANTILES) == 30
    t = pytest.importorskip("scipy.stats").t
    for df, quantile in enumerate(T_QUANTILES, 1):
        assert quantile == pytest.approx(t.ppf(0.975, df), rel=1e-6)


def test_paired_intervals_are_of_the_differences():
    values, references = [1.0, 2.0, 4.0], [0.5, 1.0, 2.5]
    change, low, high = paired_interval(values, references)
    assert change == 1.0 and high - change == pytest.approx(4.303 * 0.5 / 3**0.5, rel=1e-3)
    assert high - change == pytest.approx(change - low)
    assert paired_interval([1.0], [2.0]) == (-1.0, None, None)
    assert mean_sd_se([3.0]) == (3.0, None, None)
    assert mean_sd_se([0.8, 0.9, 0.85, 0.95])[2] == pytest.approx(
        statistics.stdev([0.8, 0.9, 0.85, 0.95]) / 2
    )
    _, low, high = paired_interval(list(range(40)), [0.0] * 40)  # more than the table has
    assert high - low == pytest.approx(2 * 2.042272 * mean_sd_se(range(40))[2])
    for bad in (([], []), ([1.0], [])):
        with pytest.raises(MnpError, match="cannot be paired"):
            paired_interval(*bad)


def test_a_single_round_has_no_change_to_report():
    line = {"step": 0, "error_mean": 1.5, "change": 0.0, "change_low": 0.0, "change_high": 0.0}
    assert format_summary({"seeds": [0, 1], "aggregate": [line]}) == "2 seeds: unpruned 1.500 %"
