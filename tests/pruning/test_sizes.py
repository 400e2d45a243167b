"""mnp.pruning.sizes: counts by hand, the paper's arithmetic, and bytes that are really there."""

import math

import numpy as np
import pytest
from one_line import one_line

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
from mnp.pruning import apply_masks, count_sizes, magnitude_mask, weight_names
from mnp.pruning.sizes import COUNTED, LayerSize, Sizes, compression, csr_bytes, reduction, without_maxout
from mnp.sparse import sparse_network


def test_the_papers_lenet():
    nets = [lenet5(k=k, backend=textbook) for k in (4, 3, 2, 1)]
    variants = without_maxout(nets[0]), *(net.architecture() for net in nets)
    totals = [count_sizes(architecture, (1, 28, 28)).params for architecture in variants]
    assert totals == [1_686_508, 1_671_148, 1_261_036, 850_924, 440_812]
    assert totals == [lenet5(maxout=False).count_params(), *(net.count_params() for net in nets)]
    assert round(reduction(totals[0], totals[-1]), 3) == 0.739
    assert round(reduction(totals[1], totals[-1]), 3) == 0.736


def test_vgg16_at_the_papers_size():
    """Counted from the description and from the arrays, which are zeros that no memory is ever given to."""

    def sizes(net):
        found = count_sizes(net.architecture(), (3, 224, 224))
        assert found.params == net.count_params()
        return found

    plain, maxout = (vgg16(maxout=m, classes=2622, backend=textbook) for m in (False, ["fc6"]))
    pruned = maxout.replace("fc6", [("fc6", Dense(25_088, 1024, backend=textbook))])
    assert [sizes(net).params for net in (plain, maxout, pruned)] == [145_002_878, 132_419_966, 55_346_558]
    assert count_sizes(without_maxout(maxout), (3, 224, 224)).params == 145_002_878
    assert round(reduction(145_002_878, 55_346_558), 3) == 0.618
    assert round(reduction(132_419_966, 55_346_558), 3) == 0.582
    # The usual figures for VGG16: 138 million parameters, 15.5 thousand million multiply-adds.
    usual = sizes(vgg16(maxout=False, backend=textbook))
    assert (usual.params, usual.macs) == (138_357_544, 15_470_264_320)


def mixed(dtype=np.float32):
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
            ("fc", MaxoutDense(6, 5, 2, **common)),
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


def test_the_index_holds_the_last_column_and_the_pointer_the_count():
    assert csr_bytes(1, 256, 255, compact=True) == 255 * 5 + 2 * 1
    assert csr_bytes(1, 257, 255, compact=True) == 255 * 6 + 2 * 1
    assert csr_bytes(1, 256, 256, compact=True) == 256 * 5 + 2 * 2
    assert (
        csr_bytes(1, 65_536, 5, compact=True) == 5 * 6 + 2
        and csr_bytes(1, 65_537, 5, compact=True) == 5 * 8 + 2
    )


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
    options = {"relu": False, "dropout": 0.0}
    layers = [
        {"name": "a", "type": "MaxoutDense", "in_features": 10, "units": 4, "k": 3, **options},
        {"name": "b", "type": "MaxoutDense", "in_features": 4, "units": 3, "k": 2},
        {"name": "c", "type": "Dense", "in_features": 3, "out_features": 2},
    ]
    plain = without_maxout(layers)
    assert [(e["in_features"], e["out_features"]) for e in plain] == [(10, 12), (12, 6), (6, 2)]
    assert without_maxout(plain) == plain


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


CONV = {"type": "Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 5}


@pytest.mark.parametrize(
    "entry, shape, message",
    [
        ({"type": "Dense", "in_features": 5, "out_features": 2}, (4,), r"of shape \(5,\), got \(4,\)"),
        ({"type": "MaxoutDense", "in_features": 5, "units": 2, "k": 2}, (4,), r"shape \(5,\)"),
        (CONV, (1, 8, 8), r"\(3, H, W\)"),
        (CONV, (3, 4, 4), "does not fit"),
        ({"type": "MaxPool2d", "size": 2}, (4,), r"\(C, H, W\)"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(entry, shape, message):
    with pytest.raises(ShapeError, match=f"'odd'.*{message}"):
        count_sizes([{"name": "odd", **entry}], shape)
    with one_line(r"'odd'.*'LSTM'.*describes no layer"):
        count_sizes([{"name": "odd", "type": "LSTM"}], shape)


def test_nothing_left_is_an_infinite_compression_and_of_nothing_there_is_no_reduction():
    assert compression(3, 0) == math.inf and reduction(5, 5) == 0
    with one_line("at least 1"):
        reduction(0, 0)


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
