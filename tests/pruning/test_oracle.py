"""A pruning run of `mnp run` beside the same run in plain PyTorch (`oracle_torch.py`): the same decisions.

In float64 the two are one from the first step to the last: the same win counts and neurons, parameters to
1e-10. In float32, as runs are, rounding may now and then give the maximum of a unit or a pooling window to
another candidate; from there two right implementations part (PyTorch in float32 from PyTorch in float64 too:
seed 2, by 1e-2 after the last round). So there each round begins with the run's own checkpoint of the round
before: decisions are equal, and parameters differ by no more than one example's step.
"""

import numpy as np
import pytest

import mnp.data
from mnp.checkpoint import load_checkpoint, with_prefix
from mnp.experiments.recipes import DataRecipe, Experiment, ModelRecipe, PruneRecipe, TrainRecipe
from mnp.experiments.runner import run
from mnp.kernels import textbook
from mnp.nn import fit, learning_rate, lenet5
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import collect_win_counts, prune_neurons

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # so small a network only waits for more
oracle = pytest.importorskip("oracle_torch")

EXAMPLES, UNITS, K = 320, 12, 4
PLAN = oracle.Plan(conv1=4, conv2=6, units=UNITS, k=K, epochs=(6, 3, 3, 3))
EXPERIMENT = {
    "data": DataRecipe("digits", train_images=EXAMPLES, test_images=40),
    "model": ModelRecipe(conv1=4, conv2=6, neurons=UNITS * K, k=K, dropout=0.5),
    "train": TrainRecipe(epochs=PLAN.epochs[0], batch_size=PLAN.batch_size),
    "prune": PruneRecipe(epochs=PLAN.epochs[1]),
}


@pytest.fixture(scope="module")
def digits():
    data = mnp.data.load("digits")
    return data.train_images[:EXAMPLES], data.train_labels[:EXAMPLES]


# What one example can move a parameter by in one step, with momentum, if its gradient is about 1.
ONE_EXAMPLE = PLAN.lr / (1 - PLAN.momentum) / PLAN.batch_size


def compare_state(state, theirs, where, bound):
    """Every parameter, the maxout's rows u * k + j beside our (unit, neuron)."""
    assert state.keys() == theirs.keys()
    for name, ours in state.items():
        assert np.abs(ours - theirs[name].reshape(ours.shape)).max() <= bound, f"{where}: {name}"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mnp_run_makes_the_decisions_of_plain_pytorch(digits, seed, tmp_path):
    images, labels = digits
    run(Experiment("oracle", seed=seed, **EXPERIMENT), tmp_path / "run", log=lambda line: None)
    checkpoints = sorted((tmp_path / "run" / "checkpoints").glob("0*.npz"))
    contents = [load_checkpoint(path)[0] for path in checkpoints]
    states = [with_prefix(arrays, "state") for arrays in contents]
    rounds = oracle.run(images, labels, PLAN, seed, torch.float32, states)
    assert len(checkpoints) == len(rounds) == K
    for path, arrays, theirs in zip(checkpoints, contents, rounds, strict=True):
        if theirs.counts is not None:
            assert np.array_equal(arrays["counts/fc3"], theirs.counts), f"{path.name}: win counts"
            assert np.array_equal(arrays["keep/fc3"], theirs.keep), f"{path.name}: neurons kept"
            assert theirs.counts.std() > 10 and theirs.counts.sum() == EXAMPLES * UNITS, "worth pruning"
        compare_state(with_prefix(arrays, "state"), theirs.state, path.name, ONE_EXAMPLE)
    assert np.mean(rounds[-1].losses[-5:]) < 0.6 * np.mean(rounds[0].losses[:5]), "it learns"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_in_float64_the_two_runs_are_one(digits, seed):
    images, labels = digits[0].astype(np.float64), digits[1]
    net = None
    for stage, theirs in enumerate(oracle.run(images, labels, PLAN, seed)):
        rng = oracle.generator(seed, stage)
        if net is None:
            options = {"dropout": PLAN.dropout, "rng": rng, "dtype": np.float64, "backend": textbook}
            net = lenet5(PLAN.conv1, PLAN.conv2, UNITS, K, **options)
        else:
            counts = collect_win_counts(net, "fc3", images, batch_size=200)
            keep = keep_top(rank_neurons(counts), n_keep=net["fc3"].k - 1)
            assert np.array_equal(counts, theirs.counts) and np.array_equal(keep, theirs.keep)
            net = prune_neurons(net, "fc3", keep)
        losses = []
        fit(
            net,
            (images, labels),
            epochs=PLAN.epochs[stage],
            lr=lambda i: learning_rate("inv", PLAN.lr, i, 0),
            batch_size=PLAN.batch_size,
            momentum=PLAN.momentum,
            weight_decay=PLAN.weight_decay,
            rng=rng,
            progress=lambda i, loss, wrong, size, losses=losses: losses.append(loss),
        )
        assert np.allclose(losses, theirs.losses, rtol=1e-10)
        compare_state(net.params(), theirs.state, f"stage {stage}", 1e-10)
