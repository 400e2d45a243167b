"""mnp.pruning.surgery, sensitivity and splicing_sgd: decisions applied to networks."""

import numpy as np
import pytest
from one_line import one_line

from mnp.errors import MnpError
from mnp.kernels import textbook
from mnp.nn import SGD, Dense, Dropout, Flatten, MaxoutDense, Network, ReLU, lenet5, loss_and_grads
from mnp.pruning import (
    MEASURES,
    apply_masks,
    collect_win_counts,
    keep_top,
    magnitude_mask,
    measure_relevance,
    prune_neurons,
    rank_neurons,
    sensitivity_scan,
    weight_names,
    winners,
)
from mnp.pruning.relevance import margin_sums
from mnp.pruning.splicing_sgd import SplicingSGD


def small_net(k=3, relu=True, dropout=0.5, dtype=np.float64, seed=0):
    """flatten -> maxout of 4 units -> dense of 3, on 2x3 images."""
    rng = np.random.default_rng(seed)
    return Network(
        [
            ("flatten", Flatten(backend=textbook)),
            ("fc1", MaxoutDense(6, 4, k, relu=relu, dropout=dropout, rng=rng, dtype=dtype, backend=textbook)),
            ("fc2", Dense(4, 3, rng=rng, dtype=dtype, backend=textbook)),
        ]
    )


def images(n, seed=1, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, 1, 2, 3)).astype(dtype)


def frozen(net):
    """The bytes of all arrays: to see that a network was left alone."""
    return {name: a.tobytes() for name, a in {**net.state_dict(), **net.masks()}.items()}


def train_steps(net, optimizer, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(3):
        loss_and_grads(net, rng.normal(size=(8, 1, 2, 3)), rng.integers(0, 3, 8), rng=rng)
        optimizer.step(0.1)


# Measuring.


def test_winners_are_those_of_the_raw_values():
    net = small_net()
    x = images(20)
    weight, bias = net["fc1"].params["weight"], net["fc1"].params["bias"]
    z = np.einsum("ni,uji->nuj", x.reshape(20, 6), weight) + bias
    assert np.array_equal(winners(net, "fc1", x), z.argmax(axis=2))
    assert (z.max(axis=2) < 0).any(), "the example must contain a unit that the ReLU silences"


def test_every_measure_by_its_name():
    net, x = small_net(), images(30)
    layer = net["fc1"]
    counts = collect_win_counts(net, "fc1", x)
    assert np.array_equal(measure_relevance(net, "fc1", "win_counts", x), counts)
    assert np.array_equal(measure_relevance(net, "fc1", "reversed", x), -counts)
    norm = np.sqrt((layer.params["weight"] ** 2).sum(axis=2) + layer.params["bias"] ** 2)
    assert np.allclose(measure_relevance(net, "fc1", "weight_norm"), norm)
    z = np.einsum("ni,uji->nuj", x.reshape(30, 6), layer.params["weight"]) + layer.params["bias"]
    assert np.allclose(
        measure_relevance(net, "fc1", "mean_activation", x, batch_size=7), np.maximum(z, 0).mean(axis=0)
    )
    plain = small_net(relu=False)
    assert np.allclose(measure_relevance(plain, "fc1", "mean_activation", x), z.mean(axis=0))
    drawn = measure_relevance(net, "fc1", "random", rng=np.random.default_rng(3))
    assert np.array_equal(drawn, np.random.default_rng(3).random((4, 3)))
    trained = measure_relevance(net, "fc1", "win_counts_training", x, rng=np.random.default_rng(3))
    same = collect_win_counts(net, "fc1", x, training=True, rng=np.random.default_rng(3))
    assert np.array_equal(trained, same)
    assert np.allclose(measure_relevance(net, "fc1", "margin", x, batch_size=7), margin_sums(z, relu=True))
    assert len(MEASURES) == 8


def test_first_order_weights_the_margins_by_the_gradient_at_the_output():
    net, x = small_net(), images(30)
    labels = np.arange(30) % net.classes
    layer = net["fc1"]
    y = net.forward(x, until="fc1").copy()
    z = np.einsum("ni,uji->nuj", x.reshape(30, 6), layer.params["weight"]) + layer.params["bias"]
    logits = y @ net["fc2"].params["weight"].T + net["fc2"].params["bias"]
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    dy = (softmax - np.eye(net.classes)[labels]) @ net["fc2"].params["weight"]
    expected = margin_sums(z, layer.relu, dy)
    for batch_size in (30, 7):
        found = measure_relevance(net, "fc1", "first_order", x, batch_size=batch_size, labels=labels)
        assert np.allclose(found, expected, rtol=1e-4)


# Neurons.


def test_pruning_takes_the_rows_and_leaves_the_old_network_alone():
    net = small_net()
    before = frozen(net)
    keep = np.array([[0, 1], [0, 2], [1, 2], [0, 1]])
    pruned = prune_neurons(net, "fc1", keep)
    assert frozen(net) == before
    old, new = net["fc1"], pruned["fc1"]
    assert isinstance(new, MaxoutDense) and (new.units, new.k) == (4, 2)
    assert (new.relu, new.dropout, new.dtype) == (True, 0.5, np.float64)
    for u in range(4):
        assert np.array_equal(new.params["weight"][u], old.params["weight"][u, keep[u]])
        assert np.array_equal(new.params["bias"][u], old.params["bias"][u, keep[u]])
    assert list(pruned.layers) == list(net.layers)
    shared = [np.shares_memory(a, b) for a in net.params().values() for b in pruned.params().values()]
    assert not any(shared)
    assert new.params["weight"].flags.c_contiguous


def test_down_to_one_neuron_the_layer_becomes_dense_with_equal_outputs():
    net, x = small_net(), images(40)
    keep = keep_top(rank_neurons(collect_win_counts(net, "fc1", x)), 1)
    dense = prune_neurons(net, "fc1", keep)
    assert list(dense.layers) == ["flatten", "fc1", "fc1_relu", "fc1_dropout", "fc2"]
    assert [type(dense[n]) for n in ("fc1", "fc1_relu", "fc1_dropout")] == [Dense, ReLU, Dropout]
    assert dense["fc1_dropout"].p == 0.5
    assert dense["fc1"].params["weight"].shape == (4, 6) and dense["fc1"].params["bias"].shape == (4,)
    # A maxout layer of k = 1 with the same rows: equal in evaluation, and in training with equal draws.
    single = small_net(k=1)
    single["fc1"].params["weight"][:, 0] = dense["fc1"].params["weight"]
    single["fc1"].params["bias"][:, 0] = dense["fc1"].params["bias"]
    single["fc2"].params.update(dense["fc2"].params)
    assert np.array_equal(dense.forward(x), single.forward(x))
    runs = [n.forward(x, training=True, rng=np.random.default_rng(5)) for n in (dense, single)]
    assert np.allclose(*runs, rtol=1e-12)


@pytest.mark.parametrize(
    "relu, dropout, extra", [(False, 0.0, []), (True, 0.0, ["fc1_relu"]), (False, 0.5, ["fc1_dropout"])]
)
def test_the_dense_layer_brings_only_what_the_maxout_layer_had(relu, dropout, extra):
    pruned = prune_neurons(small_net(relu=relu, dropout=dropout), "fc1", np.zeros((4, 1), dtype=int))
    assert list(pruned.layers) == ["flatten", "fc1", *extra, "fc2"]


def test_masks_go_with_the_neurons_that_stay():
    net = small_net()
    rng = np.random.default_rng(0)
    masks = {"fc1.weight": rng.random((4, 3, 6)) < 0.7, "fc1.bias": rng.random((4, 3)) < 0.7}
    net = apply_masks(net, masks | {"fc2.weight": rng.random((3, 4)) < 0.7})
    keep = np.array([[0, 1], [0, 2], [1, 2], [0, 1]])
    pruned = prune_neurons(net, "fc1", keep)
    for u in range(4):
        assert np.array_equal(pruned.masks()["fc1.weight"][u], masks["fc1.weight"][u, keep[u]])
        assert np.array_equal(pruned.masks()["fc1.bias"][u], masks["fc1.bias"][u, keep[u]])
    assert np.array_equal(pruned.masks()["fc2.weight"], net.masks()["fc2.weight"])
    dense = prune_neurons(net, "fc1", keep[:, :1])
    assert dense.masks()["fc1.weight"].shape == (4, 6) and dense.masks()["fc1.bias"].shape == (4,)
    train_steps(dense, SGD(dense))
    assert not dense.params()["fc1.weight"][~dense.masks()["fc1.weight"]].any()


# Weights.


def test_masks_only_shrink_unless_told_otherwise():
    net = small_net()
    wide, narrow = (magnitude_mask(net.params()["fc2.weight"], s) for s in (0.25, 0.5))
    masked = apply_masks(apply_masks(net, {"fc2.weight": wide}), {"fc2.weight": narrow})
    assert np.array_equal(masked.masks()["fc2.weight"], narrow)
    with pytest.raises(MnpError, match="bring back 3 pruned weights"):
        apply_masks(masked, {"fc2.weight": wide})
    back = apply_masks(masked, {"fc2.weight": wide}, allow_regrowth=True)
    assert np.array_equal(back.masks()["fc2.weight"], wide)
    assert not back.params()["fc2.weight"][wide & ~narrow].any()
    # Another parameter's mask stays as it is.
    other = apply_masks(masked, {"fc1.bias": np.ones((4, 3), dtype=bool)})
    assert np.array_equal(other.masks()["fc2.weight"], narrow)


@pytest.mark.parametrize(
    "name, mask, message",
    [
        ("fc7.weight", np.ones((3, 4), dtype=bool), "fc7"),
        ("fc2.weight", np.ones((4, 3), dtype=bool), r"\(3, 4\)"),
        ("fc2.weight", np.ones((3, 4)), "bool"),
        ("fc2.weight", np.zeros((3, 4), dtype=bool), "keeps nothing"),
    ],
)
def test_a_wrong_mask_is_explained_and_changes_nothing(name, mask, message):
    net = small_net()
    before = frozen(net)
    with pytest.raises(MnpError, match=message):
        apply_masks(net, {name: mask})
    assert frozen(net) == before
    masked = apply_masks(net, {"fc2.weight": np.eye(3, 4, dtype=bool)})
    with pytest.raises(MnpError, match=message):
        apply_masks(masked, {name: mask})


def test_weight_names_are_the_matrices():
    assert weight_names(small_net()) == ["fc1.weight", "fc2.weight"]
    lenet = lenet5(2, 3, 4, 2, 5, backend=textbook, image_size=16)
    assert weight_names(lenet) == ["conv1.weight", "conv2.weight", "fc3.weight", "fc4.weight"]


# Sensitivity.


def test_sensitivity_prunes_one_layer_at_a_time():
    net = small_net()
    before, seen = frozen(net), []

    def evaluate(pruned):
        zeros = {n: int((a == 0).sum()) for n, a in pruned.params().items() if n in weight_names(net)}
        seen.append(zeros)
        return sum(zeros.values())

    rows = sensitivity_scan(net, [0.0, 0.5], evaluate)
    assert frozen(net) == before
    assert [(r["layer"], r["sparsity"], r["size"], r["nonzero"], r["error"]) for r in rows] == [
        ("fc1.weight", 0.0, 72, 72, 0.0),
        ("fc1.weight", 0.5, 72, 36, 36.0),
        ("fc2.weight", 0.0, 12, 12, 0.0),
        ("fc2.weight", 0.5, 12, 6, 6.0),
    ]
    assert seen[1] == {"fc1.weight": 36, "fc2.weight": 0}


def test_sensitivity_starts_from_the_masks_that_are_there():
    net = small_net()
    net = apply_masks(net, {"fc2.weight": magnitude_mask(net.params()["fc2.weight"], 0.5)})
    rows = sensitivity_scan(net, iter((0.25, 0.75)), lambda pruned: 1, names=["fc2.weight"])
    assert [r["nonzero"] for r in rows] == [6, 3]


# Splicing.


def test_without_masks_the_splicing_optimiser_is_sgd():
    one, two = small_net(), small_net()
    train_steps(one, SGD(one))
    train_steps(two, SplicingSGD(two))
    assert frozen(one) == frozen(two)


def test_a_pruned_weight_goes_on_learning_and_comes_back():
    net = small_net()
    optimizer = SplicingSGD(net)
    mask = magnitude_mask(optimizer.dense["fc1.weight"], 0.5)
    optimizer.set_masks({"fc1.weight": mask})
    dense = optimizer.dense["fc1.weight"].copy()
    train_steps(net, optimizer)
    weight = net.params()["fc1.weight"]
    assert not weight[~mask].any()
    assert np.array_equal(weight[mask], optimizer.dense["fc1.weight"][mask])
    assert (optimizer.dense["fc1.weight"] != dense)[~mask].any(), "what is masked must still learn"
    optimizer.set_masks({"fc1.weight": np.ones_like(mask)})
    assert np.array_equal(net.params()["fc1.weight"], optimizer.dense["fc1.weight"])
    assert net.params()["fc1.weight"][~mask].all()


def test_splicing_goes_on_with_the_same_bits_from_saved_state():
    net = small_net()
    optimizer = SplicingSGD(net)
    optimizer.set_masks({"fc1.weight": magnitude_mask(optimizer.dense["fc1.weight"], 0.5)})
    train_steps(net, optimizer, seed=1)
    saved = [{n: a.copy() for n, a in d.items()} for d in (optimizer.dense, optimizer.velocity, net.masks())]
    train_steps(net, optimizer, seed=2)
    other = small_net(seed=9)
    other.set_masks(saved[2])
    resumed = SplicingSGD(other)
    resumed.load(saved[0], saved[1])
    train_steps(other, resumed, seed=2)
    assert frozen(other) == frozen(net)


def test_the_splicing_optimiser_takes_what_sgd_takes_and_loads_what_was_saved():
    with one_line("momentum in"):
        SplicingSGD(small_net(), momentum=1.0)
    SplicingSGD(small_net(), momentum=0.0, weight_decay=0.0)
    optimizer = SplicingSGD(small_net())
    with one_line(r"needs gradients .fc1\.weight"):
        optimizer.step(0.1)
    with one_line(r"dense value of 'fc1\.weight' is missing"):
        optimizer.load({}, optimizer.velocity)


NONE = np.zeros((4, 1), dtype=int)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda net, x: measure_relevance(net, "fc1", "random"), "needs rng"),
        (lambda net, x: measure_relevance(net, "fc1", "taste", x), "unknown measure 'taste'"),
        (lambda net, x: measure_relevance(net, "fc1", "mean_activation", x[:0]), "no examples"),
        (lambda net, x: measure_relevance(net, "fc1", "first_order", x), "needs labels"),
        (lambda net, x: measure_relevance(net, "fc1", "win_counts_training", x), "random generator"),
        (lambda net, x: measure_relevance(net, "fc2", "weight_norm"), "'fc2' is a Dense"),
        (lambda net, x: winners(net, "fc2", x), "'fc2' is a Dense"),
        (lambda net, x: collect_win_counts(net, "fc2", x), "'fc2' is a Dense"),
        (lambda net, x: collect_win_counts(net, "fc9", x), "fc9"),
        (lambda net, x: prune_neurons(net, "fc1", NONE[:3]), "4 units"),
        (lambda net, x: prune_neurons(net, "fc1", NONE + 3), "holds neuron 3"),
        (lambda net, x: prune_neurons(small_net(k=1), "fc1", NONE), "k=1: its only neuron"),
        (lambda net, x: prune_neurons(prune_neurons(net, "fc1", NONE), "fc1", NONE), "'fc1' is a Dense"),
        (lambda net, x: sensitivity_scan(net, [0.5], id, names=["fc8.weight"]), r"no weight 'fc8\.weight'"),
        (lambda net, x: sensitivity_scan(net, [1.0], id), r"outside \[0, 1\)"),
    ],
)
def test_wrong_use_is_one_line(call, says):
    with one_line(says):
        call(small_net(), images(2))
