"""Rounds that two recipes share are copied bit by bit, and never from a run that differs."""

import dataclasses

import pytest
from tiny_runs import NEURONS, assert_same_bits, carry_out

from mnp.errors import MnpError
from mnp.experiments import classification
from mnp.experiments.recipes import PruneRecipe, TrainRecipe, WeightRecipe
from mnp.experiments.registry import EXPERIMENTS, get_experiment
from mnp.experiments.reuse import shared_rounds
from mnp.experiments.seeds import run_seeds

COMBINED = dataclasses.replace(NEURONS, name="tiny-combined", weights=WeightRecipe((0.8,), epochs=1))
WEIGHTS = dataclasses.replace(COMBINED, name="tiny-weights", prune=PruneRecipe(to_k=None))


def labels(*experiments):
    return [round.label for round in shared_rounds(*experiments)]


def test_a_run_from_another_ends_with_the_bits_of_one_from_scratch(tmp_path):
    carry_out(NEURONS, tmp_path / "neurons")
    for experiment, taken in ((COMBINED, 3), (WEIGHTS, 1)):
        whole, out = tmp_path / experiment.name, tmp_path / f"{experiment.name}-from"
        carry_out(experiment, whole)
        _, said = carry_out(experiment, out, source=tmp_path / "neurons")
        assert sum("copied from" in line for line in said) == taken
        assert sum(line.startswith("round ") for line in said) == 1
        assert_same_bits(out, whole)


def test_which_rounds_are_shared():
    assert labels(COMBINED, NEURONS) == ["00-train-k3", "01-neurons-k2", "02-neurons-k1"]
    assert labels(WEIGHTS, NEURONS) == ["00-train-k3"]
    assert labels(NEURONS, COMBINED) == labels(COMBINED, NEURONS)
    other = PruneRecipe(epochs=1, lr=0.02)
    assert labels(COMBINED, dataclasses.replace(NEURONS, prune=other)) == ["00-train-k3"]
    random = dataclasses.replace(NEURONS, prune=PruneRecipe(epochs=1, rankings=("random",)))
    assert labels(COMBINED, random) == ["00-train-k3"]
    for changed in (
        {"seed": 1},
        {"train": TrainRecipe(epochs=2, batch_size=20, lr=0.02)},
        {"data": dataclasses.replace(NEURONS.data, validation=10)},
        {"model": dataclasses.replace(NEURONS.model, dropout=0.25)},
    ):
        assert labels(COMBINED, dataclasses.replace(NEURONS, **changed)) == []
    # weights rounds are never copied, and a compare begins like the sequence of the same network
    assert labels(COMBINED, dataclasses.replace(COMBINED, name="again")) == labels(COMBINED, NEURONS)
    assert labels(EXPERIMENTS["mnist-compare"], EXPERIMENTS["mnist-caffe"]) == ["00-train-k4"]
    shared = labels(EXPERIMENTS["mnist-combined-controls"], EXPERIMENTS["mnist-controls"])
    assert shared[-1] == "06-win_counts-neurons-k1" and "03-unpruned-continue-k4" in shared


def test_seeds_copy_from_their_own(tmp_path):
    seeds = [0, 1]
    run_seeds(NEURONS, seeds, tmp_path / "a", backend="textbook", log=lambda line: None)
    said = []
    run_seeds(COMBINED, seeds, tmp_path / "b", backend="textbook", log=said.append, source=tmp_path / "a")
    run_seeds(COMBINED, seeds, tmp_path / "c", backend="textbook", log=lambda line: None)
    assert sum("copied from" in line for line in said) == 6
    for seed in seeds:
        assert_same_bits(tmp_path / "b" / f"seed-{seed}", tmp_path / "c" / f"seed-{seed}")


def test_what_cannot_be_copied_is_rejected(tmp_path):
    carry_out(NEURONS, tmp_path / "a")
    with pytest.raises(MnpError, match="holds no run"):
        carry_out(COMBINED, tmp_path / "b", source=tmp_path / "nothing")
    with pytest.raises(MnpError, match="no finished round in common with tiny-combined, seed 3"):
        carry_out(dataclasses.replace(COMBINED, seed=3), tmp_path / "c", source=tmp_path / "a")
    path = tmp_path / "a" / "checkpoints" / "01-neurons-k2.npz"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MnpError, match="01-neurons-k2"):
        carry_out(COMBINED, tmp_path / "d", source=tmp_path / "a")
    assert path.read_bytes() == data[: len(data) // 2]


def test_all_folds_at_once_copy_nothing(tmp_path):
    carry_out(NEURONS, tmp_path / "a")
    with pytest.raises(MnpError, match=r"name a data\.fold"):
        carry_out(get_experiment("lfw-view2"), tmp_path / "b", source=tmp_path / "a")


def test_rounds_on_other_data_are_not_copied(tmp_path, monkeypatch):
    """The recipe is the same, the images are not: one pixel differs."""
    carry_out(NEURONS, tmp_path / "a")
    load = classification.load_data

    def other_data(recipe, folder):
        data = load(recipe, folder)
        data.train_images[0, 0, 14, 14] += 0.25
        return data

    monkeypatch.setattr(classification, "load_data", other_data)
    with pytest.raises(MnpError, match=r"--from .*other data"):
        carry_out(COMBINED, tmp_path / "b", source=tmp_path / "a")
    assert not list((tmp_path / "b" / "checkpoints").glob("*.npz"))
