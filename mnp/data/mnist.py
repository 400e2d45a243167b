"""MNIST: 60,000 handwritten digits to learn from and 10,000 to report on, 28x28 in 256 grey levels.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, *The MNIST database of handwritten digits*. The
files stay outside this package; `data_scripts/get_mnist.py` fetches and checks them.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnp.data.dataset import Dataset
from mnp.data.idx import read_idx
from mnp.errors import MnpError
from mnp.files import data_folders

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


class MnistFile(NamedTuple):
    """One of the four files: its name, the packed size and checksum, and the checksum of its numbers."""

    name: str
    packed_bytes: int
    packed_sha256: str
    shape: tuple[int, ...]
    data_sha256: str  # of what follows the idx header, so that plain and re-packed files count too


FILES = {
    "train_images": MnistFile(
        "train-images-idx3-ubyte",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        (60000, 28, 28),
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    ),
    "train_labels": MnistFile(
        "train-labels-idx1-ubyte",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        (60000,),
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    ),
    "test_images": MnistFile(
        "t10k-images-idx3-ubyte",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        (10000, 28, 28),
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ),
    "test_labels": MnistFile(
        "t10k-labels-idx1-ubyte",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        (10000,),
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
}


def load(folder: str | Path | None = None, *, check: bool = True) -> Dataset:
    """Load MNIST from the four idx files, packed (.gz) or plain.

        train_images[n, 0] = bytes[n] / 255          no mean is subtracted

    Parameters
    ----------
    folder : path or None
        Holds the files, or a subfolder `mnist` that does. None: $MNP_DATA, then the per-user cache.
    check : bool
        Compare a file of MNIST's own size with MNIST's checksum, so that a flipped bit or another
        set of the same shape (Fashion-MNIST) does not pass for MNIST. An excerpt of another
        length has no checksum and is read as it is.

    Returns
    -------
    dataset : Dataset
        Images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64, classes 10, in the files' order.

    Raises MnpError if a file is missing, damaged or not MNIST's, if images and labels differ in
    number, or if a label is above 9.
    """
    paths = find_files(folder)
    arrays = {part: read_file(path, part, check) for part, path in paths.items()}
    for half in ("train", "test"):
        images, labels = arrays[f"{half}_images"], arrays[f"{half}_labels"]
        if len(images) != len(labels):
            raise MnpError(
                f"{paths[half + '_images']}: {len(images)} images, but {paths[half + '_labels'].name} has "
                f"{len(labels)} labels; fetch both again with data_scripts/get_mnist.py"
            )
    return Dataset(
        "mnist",
        _scale(arrays["train_images"]),
        arrays["train_labels"].astype(np.int64),
        _scale(arrays["test_images"]),
        arrays["test_labels"].astype(np.int64),
        classes=10,
    )


def find_files(folder: str | Path | None = None) -> dict[str, Path]:
    """Find the four files, all in one folder; a packed file is preferred to a plain one.

    The first folder that holds any of them is taken, so that a missing one is an error and never
    quietly comes from elsewhere.

    Raises MnpError naming the places that were searched, or the file that is missing.
    """
    places = data_folders("mnist", folder)
    for place in places:
        found = {part: _existing(place, file.name) for part, file in FILES.items()}
        missing = [FILES[part].name + ".gz" for part, path in found.items() if path is None]
        if not missing:
            return found
        if len(missing) < len(FILES):
            raise MnpError(
                f"{place}: {', '.join(missing)} missing; put the four MNIST files there, or run "
                f"python data_scripts/get_mnist.py --to {place}"
            )
    searched = ", ".join(str(place) for place in places)
    raise MnpError(
        f"no MNIST files in {searched}; run python data_scripts/get_mnist.py, "
        f"or name their folder with --data or $MNP_DATA"
    )


def read_file(path: Path, part: str, check: bool = True) -> np.ndarray:
    """Read one of the four files as uint8 and hold it against what MNIST's `part` must be.

    Parameters
    ----------
    part : a key of `FILES`
    check : bool
        As in `load`.

    Raises MnpError.
    """
    file = FILES[part]
    array = read_idx(path, ndim=len(file.shape))
    if array.shape[1:] != file.shape[1:]:
        height, width = array.shape[1:]
        raise MnpError(f"{path}: images of {height}x{width}; MNIST's are 28x28")
    if array.ndim == 1 and array.max() > 9:
        first = int(np.argmax(array > 9))
        raise MnpError(f"{path}: label {array[first]} at position {first}; MNIST's labels are 0 to 9")
    if check and array.shape == file.shape and hashlib.sha256(array).hexdigest() != file.data_sha256:
        raise MnpError(
            f"{path}: the size of MNIST's {file.name} but not its checksum: damaged, or another data set; "
            f"fetch it again with data_scripts/get_mnist.py"
        )
    return array


def _existing(place: Path, name: str) -> Path | None:
    return next((p for p in (place / f"{name}.gz", place / name) if p.is_file()), None)


def _scale(pixels: np.ndarray) -> np.ndarray:
    """(N, 28, 28) uint8 to (N, 1, 28, 28) float32 in [0, 1]; a division, so that 255 becomes exactly 1."""
    images = pixels[:, None].astype(np.float32)
    images /= np.float32(255)
    return images
