"""Fetch a file whose checksum is known, from mirrors that may misbehave.

What arrives is written to "<name>.part" and gets its own name only after its content was checked.
A connection that breaks, stalls or crawls is taken up again where it ended, on the next mirror,
with growing waits between the rounds. What cannot be mended ends in one line that says how to do
it by hand.
"""

import hashlib
import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from mnp.errors import MnpError
from mnp.files import atomic_path, cannot_write, make_folder

BLOCK = 1 << 16
FRUITFUL = 1 << 16  # a broken attempt that brought this many bytes does not count as a failure
MOST_ROUNDS = 200
LONGEST_WAIT = 60.0
SLOWEST = 256  # bytes a second, over one stall time: below this a connection is as good as dead
FOR_GOOD = frozenset({400, 401, 404, 405, 410, 414, 451})  # answers that asking again does not change

Check = Callable[[Path], None]


class _AttemptError(Exception):
    """One attempt failed: why, whether the mirror is to be asked again, and how long it asks to wait."""

    def __init__(self, why: str, *, for_good: bool = False, wait: float = 0.0):
        super().__init__(why)
        self.for_good, self.wait = for_good, wait


def sha256_is(expected: str) -> Check:
    """A check for `download` and `take_local`: MnpError unless the file has this sha256."""

    def check(path: Path) -> None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise MnpError(f"its sha256 is {found[:16]}..., not {expected[:16]}...")

    return check


def download(
    urls: Sequence[str],
    target: str | Path,
    check: Check,
    *,
    size: int | None = None,
    limit: int = 1 << 30,
    by_hand: str = "",
    attempts: int = 5,
    first_wait: float = 1.0,
    stall: float = 30.0,
    progress: bool = True,
) -> Path:
    """Fetch one file from the first mirror that gives the right bytes.

    Parameters
    ----------
    urls : mirrors of the same bytes, http or https, the best first
    target : path
        An existing file that passes the check is kept, and nothing is fetched; one that does not is
        replaced at the end, when there is something better.
    check : function of a path that raises MnpError if the content is not right
    size : int or None
        The exact length, if it is known.
    limit : int
        Not a byte more is accepted, whatever the server says.
    by_hand : str
        What a person can do instead, for the last error.
    attempts : int
        Rounds over all mirrors without progress before giving up; after round r a wait of
        first_wait * 2**r seconds, at most 60, or as long as a server asks.
    stall : float
        Seconds without a byte, or with hardly any, after which a connection is given up.

    Returns
    -------
    target : Path

    Raises MnpError if no mirror gives the right bytes, or the file cannot be written. The part that
    came is then still there, for the next time.
    """
    target = Path(target)
    if target.is_file() and _passes(check, target) is None:
        return target
    part = target.with_name(target.name + ".part")
    make_folder(target.parent)
    mirrors, failures, fruitless = list(urls), {}, 0
    for _ in range(MOST_ROUNDS):
        before, wait = _length(part), 0.0
        for url in tuple(mirrors):
            try:
                _fetch(url, part, size, limit, stall, progress)
                wrong = _passes(check, part)
                if wrong:
                    part.unlink()
                    raise _AttemptError(f"the wrong file: {wrong}")
                _into_place(part, target)
                return target
            except _AttemptError as failure:
                failures[url] = str(failure)
                wait = max(wait, failure.wait)
                if failure.for_good:
                    mirrors.remove(url)
        fruitless = 0 if _length(part) >= before + FRUITFUL else fruitless + 1
        if not mirrors or fruitless == attempts:
            break
        time.sleep(min(LONGEST_WAIT, max(wait, first_wait * 2 ** max(0, fruitless - 1))))
    tried = "; ".join(f"{urlsplit(url).netloc}: {why}" for url, why in failures.items())
    advice = by_hand or f"fetch {urls[0]} with a browser and put it at {target}"
    raise MnpError(f"could not fetch {target.name}: {tried}. By hand: {advice}")


def take_local(source: str | Path, target: str | Path, check: Check) -> Path:
    """Copy a file that the user has, under its final name only if it passes the check.

    Raises MnpError if it does not, or cannot be read or written; `target` is then as it was.
    """
    source, target = Path(source), Path(target)
    wrong = _passes(check, source)
    if wrong:
        raise MnpError(f"{source}: {wrong}")
    if target.exists() and target.samefile(source):
        return target
    make_folder(target.parent)
    with atomic_path(target) as aside:
        shutil.copyfile(source, aside)
        wrong = _passes(check, aside)  # what was copied, not only what was read before
        if wrong:
            raise MnpError(f"{source}: changed while it was copied: {wrong}")
    return target


def _fetch(url: str, part: Path, size: int | None, limit: int, stall: float, progress: bool) -> None:
    """One attempt: bring `part` to its full length, or raise _AttemptError; what came stays."""
    have = _length(part)
    if size is not None and have == size:  # complete, from an earlier run that ended before the check
        return
    if have > (limit if size is None else size):
        part.unlink()
        have = 0
    headers = {"User-Agent": "mnp (https://arxiv.org/abs/1707.06838)", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with _opener().open(urllib.request.Request(url, headers=headers), timeout=stall) as response:
            have, total = _agree(response, have, size, limit)
            _receive(response, part, have, total, limit, stall, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # the server has no more: what is here is too long, or of another file
            part.unlink()
        raise _AttemptError(
            f"HTTP {error.code}", for_good=error.code in FOR_GOOD, wait=_retry_after(error.headers)
        ) from None
    except urllib.error.URLError as error:
        raise _AttemptError(_plain(error.reason)) from None
    except MnpError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a redirect to nonsense
        raise _AttemptError(_plain(error)) from None


def _agree(response, have: int, size: int | None, limit: int) -> tuple[int, int | None]:
    """Hold the answer's headers against what was asked; where to go on, and the length to reach, if told."""
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _AttemptError("a web page instead of the file")
    if response.status == 206:
        told = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not told or int(told[1]) != have:
            raise _AttemptError("an answer to another range than was asked for")
    else:  # 200: the whole file, from its beginning
        have = 0
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    if total is not None and total > limit:
        raise _AttemptError(f"{total} bytes announced, more than the limit of {limit}", for_good=True)
    if total is not None and size is not None and total != size:
        raise _AttemptError(f"{total} bytes announced, where the file has {size}", for_good=True)
    return have, total if size is None else size


def _receive(response, part: Path, have: int, total, limit: int, stall: float, progress: bool) -> None:
    bar = tqdm(
        total=total,
        initial=have,
        desc=part.stem,
        unit="B",
        unit_scale=True,
        mininterval=0.1 if sys.stderr.isatty() else 10,
        disable=not progress,
    )
    window, arrived = time.monotonic(), 0
    with bar, _Part(part, have) as file:
        while block := response.read1(BLOCK):
            have += len(block)
            if have > (limit if total is None else total):
                file.discard()
                raise _AttemptError("more bytes than the file has")
            file.write(block)
            bar.update(len(block))
            arrived += len(block)
            if time.monotonic() - window > stall:
                if arrived < SLOWEST * stall:
                    raise _AttemptError("too slow")
                window, arrived = time.monotonic(), 0
    if total is not None and have < total:
        raise _AttemptError(f"ended after {have} of {total} bytes")


class _Part:
    """The growing file. Trouble with the disk is not the mirror's: it ends everything, as an MnpError."""

    def __init__(self, path: Path, keep: int):
        self.path = path
        try:
            self.file = open(path, "r+b" if keep else "wb")  # noqa: SIM115 - closed by __exit__
            self.file.truncate(keep)
            self.file.seek(keep)
        except OSError as error:
            raise cannot_write(path, error) from None

    def write(self, block: bytes) -> None:
        try:
            self.file.write(block)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def discard(self) -> None:
        self.file.truncate(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.file.close()
        except OSError as error:  # the last block met a full disk
            raise cannot_write(self.path, error) from None


def _opener() -> urllib.request.OpenerDirector:
    """http and https only: a redirect cannot lead to a local file or to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _passes(check: Check, path: Path) -> str | None:
    """None if the file is right, else what is wrong with it."""
    try:
        check(path)
    except MnpError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None


def _into_place(part: Path, target: Path) -> None:
    try:
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise cannot_write(target, error) from None


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _retry_after(headers) -> float:
    text = headers.get("Retry-After", "") if headers else ""
    return float(text) if text.isdigit() else 0.0  # a date is as good as no answer here


def _plain(error) -> str:
    """A network error in a few words, on one line."""
    if isinstance(error, TimeoutError):
        return "stalled"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text or type(error).__name__
