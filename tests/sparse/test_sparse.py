"""mnp.sparse: the zeros are removed, the outputs stay."""

import contextlib
import types

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnp.errors import MnpError
from mnp.kernels import textbook, tiled
from mnp.kernels.shapes import ShapeError
from mnp.nn import Conv2d, Dense, Dropout, Flatten, MaxoutDense, MaxPool2d, Network, ReLU, lenet5
from mnp.pruning import apply_masks, count_sizes, magnitude_mask, weight_names
from mnp.sparse import SparseConv2d, SparseDense, loops, plain, sparse_network, to_csr
from mnp.sparse.layers import flat_images

compiler = pytest.mark.skipif(not tiled.available(), reason="no vector instructions, or no compiler")
# It calls itself tiled and computes what the textbook does: sparse layers on it take the tiled loops.
like_tiled = types.ModuleType("tiled")
like_tiled.__dict__.update({name: getattr(textbook, name) for name in textbook.__all__})
like_tiled.available = tiled.available


def sparse_matrix(rng, rows, columns, share, dtype=np.float64):
    weight = rng.normal(size=(rows, columns)).astype(dtype)
    weight[rng.random((rows, columns)) >= share] = 0
    return weight


def to_dense(csr, columns):
    rows = np.repeat(np.arange(len(csr.starts) - 1), np.diff(csr.starts))
    weight = np.zeros((len(csr.starts) - 1, columns), dtype=csr.values.dtype)
    weight[rows, csr.columns] = csr.values
    return weight


def stored_bytes(net):
    return sum(array.nbytes for array in net.state_dict().values())


def arguments(csr):
    return csr.values, csr.columns.view(np.uint32), csr.starts.view(np.uint32)


def close(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    tolerance = 2e-5 if a.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# CSR; its example is in the docstring.


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 6), st.floats(0, 1), st.booleans())
def test_csr_there_and_back(seed, rows, columns, share, fortran):
    weight = sparse_matrix(np.random.default_rng(seed), rows, columns, share)
    csr = to_csr(np.asfortranarray(weight) if fortran else weight)
    assert np.array_equal(to_dense(csr, columns), weight)
    assert len(csr.values) == np.count_nonzero(weight)
    assert (csr.values.dtype, csr.columns.dtype, csr.starts.dtype) == (weight.dtype, np.int32, np.int32)
    with pytest.raises(MnpError, match="holds a matrix"):
        to_csr(weight[None])


# The loops, plain and tiled, against the dense product.


@settings(max_examples=30, deadline=None)
@given(
    st.data(), st.integers(1, 9), st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.floats(0, 1)
)
def test_plain_dense_loops(data, n, width, units, k, share):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    weight = sparse_matrix(rng, units * k, width, share, dtype)
    bias, x = rng.normal(size=units * k).astype(dtype), rng.normal(size=(n, width)).astype(dtype)
    z = textbook.dense_forward(x, weight, bias).reshape(n, units, k)
    for module in (plain, loops):
        close(module.dense(x, *arguments(to_csr(weight)), bias, k), textbook.maxout_forward(z)[0])


@compiler
@pytest.mark.parametrize("n", [7, 8, 31, 32, 33, 70])
@pytest.mark.parametrize("units, k, width", [(1, 1, 1), (16, 1, 40), (17, 3, 33), (40, 2, 16)])
def test_tiled_dense_loops(n, units, k, width):
    from mnp.sparse import tiled_loops as tiles

    rng = np.random.default_rng(n)
    weight = sparse_matrix(rng, units * k, width, 0.4, np.float32)
    bias, x = rng.normal(size=units * k).astype(np.float32), rng.normal(size=(n, width)).astype(np.float32)
    given_ = (x, *arguments(to_csr(weight)), bias, k)
    close(tiles.dense(*given_), loops.dense(*given_))
    z = textbook.dense_forward(x, weight, bias).reshape(n, units, k)
    close(tiles.dense(*given_), textbook.maxout_forward(z)[0])


CONVOLUTIONS = [
    # channels, filters, kernel, stride, padding, pool, pool stride, height, width
    (1, 1, 1, 1, 0, 1, 1, 1, 1),
    (2, 3, 3, 1, 0, 1, 1, 5, 7),
    (2, 3, 3, 1, 1, 2, 2, 6, 9),
    (1, 4, 5, 1, 0, 2, 2, 28, 28),
    (3, 2, 2, 1, 2, 3, 2, 8, 5),
    (2, 3, 3, 2, 1, 1, 1, 7, 6),
    (2, 3, 2, 3, 2, 2, 1, 11, 8),
    (1, 2, 3, 1, 1, 2, 3, 9, 9),
    (2, 2, 3, 1, 0, 2, 2, 4, 40),
]


def convolution(case, dtype, n):
    c, f, size, stride, padding, pool, pool_stride, h, w = case
    rng = np.random.default_rng(sum(case))
    conv = Conv2d(c, f, size, stride, padding, rng=rng, dtype=dtype, backend=textbook)
    conv.params["weight"][rng.random(conv.params["weight"].shape) >= 0.4] = 0
    conv.params["bias"][:] = rng.normal(size=f)
    net = Network([("conv", conv), ("pool", MaxPool2d(pool, pool_stride, backend=textbook))])
    return net, rng.normal(size=(n, c, h, w)).astype(dtype)


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", [textbook, "jitted", pytest.param(like_tiled, marks=compiler)])
def test_convolution_loops(case, dtype, backend):
    for n in (1, 3):
        net, x = convolution(case, dtype, n)
        sparse = sparse_network(net, ["conv"]).with_backend(backend)
        close(sparse.forward(x), net.forward(x))
    assert list(sparse.layers) == ["conv"]
    assert sparse.output_shapes(x.shape[1:])["conv"] == net.output_shapes(x.shape[1:])["pool"]


def test_flat_images_follow_their_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    for stride, padding in [(1, 0), (1, 2), (2, 0), (2, 1), (3, 1)]:
        frames, high, line = flat_images(x, stride, padding)
        padded = np.pad(x, ((0, 0), (0, 0), (padding, padding + stride), (padding, padding + stride)))
        for c, a, b, i, j in np.ndindex(3, stride, stride, high, line):
            at = (((c * stride + a) * stride + b) * high + i) * line + j
            assert np.array_equal(frames[:, at], padded[:, c, i * stride + a, j * stride + b])


@pytest.mark.parametrize("backend", [textbook, pytest.param(like_tiled, marks=compiler)])
def test_nan_wins_every_maximum(backend):
    dense = MaxoutDense(1, 1, 3, backend=textbook)
    dense.params["weight"][0, :, 0] = [1, 0, 2]
    net = sparse_network(Network([("fc", dense)]), ["fc"]).with_backend(backend)
    for n in (1, 9):
        x = np.full((n, 1), np.nan, dtype=np.float32)
        assert np.isnan(net.forward(x)).all()
    conv = Conv2d(1, 1, 1, backend=textbook)
    conv.params["weight"][:] = 1
    for pool, stride in ((2, 2), (3, 1)):
        net = Network([("conv", conv), ("pool", MaxPool2d(pool, stride, backend=textbook))])
        sparse = sparse_network(net, ["conv"]).with_backend(backend)
        for at in range(36):
            x = np.zeros((1, 1, 6, 6), dtype=np.float32)
            x.flat[at] = np.nan
            assert np.array_equal(sparse.forward(x), net.forward(x), equal_nan=True)


@compiler
def test_the_bits_do_not_depend_on_the_threads():
    net, x = convolution((2, 5, 3, 1, 1, 2, 2, 9, 9), np.float32, n=1)
    big = Network([("fc", Dense(50, 40, rng=np.random.default_rng(0), backend=textbook))])
    rows = np.random.default_rng(1).normal(size=(20, 50)).astype(np.float32)
    before, found = numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        for sparse, inputs in ((sparse_network(net, ["conv"]), x), (sparse_network(big, ["fc"]), rows)):
            found.append(sparse.with_backend(like_tiled).forward(inputs).tobytes())
    assert found[:2] == found[2:]


# Networks.


def pruned_lenet(sparsity=0.9, dtype=np.float32):
    net = lenet5(3, 4, 8, 2, 5, backend=textbook, rng=0, image_size=16, dtype=dtype)
    for name, array in net.params().items():
        if name.endswith("bias"):
            array[...] = np.random.default_rng(1).normal(size=array.shape)
    return apply_masks(net, {n: magnitude_mask(net.params()[n], sparsity) for n in weight_names(net)})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", [textbook, pytest.param(like_tiled, marks=compiler)])
def test_a_sparse_network_gives_the_masked_outputs(dtype, backend):
    net = pruned_lenet(dtype=dtype)
    before = {name: array.tobytes() for name, array in net.state_dict().items()}
    x = np.random.default_rng(2).random((40, 1, 16, 16)).astype(dtype)
    sparse = sparse_network(net)
    close(sparse.with_backend(backend).forward(x), net.forward(x))
    close(sparse.forward(x[::2]), net.forward(x[::2]))
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == before
    assert list(sparse.layers) == ["conv1", "conv2", "flatten", "fc3", "fc4"]
    assert [type(sparse[n]) for n in ("conv1", "fc3")] == [SparseConv2d, SparseDense]
    assert (sparse["conv1"].pool, sparse["conv1"].pool_stride) == (2, 2)
    assert (sparse["fc3"].k, sparse["fc3"].relu) == (2, True)


def test_layers_that_would_not_shrink_stay_dense():
    net = pruned_lenet(sparsity=0.5)
    sparse = sparse_network(net)
    assert list(sparse.layers) == ["conv1", "pool1", "conv2", "pool2", "flatten", "fc3", "fc4"]
    assert not any(isinstance(layer, SparseConv2d | SparseDense) for layer in sparse.layers.values())
    x = np.random.default_rng(2).random((2, 1, 16, 16), dtype=np.float32)
    assert np.array_equal(sparse.forward(x), net.forward(x))
    chosen = sparse_network(net, ["fc3"])
    assert isinstance(chosen["fc3"], SparseDense) and isinstance(chosen["conv1"], Conv2d)
    close(chosen.forward(x), net.forward(x))


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bytes_that_sizes_counts_are_the_bytes_that_are_there(sparsity, dtype):
    net = pruned_lenet(sparsity, dtype)
    assert stored_bytes(sparse_network(net)) == count_sizes(net, (1, 16, 16)).csr_bytes
    assert stored_bytes(net) == count_sizes(net, (1, 16, 16)).dense_bytes


def test_a_layer_without_any_weight_left_gives_its_bias():
    conv, fc = Conv2d(1, 2, 2, backend=textbook), Dense(2, 3, backend=textbook)
    conv.params["bias"][:], fc.params["bias"][:] = [1, 2], [3, 4, 5]
    net = Network([("conv", conv), ("flatten", Flatten(backend=textbook)), ("fc", fc)])
    x = np.ones((9, 1, 2, 2), dtype=np.float32)
    assert sparse_network(net, ["conv", "fc"]).forward(x).tolist() == [[3, 4, 5]] * 9


def test_a_pool_that_does_not_follow_its_convolution_stays():
    rng = np.random.default_rng(0)
    layers = [
        ("pool0", MaxPool2d(2, backend=textbook)),
        ("conv", Conv2d(1, 2, 2, rng=rng, backend=textbook)),
        ("relu", ReLU(backend=textbook)),
        ("drop", Dropout(0.5, backend=textbook)),
        ("pool", MaxPool2d(2, backend=textbook)),
    ]
    net = Network(layers)
    sparse = sparse_network(net, ["conv"])
    assert list(sparse.layers) == ["pool0", "conv", "relu", "pool"]
    x = rng.normal(size=(2, 1, 8, 8)).astype(np.float32)
    close(sparse.forward(x), net.forward(x))


def test_sparse_layers_are_layers():
    sparse = sparse_network(pruned_lenet())
    x = np.random.default_rng(2).random((3, 1, 16, 16), dtype=np.float32)
    copy = sparse.copy()
    assert np.array_equal(copy.forward(x), sparse.forward(x))
    assert not np.shares_memory(copy["fc3"].buffers["values"], sparse["fc3"].buffers["values"])
    assert sparse.with_backend(textbook)["fc3"].buffers is sparse["fc3"].buffers
    entry = sparse.architecture()[0]
    assert entry["type"] == "SparseConv2d" and entry["nonzero"] == len(sparse["conv1"].buffers["values"])
    again = SparseConv2d(**{k: v for k, v in entry.items() if k not in ("name", "type")}, backend=textbook)
    assert again.config() == sparse["conv1"].config()
    shapes = sparse.output_shapes((1, 16, 16))
    assert list(shapes.values()) == [(3, 6, 6), (4, 1, 1), (4,), (8,), (5,)]
    assert sparse.count_params() == 0 and set(sparse.buffers()) >= {"fc3.values", "fc3.columns", "fc3.starts"}


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda net: net.forward(zeros(2, 1, 16, 16), training=True),
            MnpError,
            "'conv1': .* is for inference",
        ),
        (lambda net: net.backward(zeros(2, 5)), MnpError, "'fc4': .* is for inference"),
        (lambda net: net.forward(zeros(2, 2, 16, 16)), ShapeError, "conv1"),
        (lambda net: net.forward(zeros(2, 1, 4, 4)), ShapeError, "does not fit"),
        (lambda net: net["fc3"].forward(zeros(2, 5)), ShapeError, r"SparseDense.*\(N, 4\)"),
        (lambda net: net.forward(zeros(2, 1, 16, 16, dtype=float)), MnpError, r"astype\(np\.float32\)"),
        (lambda net: sparse_network(net, ["fc9"]), MnpError, "fc9"),
        (
            lambda net: sparse_network(pruned_lenet(), ["pool1"]),
            MnpError,
            "'pool1' is a MaxPool2d: it has no",
        ),
        (lambda net: SparseDense(3, 4, 13, backend=textbook), MnpError, "13 non-zeros in 4x3"),
        (lambda net: SparseDense(2**16, 2**15, 0, backend=textbook), MnpError, r"2\*\*31"),
        (lambda net: SparseDense(3, 4, -1, backend=textbook), MnpError, "nonzero"),
        (lambda net: SparseDense(3, 4, 2, k=3, backend=textbook), MnpError, "k=3 does not divide the 4"),
        (lambda net: SparseConv2d(1, 1, 2, 5, backend=textbook), MnpError, "5 non-zeros in 1x4"),
        (lambda net: SparseConv2d(1, 1, 2, 1, pool=0, backend=textbook), MnpError, "pool"),
    ],
)
def test_wrong_use_says_what_is_wrong(call, error, says):
    with pytest.raises(error, match=says):
        call(sparse_network(pruned_lenet()))


@pytest.mark.parametrize(
    "columns, starts, message",
    [
        ([0, 1, 2], [1, 1, 2, 3], "starts must rise from 0 to 3"),
        ([0, 1, 2], [0, 1, 2, 2], "starts must rise"),
        ([0, 1, 2], [0, 9, 9, 3], "starts must rise"),
        ([0, 1, 4], [0, 1, 2, 3], r"outside 0\.\.3"),
        ([-1, 1, 2], [0, 1, 2, 3], r"outside 0\.\.3"),
        ([2, 1, 3], [0, 2, 2, 3], "must ascend"),
        ([1, 1, 3], [0, 3, 3, 3], "must ascend"),
        ([3, 2, 1], [0, 1, 2, 3], None),
        ([0, 3, 0], [0, 0, 2, 3], None),
    ],
)
def test_arrays_that_are_no_matrix_are_found(columns, starts, message):
    layer = SparseDense(4, 3, 3, backend=textbook)
    layer.buffers["columns"][:], layer.buffers["starts"][:] = columns, starts
    with contextlib.nullcontext() if message is None else pytest.raises(MnpError, match=message):
        layer.check()
