"""Runs that take a second: two filters, four units, sixty images."""

import csv
import dataclasses

from mnp.checkpoint import load_checkpoint
from mnp.experiments.recipes import (
    DataRecipe,
    Experiment,
    ModelRecipe,
    PruneRecipe,
    TrainRecipe,
    WeightRecipe,
)
from mnp.experiments.runner import run

NEURONS = Experiment(
    "tiny",
    data=DataRecipe("digits", train_images=80, test_images=40, validation=20),
    model=ModelRecipe(conv1=2, conv2=2, neurons=12, k=3),
    train=TrainRecipe(epochs=2, batch_size=20),
    prune=PruneRecipe(epochs=1),
)
GRADUAL = dataclasses.replace(
    NEURONS,
    name="tiny-gradual",
    prune=PruneRecipe(to_k=None),
    weights=WeightRecipe((0.5, 0.8), schedule="gradual", epochs=3, ramp_epochs=2, every=2, splice=True),
)
COMPARE = dataclasses.replace(
    NEURONS, name="tiny-compare", plan="compare", weights=WeightRecipe((0.75, 0.8), epochs=1)
)


def carry_out(experiment, out, **more):
    """Run on the textbook backend; return the rows and the lines that were logged."""
    lines = []
    function = run
    if experiment.has_folds:
        from mnp.experiments.lfw_folds import run_folds as function
    return function(experiment, out, backend="textbook", log=lines.append, **more), lines


def interrupt_at(index, epoch):
    """An `on_epoch` that interrupts a run before its state after this epoch of this round is saved."""

    def on_epoch(net, round, done, result):
        if (round.index, done) == (index, epoch):
            raise KeyboardInterrupt

    return on_epoch


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same_bits(out, expected):
    """Same files, same arrays, same rows but for the seconds, same random state and velocity."""
    names = sorted(p.name for p in (expected / "checkpoints").iterdir())
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == names
    for name in names:
        (a, meta_a), (b, meta_b) = (load_checkpoint(f / "checkpoints" / name) for f in (out, expected))
        assert list(a) == list(b)
        assert all(a[key].tobytes() == b[key].tobytes() and a[key].dtype == b[key].dtype for key in a)
        for meta in (meta_a, meta_b):
            meta["row"].pop("seconds")
        assert meta_a == meta_b
    tables = [list(csv.DictReader((f / "history.csv").open())) for f in (out, expected)]
    assert without_seconds(tables[0]) == without_seconds(tables[1])
