"""What must always hold, whatever the shapes and the numbers: the list under "How pruning reads".

Weights and inputs are small integers in float64, so sums are exact and equal means equal.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mnp.kernels import textbook
from mnp.nn import SGD, Conv2d, Dense, Flatten, MaxoutDense, MaxPool2d, Network, ReLU, loss_and_grads
from mnp.pruning import (
    apply_masks,
    collect_win_counts,
    global_magnitude_masks,
    keep_ever_winning,
    keep_top,
    magnitude_mask,
    prune_neurons,
    rank_neurons,
    weight_names,
    winners,
    wins_lost,
)
from mnp.pruning.shrink import remove_dead_units
from mnp.pruning.splicing_sgd import SplicingSGD
from mnp.sparse import sparse_network

FAST = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)


def integers(rng, *shape):
    return rng.integers(-3, 4, shape).astype(np.float64)


def fill(net, rng):
    for array in net.params().values():
        array[...] = integers(rng, *array.shape)
    return net


@st.composite
def maxout_nets(draw, least_k=2):
    """A small network with one maxout layer, a batch for it, and the generator behind both."""
    rng = np.random.default_rng(draw(SEEDS))
    width, units, k = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(least_k, 4))
    relu = draw(st.booleans())
    net = Network(
        [
            ("fc", MaxoutDense(width, units, k, relu=relu, dtype=np.float64, backend=textbook)),
            ("out", Dense(units, 2, dtype=np.float64, backend=textbook)),
        ]
    )
    return fill(net, rng), integers(rng, draw(st.integers(1, 12)), width), rng


@FAST
@given(maxout_nets(least_k=1), st.integers(1, 5))
def test_counts_of_a_network_do_not_depend_on_the_batches(case, size):
    net, x, _ = case
    counts = collect_win_counts(net, "fc", x)
    assert (counts.sum(axis=1) == len(x)).all()
    assert np.array_equal(collect_win_counts(net, "fc", x, batch_size=size), counts)


@FAST
@given(maxout_nets())
def test_a_neuron_that_never_won_can_go_without_changing_any_output(case):
    net, x, _ = case
    counts = collect_win_counts(net, "fc", x)
    keep = keep_ever_winning(counts)
    assert not wins_lost(counts, keep).any()
    pruned = prune_neurons(net, "fc", keep)
    assert np.array_equal(pruned.forward(x), net.forward(x))


@FAST
@given(maxout_nets(), st.data())
def test_removing_neurons_never_raises_a_unit_and_changes_at_most_the_wins_lost(case, data):
    net, x, rng = case
    units, k = net["fc"].units, net["fc"].k
    n_keep = data.draw(st.integers(1, k))
    keep = keep_top(rank_neurons(rng.random((units, k))), n_keep)  # any keep, not only a good one
    lost = wins_lost(collect_win_counts(net, "fc", x), keep)
    before = net.forward(x, until="fc")
    pruned = prune_neurons(net, "fc", keep)
    last = "fc_relu" if "fc_relu" in pruned.layers else "fc"
    after = pruned.forward(x, until=last)
    assert (after <= before).all()
    assert ((after != before).sum(axis=0) <= lost).all()
    # Where the winner stayed, nothing moved at all.
    stayed = (winners(net, "fc", x)[:, :, None] == keep[None]).any(axis=2)
    assert np.array_equal(after[stayed], before[stayed])


@FAST
@given(maxout_nets(), st.data())
def test_pruning_by_counts_loses_the_fewest_wins(case, data):
    net, x, rng = case
    counts = collect_win_counts(net, "fc", x)
    n_keep = data.draw(st.integers(1, net["fc"].k))
    ours = wins_lost(counts, keep_top(rank_neurons(counts), n_keep))
    other = wins_lost(counts, keep_top(rank_neurons(rng.random(counts.shape)), n_keep))
    assert (ours <= other).all()


@FAST
@given(maxout_nets(), st.data())
def test_neurons_masked_out_of_the_maximum_and_neurons_removed_give_the_same_outputs(case, data):
    net, x, rng = case
    layer = net["fc"]
    keep = keep_top(rank_neurons(rng.random((layer.units, layer.k))), data.draw(st.integers(1, layer.k)))
    z = np.einsum("ni,uji->nuj", x, layer.params["weight"]) + layer.params["bias"]
    stays = np.zeros((layer.units, layer.k), dtype=bool)
    np.put_along_axis(stays, keep, True, axis=1)
    masked = np.where(stays, z, -np.inf).max(axis=2)
    if layer.relu:
        masked = np.maximum(masked, 0)
    expected = masked @ net["out"].params["weight"].T + net["out"].params["bias"]
    assert np.array_equal(prune_neurons(net, "fc", keep).forward(x), expected)


@FAST
@given(SEEDS, st.integers(2, 30), st.lists(st.floats(0, 0.9), min_size=1, max_size=4), st.booleans())
def test_masks_only_shrink(seed, size, sparsities, together):
    rng = np.random.default_rng(seed)
    weights = {"a": integers(rng, size), "b": integers(rng, 2, size)}
    masks = {name: np.ones(w.shape, dtype=bool) for name, w in weights.items()}
    for sparsity in sparsities:
        try:
            if together:
                new = global_magnitude_masks(weights, sparsity, masks)
            else:
                new = {n: magnitude_mask(w, sparsity, masks[n]) for n, w in weights.items()}
        except ValueError as error:
            assert "one must stay" in str(error)
            continue
        for name in weights:
            assert not (new[name] & ~masks[name]).any()
        masks = new
        weights = {name: integers(rng, *w.shape) for name, w in weights.items()}


@st.composite
def convolutional_nets(draw):
    """conv -> relu -> pool -> conv -> flatten -> maxout -> dense, and a batch of images."""
    rng = np.random.default_rng(draw(SEEDS))
    a, b, units, k = (draw(st.integers(1, 3)) for _ in range(4))
    padding, stride = draw(st.integers(0, 1)), draw(st.integers(1, 2))
    layers = [
        ("conv1", Conv2d(2, a, 2, stride, padding, dtype=np.float64, backend=textbook)),
        ("relu1", ReLU(backend=textbook)),
        ("pool1", MaxPool2d(2, 1, backend=textbook)),
        ("conv2", Conv2d(a, b, 2, dtype=np.float64, backend=textbook)),
        ("flatten", Flatten(backend=textbook)),
    ]
    shape = Network(layers).output_shapes((2, 6, 7))["flatten"]
    layers += [
        ("fc3", MaxoutDense(*shape, units, k, dtype=np.float64, backend=textbook)),
        ("fc4", Dense(units, 3, dtype=np.float64, backend=textbook)),
    ]
    return fill(Network(layers), rng), integers(rng, draw(st.integers(1, 3)), 2, 6, 7), rng


def random_masks(net, rng, kept_share):
    masks = {name: rng.random(net.params()[name].shape) < kept_share for name in weight_names(net)}
    for mask in masks.values():
        mask.flat[rng.integers(mask.size)] = True  # a layer keeps at least one weight
    return masks


@FAST
@given(convolutional_nets(), st.floats(0.05, 0.9))
def test_a_masked_network_and_the_same_made_physically_smaller_give_the_same_outputs(case, kept_share):
    net, x, rng = case
    masked = apply_masks(net, random_masks(net, rng, kept_share))
    expected = masked.forward(x)
    # Units that nobody listens to are really gone.
    small = remove_dead_units(masked)
    assert np.array_equal(small.forward(x), expected)
    assert small.count_params() <= masked.count_params()
    # And the zeros of what is left are.
    names = [name.partition(".")[0] for name in weight_names(masked)]
    assert np.array_equal(sparse_network(masked, names).forward(x), expected)
    assert np.array_equal(sparse_network(small, names).forward(x), expected)


@settings(max_examples=20, deadline=None)
@given(maxout_nets(), st.floats(0.1, 0.9), st.floats(0, 0.95), st.floats(0, 0.5), st.booleans())
def test_a_pruned_weight_stays_exactly_zero(case, kept_share, momentum, decay, splicing):
    net, x, rng = case
    masks = random_masks(net, rng, kept_share)
    labels = rng.integers(0, 2, len(x))
    if splicing:
        optimizer = SplicingSGD(net, momentum, decay)
        optimizer.set_masks(masks)
    else:
        optimizer = SGD(net, momentum, decay)
        loss_and_grads(net, x, labels)
        optimizer.step(0.1)  # so that there is a velocity which could carry a weight back
        net.set_masks(masks)
    for _ in range(3):
        loss_and_grads(net, x, labels)
        optimizer.step(0.1)
        for name, mask in masks.items():
            assert not net.params()[name][~mask].any()
            assert not np.signbit(net.params()[name][~mask]).any()
            if not splicing:
                assert not optimizer.velocity[name][~mask].any()


@FAST
@given(maxout_nets())
def test_nothing_that_is_measured_or_pruned_changes_the_network(case):
    net, x, _ = case
    before = {name: array.copy() for name, array in net.params().items()}
    counts = collect_win_counts(net, "fc", x)
    prune_neurons(net, "fc", keep_top(rank_neurons(counts), 1)).forward(x)
    apply_masks(
        net, {n: magnitude_mask(net.params()[n], 0.3) for n in weight_names(net) if net.params()[n].size > 3}
    )
    assert all(np.array_equal(array, before[name]) for name, array in net.params().items())
    assert not net.masks()
