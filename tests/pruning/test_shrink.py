"""mnp.pruning.shrink: what nobody listens to goes, and nothing else."""

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.kernels import textbook
from mnp.nn import BatchNorm2d, Conv2d, Dense, Flatten, MaxoutDense, MaxPool2d, Network, ReLU
from mnp.pruning import apply_masks, count_sizes
from mnp.pruning.shrink import remove_dead_units
from mnp.sparse import sparse_network


def network(seed=0):
    rng = np.random.default_rng(seed)
    common = {"rng": rng, "dtype": np.float64, "backend": textbook}
    net = Network(
        [
            ("conv1", Conv2d(1, 3, 3, padding=1, **common)),
            ("norm1", BatchNorm2d(3, dtype=np.float64, backend=textbook)),
            ("pool1", MaxPool2d(2, backend=textbook)),
            ("flatten", Flatten(backend=textbook)),
            ("fc2", MaxoutDense(3 * 4, 4, 2, **common)),
            ("relu2", ReLU(backend=textbook)),
            ("fc3", Dense(4, 2, **common)),
        ]
    )
    for name in ("weight", "bias"):
        net["norm1"].params[name][:] = rng.normal(size=3)
    net["norm1"].buffers["running_var"][:] = [1, 2, 3]
    return net, rng.normal(size=(5, 1, 4, 4))


def mask_columns(net, name, axis, dead):
    mask = np.ones(net.params()[name].shape, dtype=bool)
    np.moveaxis(mask, axis, 0)[dead] = False
    return apply_masks(net, {name: mask})


def test_a_unit_that_is_not_heard_takes_its_weights_along():
    net, x = network()
    masked = mask_columns(net, "fc3.weight", 1, [1])
    small = remove_dead_units(masked)
    assert small["fc2"].params["weight"].shape == (3, 2, 12) and small["fc2"].units == 3
    assert small["fc3"].params["weight"].shape == (2, 3) and small["fc3"].in_features == 3
    assert np.array_equal(small["fc2"].params["weight"], masked["fc2"].params["weight"][[0, 2, 3]])
    assert np.array_equal(small["fc3"].params["weight"], masked["fc3"].params["weight"][:, [0, 2, 3]])
    assert small.masks()["fc3.weight"].shape == (2, 3) and small.masks()["fc3.weight"].all()
    assert np.allclose(small.forward(x), masked.forward(x), rtol=1e-12)


def test_a_filter_goes_only_when_all_its_pixels_are_unheard():
    net, x = network()
    some = mask_columns(net, "fc2.weight", 2, [4, 5, 6])
    assert remove_dead_units(some)["conv1"].out_channels == 3
    every = mask_columns(net, "fc2.weight", 2, [4, 5, 6, 7])
    small = remove_dead_units(every)
    assert small["conv1"].params["weight"].shape == (2, 1, 3, 3)
    assert small["norm1"].channels == 2 and small["norm1"].buffers["running_var"].tolist() == [1, 3]
    assert small["fc2"].in_features == 8
    assert np.allclose(small.forward(x), every.forward(x), rtol=1e-12)
    assert count_sizes(small, (1, 4, 4)).params == small.count_params()


def test_silence_spreads_backwards():
    # fc2's unit 0 alone hears filter 2; fc3 does not hear unit 0: so both go.
    net, x = network()
    mask = np.ones((4, 2, 12), dtype=bool)
    mask[1:, :, 8:] = False
    masked = mask_columns(apply_masks(net, {"fc2.weight": mask}), "fc3.weight", 1, [0])
    small = remove_dead_units(masked)
    assert (small["fc2"].units, small["conv1"].out_channels) == (3, 2)
    assert np.allclose(small.forward(x), masked.forward(x), rtol=1e-12)


def test_a_neuron_whose_last_weights_go_stays_a_constant():
    """Of unit 0, neuron 0 listens to filter 2 alone, by weights of 0; without them it is not masked out."""
    net, x = network()
    net["fc2"].params["weight"][:, :, 8:] = 0
    net["fc2"].params["bias"][0] = [0, -100]
    weight, bias = np.ones((4, 2, 12), dtype=bool), np.ones((4, 2), dtype=bool)
    weight[0, 0, :8] = bias[0, 0] = False
    masked = apply_masks(net, {"fc2.weight": weight, "fc2.bias": bias})
    small = remove_dead_units(masked)
    assert small["conv1"].out_channels == 2
    assert (masked.forward(x, until="fc2")[:, 0] == 0).all()
    assert np.allclose(small.forward(x, until="fc2"), masked.forward(x, until="fc2"), rtol=1e-12)


def test_one_unit_stays_even_if_nothing_is_heard():
    net, x = network()
    net["fc3"].params["weight"][:] = 0
    small = remove_dead_units(net)
    assert small["fc2"].units == 1 and small["fc3"].params["weight"].shape == (2, 1)
    assert np.array_equal(small.forward(x), net.forward(x))


def test_outputs_of_the_last_layer_and_a_dense_network_stay():
    net, x = network()
    net["fc3"].params["weight"][1] = 0
    small = remove_dead_units(net)
    assert small["fc3"].out_features == 2 and small.count_params() == net.count_params()
    assert np.array_equal(small.forward(x), net.forward(x))
    shared = [np.shares_memory(a, small.state_dict()[n]) for n, a in net.state_dict().items()]
    assert not any(shared)


def test_a_flattened_image_before_the_first_layer_is_left_alone():
    rng = np.random.default_rng(0)
    net = Network(
        [
            ("flatten", Flatten(backend=textbook)),
            ("fc1", Dense(6, 3, rng=rng, backend=textbook)),
            ("fc2", Dense(3, 2, rng=rng, backend=textbook)),
        ]
    )
    net["fc1"].params["weight"][:, 0] = 0
    net["fc2"].params["weight"][:, 2] = 0
    small = remove_dead_units(net)
    assert small["fc1"].params["weight"].shape == (2, 6)
    x = rng.normal(size=(3, 1, 2, 3)).astype(np.float32)
    assert np.allclose(small.forward(x), net.forward(x), rtol=1e-6)


def test_layers_of_other_kinds_are_refused_and_a_second_flattening_changes_nothing():
    net = Network([("a", Dense(4, 3, backend=textbook)), ("b", Dense(3, 3, backend=textbook))])
    net["a"].params["weight"][:] = net["b"].params["weight"][:] = 1
    with pytest.raises(MnpError, match="SparseDense"):
        remove_dead_units(sparse_network(net, ["b"]))
    layers = [("c", Conv2d(1, 2, 1, backend=textbook)), ("f", Flatten(backend=textbook))]
    layers += [("d", Dense(8, 4, backend=textbook)), ("g", Flatten(backend=textbook))]
    net = Network([*layers, ("e", Dense(4, 2, backend=textbook))])
    for name in ("c", "d", "e"):
        net[name].params["weight"][:] = 1
    net["e"].params["weight"][:, 1] = 0
    small, x = remove_dead_units(net), np.ones((1, 1, 2, 2), np.float32)
    assert small["d"].out_features == 3
    np.testing.assert_array_equal(small.forward(x), net.forward(x))
