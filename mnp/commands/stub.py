"""`mnp stub`: the kernel interface as a module to fill in."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "stub",
        help="write the kernel interface as a module to fill in",
        description="Write the kernels' signatures and docstrings; each function raises NotImplementedError.",
    )
    p.add_argument("names", metavar="NAME", nargs="*", help="kernels (default: all plain ones)")
    p.add_argument("--out", metavar="FILE", help="write to a new file instead of the screen")


def main(args):
    from pathlib import Path

    from mnp.errors import MnpError
    from mnp.verify.stub import stub_source

    if args.out is None:
        print(stub_source(args.names), end="")
        return
    source = stub_source(args.names, Path(args.out).name)
    try:
        with Path(args.out).open("x", encoding="utf-8") as file:  # never over somebody's work
            file.write(source)
    except FileExistsError:
        raise MnpError(f"{args.out} already exists: choose another --out") from None
    except OSError as error:
        raise MnpError(f"{args.out} cannot be written ({error.strerror})") from None
    print(f"wrote {args.out}; `mnp check {args.out}` checks it")
