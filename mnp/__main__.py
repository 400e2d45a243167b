"""`python -m mnp` is `mnp`."""

import sys

from mnp.process import import_path

sys.path[:] = import_path()  # before other imports: a random.py in the working folder must hide nothing

from mnp.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
