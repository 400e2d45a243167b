"""CSR, compressed sparse rows: the form, and the conversion of a pruned network to it."""

from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.nn import Conv2d, Dense, Dropout, MaxoutDense, MaxPool2d, Network
from mnp.pruning.sizes import csr_bytes
from mnp.sparse.layers import SparseConv2d, SparseDense


class CSR(NamedTuple):
    """A matrix without its zeros: weight[r, columns[m]] = values[m], m in starts[r] .. starts[r + 1] - 1."""

    values: np.ndarray  # (nnz,) float
    columns: np.ndarray  # (nnz,) int32, ascending within a row
    starts: np.ndarray  # (rows + 1,) int32, non-decreasing, from 0 to nnz


def to_csr(weight):
    """Convert a matrix (rows, columns) to CSR: its non-zeros, row by row, in new arrays.

    Only the values count: a weight that is kept by its mask and happens to be 0 is left out.

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


def sparse_network(net, names=None):
    """Return the network with its pruned layers in CSR form, for inference.

    A convolution is fused with the max pooling after it; dropout layers, which do nothing here, are left
    out. Sparse layers keep their arrays as buffers (saved, not learned).

    Parameters
    ----------
    net : Network
        Unchanged. It needs no masks: what counts is which weights are zero.
    names : iterable of str, optional
        The layers to convert. If not given: those whose CSR form takes fewer bytes than the dense one.

    Returns
    -------
    net : Network
        Its outputs are those of `net` in evaluation mode, to rounding (the order of the sums differs).
        NaN or infinity in an input is not multiplied by the weights that were removed.

    Raises MnpError for an unknown name, or a layer without a weight matrix.
    """
    names = [name for name, layer in net.layers.items() if _pays(layer)] if names is None else list(names)
    for name in names:
        if _matrix(net[name]) is None:
            raise MnpError(f"layer {name!r} is a {type(net[name]).__name__}: it has no weight to make sparse")
    layers, pool = [], None
    following = [*list(net.layers.values())[1:], None]
    for (name, layer), after in zip(net.layers.items(), following, strict=True):
        if name in names:
            pool = after if isinstance(layer, Conv2d) and isinstance(after, MaxPool2d) else None
            layers.append((name, _converted(layer, pool)))
        elif layer is not pool and not isinstance(layer, Dropout):
            layers.append((name, layer.copy()))
    return Network(layers)


def _matrix(layer):
    """Weight of a layer as the matrix that CSR stores, one row per bias; None if there is none."""
    if not isinstance(layer, Conv2d | Dense | MaxoutDense):
        return None
    return layer.params["weight"].reshape(layer.params["bias"].size, -1)


def _pays(layer):
    weight = _matrix(layer)
    if weight is None:
        return False
    return csr_bytes(*weight.shape, int(np.count_nonzero(weight)), weight.itemsize) < weight.nbytes


def _converted(layer, pool):
    csr, bias = to_csr(_matrix(layer)), layer.params["bias"].reshape(-1)
    if isinstance(layer, MaxoutDense) and layer.masked_out() is not None:
        # The lowest number instead of -inf, which a file of a network must not hold: it never wins either.
        bias = np.where(layer.masked_out().reshape(-1), np.finfo(layer.dtype).min, bias)
    common = {"dtype": layer.dtype, "backend": layer.backend}
    if isinstance(layer, Conv2d):
        shape = layer.in_channels, layer.out_channels, layer.kernel_size
        window = {} if pool is None else {"pool": pool.size, "pool_stride": pool.stride}
        sparse = SparseConv2d(*shape, len(csr.values), layer.stride, layer.padding, **window, **common)
    else:
        k, relu = (layer.k, layer.relu) if isinstance(layer, MaxoutDense) else (1, False)
        sparse = SparseDense(layer.in_features, bias.size, len(csr.values), k=k, relu=relu, **common)
    for name, array in {**csr._asdict(), "bias": bias}.items():
        sparse.buffers[name][...] = array
    return sparse
