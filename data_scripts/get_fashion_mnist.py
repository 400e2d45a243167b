"""Get Fashion-MNIST: the same as `mnp fetch fashion-mnist`, for a clone that is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnp.cli import main

if __name__ == "__main__":
    sys.exit(main(["fetch", "fashion-mnist", *sys.argv[1:]]))
