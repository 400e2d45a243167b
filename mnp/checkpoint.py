"""Checkpoints: arrays and a JSON object in one uncompressed .npz file, without pickle.

    <name>.npy ...      the arrays: state/<parameter>, masks/<parameter>, and what a run adds
    meta.json.npy       the JSON text as uint8: format, version, architecture, and what a run adds

Version 1 (mnp 0.1) has a checksum behind the archive, which is not looked at; the CRC-32 of each entry is
checked in both versions.
"""

import io
import json

import numpy as np

from mnp.errors import MnpError
from mnp.files import atomic_write, read_bytes

FORMAT = "mnp checkpoint"
VERSION = 2
VERSIONS_READ = (1, 2)
MAX_BYTES = 1 << 31  # no network of this project comes near
KINDS = "biuf"  # bool, integers, floats
META = "meta.json"


def save_checkpoint(path, arrays, meta):
    """Write arrays and a JSON object as one file, complete or not at all.

    Parameters
    ----------
    path : str or Path
    arrays : dict name -> array
        Of any shape, order and byte order; bool, integer or float. Equal content gives equal bytes.
    meta : dict
        Anything JSON can hold.

    Raises MnpError if the file system rejects the write; an older file is then intact.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **meta}, allow_nan=False)
    entries = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind not in KINDS:
            raise MnpError(f"{path}: array {name} has dtype {array.dtype}; a checkpoint holds numbers only")
        entries[name] = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    entries[META] = np.frombuffer(text.encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **entries)
    atomic_write(path, buffer.getbuffer())


def load_checkpoint(path):
    """Read a file that `save_checkpoint` wrote.

    Returns
    -------
    arrays : dict name -> array
    meta : dict

    Raises MnpError, one line, for a file that is missing, damaged, of another version, or no checkpoint.
    """
    data = read_bytes(path, "a checkpoint", MAX_BYTES)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            # A compressed or overlapping archive could claim any size; ours is as large as its entries.
            if sum(info.file_size for info in archive.zip.infolist()) > len(data):
                raise ValueError("its entries claim more bytes than the file has")
            if archive.zip.testzip() is not None:  # np.load itself checks the CRC only of what it reads
                raise ValueError("a checksum does not fit")
            arrays = {name: archive[name] for name in archive.files}
        if any(array.dtype.kind not in KINDS for array in arrays.values()):
            raise ValueError("an array does not hold numbers")
        meta = json.loads(arrays.pop(META).tobytes())
        if meta.get("format") != FORMAT:
            raise ValueError("it is of another format")
        version = meta["version"]
    except Exception as error:  # whatever zipfile, numpy or json find wrong with damaged or hostile bytes
        reason = str(error).split("\n")[0][:100] or type(error).__name__
        reason = (
            "it is not an .npz file of numbers" if "pickle" in reason else reason
        )  # NumPy's text advises unsafe loading
        raise MnpError(f"{path}: is damaged or no checkpoint of mnp ({reason})") from None
    if version not in VERSIONS_READ:
        raise MnpError(
            f"{path}: is a checkpoint of version {version!r:.40}; this program reads 1 and {VERSION}"
        )
    return arrays, meta


def with_prefix(arrays, prefix):
    """The arrays whose name begins with "prefix/", under the rest of their name.

    >>> with_prefix({"state/a": 1, "masks/a": 2}, "masks")
    {'a': 2}
    """
    return {name.removeprefix(f"{prefix}/"): a for name, a in arrays.items() if name.startswith(f"{prefix}/")}
