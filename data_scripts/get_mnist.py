"""Get the four MNIST files: from a mirror, or from a folder of your own.

    python data_scripts/get_mnist.py                  # into $MNP_DATA/mnist, else the per-user cache
    python data_scripts/get_mnist.py --to DIR         # into DIR
    python data_scripts/get_mnist.py --from DIR       # checked copies of files that you have; no network

Every file gets its name only after its checksum was compared; what is there and right is kept.
"""

import argparse
import os
import sys
from pathlib import Path

from mnp.data import mnist
from mnp.data.download import download, sha256_is, take_local
from mnp.errors import MnpError
from mnp.files import cache_folder, data_folders


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the files are put")
    parser.add_argument("--from", type=Path, metavar="DIR", dest="source", help="take them from here")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(arguments)
    try:
        target = options.to or default_target()
        if options.source:
            copy(options.source, target)
        else:
            fetch(target, progress=not options.quiet)
        images = mnist.load(target).train_images
    except MnpError as error:
        print(f"get_mnist: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("get_mnist: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    print(f"MNIST is complete in {target} ({len(images)} training images, all checksums right)")
    return 0


def default_target() -> Path:
    named = os.environ.get("MNP_DATA")
    return (Path(named) if named else cache_folder()) / "mnist"


def fetch(target: Path, progress: bool = True) -> None:
    """Download what is missing or wrong in `target`."""
    for part, file in mnist.FILES.items():
        name = f"{file.name}.gz"  # where both are there, this one is read
        if not (target / name).exists() and is_right(target / file.name, part):  # unpacked by the user
            continue
        download(
            [mirror + name for mirror in mnist.MIRRORS],
            target / name,
            sha256_is(file.packed_sha256),
            size=file.packed_bytes,
            limit=file.packed_bytes,
            by_hand=(
                f"fetch {mnist.MIRRORS[0]}{name} with a browser, or the file from anywhere else, and run "
                f"python data_scripts/get_mnist.py --from FOLDER"
            ),
            progress=progress,
        )


def copy(source: Path, target: Path) -> None:
    """Copy the four files, packed or plain, checked by what they contain."""
    if not source.is_dir():
        raise MnpError(f"no folder {source}: name the one that holds the MNIST files")
    for part, file in mnist.FILES.items():
        names = (f"{file.name}.gz", file.name)
        places = [place / name for place in data_folders("mnist", source) for name in names]
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            raise MnpError(f"{source}: no {file.name}.gz and no {file.name} in it, or in its folder mnist")
        packed = target / f"{file.name}.gz"
        if found.name != packed.name and packed.is_file() and not is_right(packed, part):
            raise MnpError(f"{packed}: is damaged, and would be read before {file.name}; remove it")
        take_local(found, target / found.name, lambda path, part=part: check(path, part))


def check(path: Path, part: str) -> None:
    """MnpError unless the file holds exactly MNIST's numbers, however it is packed."""
    array = mnist.read_file(path, part)
    if array.shape != mnist.FILES[part].shape:
        raise MnpError(f"{len(array)} examples, where MNIST has {mnist.FILES[part].shape[0]}")


def is_right(path: Path, part: str) -> bool:
    try:
        check(path, part)
    except MnpError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
