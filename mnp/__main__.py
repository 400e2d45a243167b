"""`python -m mnp` is `mnp`."""

import sys

from mnp.cli import main

if __name__ == "__main__":
    sys.exit(main())
