"""The folder of a run: files that appear whole or not at all, and a lock that dies with its owner."""

import contextlib
import json
import os
from pathlib import Path

from mnp.errors import MnpError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

RECIPE, SUMMARY, HISTORY, CHECKPOINTS = "recipe.json", "summary.json", "history.csv", "checkpoints"
SEEDS = "seeds.json"  # only in a folder of several seeds
PAIRS = "pairs.npz"  # only in that of a run on faces
LOCK = ".lock"
UNFINISHED = ".writing"  # suffix of a file that is not under its name yet
LARGEST_JSON = 1 << 24


def write_whole(path, data):
    """Write a file aside, flush it to the disk, then move it into place.

    Whatever happens on the way (a full disk, a kill, a power cut), `path` holds either its old content or
    all of the new. Raises MnpError when the file-system refuses; the old file is then intact.

    Parameters
    ----------
    path : str or Path
    data : bytes or str (written as UTF-8)
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise MnpError(f"{path}: is a folder: give the name of a file")
    aside = path.with_name(path.name + UNFINISHED)
    try:
        try:
            with open(aside, "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)
    except OSError as error:
        raise MnpError(
            f"{path}: cannot be written ({error.strerror or error}); what was there is intact: "
            "make room or rights, then run the same command again"
        ) from None


def flush_folder(folder):
    """Flush a folder's entries, so that a new name survives a power cut; a no-op where folders cannot be."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_json(path, what):
    """Read a JSON object of a bounded size; anything else is one line that names the file."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise MnpError(f"{path}: is too large to be {what}")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, MnpError):
            raise
        raise MnpError(f"{path}: is not {what} (no valid JSON)") from None
    if not isinstance(value, dict):
        raise MnpError(f"{path}: is not {what} (no JSON object)")
    return value


def to_json(value):
    """JSON as all files here have it: indented, stable, with a newline at the end; no NaN."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


@contextlib.contextmanager
def locked(folder):
    """Hold the folder's lock; a second run into the same folder is refused.

    The operating system holds the lock for the process, so one that was killed leaves none behind; the
    file `.lock` itself stays, and says who had it last.
    """
    path = Path(folder) / LOCK
    try:
        file = open(path, "a+")  # noqa: SIM115 - it stays open as long as the lock is held
    except OSError as error:
        raise MnpError(
            f"{path}: cannot be written ({error.strerror or error}); choose another --out"
        ) from None
    with file:
        try:
            hold(file)
        except OSError:
            file.seek(0)
            owner = file.read(20).strip() or "unknown"
            raise MnpError(
                f"{folder}: another run (process {owner}) is writing there: wait, or choose another --out"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def hold(file):
    """Take an exclusive lock on an open file or raise OSError; closing the file releases it."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        file.seek(1 << 30)  # far behind the text, which others must still be able to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def sweep(folder):
    """Delete what an interrupted write left behind. Call it with the lock held.

    Runs in folders below (of seeds, of folds) have locks of their own, and may be writing.
    """
    for place in (Path(folder), Path(folder) / CHECKPOINTS):
        for path in place.glob("*" + UNFINISHED):
            with contextlib.suppress(OSError):
                path.unlink()
