"""Get LFW: the same as `mnp fetch lfw`, for a clone that is not installed.

lfw-deepfunneled.sha256.gz, beside this script, holds the checksum of each of the 13,232 deep-funneled
photographs: `gunzip -c lfw-deepfunneled.sha256.gz | sha256sum -c` in an unpacked folder shows which differ.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnp.cli import main

if __name__ == "__main__":
    sys.exit(main(["fetch", "lfw", *sys.argv[1:]]))
