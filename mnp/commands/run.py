"""`mnp run`: carry out a recipe."""

import os
import shlex
import sys

from mnp.errors import MnpError

EPILOG = """\
A folder that holds the same recipe is gone on with: steps that are finished are not repeated, and an
interrupted one continues after its last whole epoch, with the same bits in the end. `--resume` alone,
with --out, needs no RECIPE: it takes the one in the folder.
"""


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "run",
        help="carry out a recipe",
        description="Train, rank, prune, retrain: carry out a recipe and leave table, figures and networks.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("recipe", nargs="?", metavar="RECIPE", help="a name from `mnp list`")
    add("--out", metavar="DIR", help="the run's folder (default: runs/<name>-<hash of the recipe>)")
    add("--data", metavar="DIR", help="where the data are (default: $MNP_DATA, then the cache)")
    add("--seed", type=int, metavar="S", help="the (first) seed (default: the recipe's, 0)")
    add("--seeds", type=int, metavar="N", help="run N seeds, S to S + N - 1, and aggregate them")
    add(
        "--jobs",
        type=int,
        default=1,
        metavar="J",
        help="seeds or folds at the same time, in processes; same results",
    )
    add(
        "--backend",
        "--kernels",
        choices=("textbook", "jitted", "tiled"),
        help="default: the fastest that fits",
    )
    add(
        "--threads",
        type=int,
        metavar="T",
        help="of Numba's kernels; changes no bit (default: all processors)",
    )
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="section.field=value",
        help="override the recipe",
    )
    add(
        "--from",
        dest="source",
        metavar="DIR",
        help="take over the steps that another run's recipe shares with this one, instead of repeating them",
    )
    add("--resume", action="store_true", help="go on with the run in --out")
    add(
        "--results",
        metavar="DIR",
        help="also write DIR/<recipe>.json: rows of all seeds, and their aggregate",
    )
    add("--no-figures", action="store_true", help="leave the figures out")


def main(args):
    from mnp.experiments.typed import override

    for name in ("seeds", "jobs", "threads"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise MnpError(f"--{name} is {getattr(args, name)}: give 1 or more")
    choose_threads(args.threads)
    experiment, out, seeds = what_and_where(args)
    if args.set:
        experiment = override(experiment, *args.set)
    if out is None:
        from mnp.experiments.run import default_folder
        from mnp.experiments.seeds import default_seeds_folder

        out = str(default_seeds_folder(experiment) if seeds else default_folder(experiment))
    try:
        if seeds:
            run_several(args, experiment, seeds, out)
        else:
            run_one(args, experiment, out)
    except KeyboardInterrupt:
        print(f"\nmnp: interrupted; go on with: {shlex.join(go_on(args, out))}", file=sys.stderr)
        return 130
    return 0


def choose_threads(count):
    """Before numpy and numba are imported: our threads, and one for BLAS, which fights them."""
    if count is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(count)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")


def what_and_where(args):
    """The experiment, the folder (None: by default) and the list of seeds (None: a single run)."""
    from dataclasses import replace

    from mnp.experiments.catalogue import named

    if args.recipe is not None:
        experiment = named(args.recipe)
        if args.seed is not None:
            experiment = replace(experiment, seed=args.seed)
        return experiment, args.out, args.seeds and list(range(experiment.seed, experiment.seed + args.seeds))
    if not args.resume or args.out is None:
        raise MnpError("name a RECIPE (`mnp list` shows them), or go on with a run: --resume --out DIR")
    if args.seed is not None or args.seeds is not None or args.set:
        raise MnpError("--seed, --seeds and --set belong to a RECIPE; --resume takes all that from --out")
    from mnp.experiments.catalogue import read_experiment
    from mnp.experiments.seeds import read_seeds

    return read_experiment(args.out), args.out, read_seeds(args.out)


def log(line):
    print(line, flush=True)


def run_one(args, experiment, out):
    from mnp.experiments.rows import to_table
    from mnp.experiments.run import run

    log(f"{experiment.name}, seed {experiment.seed}, into {out}")
    how = {"data_folder": args.data, "backend": args.backend, "source": args.source, "jobs": args.jobs}
    rows = run(experiment, out, log=log, **how)
    log("\n" + to_table(rows))
    if args.results:
        from mnp.experiments.seeds import results_of

        rows = {experiment.seed: rows}
        write_results(args, results_of(rows, experiment, out, command_of(args, experiment)), out)
    draw(args, out)


def run_several(args, experiment, seeds, out):
    from mnp.experiments.rows import to_table_of_seeds
    from mnp.experiments.seeds import run_seeds, summary_line

    log(f"{experiment.name}, seeds {seeds[0]} to {seeds[-1]}, into {out}")
    results = run_seeds(
        experiment,
        seeds,
        out,
        jobs=args.jobs,
        command=command_of(args, experiment, seeds),
        data_folder=args.data,
        backend=args.backend,
        log=log,
        source=args.source,
    )
    log("\n" + to_table_of_seeds(results["aggregate"]))
    log(summary_line(results))
    write_results(args, results)
    draw(args, out)


def go_on(args, out):
    """The words that go on with a run: all that the recipe in its folder does not say."""
    words = ["mnp", "run", "--resume", "--out", out]
    for flag in ("data", "backend", "results", "threads"):
        value = getattr(args, flag)
        words += [f"--{flag}", str(value)] if value is not None else []
    words += ["--from", args.source] if args.source else []
    words += ["--jobs", str(args.jobs)] if args.jobs > 1 else []
    return [*words, *(["--no-figures"] if args.no_figures else [])]


def command_of(args, experiment, seeds=None):
    """The command that repeats a result: what decides the bits, and no path of this machine."""
    words = ["mnp", "run", experiment.name]
    words += ["--seed", str(experiment.seed)] if experiment.seed else []
    words += ["--seeds", str(len(seeds))] if seeds else []
    words += ["--backend", args.backend] if args.backend else []
    changed = args.set or changes(experiment)
    words += ["--set", *changed] if changed else []
    if args.results and not os.path.isabs(args.results):
        words += ["--results", args.results]
    return shlex.join(words)


def changes(experiment):
    """What --set must say to make this experiment of the named one: for a run that is gone on with."""
    from mnp.experiments.catalogue import ALL
    from mnp.experiments.typed import differences

    return differences(experiment, ALL[experiment.name]) if experiment.name in ALL else []


def write_results(args, results, out=None):
    """DIR/<recipe>.json, and beside it what a run on faces (in the folder `out`) said of its pairs."""
    if not args.results:
        return
    from mnp.experiments.folder import PAIRS
    from mnp.files import atomic_write, make_folder, to_json

    make_folder(args.results)
    path = os.path.join(args.results, results["recipe"]["name"])
    atomic_write(f"{path}.json", to_json(results))
    log(f"results: {path}.json")
    if out is not None and os.path.exists(os.path.join(out, PAIRS)):
        with open(os.path.join(out, PAIRS), "rb") as file:
            atomic_write(f"{path}-{PAIRS}", file.read())
        log(f"results: {path}-{PAIRS}")


def draw(args, out):
    if not args.no_figures:
        from mnp.plotting.runs import save_run_figures

        for path in save_run_figures(out):
            log(f"figure: {path}")
