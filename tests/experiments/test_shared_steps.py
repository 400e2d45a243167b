"""Steps that two recipes share are taken over, bit by bit, and never from a run that differs."""

import dataclasses

import pytest
from tiny_runs import NEURONS, assert_same_bits, carry_out

from mnp.errors import MnpError
from mnp.experiments.recipes import EXPERIMENTS, PruneRecipe, TrainRecipe, WeightRecipe
from mnp.experiments.seeds import run_seeds
from mnp.experiments.shared_steps import shared_steps

COMBINED = dataclasses.replace(NEURONS, name="tiny-combined", weights=WeightRecipe((0.8,), epochs=1))
WEIGHTS = dataclasses.replace(COMBINED, name="tiny-weights", prune=PruneRecipe(to_k=None))


def labels(*experiments):
    return [step.label for step in shared_steps(*experiments)]


def test_a_run_from_another_ends_with_the_bits_of_one_from_scratch(tmp_path):
    carry_out(NEURONS, tmp_path / "neurons")
    for experiment, taken in ((COMBINED, 3), (WEIGHTS, 1)):
        whole, out = tmp_path / experiment.name, tmp_path / f"{experiment.name}-from"
        carry_out(experiment, whole)
        _, said = carry_out(experiment, out, source=tmp_path / "neurons")
        assert sum("taken over" in line for line in said) == taken
        assert sum(line.startswith("step ") for line in said) == 1
        assert_same_bits(out, whole)


def test_which_steps_are_shared():
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
    # weights steps are never taken over, and a compare begins like the sequence of the same network
    assert labels(COMBINED, dataclasses.replace(COMBINED, name="again")) == labels(COMBINED, NEURONS)
    assert labels(EXPERIMENTS["mnist-compare"], EXPERIMENTS["mnist-caffe"]) == ["00-train-k4"]


def test_seeds_take_over_their_own(tmp_path):
    seeds = [0, 1]
    run_seeds(NEURONS, seeds, tmp_path / "a", backend="textbook", log=lambda line: None)
    said = []
    run_seeds(COMBINED, seeds, tmp_path / "b", backend="textbook", log=said.append, source=tmp_path / "a")
    run_seeds(COMBINED, seeds, tmp_path / "c", backend="textbook", log=lambda line: None)
    assert sum("taken over" in line for line in said) == 6
    for seed in seeds:
        assert_same_bits(tmp_path / "b" / f"seed-{seed}", tmp_path / "c" / f"seed-{seed}")


def test_what_cannot_be_taken_over_is_refused(tmp_path):
    carry_out(NEURONS, tmp_path / "a")
    with pytest.raises(MnpError, match="holds no run"):
        carry_out(COMBINED, tmp_path / "b", source=tmp_path / "nothing")
    with pytest.raises(MnpError, match="no finished step in common with tiny-combined, seed 3"):
        carry_out(dataclasses.replace(COMBINED, seed=3), tmp_path / "c", source=tmp_path / "a")
    path = tmp_path / "a" / "checkpoints" / "01-neurons-k2.npz"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MnpError, match="01-neurons-k2"):
        carry_out(COMBINED, tmp_path / "d", source=tmp_path / "a")
    assert path.read_bytes() == data[: len(data) // 2]


def test_all_folds_at_once_take_nothing_over(tmp_path):
    from mnp.experiments.catalogue import named

    carry_out(NEURONS, tmp_path / "a")
    with pytest.raises(MnpError, match=r"name a data\.fold"):
        carry_out(named("lfw-view2"), tmp_path / "b", source=tmp_path / "a")
