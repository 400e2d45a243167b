"""Weight pruning inside a run: exact counts, floors, masks that follow a schedule, splicing."""

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.experiments.gradual import GradualPruning, Target, kept_counts, masks_for, prunable
from mnp.nn import lenet5, loss_and_grads


def network():
    return lenet5(2, 2, 4, 3, rng=3, backend="textbook")


def grads(net, rng):
    x = rng.random((4, 1, 28, 28), dtype=np.float32)
    loss_and_grads(net, x, np.array([0, 1, 2, 3]), rng)


@pytest.mark.parametrize("splice", [False, True])
def test_gradual_masks_step_by_step(splice):
    net, rng = network(), np.random.default_rng(0)
    kept = kept_counts(net, 150)
    optimizer = GradualPruning(net, Target(150), ramp=6, every=2, splice=splice, weight_decay=0.1)
    returned, before = 0, {name: m.copy() for name, m in net.masks().items()}
    for i in range(9):
        grads(net, rng)
        optimizer.step(0.5)
        for name, mask in net.masks().items():
            assert not net.params()[name][~mask].any()
            if i >= 5 or not splice:
                assert not optimizer.velocity[name][~mask].any()
            returned += int((mask & ~before[name]).sum())
            before[name] = mask.copy()
        sparsities = {name: 1 - mask.mean() for name, mask in net.masks().items()}
        if i == 0:
            assert not any(sparsities.values())  # nothing before the first `every`
    assert {name: int(mask.sum()) for name, mask in net.masks().items()} == kept
    assert optimizer.dense == {}
    assert (returned > 0) == splice


def test_without_a_ramp_the_masks_come_at_once():
    net = network()
    kept = kept_counts(net, 200)
    GradualPruning(net, Target(200), ramp=0, every=1)
    assert {name: int(mask.sum()) for name, mask in net.masks().items()} == kept


@pytest.mark.parametrize("remaining", [60, 333, 600, 10**6])
def test_kept_counts_are_exact(remaining):
    net = network()
    kept = kept_counts(net, remaining)
    biases = net.count_params() - sum(w.size for w in prunable(net).values())
    assert sum(kept.values()) + biases == min(remaining, net.count_params())
    assert all(1 <= kept[name] <= w.size for name, w in prunable(net).items())


def test_kept_counts_are_exact_where_a_floor_fills_the_largest_layer():
    net = network()
    sizes = {name: w.size for name, w in prunable(net).items()}
    largest = max(sizes, key=sizes.get)
    for more in range(40):
        remaining = net.count_params() - sum(sizes.values()) + sizes[largest] + 60 + more
        kept = kept_counts(net, remaining, ((largest.removesuffix(".weight"), 1.0),))
        assert sum(kept.values()) == sizes[largest] + 60 + more


def test_kept_counts_share_alike_above_their_floors():
    net = network()
    kept = kept_counts(net, 200, floors=(("conv1", 0.5), ("fc4", 1.0)))
    assert kept["conv1.weight"] == 25 and kept["fc4.weight"] == 40
    shares = [kept[name] / prunable(net)[name].size for name in ("conv2.weight", "fc3.weight")]
    assert abs(shares[0] - shares[1]) < 0.02 and shares[0] < 0.5


@pytest.mark.parametrize(
    ("remaining", "floors", "words"),
    [
        (29, (), "would empty a layer"),
        (100, (("fc4", 1.0), ("fc3", 0.5)), "floors"),
        (100, (("fc9", 1.0),), "no layer 'fc9'"),
    ],
)
def test_kept_counts_refuse_to_empty_a_layer(remaining, floors, words):
    with pytest.raises(MnpError, match=words):
        kept_counts(network(), remaining, floors)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_masks_leave_exactly_what_is_asked_and_only_shrink(scope):
    net = network()
    first = masks_for(net, Target(450, scope))
    net.set_masks(first)
    second = masks_for(net, Target(350, scope))
    biases = net.count_params() - sum(w.size for w in prunable(net).values())
    assert sum(int(m.sum()) for m in second.values()) + biases == 350
    assert all((first[name] | ~mask).all() for name, mask in second.items())


def test_a_global_mask_below_the_biases():
    with pytest.raises(MnpError, match="fewer than the biases"):
        masks_for(network(), Target(20, "global"))
