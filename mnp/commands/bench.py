"""`mnp bench`: the kernels' speed, side by side with other frameworks."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "bench",
        help="measure the kernels' speed, beside other frameworks",
        description="Time training, ranking and inference, interleaved with other frameworks on the same "
        "machine. Best times of several rounds; ratios are the peer's time over ours.",
    )
    p.add_argument("--against", default="", metavar="LIST", help="peers: torch,onnxruntime (default: none)")
    p.add_argument("--json", metavar="FILE", help="also write the rows there")
    p.add_argument("--figure", metavar="FILE", help="also draw them there, as PNG")
    p.add_argument("--only", default="", metavar="WORD", help="only case groups whose name holds this word")
    p.add_argument("--quick", action="store_true", help="leave the two long groups out: stage and compiled")


def main(args):
    from mnp.bench.report import bench, to_table
    from mnp.files import atomic_write, to_json

    against = tuple(name for name in args.against.split(",") if name)
    report = bench(against, args.only, args.quick)
    print(to_table(report["rows"]))
    if args.json:
        atomic_write(args.json, to_json(report))
        print(f"results: {args.json}")
    if args.figure:
        from mnp.figures_bench import draw_bench

        print(f"figure: {draw_bench(report, args.figure)}")
