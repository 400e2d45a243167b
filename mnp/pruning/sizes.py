"""Size of a network: parameters, non-zeros, multiply-adds, bytes; every ratio with its formula.

A list as `Network.architecture()` gives is enough, so a full-size VGG16 can be counted without its
weights. For a Network the non-zeros are counted too.

There are two baselines, and a table has to name the one it uses: the maxout network that pruning starts
from, and the same network `without_maxout`, in which every neuron feeds the next layer.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from mnp.errors import MnpError
from mnp.nn import Network
from mnp.tables import text_table

FORMULAS = {  # written to result files: a changed text is another file
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
    """Sizes of one layer; FORMULAS explains the fields, `output` is its output shape without N."""

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
    """Sizes of a network: its layers, and the sums over them under the same names.

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
        """Text table with one line per layer and one for the sum."""
        rows = [("layer", "output", *COUNTED)]
        rows += [
            (x.name, "x".join(map(str, x.output)), *(f"{getattr(x, c):,}" for c in COUNTED))
            for x in self.layers
        ]
        rows.append(("total", "", *(f"{getattr(self, c):,}" for c in COUNTED)))
        return text_table(rows, left=[0])


def count_sizes(net, input_shape):
    """Count parameters, multiply-adds and bytes of a network, layer by layer.

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
        batch normalisation are not parameters, and its multiply-adds are 0: it folds into the
        convolution before it.

    Raises
    ------
    MnpError
        For an unknown layer type, or a layer that does not fit its input shape.

    >>> lenet = [
    ...     {"name": "conv1", "type": "Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 3},
    ...     {"name": "flatten", "type": "Flatten"},
    ...     {"name": "fc2", "type": "MaxoutDense", "in_features": 8, "units": 3, "k": 2},
    ... ]
    >>> sizes = count_sizes(lenet, (1, 4, 4))
    >>> sizes.params, sizes.macs          # 2*9 + 2 + 6*8 + 6,   18*4 + 48
    (74, 120)
    """
    with_values = isinstance(net, Network)
    if not with_values:
        net = Network.from_architecture(net, backend="textbook")  # zeros, which take no memory
    shape, layers = tuple(input_shape), []
    for name, output in net.output_shapes(input_shape).items():
        try:
            layers.append(_count(name, net[name], shape, output, with_values))
        except MnpError as error:
            raise MnpError(f"layer {name!r}: {error}") from None
        shape = output
    return Sizes(tuple(layers))


def without_maxout(architecture):
    """Architecture of the same network with every neuron feeding the next layer: the paper's baseline.

        MaxoutDense(in, units, k)  ->  Dense(in, units * k)  [-> ReLU] [-> Dropout]
        MaxoutConv2d(in, units, k, size)  ->  Conv2d(in, units * k, size)

    and the next layer with weights takes k times as many inputs.

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
        if "channels" in entry:  # batch normalisation
            entry["channels"] *= wider
        for key in ("in_features", "in_channels"):
            if key in entry:
                entry[key] *= wider
                wider = 1
        if entry["type"] == "MaxoutConv2d":
            wider, units = entry.pop("k"), entry.pop("units")
            entry |= {"type": "Conv2d", "out_channels": units * wider}
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
    """Fraction removed: (before - after) / before, the figure that the paper prints.

    >>> round(reduction(1_686_508, 440_812), 3)
    0.739
    """
    if before <= 0:
        raise MnpError(f"reduction from {before}: give a number of at least 1")
    return (before - after) / before


def compression(before, after):
    """Compression ratio: before / after; infinite if nothing is left.

    >>> compression(431_080, 43_108)
    10.0
    """
    return before / after if after else math.inf


def csr_bytes(rows, columns, nonzero, itemsize=4, compact=False):
    """Bytes of one matrix as CSR: values, a column index for each, and the starts of the rows.

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
    """Bytes of an index up to `largest`: 4, or if compact 1, 2 or 4.

    >>> [index_bytes(n, compact=True) for n in (255, 256, 65_535, 65_536)], index_bytes(3, compact=False)
    ([1, 2, 2, 4], 4)
    """
    if not compact or largest > 65_535:
        return 4
    return 1 if largest <= 255 else 2


def _count(name, layer, shape, output, with_values):
    """Sizes of one layer, for one example of this input shape."""
    weight = layer.params.get("weight")
    if weight is None or weight.ndim < 2:
        weight = np.empty((0, 0))
    size, nonzero = weight.size, int(np.count_nonzero(weight)) if with_values else weight.size
    others = biases = sum(array.size for array in layer.params.values()) - size
    if with_values and size and "bias" in layer.masks:
        biases = int(np.count_nonzero(layer.masks["bias"]))
    macs = layer.macs(shape)
    itemsize = next((array.itemsize for array in layer.params.values()), 0)
    dense = csr = compact = size * itemsize
    if size:
        rows = others or len(weight)  # one row of the matrix per bias
        csr = min(dense, csr_bytes(rows, size // rows, nonzero, itemsize))
        compact = min(dense, csr_bytes(rows, size // rows, nonzero, itemsize, compact=True))
    return LayerSize(
        name,
        type(layer).__name__,
        tuple(output),
        params=size + others,
        nonzero=nonzero + biases,
        macs=macs,
        nonzero_macs=macs // size * nonzero if size else 0,  # a weight is used once per output pixel
        dense_bytes=dense + others * itemsize,
        csr_bytes=csr + others * itemsize,
        compact_bytes=compact + others * itemsize,
    )
