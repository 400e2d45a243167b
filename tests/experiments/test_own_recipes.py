"""Recipes with the user's own data, network, ranking, schedule and augmentation; recipe files; callbacks."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from fresh_python import python_path
from one_line import one_line
from tiny_runs import NEURONS, assert_same_bits, carry_out, without_seconds

import mnp
from mnp import cli
from mnp.errors import MnpError
from mnp.experiments import runner
from mnp.experiments.config import digest, override
from mnp.experiments.recipes import OwnExperiment, OwnModel, PruneRecipe, WeightRecipe, plan_rounds
from mnp.experiments.registry import get_experiment, read_experiment
from mnp.pruning.surgery import OWN_RANKINGS

MODULE = """
import numpy as np
import mnp
from mnp.nn import Dense, Flatten, MaxoutConv2d, MaxoutDense, MaxPool2d


def two(data, rng, backend, units=5):
    options = {"rng": rng, "backend": backend}
    inputs = int(np.prod(data.image_shape))
    return mnp.Network([
        ("flatten", Flatten(backend=backend)),
        ("m1", MaxoutDense(inputs, units, 6, relu=True, **options)),
        ("m2", MaxoutDense(units, 4, 3, **options)),
        ("out", Dense(4, data.classes, **options)),
    ])


def feature_maps(data, rng, backend):
    options = {"rng": rng, "backend": backend}
    return mnp.Network([
        ("pool1", MaxPool2d(4, backend=backend)),
        ("conv1", MaxoutConv2d(1, 3, 4, 3, **options)),
        ("conv2", MaxoutConv2d(3, 4, 2, 5, **options)),
        ("flatten", Flatten(backend=backend)),
        ("out", Dense(4, data.classes, **options)),
    ])


def taylor(net, layer, images, labels, rng):
    y = net.forward(images, until=layer)
    winner, k = net[layer].cache.winner, net[layer].k
    change = abs(mnp.output_gradient(net, layer, y, labels) * y)
    return (change[:, :, None] * (winner[:, :, None] == np.arange(k))).sum(axis=0)


def wrong(net, layer, images, labels, rng):
    return np.zeros(3)


def halved(lr, iteration, total):
    return lr * 0.5 ** (iteration / total)


def noise(images, rng):
    return images + rng.normal(0, 0.1, images.shape).astype(images.dtype)
"""
RECIPE = """
[model]
builder = "mine:two"
arguments = {units = 6}
[data]
train_images = 80
test_images = 40
[train]
epochs = 2
batch_size = 20
policy = "mine:halved"
augment = "mine:noise"
[prune]
schedule = ["m1: 6 -> 1 by 2", "m2: 3 -> 1"]
rankings = ["win_counts", "mine:taylor"]
epochs = 1
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A working folder with the user's module and recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "my.toml").write_text(RECIPE)
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (80, 3, 8, 6), dtype=np.uint8),
        "train_labels": np.arange(80) % 7,
        "test_images": rng.integers(0, 256, (40, 3, 8, 6), dtype=np.uint8),
        "test_labels": np.arange(40) % 7,
    }
    np.savez("shapes.npz", **arrays)
    return mnp.Dataset(**arrays, name="shapes")


def test_own_network_ranking_policy_and_augmentation_on_own_data(mine, tmp_path, monkeypatch, capsys):
    words = ["run", "my.toml", "--data", "shapes.npz", "--backend", "textbook", "--no-figures"]
    assert cli.main([*words, "--out", "whole"]) == 0
    out = capsys.readouterr().out
    assert f"checksum {mine.checksum}" in out and "neurons: m1 6 -> 4, m2 3 -> 2 (taylor)" in out
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert [row["removed"] for row in summary["rows"][1:4]] == [
        "m1 6 -> 4, m2 3 -> 2",
        "m1 4 -> 2, m2 2 -> 1",
        "m1 2 -> 1",
    ]
    assert summary["recipe"]["data"]["name"] == summary["data"]["name"] == "shapes"
    assert summary["data"]["classes"] == 7 and summary["data"]["image_shape"] == [3, 8, 6]
    final = mnp.load_network(tmp_path / "whole" / "checkpoints" / "06-taylor-neurons-k1.npz", "textbook")
    assert final.maxout_layers() == [] and final["m1"].out_features == 6
    # interrupted after the third epoch, then resumed; and once more from its own recipe.json
    saved, save = [], runner.save_checkpoint

    def stops(path, arrays, meta):
        save(path, arrays, meta)
        saved.append(path)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "save_checkpoint", stops)
    assert cli.main([*words, "--out", "again"]) == 130
    resume = capsys.readouterr().err.partition("resumes it: ")[2].split()
    monkeypatch.setattr(runner, "save_checkpoint", save)
    assert cli.main(resume[1:]) == 0
    assert_same_bits(tmp_path / "again", tmp_path / "whole")
    assert cli.main(["run", "whole/recipe.json", *words[2:], "--out", "third"]) == 0
    assert_same_bits(tmp_path / "third", tmp_path / "whole")
    with pytest.raises(MnpError, match="was begun with other data"):
        other = dataclasses.replace(mine, test_images=mine.test_images[::-1].copy())
        mnp.run(read_experiment("whole"), "whole", data=other, figures=False)


def test_maxout_over_feature_maps_by_a_schedule(mine, tmp_path):
    """Two layers of conv maxout on the digits."""
    schedule = ("conv1: 4 -> 1 by 2", "conv2: 2 -> 1")
    e = OwnExperiment(
        "maps",
        data=dataclasses.replace(NEURONS.data, train_images=60),
        train=NEURONS.train,
        model=OwnModel("mine:feature_maps"),
        prune=PruneRecipe(epochs=2, schedule=schedule),
    )
    rows, _ = carry_out(e, tmp_path / "whole")
    assert [row["removed"] for row in rows[1:]] == ["conv1 4 -> 2, conv2 2 -> 1", "conv1 2 -> 1"]
    # 12 filters of 9 weights, 8 of 75, each with a bias; 4 * 10 + 10; then 6 and 4 filters, then 3 and 4
    assert [row["params"] for row in rows] == [120 + 608 + 50, 60 + 304 + 50, 30 + 304 + 50]
    assert rows[0]["macs"] == 12 * 9 * 5**2 + 8 * 75 + 40
    net = mnp.load_network(tmp_path / "whole" / "checkpoints" / "02-neurons-k1.npz", "textbook")
    assert net.maxout_layers() == [] and net["conv1"].params["weight"].shape == (3, 1, 3, 3)


def test_own_networks_with_controls_and_with_weights_at_equal_size(mine, tmp_path):
    e = OwnExperiment(
        "own",
        plan="controls",
        model=OwnModel("mine:two"),
        train=dataclasses.replace(NEURONS.train, epochs=0),
        prune=PruneRecipe(epochs=0, schedule=("m1: 6 -> 2 by 3", "m2: 3 -> 2")),
    )
    rows, _ = carry_out(e, tmp_path / "controls", data=mine)
    ends = {row["arm"]: row for row in rows}
    assert list(ends) == ["", "unpruned", "win_counts", "small", "rewound"]
    assert ends["unpruned"]["params"] == rows[0]["params"]
    assert len({ends[arm]["params"] for arm in ("win_counts", "small", "rewound")}) == 1
    weights = {
        path.name[3:-7]: mnp.load_network(path, "textbook")["m1"].params["weight"]
        for path in sorted((tmp_path / "controls" / "checkpoints").glob("*.npz"))
    }
    assert np.array_equal(weights["small-train"], weights["train"][:, :2])
    assert np.array_equal(weights["rewound-rewind"], weights["win_counts-neurons"])  # nothing was trained
    e = dataclasses.replace(e, plan="compare", weights=WeightRecipe((0.9,), epochs=0))
    rows, _ = carry_out(e, tmp_path / "compare", data=mine)
    assert [row["arm"] for row in rows[1:]] == [*["neurons"] * 2, *["weights"] * 3, *["after"] * 2]
    sizes = [row["nonzero"] for row in rows]
    assert sizes[1:3] == sizes[3:5] and sizes[2] == sizes[6] and sizes[5] == sizes[7]
    assert len(set(sizes)) == 4 and {row["params"] for row in rows[3:6]} == {rows[0]["params"]}
    with pytest.raises(MnpError, match=r"plan compare needs a prune\.schedule"):
        dataclasses.replace(e, prune=PruneRecipe(epochs=0))


def test_seeds_in_processes_on_own_data_and_network(mine, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", python_path())
    small = ["prune.rankings=mine:taylor", "train.epochs=0", "prune.epochs=0"]
    options = {"seeds": 2, "changes": small, "backend": "textbook", "figures": False}
    one = mnp.run("my.toml", "one", data=mine, **options)
    two = mnp.run("my.toml", "two", data="shapes.npz", jobs=2, **options)
    assert without_seconds(one) == without_seconds(two) and [row["seed"] for row in one[::4]] == [0, 1]
    assert_same_bits(tmp_path / "two" / "seed-1", tmp_path / "one" / "seed-1")


def test_rankings_by_object_and_registered(mine):
    import mine as module

    net = mnp.lenet5(2, 2, units=4, k=3, image_size=(28, 20), rng=0, backend="textbook")
    x, labels = np.random.default_rng(0).random((9, 1, 28, 20), np.float32), np.arange(9)
    by_object = mnp.prune_round(net, "fc3", x, measure=module.taylor, labels=labels)
    by_name = mnp.prune_round(net, "fc3", x, measure="mine:taylor", labels=labels)
    assert np.array_equal(by_object["fc3"].params["weight"], by_name["fc3"].params["weight"])
    with pytest.raises(MnpError, match=r"ranking wrong returned float64 \(3,\).*\(4, 3\)"):
        mnp.prune_round(net, "fc3", x, measure=module.wrong)
    with pytest.raises(MnpError, match="ranking = mine:absent: cannot be imported"):
        mnp.prune_round(net, "fc3", x, measure="mine:absent")
    with pytest.raises(MnpError, match="rankings = tailor must be one of"):
        dataclasses.replace(NEURONS, prune=PruneRecipe(rankings=("tailor",)))
    try:
        mnp.register_ranking(module.taylor)
        dataclasses.replace(NEURONS, prune=PruneRecipe(rankings=("taylor",)))
    finally:
        OWN_RANKINGS.pop("taylor")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": OwnModel("mine:absent")}, "model.builder = mine:absent: cannot be imported"),
        ({"model": OwnModel("mine:taylor")}, "model.builder = mine:taylor: .*argument"),
        ({"model": OwnModel("mlp", {"width": 3})}, "no builder argument 'width'"),
        ({"model": OwnModel("mlp", {"units": (4,), "k": 2})}, "fc1 begins with k = 3, but has 2"),
    ],
)
def test_what_is_wrong_with_an_own_model_is_one_line(mine, tmp_path, changes, says):
    e = OwnExperiment("own", prune=PruneRecipe(schedule=("fc1: 3 -> 1",)), train=NEURONS.train, **changes)
    with one_line(says):
        carry_out(e, tmp_path / "out", data=mine)
    assert not list((tmp_path / "out").glob("checkpoints/*"))


@pytest.mark.parametrize("text", ["fc1", "fc1: 1 -> 3", "fc1: 3 -> 0", "fc1: 3 -> 1 by 0", "fc1: 3 to 1"])
def test_schedules_that_cannot_be(text):
    with pytest.raises(MnpError, match=r"prune\.schedule = "):
        OwnExperiment("own", prune=PruneRecipe(schedule=(text,)))


def test_a_schedule_is_counted_in_the_plan():
    e = OwnExperiment("own", prune=PruneRecipe(schedule=("a: 6 -> 1 by 4", "b: 4 -> 3")))
    assert [(r.k, r.ks, r.removed) for r in plan_rounds(e)[1:]] == [
        (3, (("a", 2), ("b", 3)), "a 6 -> 2, b 4 -> 3"),
        (3, (("a", 1), ("b", 3)), "a 2 -> 1"),
    ]


# ---- recipe files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nepoch = 3", "no field train.'epoch': did you mean epochs"),
        ("[trian]\nepochs = 3", "no field 'trian': did you mean train"),
        ("[train", "is not valid TOML"),
        ("[prune]\nto_k = 9", "prune.to_k = 9 is not in 1..4"),
    ],
)
def test_a_wrong_recipe_file_is_one_line(tmp_path, text, says):
    (tmp_path / "my.toml").write_text(text)
    with one_line(says, "my.toml: "):
        get_experiment(str(tmp_path / "my.toml"))


def test_a_recipe_file_has_defaults_and_the_file_s_name(tmp_path):
    (tmp_path / "my.toml").write_text("[prune]\nto_k = 'none'\n[weights]\nreductions = [0.5]")
    e = get_experiment(str(tmp_path / "my.toml"))
    assert e.name == "my" and e.prune.to_k is None and e.weights.reductions == (0.5,) and e.train.epochs == 5


def test_arguments_of_a_builder_are_set_and_digested(mine):
    e = get_experiment("my.toml")
    changed = override(e, "model.arguments.units=(3, 4)", "model.arguments.name=x")
    assert changed.model.arguments == {"units": [3, 4], "name": "x"} and digest(changed) != digest(e)
    assert e.ladders() == {"m1": [6, 4, 2, 1], "m2": [3, 2, 1]}


# ---- callbacks


def test_callbacks_stop_early_and_add_columns(tmp_path, monkeypatch):
    seen = []

    def on_epoch(net, round, epoch, result):
        seen.append((round.index, epoch))
        return round.index == 0 and epoch == 1

    def on_round(net, round, data):
        return {"weight": abs(net["fc4"].params["weight"]).sum()}

    callbacks = {"on_epoch": on_epoch, "on_round": on_round}
    rows, said = carry_out(NEURONS, tmp_path / "whole", **callbacks)
    assert seen == [(0, 1), (1, 1), (2, 1)] and "stopped after epoch 1 of 2" in said
    assert [type(row["weight"]) for row in rows] == [float] * 3
    assert (tmp_path / "whole/history.csv").read_text().splitlines()[0].endswith(",weight")
    monkeypatch.setattr(runner.Runner, "finish", lambda self, round, state: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        carry_out(NEURONS, tmp_path / "again", **callbacks)
    monkeypatch.undo()
    carry_out(NEURONS, tmp_path / "again", **callbacks)  # the stop was saved
    assert_same_bits(tmp_path / "again", tmp_path / "whole")
