"""Data sets: `load` gives plain arrays.

`digits` is part of the package; `mnist` and sets like it are four idx files each, which `mnp fetch`
downloads. `own` reads data of the user's. Labeled Faces in the Wild (`mnp.data.lfw`) consists of pairs and
folds and has its own class.
This package does not depend on `mnp.nn`.
"""

from pathlib import Path

from mnp.data import digits, mnist
from mnp.data.dataset import Dataset
from mnp.data.own import read_own
from mnp.errors import MnpError

__all__ = ["SETS", "Dataset", "load", "read_own"]

SETS = ("digits", *mnist.NAMES)  # of labelled images; all but digits are downloaded by `mnp fetch`


def load(name, folder=None):
    """Load a named set of labelled images, or the user's own.

    Parameters
    ----------
    name : str or Path
        One of `SETS`, such as "digits" or "mnist". Or the path of an .npz file or of a folder: see
        `mnp.data.own`.
    folder : path or None
        Where to look for the files, either the folder itself or its parent. None looks in
        $MNP_DATA, then in the per-user cache. "digits" needs no folder and ignores it.

    Returns
    -------
    dataset : Dataset
        Images (N, C, H, W) float32 in [0, 1], labels (N,) int64.

    Raises MnpError for an unknown name, and for files that are missing or not what they should be.

    >>> load("digits")
    Dataset('digits', train 1437, validation 0, test 360, image (1, 28, 28), classes 10)
    """
    if name == "digits":
        return digits.load()
    if name in mnist.NAMES:
        return mnist.load(folder, name)
    if name == "lfw":
        raise MnpError(
            "lfw consists of pairs of faces, not of labelled images: use mnp.data.lfw.load(folder)"
        )
    if Path(name).exists():
        return read_own(name)
    raise MnpError(f"unknown data set {str(name)!r}: choose one of {', '.join(SETS)}, or give a path")
