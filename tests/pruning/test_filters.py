"""Plain filters and dense neurons: ranked by their formulas, removed without changing anything else."""

import numpy as np
import pytest
from one_line import one_line

import mnp
from mnp.nn import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxPool2d, Network, ReLU, loss_and_grads
from mnp.pruning import filter_relevance, keep_filters, prune_filters

RNG = np.random.default_rng(0)
X, LABELS = RNG.random((7, 2, 8, 6)), np.arange(7) % 3


@pytest.fixture
def net():
    rng = np.random.default_rng(1)
    make, plain = {"rng": rng, "dtype": "float64", "backend": "textbook"}, {"backend": "textbook"}
    net = Network(
        [
            ("conv1", Conv2d(2, 4, 3, **make)),
            ("bn1", BatchNorm2d(4, dtype="float64", **plain)),
            ("relu1", ReLU(**plain)),
            ("pool1", MaxPool2d(2, **plain)),
            ("conv2", Conv2d(4, 5, 2, **make)),
            ("flatten", Flatten(**plain)),
            ("fc3", Dense(10, 6, **make)),
            ("relu3", ReLU(**plain)),
            ("drop3", Dropout(0.5, **plain)),
            ("fc4", Dense(6, 3, **make)),
        ]
    )
    for _ in range(2):
        loss_and_grads(net, X, LABELS, rng)  # running statistics other than 0 and 1
    net["bn1"].params["bias"][:] = rng.normal(size=4)
    return net


@pytest.mark.parametrize(("name", "keep"), [("conv1", [0, 3]), ("conv2", [1, 2, 4]), ("fc3", [5])])
def test_what_is_left_computes_what_it_would_with_the_others_silenced(net, name, keep):
    before = {key: array.copy() for key, array in net.state_dict().items()}
    small = prune_filters(net, name, keep)
    assert all(np.array_equal(array, before[key]) for key, array in net.state_dict().items())
    reader = {"conv1": "conv2", "conv2": "fc3", "fc3": "fc4"}[name]
    gone = np.setdiff1d(np.arange(len(net[name].params["bias"])), keep)
    weight = net[reader].params["weight"]
    weight.reshape(len(weight), len(net[name].params["bias"]), -1)[:, gone] = 0
    np.testing.assert_allclose(small.forward(X), net.forward(X), rtol=1e-12)
    assert mnp.count_sizes(small, (2, 8, 6)).macs < mnp.count_sizes(net, (2, 8, 6)).macs
    assert len(small[name].params["bias"]) == len(keep)
    assert small["bn1"].channels == len(small["conv1"].params["bias"])


def test_masks_shrink_with_the_layer(net):
    mask = RNG.random(net["fc3"].params["weight"].shape) < 0.5
    net.set_masks({"fc3.weight": mask})
    small = prune_filters(prune_filters(net, "fc3", [1, 4]), "conv2", [0, 2])
    assert np.array_equal(small["fc3"].masks["weight"], mask[[1, 4]][:, [0, 1, 4, 5]])


def test_relevance_by_its_formulas(net):
    weight, bias = net["conv1"].params["weight"], net["conv1"].params["bias"]
    norm = np.sqrt((weight**2).sum(axis=(1, 2, 3)) + bias**2)
    np.testing.assert_allclose(filter_relevance(net, "conv1", "weight_norm"), norm)
    y = net.forward(X, until="relu1")
    np.testing.assert_allclose(
        filter_relevance(net, "conv1", "mean_activation", X, batch_size=3), y.mean(axis=(0, 2, 3))
    )
    dense = net.forward(X, until="relu3")
    np.testing.assert_allclose(filter_relevance(net, "fc3", "mean_activation", X), dense.mean(axis=0))


@pytest.mark.parametrize("name", ["conv1", "fc3"])
def test_first_order_is_the_slope_of_the_loss(net, name):
    """Scale a filter's output by 1 + h: the loss changes by h times the sum that first_order takes."""
    relevance = filter_relevance(net, name, "first_order", X[:1], LABELS[:1])
    act, h = {"conv1": "relu1", "fc3": "relu3"}[name], 1e-6
    after = list(net)[list(net).index(act) + 1 :]

    def loss(f, scale):
        y = net.forward(X[:1], until=act).copy()
        y[:, f] *= scale
        for layer in after:
            y = net[layer].forward(y)
        return net.backend.softmax_cross_entropy(y, LABELS[:1])[0]

    slopes = [abs(loss(f, 1 + h) - loss(f, 1 - h)) / (2 * h) for f in range(len(relevance))]
    np.testing.assert_allclose(relevance, slopes, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda net: prune_filters(net, "fc4", [0]), "'fc4' is the last one"),
        (lambda net: prune_filters(net, "pool1", [0]), "'pool1' is a MaxPool2d"),
        (lambda net: prune_filters(net, "conv1", [1, 0]), "ascending indices from 0 to 3"),
        (lambda net: prune_filters(net, "conv1", [4]), "ascending indices from 0 to 3"),
        (lambda net: prune_filters(net, "conv1", []), "ascending indices from 0 to 3"),
        (lambda net: filter_relevance(net, "conv1", "margin", X), "unknown measure 'margin'"),
        (lambda net: filter_relevance(net, "conv1", "first_order", X), "needs labels"),
        (lambda net: keep_filters(np.zeros(3), 4), "give 1 to F"),
        (lambda net: keep_filters(np.array([np.nan, 1]), 1), "give 1 to F"),
    ],
)
def test_wrong_use_is_one_line(net, call, says):
    with one_line(says):
        call(net)
