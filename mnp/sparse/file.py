"""Sparse networks on disk: the CSR arrays and the architecture in one .npz file with a checksum."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from mnp.errors import MnpError
from mnp.files import atomic_write
from mnp.nn import Network
from mnp.nn.network import LAYER_TYPES
from mnp.pruning.sizes import index_bytes
from mnp.sparse.csr import sparse_network
from mnp.sparse.layers import SPARSE_TYPES

META = "meta.json"
DIGEST = 32  # bytes of the SHA-256 at the end of the file, after the zip archive


def save_sparse(path, net, compact=False):
    """Save a network with its layers as CSR, those that get smaller by it; return the bytes of the file.

    The file is .npz without pickle, which `np.load` opens too, for inference: masks are not saved. Its bytes
    are `csr_bytes` (or `compact_bytes`) of `count_sizes`, and a few hundred for every array, for the
    architecture and for the checksum.

    Parameters
    ----------
    path : str or Path
        Written completely or not at all.
    net : Network
        Pruned, masked or not; or a `sparse_network` already.
    compact : bool
        Columns and row starts as the narrowest of uint8, uint16 and int32 that fits, not as int32.
    """
    if not _sparse_layers(net):
        net = sparse_network(net)
    arrays = dict(net.state_dict())
    if compact:
        for name, layer in _sparse_layers(net).items():
            for key, largest in (("columns", layer.width - 1), ("starts", layer.nonzero)):
                dtype = {1: np.uint8, 2: np.uint16, 4: np.int32}[index_bytes(largest, compact=True)]
                arrays[f"{name}.{key}"] = arrays[f"{name}.{key}"].astype(dtype)
    data = _pack(arrays, {"kind": "sparse network", "architecture": net.architecture()})
    atomic_write(path, data)
    return len(data)


def load_sparse(path, backend=None):
    """Load a file of `save_sparse`: a Network for inference.

    Raises MnpError, one line, for a file that is missing, damaged, or not a sparse network.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None
    if hashlib.sha256(data[:-DIGEST]).digest() != data[-DIGEST:]:
        raise MnpError(f"{path}: is damaged, or not a file of save_sparse")
    try:
        return _network(*_unpack(data), backend)
    except Exception as error:  # whatever NumPy or zipfile raise for contents that were made up
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MnpError(f"{path}: describes no sparse network ({reason})") from None


def _pack(arrays, meta):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, **{META: np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    data = buffer.getvalue()
    return data + hashlib.sha256(data).digest()


def _unpack(data):
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return arrays, json.loads(arrays.pop(META).tobytes())


def _sparse_layers(net):
    return {name: layer for name, layer in net.layers.items() if type(layer).__name__ in SPARSE_TYPES}


def _network(arrays, meta, backend):
    held = sum(array.size for array in arrays.values())
    for entry in meta["architecture"]:
        if any(isinstance(v, int) and v > max(held, 1 << 16) for v in entry.values()):
            raise MnpError(f"layer {entry.get('name')!r} is said to be larger than the file")
    net = Network.from_architecture(
        meta["architecture"], arrays, backend=backend, types=LAYER_TYPES | SPARSE_TYPES
    )
    net.check_finite()
    for layer in _sparse_layers(net).values():
        layer.check()
    return net
