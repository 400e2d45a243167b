"""`mnp fetch`: download a data set, or copy it from a folder."""

import argparse
from pathlib import Path

from mnp.data import fetch
from mnp.data.lfw_archive import VARIANTS


def add_parser(subparsers):
    """Add the parser of `mnp fetch`."""
    parser = subparsers.add_parser(
        "fetch",
        help="download MNIST, Fashion-MNIST or LFW",
        description=fetch.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", choices=fetch.NAMES, help="the data set")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the files are put")
    parser.add_argument("--from", type=Path, metavar="DIR", dest="source", help="copy them from here")
    parser.add_argument("--variant", choices=list(VARIANTS), default="deepfunneled", help="of LFW")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def main(args):
    """Run `mnp fetch`."""
    fetch.fetch(args.name, args.to, source=args.source, variant=args.variant, progress=not args.quiet)
