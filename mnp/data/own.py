"""User data: an .npz file, a folder of four idx files, or a folder of images for each class.

    my.npz                       arrays train_images, train_labels, test_images, test_labels
    FOLDER/*train*images*, ...   four idx files, packed (.gz) or plain; their names say train or test (or
                                 t10k), images or labels (or idx3, idx1); also in folders of the folder
    FOLDER/train/CLASS/*.png     images that Pillow reads, all of one size; FOLDER/test has the same classes.
                                 FOLDER/CLASS/*.png without the two: every fifth image of a class, by
                                 name, is a test image

What a set is called is decided by its content: only the official files are "mnist".
"""

import contextlib
from pathlib import Path

import numpy as np

from mnp.data import mnist
from mnp.data.dataset import Dataset
from mnp.data.mnist import own_name
from mnp.errors import MnpError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".webp")
OTHERS = (*IMAGES, ".npz", ".npy", ".zip", ".txt", ".csv", ".json", ".md")


def read_own(path, wanted=None):
    """Read a data set from a file or a folder, in whichever of the three forms it is.

    Parameters
    ----------
    path : str or Path
    wanted : str, optional
        A named set, such as "mnist": if the official files are in the folder (or where other programs
        put them below it), they are taken.

    Returns
    -------
    data : Dataset
        Named `wanted` or another known set if all four checksums are those of its official files, and
        after the file or folder if not.

    Raises MnpError for a path that holds none of the three, and for what does not fit together.
    """
    path = Path(path)
    if path.is_file():
        return read_npz(path)
    if not path.is_dir():
        raise MnpError(f"no file or folder {path}: give an .npz file, or a folder of idx files or of images")
    if wanted in mnist.NAMES:
        with contextlib.suppress(MnpError):  # absent, or something else under its names
            data = mnist.load(path, wanted)
            if data.name == wanted:
                return data
    files = find_idx_files(path)
    return mnist.read_files(files, path) if files else read_class_folders(path)


def read_npz(path):
    """Read the four arrays of an .npz file; Keras's names x_train, y_train, x_test, y_test do as well."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and NumPy raise many types for other files
        reason = str(error).split("\n")[0] or type(error).__name__
        raise MnpError(f"{path}: cannot be read as .npz ({reason})") from None
    found = {}
    for part in mnist.FILES:
        half, what = part.split("_")
        keras = f"{'x' if what == 'images' else 'y'}_{half}"
        found[part] = arrays.get(part, arrays.get(keras))
    missing = [part for part in found if found[part] is None]
    if missing:
        raise MnpError(f"{path}: has no {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}")
    return Dataset(**found, name=own_name(path.stem))


def find_idx_files(folder):
    """{part: path} of the idx files in a folder and two folders deep, by what their names say.

    Raises MnpError if one of the four is there twice; x.gz beside x is read, as for MNIST.
    """
    found = {}
    for path in (path for depth in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(depth))):
        part = _part_of(path.name)
        if part is None or path.suffix.lower() in OTHERS or not path.is_file():
            continue
        other = found.setdefault(part, path)
        if other != path and other.with_suffix("") != path and path.with_suffix("") != other:
            names = " and ".join(str(p.relative_to(folder)) for p in (other, path))
            raise MnpError(
                f"{folder}: {names} both look like {part}: give a folder with the four files of one data set"
            )
        if path.suffix == ".gz":
            found[part] = path
    return found


def _part_of(name):
    """Which of the four files a name says it is, or None.

    >>> _part_of("t10k-images.idx3-ubyte"), _part_of("emnist-letters-train-labels-idx1-ubyte.gz")
    ('test_images', 'train_labels')
    """
    name = name.lower()
    half = "train" if "train" in name else "test" if "t10k" in name or "test" in name else None
    what = "labels" if "label" in name or "idx1" in name else None
    what = "images" if what is None and ("image" in name or "idx3" in name) else what
    return f"{half}_{what}" if half and what else None


def read_class_folders(folder):
    """Read the images in a folder for each class; the classes are numbered in the order of their names."""
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, test = _images_of_classes(folder / "train"), _images_of_classes(folder / "test")
    else:
        train = _images_of_classes(folder)
        test = {name: images[4::5] for name, images in train.items()}
        for images in train.values():
            del images[4::5]
    classes = sorted(train)
    if len(classes) < 2 or not set(test) <= set(classes):
        strange = ", ".join(sorted(set(test) - set(classes)))
        what = f"test has classes that train has not: {strange}" if strange else "no data were found in it"
        raise MnpError(
            f"{folder}: {what}; give a folder of four idx files, or of folders of images, one for each class"
        )
    arrays = {}
    for half, of_class in (("train", train), ("test", test)):
        paths = [path for name in classes for path in of_class.get(name, [])]
        if not paths:
            raise MnpError(f"{folder}: no {half} images; a class without {half} folders needs five images")
        arrays[f"{half}_images"] = _read_images(paths)
        counts = [len(of_class.get(name, [])) for name in classes]
        arrays[f"{half}_labels"] = np.repeat(np.arange(len(classes)), counts)
    return Dataset(**arrays, classes=len(classes), name=own_name(folder.resolve().name))


def _images_of_classes(folder):
    """{class: paths of its images} of the folders in a folder that hold any."""
    classes = {}
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith("."):
            classes[inner.name] = [path for path in sorted(inner.iterdir()) if path.suffix.lower() in IMAGES]
    return {name: images for name, images in classes.items() if images}


def _read_images(paths):
    """Images as (N, 1 or 3, H, W) uint8: grey only if all of them are grey."""
    from PIL import Image  # here, so that importing mnp.data does not import a decoder

    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                grey = image.mode in ("1", "L")
                images.append(np.asarray(image.convert("L" if grey else "RGB")))
        except Exception as error:  # a decoder may raise anything for a damaged file
            raise MnpError(f"{path}: cannot be decoded ({str(error).split(chr(10))[0]})") from None
        if images[-1].shape[:2] != images[0].shape[:2]:
            (h, w), (height, width) = images[-1].shape[:2], images[0].shape[:2]
            raise MnpError(f"{path}: is {h}x{w}, but {paths[0].name} is {height}x{width}: give one size")
    colours = any(image.ndim == 3 for image in images)
    images = [np.stack([image] * 3, axis=2) if colours and image.ndim == 2 else image for image in images]
    images = np.stack(images)
    return images.transpose(0, 3, 1, 2) if colours else images[:, None]
