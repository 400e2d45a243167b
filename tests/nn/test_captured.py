"""A captured network against the network: equal bits, or it was not captured and says so."""

import threading

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.kernels import tiled
from mnp.kernels.shapes import ShapeError
from mnp.nn import SGD, Conv2d, Layer, MaxPool2d, Network, ReLU, lenet5, loss_and_grads
from mnp.nn.captured import CapturedNetwork
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import collect_win_counts, prune_neurons

records = pytest.mark.skipif(not tiled.available(), reason="the tiled loops cannot run here")


def images(count, size=28, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).standard_normal((count, 1, size, size), dtype)


def small_net(backend="tiled", k=3, dtype=np.float32):
    return lenet5(6, 20, 16, k, rng=0, backend=backend, dtype=dtype)


def one_neuron(net):
    while getattr(net["fc3"], "k", 1) > 1:
        order = rank_neurons(collect_win_counts(net, "fc3", images(64)))
        net = prune_neurons(net, "fc3", keep_top(order, n_keep=net["fc3"].k - 1))
    return net


@records
@pytest.mark.parametrize("count", [1, 3, 64])
@pytest.mark.parametrize("change", [lambda net: net, one_neuron], ids=["maxout", "one neuron"])
def test_a_captured_network_gives_the_same_bits(count, change):
    net = change(small_net())
    run = CapturedNetwork(net, (count, 1, 28, 28))
    assert run.calls >= 5
    for seed in (1, 2):
        x = images(count, seed=seed)
        assert np.array_equal(run(x), net.forward(x))


@records
def test_nan_and_negative_images_come_through():
    net = small_net()
    run, x = CapturedNetwork(net, (2, 1, 28, 28)), -np.abs(images(2))
    x[1, 0, 14, 14] = np.nan
    expected = net.forward(x)
    assert np.isnan(expected[1]).any() and np.array_equal(run(x), expected, equal_nan=True)


@records
def test_an_answer_is_not_overwritten_and_the_images_are_left_alone():
    net = small_net()
    run, first, second = CapturedNetwork(net, (1, 1, 28, 28)), images(1), images(1, seed=2)
    kept = first.copy()
    y = run(first)
    run(second)
    assert np.array_equal(y, net.forward(first)) and np.array_equal(first, kept)


@records
def test_training_the_network_later_changes_nothing():
    net, x = small_net(), images(8)
    run = CapturedNetwork(net, x.shape)
    before = run(x)
    loss_and_grads(net, x, np.arange(8), np.random.default_rng(0))
    SGD(net).step(0.1)
    assert np.array_equal(run(x), before) and not np.array_equal(net.forward(x), before)


@pytest.mark.parametrize(
    ("backend", "dtype"), [("textbook", np.float32), ("jitted", np.float32), ("tiled", np.float64)]
)
def test_other_kernels_run_the_network_itself(backend, dtype):
    net, x = small_net(backend, dtype=dtype), images(1, dtype=dtype)
    run = CapturedNetwork(net, x.shape)
    assert run.calls == 0 and np.array_equal(run(x), net.forward(x))
    assert repr(run) == "CapturedNetwork((1, 1, 28, 28), not captured: runs net.forward)"


class Halved(Layer):
    """A layer of one's own: half of its work is a shared loop, the other half is not."""

    def __init__(self, backend=None):
        super().__init__(backend)

    def forward(self, x, training=False, rng=None):
        return self.backend.relu_forward(x * np.float32(0.5))


@pytest.mark.parametrize(
    "layers",
    [
        [("halved", Halved("tiled"))],
        [("relu", ReLU(backend="tiled")), ("halved", Halved("tiled"))],
        [("pool", MaxPool2d(2, backend="tiled"))],
        [("conv", Conv2d(1, 4, 5, stride=2, rng=np.random.default_rng(0), backend="tiled"))],
    ],
    ids=["own layer", "own layer second", "pooling alone", "stride 2"],
)
def test_what_is_more_than_loops_is_not_captured(layers):
    net, x = Network(layers), images(2)
    run = CapturedNetwork(net, x.shape)
    assert run.calls == 0 and np.array_equal(run(x), net.forward(x))


def test_other_batches_are_refused():
    run = CapturedNetwork(small_net(), (1, 1, 28, 28))
    with pytest.raises(
        ShapeError, match=r"captured for batches of shape \(1, 1, 28, 28\), got \(2, 1, 28, 28\)"
    ):
        run(images(2))
    with pytest.raises(MnpError, match=r"captured for float32, got float64; use x.astype\(np.float32\)"):
        run(images(1, dtype=np.float64))
    with pytest.raises(MnpError, match="empty batch"):
        CapturedNetwork(small_net(), (0, 1, 28, 28))
    with pytest.raises(ShapeError, match="layer 'conv1"):
        CapturedNetwork(small_net(), (1, 3, 28, 28))


@records
def test_a_recording_holds_the_calls_of_its_own_thread_only():
    x = images(1).reshape(1, -1)

    def with_another_thread():
        other = threading.Thread(target=tiled.relu_forward, args=(x,))
        other.start()
        other.join()
        return tiled.relu_forward(x)

    recording, y = tiled.capture(with_another_thread)
    assert len(recording.calls) == 1
    x[:] = -x
    recording.run()
    assert np.array_equal(y, np.maximum(x, 0))


@records
def test_recording_ends_with_an_error():
    def fails():
        raise MnpError("no")

    with pytest.raises(MnpError, match="no"):
        tiled.capture(fails)
    recording, _ = tiled.capture(lambda: None)
    assert recording.calls == []
    tiled.relu_forward(images(1))
    assert recording.calls == []
    recording.run()
