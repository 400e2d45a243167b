"""The safetensors format in plain NumPy: a length, a JSON header, the bytes. No dependency, no pickle.

    8 bytes   length of the header, little-endian
    header    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
    the rest  the arrays one after another, little-endian, C order, without gaps

Source: https://github.com/huggingface/safetensors, "Format". Files written here are read by that library,
and the other way round; a test holds the two together.
"""

import json
import math
from pathlib import Path

import numpy as np

from mnp.errors import MnpError

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}
LARGEST_HEADER = 100_000_000  # the library's own limit


def to_bytes(arrays, metadata=None):
    """Pack named arrays into the bytes of a safetensors file.

    Parameters
    ----------
    arrays : dict of name -> array
        Any strides: what is written is in C order. Types as in DTYPES.
    metadata : dict of str -> str, optional

    Returns
    -------
    data : bytes
        The same arrays give the same bytes.

    Raises MnpError for a type that the format, or this file, does not know.

    >>> len(to_bytes({"x": np.zeros(2, np.float32)}))
    72
    """
    header, body, at = {}, [], 0
    if metadata:
        header["__metadata__"] = {str(key): str(value) for key, value in metadata.items()}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.newbyteorder("=") not in NAMES or name == "__metadata__":
            raise MnpError(f"safetensors: cannot hold {name!r} of type {array.dtype}: convert it first")
        data = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
        kind = NAMES[array.dtype.newbyteorder("=")]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        body.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + b"".join(body)


def from_bytes(data, where="safetensors"):
    """Unpack the bytes of a safetensors file.

    Parameters
    ----------
    data : bytes
    where : str
        What a message calls the file.

    Returns
    -------
    arrays : dict of name -> array
        Each an array of its own. BF16 becomes float32, which holds every value of it.
    metadata : dict of str -> str

    Raises MnpError, one line, for anything that is not exactly what the format says: nothing is
    allocated beyond the bytes that are there.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > min(len(data) - 8, LARGEST_HEADER):
            raise ValueError("the header's length does not fit the file")
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_without_repeats)
        if not isinstance(header, dict):
            raise ValueError("the header is no JSON object")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("the metadata is not text")
        body = memoryview(data)[8 + length :]
        arrays = {name: _array(name, entry, body) for name, entry in header.items()}
        _check_no_gaps(header, len(body))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise MnpError(f"{where}: is no whole safetensors file ({reason})") from None
    return arrays, metadata


def _without_repeats(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _array(name, entry, body):
    shape, (start, end), kind = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not all(type(n) is int and n >= 0 for n in [*shape, start, end]):
        raise ValueError(f"{name[:40]!r} has sizes that are no whole numbers")
    if kind != "BF16" and kind not in DTYPES:
        raise ValueError(f"{name[:40]!r} has the type {str(kind)[:20]!r}, which is not read here")
    dtype = np.dtype(np.uint16 if kind == "BF16" else DTYPES[kind]).newbyteorder("<")
    count = math.prod(shape)  # Python integers: no overflow, whatever the header claims
    if not 0 <= start <= end <= len(body) or end - start != count * dtype.itemsize:
        raise ValueError(f"{name[:40]!r} claims other bytes than the file has")
    raw = np.frombuffer(body[start:end], dtype).reshape(shape)
    if kind == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    if kind == "BOOL" and raw.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"{name[:40]!r} holds a bool that is neither 0 nor 1")
    return raw.astype(raw.dtype.newbyteorder("="))


def _check_no_gaps(header, size):
    at = 0
    for start, end in sorted(entry["data_offsets"] for entry in header.values()):
        if start != at:
            raise ValueError("the arrays overlap or leave a gap")
        at = end
    if at != size:
        raise ValueError("there are bytes that belong to no array")


def save(path, arrays, metadata=None):
    """Write a safetensors file, aside first and then moved into place; see `to_bytes`."""
    from mnp.files import atomic_write

    atomic_write(path, to_bytes(arrays, metadata))


def load(path):
    """Read a safetensors file: (arrays, metadata); see `from_bytes`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None
    return from_bytes(data, str(path))
