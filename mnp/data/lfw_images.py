"""The photographs of LFW: found, decoded, cropped and made smaller once, into one cached array.

The user's archive (or unpacked folder) is only read. The array goes to the per-user cache, under
a name that holds a fingerprint of the source and the crop, so another archive never meets it.
"""

import hashlib
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mnp.data.lfw_archive import VARIANTS, content_sha256, fingerprint, read_jpegs
from mnp.errors import MnpError
from mnp.files import atomic_path, cache_folder, make_folder

SIDE = 250  # every photograph of LFW is 250x250


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
    mark = fingerprint(source)
    stem = f"lfw-{variant}-{mark[:16]}-crop{crop}-size{size}"
    make_folder(cache_folder())
    array_path = cache_folder() / f"{stem}.npy"
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
        with atomic_path(notes_path) as aside:
            aside.write_text(json.dumps(notes), encoding="utf-8")
        with atomic_path(array_path) as aside, open(aside, "wb") as file:
            np.save(file, images, allow_pickle=False)
        images.flags.writeable = False  # as the mapped file will be, the next time
        found = images, notes
    images, notes = found
    content, kind = notes["content_sha256"], VARIANTS[variant]
    official = content == kind.content_sha256 or mark == kind.archive_sha256
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
        with np.errstate(over="ignore"):  # sizes that a damaged header claims
            images = np.load(array_path, mmap_mode="r", allow_pickle=False)
        whole = (
            images.dtype == np.uint8
            and images.shape == (len(notes["photographs"]), 3, size, size)
            and hashlib.sha256(images).hexdigest() == notes["array_sha256"]
            and isinstance(notes["content_sha256"], str)
        )
    except Exception:  # whatever json or NumPy find wrong with damaged bytes, tokenize.TokenError among it
        return None
    return (images, notes) if whole else None
