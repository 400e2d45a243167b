"""MNIST, Fashion-MNIST, Kuzushiji-MNIST, EMNIST's letters, and other sets of the same form: four idx files.

Sources: Y. LeCun, C. Cortes and C. J. C. Burges, *The MNIST database of handwritten digits*;
H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST*, 2017, arXiv 1708.07747, MIT licence;
T. Clanuwat et al., *Deep Learning for Classical Japanese Literature*, 2018, arXiv 1812.01718, CC BY-SA 4.0;
G. Cohen et al., *EMNIST*, 2017, arXiv 1702.05373. The files are not part of this package; `mnp fetch NAME`
downloads and checks them.
"""

import hashlib

import numpy as np

from mnp.data.dataset import Dataset
from mnp.data.idx import read_idx
from mnp.data.sources import fingerprint, format_search, search_places
from mnp.errors import MnpError

FILES = {  # part: usual name and MNIST's official shape
    "train_images": ("train-images-idx3-ubyte", (60000, 28, 28)),
    "train_labels": ("train-labels-idx1-ubyte", (60000,)),
    "test_images": ("t10k-images-idx3-ubyte", (10000, 28, 28)),
    "test_labels": ("t10k-labels-idx1-ubyte", (10000,)),
}
SHA256 = {  # of each official array, without the header of its file
    "mnist": {
        "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    },
    "fashion-mnist": {
        "train_images": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "train_labels": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        "test_images": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "test_labels": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    },
}
PACKED_SHA256 = {  # of sets known by their packed files
    "kmnist": {
        "train_images": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train_labels": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "test_images": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "test_labels": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
}
EMNIST = "emnist-letters"
NAMES = (*SHA256, *PACKED_SHA256, EMNIST)


def load(folder=None, name="mnist"):
    """Load one of NAMES from four idx files, packed (.gz) or plain, under their usual names.

        train_images[n, 0] = bytes[n] / 255          no mean is subtracted

    Parameters
    ----------
    folder : path or None
        Holds the files, or a subfolder `name` that does. None: $MNP_DATA, then the per-user cache.
    name : str
        The first folder that holds any of the four files is taken, so that a missing one is an error and
        never comes from another folder unnoticed.

    Returns
    -------
    dataset : Dataset
        As `read_files` makes it. Its name is `name` only if all four files are the official ones;
        otherwise it gives the numbers of images, such as "mnist (unofficial: 6,000 + 1,000 images)".

    Raises MnpError for missing files, and as `read_files`.
    """
    for place in search_places(name, folder):
        if files := find_files(place, name):
            return read_files(files, place, name)
    raise MnpError(
        f"no {name} files in {format_search(name, folder)}; wanted: {', '.join(usual_names(name).values())} "
        f"(.gz or not). Run `mnp fetch {name}`, or name their folder with --data or $MNP_DATA"
    )


def usual_names(name):
    """{part: name of its file}; EMNIST has prefixes, and test for t10k."""
    names = {part: file for part, (file, _) in FILES.items()}
    return {p: f"{name}-{f.replace('t10k', 'test')}" for p, f in names.items()} if name == EMNIST else names


def find_files(place, name):
    """{part: path} of the idx files of a set in a folder, under any of their usual names.

    These are NAME.gz and, if there is none, NAME; both also in upper case, with a dot for a hyphen
    (7-Zip, WinRAR), and inside a folder NAME (Kaggle).
    """
    files = {}
    for part, usual in usual_names(name).items():
        for folder in (place, place / usual):
            paths = sorted(
                folder.glob("*"), key=lambda path: (path.suffix.lower() == ".gz", path)
            )  # .gz last
            names = {_plain(path): path for path in paths if path.is_file()}
            if usual in names:
                files.setdefault(part, names[usual])
    return files


def _plain(path):
    """The usual name of a file, if it is one of those that other programs give it."""
    return path.name.lower().replace(".", "-").removesuffix("-gz")


def read_files(files, folder, wanted=None):
    """Make a data set of four idx files.

    EMNIST stores its images transposed, and the labels of its letters from 1 on: both are mended, for files
    with "emnist" in their names.

    Parameters
    ----------
    files : dict of part -> path
    folder : Path
        Where they were found; gives other sets their name.
    wanted : str, optional
        Which of NAMES they must be, or be an excerpt of: a file of the official size must have the official
        checksum, so that a flipped bit or another set of the same size is an error.

    Returns
    -------
    dataset : Dataset
        Images (N, 1, H, W) float32 in [0, 1], labels (N,) int64, in the files' order.

    Raises MnpError if a file is missing, damaged or another set's, and if images and labels do not fit.
    """
    missing = [file for part, file in usual_names(wanted).items() if part not in files]
    if missing:
        there = ", ".join(path.name for path in files.values())
        raise MnpError(
            f"{folder}: {', '.join(missing)} missing beside {there}; put all four files there (.gz or not)"
            + (f", or run `mnp fetch {wanted} --to {folder}`" if wanted else "")
        )
    arrays = {part: read_idx(path, len(FILES[part][1])) for part, path in files.items()}
    name, classes = official_name(arrays, files), None
    file = files["train_images"].name.lower()
    if "emnist" in file:
        name = file[file.index("emnist") : file.index("train")].rstrip("-_. ") if "train" in file else name
        arrays |= {part: arrays[part].transpose(0, 2, 1) for part in ("train_images", "test_images")}
        if "letters" in file:
            arrays |= {part: arrays[part] - np.uint8(1) for part in ("train_labels", "test_labels")}
    elif wanted:
        classes = 10
        for part, array in arrays.items():
            check_array(array, part, wanted, files[part])
        if name != wanted:
            train, test = len(arrays["train_images"]), len(arrays["test_images"])
            name = f"{wanted} (unofficial: {train:,} + {test:,} images)"
    try:
        return Dataset(**arrays, name=name or own_name(folder.resolve().name), classes=classes)
    except MnpError as error:
        raise MnpError(f"{files['train_images'].parent}: {error}") from None


def official_name(arrays, files):
    """Which set four files are, by checksum: a key of SHA256 or PACKED_SHA256, or None."""
    digests = {part: hashlib.sha256(array).hexdigest() for part, array in arrays.items()}
    packed = {part: fingerprint(path) for part, path in files.items()}
    known = SHA256 | PACKED_SHA256
    return next((name for name, official in known.items() if official in (digests, packed)), None)


def check_array(array, part, name, path):
    """Raise MnpError unless an array can be a part of a set, or an excerpt of it."""
    shape = FILES[part][1]
    if array.shape[1:] != shape[1:]:
        height, width = array.shape[1:]
        raise MnpError(f"{path}: images of {height}x{width}; those of {name} are 28x28")
    if array.shape == shape:
        digest = hashlib.sha256(array).hexdigest()
        other = next((key for key, known in SHA256.items() if known[part] == digest), None)
        if other is None and name in SHA256:
            raise MnpError(
                f"{path}: the size of {name}'s file, but not its checksum: damaged, or another data set; "
                f"fetch it again with `mnp fetch {name}`"
            )
        if other not in (None, name):
            raise MnpError(f"{path}: is a file of {other}, not of {name}; load it by the name {other}")


def own_name(name):
    """A name for data that are not official files: never that of a known set.

    >>> own_name("shapes"), own_name("mnist")
    ('shapes', 'mnist-own')
    """
    name = name or "data"
    return f"{name}-own" if name in (*NAMES, "digits", "lfw") else name
