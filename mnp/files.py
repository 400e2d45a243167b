"""Atomic writes, JSON, the lock of a folder, and the folders where data are looked for."""

import contextlib
import errno
import json
import os
import sys
from pathlib import Path

from mnp.errors import MnpError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

LOCK = ".lock"
PARTIAL = ".writing"  # suffix of a file that is not complete yet
MAX_JSON_BYTES = 1 << 24
HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # what a lock that somebody else holds answers


def atomic_write(path, data):
    """Write a file so that it is either complete or unchanged, whatever happens meanwhile.

    Parameters
    ----------
    path : str or Path
    data : bytes or str (written as UTF-8)

    Raises MnpError if the file system rejects the write; an older file is then intact.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_path(path):
    """Context manager: yields a temporary path beside `path`, and renames it to `path` at the end.

    After an exception, `path` is unchanged and the temporary file is gone.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise MnpError(f"{path}: is a folder: give the name of a file")
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")  # two processes may write one file
    try:
        try:
            yield partial
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # a folder cannot be opened on Windows
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)  # so that the new name survives a power cut
            finally:
                os.close(handle)
    except OSError as error:
        raise cannot_write(path, error) from None


def cannot_write(path, error):
    """The MnpError for an OSError while writing, to be raised by the caller."""
    return MnpError(
        f"{path}: cannot be written ({error.strerror or error}); an older file is intact: "
        "free disk space or fix permissions, then rerun"
    )


def make_folder(folder):
    """Create a folder and its parents if they do not exist; MnpError if that fails."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None


def remove_partial_files(*folders):
    """Delete what interrupted writes left in some folders. Call it with the lock held."""
    for folder in folders:
        for path in Path(folder).glob("*" + PARTIAL):
            with contextlib.suppress(OSError):
                path.unlink()


def read_bytes(path, what, most):
    """Read a file of at most so many bytes; MnpError, one line with the path, if that fails."""
    try:
        if Path(path).stat().st_size > most:
            raise MnpError(f"{path}: is too large to be {what}")
        return Path(path).read_bytes()
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_json(path, what):
    """Read a JSON object of a bounded size; MnpError, one line with the path, for anything else."""
    try:
        value = json.loads(read_bytes(path, what, MAX_JSON_BYTES))
    except (ValueError, RecursionError):
        raise MnpError(f"{path}: is not {what} (invalid JSON)") from None
    if not isinstance(value, dict):
        raise MnpError(f"{path}: is not {what} (not a JSON object)")
    return value


def to_json(value):
    """JSON text as all files here have it: indented, with a newline at the end; NaN is a ValueError."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


@contextlib.contextmanager
def lock_folder(folder, log=None):
    """Context manager: hold an exclusive lock on a folder; MnpError if another process holds it.

    The operating system releases the lock when the process ends, however it ends. The file `.lock`
    stays, and names the last owner. On a file system without locks, `log` is told so once.
    """
    path = Path(folder) / LOCK
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the lock is held
    except OSError as error:
        raise MnpError(
            f"{path}: cannot be written ({error.strerror or error}); choose another folder"
        ) from None
    with file:
        try:
            _acquire(file)
        except OSError as error:
            if error.errno in HELD:
                file.seek(0)
                owner = file.read(20).strip() or "unknown"
                raise MnpError(
                    f"{folder}: another run (process {owner}) writes there: wait, or choose another folder"
                ) from None
            if log:
                log(f"{folder}: this file system has no locks; do not start a second run there")
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _acquire(file):
    """Take an exclusive lock on an open file, or raise OSError at once; closing the file releases it."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        file.seek(1 << 30)  # far behind the text, which other processes must be able to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def cache_folder():
    """The folder for downloaded and prepared data: $XDG_CACHE_HOME/mnp, or the system's usual place."""
    parent = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(parent):  # the XDG rules: a relative path is ignored
        parent = {
            "win32": os.environ.get("LOCALAPPDATA", "~"),
            "darwin": "~/Library/Caches",
        }.get(sys.platform, "~/.cache")
    return Path(os.path.expanduser(parent)) / "mnp"


def data_folders(name, folder=None):
    """List the folders that may hold the files of a data set, in the order in which they are searched.

    If `folder` is given, only that one and its subfolder `name`; otherwise $MNP_DATA, then the cache.
    MnpError if `folder` is not a folder.

    >>> [path.as_posix() for path in data_folders("mnist", ".")]
    ['mnist', '.']
    """
    if folder is not None:
        if not Path(folder).is_dir():
            raise MnpError(f"no folder {folder}: name the one with the {name} files, or its parent")
        places = [Path(folder)]
    else:
        places = [Path(p) for p in (os.environ.get("MNP_DATA"), cache_folder()) if p]
    return [path for place in places for path in (place / name, place)]
