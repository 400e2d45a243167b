"""`mnp check`: test a kernel module against the reference."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "check",
        help="test a kernel module against the reference",
        description="Judge a Python module that offers the agreed kernel names, whole or in part. "
        "Exit status 0 only if all that is offered passes.",
    )
    p.add_argument("module", metavar="MODULE_OR_FILE", help="a dotted name, or a Python file")
    p.add_argument("--only", metavar="NAME", nargs="+", action="extend", help="judge these kernels only")
    p.add_argument("--network", action="store_true", help="then run one pruning round with the module")
    p.add_argument("--seed", type=int, default=0, help="draw other numbers (default 0)")
    p.add_argument(
        "--seconds", type=float, default=120.0, help="time limit of a kernel with all its cases (default 120)"
    )


def main(args):
    from mnp.errors import MnpError
    from mnp.verify import conformance, network, reference, sandbox
    from mnp.verify.judge import Verdict

    if args.seed < 0:
        raise MnpError(f"--seed {args.seed}: give a whole number from 0 on")
    only = [name for words in args.only or [] for name in words.replace(",", " ").split()]
    verdicts, waiting = [], ""
    names = [*(only or reference.OUTPUTS), *(["network"] if args.network else []), ""]

    def told(verdict):
        """Print a verdict, and the name of what is judged next: it may take a while."""
        nonlocal waiting
        verdicts.append(verdict)
        print(str(verdict).removeprefix(waiting))
        waiting = f"{names[len(verdicts)]} "
        print(waiting.strip(), end=" " * bool(waiting.strip()), flush=True)

    for verdict in conformance.check(args.module, only, args.seed, args.seconds):
        told(verdict)
    if args.network:
        notes, remark = sandbox.network_notes(args.module, args.seed, args.seconds)
        verdict = network.judge_round(notes, args.seed) if notes else Verdict("network", "failed")
        verdict.lines.append(remark)
        told(verdict)
    print(conformance.summary(verdicts))
    first = next((v for v in verdicts if v.status == "failed" and v.kernel in reference.OUTPUTS), None)
    if first is not None:
        where = f'mnp.verify.cases.generate("{first.kernel}", seed={args.seed})'
        print(f"the inputs of {first.kernel}'s case n, to step through: {where}[n].args")
    if all(v.status == "not implemented" for v in verdicts):
        print(f"{args.module} implements none of the kernels; `mnp stub` writes a module to begin with")
    return 0 if conformance.all_passed(verdicts) else 1
