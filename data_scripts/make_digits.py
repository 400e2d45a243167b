"""Write mnp/data/files/digits.csv.gz from the copy that scikit-learn ships.

    pip install scikit-learn
    python data_scripts/make_digits.py            # write the file
    python data_scripts/make_digits.py --check    # compare the file in the package with the source

Only this script needs scikit-learn; the package reads the file that it wrote.
"""

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnp.data.digits import TEXT_SHA256
from mnp.files import atomic_write

TARGET = Path(__file__).resolve().parents[1] / "mnp" / "data" / "files" / "digits.csv.gz"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args(arguments).check
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        print("make_digits: scikit-learn is needed: pip install scikit-learn", file=sys.stderr)
        return 2
    source = load_digits()
    table = np.column_stack([source.data, source.target]).astype(int)
    text = "".join(",".join(map(str, row)) + "\n" for row in table.tolist()).encode()
    if check:
        same = hashlib.sha256(text).hexdigest() == TEXT_SHA256
        print(f"the source {'equals' if same else 'DIFFERS from'} the file in the package")
        return 0 if same else 1
    atomic_write(TARGET, gzip.compress(text, mtime=0))  # no time stamp: always the same bytes
    print(f"wrote {TARGET}: {len(table)} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
