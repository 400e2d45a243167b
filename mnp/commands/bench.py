"""`mnp bench`: the kernels' speed, side by side with other frameworks."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "bench",
        help="measure the kernels' speed, beside other frameworks",
        description="Time training, ranking and inference, interleaved with other frameworks on the same "
        "machine. Best times of several rounds; ratios are the baseline's time over ours.",
    )
    names = ("--compare", "--against")  # the second is the name in older result files
    p.add_argument(*names, dest="compare", default="", metavar="LIST", help="baselines: torch,onnxruntime")
    p.add_argument("--json", metavar="FILE", help="also write the results there")
    p.add_argument("--figure", metavar="FILE", help="also draw them there, as PNG")
    p.add_argument("--only", default="", metavar="WORD", help="only groups whose name contains WORD")
    p.add_argument("--quick", action="store_true", help="leave out the two long groups: stage and compiled")


def main(args):
    from mnp.bench.report import bench, format_rows
    from mnp.files import atomic_write, to_json

    compare = tuple(name for name in args.compare.split(",") if name)
    report = bench(compare, args.only, args.quick)
    print(format_rows(report["rows"]))
    if args.json:
        atomic_write(args.json, to_json(report))
        print(f"results: {args.json}")
    if args.figure:
        from mnp.plotting.bench import plot_benchmark
        from mnp.plotting.style import save_png

        print(f"figure: {save_png(plot_benchmark(report), args.figure)}")
