"""Read a .tar.gz as a stream of (name, bytes), trusting nothing in it.

Python's `tarfile` reads extended headers of any length into memory and raises a dozen kinds of
errors on a damaged file. This reader knows only what a data archive needs: plain files and folders.
Links, devices, sparse files, odd names and lengths beyond a limit are refused, before a byte of
them is read. It never writes anything.

    a member = a header of 512 bytes, then its content, filled up with zeros to a multiple of 512
    header   = name 0:100, size 124:136 (octal), checksum 148:156, type 156, "ustar" 257, prefix 345:500
    the end  = two headers of zeros
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from mnp.errors import MnpError

BLOCK = 512
EXTENDED_LIMIT = 1 << 16  # an extended header holds a long name, not more
FILE_TYPES = (b"0", b"\0")
FOLDER_TYPE = b"5"


def read_tar_gz(
    path: str | Path,
    wanted: Callable[[str], bool],
    *,
    member_limit: int = 1 << 20,
    total_limit: int = 1 << 29,
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each regular file that is wanted, in the archive's order.

    Parameters
    ----------
    path : path of a .tar.gz or .tgz
    wanted : function of a name
        Other files are passed over; their names must be safe all the same.
    member_limit : int
        Bytes of one wanted file.
    total_limit : int
        Bytes of the whole unpacked archive, all that is passed over included: a bomb goes no further.

    Raises MnpError for a file that is not such an archive, is damaged or cut short, exceeds a
    limit, or holds a link, a device or a name that leads outside (absolute, "..", a drive).
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") as stream:
            yield from _members(_Counted(stream, path, total_limit), wanted, member_limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        with open(path, "rb") as file:
            page = file.read(512).lstrip().startswith(b"<")
        what = "is a web page, not an archive" if page else f"is damaged or cut short ({error})"
        raise MnpError(f"{path} {what}; fetch it again") from None
    except OSError as error:
        raise MnpError(f"{path} cannot be read ({error.strerror or error})") from None


class _Counted:
    """The unpacked bytes, with a limit on how many there may be."""

    def __init__(self, stream, path: Path, limit: int):
        self.stream, self.path, self.left, self.limit = stream, path, limit, limit

    def refuse(self, what: str) -> MnpError:
        return MnpError(f"{self.path}: {what}; fetch the archive again from a source you trust")

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        if count > self.left:
            raise self.refuse(f"unpacks to more than {self.limit} bytes")
        self.left -= count
        data = self.stream.read(count)
        if len(data) < count:
            raise self.refuse("cut short within a file")
        return data

    def skip(self, count: int) -> None:
        while count:
            count -= len(self.read(min(count, 1 << 16)))

    def drain(self) -> None:
        """To the end, so that gzip compares its checksum."""
        while block := self.stream.read(min(self.left, 1 << 16) or 1):
            self.left -= len(block)
            if self.left < 0:
                raise self.refuse(f"unpacks to more than {self.limit} bytes")


def _members(source: _Counted, wanted, member_limit: int) -> Iterator[tuple[str, bytes]]:
    long_name = None
    while any(header := source.read(BLOCK)):
        size, kind = _checked(header, source)
        filled = -(-size // BLOCK) * BLOCK
        if kind in (b"x", b"g"):
            if size > EXTENDED_LIMIT:
                raise source.refuse(f"an extended header of {size} bytes")
            name = _long_name(source.read(filled)[:size], source)
            long_name = (
                name if kind == b"x" else long_name
            )  # "g" speaks of the whole archive: a commit, a date
            continue
        name = _safe(long_name or _name(header, source), source)
        long_name = None
        if kind == FOLDER_TYPE and size == 0:
            continue
        if kind not in FILE_TYPES:
            raise source.refuse(f"{name} is a link, a device or another special file")
        if not wanted(name):
            source.skip(filled)
            continue
        if size > member_limit:
            raise source.refuse(f"{name} has {size} bytes, more than the limit of {member_limit}")
        yield name, source.read(filled)[:size]
    source.drain()


def _checked(header: bytes, source: _Counted) -> tuple[int, bytes]:
    """The size and the type of the member, once the header's checksum holds."""
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")  # its own field counts as blanks
    if _octal(header[148:156]) != total:
        raise source.refuse("not a tar archive, or a damaged header")
    size = _octal(header[124:136])
    if size is None:
        raise source.refuse("a file size that is no number")
    return size, header[156:157]


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _name(header: bytes, source: _Counted) -> str:
    parts = [header[:100]]
    if header[257:263] == b"ustar\0":  # GNU's own "ustar  " keeps times where others keep the prefix
        parts.insert(0, header[345:500])
    parts = [part.split(b"\0")[0] for part in parts]
    return _text(b"/".join(part for part in parts if part), source)


def _long_name(records: bytes, source: _Counted) -> str | None:
    """The path among "length key=value\\n" records; a size or a link given that way is refused."""
    name = None
    while records:
        digits, blank, _ = records[:12].partition(b" ")
        length = int(digits) if digits.isdigit() and blank else 0
        record, records = records[:length], records[length:]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != length or not record.endswith(b"\n") or not equals:
            raise source.refuse("a damaged extended header")
        if key in (b"size", b"linkpath") or key.startswith(b"GNU.sparse"):
            raise source.refuse(f"an extended header that sets {key.decode()}")
        if key == b"path":
            name = _text(value, source)
    return name


def _text(raw: bytes, source: _Counted) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise source.refuse("a file name that is not UTF-8") from None


def _safe(name: str, source: _Counted) -> str:
    parts = name.rstrip("/").split("/")
    if (
        not name
        or not name.isprintable()
        or any(p in ("", "..") for p in parts)
        or set(name) & set('\\:*?"<>|')
    ):
        raise source.refuse(f"the file name {name!r} is not one to unpack")
    return "/".join(part for part in parts if part != ".") or "."
