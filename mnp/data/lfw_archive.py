"""The photographs of LFW as JPEG files: the three variants, where they are found, and how they are read.

An archive and an unpacked folder give the same: JPEG files by name. Both are only read, and nothing is
written to the disk.
"""

import hashlib
import re
import tarfile
from typing import NamedTuple

from mnp.data.lfw_protocol import NAME, WITHDRAWN
from mnp.data.sources import open_gz
from mnp.errors import MnpError

IMAGE_LIMIT = 1 << 20  # bytes of one JPEG; the longest official one has 16 KiB
ARCHIVE_LIMIT = 1 << 29  # bytes of an unpacked archive; the longest official one has about 250 MB
HEADER_LIMIT = 1 << 16  # bytes of the headers of one member, a long name among them
MEMBER_LIMIT = 200_000
BLOCK = tarfile.BLOCKSIZE


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

_photograph = re.compile(rf"(?:.*/)?(({NAME})/\2_(?!0000)[0-9]{{4}}\.jpg)")


def photograph(path):
    """The name that a photograph has in every packing, or None for another file.

    >>> photograph("lfw/Aaron_Peirsol/Aaron_Peirsol_0001.jpg")
    'Aaron_Peirsol/Aaron_Peirsol_0001.jpg'
    >>> photograph("lfw/Aaron_Peirsol/Somebody_Else_0001.jpg") is None
    True
    """
    match = _photograph.fullmatch(path)
    return match and match[1]


def find_source(places, variant):
    """The first archive, or else unpacked folder, of a variant in a list of folders; None if there is none.

    The archive may also be a .tar.gz or .tar, and the folder may lie in another of its name (Kaggle).
    """
    kind = VARIANTS[variant]
    stem = kind.archive.removesuffix(".tgz")
    for place in places:
        for path in (place / f"{stem}{ending}" for ending in (".tgz", ".tar.gz", ".tar")):
            if path.is_file():
                return path
        for path in (place / inner for name in kind.folders for inner in (name, f"{name}/{name}")):
            # "lfw" is also the name of a data folder: an unpacked one has people's folders in it
            if next(path.glob("*/*_0001.jpg"), None):
                return path
    return None


def read_jpegs(source, *, within=None, total_limit=ARCHIVE_LIMIT):
    """Read every photograph of an archive or of an unpacked folder, sorted by name.

    The withdrawn person's image is left out, so that all packings hold the same images.

    Parameters
    ----------
    source : Path
    within : str or None
        Of an archive, take only what lies in folders of this name.
    total_limit : int
        Bytes of the whole unpacked archive.

    Returns
    -------
    jpegs : dict, name "Person_Name/Person_Name_0001.jpg" -> bytes

    Raises MnpError for a damaged archive or one beyond the limits, for a photograph under a wrong name,
    given twice or too long, and if there is none at all.
    """
    jpegs = {}
    entries = _read_folder(source) if source.is_dir() else _read_tar(source, within, total_limit)
    for path, data in entries:
        name = photograph(path)
        if name is None:
            raise MnpError(f"{source}: {path!a} is not a name of LFW's (Person_Name/Person_Name_0001.jpg)")
        if name in jpegs:
            raise MnpError(f"{source}: {name} is there twice")
        if len(data) > IMAGE_LIMIT:
            raise MnpError(f"{source}: {name} is too long for a photograph of LFW")
        if name.split("/")[0] not in WITHDRAWN:
            jpegs[name] = data
    if not jpegs:
        raise MnpError(f"{source}: no photograph in it; download it with `mnp fetch lfw`")
    return dict(sorted(jpegs.items()))


def content_sha256(jpegs):
    """The SHA-256 of what sha256sum prints for all photographs: the same however they are packed."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in jpegs.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_jpeg(path):
    return path.endswith(".jpg") and not path.rsplit("/", 1)[-1].startswith(".")


def _read_folder(source):
    """Yield the name and the content of each JPEG file in people's folders."""
    for path in sorted(source.glob("*/*.jpg")):
        name = path.relative_to(source).as_posix()
        if _is_jpeg(name):
            try:
                with open(path, "rb") as file:
                    yield name, file.read(IMAGE_LIMIT + 1)
            except OSError as error:
                raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None


class _BoundedReader:
    """A stream for `tarfile`, which would read headers of any length into memory, with a limit `left`.

    The last record that was read, and where it starts, are kept.
    """

    def __init__(self, stream):
        self.stream, self.left, self.start, self.record = stream, HEADER_LIMIT, 0, b""

    def read(self, size):
        self.start += len(self.record)
        self.record = self.stream.read(size)
        self.left -= len(self.record)
        if self.left < 0:
            raise ValueError(f"a header of more than {HEADER_LIMIT} bytes")
        return self.record


def _read_tar(source, within, total_limit):
    """Yield the name and the content of each JPEG file of an archive, packed with gzip or not.

    Links, devices and folders are skipped. The names are only yielded: nothing is unpacked.
    """
    total = 0
    try:
        with open_gz(source) as stream:
            reader = _BoundedReader(stream)
            with tarfile.open(fileobj=reader, mode="r|") as tar:
                while member := tar.next():
                    total += BLOCK + member.size
                    if total > total_limit or len(tar.members) > MEMBER_LIMIT:
                        raise ValueError(f"more than {total_limit} bytes or {MEMBER_LIMIT} files")
                    reader.left = HEADER_LIMIT + member.size
                    folders = member.name.split("/")[:-1]
                    if member.isreg() and _is_jpeg(member.name) and (within is None or within in folders):
                        if member.size > IMAGE_LIMIT:
                            raise ValueError(f"{member.name!a} is too long for a photograph of LFW")
                        yield member.name, tar.extractfile(member).read()
                # tarfile takes a damaged header for the end, which really is a block of zeros
                if reader.record[tar.offset - reader.start :][:BLOCK] != bytes(BLOCK):
                    raise ValueError("a damaged header, or no end")
            while block := stream.read(IMAGE_LIMIT):  # to the end, where gzip compares its checksum
                total += len(block)
                if total > total_limit:
                    raise ValueError(f"more than {total_limit} bytes")
    except Exception as error:  # tarfile raises many types for damaged or hostile archives
        what = getattr(error, "strerror", None) or error
        raise MnpError(f"{source}: cannot be read as an archive ({what}); fetch it again") from None
