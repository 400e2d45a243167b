"""What a reader must never do, seen by audit events: unpickle, start a program, write elsewhere."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

FORBIDDEN = {
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "ctypes.dlopen",
}
CHANGES = {f"os.{n}" for n in ("mkdir", "rename", "remove", "rmdir", "link", "symlink", "truncate", "chmod")}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

COMPILED = os.environ.get("NUMBA_CACHE_DIR")  # where Numba keeps what it compiled for a new dtype

_folder: str | None = None  # where writing is allowed; None: nothing is watched
_seen: list[str] = []
_hooked = False


def _hook(event: str, arguments: tuple) -> None:
    if _folder is None:
        return
    if event in FORBIDDEN:
        _seen.append(event)
    elif event in CHANGES:
        _seen.extend(f"{event} {a}" for a in arguments if _outside(a))
    elif event == "open" and arguments[2] & WRITING and _outside(arguments[0]):
        _seen.append(f"open {arguments[0]} to write")


def _outside(path) -> bool:
    if not isinstance(path, str | os.PathLike):
        return False
    path = Path(os.path.abspath(path))
    return not any(path.is_relative_to(f) for f in (_folder, COMPILED) if f)


@contextmanager
def watched(folder):
    """Give the list that forbidden events within the block are added to; `folder` may be written to."""
    global _folder, _hooked
    if not _hooked:  # an audit hook stays as long as the process
        sys.addaudithook(_hook)
        _hooked = True
    _seen.clear()
    before, _folder = _folder, os.path.abspath(folder)
    try:
        yield _seen
    finally:
        _folder = before
