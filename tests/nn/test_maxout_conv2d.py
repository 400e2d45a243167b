"""Maxout over feature maps: against plain convolutions, and through pruning down to one of them."""

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.nn import Conv2d, Dense, Flatten, MaxoutConv2d, MaxPool2d, Network, lenet5, loss_and_grads
from mnp.nn.training import evaluate, fit
from mnp.pruning import (
    apply_masks,
    collect_win_counts,
    count_sizes,
    keep_top,
    measure_relevance,
    prune_neurons,
    prune_round,
    rank_neurons,
    winners,
    without_maxout,
)

BACKENDS = ["textbook", "jitted", "tiled"]


def images(n=5, channels=2, side=7):
    return np.random.default_rng(1).standard_normal((n, channels, side, side)).astype(np.float32)


def network(k=3, backend="textbook"):
    return Network(
        [
            ("conv1", MaxoutConv2d(2, 4, k, 3, rng=0, backend=backend)),
            ("pool1", MaxPool2d(2, backend=backend)),
            ("flatten", Flatten(backend=backend)),
            ("fc2", Dense(16, 3, rng=1, backend=backend)),
        ]
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_maximum_of_k_convolutions(backend):
    layer, x = MaxoutConv2d(2, 4, 3, 3, 2, 1, rng=0, backend=backend), images()
    layer.params["bias"][:] = np.random.default_rng(2).standard_normal((4, 3))
    maps = []
    for j in range(3):
        conv = Conv2d(2, 4, 3, 2, 1, backend="textbook")
        conv.params["weight"][:], conv.params["bias"][:] = (layer.params[key][:, j] for key in conv.params)
        maps.append(conv.forward(x))
    maps = np.stack(maps, axis=2)  # (N, units, k, OH, OW)
    y = layer.forward(x)
    np.testing.assert_allclose(y, maps.max(axis=2), rtol=1e-5, atol=1e-6)
    winner = layer.cache.winner.reshape(5, 4, 4, 4).transpose(0, 3, 1, 2)
    assert np.array_equal(winner, maps.argmax(axis=2))


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_compiled_gradients_are_the_textbook_ones(backend):
    nets = [network(backend=name) for name in ("textbook", backend)]
    for net in nets:
        loss_and_grads(net, images(), np.arange(5) % 3)
    ours, theirs = (net.grads() for net in nets)
    for name, grad in ours.items():
        np.testing.assert_allclose(theirs[name], grad, rtol=1e-4, atol=1e-6, err_msg=name)


def test_every_pixel_counts():
    net, x = network(), images()
    counts = collect_win_counts(net, "conv1", x, batch_size=2)
    assert counts.shape == (4, 3) and (counts.sum(axis=1) == 5 * 5 * 5).all()
    winner = winners(net, "conv1", x)
    assert np.array_equal(counts, [np.bincount(winner[:, u], minlength=3) for u in range(4)])
    labels = np.arange(5) % 3
    for measure in ("mean_activation", "margin", "first_order"):
        relevance = measure_relevance(net, "conv1", measure, x, labels=labels)
        again = measure_relevance(net, "conv1", measure, x, labels=labels, batch_size=2)
        np.testing.assert_allclose(relevance, again, rtol=1e-4)
    norm = np.sqrt((net["conv1"].params["weight"] ** 2).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(measure_relevance(net, "conv1", "weight_norm"), norm, rtol=1e-6)


def test_down_to_an_ordinary_convolution_with_equal_outputs():
    net, x = network(), images()
    keep = keep_top(rank_neurons(collect_win_counts(net, "conv1", x)), n_keep=1)
    plain = prune_neurons(net, "conv1", keep)
    one = MaxoutConv2d(2, 4, 1, 3, backend="textbook")
    for key, array in plain["conv1"].params.items():
        one.params[key][:] = array.reshape(one.params[key].shape)
    assert type(plain["conv1"]) is Conv2d and plain.maxout_layers() == []
    np.testing.assert_array_equal(one.forward(x), plain["conv1"].forward(x))
    two = prune_round(net, "conv1", x)
    assert two["conv1"].k == 2 and two.maxout_layers() == ["conv1"]


def test_a_neuron_that_never_wins_may_go():
    net, x = network(), images()
    net["conv1"].params["bias"][:, 1] = -100
    before = net.forward(x)
    np.testing.assert_array_equal(prune_round(net, "conv1", x).forward(x), before)


def test_a_masked_out_filter_does_not_win():
    net, x = network(), images()
    net["conv1"].params["bias"][:] = -5  # so that a zero would be the largest
    mask = np.ones((4, 3, 2, 3, 3), bool)
    mask[:, 0] = False
    masked = apply_masks(net, {"conv1.weight": mask})
    assert collect_win_counts(masked, "conv1", x)[:, 0].sum() == 0
    pruned = prune_neurons(net, "conv1", np.array([[1, 2]] * 4))
    np.testing.assert_array_equal(masked.forward(x), pruned.forward(x))
    mask[2] = False
    bias = np.repeat(np.arange(4)[:, None] != 2, 3, axis=1)
    with pytest.raises(MnpError, match="every neuron of unit 2"):
        net.set_masks({"conv1.weight": mask, "conv1.bias": bias})


def test_sizes_and_the_network_without_maxout():
    net = network()
    sizes = count_sizes(net, (2, 7, 7))
    assert sizes.params == net.count_params() == 4 * 3 * 19 + 17 * 3
    assert sizes.macs == 12 * 18 * 25 + 16 * 3
    plain = Network.from_architecture(without_maxout(net), backend="textbook")
    assert plain["conv1"].out_channels == 12 and plain["fc2"].in_features == 48
    assert plain.output_shapes((2, 7, 7))["fc2"] == (3,)


def test_lenet_with_maxout_everywhere_learns_and_shrinks_in_all_layers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    x = rng.standard_normal((60, 1, 16, 16)).astype(np.float32) * 0.1
    x[labels == 1, :, 4:12, 4:12] += 1
    net = lenet5(2, 3, 4, 2, 2, conv_k=2, image_size=16, dropout=0.0, rng=0)
    assert net.maxout_layers() == ["conv1", "conv2", "fc3"]
    fit(net, (x, labels), epochs=3, batch_size=20, progress=False)
    for name in net.maxout_layers():
        net = prune_round(net, name, x)
    assert [type(layer).__name__ for layer in net.layers.values()].count("Conv2d") == 2
    fit(net, (x, labels), epochs=3, batch_size=20, progress=False)
    assert evaluate(net, x, labels).error_percent < 5
    assert net.count_params() == lenet5(2, 3, 4, 1, 2, image_size=16).count_params()
