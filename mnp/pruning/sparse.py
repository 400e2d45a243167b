"""Pruned layers as CSR, compressed sparse rows: really smaller, and run without the zeros.

    masked = apply_masks(net, masks)        # zeros in full-size arrays, ready for training
    small = sparse_network(masked)          # the same outputs; the zeros are gone

The result is a Network for inference: its sparse layers keep their arrays as buffers (they are saved,
not learned), so `architecture()` and `state_dict()` describe it as they do any other network.
"""

from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.nn import Conv2d, Dense, Dropout, MaxoutDense, MaxPool2d, Network
from mnp.pruning.sizes import csr_bytes
from mnp.pruning.sparse_layers import SPARSE_TYPES, SparseConv2d, SparseDense

__all__ = [
    "CSR",
    "SPARSE_TYPES",
    "SparseConv2d",
    "SparseDense",
    "sparse_network",
    "stored_bytes",
    "to_csr",
    "to_dense",
]


class CSR(NamedTuple):
    """A matrix without its zeros: weight[r, columns[p]] = values[p], p in starts[r] .. starts[r + 1] - 1."""

    values: np.ndarray  # (nnz,) float
    columns: np.ndarray  # (nnz,) int32, ascending within a row
    starts: np.ndarray  # (rows + 1,) int32, never falling, from 0 to nnz


def to_csr(weight):
    """Collect the non-zeros of a matrix, row by row.

    Parameters
    ----------
    weight : (rows, columns) float

    Returns
    -------
    csr : CSR
        values, columns, starts: arrays of their own. A row without non-zeros has starts[r] == starts[r+1].
        What counts is the value: a weight that is kept by its mask and happens to be 0 is left out.

    >>> csr = to_csr(np.array([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [7.0, 0.0, 8.0]]))
    >>> csr.values.tolist(), csr.columns.tolist(), csr.starts.tolist()
    ([5.0, 7.0, 8.0], [1, 0, 2], [0, 1, 1, 3])
    """
    weight = np.asarray(weight)
    if weight.ndim != 2:
        raise MnpError(f"weight has shape {weight.shape}: CSR holds a matrix, reshape it to (rows, columns)")
    rows, columns = np.nonzero(weight)
    starts = np.zeros(len(weight) + 1, dtype=np.int32)
    starts[1:] = np.cumsum(np.bincount(rows, minlength=len(weight)))
    return CSR(weight[rows, columns], columns.astype(np.int32), starts)


def to_dense(csr, columns):
    """Write the non-zeros back into a matrix of `columns` columns.

    >>> to_dense(to_csr(np.array([[0.0, 5.0], [6.0, 0.0]])), columns=2)
    array([[0., 5.],
           [6., 0.]])
    """
    rows = np.repeat(np.arange(len(csr.starts) - 1), np.diff(csr.starts))
    weight = np.zeros((len(csr.starts) - 1, columns), dtype=csr.values.dtype)
    weight[rows, csr.columns] = csr.values
    return weight


def sparse_network(net, names=None):
    """Return the network with its pruned layers in CSR form, for inference.

    A convolution takes in the max pooling after it; dropout layers, which do nothing here, are left out.

    Parameters
    ----------
    net : Network
        Untouched. Masks need not be there: what counts is which weights are zero.
    names : iterable of str, optional
        The layers to convert. If not given: those whose CSR form takes fewer bytes than the dense one,
        the rule by which `sizes` counts csr_bytes.

    Returns
    -------
    net : Network
        In evaluation mode its outputs are those of `net`, to rounding (the order of the sums differs).
        NaN or infinity in an input is not multiplied by the weights that are gone.

    Raises
    ------
    MnpError
        For a name that is not there, or a layer without a weight matrix.
    """
    if names is None:
        names = [name for name, layer in net.layers.items() if _matrix(layer) is not None and _pays(layer)]
    names = list(names)
    for name in names:
        if _matrix(net[name]) is None:
            raise MnpError(f"layer {name!r} is a {type(net[name]).__name__}: it has no weight to make sparse")
    layers, taken = [], None
    following = [*list(net.layers.values())[1:], None]
    for (name, layer), after in zip(net.layers.items(), following, strict=True):
        if layer is taken or isinstance(layer, Dropout):
            continue
        if name not in names:
            layers.append((name, layer.copy()))
            continue
        if isinstance(layer, Conv2d) and isinstance(after, MaxPool2d):
            taken = after
        layers.append((name, _converted(layer, taken if taken is after else None)))
    return Network(layers)


def stored_bytes(net):
    """Add up the bytes of all arrays that a network keeps: parameters and buffers.

    For a `sparse_network` without batch normalisation this is `count_sizes(...).csr_bytes`.
    """
    return sum(array.nbytes for array in net.state_dict().values())


def _matrix(layer):
    """A layer's weight as the matrix that CSR stores, or None."""
    if not isinstance(layer, Conv2d | Dense | MaxoutDense):
        return None
    weight = layer.params["weight"]
    return weight.reshape(-1, weight.shape[-1]) if weight.ndim == 3 else weight.reshape(len(weight), -1)


def _pays(layer):
    weight = _matrix(layer)
    return csr_bytes(*weight.shape, int(np.count_nonzero(weight)), weight.itemsize) < weight.nbytes


def _converted(layer, pool):
    csr, bias = to_csr(_matrix(layer)), layer.params["bias"].reshape(-1)
    if isinstance(layer, MaxoutDense) and layer.masked_out() is not None:
        # The lowest number instead of -inf, which a file of a network must not hold: it never wins either.
        bias = np.where(layer.masked_out().reshape(-1), np.finfo(layer.dtype).min, bias)
    common = {"dtype": layer.dtype, "backend": layer.backend}
    if isinstance(layer, Conv2d):
        window = {} if pool is None else {"pool": pool.size, "pool_stride": pool.stride}
        sparse = SparseConv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            len(csr.values),
            layer.stride,
            layer.padding,
            **window,
            **common,
        )
    else:
        k, relu = (layer.k, layer.relu) if isinstance(layer, MaxoutDense) else (1, False)
        sparse = SparseDense(layer.in_features, bias.size, len(csr.values), k=k, relu=relu, **common)
    for name, array in {**csr._asdict(), "bias": bias}.items():
        sparse.buffers[name][...] = array
    return sparse
