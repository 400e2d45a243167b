"""Sparse networks on disk: a checkpoint with the CSR arrays."""

from pathlib import Path

import numpy as np

from mnp.checkpoint import save_checkpoint
from mnp.errors import MnpError
from mnp.nn.checkpoint import load_network, network_entries
from mnp.nn.network import LAYER_TYPES
from mnp.sparse.csr import sparse_network
from mnp.sparse.layers import SPARSE_TYPES


def save_sparse(path, net, compact=False):
    """Save a network with its layers as CSR, those that get smaller by it; return the bytes of the file.

    The file is a checkpoint (.npz without pickle), for inference: masks are not saved. Its bytes are
    `csr_bytes` (or `compact_bytes`) of `count_sizes`, and a few hundred for every array and for the
    architecture.

    Parameters
    ----------
    path : str or Path
        Written completely or not at all.
    net : Network
        Pruned, masked or not; or a `sparse_network` already.
    compact : bool
        Columns and row starts as the narrowest unsigned integers that fit, not as int32.
    """
    if not _sparse_layers(net):
        net = sparse_network(net)
    arrays, meta = network_entries(net, LAYER_TYPES | SPARSE_TYPES)
    if compact:
        for name, layer in _sparse_layers(net).items():
            for key, largest in (("columns", layer.width - 1), ("starts", layer.nonzero)):
                array = f"state/{name}.{key}"
                arrays[array] = arrays[array].astype(np.min_scalar_type(largest))
    save_checkpoint(path, {name: a for name, a in arrays.items() if name.startswith("state/")}, meta)
    return Path(path).stat().st_size


def load_sparse(path, backend=None):
    """Load a checkpoint of `save_sparse`, or of another network.

    Raises MnpError, one line, for a file that is missing, damaged, or holds no network.
    """
    net = load_network(path, backend, LAYER_TYPES | SPARSE_TYPES)
    try:
        for layer in _sparse_layers(net).values():
            layer.check()
    except MnpError as error:
        raise MnpError(f"{path}: {error}") from None
    return net


def _sparse_layers(net):
    return {name: layer for name, layer in net.layers.items() if type(layer).__name__ in SPARSE_TYPES}
