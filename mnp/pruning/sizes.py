"""How large is a network? Parameters, non-zeros, multiply-adds, bytes; every ratio with its formula.

Everything follows from `Network.architecture()` by formula, so a full-size VGG16 can be counted without
its arrays. With a Network the non-zeros are counted too.

Two baselines exist, and a table has to name the one it uses: the maxout network that pruning starts
from, and the same network `without_maxout`, in which every neuron feeds the next layer.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from mnp.errors import MnpError
from mnp.kernels.shapes import ShapeError, conv2d_output_size, pool2d_output_size

FORMULAS = {
    "params": "weights and biases, pruned or not",
    "nonzero": "weights that are not zero, and biases (dense) but for masked ones",
    "macs": "conv: F*C*K*K*OH*OW; dense: out*in; maxout: units*k*in; the rest counts as nothing",
    "nonzero_macs": "as macs, with the non-zero weights only",
    "dense_bytes": "params * itemsize",
    "csr_bytes": "per weight of R rows: nnz * (itemsize + 4) + (R + 1) * 4, or dense if less; + biases",
    "compact_bytes": "as csr_bytes, with the narrowest unsigned index (1, 2 or 4 bytes) that fits",
    "reduction": "(before - after) / before",
    "compression": "before / after",
    "sparsity": "zeros / all",
}


@dataclass(frozen=True)
class LayerSize:
    """One layer counted; the fields are explained in FORMULAS, `output` is its shape without N."""

    name: str
    type: str
    output: tuple
    params: int = 0
    nonzero: int = 0
    macs: int = 0
    nonzero_macs: int = 0
    dense_bytes: int = 0
    csr_bytes: int = 0
    compact_bytes: int = 0


COUNTED = tuple(field.name for field in fields(LayerSize))[3:]


@dataclass(frozen=True)
class Sizes:
    """A network counted: its layers, and the sum over them under the same names.

    >>> two = Sizes((LayerSize("a", "Dense", (2,), params=6), LayerSize("b", "Dense", (1,), params=3)))
    >>> two.params, two.macs
    (9, 0)
    """

    layers: tuple

    def __getattr__(self, name):
        if name in COUNTED:
            return sum(getattr(layer, name) for layer in self.layers)
        raise AttributeError(f"Sizes has no {name}: it has layers, {', '.join(COUNTED)}")

    def table(self):
        """A text table, a line a layer and one for the sum."""
        rows = [("layer", "output", *COUNTED)]
        rows += [
            (x.name, "x".join(map(str, x.output)), *(f"{getattr(x, c):,}" for c in COUNTED))
            for x in self.layers
        ]
        rows.append(("total", "", *(f"{getattr(self, c):,}" for c in COUNTED)))
        wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = (
            "  ".join(
                [f"{row[0]:<{wide[0]}}", *(f"{v:>{w}}" for v, w in zip(row[1:], wide[1:], strict=True))]
            )
            for row in rows
        )
        return "\n".join(lines)


def count_sizes(net, input_shape):
    """Count a network, layer by layer.

    Parameters
    ----------
    net : Network, or a list as `Network.architecture()` gives
        A list has no values: all its parameters count as non-zero.
    input_shape : (C, H, W) or (in,)
        One example, without N.

    Returns
    -------
    sizes : Sizes
        sizes.params, .nonzero, .macs, .nonzero_macs, .dense_bytes, .csr_bytes, .compact_bytes, and
        the same for every entry of sizes.layers. FORMULAS says what each means. Running statistics of
        batch normalisation are no parameters, and its multiply-adds are none: it folds into the
        convolution before it.

    Raises
    ------
    MnpError
        For a layer type that is not known, or a layer that does not fit the shape that reaches it.

    >>> lenet = [
    ...     {"name": "conv1", "type": "Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 3},
    ...     {"name": "flatten", "type": "Flatten"},
    ...     {"name": "fc2", "type": "MaxoutDense", "in_features": 8, "units": 3, "k": 2},
    ... ]
    >>> sizes = count_sizes(lenet, (1, 4, 4))
    >>> sizes.params, sizes.macs          # 2*9 + 2 + 6*8 + 6,   18*4 + 48
    (74, 120)
    """
    arrays, masks = {}, {}
    architecture = net
    if hasattr(net, "architecture"):
        architecture, arrays, masks = net.architecture(), net.params(), net.masks()
    shape, layers = tuple(input_shape), []
    for entry in architecture:
        try:
            shape, weight, others = _describe(entry, shape)
        except ShapeError as error:
            raise ShapeError(f"layer {entry.get('name')!r}: {error}") from None
        layers.append(_count(entry, shape, weight, others, arrays, masks))
    return Sizes(tuple(layers))


def without_maxout(architecture):
    """Describe the same network with every neuron feeding the next layer: the paper's baseline.

        MaxoutDense(in, units, k)  ->  Dense(in, units * k)  [-> ReLU] [-> Dropout]

    and the next dense or maxout layer takes units * k inputs instead of units.

    Parameters
    ----------
    architecture : Network, or a list as `Network.architecture()` gives

    Returns
    -------
    architecture : list of dict
        Ready for `count_sizes` or `Network.from_architecture`. The argument is not changed.

    >>> net = [{"name": "fc", "type": "MaxoutDense", "in_features": 5, "units": 3, "k": 4, "relu": True},
    ...        {"name": "out", "type": "Dense", "in_features": 3, "out_features": 2}]
    >>> [(e["name"], e["type"], e.get("in_features")) for e in without_maxout(net)]
    [('fc', 'Dense', 5), ('fc_relu', 'ReLU', None), ('out', 'Dense', 12)]
    """
    if hasattr(architecture, "architecture"):
        architecture = architecture.architecture()
    result, wider = [], 1
    for entry in architecture:
        entry = dict(entry)
        if "in_features" in entry:
            entry["in_features"] *= wider
            wider = 1
        if entry["type"] != "MaxoutDense":
            result.append(entry)
            continue
        wider, name = entry["k"], entry["name"]
        dense = {"name": name, "type": "Dense", "in_features": entry["in_features"]}
        dense["out_features"] = entry["units"] * entry["k"]
        result.append(dense | ({"dtype": entry["dtype"]} if "dtype" in entry else {}))
        if entry.get("relu"):
            result.append({"name": f"{name}_relu", "type": "ReLU"})
        if entry.get("dropout"):
            result.append({"name": f"{name}_dropout", "type": "Dropout", "p": entry["dropout"]})
    return result


def reduction(before, after):
    """Say which share is gone: (before - after) / before, the figure that the paper prints.

    >>> round(reduction(1_686_508, 440_812), 3)
    0.739
    """
    if before <= 0:
        raise MnpError(f"reduction from {before}: there must be something to reduce")
    return (before - after) / before


def compression(before, after):
    """Say how many times smaller: before / after; infinite if nothing is left.

    >>> compression(431_080, 43_108)
    10.0
    """
    return before / after if after else math.inf


def ratios(after, baselines):
    """Compare a network's sizes with those of one or several named baselines.

    Parameters
    ----------
    after : Sizes
    baselines : dict name -> Sizes
        Such as {"without_maxout": ..., "unpruned": ...}.

    Returns
    -------
    rows : list of dict
        baseline, quantity, before, after, reduction, compression. The baseline is always counted
        dense: parameters for `params` and `nonzero`, multiply-adds for both kinds of these,
        dense bytes for all bytes.
    """
    dense = dict.fromkeys(("params", "nonzero"), "params") | dict.fromkeys(("macs", "nonzero_macs"), "macs")
    rows = []
    for name, baseline in baselines.items():
        for quantity in COUNTED:
            was, now = getattr(baseline, dense.get(quantity, "dense_bytes")), getattr(after, quantity)
            row = {"baseline": name, "quantity": quantity, "before": was, "after": now}
            rows.append(row | {"reduction": reduction(was, now), "compression": compression(was, now)})
    return rows


def csr_bytes(rows, columns, nonzero, itemsize=4, compact=False):
    """Count the bytes of one matrix as CSR: values, a column index each, and where the rows begin.

        nonzero * itemsize + nonzero * index + (rows + 1) * pointer

    index = pointer = 4 bytes (int32). compact=True takes the narrowest unsigned integer of 1, 2 or 4
    bytes instead: for the index one that holds columns - 1, for the pointer one that holds nonzero.

    >>> csr_bytes(512, 800, 32_768)                 # 92 % sparse: 6.2 times less than 1,638,400
    264196
    >>> csr_bytes(512, 800, 32_768, compact=True)
    197634
    """
    index, pointer = index_bytes(columns - 1, compact), index_bytes(nonzero, compact)
    return nonzero * (itemsize + index) + (rows + 1) * pointer


def index_bytes(largest, compact):
    """Bytes of an index that counts up to `largest`: 4, or if compact 1, 2 or 4.

    >>> [index_bytes(n, compact=True) for n in (255, 256, 65_535, 65_536)], index_bytes(3, compact=False)
    ([1, 2, 2, 4], 4)
    """
    if not compact or largest > 65_535:
        return 4
    return 1 if largest <= 255 else 2


def file_bytes(path):
    """Ask the disk how long a file is.

    Raises MnpError if it is not there.
    """
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise MnpError(f"{path}: {error.strerror}; its size cannot be reported") from None


def _describe(entry, shape):
    """(output shape, shape of the weight or None, numbers that are always dense) of one layer."""
    kind = entry.get("type")
    if kind == "Conv2d":
        c, h, w = _expect(entry, shape, 3, entry["in_channels"])
        f, size = entry["out_channels"], entry["kernel_size"]
        oh, ow = conv2d_output_size(h, w, size, size, entry.get("stride", 1), entry.get("padding", 0))
        return (f, oh, ow), (f, c, size, size), f
    if kind in ("MaxPool2d", "AvgPool2d"):
        c, h, w = _expect(entry, shape, 3)
        stride = entry.get("stride")
        return (c, *pool2d_output_size(h, w, entry["size"], stride or entry["size"])), None, 0
    if kind == "BatchNorm2d":
        return _expect(entry, shape, 3, entry["channels"]), None, 2 * entry["channels"]
    if kind in ("ReLU", "Dropout"):
        return shape, None, 0
    if kind == "Flatten":
        return (math.prod(shape),), None, 0
    if kind == "Dense":
        (width,) = _expect(entry, shape, 1, entry["in_features"])
        return (entry["out_features"],), (entry["out_features"], width), entry["out_features"]
    if kind == "MaxoutDense":
        (width,) = _expect(entry, shape, 1, entry["in_features"])
        units, k = entry["units"], entry["k"]
        return (units,), (units, k, width), units * k
    raise MnpError(f"layer {entry.get('name')!r} is of type {kind!r}, which cannot be counted")


def _expect(entry, shape, axes, first=None):
    if len(shape) != axes or (first is not None and shape[0] != first):
        wanted = {1: "(in,)", 3: "(C, H, W)"}[axes] + ("" if first is None else f" with {first} first")
        raise ShapeError(f"{entry['type']} is reached by an example of shape {shape}, but takes {wanted}")
    return shape


def _count(entry, output, weight, others, arrays, masks):
    name, itemsize = entry["name"], np.dtype(entry.get("dtype", "float32")).itemsize
    size = math.prod(weight) if weight else 0
    nonzero, biases = size, others
    if weight and f"{name}.weight" in arrays:
        nonzero = int(np.count_nonzero(arrays[f"{name}.weight"]))
        if f"{name}.bias" in masks:
            biases = int(np.count_nonzero(masks[f"{name}.bias"]))
    uses = math.prod(output[1:])  # every weight of a filter is used once per output pixel
    stored = [size * itemsize] * 3
    if weight:
        rows, columns = _matrix(weight)
        for i, compact in ((1, False), (2, True)):
            stored[i] = min(stored[i], csr_bytes(rows, columns, nonzero, itemsize, compact))
    dense, csr, narrow = (bytes_ + others * itemsize for bytes_ in stored)
    counted = (size + others, nonzero + biases, size * uses, nonzero * uses, dense, csr, narrow)
    return LayerSize(name, entry["type"], tuple(output), *counted)


def _matrix(weight):
    """A weight's shape as a matrix: filters x (C*K*K), out x in, or (units*k) x in."""
    rows = weight[0] * weight[1] if len(weight) == 3 else weight[0]
    return rows, math.prod(weight) // rows
