"""Networks: names, arrays, architecture, kernels, fused steps; a whole network's gradient."""

import json

import fused_by_hand
import numpy as np
import pytest
from numpy.random import default_rng
from one_line import one_line

from mnp.errors import MnpError
from mnp.kernels import ShapeError, textbook
from mnp.nn import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxoutDense,
    MaxPool2d,
    Network,
    ReLU,
    fold_batchnorm,
    loss_and_grads,
)
from mnp.pruning import apply_masks
from mnp.verify.gradcheck import numerical_gradient


def small(backend=textbook, seed=0):
    """A LeNet in little, with every kind of layer that it has, and a layer more."""
    rest = {"rng": default_rng(seed), "dtype": np.float64, "backend": backend}
    return Network(
        [
            ("conv1", Conv2d(1, 2, 3, padding=1, **rest)),
            ("pool1", MaxPool2d(2, backend=backend)),
            ("conv2", Conv2d(2, 3, 2, **rest)),
            ("bn2", BatchNorm2d(3, dtype=np.float64, backend=backend)),
            ("relu2", ReLU(backend=backend)),
            ("flatten", Flatten(backend=backend)),
            ("fc3", MaxoutDense(12, 4, 3, relu=True, dropout=0.25, **rest)),
            ("fc4", Dense(4, 3, **rest)),
            ("drop4", Dropout(0.1, backend=backend)),
        ]
    )


def batch(n=5, seed=1):
    rng = default_rng(seed)
    return rng.normal(size=(n, 1, 6, 6)), rng.integers(0, 3, n)


@pytest.mark.parametrize("backend", [textbook, fused_by_hand.make()], ids=["plain", "fused"])
def test_gradient_of_a_whole_network(backend):
    """Every parameter and every pixel, through convolution, pools, maxout, dropout and the loss."""
    net = small(backend)
    x, labels = batch()

    def loss():
        logits = net.forward(x, training=True, rng=default_rng(4))
        return float(textbook.softmax_cross_entropy(logits, labels)[0])

    found, logits = loss_and_grads(net, x, labels, default_rng(4))
    assert found == pytest.approx(loss()) and logits.shape == (5, 3)
    dlogits = textbook.softmax_cross_entropy(logits, labels)[1]
    checked = {"x": (x, net.backward(dlogits, need_dx=True))}
    grads = net.grads()
    checked |= {name: (array, grads[name]) for name, array in net.params().items()}
    for name, (array, gradient) in checked.items():
        numerical = numerical_gradient(loss, array)
        np.testing.assert_allclose(gradient, numerical, atol=1e-8, rtol=1e-5, err_msg=name)


def test_fused_steps_give_the_plain_outputs_caches_and_gradients():
    plain, fused = small(textbook), small(fused_by_hand.make())
    x, labels = batch()
    results = [loss_and_grads(net, x, labels, default_rng(2)) for net in (plain, fused)]
    np.testing.assert_allclose(results[0][1], results[1][1])
    assert fused.backend.calls["conv2d_maxpool2d_forward"] == 1
    assert fused.backend.calls["conv2d_maxpool2d_backward"] == 1
    assert fused.backend.calls["dense_maxout_backward"] == 1
    for name, gradient in plain.grads().items():
        np.testing.assert_allclose(fused.grads()[name], gradient, atol=1e-12, err_msg=name)
    assert fused["conv1"].cache.x is x
    np.testing.assert_array_equal(fused["pool1"].cache.winner, plain["pool1"].cache.winner)
    assert fused["pool1"].cache.x_shape == plain["pool1"].cache.x_shape
    np.testing.assert_array_equal(fused["fc3"].cache.winner, plain["fc3"].cache.winner)
    # The caches serve the single layers as well as the pair.
    dy = np.ones_like(plain["pool1"].forward(plain["conv1"].forward(x)))
    apart = [net["conv1"].backward(net["pool1"].backward(dy)) for net in (plain, fused)]
    np.testing.assert_allclose(*apart)


def test_backward_leaves_the_images_gradient_out_unless_asked():
    for backend in (textbook, fused_by_hand.make()):
        net = small(backend)
        x, _ = batch()
        dlogits = np.ones((5, 3))
        net.forward(x, training=True, rng=default_rng(0))
        assert net.backward(dlogits) is None
        assert net.backward(dlogits, need_dx=True).shape == x.shape


@pytest.mark.parametrize("backend", [textbook, fused_by_hand.make()], ids=["plain", "fused"])
def test_until_and_trace_show_what_forward_does(backend):
    net = small(backend)
    x, _ = batch()
    traced = dict(net.layer_outputs(x))
    assert list(traced) == list(net.layers)
    np.testing.assert_allclose(net.forward(x), traced["drop4"])
    for name in net.layers:
        np.testing.assert_allclose(net.forward(x, until=name), traced[name])
    assert {name: y.shape[1:] for name, y in traced.items()} == net.output_shapes((1, 6, 6))


def test_state_has_pytorchs_names_and_comes_back():
    net, other = small(seed=0), small(seed=9)
    assert list(net.params())[:3] == ["conv1.weight", "conv1.bias", "conv2.weight"]
    assert list(net.buffers()) == ["bn2.running_mean", "bn2.running_var"]
    assert net.state_dict().keys() == net.params().keys() | net.buffers().keys()
    net.forward(batch()[0], training=True, rng=default_rng(0))  # moves the running statistics
    own = other.state_dict()
    other.load_state_dict(net.state_dict())
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
        assert other.state_dict()[name] is own[name]
        assert not np.shares_memory(own[name], array)


def test_a_state_that_does_not_fit_changes_nothing():
    net = small()
    before = {name: array.copy() for name, array in net.state_dict().items()}
    ones = {name: np.ones_like(array) for name, array in before.items()}
    for wrong, message in [
        ({name: array for name, array in ones.items() if name != "fc4.bias"}, "missing .*fc4.bias"),
        (ones | {"fc5.bias": np.ones(3)}, "unknown .*fc5.bias"),
        (ones | {"fc4.bias": np.ones(4)}, "fc4.bias.*(4,).*(3,)"),
        (ones | {"fc4.bias": np.array(["a", "b", "c"])}, "fc4.bias"),
    ]:
        with pytest.raises(MnpError, match=message):
            net.load_state_dict(wrong)
        for name, array in before.items():
            np.testing.assert_array_equal(net.state_dict()[name], array)
    net.load_state_dict({"fc4.bias": np.ones(3), "fc5.bias": np.ones(3)}, strict=False)
    assert net.params()["fc4.bias"].all() and not net.params()["conv1.bias"].any()


def test_architecture_and_state_rebuild_the_network():
    net = small()
    net.set_masks({"fc4.weight": default_rng(0).random((3, 4)) < 0.5})
    written = json.dumps(net.architecture())
    again = Network.from_architecture(json.loads(written), net.state_dict(), net.masks(), backend=textbook)
    assert repr(again) == repr(net) and again.dtype == np.float64
    x, _ = batch()
    np.testing.assert_array_equal(again.forward(x), net.forward(x))
    np.testing.assert_array_equal(again.masks()["fc4.weight"], net.masks()["fc4.weight"])


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "fc", "type": "Convolution"},
        {"name": "fc", "type": ["Dense"]},
        {"name": "fc", "type": "Dense", "in_features": 3, "out_features": 0},
        {"name": "fc", "type": "Dense", "in_features": 3, "out_features": 2, "colour": "red"},
        {"type": "Dense", "in_features": 3, "out_features": 2},
        7,
    ],
)
def test_an_entry_that_describes_no_layer_is_one_line(entry):
    with one_line("architecture entry 0"):
        Network.from_architecture([entry], backend=textbook)


def test_with_kernels_shares_arrays_and_copy_does_not():
    net = small()
    net.set_masks({"fc4.weight": np.ones((3, 4), bool)})
    same, other = net.with_backend(fused_by_hand.make()), net.copy()
    assert same.backend.__name__ == "fused_by_hand" and net.backend is textbook
    net.params()["fc4.weight"][:] = 0.5
    net.set_masks({"fc4.weight": np.eye(3, 4, dtype=bool)})
    assert same.params()["fc4.weight"].sum() == 1.5 and same.masks()["fc4.weight"].sum() == 3
    assert other.params()["fc4.weight"].sum() != 1.5 and other.masks()["fc4.weight"].all()
    x, labels = batch()
    loss_and_grads(same, x, labels, default_rng(0))
    assert not net.grads() and same.grads()
    # Running statistics are shared, too.
    np.testing.assert_array_equal(net["bn2"].buffers["running_mean"], same["bn2"].buffers["running_mean"])
    assert net["bn2"].buffers["running_mean"].any()
    assert net.with_backend("textbook").backend is textbook


def test_replace_gives_a_new_network():
    net = small()
    new = net.replace("drop4", [("relu4", ReLU(backend=textbook)), ("fc5", Dense(3, 3, backend=textbook))])
    assert list(new.layers)[-2:] == ["relu4", "fc5"] and list(net.layers)[-1] == "drop4"
    assert not np.shares_memory(new.params()["fc4.weight"], net.params()["fc4.weight"])
    np.testing.assert_array_equal(new.params()["fc4.weight"], net.params()["fc4.weight"])
    assert "drop4" not in net.replace("drop4", []).layers
    with pytest.raises(MnpError, match=r"no layer 'drop5'.*conv1"):
        net.replace("drop5", [])


def test_masks_zero_what_they_prune():
    net = small()
    mask = default_rng(0).random((4, 3, 12)) < 0.3
    net.set_masks({"fc3.weight": mask})
    weight = net.params()["fc3.weight"]
    assert not weight[~mask].any() and weight[mask].all() and net["fc3"].masks["weight"].sum() == mask.sum()
    net.set_masks({"fc3.weight": None})
    assert net.masks() == {}
    for wrong in (
        {"fc3.weight": mask[0]},
        {"fc3.weight": mask.astype(int)},
        {"fc9.weight": mask},
        {"fc3": mask},
    ):
        with pytest.raises(MnpError):
            net.set_masks(wrong)


RELU = ReLU(backend=textbook)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one layer"),
        ([("fc.1", ReLU(backend=textbook))], "without a dot"),
        ([("", ReLU(backend=textbook))], "without a dot"),
        ([(3, ReLU(backend=textbook))], "without a dot"),
        ([("fc", textbook)], "give a Layer object"),
        ([("a", ReLU(backend=textbook)), ("a", ReLU(backend=textbook))], "'a' is used twice"),
        ([("a", RELU), ("b", RELU)], "used twice"),
    ],
)
def test_a_list_that_makes_no_network_is_one_line(layers, message):
    with pytest.raises(MnpError, match=message):
        Network(layers)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda net: net.forward(np.zeros((0, 1, 6, 6))), MnpError, "empty batch"),
        (
            lambda net: net.forward(np.zeros((5, 2, 6, 6))),
            ShapeError,
            "layer 'conv1': .*of shape .N, 1, H, W.",
        ),
        (
            lambda net: net.forward(np.zeros((5, 1, 8, 8))),
            ShapeError,
            "layer 'fc3': .*shape .N, 12.,? got .5, 27.",
        ),
        (lambda net: net.output_shapes((1, 8, 8)), ShapeError, "layer 'fc3'"),
        (lambda net: net.backward(np.zeros((5, 3))), MnpError, "layer 'drop4': .*needs a forward first"),
        (lambda net: net.forward(batch()[0], training=True), MnpError, "layer 'fc3': .*random generator"),
        (lambda net: net["fc9"], MnpError, "no layer 'fc9'"),
        (lambda net: net.layers.update(fc9=RELU), AttributeError, "update"),
    ],
)
def test_mistakes_in_a_run_name_the_layer(call, error, says):
    with pytest.raises(error, match=says):
        call(small())
    with pytest.raises(ShapeError, match=r"layer 'conv1\+pool1'"):
        small(fused_by_hand.make()).forward(np.zeros((5, 2, 6, 6)))


def test_summary_is_a_table_of_what_count_params_counts():
    net = small()
    lines = net.summary((1, 6, 6)).splitlines()
    assert len(lines) == 11 and lines[0].split() == ["name", "layer", "output", "parameters"]
    assert lines[1].split()[-6:] == ["2", "x", "6", "x", "6", "20"]
    assert lines[-1].endswith(f"{net.count_params():,}") and "backend: textbook" in lines[-1]
    assert net.count_params() == 20 + 27 + 6 + 156 + 15 and net.classes == 3
    assert Network([("relu", ReLU(backend=textbook))]).classes is None


def test_folded_batchnorm_gives_the_same_outputs():
    net = small()
    rng = default_rng(3)
    for array in net["bn2"].params.values():
        array[:] = rng.normal(1, 0.5, array.shape)
    net.forward(batch(20)[0], training=True, rng=rng)
    net.set_masks({"conv2.weight": rng.random((3, 2, 2, 2)) < 0.7, "conv2.bias": np.zeros(3, bool)})
    folded = fold_batchnorm(net)
    assert list(folded.layers) == [name for name in net.layers if name != "bn2"]
    assert list(folded.masks()) == ["conv2.weight"]
    assert not folded.params()["conv2.weight"][~folded.masks()["conv2.weight"]].any()
    x, _ = batch(7, seed=8)
    before = net.params()["conv2.weight"].copy()
    np.testing.assert_allclose(folded.forward(x), net.forward(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(net.params()["conv2.weight"], before)
    # A normalisation after anything else stays.
    other = Network([("pool", MaxPool2d(2, backend=textbook)), ("bn", BatchNorm2d(1, backend=textbook))])
    assert list(fold_batchnorm(other).layers) == ["pool", "bn"]


def test_masks_are_copies_and_none_is_no_mask():
    net = Network([("fc", Dense(2, 2, backend=textbook))])
    mask = np.array([[True, False], [False, True]])
    masked = apply_masks(net, {"fc.weight": mask})
    mask[:] = True
    assert masked.masks()["fc.weight"].sum() == 2
    with pytest.raises(MnpError, match="is None"):
        apply_masks(masked, {"fc.weight": None})
