"""Get Labeled Faces in the Wild: one archive of photographs, and the six lists of people and pairs.

    python data_scripts/get_lfw.py                        # deep-funneled, into $MNP_DATA/lfw, else the cache
    python data_scripts/get_lfw.py --variant original     # or funneled
    python data_scripts/get_lfw.py --from DIR             # checked copies of files that you have; no network
    python data_scripts/get_lfw.py --to DIR --unpack      # also the photographs as single files

The original and the funneled archive are known by their sha256, the deep-funneled photographs one by
one: lfw-deepfunneled.sha256.gz, beside this script, holds a checksum for each of the 13,232. It was
written by

    python data_scripts/get_lfw.py --from DIR --write-manifest FILE

and `gunzip -c lfw-deepfunneled.sha256.gz | sha256sum -c` checks an unpacked folder without this script.
"""

import argparse
import gzip
import io
import os
import shutil
import sys
import tarfile
from pathlib import Path

from mnp.data import lfw_archive
from mnp.data.download import download, sha256_is, take_local
from mnp.data.lfw_archive import VARIANTS, content_lines, read_jpegs
from mnp.errors import MnpError
from mnp.files import atomic_path, cache_folder, cannot_write, data_folders, make_folder

FIGSHARE = "https://ndownloader.figshare.com/files/"
# The official site as a repository: its photographs as single files, and the lists of people.
SITE = "umass-vis-lfw/umass-vis-lfw.github.io"
COMMIT = "2a620cd8"
SITE_FOLDER = "images_deepfunneled"
SITE_LIMIT = 1 << 33
SITE_ARCHIVE = f"https://codeload.github.com/{SITE}/tar.gz/{COMMIT}"

ARCHIVE_IDS = {"original": "5976018", "funneled": "5976015"}
LISTS = {  # name: (where, sha256)
    "pairsDevTrain.txt": (
        f"{FIGSHARE}5976012",
        "1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa",
    ),
    "pairsDevTest.txt": (
        f"{FIGSHARE}5976009",
        "7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c",
    ),
    "pairs.txt": (
        f"{FIGSHARE}5976006",
        "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
    ),
    "peopleDevTrain.txt": (
        f"https://raw.githubusercontent.com/{SITE}/{COMMIT}/peopleDevTrain.txt",
        "2e58df13ba4cc143189336e001cc2c195f1dfa5b29a6475c02857be353c2a2fa",
    ),
    "peopleDevTest.txt": (
        f"https://raw.githubusercontent.com/{SITE}/{COMMIT}/peopleDevTest.txt",
        "c3ed1f90499473401542101a56c14c1d82396bb8218c67a356d7460601047555",
    ),
    "people.txt": (
        f"https://raw.githubusercontent.com/{SITE}/{COMMIT}/people.txt",
        "bc8fa2b7f25c895cf7efb6de4f4fc27ca8b8d1cfa63350ad8b96eae2b198d365",
    ),
}
MANIFEST = Path(__file__).resolve().parent / "lfw-deepfunneled.sha256.gz"
BY_HAND = (
    "get the file from anywhere, put it into a folder, and run python data_scripts/get_lfw.py --from FOLDER"
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--variant", choices=list(VARIANTS), default="deepfunneled")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the files are put")
    parser.add_argument("--from", type=Path, metavar="DIR", dest="source", help="take them from here")
    parser.add_argument("--unpack", action="store_true", help="also unpack the photographs")
    parser.add_argument("--write-manifest", type=Path, metavar="FILE", help="only write the checksums")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(arguments)
    try:
        if options.write_manifest:
            jpegs = read_jpegs(local_photographs(options.source, options.variant))
            write_manifest(options.write_manifest, jpegs)
            print(f"wrote {options.write_manifest}: {len(jpegs)} photographs")
            print(f"content sha256 {lfw_archive.content_sha256(jpegs)}")
            return 0
        target = options.to or default_target()
        get_lists(options.source, target, not options.quiet)
        archive = get_archive(options.variant, options.source, target, not options.quiet)
        print(
            f"LFW ({options.variant}) is complete in {target}, all checksums right: {archive.name}, 6 lists"
        )
        if options.unpack:
            print(f"unpacked to {unpack(archive, target / VARIANTS[options.variant].folders[0])}")
    except MnpError as error:
        print(f"get_lfw: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("get_lfw: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


def default_target() -> Path:
    named = os.environ.get("MNP_DATA")
    return (Path(named) if named else cache_folder()) / "lfw"


def get_lists(source: Path | None, target: Path, progress: bool) -> None:
    for name, (url, sha256) in LISTS.items():
        check = sha256_is(sha256)
        if source is None:
            download([url], target / name, check, limit=1 << 20, by_hand=BY_HAND, progress=progress)
        else:
            take_local(local_file(source, name), target / name, check)


def get_archive(variant: str, source: Path | None, target: Path, progress: bool) -> Path:
    """Bring the archive to `target`, checked; a folder of single photographs is packed."""
    archive = target / VARIANTS[variant].archive
    if variant == "deepfunneled":
        return get_deepfunneled(archive, source, progress)
    check = sha256_is(VARIANTS[variant].archive_sha256)
    if source is None:
        urls = [FIGSHARE + ARCHIVE_IDS[variant]]
        return download(urls, archive, check, limit=1 << 28, by_hand=BY_HAND, progress=progress)
    return take_local(local_file(source, archive.name), archive, check)


def get_deepfunneled(archive: Path, source: Path | None, progress: bool) -> Path:
    if source is None and archive.is_file() and is_right(archive):
        return archive
    if source is not None:
        found = local_photographs(source, "deepfunneled")
        if found.is_file():
            return take_local(found, archive, check_manifest)
        pack(check_manifest(found), archive)
        return archive
    # no official mirror offers this archive: take the site itself, and pack its photographs
    site = download(
        [SITE_ARCHIVE],
        archive.with_name("lfw-site.tar.gz"),
        lambda path: check_manifest(path, site=True),
        limit=SITE_LIMIT,
        by_hand=BY_HAND,
        progress=progress,
    )
    pack(check_manifest(site, site=True), archive)
    site.unlink()
    return archive


def is_right(archive: Path) -> bool:
    try:
        check_manifest(archive)
    except MnpError:  # a wrong one is replaced, as soon as there is something better
        return False
    return True


def local_file(source: Path, name: str) -> Path:
    places = data_folders("lfw", source)
    found = next((place / name for place in places if (place / name).is_file()), None)
    if found is None:
        raise MnpError(f"{source}: no {name} in it, or in its folder lfw")
    return found


def local_photographs(source: Path | None, variant: str) -> Path:
    if source is None:
        raise MnpError("--write-manifest needs --from DIR")
    found = lfw_archive.find_source(data_folders("lfw", source), variant)
    if found is None:
        names = ", ".join((VARIANTS[variant].archive, *VARIANTS[variant].folders))
        raise MnpError(f"{source}: none of {names} in it, or in its folder lfw")
    return found


def write_manifest(path: Path, jpegs: dict[str, bytes]) -> None:
    make_folder(path.parent)
    with atomic_path(path) as aside:
        aside.write_bytes(gzip.compress("".join(content_lines(jpegs)).encode(), mtime=0))


def check_manifest(source: Path, site: bool = False) -> dict[str, bytes]:
    """Hold every photograph against the manifest and return them; MnpError names the first that differs."""
    if site:
        jpegs = read_jpegs(source, within=SITE_FOLDER, total_limit=SITE_LIMIT)
    else:
        jpegs = read_jpegs(source)
    lines = (line.rstrip("\n") for line in content_lines(jpegs))
    found = {name: sha256 for sha256, name in (line.split("  ") for line in lines)}
    listed = gzip.decompress(MANIFEST.read_bytes()).decode().splitlines()
    expected = {name: sha256 for sha256, name in (line.split("  ") for line in listed)}
    missing, more = sorted(expected.keys() - found), sorted(found.keys() - expected)
    other = sorted(name for name in expected.keys() & found if expected[name] != found[name])
    troubles = [
        f"{len(names)} {what} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for names, what in (
            (missing, "missing"),
            (more, "that LFW does not have"),
            (other, "with another content"),
        )
        if names
    ]
    if troubles:
        raise MnpError(
            f"{source}: not the {len(expected)} deep-funneled photographs: {'; '.join(troubles)}; "
            f"fetch them again"
        )
    return jpegs


def pack(jpegs: dict[str, bytes], archive: Path) -> None:
    """Write the archive in the official layout; the same photographs give the same bytes."""
    make_folder(archive.parent)
    top = VARIANTS["deepfunneled"].folders[0]
    with (
        atomic_path(archive) as aside,
        open(aside, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in jpegs.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def unpack(archive: Path, folder: Path) -> Path:
    """Write the photographs of an archive as single files; the folder gets its name when all are there.

    Nothing of the archive's names is used but Person_Name/Person_Name_0001.jpg, so no file can
    land elsewhere. Raises MnpError if the folder is there already.
    """
    if folder.exists():
        raise MnpError(f"{folder} is there already: move it away, or leave out --unpack")
    jpegs = read_jpegs(archive)
    aside = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        for name, data in jpegs.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        os.replace(aside, folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise cannot_write(folder, error) from None
    return folder


if __name__ == "__main__":
    sys.exit(main())
