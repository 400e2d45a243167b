"""Runs: what each step does, and that nothing interrupts them for good."""

import csv
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from fresh_python import python_path
from one_line import one_line
from tiny_runs import GRADUAL, NEURONS, assert_same_bits, carry_out, interrupt_at

import mnp.data
from mnp import checkpoint, files
from mnp.checkpoint import load_checkpoint, save_checkpoint
from mnp.cli import main
from mnp.errors import MnpError
from mnp.experiments import classification, runner
from mnp.experiments.classification import load_data
from mnp.experiments.recipes import (
    DataRecipe,
    PruneRecipe,
    TrainRecipe,
    WeightRecipe,
    plan_rounds,
)
from mnp.experiments.registry import check_run_folder, get_experiment, read_experiment
from mnp.experiments.results import COLUMNS, format_data, format_table
from mnp.files import lock_folder
from mnp.nn import evaluate
from mnp.nn.checkpoint import load_network
from mnp.pruning.surgery import prune_neurons

FIRST = "step kind k params nonzero reduction compression macs bytes error_before error seconds"


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """One uninterrupted run of neurons and one of gradual splicing, to compare the others with."""
    folders = {}
    for experiment in (NEURONS, GRADUAL):
        folders[experiment.name] = tmp_path_factory.mktemp("whole") / experiment.name
        carry_out(experiment, folders[experiment.name])
    return folders


def rows_of(out):
    return json.loads((out / "summary.json").read_text())["rows"]


def test_controls_begin_where_they_say(tmp_path):
    controls = dataclasses.replace(
        NEURONS,
        name="tiny-controls",
        plan="controls",
        train=dataclasses.replace(NEURONS.train, epochs=0),  # so round 0 holds the first weights
        prune=PruneRecipe(epochs=1, rankings=("win_counts", "random")),
    )
    rows, _ = carry_out(controls, tmp_path / "run")
    plan = plan_rounds(controls)
    saved = {s.label: load_checkpoint(tmp_path / "run/checkpoints" / f"{s.label}.npz")[0] for s in plan}
    by_arm = {}
    for s in plan:
        by_arm.setdefault(s.arm, []).append(saved[s.label])
    whole = [row for row in rows if row["arm"] == "unpruned"]
    assert [row["params"] for row in whole] == [rows[0]["params"]] * 2
    assert {row["params"] for row in rows if row["arm"] in ("small", "rewound")} == {rows[4]["params"]}
    # the neurons that pruning left, with the weights of round 0
    weight, bias = (saved[plan[0].label][f"state/fc3.{key}"] for key in ("weight", "bias"))
    for removed in by_arm["win_counts"]:
        keep = removed["keep/fc3"]
        weight, bias = np.take_along_axis(weight, keep[:, :, None], 1), np.take_along_axis(bias, keep, 1)
    rewound = by_arm["rewound"][0]
    assert np.array_equal(rewound["state/fc3.weight"], weight[:, 0])
    assert np.array_equal(rewound["state/fc3.bias"], bias[:, 0])
    assert np.array_equal(rewound["state/conv1.weight"], saved[plan[0].label]["state/conv1.weight"])
    small = by_arm["small"][0]["state/fc3.weight"]
    assert small.shape == rewound["state/fc3.weight"].shape and not np.array_equal(small, weight[:, 0])


def test_controls_of_weight_pruning_follow_the_same_learning_rates(tmp_path):
    e = get_experiment("mnist-combined-controls")
    controls = runner.Runner(e, tmp_path, None, None, print)
    sections = {
        arm: [controls.section(s) for s in controls.plan if s.arm == arm]
        for arm in ("unpruned", "win_counts")
    }
    assert sections["unpruned"] == sections["win_counts"] == [e.prune] * 3 + [e.weights] * 2


def test_retraining_has_its_own_dropout_in_every_arm(tmp_path):
    e = dataclasses.replace(
        NEURONS,
        plan="controls",
        model=dataclasses.replace(NEURONS.model, dropout=0.5),
        prune=PruneRecipe(epochs=0, dropout=0.1),
    )
    carry_out(e, tmp_path / "run")
    found = {}
    for s in plan_rounds(e):
        net = load_network(tmp_path / "run/checkpoints" / f"{s.label}.npz", "textbook")
        layer = net.layers.get("fc3_dropout", net["fc3"])
        found.setdefault(s.arm, []).append(getattr(layer, "dropout", getattr(layer, "p", None)))
    assert found["unpruned"] == found["win_counts"] == [0.1, 0.1]
    assert found["small"] == found["rewound"] == [0.5, 0.1, 0.1]


# --- what a run leaves -----------------------------------------------------------------------------------


def test_rows_say_what_was_done(complete):
    out = complete["tiny"]
    rows = rows_of(out)
    assert list(rows[0])[:12] == FIRST.split() == list(COLUMNS)[:12]
    assert [(r["step"], r["kind"], r["k"]) for r in rows] == [
        (0, "train", 3),
        (1, "neurons", 2),
        (2, "neurons", 1),
    ]
    nets = [load_network(out / "checkpoints" / f"{s.label}.npz", "textbook") for s in plan_rounds(NEURONS)]
    assert [r["params"] for r in rows] == [r["nonzero"] for r in rows] == [net.count_params() for net in nets]
    # conv 2*26, conv 2*52, fc3 32 inputs to 12 neurons, fc4 10; with all neurons feeding fc4 without maxout
    first, widest = 52 + 102 + 12 * 33 + 10 * 5, 52 + 102 + 12 * 33 + 10 * 13
    assert rows[0]["params"] == first
    for row in rows:
        assert row["reduction"] == (first - row["params"]) / first
        assert row["compression"] == first / row["params"]
        assert row["reduction_without_maxout"] == (widest - row["params"]) / widest
        assert 0 <= row["error"] <= 100 and row["seconds"] > 0 and row["sparsity"] == 0
        assert 0 <= row["validation_error"] <= 100
    assert rows[0]["macs"] - rows[1]["macs"] == 4 * 32  # one neuron of 32 inputs in each of 4 units
    assert rows[0]["bytes"] == 4 * first
    assert type(nets[-1]["fc3"]).__name__ == "Dense"


def test_history_and_summary_agree_and_say_where_they_come_from(complete):
    out = complete["tiny"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["name"] == "tiny" and summary["seed"] == 0 and summary["kernels"] == "textbook"
    assert set(summary) >= {"recipe", "versions", "threads", "cpu"} and set(summary["versions"]) >= {
        "numpy",
        "numba",
    }
    table = list(csv.DictReader((out / "history.csv").open()))
    for line, row in zip(table, summary["rows"], strict=True):
        assert list(line) == list(COLUMNS)
        assert {n: str(v) if v is not None else "" for n, v in row.items()} == line  # every digit of it
    assert read_experiment(out) == NEURONS
    assert str(out) not in (out / "summary.json").read_text()


def test_error_before_is_that_of_the_network_right_after_the_removal(complete):
    out = complete["tiny"]
    data = load_data(NEURONS.data)
    arrays, _ = load_checkpoint(out / "checkpoints" / "01-neurons-k2.npz")
    counts, keep = arrays["counts/fc3"], arrays["keep/fc3"]
    assert (counts.sum(axis=1) == len(data.train_labels)).all()
    np.testing.assert_array_equal(keep, np.sort(np.argsort(-counts, axis=1, kind="stable")[:, :2], axis=1))
    lost = counts.sum() - np.take_along_axis(counts, keep, axis=1).sum()
    row = rows_of(out)[1]
    assert row["wins_lost"] == lost / counts.sum()
    before = load_network(out / "checkpoints" / "00-train-k3.npz", "textbook")
    pruned = prune_neurons(before, "fc3", keep)
    assert row["error_before"] == evaluate(pruned, data.test_images, data.test_labels)[1]


def test_another_seed_is_another_run_and_the_same_seed_the_same(complete, tmp_path):
    again, _ = carry_out(NEURONS, tmp_path / "again")
    assert_same_bits(tmp_path / "again", complete["tiny"])
    other, _ = carry_out(dataclasses.replace(NEURONS, seed=1), tmp_path / "other")
    assert other[0]["train_loss"] != again[0]["train_loss"]


def test_a_finished_run_is_not_repeated(complete, tmp_path, monkeypatch):
    out = shutil.copytree(complete["tiny"], tmp_path / "copy")
    before = snapshot(out)
    monkeypatch.setattr(classification, "load_data", None)  # not even the data are needed
    rows, said = carry_out(NEURONS, out)
    assert rows == rows_of(out) and said == []
    assert snapshot(out) == before


# --- weights, arms ---------------------------------------------------------------------------------------


def test_gradual_pruning_reaches_its_size_and_zeros_stay_zeros(complete):
    rows = rows_of(complete["tiny-gradual"])
    first = rows[0]["params"]
    assert [r["kind"] for r in rows] == ["train", "gradual", "gradual"]
    for row, target in zip(rows[1:], (0.5, 0.8), strict=True):
        assert row["nonzero"] == round((1 - target) * first) and row["params"] == first
        assert row["reduction"] == pytest.approx(target, abs=1e-3)
    nets = [
        load_network(complete["tiny-gradual"] / "checkpoints" / f"0{i}-gradual-k3.npz", "textbook")
        for i in (1, 2)
    ]
    for net in nets:
        for name, mask in net.masks().items():
            assert not net.params()[name][~mask].any()


def test_all_rankings_remove_from_one_network(tmp_path):
    names = ("win_counts", "reversed", "random", "weight_norm", "mean_activation", "win_counts_training")
    e = dataclasses.replace(NEURONS, prune=PruneRecipe(epochs=0, to_k=2, rankings=names))
    rows, _ = carry_out(e, tmp_path / "r")
    arrays, metas = zip(
        *map(load_checkpoint, sorted((tmp_path / "r" / "checkpoints").glob("0[1-9]*"))), strict=True
    )
    assert all(meta["rng"] == metas[0]["rng"] for meta in metas)  # all would see the same batches
    assert [r["ranking"] for r in rows[1:]] == list(names) and {r["parent"] for r in rows[1:]} == {0}
    assert all((a["counts/fc3"] == arrays[0]["counts/fc3"]).all() for a in arrays)  # of the same network
    lost = {r["ranking"]: r["wins_lost"] for r in rows[1:]}
    assert lost["win_counts"] == min(lost.values()) and lost["reversed"] == max(lost.values())
    assert all(r["error"] == r["error_before"] for r in rows[1:])  # no retraining: nothing changes


def test_a_weights_round_is_checked_on_the_network_that_it_will_find(tmp_path):
    """24 parameters hold the biases and a weight a layer of the pruned network, not of the unpruned one."""
    e = dataclasses.replace(NEURONS, weights=WeightRecipe(remaining=(24,), epochs=0))
    rows, _ = carry_out(e, tmp_path / "r")
    assert rows[-1]["nonzero"] == 24


# --- interruptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", [NEURONS, GRADUAL], ids=lambda e: e.name)
def test_interrupted_at_every_write_and_resumed(complete, tmp_path, monkeypatch, experiment):
    """Stopped before its 1st, 2nd, ... write, and resumed each time: the same bits."""
    written, allowed = [], 0

    def write_or_stop(path, data):
        if len(written) == allowed:
            raise KeyboardInterrupt
        written.append(path)
        files.atomic_write(path, data)

    for module in (checkpoint, runner):
        monkeypatch.setattr(module, "atomic_write", write_or_stop)
    out, stops = tmp_path / "out", 0
    while True:
        written, allowed = [], 1 + stops % 2  # one or two writes, then the next interruption
        try:
            carry_out(experiment, out)
            break
        except KeyboardInterrupt:
            stops += 1
        assert stops < 60
    assert stops > 5
    assert_same_bits(out, complete[experiment.name])


def owner_of(out):
    """The process that last had the folder's lock."""
    try:
        return int((out / files.LOCK).read_text())
    except (OSError, ValueError):
        return None


def test_killed_at_random_moments_and_resumed(complete, tmp_path):
    """SIGKILL whenever it comes; a run that got through is compared, and the next one begins.

    `MNP_KILLS=50 pytest tests/experiments/test_run.py -k killed` does it 50 times.
    """
    moments, killed, finished = random.Random(1), 0, 0
    code = "from tiny_runs import *; import sys; carry_out(GRADUAL, sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": python_path()}
    while killed < int(os.environ.get("MNP_KILLS", "4")):
        out = tmp_path / str(finished)
        with subprocess.Popen([sys.executable, "-c", code, out], env=environment) as process:
            while owner_of(out) != process.pid and process.poll() is None:
                time.sleep(0.002)
            time.sleep(moments.expovariate(4))
            process.kill()
        assert process.returncode in (0, 1 if os.name == "nt" else -9)
        if process.returncode:
            killed += 1
        else:
            assert_same_bits(out, complete["tiny-gradual"])
            finished += 1
    carry_out(GRADUAL, out)
    assert_same_bits(out, complete["tiny-gradual"])


@pytest.mark.parametrize("name", ["00-train-k3.npz", "02-neurons-k1.npz"])
def test_a_damaged_checkpoint_is_reported_and_its_round_repeated(complete, tmp_path, name):
    out = shutil.copytree(complete["tiny"], tmp_path / "copy")
    path = out / "checkpoints" / name
    path.write_bytes(path.read_bytes()[:-200])
    _, said = carry_out(NEURONS, out)
    assert len(said) == 2 and name in said[0] and "is damaged" in said[0] and "is repeated" in said[0]
    assert_same_bits(out, complete["tiny"])


@pytest.mark.parametrize("meta", [{}, {"row": 3}, {"kernels": 1}, {"row": {"step": 0}}])
def test_a_checkpoint_with_other_contents_than_its_round_is_repeated(complete, tmp_path, meta):
    """Its checksum fits: somebody else wrote it, or an older program."""
    out = tmp_path / "out"
    shutil.copytree(complete["tiny"], out)
    path = out / "checkpoints" / "01-neurons-k2.npz"
    arrays, before = load_checkpoint(path)
    save_checkpoint(path, arrays, {**before, **meta} if meta else {})
    _, said = carry_out(NEURONS, out)
    assert any("01-neurons-k2.npz" in line and "is repeated" in line for line in said)
    assert_same_bits(out, complete["tiny"])


def test_progress_that_cannot_be_is_ignored_and_the_round_starts_again(complete, tmp_path):
    """Also when the lie is seen late: the generator and the network are fresh again."""
    out, said = tmp_path / "out", []
    with pytest.raises(KeyboardInterrupt):
        carry_out(GRADUAL, out, on_epoch=interrupt_at(1, 2))
    path = out / "checkpoints" / "progress.npz"
    resumed = runner.Runner(GRADUAL, out, runner.task_of(GRADUAL), "textbook", said.append)
    resumed.prepare([])
    arrays, good = load_checkpoint(path)
    assert resumed.resume(resumed.plan[1]).epoch == 1 and "resuming" in said[-1]
    lies = [{"epoch": -1}, {"epoch": 99}, {"rng": {}}, {"seconds": None}, {"iteration": None}]
    for lie in [*lies, {"error_before": "high"}]:
        save_checkpoint(path, arrays, good | lie)
        assert resumed.resume(resumed.plan[1]) is None and "starts again" in said[-1], lie
    path.write_bytes(path.read_bytes().replace(b"state", b"stale", 1))
    _, said = carry_out(GRADUAL, out)
    assert sum("starts again" in line for line in said) == 1
    assert_same_bits(out, complete["tiny-gradual"])


# --- folders and input -----------------------------------------------------------------------------------


def snapshot(path):
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != files.LOCK}


def test_a_folder_of_another_recipe_is_rejected_untouched(complete, tmp_path):
    out = shutil.copytree(complete["tiny"], tmp_path / "copy")
    before = snapshot(out)
    with pytest.raises(MnpError, match=r"holds the recipe tiny with seed = 0, not 5; choose another --out"):
        carry_out(dataclasses.replace(NEURONS, seed=5), out)
    assert snapshot(out) == before


def test_a_folder_of_something_else_is_rejected_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(MnpError, match="is not empty and holds no run"):
        carry_out(NEURONS, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(MnpError, match="is not a folder"):
        carry_out(NEURONS, tmp_path / "thesis.tex")
    with pytest.raises(MnpError, match="cannot be written"):
        carry_out(NEURONS, tmp_path / "thesis.tex" / "deeper")


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 3}'])
def test_a_damaged_recipe_file_is_rejected(complete, tmp_path, text):
    out = shutil.copytree(complete["tiny"], tmp_path / "copy")
    (out / "recipe.json").write_text(text)
    with one_line(r"recipe\.json"):
        carry_out(NEURONS, out)


def test_a_second_run_into_one_folder_is_rejected(tmp_path):
    (tmp_path / "out").mkdir()
    with lock_folder(tmp_path / "out"), pytest.raises(MnpError, match="another run"):
        carry_out(NEURONS, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": TrainRecipe(epochs=1, batch_size=20, lr=1e30)}, "loss became .* at iteration"),
        ({"train": TrainRecipe(epochs=1, batch_size=1000)}, "train.batch_size = 1000"),
        ({"data": DataRecipe("fashion")}, "unknown data set"),
        ({"data": DataRecipe("digits", train_images=50, validation=50)}, "validation"),
        ({"prune": PruneRecipe(layers=("fc9",))}, "no layer 'fc9'"),
        ({"weights": WeightRecipe((0.999,), epochs=1)}, "would empty a layer"),
        ({"weights": WeightRecipe(remaining=(15,), scope="global", epochs=1)}, "fewer than the biases"),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, words):
    with one_line(words):
        carry_out(dataclasses.replace(NEURONS, **changes), tmp_path / "out")
    assert not list((tmp_path / "out").glob("checkpoints/*"))
    check_run_folder(tmp_path / "out", NEURONS)  # a run that failed before it saved anything claims no folder


# --- the data of a run -----------------------------------------------------------------------------------


def brighter(data):
    data.train_images[3, 0, 5, 5] += 0.5
    return data


def other_labels(data):
    return dataclasses.replace(data, test_labels=data.test_labels[::-1].copy())


@pytest.mark.parametrize(("change", "stop"), [(brighter, (1, 1)), (other_labels, (0, 2))])
def test_a_run_is_not_resumed_with_other_data(complete, tmp_path, monkeypatch, change, stop):
    """Neither after a finished round nor after a single epoch."""
    with pytest.raises(KeyboardInterrupt):
        carry_out(NEURONS, tmp_path / "out", on_epoch=interrupt_at(*stop))
    before = snapshot(tmp_path / "out")
    monkeypatch.setattr(classification, "load_data", lambda *where: change(load_data(*where)))
    with one_line(r"was begun with other data .* choose another --out"):
        carry_out(NEURONS, tmp_path / "out")
    assert snapshot(tmp_path / "out") == before
    monkeypatch.undo()
    carry_out(NEURONS, tmp_path / "out")
    assert_same_bits(tmp_path / "out", complete["tiny"])


def test_a_finished_run_is_not_shown_for_another_data(complete, tmp_path, monkeypatch):
    out = shutil.copytree(complete["tiny"], tmp_path / "out")
    digits = mnp.data.load("digits")
    carry_out(NEURONS, out, data=digits)  # the same data: its table once more
    monkeypatch.setattr(classification, "load_data", lambda *where: brighter(load_data(*where)))
    carry_out(NEURONS, out)  # no folder was named: nothing is loaded
    with pytest.raises(MnpError, match=r"was begun with other data .* choose another --out"):
        carry_out(NEURONS, out, data=digits)
    assert_same_bits(out, complete["tiny"])


def test_summary_and_checkpoints_say_which_data(complete):
    facts = json.loads((complete["tiny"] / "summary.json").read_text())["data"]
    counts = {name: facts[f"{name}_images"] for name in ("train", "validation", "test")}
    assert counts == {"train": 60, "validation": 20, "test": 40} and len(facts["checksum"]) == 16
    for path in (complete["tiny"] / "checkpoints").iterdir():
        assert load_checkpoint(path)[1]["data"] == facts
    line = "data: digits, 60 training, 20 validation and 40 test images of (1, 28, 28), 10 classes; checksum "
    assert format_data(facts).startswith(line)


def test_a_folder_of_mnp_0_1_without_data_facts_is_resumed(complete, tmp_path):
    out = shutil.copytree(complete["tiny"], tmp_path / "copy")
    for name in ("summary.json", "checkpoints/02-neurons-k1.npz"):
        (out / name).unlink()
    for path in (out / "checkpoints").iterdir():
        arrays, meta = load_checkpoint(path)
        meta.pop("data")
        save_checkpoint(path, arrays, meta)
    rows, _ = carry_out(NEURONS, out)
    assert len(rows) == 3 and "data" in json.loads((out / "summary.json").read_text())


def test_the_table_has_the_validation_error_if_there_is_one(complete):
    rows = rows_of(complete["tiny"])
    head = format_table(rows).splitlines()[0]
    assert "validation" in head and f"{rows[0]['validation_error']:.2f} %" in format_table(rows)
    assert "validation" not in format_table([row | {"validation_error": None} for row in rows])


def test_sizes_of_a_checkpoint_with_and_without_what_nothing_reads(complete, tmp_path, capsys):
    source = complete["tiny"] / "checkpoints" / f"{plan_rounds(NEURONS)[-1].label}.npz"
    arrays, meta = load_checkpoint(source)
    assert main(["sizes", str(source)]) == 0
    assert "without the units" not in capsys.readouterr().out
    arrays["state/fc4.weight"][:, 0] = 0
    save_checkpoint(tmp_path / "x.npz", arrays, meta)
    assert main(["sizes", str(tmp_path / "x.npz")]) == 0
    before, after = capsys.readouterr().out.split("without the units")
    before, after = (
        next(int(line.split()[2]) for line in text.splitlines() if line.startswith("fc3 "))
        for text in (before, after)
    )
    assert before * 3 == after * 4  # one of four units is gone
    del meta["data"]
    save_checkpoint(tmp_path / "x.npz", arrays, meta)
    assert main(["sizes", str(tmp_path / "x.npz")]) == 2 and "shape of an image" in capsys.readouterr().err
