"""Every layer: its gradients, its cache, its constructor call, and what it refuses."""

import json

import fused_by_hand
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from one_line import one_line

from mnp.errors import MnpError
from mnp.kernels import ShapeError, textbook
from mnp.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxoutConv2d,
    MaxoutDense,
    MaxPool2d,
    ReLU,
)
from mnp.nn.network import LAYER_TYPES
from mnp.verify.gradcheck import numerical_gradient

F64 = np.float64


def some(*shape, seed=1):
    """Values a numerical gradient can be taken at: all different, none near zero."""
    size = int(np.prod(shape))
    values = (np.arange(size) - size / 2 + 0.25) / size * 4
    return default_rng(seed).permutation(values).reshape(shape)


# One of each, with an input it accepts.
def each_layer(backend=textbook, dtype=F64):
    rest = {"backend": backend, "dtype": dtype}
    rng = default_rng(2)
    images, rows = some(3, 2, 6, 5).astype(dtype), some(4, 6).astype(dtype)
    return [
        (Conv2d(2, 3, 3, rng=rng, **rest), images),
        (Conv2d(2, 3, 2, stride=2, padding=1, rng=rng, **rest), images),
        (MaxPool2d(2, backend=backend), images),
        (MaxPool2d(3, stride=1, backend=backend), images),
        (AvgPool2d(2, backend=backend), images),
        (ReLU(backend=backend), images),
        (Dropout(0.5, backend=backend), rows),
        (Flatten(backend=backend), images),
        (Dense(6, 5, rng=rng, **rest), rows),
        (MaxoutDense(6, 3, 4, rng=rng, **rest), rows),
        (MaxoutDense(6, 3, 4, relu=True, dropout=0.5, rng=rng, **rest), rows),
        (MaxoutConv2d(2, 3, 4, 2, rng=rng, **rest), images),
        (MaxoutConv2d(2, 2, 3, 3, stride=2, padding=1, rng=rng, **rest), images),
        (BatchNorm2d(2, **rest), images),
    ]


LAYERS = each_layer()
NAMES = [repr(layer) for layer, _ in LAYERS]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("backend", [textbook, fused_by_hand.make()], ids=["plain", "fused"])
@pytest.mark.parametrize("number", range(len(LAYERS)), ids=NAMES)
def test_gradients_agree_with_finite_differences(number, backend, training):
    layer, x = each_layer(backend)[number]
    if isinstance(layer, BatchNorm2d):
        training = True  # it has no backward in evaluation mode
    x = x.copy()
    direction = some(*layer.forward(x, training, default_rng(5)).shape, seed=3)

    def loss():  # the same dropout mask at every call
        return float((layer.forward(x, training, default_rng(5)) * direction).sum())

    loss()
    dx = layer.backward(direction)
    arrays = {"x": (x, dx)} | {name: (layer.params[name], layer.grads[name]) for name in layer.params}
    assert layer.grads.keys() == layer.params.keys()
    for name, (array, gradient) in arrays.items():
        assert gradient.shape == array.shape and gradient.dtype == F64
        np.testing.assert_allclose(gradient, numerical_gradient(loss, array), atol=2e-7, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, F64])
@pytest.mark.parametrize("number", range(len(LAYERS)), ids=NAMES)
def test_dtype_in_is_dtype_out_and_shapes_are_as_foretold(number, dtype):
    layer, x = each_layer(dtype=dtype)[number]
    before = x.copy()
    y = layer.forward(x, training=True, rng=default_rng(0))
    assert y.dtype == dtype and y.shape[1:] == layer.output_shape(x.shape[1:])
    dx = layer.backward(np.ones_like(y))
    assert dx.dtype == dtype and dx.shape == x.shape
    np.testing.assert_array_equal(x, before)
    for array in [*layer.params.values(), *layer.grads.values()]:
        assert array.flags.c_contiguous and array.dtype == dtype


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=NAMES)
def test_repr_is_the_constructor_call_and_config_survives_json(number):
    layer, _ = LAYERS[number]
    written = repr(layer)
    assert "backend=textbook" in written
    again = eval(written, {"np": np, "textbook": textbook, **LAYER_TYPES})
    assert again.config() == layer.config() and repr(again) == written
    from_json = type(layer)(**json.loads(json.dumps(layer.config())), backend="textbook")
    assert from_json.config() == layer.config() and from_json.backend is textbook


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=NAMES)
def test_backward_first_says_which_forward_is_missing(number):
    layer, x = each_layer()[number]
    with pytest.raises(MnpError, match=rf"{type(layer).__name__}.*needs a forward first"):
        layer.backward(x)


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=NAMES)
def test_need_dx_false_gives_the_same_grads_and_no_dx(number):
    layer, x = each_layer()[number]
    y = layer.forward(x, training=True, rng=default_rng(0))
    layer.backward(y)
    grads, layer.grads = layer.grads, {}
    result = layer.backward(y, need_dx=False)
    assert result is None or isinstance(layer, Flatten)
    for name, gradient in grads.items():
        np.testing.assert_array_equal(layer.grads[name], gradient)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2d(2, 3, 3, backend=textbook), (4, 1, 8, 8)),
        (Conv2d(2, 3, 3, backend=textbook), (4, 128)),
        (Conv2d(2, 3, 3, backend=textbook), (4, 2, 2, 2)),
        (MaxPool2d(9, backend=textbook), (4, 1, 8, 8)),
        (AvgPool2d(2, backend=textbook), (8,)),
        (MaxoutDense(6, 5, 2, backend=textbook), (4, 6, 1)),
        (BatchNorm2d(2, backend=textbook), (4, 3, 5, 5)),
    ],
    ids=repr,
)
def test_a_wrong_shape_is_one_line(layer, shape):
    for refused in (
        lambda: layer.forward(np.zeros(shape, np.float32)),
        lambda: layer.output_shape(shape[1:]),
    ):
        with pytest.raises(ShapeError) as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_a_wrong_dtype_says_how_to_convert():
    for layer, shape in [
        (Dense(3, 2, backend=textbook), (1, 3)),
        (Conv2d(1, 1, 1, backend=textbook), (1,) * 4),
    ]:
        with pytest.raises(MnpError, match=r"float32 weights and got float64 x.*astype\(np.float32\)"):
            layer.forward(np.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Conv2d(0, 1, 5, backend=textbook),
        lambda: Conv2d(1, 1, 5, padding=-1, backend=textbook),
        lambda: Conv2d(1, 2.5, 5, backend=textbook),
        lambda: MaxPool2d(True, backend=textbook),
        lambda: Dense(3, 2, init="zeros", backend=textbook),
        lambda: Dense(3, 2, dtype=np.int32, backend=textbook),
        lambda: Dense(3, 2, dtype="nonsense", backend=textbook),
        lambda: Dropout(1.0, backend=textbook),
        lambda: MaxoutDense(3, 2, 0, backend=textbook),
        lambda: BatchNorm2d(3, eps=0.0, backend=textbook),
        lambda: ReLU(backend="fastest"),
    ],
)
def test_a_wrong_argument_is_one_line(wrong):
    with one_line():
        wrong()


def test_starting_weights():
    caffe = Dense(300, 400, rng=default_rng(0), backend=textbook).params
    bound = np.sqrt(3 / 300)
    assert bound * 0.99 < np.abs(caffe["weight"]).max() <= bound and not caffe["bias"].any()
    assert np.abs(caffe["weight"].mean()) < 0.001
    conv = Conv2d(8, 64, 5, rng=default_rng(0), init="he", backend=textbook).params["weight"]
    assert conv.std() == pytest.approx(np.sqrt(2 / 200), rel=0.03)
    units = MaxoutDense(300, 100, 4, rng=default_rng(0), backend=textbook).params["weight"]
    np.testing.assert_array_equal(units.reshape(400, 300), caffe["weight"])
    assert not Dense(3, 2, backend=textbook).params["weight"].any()
    wide = Dense(300, 400, rng=default_rng(0), dtype=F64, backend=textbook).params["weight"]
    np.testing.assert_array_equal(wide.astype(np.float32), caffe["weight"])


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 5),
    units=st.integers(1, 4),
    k=st.integers(1, 4),
    relu=st.booleans(),
    dropout=st.sampled_from([0.0, 0.25, 0.5]),
    training=st.booleans(),
    seed=st.integers(0, 99),
)
def test_maxout_dense_equals_its_plain_parts_fused_or_not(n, units, k, relu, dropout, training, seed):
    rng = default_rng(seed)
    x = rng.integers(-2, 3, (n, 3)).astype(F64)  # small integers make ties
    layers = [
        MaxoutDense(3, units, k, relu=relu, dropout=dropout, dtype=F64, backend=backend)
        for backend in (textbook, fused_by_hand.make())
    ]
    for layer in layers:
        layer.params["weight"][:] = default_rng(seed).integers(-2, 3, (units, k, 3))
    w = layers[0].params["weight"]
    z = np.einsum("ni,uki->nuk", x, w)
    keep = np.ones(z.shape, bool)
    if training and dropout:
        keep = default_rng(7).random(z.shape, dtype=np.float32) >= dropout
    if training:
        passed = (np.maximum(z, 0) if relu else z) * keep / (1 - dropout if dropout else 1)
        y, winner = passed.max(axis=2), passed.argmax(axis=2)
    else:
        winner = z.argmax(axis=2)
        y = np.maximum(z.max(axis=2), 0) if relu else z.max(axis=2)
    dy = rng.normal(size=y.shape)
    results = []
    for layer in layers:
        np.testing.assert_allclose(layer.forward(x, training, default_rng(7)), y)
        np.testing.assert_array_equal(layer.cache.winner, winner)
        dx = layer.backward(dy)
        results.append((dx, layer.grads["weight"], layer.grads["bias"]))
    for plain, fused in zip(*results, strict=True):
        np.testing.assert_allclose(plain, fused)
    assert layers[1].backend.calls == {"dense_maxout_forward": 1, "dense_maxout_backward": 1}
    assert layers[1].cache.z is None


def test_dropout_keeps_its_share_and_needs_a_generator():
    layer = Dropout(0.25, backend=textbook)
    x = np.ones((200, 200), np.float32)
    y = layer.forward(x, training=True, rng=default_rng(0))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y != 0).mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_array_equal(layer.cache.keep, y != 0)
    np.testing.assert_array_equal(layer.forward(x, training=True, rng=default_rng(0)), y)
    assert layer.forward(x) is x and layer.backward(y) is y
    assert Dropout(0.0, backend=textbook).forward(x, training=True) is x
    for needy in (layer, MaxoutDense(200, 2, 2, dropout=0.5, backend=textbook)):
        with pytest.raises(MnpError, match="needs a random generator"):
            needy.forward(x, training=True)


def test_batchnorm_running_statistics_by_hand():
    """One channel, four values 0, 0, 4, 4: mean 2, biased var 4, unbiased 16 / 3."""
    layer = BatchNorm2d(1, momentum=0.5, dtype=F64, backend=textbook)
    running_mean = layer.buffers["running_mean"]
    x = np.array([0.0, 0, 4, 4]).reshape(2, 1, 2, 1)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y.ravel(), [-1, -1, 1, 1], rtol=1e-5)
    assert running_mean.item() == 1 and layer.buffers["running_var"].item() == pytest.approx(0.5 + 8 / 3)
    y = layer.forward(x)  # evaluation: the running ones, unchanged by it
    np.testing.assert_allclose(y.ravel(), (x.ravel() - 1) / np.sqrt(0.5 + 8 / 3 + 1e-5))
    assert running_mean.item() == 1
    with pytest.raises(MnpError, match="evaluation mode"):
        layer.backward(y)
    with pytest.raises(MnpError, match="one value per channel"):
        layer.forward(x[:1, :, :1], training=True)


def test_a_layer_class_must_define_its_two_ways():
    from mnp.nn import Layer

    layer = Layer(backend=textbook)
    for way in (layer.forward, layer.backward):
        with pytest.raises(MnpError, match="must define"):
            way(np.zeros(1))
