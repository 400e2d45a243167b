"""Arrays and plain values as bytes, for the pipe between the grader and the process that runs an answer.

A message is a JSON header (what the value is made of) followed by the raw bytes of its arrays.
Nothing here can carry code: no pickle, no object arrays, no class names that are looked up. The
grader reads messages that a student's program may have written, so `unpack` checks every number
before it uses it and knows one failure only, ProtocolError.
"""

import json
import math
import struct

import numpy as np

LIMIT = 8_000_000  # bytes in one message; the largest array of any case is far below
DEEPEST = 6
KINDS = "biuf"


class ProtocolError(ValueError):
    """A message that is no message: too long, too deep, or not what its header says."""


class Other:
    """Stands for a returned object that is neither an array nor a plain value."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<{self.name}>"


def pack(value):
    """Turn a value into bytes; anything unknown becomes an Other with the name of its type."""
    blobs = []
    header = json.dumps(_describe(value, blobs, 0)).encode()
    message = struct.pack(">I", len(header)) + header + b"".join(blobs)
    if len(message) > LIMIT:
        raise ProtocolError(f"a message of {len(message)} bytes; at most {LIMIT} are passed on")
    return message


def _describe(value, blobs, depth):
    if depth > DEEPEST:
        return {"t": "other", "v": "deeply nested value"}
    kind = type(value)
    if value is None or kind is bool:
        return {"t": "plain", "v": value}
    if kind is int and abs(value) < 2**63:
        return {"t": "plain", "v": value}
    if kind is float:
        return {"t": "float", "v": repr(value)}
    if kind is str:
        return {"t": "plain", "v": value[:400_000]}
    if kind in (tuple, list):
        return {"t": kind.__name__, "v": [_describe(v, blobs, depth + 1) for v in value]}
    if kind is dict and all(type(key) is str for key in value):
        return {"t": "dict", "v": {key: _describe(v, blobs, depth + 1) for key, v in value.items()}}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in KINDS and value.dtype.itemsize <= 8:
        array = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        blobs.append(array.tobytes())
        return {"t": "array", "d": array.dtype.str, "s": list(np.shape(value))}
    return {"t": "other", "v": kind.__name__[:80]}


def unpack(message):
    """The value a message stands for. Raises ProtocolError, and nothing else, when it stands for none."""
    try:
        (length,) = struct.unpack_from(">I", message)
        if not 0 < length <= len(message) - 4 or len(message) > LIMIT:
            raise ProtocolError("a header longer than its message")
        described = json.loads(bytes(message[4 : 4 + length]))
        reader = _Reader(memoryview(message)[4 + length :])
        value = reader.build(described, 0)
        if reader.position != len(reader.blob):
            raise ProtocolError("bytes left over")
        return value
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(f"not a message: {type(error).__name__}") from None


class _Reader:
    def __init__(self, blob):
        self.blob, self.position = blob, 0

    def build(self, described, depth):
        if depth > DEEPEST + 1:
            raise ProtocolError("nested too deep")
        kind, value = described["t"], described.get("v")
        if kind == "plain" and (value is None or type(value) in (bool, int, str)):
            return value
        if kind == "float":
            return float(value)
        if kind in ("tuple", "list"):
            items = [self.build(item, depth + 1) for item in value]
            return tuple(items) if kind == "tuple" else items
        if kind == "dict":
            return {str(key): self.build(item, depth + 1) for key, item in value.items()}
        if kind == "array":
            return self.array(described["d"], described["s"])
        if kind == "other":
            return Other(str(value)[:80])
        raise ProtocolError("a value of no known kind")

    def array(self, dtype, shape):
        dtype = np.dtype(str(dtype))
        if dtype.kind not in KINDS or dtype.itemsize > 8 or dtype.names:
            raise ProtocolError("an array of a type that is not passed on")
        if len(shape) > 8 or any(type(n) is not int or n < 0 for n in shape):
            raise ProtocolError("a shape that is none")
        size = math.prod(shape) * dtype.itemsize
        if size > len(self.blob) - self.position:
            raise ProtocolError("an array longer than its message")
        part = self.blob[self.position : self.position + size]
        self.position += size
        return np.frombuffer(part, dtype=dtype).reshape(shape).copy()
