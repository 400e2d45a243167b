"""Download MNIST, sets like it, or LFW, or copy them from a folder; every file is checked.

    mnp fetch mnist                    # into $MNP_DATA/mnist, else the per-user cache
    mnp fetch fashion-mnist --to DIR   # into DIR
    mnp fetch kmnist                   # Kuzushiji-MNIST
    mnp fetch emnist-letters           # four files out of an archive of 560 MB
    mnp fetch mnist --from DIR         # checked copies of files that you have; no network
    mnp fetch lfw                      # the deep-funneled photographs, and six lists of people and pairs
    mnp fetch lfw --variant original   # or funneled

A file gets its name only after its content was checked; one that exists and is right is kept.
"""

import functools
import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

from mnp.data import lfw_archive, mnist
from mnp.data.download import copy_file, download, is_right, sha256_is
from mnp.data.idx import read_idx
from mnp.data.sources import format_search, search_places
from mnp.errors import MnpError
from mnp.files import atomic_path, atomic_write, cache_folder, make_folder

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    "kmnist": ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
}
EMNIST_ARCHIVE = (  # all sets of EMNIST
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
)
EMNIST_SHA256 = "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"
NAMES = (*MIRRORS, mnist.EMNIST, "lfw")
FIGSHARE = "https://ndownloader.figshare.com/files/"
ARCHIVES = {"original": "5976018", "funneled": "5976015"}
# The official site as a repository: its photographs as single files, and the lists of people.
SITE = "umass-vis-lfw/umass-vis-lfw.github.io"
COMMIT = "2a620cd8"
SITE_ARCHIVE = f"https://codeload.github.com/{SITE}/tar.gz/{COMMIT}"
SITE_FOLDER = "images_deepfunneled"
SITE_LIMIT = 1 << 33
RAW = f"https://raw.githubusercontent.com/{SITE}/{COMMIT}/"
LISTS = {  # name: number at figshare, or None for a file of the site; sha256
    "pairsDevTrain.txt": ("5976012", "1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa"),
    "pairsDevTest.txt": ("5976009", "7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c"),
    "pairs.txt": ("5976006", "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592"),
    "peopleDevTrain.txt": (None, "2e58df13ba4cc143189336e001cc2c195f1dfa5b29a6475c02857be353c2a2fa"),
    "peopleDevTest.txt": (None, "c3ed1f90499473401542101a56c14c1d82396bb8218c67a356d7460601047555"),
    "people.txt": (None, "bc8fa2b7f25c895cf7efb6de4f4fc27ca8b8d1cfa63350ad8b96eae2b198d365"),
}


def fetch(name, folder=None, log=print, *, source=None, variant="deepfunneled", progress=True):
    """Make sure that a data set is complete in a folder: download or copy what is missing or wrong.

    Parameters
    ----------
    name : str
        One of NAMES.
    folder : path or None
        Where the files are put. None: $MNP_DATA/name, else the per-user cache.
    log : function of a line of text
    source : path or None
        A folder of the user's to copy from; nothing is downloaded then.
    variant : str
        Of LFW: "deepfunneled", "funneled" or "original".

    Returns
    -------
    folder : Path

    Raises MnpError if a file can be had from nowhere, has the wrong content or cannot be written.
    """
    if name not in NAMES:
        raise MnpError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
    folder = Path(folder or Path(os.environ.get("MNP_DATA") or cache_folder()) / name)
    try:
        if name == "lfw":
            _fetch_lfw(folder, source, variant, progress)
        elif name == mnist.EMNIST:
            _fetch_emnist(folder, source, progress)
        else:
            _fetch_idx(name, folder, source, progress)
    except MnpError as error:
        if source is not None:
            raise
        raise MnpError(
            f"{error}. By hand: get the files from anywhere, and run `mnp fetch {name} --from FOLDER`"
        ) from None
    log(f"{name} is complete in {folder}; all checksums are right")
    return folder


def _fetch_idx(name, folder, source, progress):
    """The four files of MNIST or of a set like it."""
    paths = {}
    if source:
        paths = next(filter(None, (mnist.find_files(p, name) for p in search_places(name, source))), {})
        missing = [file for part, (file, _) in mnist.FILES.items() if part not in paths]
        if missing:
            raise MnpError(f"no {name} files in {format_search(name, source)}; wanted: {', '.join(missing)}")
    for part, (file, _) in mnist.FILES.items():
        check, packed = functools.partial(_check_idx, part=part, name=name), folder / f"{file}.gz"
        if source:
            copy_file(paths[part], packed if paths[part].suffix.lower() == ".gz" else folder / file, check)
            check(mnist.find_files(folder, name)[part])  # an older .gz would be read before a plain file
        elif not is_right(mnist.find_files(folder, name).get(part, packed), check):
            urls = [mirror + packed.name for mirror in MIRRORS[name]]
            download(urls, packed, check, progress=progress)


def _check_idx(path, part, name):
    """Raise MnpError unless a file is the official one of a set."""
    if name in mnist.PACKED_SHA256:
        return sha256_is(mnist.PACKED_SHA256[name][part])(path)
    shape = mnist.FILES[part][1]
    array = read_idx(path, len(shape))
    mnist.check_array(array, part, name, path)
    if len(array) != shape[0]:
        raise MnpError(f"{path}: {len(array)} examples, where {name} has {shape[0]}")


def _fetch_emnist(folder, source, progress):
    """The four files of EMNIST's letters, out of the archive of all its sets."""
    names = [f"{name}.gz" for name in mnist.usual_names(mnist.EMNIST).values()]
    if not source and all((folder / name).exists() for name in names):
        return mnist.load(folder, mnist.EMNIST)  # MnpError if one is damaged
    archive = Path(source or folder) / "gzip.zip"
    if source:
        sha256_is(EMNIST_SHA256)(archive)
    else:
        download(EMNIST_ARCHIVE, archive, sha256_is(EMNIST_SHA256), limit=1 << 30, progress=progress)
    make_folder(folder)
    with zipfile.ZipFile(archive) as packed:
        inside = {info.filename.rpartition("/")[2]: info for info in packed.infolist()}
        for name in names:
            atomic_write(folder / name, packed.read(inside[name]))
    if not source:
        archive.unlink()


def _fetch_lfw(folder, source, variant, progress):
    """The six lists, and the archive of one variant."""
    archive, _, archive_sha256, _ = lfw_archive.VARIANTS[variant]
    files = {name: (FIGSHARE + n if n else RAW + name, sha256) for name, (n, sha256) in LISTS.items()}
    if variant != "deepfunneled":
        files[archive] = FIGSHARE + ARCHIVES[variant], archive_sha256
    places = search_places("lfw", source) if source else []
    for file, (url, sha256) in files.items():
        check = sha256_is(sha256)
        if source:
            path = next((place / file for place in places if (place / file).is_file()), None)
            if path is None:
                raise MnpError(f"no {file} in {format_search('lfw', source)}")
            copy_file(path, folder / file, check)
        elif not is_right(folder / file, check):
            download([url], folder / file, check, progress=progress)
    if variant == "deepfunneled":
        _fetch_deepfunneled(folder / archive, source, places, progress)


def _fetch_deepfunneled(archive, source, places, progress):
    """The deep-funneled photographs, known one by one by checksum, and packed as the official archive is."""
    if source:
        photographs = lfw_archive.find_source(places, "deepfunneled")
        if photographs is None:
            raise MnpError(f"no {archive.name} and no such photographs in {format_search('lfw', source)}")
        _pack(_checked_jpegs(photographs), archive)
    elif not is_right(archive, _checked_jpegs):
        # no mirror has this archive: take the site itself, and pack its photographs
        check = functools.partial(_checked_jpegs, within=SITE_FOLDER, total_limit=SITE_LIMIT)
        site = archive.with_name("lfw-site.tar.gz")
        download([SITE_ARCHIVE], site, check, limit=SITE_LIMIT, progress=progress)
        _pack(check(site), archive)
        site.unlink()


def _checked_jpegs(source, **options):
    """The deep-funneled photographs of an archive or a folder; MnpError if they are not the official ones."""
    jpegs = lfw_archive.read_jpegs(source, **options)
    if lfw_archive.content_sha256(jpegs) != lfw_archive.VARIANTS["deepfunneled"].content_sha256:
        raise MnpError(
            f"{source}: its {len(jpegs)} photographs are not the 13,232 official ones; to see which differ, "
            f"unpack them and compare with data_scripts/lfw-deepfunneled.sha256.gz (sha256sum -c)"
        )
    return jpegs


def _pack(jpegs, archive):
    """Write the archive in the official layout; the same photographs give the same bytes."""
    make_folder(archive.parent)
    top = lfw_archive.VARIANTS["deepfunneled"].folders[0]
    with (
        atomic_path(archive) as partial,
        open(partial, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,  # no name, no time
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in jpegs.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
