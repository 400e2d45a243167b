"""A layer type of the user's: trained, counted, copied, saved, loaded and exported like ours."""

import numpy as np
import pytest

import mnp
from mnp.errors import MnpError
from mnp.nn import Dense, Layer, Network
from mnp.nn.network import LAYER_TYPES
from mnp.sparse import load_sparse, save_sparse


class LeakyReLU(Layer):
    def __init__(self, slope=0.1, backend=None):
        super().__init__(backend)
        self.slope = slope

    def forward(self, x, training=False, rng=None):
        self.cache = np.where(x > 0, 1, self.slope).astype(x.dtype)
        return x * self.cache

    def backward(self, dy, need_dx=True):
        return dy * self.cache

    def onnx_nodes(self):
        return [("LeakyRelu", (), "", {"alpha": self.slope})]


@pytest.fixture
def net():
    mnp.register_layer(LeakyReLU)
    make = {"rng": np.random.default_rng(0), "backend": "textbook"}
    yield Network(
        [("fc1", Dense(3, 5, **make)), ("leaky", LeakyReLU(0.2, "textbook")), ("fc2", Dense(5, 2, **make))]
    )
    LAYER_TYPES.pop("LeakyReLU")


X = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)


def test_train_save_load_count_copy(net, tmp_path):
    before = mnp.evaluate(net, X, LABELS).loss
    mnp.fit(net, (X, LABELS), epochs=5, lr=0.1, batch_size=8, progress=False)
    assert mnp.evaluate(net, X, LABELS).loss < before
    mnp.save_network(tmp_path / "net.npz", net)
    loaded = mnp.load_network(tmp_path / "net.npz", "textbook")
    assert (
        loaded["leaky"].slope == 0.2
        and np.array_equal(loaded(X), net(X))
        and np.array_equal(net.copy()(X), net(X))
    )
    save_sparse(tmp_path / "sparse.npz", net)
    np.testing.assert_array_equal(load_sparse(tmp_path / "sparse.npz", "textbook")(X), net(X))
    assert mnp.count_sizes(net, (3,)).macs == 3 * 5 + 5 * 2
    small = mnp.prune_filters(net, "fc1", [0, 2])
    assert small["leaky"].slope == 0.2 and small["fc2"].in_features == 2


def test_export_to_onnx(net):
    reference = pytest.importorskip("onnx.reference")
    from mnp.verify.onnx_export import to_onnx

    (logits,) = reference.ReferenceEvaluator(to_onnx(net)).run(None, {"images": X})
    np.testing.assert_allclose(logits, net(X), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_registered_or_exported(net):
    class Dense(Layer):
        pass

    with pytest.raises(MnpError, match="Dense is the name of another layer type"):
        mnp.register_layer(Dense)
    with pytest.raises(MnpError, match="int is not a subclass"):
        mnp.register_layer(int)
    assert LAYER_TYPES["Dense"].__module__ == "mnp.nn.layers"
