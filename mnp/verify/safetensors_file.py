"""The safetensors format: a length, a JSON header, the bytes. Written in plain NumPy, read by its library.

    8 bytes   length of the header, little-endian
    header    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
    the rest  the arrays one after another, little-endian, C order, without gaps

Source: https://github.com/huggingface/safetensors, "Format".
"""

import json

import numpy as np

from mnp.errors import MnpError
from mnp.verify.state_dict import need

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


def to_bytes(arrays, metadata=None):
    """Write named arrays, and metadata (a dict of str), into the bytes of a safetensors file.

    The same arrays give the same bytes, whatever their strides. Raises MnpError for types not in DTYPES.

    >>> len(to_bytes({"x": np.zeros(2, np.float32)}))
    72
    """
    header, body, at = {"__metadata__": metadata} if metadata else {}, [], 0
    for name, array in arrays.items():
        array = np.asarray(array)
        kind = NAMES.get(array.dtype.newbyteorder("="))
        if kind is None:
            raise MnpError(f"safetensors: cannot hold {name!r} of type {array.dtype}: convert it first")
        data = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        body.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + b"".join(body)


def store(arrays, key, value):
    """Put an argument's arrays into a dictionary; return what JSON says of the argument.

    {"array": key} for an array, a list of such entries for a tuple of arrays, other values as they are.
    """
    if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
        return [store(arrays, f"{key}.{i}", v) for i, v in enumerate(value)]
    if isinstance(value, (np.ndarray, np.generic)):
        arrays[key] = np.ascontiguousarray(value).reshape(np.shape(value))
        return {"array": key}
    return list(value) if isinstance(value, tuple) else value


def from_bytes(data, where="safetensors"):
    """Read named arrays from the bytes of a safetensors file, which a message calls `where`.

    BF16, which NumPy does not have, becomes float32. Raises MnpError if the library finds the file damaged or
    is not installed, and for other types.
    """
    library, arrays = need("safetensors"), {}
    try:
        entries = library.deserialize(data)
    except Exception as error:  # the library's own class, which older versions keep to themselves
        reason = " ".join(str(error).split())[:120]
        raise MnpError(f"{where}: is not a complete safetensors file ({reason})") from None
    for name, entry in entries:
        kind, raw = entry["dtype"], entry["data"]
        if kind == "BF16":
            array = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif kind in DTYPES:
            array = np.frombuffer(raw, np.dtype(DTYPES[kind]).newbyteorder("<")).astype(DTYPES[kind])
        else:
            raise MnpError(f"{where}: {name!r} is of type {kind}: convert it first")
        arrays[name] = array.reshape(entry["shape"])
    return arrays
