"""Checkpoints: arrays and JSON in one .npz file, without pickle, with a checksum over all of it.

    file = a zip archive, nothing compressed: <name>.npy ..., meta.json.npy, and a comment at its end
    comment = 64 hexadecimal digits: the SHA-256 of every byte of the file before them

so `np.load` opens it too. Entries are read only after the checksum fits, and only if the sizes in their
headers are the bytes that are there: a damaged or hostile file costs an error message, never memory.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from mnp.errors import MnpError
from mnp.experiments.typed import show
from mnp.files import atomic_write
from mnp.nn import Network

FORMAT = "mnp checkpoint"
VERSION = 1
DIGEST = 64  # hexadecimal digits of a SHA-256
LARGEST = 1 << 31  # bytes; no network of this project comes near
KINDS = "biuf"  # bool, integers, floats
META = "meta.json"


def save_checkpoint(path, arrays, meta):
    """Write arrays and a JSON object as one file, aside first and then moved into place.

    Parameters
    ----------
    path : str or Path
    arrays : dict name -> array
        Any shape and order; bool, integer or float. The same content gives the same bytes.
    meta : dict
        Anything JSON can hold.

    Raises MnpError if the disk refuses; a file of that name is then as it was.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **meta}, allow_nan=False)
    entries = {**arrays, META: np.frombuffer(text.encode(), dtype=np.uint8)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            array = np.asarray(array)
            if array.dtype.kind not in KINDS:
                raise MnpError(
                    f"{path}: array {name} has dtype {array.dtype}; a checkpoint holds numbers only"
                )
            entry = io.BytesIO()
            np.lib.format.write_array(
                entry, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False
            )
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), entry.getvalue())
        archive.comment = b"0" * DIGEST
    with buffer.getbuffer() as view:
        view[-DIGEST:] = hashlib.sha256(view[:-DIGEST]).hexdigest().encode()
    atomic_write(path, buffer.getbuffer())


def load_checkpoint(path):
    """Read a file that `save_checkpoint` wrote.

    Returns
    -------
    arrays : dict name -> array
    meta : dict

    Raises MnpError, one line, for a file that is missing, damaged, of another version, or no checkpoint.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise MnpError(f"{path}: is too large to be a checkpoint")
        data = path.read_bytes()
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None
    if hashlib.sha256(data[:-DIGEST]).hexdigest().encode() != data[-DIGEST:]:
        raise MnpError(f"{path}: is damaged or no checkpoint of mnp (its checksum does not fit)")
    try:
        arrays = read_entries(data)
        meta = json.loads(arrays.pop(META).tobytes())
        if meta["format"] != FORMAT:
            raise ValueError("it is of another kind")
        version = meta["version"]
    except Exception as error:  # whatever zipfile, numpy or json find wrong with hostile bytes
        reason = str(error).split("\n")[0][:100] or type(error).__name__
        raise MnpError(f"{path}: is no checkpoint of mnp ({reason})") from None
    if version != VERSION:
        raise MnpError(f"{path}: is a checkpoint of version {show(version)}, this program reads {VERSION}")
    return arrays, meta


def read_entries(data):
    """The arrays of an uncompressed .npz in memory; raises some exception for anything unusual."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > len(data):
            raise ValueError("its entries claim more bytes than the file has")
        arrays = {}
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
                raise ValueError(f"entry {info.filename[:40]!r} is not a stored array")
            arrays[info.filename.removesuffix(".npy")] = read_array(archive.read(info))
        if len(arrays) != len(infos):
            raise ValueError("two entries have one name")
    return arrays


def read_array(data):
    """One .npy in memory as an array of its own; the header must say exactly what follows it."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array is of another npy version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in KINDS or not dtype.isnative or fortran or min(shape, default=0) < 0:
        raise ValueError("an array has an unexpected type or order")
    body = data[stream.tell() :]
    count = 1
    for n in shape:
        count *= n  # Python integers: no overflow, however large the header's claim
    if count * dtype.itemsize != len(body):
        raise ValueError("an array's header does not fit its size")
    return np.frombuffer(body, dtype=dtype).reshape(shape).copy()


# --- networks -----------------------------------------------------------------------------------------


def network_entries(net):
    """What a checkpoint needs of a network: arrays under state/ and masks/, and the architecture."""
    arrays = {f"state/{name}": array for name, array in net.state_dict().items()}
    arrays |= {f"masks/{name}": mask for name, mask in net.masks().items()}
    return arrays, {"architecture": net.architecture()}


def under(arrays, folder):
    """The arrays whose name begins with "folder/", without it.

    >>> under({"state/a": 1, "masks/a": 2}, "masks")
    {'a': 2}
    """
    return {name.removeprefix(f"{folder}/"): a for name, a in arrays.items() if name.startswith(f"{folder}/")}


def network_from(arrays, meta, backend=None):
    """Build the network that `network_entries` took apart; arrays and masks must fit the architecture.

    Raises MnpError where they do not, before anything larger than the arrays themselves is made, and for
    NaN or infinity among them.
    """
    state, masks = under(arrays, "state"), under(arrays, "masks")
    architecture = meta.get("architecture")
    numbers = sum(array.size for array in state.values())
    if not isinstance(architecture, list) or not all(isinstance(entry, dict) for entry in architecture):
        raise MnpError("the checkpoint has no architecture; it was not written by save_network or a run")
    for entry in architecture:
        for name, value in entry.items():
            # No dimension of a layer exceeds the number of its weights, all of which are in the file.
            if isinstance(value, int) and abs(value) > max(numbers, 1):
                raise MnpError(f"the checkpoint says {name} = {value}, which its arrays cannot hold")
    try:
        net = Network.from_architecture(architecture, state, masks, backend)
        net.check_finite()
        return net
    except MnpError:
        raise
    except Exception as error:  # hostile values in an architecture: names, sizes, types
        raise MnpError(f"the checkpoint's architecture cannot be built ({type(error).__name__})") from None


def save_network(path, net, **meta):
    """Save a network, its masks and its architecture, to be had again with `load_network`."""
    arrays, architecture = network_entries(net)
    save_checkpoint(path, arrays, {**meta, **architecture})


def load_network(path, backend=None):
    """The network of a checkpoint: one of `save_network`, or a step of a run.

    Raises MnpError, one line with the path, for anything that is not such a file.
    """
    arrays, meta = load_checkpoint(path)
    try:
        return network_from(arrays, meta, backend)
    except MnpError as error:
        raise MnpError(f"{path}: {error}") from None
