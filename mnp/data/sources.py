"""Where the files of a data set may be, and how they are opened."""

import contextlib
import gzip
import hashlib

from mnp.errors import MnpError
from mnp.files import data_folders

SUBFOLDERS = {  # where torchvision, scikit-learn, Kaggle and the sets' own repositories put their copies
    "mnist": ("MNIST/raw", "raw", "archive"),
    "fashion-mnist": ("FashionMNIST/raw", "raw", "archive", "data/fashion"),
    "kmnist": ("KMNIST/raw", "raw", "archive"),
    "emnist-letters": ("EMNIST/raw", "raw", "gzip"),
    "lfw": ("lfw-py", "lfw_home", "archive"),
}


def search_places(name, folder=None):
    """List the folders that may hold a data set's files, in order.

    `data_folders`, each followed by the subfolders that other programs make. MnpError if `folder` is not
    a folder.
    """
    return [place / sub for place in data_folders(name, folder) for sub in ("", *SUBFOLDERS[name])]


def format_search(name, folder=None):
    """Text for an error: the folders searched for a data set, and the names of what is in them instead."""
    places = data_folders(name, folder)
    names = {path.name for place in places for path in place.glob("*")}
    names = sorted(n for n in names if n != name and not n.startswith("."))
    listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"{', '.join(map(str, places))} (which hold {listed or 'nothing'})"


@contextlib.contextmanager
def open_gz(path):
    """Context manager: a binary stream of a file, unpacked if its content is gzip, whatever its name.

    Raises ValueError for a web page, which servers send in place of a file.
    """
    with open(path, "rb") as raw:
        start = raw.read(2)
        if start.startswith(b"<"):
            raise ValueError("a web page, not the file")
        packed = start == b"\x1f\x8b"
        raw.seek(0)
        yield gzip.GzipFile(fileobj=raw) if packed else raw


def fingerprint(source):
    """The SHA-256 of an archive; of a folder, that of its files' names, sizes and times, which is quick."""
    try:
        if source.is_dir():
            listing = ((p.relative_to(source).as_posix(), p.stat()) for p in sorted(source.glob("*/*")))
            lines = "".join(f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in listing)
            return hashlib.sha256(lines.encode()).hexdigest()
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MnpError(f"{source}: cannot be read ({error.strerror or error})") from None
