"""Read idx files, MNIST's format, and believe nothing that they say about themselves.

bytes 0..1   zero
byte  2      the type of a number: 8 is an unsigned byte, the only one that MNIST uses
byte  3      how many dimensions
then         each dimension, 4 bytes, high byte first
then         the numbers, last dimension fastest, to the very end of the file
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from mnp.errors import MnpError

MAX_BYTES = 1 << 28  # 256 MiB: five times MNIST's largest file
UNSIGNED_BYTE = 8


def read_idx(path: str | Path, ndim: int) -> np.ndarray:
    """Read one idx file of unsigned bytes, plain or gzip-compressed.

    Memory follows the bytes that are really there, never the header's word alone, and unpacking
    stops one byte after what the header promises: a compressed bomb costs at most `MAX_BYTES`.

    Parameters
    ----------
    path : path
        Compressed or not is told by the content, not by the name.
    ndim : int
        How many dimensions the caller expects: 3 for images, 1 for labels.

    Returns
    -------
    array : uint8, of the header's shape

    Raises MnpError for anything that is not exactly such a file: one line with the path, what is
    wrong and what to do.
    """
    path = Path(path)
    try:
        with open(path, "rb") as raw:
            if os.fstat(raw.fileno()).st_size > MAX_BYTES:
                raise MnpError(f"{path}: more than {MAX_BYTES} bytes; this is not one of the MNIST files")
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    return _read_stream(stream, path, ndim)
            return _read_stream(raw, path, ndim)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MnpError(f"{path}: damaged or cut short ({error}); {_AGAIN}") from None
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error}); {_AGAIN}") from None


_AGAIN = "fetch it again with data_scripts/get_mnist.py"


def _read_stream(stream, path: Path, ndim: int) -> np.ndarray:
    head = stream.read(4)
    if head[:1] == b"<":
        raise MnpError(f"{path}: a web page, not an idx file; {_AGAIN}")
    if len(head) < 4 or head[:2] != b"\0\0":
        raise MnpError(f"{path}: not an idx file (it begins with {head.hex(' ') or 'nothing'}); {_AGAIN}")
    if head[2] != UNSIGNED_BYTE:
        raise MnpError(f"{path}: numbers of type 0x{head[2]:02x}, where unsigned bytes (0x08) are expected")
    if head[3] != ndim:
        kind = {1: "labels (1 dimension)", 3: "images (3 dimensions)"}.get(ndim, f"{ndim} dimensions")
        raise MnpError(
            f"{path}: {head[3]} dimensions, where {kind} are expected; check that the file has its own name"
        )
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise MnpError(f"{path}: cut short within its header; {_AGAIN}")
    shape = struct.unpack(f">{ndim}I", sizes)
    promised = math.prod(shape)
    if promised > MAX_BYTES:
        raise MnpError(
            f"{path}: its header promises {'x'.join(map(str, shape))} bytes, more than the limit {MAX_BYTES}"
        )
    if promised == 0:
        raise MnpError(f"{path}: empty ({'x'.join(map(str, shape))}); {_AGAIN}")
    data = _read_at_most(stream, promised + 1)  # one more: also takes gzip to its final checksum
    if len(data) != promised:
        found = f"more than {promised}" if len(data) > promised else f"only {len(data)}"
        raise MnpError(f"{path}: its header promises {promised} bytes of data, but {found} follow; {_AGAIN}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_at_most(stream, count: int, step: int = 1 << 20) -> bytearray:
    """Read up to `count` bytes, a step at a time, so that a promise alone allocates nothing."""
    data = bytearray()
    while len(data) < count:
        block = stream.read(min(step, count - len(data)))
        if not block:
            break
        data += block
    return data
