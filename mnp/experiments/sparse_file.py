"""A pruned network on disk without its zeros: a checkpoint file with CSR arrays inside."""

import numpy as np

from mnp.errors import MnpError
from mnp.experiments.checkpoint import load_checkpoint, save_checkpoint
from mnp.nn import Network
from mnp.nn.network import LAYER_TYPES
from mnp.pruning.sizes import file_bytes, index_bytes
from mnp.pruning.sparse import SPARSE_TYPES, sparse_network
from mnp.pruning.sparse_layers import SparseConv2d, SparseDense

KIND = "sparse network"


def save_sparse(path, net, compact=False):
    """Write a network's layers as CSR, those that get smaller by it, and say how many bytes that took.

    Parameters
    ----------
    path : str or Path
        The file appears whole or not at all; .npz without pickle, `np.load` opens it too.
    net : Network
        Pruned, masked or not; or a `sparse_network` already. Masks are not saved: the file is for
        inference.
    compact : bool
        False: columns and row starts as int32, as they are in memory. True: as the narrowest of uint8,
        uint16 and int32 that fits, widened again on loading.

    Returns
    -------
    bytes : int
        Of the file, as the disk has it: `csr_bytes` (or `compact_bytes`) of `count_sizes`, and a few
        hundred bytes for every array, for the architecture and for the checksum.
    """
    if not any(isinstance(layer, SparseDense | SparseConv2d) for layer in net.layers.values()):
        net = sparse_network(net)
    arrays = dict(net.state_dict())
    for name, layer in net.layers.items():
        if compact and isinstance(layer, SparseDense | SparseConv2d):
            for key, largest in (("columns", layer.width - 1), ("starts", layer.nonzero)):
                dtype = {1: np.uint8, 2: np.uint16, 4: np.int32}[index_bytes(largest, compact=True)]
                arrays[f"{name}.{key}"] = arrays[f"{name}.{key}"].astype(dtype)
    save_checkpoint(path, arrays, {"kind": KIND, "architecture": net.architecture()})
    return file_bytes(path)


def load_sparse(path, backend=None):
    """Read a file that `save_sparse` wrote: a Network for inference.

    Raises MnpError, one line, for a file that is missing, damaged, or no sparse network.
    """
    arrays, meta = load_checkpoint(path)
    if meta.get("kind") != KIND:
        raise MnpError(f"{path}: is a checkpoint, but of no sparse network; read it with load_checkpoint")
    try:
        return _network(meta["architecture"], arrays, backend)
    except MnpError as error:
        raise MnpError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, MemoryError) as error:
        raise MnpError(f"{path}: describes no network ({type(error).__name__}: {error})") from None


def _network(architecture, arrays, backend):
    held, layers = sum(array.size for array in arrays.values()), []
    for entry in architecture:
        arguments = dict(entry)
        name, kind = arguments.pop("name"), arguments.pop("type")
        if any(isinstance(v, int) and v > max(held, 1 << 16) for v in arguments.values()):
            raise MnpError(f"layer {name!r} claims to be larger than the file")
        layers.append((name, (LAYER_TYPES | SPARSE_TYPES)[kind](**arguments, backend=backend)))
    net = Network(layers)
    net.load_state_dict(arrays)
    net.check_finite()
    for layer in net.layers.values():
        if isinstance(layer, SparseDense | SparseConv2d):
            layer.check()
    return net
