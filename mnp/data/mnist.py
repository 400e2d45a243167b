"""MNIST and Fashion-MNIST: 60,000 training and 10,000 test images, 28x28 in 256 grey levels, 10 classes.

Sources: Y. LeCun, C. Cortes and C. J. C. Burges, *The MNIST database of handwritten digits*;
H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST*, 2017, arXiv 1708.07747, MIT licence. The files are not
part of this package; `mnp fetch mnist` and `mnp fetch fashion-mnist` download and check them.
"""

import hashlib

from mnp.data.dataset import Dataset
from mnp.data.idx import read_idx
from mnp.data.sources import format_search, search_places
from mnp.errors import MnpError

FILES = {  # part: usual name and official shape
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


def load(folder=None, name="mnist"):
    """Load MNIST, or a set of the same form, from four idx files, packed (.gz) or plain.

        train_images[n, 0] = bytes[n] / 255          no mean is subtracted

    Parameters
    ----------
    folder : path or None
        Holds the files, or a subfolder `name` that does. None: $MNP_DATA, then the per-user cache.
    name : str
        A key of `SHA256`.
        A file of the official size must have the official checksum, so that a flipped bit or another set
        of the same size is an error. An excerpt of another size is read as it is. (`mnp.data.own` reads other
        sets of this form.)

    Returns
    -------
    dataset : Dataset
        Images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64, classes 10, in the files' order.
        Its name is `name` only if all four files are known to be the official ones; otherwise it gives
        the numbers of images, such as "mnist (unofficial: 6,000 + 1,000 images)".

    Raises MnpError if a file is missing, damaged or another set's, if images and labels differ in
    number, or if a label is above 9.
    """
    paths = find_files(folder, name)
    arrays = {part: read_file(path, part, name) for part, path in paths.items()}
    if any(array.shape != FILES[part][1] for part, array in arrays.items()):
        train, test = len(arrays["train_images"]), len(arrays["test_images"])
        name = f"{name} (unofficial: {train:,} + {test:,} images)"
    for part in ("train_images", "test_images"):
        arrays[part] = arrays[part][:, None]
    try:
        return Dataset(**arrays, name=name, classes=10)
    except MnpError as error:
        raise MnpError(f"{paths['train_images'].parent}: {error}") from None


def find_files(folder=None, name="mnist"):
    """Find the four files, all in one folder, under any name that `find_file` knows.

    The first folder that holds any of the four is taken, so that a missing one is an error and never
    comes from another folder unnoticed.

    Returns
    -------
    paths : dict, a path for each key of `FILES`

    Raises MnpError naming the folders that were searched, or the file that is missing.
    """
    places = search_places(name, folder)
    wanted = ", ".join(file for file, _ in FILES.values())
    for place in places:
        paths = {part: find_file(place, file) for part, (file, _) in FILES.items()}
        missing = [FILES[part][0] for part, path in paths.items() if path is None]
        if not missing:
            return paths
        if len(missing) < len(FILES):
            raise MnpError(
                f"{place}: {', '.join(missing)} missing; put all four files there (.gz or not), or run "
                f"`mnp fetch {name} --to {place}`"
            )
    raise MnpError(
        f"no {name} files in {format_search(name, folder)}; wanted: {wanted} (.gz or not). "
        f"Run `mnp fetch {name}`, or name their folder with --data or $MNP_DATA"
    )


def find_file(place, name):
    """The path of one idx file in a folder under any of its usual names, or None.

    These are NAME.gz and, if there is none, NAME; both also in upper case, with a dot for a hyphen
    (7-Zip, WinRAR), and inside a folder NAME (Kaggle).
    """
    for folder in (place, place / name):
        names = {
            path.name.lower().replace(".", "-"): path for path in sorted(folder.glob("*")) if path.is_file()
        }
        for candidate in (f"{name}-gz", name):
            if candidate in names:
                return names[candidate]
    return None


def read_file(path, part, name="mnist"):
    """Read one of the four files as uint8 and compare it with what `part` of the set must be.

    Parameters
    ----------
    part : a key of `FILES`
    name : as in `load`

    Raises MnpError.
    """
    shape = FILES[part][1]
    array = read_idx(path, ndim=len(shape))
    if array.shape[1:] != shape[1:]:
        height, width = array.shape[1:]
        raise MnpError(f"{path}: images of {height}x{width}; those of {name} are 28x28")
    if array.shape == shape:
        digest = hashlib.sha256(array).hexdigest()
        other = next((key for key, known in SHA256.items() if known[part] == digest), None)
        if other is None:
            raise MnpError(
                f"{path}: the size of {name}'s file, but not its checksum: damaged, or another data set; "
                f"fetch it again with `mnp fetch {name}`"
            )
        if other != name:
            raise MnpError(f"{path}: is a file of {other}, not of {name}; load it by the name {other}")
    return array
