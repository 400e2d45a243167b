"""Download or copy a file whose content can be checked."""

import http.client
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from mnp.data.sources import fingerprint
from mnp.errors import MnpError
from mnp.files import atomic_path, make_folder

BLOCK = 1 << 16
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 5


class _FetchError(Exception):
    """One attempt failed because of the network, the server or the content."""


def sha256_is(expected):
    """A check for `download` and `copy_file`: MnpError unless the file has this SHA-256."""

    def check(path):
        actual = fingerprint(path)
        if actual != expected:
            raise MnpError(f"{path}: its sha256 is {actual[:16]}..., not {expected[:16]}...")

    return check


def is_right(path, check):
    """Whether a file exists and passes a check."""
    try:
        check(path)
    except MnpError:
        return False
    return True


def download(urls, target, check, *, limit=1 << 28, progress=True):
    """Download a file from the first of several mirrors that has the right content.

    Parameters
    ----------
    urls : list of str
        Addresses of the same file, in the order in which they are tried.
    target : path
        Keeps its old content until the new one is complete and has passed the check.
    check : function of a path that raises MnpError if the content is wrong
    limit : int
        The most bytes that are accepted.

    All mirrors are tried `ATTEMPTS` times, with waits of 1, 2, 4, ... seconds in between.
    Raises MnpError if no mirror has the right content, or the file cannot be written.
    """
    target, failures = Path(target), {}
    make_folder(target.parent)
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        for url in urls:
            try:
                with atomic_path(target) as partial:
                    _receive(url, partial, limit, target.name, progress)
                    try:
                        check(partial)
                    except MnpError as error:
                        what = str(error).removeprefix(f"{partial}: ")
                        raise _FetchError(f"the wrong file: {what}") from None
                return
            except _FetchError as error:
                failures[urlsplit(url).netloc] = " ".join(str(error).split()) or "no answer"
    tried = "; ".join(f"{host}: {message}" for host, message in failures.items())
    raise MnpError(f"{target.name} could not be downloaded ({tried})")


def copy_file(source, target, check):
    """Copy a file that passes a check; MnpError if it does not, or cannot be read or written."""
    source, target = Path(source), Path(target)
    check(source)
    if not (target.exists() and target.samefile(source)):
        make_folder(target.parent)
        with atomic_path(target) as partial:
            shutil.copyfile(source, partial)


def _receive(url, path, limit, name, progress):
    """Write what a server sends to a file, with a progress bar."""
    seconds = 0.1 if sys.stderr.isatty() else 10  # fewer lines in a log file
    bar = tqdm(desc=name, unit="B", unit_scale=True, mininterval=seconds, disable=not progress)
    with bar, open(path, "wb") as file:
        size = 0
        for block, bar.total in _blocks(url):
            size += len(block)
            if size > limit:
                raise _FetchError(f"more than {limit} bytes")
            file.write(block)
            bar.update(len(block))


def _blocks(url):
    """Yield what a server sends, and the total length if it is known; _FetchError if that fails."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            length = response.length
            while block := response.read(BLOCK):
                yield block, length
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid redirect
        raise _FetchError(error) from None
