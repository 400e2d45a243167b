"""Where the examples come from: one call, `load`, and plain arrays out.

Three sources: `digits`, shipped inside the package; `mnist`, four idx files of the user's own;
and Labeled Faces in the Wild (`mnp.data.lfw`), which is about pairs and folds and so has a shape
of its own. This room knows nothing of layers or networks.
"""

from pathlib import Path

from mnp.data import digits, mnist
from mnp.data.dataset import Dataset
from mnp.errors import MnpError

__all__ = ["SETS", "Dataset", "load"]

SETS = {
    "digits": "1,797 handwritten digits, 8x8 brought to 28x28; shipped inside the package",
    "mnist": "70,000 handwritten digits of 28x28; data_scripts/get_mnist.py fetches them",
}


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """Load a named set of labelled images.

    Parameters
    ----------
    name : str
        A key of `SETS`: "digits" or "mnist".
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
    if name == "mnist":
        return mnist.load(folder)
    if name == "lfw":
        raise MnpError("lfw is a set of face pairs, not of labelled digits: use mnp.data.lfw.load(folder)")
    raise MnpError(f"unknown data set {name!r}: choose one of {', '.join(SETS)}")
