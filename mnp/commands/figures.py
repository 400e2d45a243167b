"""`mnp figures`: draw the figures of a run again."""


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "figures",
        help="draw the figures of a run again",
        description="Draw the figures of a finished run into its folder; nothing is computed anew.",
    )
    parser.add_argument("folder", metavar="RUNDIR", help="the folder that `mnp run` wrote")


def main(args):
    from mnp.figures import draw_run
    from mnp.figures_faces import draw_roc

    for path in [*draw_run(args.folder), *draw_roc(args.folder)]:
        print(path)
