"""The embedded digits: 1,797 handwritten digits that need no download.

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
TEST_EXAMPLES = 360  # the last ones, by writers of whom the training set has hardly any digits
LEVELS = 16  # a pixel counts the dark ones of 4x4: 0 to 16, so 17 grey levels


def load():
    """Load the digits at 28x28: 1,437 training examples, and the last 360 as test set.

        train_images[n, 0] = enlarge(pixels)[n] / 16

    The source's order is kept, in which a writer's digits follow one another, so that the test set has
    writers whom the training set hardly has. That is the harder test: a nearest neighbour (squared
    distance on the 8x8 pixels) makes 4.4 % errors on it, and 1.2 % on 360 examples drawn at random.

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
    return Dataset(images[:cut], labels[:cut], images[cut:], labels[cut:], name="digits", classes=10)


def read_digits():
    """Read the packaged file: one line per image, 64 pixels row by row from the top left, then the label.

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


def enlarge(pixels, times=3, border=2):
    """Repeat every pixel `times` x `times` and add a border of zeros: 8x8 becomes 28x28.

        out[n, i, j] = pixels[n, (i - border) // times, (j - border) // times]   inside the border

    Unlike interpolation, this adds no grey levels.

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
