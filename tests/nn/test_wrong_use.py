"""Mistakes that used to give wrong results silently, or a traceback: one line each, or the right result."""

import copy
import functools
import pickle
import types

import numpy as np
import pytest
from one_line import one_line

from mnp.errors import MnpError
from mnp.experiments.gradual import GradualPruning, Target
from mnp.kernels import KERNELS, textbook
from mnp.nn import (
    SGD,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxoutDense,
    MaxPool2d,
    Network,
    ReLU,
    evaluate,
    fit,
    lenet5,
    loss_and_grads,
    mlp,
    train_epoch,
)
from mnp.nn.captured import CapturedNetwork
from mnp.pruning import (
    apply_masks,
    collect_win_counts,
    keep_top,
    magnitude_mask,
    measure_relevance,
    prune_neurons,
    prune_round,
    random_relevance,
    rank_neurons,
)
from mnp.pruning.splicing_sgd import SplicingSGD
from mnp.sparse import sparse_network

T = {"backend": textbook, "dtype": np.float64}


def net_and_examples(**options):
    net = mlp((6,), k=3, classes=4, image_size=4, dropout=0.0, rng=0, **(T | options))
    rng = np.random.default_rng(1)
    return net, rng.random((32, 1, 4, 4)).astype(net.dtype), rng.integers(0, 4, 32)


def train(net, optimizer, x, y, lr=0.05):
    return train_epoch(net, optimizer, x, y, batch_size=16, rng=np.random.default_rng(0), lr=lr)


def unchanged(net, action, match):
    """The action raises one line, and no parameter of the network moves."""
    before = {name: array.copy() for name, array in net.params().items()}
    with one_line(match):
        action()
    assert all(np.array_equal(array, before[name]) for name, array in net.params().items())


def gradual(net, splice=False):
    return GradualPruning(net, Target(net.count_params() // 2), ramp=4, every=1, splice=splice)


# An optimiser of another network.

OPTIMIZERS = [SGD, SplicingSGD, gradual, functools.partial(gradual, splice=True)]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_an_optimiser_made_before_pruning_or_masking_is_rejected_before_its_first_step(make):
    net, x, y = net_and_examples()
    optimizer = make(net)
    train(net, optimizer, x, y)
    pruned = prune_round(net, "fc1", x)
    masked = apply_masks(net, {"fc2.weight": magnitude_mask(net.params()["fc2.weight"], 0.5)}, True)
    for other in (pruned, masked, net.copy(), copy.deepcopy(net)):
        for stale in (net, other):
            unchanged(stale, lambda other=other: train(other, optimizer, x, y), "make a new optimiser")
    unchanged(
        net, lambda: fit(pruned, (x, y), epochs=1, optimizer=optimizer, progress=False), "another network"
    )
    train(net, optimizer, x, y)  # its own network still trains


def test_in_a_loop_by_hand_too():
    net, x, y = net_and_examples()
    optimizer = SGD(net)
    loss_and_grads(net, x, y)
    optimizer.step(0.1)
    small = prune_round(net, "fc1", x)
    loss_and_grads(small, x, y)
    unchanged(net, lambda: optimizer.step(0.1), "no backward pass since the last step")


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_network_that_shares_the_arrays_through_another_backend_is_the_same(make):
    nets = []
    for other in (False, True):
        net, x, y = net_and_examples()
        optimizer = make(net)
        train(net, optimizer, x, y)
        train(net.with_backend(like_textbook()) if other else net, optimizer, x, y)
        nets.append(net)
    for name, array in nets[0].params().items():
        np.testing.assert_array_equal(nets[1].params()[name], array)


def test_a_network_changed_behind_a_splicing_optimiser_is_noticed():
    net, x, y = net_and_examples()
    optimizer = SplicingSGD(net)
    net.load_state_dict({name: array + 1 for name, array in net.state_dict().items()})
    unchanged(net, lambda: train(net, optimizer, x, y), "changed outside")


def test_a_schedule_goes_on_over_epochs_and_calls():
    net, x, y = net_and_examples()
    seen, optimizer = [], SGD(net)
    for _ in range(2):
        how = {"batch_size": 16, "progress": False, "optimizer": optimizer}
        fit(net, (x, y), epochs=2, lr=lambda i: seen.append(i) or 0.1, **how)
    assert seen == list(range(8)) and optimizer.iteration == 8


@pytest.mark.parametrize("lr", [-0.1, np.nan, np.inf, "0.1", None, [0.1]])
def test_a_learning_rate_is_a_number_or_a_function(lr):
    net, x, y = net_and_examples()
    unchanged(net, lambda: train(net, SGD(net), x, y, lr), "lr is")


# Zero weights.


def zeroed(*names, relu=False):
    net, _, _ = net_and_examples(relu=relu)
    net = Network(
        [*list(net.layers.items())[:-1], ("mid", Dense(6, 6, rng=1, **T)), ("fc2", Dense(6, 4, rng=2, **T))]
    )
    for name in names:
        net.params()[name][:] = 0
    return net


def test_zero_weights_that_can_never_learn_are_rejected():
    _, x, y = net_and_examples()
    images = np.random.default_rng(0).random((16, 1, 28, 28), dtype=np.float32)
    for net, data in [
        (lenet5(2, 3, 4, 2, backend=textbook), (images, y[:16])),
        (zeroed("fc1.weight", "mid.weight"), (x, y)),
        (zeroed("fc1.weight", "fc2.weight"), (x, y)),
        (zeroed("fc1.weight", relu=True), (x, y)),
    ]:
        unchanged(
            net,
            lambda net=net, data=data: fit(net, data, epochs=1, batch_size=8, progress=False),
            "never learn",
        )


def test_zero_weights_that_learn_are_accepted():
    _, x, y = net_and_examples()
    biased = zeroed("fc1.weight", "fc2.weight")
    biased.params()["mid.bias"][:] = 1
    for net in (zeroed("fc2.weight"), zeroed("fc1.weight"), biased):
        before = {name: array.copy() for name, array in net.params().items()}
        fit(net, (x, y), epochs=3, batch_size=8, progress=False)
        assert all((array != before[name]).any() for name, array in net.params().items())
    one = Network([("flatten", Flatten(backend=textbook)), ("fc", Dense(16, 4, **T))])
    assert fit(one, (x, y), epochs=1, progress=False)[0].iterations == 1


# Images.


def test_win_counts_take_one_array_and_reject_what_has_no_winner():
    net, x, _ = net_and_examples()
    nan, inf = x.copy(), x.copy()
    nan[17, 0, 1, 2], inf[3, 0, 0, 0] = np.nan, np.inf
    for images, match in [
        ((x[i : i + 8] for i in range(0, 32, 8)), "images is a generator; give one NumPy array"),
        ([x], "images is a list"),
        (None, "images is a NoneType"),
        (x[:0], "no examples"),
        (nan, "example 17 holds nan"),
        (inf, "example 3 holds inf"),
        (x.astype(np.float32), "images are float32, the network is float64"),
    ]:
        for count in (
            lambda images: collect_win_counts(net, "fc1", images),
            lambda images: measure_relevance(net, "fc1", "mean_activation", images),
            lambda images: prune_round(net, "fc1", images),
        ):
            unchanged(net, lambda count=count, images=images: count(images), match)
    net.params()["fc1.weight"][2, 1, 3] = np.nan
    with pytest.raises(MnpError, match="output of layer 'fc1' holds NaN"):
        collect_win_counts(net, "fc1", x)


def test_lists_tensors_and_nhwc_images_are_one_line_that_says_what_to_do():
    tensor = types.new_class("Tensor")
    tensor.__module__ = "torch"
    net = lenet5(2, 3, 4, 2, rng=0, channels=3, **T)
    for wrong, match in [
        ([[1.0]], "x is a list; give one NumPy array"),
        (tensor(), r"x is a torch.Tensor.*x.numpy\(\)"),
        (np.zeros((2, 28, 28, 3)), r"looks like .N, H, W, C.: use np.moveaxis\(x, 3, 1\)"),
    ]:
        with pytest.raises(MnpError, match=match):
            net(wrong)
    for layer in (
        Dense(2, 1, **T),
        ReLU(backend=textbook),
        Flatten(backend=textbook),
        MaxPool2d(2, backend=textbook),
    ):
        with pytest.raises(MnpError, match="x is a list"):
            layer.forward([1.0])
    with pytest.raises(MnpError, match="labels is a list"):
        evaluate(net, np.zeros((1, 3, 28, 28)), [0])


def test_a_seed_is_accepted_wherever_a_generator_is():
    for a, b in [
        (Dense(3, 2, rng=4, **T), Dense(3, 2, rng=np.random.default_rng(4), **T)),
        (Conv2d(1, 2, 3, rng=4, **T), Conv2d(1, 2, 3, rng=np.random.default_rng(4), **T)),
        (MaxoutDense(3, 2, 2, rng=4, **T), MaxoutDense(3, 2, 2, rng=np.random.default_rng(4), **T)),
    ]:
        np.testing.assert_array_equal(a.params["weight"], b.params["weight"])
    net, x, y = net_and_examples()
    drop = Network([*net.layers.items(), ("drop", Dropout(0.5, backend=textbook))])
    for call in (
        lambda rng: drop.forward(x, training=True, rng=rng),
        lambda rng: loss_and_grads(drop, x, y, rng)[1],
        lambda rng: measure_relevance(net, "fc1", "random", rng=rng),
        lambda rng: random_relevance(2, 3, rng),
        lambda rng: collect_win_counts(net, "fc1", x, training=True, rng=rng),
        lambda rng: fit(net.copy(), (x, y), epochs=1, rng=rng, progress=False)[0].loss,
    ):
        np.testing.assert_array_equal(call(7), call(np.random.default_rng(7)))
    for wrong in ("seed", 1.5, -1, True, np.random):
        with pytest.raises(MnpError, match="rng is"):
            drop.forward(x, training=True, rng=wrong)


# Neurons that are masked out.


def mask_without(net, *neurons):
    """Mask of the first layer's weight without some neurons (unit, neuron)."""
    mask = np.ones(net.params()["fc1.weight"].shape, bool)
    for neuron in neurons:
        mask[neuron] = False
    return mask


def without(net, *neurons):
    return apply_masks(net, {"fc1.weight": mask_without(net, *neurons)})


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_neuron_that_is_masked_out_cannot_win(relu, training):
    net, x, _ = net_and_examples(relu=relu)
    net.params()["fc1.bias"][:] = -10  # every other neuron is negative: a masked one with z = 0 would win
    masked = without(net, (0, 1), (2, 0), (2, 2))
    counts = collect_win_counts(masked, "fc1", x, training=training, rng=0)
    assert counts[0, 1] == counts[2, 0] == counts[2, 2] == 0 and (counts.sum(axis=1) == len(x)).all()
    gone = without(net, *((u, 1) for u in range(6)))
    small = prune_neurons(gone, "fc1", np.tile([0, 2], (6, 1)))
    np.testing.assert_array_equal(gone(x), small(x))
    loss_and_grads(gone, x, np.zeros(len(x), int))
    assert not net.masks() and not gone["fc1"].grads["weight"][:, 1].any()


def test_masked_out_neurons_rank_last_and_stay_out_in_every_form():
    net, x, _ = net_and_examples()
    masked = without(net, (0, 0), (1, 2))
    for measure in ("win_counts", "reversed", "random", "weight_norm", "mean_activation"):
        order = rank_neurons(measure_relevance(masked, "fc1", measure, x, rng=0))
        assert order[0, -1] == 0 and order[1, -1] == 2
    np.testing.assert_allclose(sparse_network(masked, ["fc1"])(x), masked(x))
    for again in (masked.copy(), pickle.loads(pickle.dumps(masked)), CapturedNetwork(masked, x.shape)):
        np.testing.assert_array_equal(again(x), masked(x))
    with pytest.raises(MnpError, match="unit 0 of layer 'fc1' would keep only masked-out neurons"):
        prune_neurons(masked, "fc1", np.array([[0], [0], [0], [0], [0], [0]]))


def test_a_unit_without_any_neuron_is_rejected_and_one_with_a_bias_is_a_constant():
    net, x, _ = net_and_examples(relu=False)
    weight = mask_without(net, (3, 0), (3, 1), (3, 2))
    bias = np.ones((6, 3), bool)
    bias[3] = False
    unchanged(net, lambda: net.set_masks({"fc1.weight": weight, "fc1.bias": bias}), "every neuron of unit 3")
    assert not net.masks()
    with pytest.raises(MnpError, match="every neuron of unit 3"):
        apply_masks(net, {"fc1.weight": weight, "fc1.bias": bias})
    net.params()["fc1.bias"][3] = [1, 5, 2]
    constant = apply_masks(net, {"fc1.weight": weight})
    assert (constant.forward(x, until="fc1")[:, 3] == 5).all()
    one = apply_masks(net, {"fc1.weight": mask_without(net, (0, 1)), "fc1.bias": np.ones((6, 3), bool)})
    assert one["fc1"].masked_out() is None


# Copies.


def like_textbook():
    module = types.ModuleType("not_importable")
    module.__dict__.update({name: getattr(textbook, name) for name in KERNELS})
    return module


def test_networks_layers_and_optimisers_are_deep_copied_and_pickled():
    net, x, y = net_and_examples()
    net = apply_masks(net, {"fc1.weight": np.random.default_rng(0).random((6, 3, 16)) < 0.9})
    optimizer = SGD(net)
    train(net, optimizer, x, y)
    for clone in (copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing)), copy.copy):
        other = clone(net)
        assert other["fc1"].backend is textbook and repr(other) == repr(net)
        np.testing.assert_array_equal(other(x), net(x))
        assert other["fc1"].masks.keys() == net["fc1"].masks.keys()
        layer = clone(net["fc1"])
        np.testing.assert_array_equal(layer.params["weight"], net["fc1"].params["weight"])
        assert layer.cache is None and not layer.grads
    for clone in (copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))):
        other, its = clone((net, optimizer))
        assert not np.shares_memory(other.params()["fc1.weight"], net.params()["fc1.weight"])
        assert its.net is other and its.iteration == 2
        train(other, its, x, y)
    again = clone(sparse_network(net, ["fc1"]))
    np.testing.assert_allclose(again(x), net(x), atol=1)
    norm = copy.deepcopy(BatchNorm2d(2, backend=textbook))
    assert norm.buffers["running_var"].tolist() == [1, 1]


def test_a_backend_that_cannot_be_imported_again_is_one_line():
    net, x, _ = net_and_examples(backend=like_textbook())
    np.testing.assert_array_equal(copy.deepcopy(net)(x), net(x))
    with pytest.raises(MnpError, match="backend not_importable cannot be imported"):
        pickle.loads(pickle.dumps(net))


# Byte order, and backends with a part of the kernels.


def test_big_endian_arrays_are_converted_by_every_layer_and_in_training():
    x = np.random.default_rng(0).normal(size=(4, 2, 4, 4))
    for layer in (
        Conv2d(2, 3, 3, rng=0, **T),
        MaxPool2d(2, backend=textbook),
        ReLU(backend=textbook),
        Dropout(0.5, backend=textbook),
        Flatten(backend=textbook),
        BatchNorm2d(2, **T),
    ):
        y = layer.forward(x.astype(">f8"))
        assert y.dtype.isnative
        np.testing.assert_array_equal(y, layer.forward(x))
    net, x, y = net_and_examples()
    big = x.astype(">f8"), y.astype(">i8")
    assert evaluate(net, *big) == evaluate(net, x, y)
    np.testing.assert_array_equal(collect_win_counts(net, "fc1", big[0]), collect_win_counts(net, "fc1", x))
    other = net.copy()
    assert train(net, SGD(net), x, y).loss == train(other, SGD(other), *big).loss
    assert loss_and_grads(net, x, y)[0] == loss_and_grads(net, *big)[0]
    np.testing.assert_array_equal(CapturedNetwork(net, x.shape)(big[0]), net(x))
    net.load_state_dict({name: array.astype(">f8") for name, array in net.state_dict().items()})
    assert net.dtype.isnative and Dense(2, 1, dtype=">f4", backend=textbook).dtype.isnative


@pytest.mark.parametrize(
    "missing", ["dense_forward", "dense_backward", "softmax_cross_entropy", "sgd_step", "relu_forward"]
)
def test_a_kernel_that_the_backend_lacks_is_one_line(missing):
    net, x, y = net_and_examples()
    part = like_textbook()
    delattr(part, missing)
    partial = net.with_backend(part)
    with pytest.raises(MnpError, match=rf"backend not_importable has no {missing}"):
        train(partial, SGD(partial), x, y)


def test_other_attribute_errors_of_a_layer_stay_what_they_are():
    class Odd(ReLU):
        def forward(self, x, training=False, rng=None):
            return x.no_such_attribute

    with pytest.raises(AttributeError, match="no_such_attribute"):
        Network([("odd", Odd(backend=textbook))])(np.ones(3))


# Small conveniences.


def test_a_network_is_called_iterated_and_asked_as_a_dict_of_layers():
    net, x, y = net_and_examples()
    np.testing.assert_array_equal(net(x), net.forward(x))
    assert list(net) == ["flatten", "fc1", "fc2"] and len(net) == 3 and "fc1" in net and "fc9" not in net
    assert net.maxout_layers() == ["fc1"] and prune_round(net, "fc1", x, n_keep=1).maxout_layers() == []
    result = evaluate(net, x, y)
    assert result._fields == ("loss", "error_percent") and all(type(value) is float for value in result)
    assert type(loss_and_grads(net, x, y)[0]) is float
    for wrong in ([Flatten(backend=textbook)], [("a", "b", "c")], ["fc"]):
        with pytest.raises(MnpError, match="not a named layer"):
            Network(wrong)


def test_prune_round_is_the_four_calls_in_one():
    net, x, _ = net_and_examples()
    keep = keep_top(rank_neurons(collect_win_counts(net, "fc1", x)), n_keep=2)
    ours, theirs = prune_round(net, "fc1", x), prune_neurons(net, "fc1", keep)
    np.testing.assert_array_equal(ours.params()["fc1.weight"], theirs.params()["fc1.weight"])
    assert prune_round(net, "fc1", x, n_keep=1, measure="random", rng=0)["fc1"].out_features == 6


@pytest.mark.parametrize("size", [(28, 0), 28.5, "28", 0])
def test_an_image_size_is_one_or_two_whole_numbers(size):
    for build in (lenet5, mlp):
        with pytest.raises(MnpError, match="image_size is"):
            build(image_size=size, backend=textbook)
    with pytest.raises(MnpError, match="no builder argument 'image'"):
        lenet5(image=28, backend=textbook)


def test_fit_shows_progress_or_not(capsys):
    net, x, y = net_and_examples()
    fit(net, (x, y), epochs=2)
    assert [line[:19] for line in capsys.readouterr().err.splitlines()] == [
        f"training: epoch {i}/2" for i in (1, 2)
    ]
    seen = []
    fit(net, (x, y), epochs=1, progress=lambda *step: seen.append(step))
    fit(net, (x, y), epochs=1, progress=False)
    assert len(seen) == 1 and not capsys.readouterr().err
    with pytest.raises(MnpError, match="give a Dataset or a pair"):
        fit(net, x, epochs=1)
