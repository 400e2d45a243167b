"""The embedded default: 1,797 handwritten digits that need no download.

Source: E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine
Learning Repository, 1998, doi 10.24432/C50P49, CC BY 4.0: the file of 13 writers that the authors
keep for testing. See `files/DIGITS-LICENCE.txt`. `data_scripts/make_digits.py` writes the file.
"""

import gzip
import hashlib
import io
import zlib
from importlib import resources

import numpy as np

from mnp.data.dataset import Dataset
from mnp.errors import MnpError

FILE = "digits.csv.gz"
TEXT_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
EXAMPLES = 1797
TEST_EXAMPLES = 360  # the last ones: the sheets of writers whom the training set has hardly seen
LEVELS = 16  # a pixel counts the dark ones among 4x4: 0 to 16, so 17 grey levels


def load() -> Dataset:
    """Load the digits at 28x28, split into 1,437 to learn from and the last 360 to report on.

        train_images[n, 0] = enlarge(pixels)[n] / 16

    The source's order is kept, and the last 360 are the harder, more honest test: by nearest
    neighbour (squared distance on the 8x8 pixels) they give 4.4 % error, 360 drawn at random
    1.2 %, because a writer's digits stand together and a random draw puts each writer on both sides.

    Returns
    -------
    dataset : Dataset
        Images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64, classes 10.

    Raises MnpError if the packaged file is damaged.
    """
    pixels, labels = read_digits()
    images = enlarge(pixels).astype(np.float32)[:, None]
    images /= np.float32(LEVELS)
    cut = EXAMPLES - TEST_EXAMPLES
    return Dataset("digits", images[:cut], labels[:cut], images[cut:], labels[cut:], classes=10)


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Read the packaged file: a line an image, 64 pixels from the top left, row by row, then the label.

    Returns
    -------
    pixels : (1797, 8, 8) uint8 in [0, 16]
    labels : (1797,) int64 in [0, 10)

    Raises MnpError if the file is damaged.
    """
    try:
        text = gzip.decompress((resources.files("mnp.data") / "files" / FILE).read_bytes())
        if hashlib.sha256(text).hexdigest() != TEXT_SHA256:
            raise ValueError("wrong checksum")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise MnpError(f"the packaged file {FILE} is damaged ({error}): install mnp again") from None
    table = np.loadtxt(io.BytesIO(text), dtype=np.int64, delimiter=",")
    return table[:, :64].astype(np.uint8).reshape(-1, 8, 8), table[:, 64]


def enlarge(pixels: np.ndarray, times: int = 3, border: int = 2) -> np.ndarray:
    """Repeat every pixel `times` x `times` and put a border of zeros around: 8x8 becomes 28x28.

        out[n, i, j] = pixels[n, (i - border) // times, (j - border) // times]   inside the border

    No grey level is invented: interpolation would be a choice that nobody could check by eye.

    Parameters
    ----------
    pixels : (N, H, W) any dtype

    Returns
    -------
    out : (N, times H + 2 border, times W + 2 border), same dtype

    >>> enlarge(np.array([[[1, 2]]]), times=2, border=1)
    array([[[0, 0, 0, 0, 0, 0],
            [0, 1, 1, 2, 2, 0],
            [0, 1, 1, 2, 2, 0],
            [0, 0, 0, 0, 0, 0]]])
    """
    big = pixels.repeat(times, axis=1).repeat(times, axis=2)
    return np.pad(big, ((0, 0), (border, border), (border, border)))
