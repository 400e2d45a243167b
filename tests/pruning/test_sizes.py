"""mnp.pruning.sizes: counts by hand, the paper's arithmetic, and bytes that are really there."""

import math

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.kernels import textbook
from mnp.kernels.shapes import ShapeError
from mnp.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    MaxoutDense,
    MaxPool2d,
    Network,
    ReLU,
    lenet5,
    vgg16,
)
from mnp.pruning import apply_masks, count_sizes, magnitude_mask, prune_neurons, weight_names
from mnp.pruning.sizes import (
    COUNTED,
    FORMULAS,
    LayerSize,
    Sizes,
    compression,
    csr_bytes,
    index_bytes,
    reduction,
    without_maxout,
)
from mnp.sparse import sparse_network

IMAGE = (1, 28, 28)


def at_k(architecture, name, k):
    """The architecture after pruning one maxout layer down to k neurons a unit."""
    result = []
    for entry in architecture:
        if entry["name"] == name and k == 1:
            entry = {
                "name": name,
                "type": "Dense",
                "in_features": entry["in_features"],
                "out_features": entry["units"],
            }
        elif entry["name"] == name:
            entry = entry | {"k": k}
        result.append(entry)
    return result


def test_the_papers_lenet():
    maxout = lenet5(20, 50, 512, 4, 10, backend=textbook).architecture()
    plain, pruned = without_maxout(maxout), at_k(maxout, "fc3", 1)
    totals = [count_sizes(a, IMAGE).params for a in (plain, maxout, pruned)]
    assert totals == [1_686_508, 1_671_148, 440_812]
    assert round(reduction(totals[0], totals[2]), 3) == 0.739
    assert round(reduction(totals[1], totals[2]), 3) == 0.736


def test_the_authors_network():
    net = lenet5(20, 52, 64, 4, 10, backend=textbook).architecture()
    assert [count_sizes(at_k(net, "fc3", k), IMAGE).params for k in (4, 3, 2, 1)] == [
        240_470,
        187_158,
        133_846,
        80_534,
    ]


def test_vgg16_at_full_size_without_its_arrays():
    # Built from the list alone: no 145 million weights are allocated here.
    layers, channels = [], 3
    for block, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for i in range(1, depth + 1):
            conv = {"in_channels": channels, "out_channels": width, "kernel_size": 3, "padding": 1}
            layers.append({"name": f"conv{block}_{i}", "type": "Conv2d", **conv})
            layers.append({"name": f"relu{block}_{i}", "type": "ReLU"})
            channels = width
        layers.append({"name": f"pool{block}", "type": "MaxPool2d", "size": 2})
    layers.append({"name": "flatten", "type": "Flatten"})

    def vgg(classes, units=4096):
        fc6 = {"name": "fc6", "type": "MaxoutDense", "in_features": 25088, "units": units, "k": 4096 // units}
        fc7 = {"name": "fc7", "type": "Dense", "in_features": units, "out_features": 4096}
        fc8 = {"name": "fc8", "type": "Dense", "in_features": 4096, "out_features": classes}
        return [*layers, fc6, fc7, fc8]

    def params(architecture):
        return count_sizes(architecture, (3, 224, 224)).params

    assert params(vgg(1000)) == 138_357_544
    assert params(without_maxout(vgg(2622, 1024))) == params(vgg(2622)) == 145_002_878
    assert params(vgg(2622, 1024)) == 132_419_966
    assert params(at_k(vgg(2622, 1024), "fc6", 1)) == 55_346_558
    assert round(reduction(145_002_878, 55_346_558), 3) == 0.618
    assert round(reduction(132_419_966, 55_346_558), 3) == 0.582
    # The usual figure for VGG16: 15.5 thousand million multiply-adds.
    assert count_sizes(vgg(1000), (3, 224, 224)).macs == 15_470_264_320


def test_builder_and_list_agree_on_a_small_vgg():
    net = vgg16(width=0.0625, image_size=32, units=8, k=2, classes=5, batchnorm=True, backend=textbook)
    assert count_sizes(net, (3, 32, 32)).params == net.count_params()
    assert count_sizes(net.architecture(), (3, 32, 32)).params == net.count_params()


def mixed(k=2, dtype=np.float32):
    """Every layer type on 2x7x6 images, with all weights different from zero."""
    rng = np.random.default_rng(0)
    common = {"backend": textbook, "rng": rng, "dtype": dtype}
    return Network(
        [
            ("conv", Conv2d(2, 3, 3, stride=2, padding=1, **common)),
            ("norm", BatchNorm2d(3, dtype=dtype, backend=textbook)),
            ("relu", ReLU(backend=textbook)),
            ("avg", AvgPool2d(2, stride=1, backend=textbook)),
            ("max", MaxPool2d(2, stride=1, backend=textbook)),
            ("flatten", Flatten(backend=textbook)),
            ("fc", MaxoutDense(6, 5, k, **common)),
            ("out", Dense(5, 4, **common)),
        ]
    )


def test_every_layer_by_hand():
    net = mixed()
    sizes = {layer.name: layer for layer in count_sizes(net, (2, 7, 6)).layers}
    # conv: (7 + 2 - 3) // 2 + 1 = 4 rows, (6 + 2 - 3) // 2 + 1 = 3 columns
    assert sizes["conv"].output == (3, 4, 3)
    assert sizes["conv"].params == 3 * 2 * 9 + 3 and sizes["conv"].macs == 3 * 2 * 9 * 4 * 3
    assert (sizes["norm"].params, sizes["norm"].macs, sizes["norm"].output) == (6, 0, (3, 4, 3))
    assert (sizes["relu"].params, sizes["relu"].output) == (0, (3, 4, 3))
    assert sizes["avg"].output == (3, 3, 2) and sizes["max"].output == (3, 2, 1)
    assert sizes["flatten"].output == (6,)
    assert (sizes["fc"].params, sizes["fc"].macs, sizes["fc"].output) == (5 * 2 * 6 + 10, 60, (5,))
    assert (sizes["out"].params, sizes["out"].macs) == (5 * 4 + 4, 20)
    assert net.output_shapes((2, 7, 6)) == {name: layer.output for name, layer in sizes.items()}
    total = count_sizes(net, (2, 7, 6))
    assert total.params == total.nonzero == net.count_params()
    assert total.macs == total.nonzero_macs == 648 + 60 + 20
    assert total.dense_bytes == total.csr_bytes == total.compact_bytes == 4 * net.count_params()
    assert count_sizes(mixed(dtype=np.float64), (2, 7, 6)).dense_bytes == 8 * net.count_params()
    assert count_sizes(net.architecture(), (2, 7, 6)) == total


def test_zeros_are_counted_where_they_are():
    net = mixed()
    masks = {name: magnitude_mask(net.params()[name], 0.5) for name in weight_names(net)}
    bias = np.array([True, False, True])
    sizes = count_sizes(apply_masks(net, masks | {"conv.bias": bias}), (2, 7, 6))
    by_name = {layer.name: layer for layer in sizes.layers}
    assert by_name["conv"].nonzero == 27 + 2 and by_name["conv"].nonzero_macs == 27 * 12
    assert by_name["fc"].nonzero == 30 + 10 and by_name["fc"].nonzero_macs == 30
    assert by_name["out"].nonzero == 10 + 4
    assert sizes.params == net.count_params() and sizes.macs == 648 + 60 + 20
    assert sizes.nonzero == 29 + 6 + 40 + 14


def test_biases_count_as_stored_even_when_they_are_zero():
    net = Network([("fc", Dense(3, 2, rng=np.random.default_rng(0), backend=textbook))])
    assert not net.params()["fc.bias"].any()
    assert count_sizes(net, (3,)).nonzero == 8


def test_csr_bytes_by_formula():
    # Per layer: values and int32 columns of the non-zeros, rows + 1 starts, and the dense bias.
    net = Network([("fc", MaxoutDense(300, 4, 2, rng=np.random.default_rng(0), backend=textbook))])
    masked = apply_masks(net, {"fc.weight": magnitude_mask(net.params()["fc.weight"], 0.95)})
    sizes = count_sizes(masked, (300,))
    assert sizes.nonzero == 120 + 8
    assert sizes.dense_bytes == 4 * (2400 + 8)
    assert sizes.csr_bytes == 120 * 8 + 9 * 4 + 8 * 4
    assert sizes.compact_bytes == 120 * (4 + 2) + 9 * 1 + 8 * 4  # 300 columns: uint16; 120 entries: uint8
    # At half sparsity the index would cost more than it saves: the layer counts as dense.
    half = apply_masks(net, {"fc.weight": magnitude_mask(net.params()["fc.weight"], 0.5)})
    assert count_sizes(half, (300,)).csr_bytes == sizes.dense_bytes
    assert count_sizes(half, (300,)).compact_bytes == 1200 * 6 + 9 * 2 + 8 * 4
    double = Network(
        [("fc", Dense(300, 8, rng=np.random.default_rng(0), dtype=np.float64, backend=textbook))]
    )
    double = apply_masks(double, {"fc.weight": magnitude_mask(double.params()["fc.weight"], 0.95)})
    assert count_sizes(double, (300,)).csr_bytes == 120 * 12 + 9 * 4 + 8 * 8


def test_the_index_doubles_the_payload():
    """FACTS: at 92 % sparsity a CSR with int32 indices is 6.2x smaller, not 12.5x."""
    dense = 512 * 800 * 4
    nonzero = round(512 * 800 * 0.08)
    assert round(compression(dense, csr_bytes(512, 800, nonzero)), 1) == 6.2
    assert csr_bytes(512, 800, nonzero, compact=True) < csr_bytes(512, 800, nonzero)


@pytest.mark.parametrize(
    "largest, width", [(0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**31 - 1, 4)]
)
def test_compact_indices_are_the_narrowest_that_fit(largest, width):
    assert index_bytes(largest, compact=True) == width
    assert index_bytes(largest, compact=False) == 4
    if width < 4:
        assert largest <= np.iinfo(f"u{width}").max


def test_the_index_holds_the_last_column_and_the_pointer_the_count():
    assert csr_bytes(1, 256, 255, compact=True) == 255 * 5 + 2 * 1
    assert csr_bytes(1, 257, 255, compact=True) == 255 * 6 + 2 * 1
    assert csr_bytes(1, 256, 256, compact=True) == 256 * 5 + 2 * 2


def test_without_maxout_feeds_every_neuron_on():
    net = lenet5(2, 3, 4, 3, 5, backend=textbook, image_size=16, dropout=0.25)
    before = net.architecture()
    plain = without_maxout(before)
    assert before == net.architecture()
    assert [(e["name"], e["type"]) for e in plain][-4:] == [
        ("fc3", "Dense"),
        ("fc3_relu", "ReLU"),
        ("fc3_dropout", "Dropout"),
        ("fc4", "Dense"),
    ]
    assert plain[-4]["out_features"] == plain[-1]["in_features"] == 12
    assert plain[-4]["dtype"] == "float32" and plain[-2]["p"] == 0.25
    built = Network.from_architecture(plain, backend=textbook)
    assert built.count_params() == count_sizes(plain, (1, 16, 16)).params
    assert without_maxout(net) == plain


def test_without_maxout_through_two_maxout_layers():
    layers = [
        {
            "name": "a",
            "type": "MaxoutDense",
            "in_features": 10,
            "units": 4,
            "k": 3,
            "relu": False,
            "dropout": 0.0,
        },
        {"name": "b", "type": "MaxoutDense", "in_features": 4, "units": 3, "k": 2},
        {"name": "c", "type": "Dense", "in_features": 3, "out_features": 2},
    ]
    plain = without_maxout(layers)
    assert [(e["name"], e["in_features"], e["out_features"]) for e in plain] == [
        ("a", 10, 12),
        ("b", 12, 6),
        ("c", 6, 2),
    ]
    assert without_maxout(plain) == plain


def test_masked_weights_are_zeros_and_every_column_has_its_formula():
    net = mixed()
    masked = apply_masks(net, {"fc.weight": magnitude_mask(net.params()["fc.weight"], 0.9)})
    after, before = count_sizes(masked, (2, 7, 6)), count_sizes(net, (2, 7, 6))
    assert (before.nonzero, after.nonzero) == (before.params, before.params - 54)
    assert after.macs == before.macs and after.nonzero_macs == before.macs - 54
    assert set(COUNTED) | {"reduction", "compression", "sparsity"} == set(FORMULAS)


def test_reduction_and_compression():
    assert reduction(100, 26) == 0.74 and reduction(5, 5) == 0
    assert compression(100, 25) == 4 and compression(3, 0) == math.inf
    with pytest.raises(MnpError, match="at least 1"):
        reduction(0, 0)


def test_smaller_in_every_way_after_pruning():
    net = lenet5(4, 6, 8, 3, 5, backend=textbook, rng=0, image_size=16)
    pruned = prune_neurons(net, "fc3", np.zeros((8, 1), dtype=int))
    before, after = (count_sizes(n, (1, 16, 16)) for n in (net, pruned))
    assert after.params == pruned.count_params() < net.count_params()
    assert after.macs < before.macs and after.dense_bytes < before.dense_bytes


def test_sums_and_table():
    sizes = Sizes(
        (LayerSize("a", "Dense", (2,), params=1000, macs=5), LayerSize("bb", "ReLU", (2,), params=1))
    )
    assert (sizes.params, sizes.macs, sizes.nonzero) == (1001, 5, 0)
    assert [getattr(LayerSize("relu", "ReLU", (2,)), name) for name in COUNTED] == [0] * 7
    with pytest.raises(AttributeError, match="no weight: it has layers, params"):
        _ = sizes.weight
    lines = sizes.table().splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["layer", "output", *COUNTED]
    assert lines[1].split()[:3] == ["a", "2", "1,000"] and lines[-1].split()[:2] == ["total", "1,001"]


@pytest.mark.parametrize(
    "entry, shape, message",
    [
        (
            {"type": "Dense", "in_features": 5, "out_features": 2},
            (4,),
            r"expects examples of shape \(5,\), got \(4,\)",
        ),
        ({"type": "Dense", "in_features": 4, "out_features": 2}, (1, 2, 2), r"got \(1, 2, 2\)"),
        ({"type": "MaxoutDense", "in_features": 5, "units": 2, "k": 2}, (4,), r"shape \(5,\)"),
        (
            {"type": "Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 2},
            (1, 4, 4),
            r"\(3, H, W\)",
        ),
        (
            {"type": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 5},
            (1, 4, 4),
            "does not fit",
        ),
        ({"type": "BatchNorm2d", "channels": 3}, (1, 4, 4), r"\(3, H, W\)"),
        ({"type": "MaxPool2d", "size": 2}, (4,), r"\(C, H, W\)"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(entry, shape, message):
    with pytest.raises(ShapeError, match=message) as error:
        count_sizes([{"name": "odd", **entry}], shape)
    assert "'odd'" in str(error.value)


def test_an_unknown_layer_is_refused():
    with pytest.raises(MnpError, match=r"'odd'.*'LSTM'.*describes no layer"):
        count_sizes([{"name": "odd", "type": "LSTM"}], (4,))


def test_a_layer_of_ones_own_says_its_multiply_adds_itself():
    class Scale(Layer):
        def __init__(self, *, backend=None):
            super().__init__(backend)
            self.params = {"weight": np.ones((3, 1, 1), np.float32)}

    class CountedScale(Scale):
        def macs(self, shape):
            return math.prod(shape)

    assert count_sizes(Network([("scale", CountedScale(backend=textbook))]), (3, 4, 5)).macs == 60
    with pytest.raises(MnpError, match=r"layer 'scale': Scale .*define macs"):
        count_sizes(Network([("scale", Scale(backend=textbook))]), (3, 4, 5))
    with pytest.raises(MnpError, match="count the masked network"):
        count_sizes(sparse_network(mixed(), ["fc"]), (2, 7, 6))
