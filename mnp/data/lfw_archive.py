"""LFW's photographs as they come: which variants there are, where they are found, what their files hold.

An archive and an unpacked folder give the same: JPEG files by name. Both are only read.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mnp.data.lfw_protocol import NAME, WITHDRAWN
from mnp.data.tar import read_tar_gz
from mnp.errors import MnpError

IMAGE_LIMIT = 1 << 20  # bytes of one JPEG; the longest official one has 16 KiB
ARCHIVE_LIMIT = 1 << 29  # bytes of an unpacked archive; the longest official one has about 250 MB
COUNT_LIMIT = 20_000


class Variant(NamedTuple):
    """One of the three official sets: its archive, the folders it may be unpacked in, its checksums."""

    archive: str
    folders: tuple[str, ...]
    archive_sha256: str | None  # of the official archive, where it is known
    content_sha256: str | None  # see `content_sha256`, where it is known


VARIANTS = {
    "deepfunneled": Variant(
        "lfw-deepfunneled.tgz",
        ("lfw-deepfunneled", "images_deepfunneled"),
        None,
        "fc63479b8374d5a763b7f2d5c2cadaceaa343ded08226f8bca3d4a1f9f9b4bdc",
    ),
    "funneled": Variant(
        "lfw-funneled.tgz",
        ("lfw_funneled",),
        "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
        None,
    ),
    "original": Variant(
        "lfw.tgz",
        ("lfw",),
        "055f7d9c632d7370e6fb4afc7468d40f970c34a80d4c6f50ffec63f5a8d536c0",
        None,
    ),
}

_photograph = re.compile(rf"(?:.*/)?({NAME})/(\1_([0-9]{{4}})\.jpg)")


def photograph(path: str) -> str | None:
    """The name that a photograph has in every packing, or None for another file.

    >>> photograph("lfw/Aaron_Peirsol/Aaron_Peirsol_0001.jpg")
    'Aaron_Peirsol/Aaron_Peirsol_0001.jpg'
    >>> photograph("lfw/Aaron_Peirsol/Somebody_Else_0001.jpg") is None
    True
    """
    found = _photograph.fullmatch(path)
    return f"{found[1]}/{found[2]}" if found and found[3] != "0000" else None


def find_source(places: list[Path], variant: str) -> Path | None:
    """The first archive, or else unpacked folder, of a variant among some folders."""
    kind = VARIANTS[variant]
    for place in places:
        if (place / kind.archive).is_file():
            return place / kind.archive
        for name in kind.folders:
            # "lfw" is also what a data folder may be called: an unpacked one has people's folders in it
            if (place / name).is_dir() and next((place / name).glob("*/*_0001.jpg"), None):
                return place / name
    return None


def read_jpegs(
    source: Path, *, within: str | None = None, total_limit: int = ARCHIVE_LIMIT
) -> dict[str, bytes]:
    """Read every photograph of an archive or of an unpacked folder, sorted by name.

    The withdrawn person's image is passed over, so that all packings hold the same images.

    Parameters
    ----------
    within : str or None
        Of an archive, take only what lies in folders of this name.
    total_limit : int
        Bytes of the whole unpacked archive.

    Raises MnpError for a bad archive, for a photograph under a wrong name, given twice or too long, and
    if there is none at all.
    """
    jpegs: dict[str, bytes] = {}
    if source.is_dir():
        entries = _folder_entries(source)
    else:
        entries = read_tar_gz(
            source,
            lambda path: _is_jpeg(path) and (within is None or within in path.split("/")[:-1]),
            member_limit=IMAGE_LIMIT,
            total_limit=total_limit,
        )
    for path, data in entries:
        name = photograph(path)
        if name is None:
            raise MnpError(f"{source}: {path} is not a name of LFW's (Person_Name/Person_Name_0001.jpg)")
        if name in jpegs:
            raise MnpError(f"{source}: {name} is there twice")
        if len(jpegs) == COUNT_LIMIT:
            raise MnpError(f"{source}: more than {COUNT_LIMIT} photographs; LFW has 13,232")
        if name.split("/")[0] not in WITHDRAWN:
            jpegs[name] = data
    if not jpegs:
        raise MnpError(f"{source}: no photograph in it; fetch it with data_scripts/get_lfw.py")
    return dict(sorted(jpegs.items()))


def content_lines(jpegs: dict[str, bytes]) -> Iterator[str]:
    """The manifest's lines, as sha256sum writes them: checksum, two blanks, name."""
    for name, data in jpegs.items():
        yield f"{hashlib.sha256(data).hexdigest()}  {name}\n"


def content_sha256(jpegs: dict[str, bytes]) -> str:
    """The checksum of the manifest: the same for the same photographs, however they are packed."""
    return hashlib.sha256("".join(content_lines(jpegs)).encode()).hexdigest()


def fingerprint(source: Path) -> str:
    """Of an archive its checksum; of a folder its files' names, sizes and times, which is quick."""
    try:
        if source.is_dir():
            listing = ((p.relative_to(source).as_posix(), p.stat()) for p in sorted(source.glob("*/*")))
            lines = "".join(f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in listing)
            return hashlib.sha256(lines.encode()).hexdigest()
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MnpError(f"{source}: cannot be read ({error.strerror or error})") from None


def _is_jpeg(path: str) -> bool:
    return path.endswith(".jpg") and not path.rsplit("/", 1)[-1].startswith(".")


def _folder_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    for path in sorted(source.glob("*/*.jpg")):
        name = path.relative_to(source).as_posix()
        if not _is_jpeg(name):
            continue
        try:
            with open(path, "rb") as file:
                data = file.read(IMAGE_LIMIT + 1)
        except OSError as error:
            raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None
        total += len(data)
        if len(data) > IMAGE_LIMIT or total > ARCHIVE_LIMIT:
            raise MnpError(f"{path}: too long for a photograph of LFW")
        yield name, data
