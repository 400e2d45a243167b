"""The photographs of LFW as one array: decoded, cropped and reduced once, then read from the cache.

The user's archive (or unpacked folder) is only read. The array goes to the per-user cache, under
a name that holds a fingerprint of the source and the crop, so that each archive has its own array.
"""

import hashlib
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from mnp.data.lfw_archive import VARIANTS, content_sha256, read_jpegs
from mnp.data.sources import fingerprint
from mnp.errors import MnpError
from mnp.files import atomic_path, atomic_write, cache_folder, make_folder

SIDE = 250  # every photograph of LFW is 250x250


def load_images(source, variant, crop, size, *, progress=True):
    """Return the array of a source's photographs, from the cache or, the first time, by decoding.

    The cached array is compared with its checksum each time; a damaged one is made again.

    Parameters
    ----------
    source : Path of an archive or an unpacked folder
    variant : str, a key of `VARIANTS`
    crop, size : int
        See `decode_one`.
    progress : bool

    Returns
    -------
    images : (N, 3, size, size) uint8, read-only, in the order of `photographs`
    photographs : N names "Person_Name/Person_Name_0001.jpg", sorted
    content_sha256 : of the JPEG files, whatever they were packed in
    official : bool, whether they, or the archive, are known to be the official ones

    Raises MnpError as `read_jpegs` and `decode_one` do, or if the cache cannot be written to.
    """
    if not 1 <= size <= crop <= SIDE:
        raise MnpError(f"a crop of {crop} at size {size}: 1 <= size <= crop <= {SIDE} is needed")
    digest = fingerprint(source)
    make_folder(cache_folder())
    array_path = cache_folder() / f"lfw-{variant}-{digest[:16]}-crop{crop}-size{size}.npy"
    metadata_path = array_path.with_suffix(".json")
    images, metadata = _load_cached(array_path, metadata_path, size)
    if images is None:
        jpegs = read_jpegs(source)
        images = _decode_all(jpegs, source, crop, size, progress)
        metadata = {
            "photographs": list(jpegs),
            "content_sha256": content_sha256(jpegs),
            "array_sha256": hashlib.sha256(images).hexdigest(),
        }
        atomic_write(metadata_path, json.dumps(metadata))
        with atomic_path(array_path) as partial, open(partial, "wb") as file:
            np.save(file, images, allow_pickle=False)
        images.flags.writeable = False  # as the mapped file will be, the next time
    content, kind = metadata["content_sha256"], VARIANTS[variant]
    official = content == kind.content_sha256 or digest == kind.archive_sha256
    return images, tuple(metadata["photographs"]), content, official


def decode_one(jpeg, crop, size):
    """Decode one photograph, cut out its centre, and reduce it.

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
    except Exception as error:  # a decoder may raise anything for a damaged file
        raise MnpError(
            f"cannot be decoded ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None


def _decode_all(jpegs, source, crop, size, progress):
    images = np.empty((len(jpegs), 3, size, size), np.uint8)

    def decode(name):
        try:
            return decode_one(jpegs[name], crop, size)
        except MnpError as error:
            raise MnpError(f"{source}: {name}: {error}; fetch the photographs again") from None

    seconds = 0.1 if sys.stderr.isatty() else 10  # fewer lines in a log file
    bar = tqdm(total=len(jpegs), desc="decoding", unit="img", mininterval=seconds, disable=not progress)
    # the decoder releases Python's lock; after an error, `map` cancels what has not begun
    with bar, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for i, image in enumerate(pool.map(decode, jpegs)):
            images[i] = image
            bar.update()
    return images


def _load_cached(array_path, metadata_path, size):
    """The cached array and its metadata, or None and None if they are missing or damaged."""
    try:
        metadata = json.loads(metadata_path.read_text(encoding="utf-8"))
        with np.errstate(over="ignore"):  # sizes in a damaged header
            images = np.load(array_path, mmap_mode="r", allow_pickle=False)
        intact = (
            images.dtype == np.uint8
            and images.shape == (len(metadata["photographs"]), 3, size, size)
            and hashlib.sha256(images).hexdigest() == metadata["array_sha256"]
            and isinstance(metadata["content_sha256"], str)
        )
    except Exception:  # json and NumPy raise many types for damaged bytes, tokenize.TokenError among them
        intact = False
    return (images, metadata) if intact else (None, None)
