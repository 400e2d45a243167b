"""`mnp figures`: draw the figures of a run again."""


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "figures",
        help="draw the figures of a run again",
        description="Draw the figures of a finished run into its folder; nothing is computed anew.",
    )
    parser.add_argument("folder", metavar="RUNDIR", help="the folder that `mnp run` wrote")


def main(args):
    from mnp.plotting.runs import save_run_figures

    for path in save_run_figures(args.folder):
        print(path)
