"""`mnp check`: test a kernel module against the reference."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "check",
        help="test a kernel module against the reference",
        description="Test a Python module that implements the kernel interface, in whole or in part. "
        "Exit status 0 only if all that is implemented passes.",
    )
    p.add_argument("module", metavar="MODULE_OR_FILE", help="a dotted name, or a Python file")
    p.add_argument("--only", metavar="NAME", nargs="+", action="extend", help="test these kernels only")
    p.add_argument(
        "--network",
        action="store_true",
        help="then run the pruning pipeline of a small network on the module",
    )
    p.add_argument("--seed", type=int, default=0, help="draw other numbers (default 0)")
    p.add_argument(
        "--seconds", type=float, default=120.0, help="time limit per kernel, with all its cases (default 120)"
    )


def main(args):
    from mnp.errors import MnpError
    from mnp.verify.conformance import report

    if args.seed < 0:
        raise MnpError(f"--seed {args.seed}: give a whole number from 0 on")
    only = [name for words in args.only or [] for name in words.replace(",", " ").split()]
    return 0 if report(args.module, only, args.network, args.seed, args.seconds) else 1
