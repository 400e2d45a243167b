"""Data sets: `load` gives plain arrays.

`digits` is part of the package; `mnist` and `fashion-mnist` are four idx files each, which `mnp fetch`
downloads. Labeled Faces in the Wild (`mnp.data.lfw`) consists of pairs and folds and has its own class.
This package does not depend on `mnp.nn`.
"""

from mnp.data import digits, mnist
from mnp.data.dataset import Dataset
from mnp.errors import MnpError

__all__ = ["SETS", "Dataset", "load"]

SETS = {
    "digits": "1,797 handwritten digits, 8x8 enlarged to 28x28; part of the package",
    "mnist": "70,000 handwritten digits of 28x28; download with `mnp fetch mnist`",
    "fashion-mnist": "70,000 pictures of clothes of 28x28; download with `mnp fetch fashion-mnist`",
}


def load(name, folder=None):
    """Load a named set of labelled images.

    Parameters
    ----------
    name : str
        A key of `SETS`: "digits", "mnist" or "fashion-mnist".
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
    if name in mnist.SHA256:
        return mnist.load(folder, name)
    if name == "lfw":
        raise MnpError(
            "lfw consists of pairs of faces, not of labelled images: use mnp.data.lfw.load(folder)"
        )
    raise MnpError(f"unknown data set {name!r}: choose one of {', '.join(SETS)}")
