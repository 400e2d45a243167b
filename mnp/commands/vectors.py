"""`mnp vectors`: golden vectors for other languages and frameworks."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "vectors",
        help="write golden vectors for other languages",
        description="Write the textbook's outputs, for every kernel and for the whole pipeline, as .npz and "
        ".safetensors with a manifest.",
    )
    p.add_argument("--out", metavar="DIR", required=True, help="a new or empty folder")
    p.add_argument("--seed", type=int, default=0, help="draw other numbers (default 0)")


def main(args):
    from mnp.errors import MnpError
    from mnp.verify.golden import write_vectors

    if args.seed < 0:
        raise MnpError(f"--seed {args.seed}: give a whole number from 0 on")
    written = write_vectors(args.out, args.seed)
    size = sum(path.stat().st_size for path in written)
    print(f"wrote {len(written)} files, {size:,} bytes, into {args.out}; begin with manifest.json")
