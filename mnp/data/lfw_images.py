"""The photographs of LFW: found, decoded, cropped and made smaller once, into one cached array.

The user's archive (or unpacked folder) is only read. The array goes to the per-user cache, under
a name that holds a fingerprint of the source and the crop, so another archive never meets it.
"""

import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mnp.data.folders import make_cache_folder, written_aside
from mnp.data.lfw_protocol import NAME, WITHDRAWN
from mnp.data.tar import read_tar_gz
from mnp.errors import MnpError

SIDE = 250  # every photograph of LFW is 250x250
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


class Decoded(NamedTuple):
    """The cached array and what is known of it.

    images : (N, 3, size, size) uint8, read-only, in the order of `photographs`
    photographs : N names "Person_Name/Person_Name_0001.jpg", sorted
    content_sha256 : of the JPEG files, whatever they were packed in
    official : whether they, or the archive, are known to be the official ones
    """

    images: np.ndarray
    photographs: tuple[str, ...]
    content_sha256: str
    official: bool


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


def read_jpegs(source: Path) -> dict[str, bytes]:
    """Read every photograph of an archive or of an unpacked folder, sorted by name.

    The withdrawn person's image is passed over, so that all packings hold the same images.

    Raises MnpError for a bad archive, for a photograph under a wrong name, given twice or too long, and
    if there is none at all.
    """
    jpegs: dict[str, bytes] = {}
    entries = _folder_entries(source) if source.is_dir() else _archive_entries(source)
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


def decoded(
    source: Path, variant: str, crop: int, size: int, *, workers: int | None = None, progress: bool = True
) -> Decoded:
    """Return the array of a source's photographs, from the cache or, the first time, by decoding.

    The cached array is held against its checksum each time; a damaged one is made again.

    Parameters
    ----------
    crop, size : int
        See `decode_one`.
    workers : int or None
        Threads that decode (the decoder runs outside Python's lock). None: one a CPU, at most 4.

    Raises MnpError as `read_jpegs` and `decode_one` do, or if the cache cannot be written to.
    """
    if not 1 <= size <= crop <= SIDE:
        raise MnpError(f"a crop of {crop} at size {size}: 1 <= size <= crop <= {SIDE} is needed")
    fingerprint = _fingerprint(source)
    stem = f"lfw-{variant}-{fingerprint[:16]}-crop{crop}-size{size}"
    array_path = make_cache_folder() / f"{stem}.npy"
    notes_path = array_path.with_suffix(".json")
    found = _load_cached(array_path, notes_path, size)
    if found is None:
        jpegs = read_jpegs(source)
        images = _decode_all(jpegs, source, crop, size, workers, progress)
        notes = {
            "photographs": list(jpegs),
            "content_sha256": content_sha256(jpegs),
            "array_sha256": hashlib.sha256(images).hexdigest(),
        }
        with written_aside(notes_path) as aside:
            aside.write_text(json.dumps(notes), encoding="utf-8")
        with written_aside(array_path) as aside, open(aside, "wb") as file:
            np.save(file, images, allow_pickle=False)
        images.flags.writeable = False  # as the mapped file will be, the next time
        found = images, notes
    images, notes = found
    content, kind = notes["content_sha256"], VARIANTS[variant]
    official = content == kind.content_sha256 or fingerprint == kind.archive_sha256
    return Decoded(images, tuple(notes["photographs"]), content, official)


def decode_one(jpeg: bytes, crop: int, size: int) -> np.ndarray:
    """Decode one photograph, cut out its centre, and make it smaller.

        the middle crop x crop of 250 x 250, from (250 - crop) // 2 on; then size x size, where every
        new pixel is a triangle-weighted mean of those it covers (Pillow's BILINEAR)

    Parameters
    ----------
    jpeg : bytes

    Returns
    -------
    image : (3, size, size) uint8, red, green, blue

    Raises MnpError if the file is cut short, cannot be decoded, or is not 250x250.
    """
    from PIL import Image  # here, so that importing mnp.data does not import a decoder

    if not jpeg.endswith(b"\xff\xd9"):  # the decoder itself would not miss the last few bytes
        raise MnpError("cut short: a JPEG ends with ff d9")
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            if image.size != (SIDE, SIDE):
                raise MnpError(f"{image.width}x{image.height}, where LFW's photographs are {SIDE}x{SIDE}")
            edge = (SIDE - crop) // 2
            image = image.convert("RGB").crop((edge, edge, edge + crop, edge + crop))
            if size != crop:
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image).transpose(2, 0, 1)
    except MnpError:
        raise
    except Exception as error:  # a decoder on a damaged file may raise anything
        raise MnpError(
            f"cannot be decoded ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None


def _decode_all(jpegs, source, crop, size, workers, progress) -> np.ndarray:
    names = list(jpegs)
    images = np.empty((len(names), 3, size, size), np.uint8)

    def decode(i: int) -> None:
        try:
            images[i] = decode_one(jpegs[names[i]], crop, size)
        except MnpError as error:
            raise MnpError(f"{source}: {names[i]}: {error}; fetch the photographs again") from None

    seconds = 0.1 if sys.stderr.isatty() else 10  # a log file gets a line now and then
    with (
        ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool,
        tqdm(total=len(names), desc="decoding", unit="img", mininterval=seconds, disable=not progress) as bar,
    ):
        try:
            for _ in pool.map(decode, range(len(names))):
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images


def _load_cached(array_path: Path, notes_path: Path, size: int) -> tuple[np.ndarray, dict] | None:
    """The cached array and its notes, or None if they are not there or not whole."""
    try:
        notes = json.loads(notes_path.read_text(encoding="utf-8"))
        images = np.load(array_path, mmap_mode="r", allow_pickle=False)
        whole = (
            images.dtype == np.uint8
            and images.shape == (len(notes["photographs"]), 3, size, size)
            and hashlib.sha256(images).hexdigest() == notes["array_sha256"]
            and isinstance(notes["content_sha256"], str)
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return (images, notes) if whole else None


def _fingerprint(source: Path) -> str:
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


def _archive_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    return read_tar_gz(source, _is_jpeg, member_limit=IMAGE_LIMIT, total_limit=ARCHIVE_LIMIT)


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
