"""mnp.sparse.file: bytes reported are bytes on disk, and a file that lies is one line."""

import numpy as np
import pytest
from one_line import one_line

from mnp.checkpoint import load_checkpoint, save_checkpoint
from mnp.kernels import textbook
from mnp.nn import BatchNorm2d, Network, lenet5
from mnp.pruning import apply_masks, count_sizes, magnitude_mask, weight_names
from mnp.sparse import load_sparse, save_sparse, sparse_network

SHAPE = (1, 16, 16)


def pruned(sparsity=0.95, dtype=np.float32, units=64):
    net = lenet5(8, 16, units, 2, 10, backend=textbook, rng=0, image_size=16, dtype=dtype)
    return apply_masks(net, {n: magnitude_mask(net.params()[n], sparsity) for n in weight_names(net)})


def images(n=5, dtype=np.float32):
    return np.random.default_rng(1).random((n, *SHAPE)).astype(dtype)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back(tmp_path, compact, dtype):
    net, path = pruned(dtype=dtype), tmp_path / "net.npz"
    written = save_sparse(path, net, compact)
    assert written == path.stat().st_size
    sparse, loaded = sparse_network(net), load_sparse(path, textbook)
    assert loaded.architecture() == sparse.architecture()
    for name, array in sparse.state_dict().items():
        other = loaded.state_dict()[name]
        assert other.dtype == array.dtype and np.array_equal(other, array)
    x = images(dtype=dtype)
    assert np.array_equal(loaded.forward(x), sparse.forward(x))
    np.testing.assert_allclose(loaded.forward(x), net.forward(x), rtol=1e-4, atol=1e-6)


def test_reported_bytes_are_those_of_the_formula_and_a_small_frame(tmp_path):
    net, path = pruned(units=512), tmp_path / "net.npz"
    sizes = count_sizes(net, SHAPE)
    frame = 16 * 400 + 2000  # zip and npy headers of 16 arrays, the architecture
    for compact, payload in ((False, sizes.csr_bytes), (True, sizes.compact_bytes)):
        assert payload < save_sparse(path, net, compact) < payload + frame
    assert sizes.compact_bytes < sizes.csr_bytes < sizes.dense_bytes / 4


def test_a_dense_network_is_saved_as_it_is(tmp_path):
    net, path = pruned(0.0), tmp_path / "net.npz"
    save_sparse(path, net)
    loaded = load_sparse(path, textbook)
    assert [type(a) for a in loaded.layers.values()] == [
        type(a) for a in net.layers.values() if type(a).__name__ != "Dropout"
    ]
    assert np.array_equal(loaded.forward(images()), net.forward(images()))


def test_a_sparse_network_and_running_statistics_can_be_saved(tmp_path):
    net, path = pruned(), tmp_path / "net.npz"
    sparse = sparse_network(net)
    layers = list(sparse.layers.items())
    norm = BatchNorm2d(8, backend=textbook)
    norm.buffers["running_mean"][:] = np.arange(8)
    mixed = Network([layers[0], ("norm", norm), *layers[1:]])
    save_sparse(path, mixed)
    loaded = load_sparse(path, textbook)
    assert loaded["norm"].buffers["running_mean"].tolist() == list(range(8))
    assert np.array_equal(loaded.forward(images()), mixed.forward(images()))


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays, layers, meta: arrays.pop("state/fc3.starts"),
        lambda arrays, layers, meta: np.put(arrays["state/fc3.columns"], 0, 1 << 30),
        lambda arrays, layers, meta: np.put(arrays["state/fc3.columns"], 0, -1),
        lambda arrays, layers, meta: np.put(arrays["state/conv2.starts"], 1, -5),
        lambda arrays, layers, meta: np.put(arrays["state/conv2.starts"], [1, 2], [2**31 - 1, -(2**31)]),
        lambda arrays, layers, meta: meta.pop("architecture"),
        lambda arrays, layers, meta: meta.update(architecture="conv1"),
        lambda arrays, layers, meta: layers[0].update(type="Eval"),
        lambda arrays, layers, meta: layers[0].update(command="x"),
        lambda arrays, layers, meta: layers[-1].update(out_features=1 << 40),
        lambda arrays, layers, meta: arrays.update({"state/fc4.values": arrays["state/fc4.values"][:-1]}),
    ],
)
def test_a_lying_file_is_one_line(tmp_path, edit):
    """Its checksum is right, its contents are not."""
    path = tmp_path / "net.npz"
    save_sparse(path, pruned())
    arrays, meta = load_checkpoint(path)
    edit(arrays, meta["architecture"], meta)
    save_checkpoint(path, arrays, meta)
    with one_line(r"net\.npz: "):
        load_sparse(path, textbook)
