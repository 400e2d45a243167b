"""Write mnp/data/files/digits.csv.gz from the copy that scikit-learn ships.

    pip install scikit-learn
    python data_scripts/make_digits.py            # write the file
    python data_scripts/make_digits.py --check    # compare the file in the package with the source

Only this script needs scikit-learn; the package reads the file it wrote.
"""

import argparse
import gzip
import os
import sys
import zlib
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "mnp" / "data" / "files" / "digits.csv.gz"


def digits_text() -> bytes:
    """The whole table as text: a line an image, 64 pixels and the label, whole numbers."""
    from sklearn.datasets import load_digits

    source = load_digits()
    rows = zip(source.data.astype(int).tolist(), source.target.tolist(), strict=True)
    return "".join(",".join(map(str, [*pixels, label])) + "\n" for pixels, label in rows).encode("ascii")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=TARGET, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    options = parser.parse_args(arguments)
    try:
        text = digits_text()
    except ImportError:
        print("make_digits: scikit-learn is needed: pip install scikit-learn", file=sys.stderr)
        return 2
    if options.check:
        try:
            same = gzip.decompress(options.to.read_bytes()) == text
        except (OSError, EOFError, zlib.error):  # not there, cut short, or no gzip
            same = False
        print(f"{options.to}: {'equal to the source' if same else 'DIFFERS from the source'}")
        return 0 if same else 1
    aside = options.to.with_name(options.to.name + ".part")
    try:
        aside.write_bytes(gzip.compress(text, mtime=0))  # no time stamp: the same bytes again
        os.replace(aside, options.to)
    except OSError as error:
        print(f"make_digits: {options.to}: cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    lines = text.count(b"\n")
    print(f"wrote {options.to}: {lines} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
