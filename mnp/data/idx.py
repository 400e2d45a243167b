"""Reader of idx files, the format of MNIST, with a checked header and bounded memory.

bytes 0..1   zero
byte  2      the type of a number: 8 is an unsigned byte, the only one that MNIST uses
byte  3      number of dimensions
then         each dimension, 4 bytes, big-endian
then         the numbers, last dimension fastest, to the very end of the file
"""

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from mnp.data.sources import open_gz
from mnp.errors import MnpError

MAX_BYTES = 1 << 28  # 256 MiB: five times MNIST's largest file


def read_idx(path, ndim):
    """Read one idx file of unsigned bytes, plain or gzip-compressed.

    At most one byte more than the header announces is read, and at most `MAX_BYTES`.

    Parameters
    ----------
    path : path
        Compressed or not is decided by the content, not by the name.
    ndim : int
        The number of dimensions that the caller expects: 3 for images, 1 for labels.

    Returns
    -------
    array : uint8, of the header's shape, read-only

    Raises MnpError for anything that is not exactly such a file: one line with the path.
    """
    path = Path(path)
    try:
        with open_gz(path) as stream:
            shape = _parse_header(stream.read(4 + 4 * ndim), ndim)
            size = math.prod(shape)
            if not 0 < size <= MAX_BYTES:
                raise ValueError(f"its header announces {size} bytes; 1 to {MAX_BYTES} are allowed")
            data = stream.read(size + 1)  # the last byte must be missing; gzip then compares its checksum
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise MnpError(f"{path}: {getattr(error, 'strerror', None) or error}; fetch it again") from None
    if len(data) != size:
        count = f"more than {size}" if len(data) > size else f"only {len(data)}"
        raise MnpError(
            f"{path}: its header announces {size} bytes of data, but {count} follow; fetch it again"
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _parse_header(header, ndim):
    """The shape in an idx header; ValueError if it is not one of unsigned bytes in `ndim` dimensions."""
    if len(header) < 4 or header[:2] != b"\0\0":
        raise ValueError(f"not an idx file (it begins with {header[:4].hex(' ') or 'nothing'})")
    if header[2] != 8:
        raise ValueError(f"numbers of type 0x{header[2]:02x}, where unsigned bytes (0x08) are expected")
    if header[3] != ndim:
        kind = {1: "labels (1)", 3: "images (3)"}.get(ndim, ndim)
        raise ValueError(f"{header[3]} dimensions, where {kind} are expected: the name is another file's")
    if len(header) < 4 + 4 * ndim:
        raise ValueError("cut short within its header")
    return struct.unpack(f">{ndim}I", header[4:])
