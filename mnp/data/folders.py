"""Where files are looked for, and where the package may write.

The user's own data are never written to: only the per-user cache is.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mnp.errors import MnpError


def cache_folder() -> Path:
    """The per-user cache folder of this package; it need not exist yet.

    $XDG_CACHE_HOME/mnp if that is set to an absolute path, else the system's usual place below
    the home directory. Where none of these can be written to (an account without a home
    directory, a read-only machine) a folder of this user's in the system's temporary folder.
    """
    for parent in _cache_parents():
        if _could_write(parent):
            return parent / "mnp"
    return Path(tempfile.gettempdir()) / f"mnp-cache-{_user()}"


def make_cache_folder() -> Path:
    """Create `cache_folder()` if needed, for this user only, and return it.

    Raises MnpError if it cannot be made, or stands in the temporary folder and belongs to somebody else.
    """
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        foreign = hasattr(os, "getuid") and folder.stat().st_uid not in (os.getuid(), 0)
    except OSError as error:
        raise MnpError(
            f"cannot make the cache folder {folder} ({error.strerror}): set XDG_CACHE_HOME to a folder "
            f"that can be written to"
        ) from None
    if foreign:
        raise MnpError(f"the cache folder {folder} belongs to another user: set XDG_CACHE_HOME to your own")
    return folder


def search_folders(subfolder: str, folder: str | Path | None = None) -> list[Path]:
    """List the folders that may hold a set's files, the first to be asked first.

    A `folder` that is given is the only place: a user who names one must not silently get
    another's data. Otherwise $MNP_DATA, then the per-user cache. Each place may be the folder
    itself or the parent of `subfolder`; the subfolder comes first.

    Raises MnpError if `folder` is given and is not a folder.

    >>> [p.as_posix() for p in search_folders("mnist", ".")]
    ['mnist', '.']
    """
    if folder is not None:
        if not Path(folder).is_dir():
            raise MnpError(f"no folder {folder}: name the one with the {subfolder} files, or its parent")
        places: Iterable[Path] = [Path(folder)]
    else:
        named = os.environ.get("MNP_DATA")
        places = [*([Path(named)] if named else []), cache_folder()]
    return [p for place in places for p in (place / subfolder, place)]


def cannot_write(path: Path, error: OSError) -> MnpError:
    """The error for a file-system that refuses, to be raised by the caller."""
    why = error.strerror or error
    return MnpError(f"{path}: cannot be written ({why}); make room or rights, or choose another folder")


def make_folder(folder: str | Path) -> None:
    """Create a folder and those above it if they are not there. Raises MnpError if that is refused."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Write to the path that is given; it moves to `path` at the end, whole, or it vanishes.

    The name aside holds this process's number, so two at once do not write into each other's file.

    Raises MnpError if the file-system refuses; what was at `path` before is then still there.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            yield aside
            with open(aside, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from None


def _cache_parents() -> Iterable[Path]:
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(xdg):  # the XDG rules: a relative path is to be ignored
        yield Path(xdg)
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        yield Path(os.environ["LOCALAPPDATA"])
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and no entry in the password file
        return
    if home.is_absolute():
        yield home / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _could_write(folder: Path) -> bool:
    """Whether `folder` could be written to, now or after being made."""
    try:
        while not folder.exists():
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
