"""The command line: `mnp COMMAND ...`, or `python -m mnp COMMAND ...`.

A command is a function below a `@command` line, which has its help and its arguments. Heavy imports stand
inside the functions, so that `mnp --help` is instant and no command waits for the imports of another.

Exit status: 0 done, 1 the answer is no (a check that failed), 2 an error in the input, one line on stderr,
130 interrupted, 141 nobody reads our output any more (as in `mnp run digits | head -1`).
"""

import argparse
import io
import os
import shlex
import sys
from functools import partial
from pathlib import Path

import mnp
from mnp.errors import MnpError

COMMANDS = {}  # name -> (function, help, arguments, epilog)


def argument(*names, **options):
    """The arguments of `ArgumentParser.add_argument`, for `command`."""
    return names, options


def whole(minimum):
    """An argument type: a whole number of at least `minimum`."""

    def convert(text):
        if int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text}: give {minimum} or more")
        return int(text)

    convert.__name__ = "whole number"  # argparse names it for a text that is none
    return convert


SEED = argument("--seed", type=whole(0), default=0, help="random seed of the inputs (default 0)")
SET = argument(
    "--set",
    nargs="+",
    action="extend",
    default=[],
    metavar="section.field=value",
    help="override the recipe",
)


def command(name, help, *arguments, epilog=None):
    """Decorator: register a function as a command."""

    def register(function):
        COMMANDS[name] = (function, help, arguments, epilog)
        return function

    return register


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        raise MnpError(f"{message} (see `{self.prog} --help`)")


def main(argv=None):
    """Run one command line; return the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a letter that the console's code page lacks is no error
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        name = argv[0] if argv and argv[0] in COMMANDS else None
        if name is None:
            top_parser().parse_args(argv)  # shows help or version, or raises the error
        status = COMMANDS[name][0](parse(name, argv[1:]))
        if sys.stdout is not None:
            sys.stdout.flush()  # a reader who has gone away is noticed here, not after the exit status
        return status or 0
    except MnpError as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:
        discard(sys.stdout, sys.stderr)
        return 141
    except OSError as error:  # no permission, a name that is too long, a full disk
        return fail(f"{error.filename or 'system'}: {error.strerror or error}")
    except MemoryError as error:
        return fail(f"not enough memory ({error}); make the model or the batch smaller")


def fail(message, status=2):
    for stream, text in ((sys.stderr, f"mnp: {message}\n"), (sys.stdout, "")):
        try:
            if stream is not None:
                stream.write(text)
                stream.flush()
        except OSError:  # a full disk
            discard(stream)
    return status


def discard(*streams):
    """Send what is left to the null device: Python flushes once more at its end, and must not fail again."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def top_parser():
    """The parser that shows all commands, and rejects what is none of them."""
    parser = Parser(prog="mnp", description="Maxout neuron pruning: NumPy, Numba kernels, manual backprop.")
    parser.add_argument("--version", action="version", version=f"mnp {mnp.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text, _, _) in COMMANDS.items():
        subparsers.add_parser(name, help=text, add_help=False)
    return parser


def parse(name, argv):
    """Parse the arguments of a command, options and operands in any order."""
    _, text, arguments, epilog = COMMANDS[name]
    parser = Parser(prog=f"mnp {name}", description=f"{text[0].upper()}{text[1:]}.", epilog=epilog)
    for names, options in arguments:
        parser.add_argument(*names, **options)
    return parser.parse_intermixed_args(argv, argparse.Namespace(words=argv))


def operand_from(args, name, option, belongs):
    """Take an operand from an option of several words, to which argparse has given it.

    In `mnp check --only relu_forward mine.py` both words are taken for --only; `belongs` tells them apart.
    """
    words = getattr(args, option) or []
    if getattr(args, name) is None:
        strays = [word for word in words if not belongs(word)]
        if strays:
            setattr(args, name, strays[-1])
            words.remove(strays[-1])


# --- data -----------------------------------------------------------------------------------------------


@command(
    "fetch",
    "download MNIST, a set like it, or LFW, or copy the files from a folder",
    argument(
        "name", choices=("mnist", "fashion-mnist", "kmnist", "emnist-letters", "lfw"), help="the data set"
    ),
    argument("--to", type=Path, metavar="DIR", help="where the files are put (default: the cache)"),
    argument(
        "--from",
        type=Path,
        metavar="DIR",
        dest="source",
        help="copy the files from DIR instead of downloading them",
    ),
    argument(
        "--variant", choices=("deepfunneled", "funneled", "original"), default="deepfunneled", help="of LFW"
    ),
    argument("--quiet", action="store_true", help="no progress bars"),
)
def fetch(args):
    from mnp.data.fetch import fetch

    fetch(args.name, args.to, source=args.source, variant=args.variant, progress=not args.quiet)


# --- recipes and runs -----------------------------------------------------------------------------------


@command("list", "show the recipes that `mnp run` knows")
def list_recipes(args):
    from mnp.experiments.recipes import plan_rounds
    from mnp.experiments.registry import EXPERIMENTS

    width = max(map(len, EXPERIMENTS))
    for e in EXPERIMENTS.values():
        plan = plan_rounds(e)
        epochs = sum(round.epochs for round in plan)
        print(f"{e.name:{width}}  {e.about}")
        print(f"{'':{width}}  {len(plan)} round{'s' * (len(plan) > 1)}, {epochs} epochs, data: {e.data.name}")


@command(
    "run",
    "train, rank, prune, retrain: run an experiment; leave its table, figures and networks",
    argument("recipe", nargs="?", metavar="RECIPE", help="a name from `mnp list`, or a recipe file (.toml)"),
    argument("--out", metavar="DIR", help="folder of the run (default: runs/<name>-<hash of the recipe>)"),
    argument(
        "--data",
        metavar="PATH",
        help="the recipe's data, or your own: an .npz file, a folder of four idx files, or a folder with "
        "one subfolder of images per class (default: $MNP_DATA, then the cache)",
    ),
    argument("--seed", type=whole(0), metavar="S", help="the (first) seed (default: the recipe's, 0)"),
    argument("--seeds", type=whole(1), metavar="N", help="run N seeds, S to S + N - 1, and aggregate them"),
    argument(
        "--jobs",
        type=whole(1),
        default=1,
        metavar="J",
        help="number of seeds or folds to run in parallel; the results are the same",
    ),
    argument(
        "--backend",
        "--kernels",
        choices=("textbook", "jitted", "tiled"),
        help="default: the fastest available",
    ),
    argument(
        "--threads",
        type=whole(1),
        metavar="T",
        help="number of Numba threads; does not change results (default: all processors)",
    ),
    SET,
    argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="copy the rounds that another run's recipe shares with this one, instead of repeating them",
    ),
    argument("--resume", action="store_true", help="resume the run in --out"),
    argument(
        "--results",
        metavar="DIR",
        help="also write DIR/<recipe>.json: rows of all seeds, and their aggregate",
    ),
    argument("--no-figures", action="store_true", help="draw no figures"),
    epilog="An existing run of the same recipe is resumed: finished rounds are not repeated, an interrupted "
    "one resumes after its last complete epoch, and the results are bit-identical. `--resume --out DIR` "
    "needs no RECIPE: it takes the one in the folder.",
)
def run(args):
    operand_from(args, "recipe", "set", lambda word: "=" in word)
    limit_threads(args.threads)
    from mnp.runs import run as run_recipe

    recipe, seeds = args.recipe, args.seeds
    if recipe is None:
        recipe, seeds = experiment_in(args)
    try:
        run_recipe(
            recipe,
            args.out,
            data=args.data,
            seed=args.seed,
            seeds=seeds,
            changes=args.set,
            jobs=args.jobs,
            backend=args.backend,
            source=args.source,
            results=args.results,
            figures=not args.no_figures,
            log=partial(print, flush=True),
        )
    except KeyboardInterrupt:
        return fail(f"interrupted; the same command resumes it: mnp run {shlex.join(args.words)}", 130)


def limit_threads(count):
    """Set the threads of Numba's kernels, and one for BLAS, before numpy and numba are imported."""
    if count is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(count)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")


def experiment_in(args):
    """The experiment and the list of seeds (None: a single run) of a folder that is resumed."""
    from mnp.experiments.registry import read_experiment
    from mnp.experiments.seeds import read_seeds

    if not args.resume or args.out is None:
        raise MnpError("name a RECIPE (`mnp list` shows them), or resume a run: --resume --out DIR")
    if args.seed is not None or args.seeds is not None or args.set:
        raise MnpError("--seed, --seeds and --set need a RECIPE; --resume reads them from --out")
    return read_experiment(args.out), read_seeds(args.out)


@command(
    "recipe",
    "print a recipe as a TOML file to start from: mnp recipe digits > mine.toml, then mnp run mine.toml",
    argument("recipe", metavar="RECIPE", help="a name from `mnp list`, or a recipe file"),
    SET,
)
def recipe(args):
    from mnp.experiments.config import override, to_toml
    from mnp.experiments.registry import get_experiment

    operand_from(args, "recipe", "set", lambda word: "=" in word)
    print(to_toml(override(get_experiment(args.recipe), *args.set)), end="")


@command(
    "figures",
    "draw the figures of a finished run into its folder, without training again",
    argument("folder", metavar="RUNDIR", help="the folder that `mnp run` wrote"),
)
def figures(args):
    from mnp.runs import draw_figures

    draw_figures(args.folder, lambda line: print(line.removeprefix("figure: ").removeprefix("report: ")))


@command(
    "report",
    "write an HTML report on a finished run, or on several side by side",
    argument("folders", metavar="RUNDIR", nargs="+", help="folders that `mnp run` wrote"),
    argument(
        "--out",
        metavar="FILE",
        help="default: report.html in RUNDIR; for several runs, in the working directory",
    ),
)
def report(args):
    from mnp.runs import REPORT, write_report

    default = REPORT if len(args.folders) > 1 else Path(args.folders[0], REPORT)
    write_report(args.folders, Path(args.out or default))


# --- sizes of the full network ------------------------------------------------------------------------


@command(
    "sizes",
    "show the parameters and multiply-adds of each layer of a network; without FILE, those of full-size "
    "VGG16 before and after neuron pruning",
    argument("file", nargs="?", metavar="FILE", help="checkpoint of a run"),
    argument("--results", metavar="DIR", help="also write DIR/vgg16-sizes.json"),
)
def sizes(args):
    from mnp.experiments.sizes import format_sizes, vgg16_sizes
    from mnp.files import atomic_write, make_folder, to_json
    from mnp.pruning.sizes import FORMULAS

    if args.file:
        return print_sizes(args.file)
    rows = vgg16_sizes()
    print(format_sizes(rows))
    if args.results:
        make_folder(args.results)
        path = f"{args.results}/vgg16-sizes.json"
        formulas = {name: FORMULAS[name] for name in ("params", "macs", "reduction", "compression")}
        repeat = "mnp sizes" if os.path.isabs(args.results) else f"mnp sizes --results {args.results}"
        atomic_write(path, to_json({"command": repeat, "formulas": formulas, "image": 224, "rows": rows}))
        print(f"results: {path}")


def print_sizes(file):
    """Print the sizes of the network in a checkpoint, with and without the units that nothing reads."""
    from mnp.checkpoint import load_checkpoint
    from mnp.nn.checkpoint import network_from
    from mnp.pruning.shrink import remove_dead_units
    from mnp.pruning.sizes import count_sizes

    arrays, meta = load_checkpoint(file)
    shape = (meta.get("data") or {}).get("image_shape")
    if shape is None:
        raise MnpError(f"{file}: does not say the shape of an image; mnp.count_sizes takes it in Python")
    net = network_from(arrays, meta, "textbook")
    print(count_sizes(net, shape).table())
    small = remove_dead_units(net)
    if small.count_params() < net.count_params():
        print(f"\nwithout the units and filters that no weight reads:\n{count_sizes(small, shape).table()}")


# --- speed, and other implementations ---------------------------------------------------------------------


@command(
    "bench",
    "measure the speed of training, ranking and inference, beside other frameworks on the same machine",
    argument(
        "--compare",
        "--against",  # its name in mnp 0.1
        default="",
        metavar="LIST",
        help="frameworks: torch,onnxruntime,openvino,jax,tinygrad (default: none)",
    ),
    argument("--json", metavar="FILE", help="also write the rows to FILE"),
    argument("--figure", metavar="FILE", help="also draw them to FILE, as PNG"),
    argument("--only", default="", metavar="WORD", help="only case groups whose name contains WORD"),
    argument("--quick", action="store_true", help="skip the two long groups: round and compiled"),
    argument(
        "--roofline",
        action="store_true",
        help="instead: this machine's peak and bandwidth, and how close each kernel comes to them",
    ),
)
def bench(args):
    from mnp.files import atomic_write, to_json
    from mnp.kernels import get_backend

    get_backend("tiled")  # where Numba is missing, this says so
    from mnp.bench.report import bench, format_roofline, format_rows, roofline

    if args.roofline:
        report = roofline()
        print(format_roofline(report))
    else:
        report = bench(tuple(name for name in args.compare.split(",") if name), args.only, args.quick)
        print(format_rows(report["rows"]))
    if args.json:
        atomic_write(args.json, to_json(report))
        print(f"results: {args.json}")
    if args.figure:
        from mnp.plotting.bench import plot_benchmark, plot_roofline
        from mnp.plotting.style import save_png

        plot = plot_roofline if args.roofline else plot_benchmark
        print(f"figure: {save_png(plot(report), args.figure)}")


@command(
    "check",
    "test a module of kernels, complete or in part, against the textbook; exit status 0 only if all pass",
    argument("module", nargs="?", metavar="MODULE_OR_FILE", help="a dotted name, or a Python file"),
    argument(
        "--command",
        metavar="WORDS",
        help='in place of a module: a program in any language, such as "node mine.js"; '
        "`mnp stub --language` writes a template",
    ),
    argument(
        "--model",
        metavar="FILE:FUNCTION",
        help="in place of a module: a function that returns a whole network in PyTorch or JAX, and optional "
        "functions in the same file; see python -c 'help(\"mnp.verify.models\")'",
    ),
    argument(
        "--golden",
        metavar="DIR",
        help="golden vectors of the network in --model, from `mnp vectors --checkpoint` "
        "(default: a small maxout LeNet)",
    ),
    argument("--only", metavar="NAME", nargs="+", action="extend", help="test these kernels only"),
    argument("--network", action="store_true", help="also run one pruning round with the module"),
    SEED,
    argument(
        "--seconds", type=float, default=120.0, help="time limit of a kernel with all its cases (default 120)"
    ),
)
def check(args):
    from mnp.verify import candidate, program, reference
    from mnp.verify.conformance import report

    if args.command is None and args.model is None:
        operand_from(args, "module", "only", lambda word: set(word.split(",")) <= set(reference.OUTPUTS))
    given = [
        prefix + where
        for prefix, where in (
            ("", args.module),
            (program.PREFIX, args.command),
            (candidate.MODEL, args.model),
        )
        if where is not None
    ]
    if len(given) != 1 or (args.model and (args.only or args.network)) or (args.golden and not args.model):
        raise MnpError(
            "give one of MODULE_OR_FILE, --command, --model; --only and --network exclude --model, --golden "
            "requires it (see `mnp check --help`)"
        )
    only = [name for words in args.only or [] for name in words.replace(",", " ").split()]
    return 0 if report(given[0], only, args.network, args.seed, args.seconds, args.golden) else 1


@command(
    "stub",
    "write the kernel interface as a module to fill in: signatures and docstrings",
    argument("names", metavar="NAME", nargs="*", help="kernels (default: all but the fused ones)"),
    argument("--out", metavar="FILE", help="write to a new file instead of the screen"),
    argument(
        "--language",
        choices=("python", "c", "javascript", "rust"),
        default="python",
        help="of the file (default: python); a program is checked by `mnp check --command`",
    ),
    argument("--example", action="store_true", help="implement five or more of the kernels (not for Python)"),
)
def stub(args):
    from mnp.files import cannot_write
    from mnp.verify.stub import program_source, stub_source

    if args.language == "python":
        if args.example:
            raise MnpError(
                "--example needs --language c, javascript or rust; for Python see mnp.kernels.textbook"
            )
        source = stub_source(args.names, Path(args.out or "my_kernels.py").name)
    elif args.names:
        raise MnpError(f"{args.names[0]}: NAME works with --language python only; leave it out")
    else:
        source = program_source(args.language, args.example)
    if args.out is None:
        print(source, end="")
        return
    try:
        with Path(args.out).open("x", encoding="utf-8") as file:  # never over somebody's work
            file.write(source)
    except FileExistsError:
        raise MnpError(f"{args.out} already exists: choose another --out") from None
    except OSError as error:
        raise cannot_write(args.out, error) from None
    how = (
        f"`mnp check {args.out}` tests it"
        if args.language == "python"
        else "its first lines say how to check it"
    )
    print(f"wrote {args.out}; {how}")


@command(
    "vectors",
    "write golden vectors for other languages: the textbook's answers as .npz and .safetensors",
    argument("--out", metavar="DIR", required=True, help="a new or empty folder"),
    SEED,
    argument(
        "--checkpoint",
        metavar="FILE",
        help="checkpoint of the network to train and prune (default: a small maxout LeNet)",
    ),
    argument("--data", metavar="NAME", default="digits", help="data set of the images (default: digits)"),
)
def vectors(args):
    from mnp.nn.checkpoint import load_network
    from mnp.verify.golden import write_vectors

    net = args.checkpoint and load_network(args.checkpoint)
    written = write_vectors(args.out, args.seed, net, args.data)
    size = sum(path.stat().st_size for path in written)
    print(f"wrote {len(written)} files, {size:,} bytes, into {args.out}; begin with manifest.json")


@command(
    "export",
    "write the network of a checkpoint as ONNX, safetensors or PyTorch",
    argument("checkpoint", metavar="CHECKPOINT", help="an .npz of a run's checkpoints folder"),
    argument("--to", required=True, choices=("onnx", "safetensors", "torch", "checkpoint")),
    argument("--out", metavar="FILE", required=True),
    argument(
        "--state",
        metavar="FILE",
        help="a .safetensors, .pt or .pth file with other weights for the same architecture",
    ),
)
def export(args):
    from mnp.nn.checkpoint import load_network
    from mnp.verify.export import export, from_state_dict, read_state

    net = load_network(args.checkpoint)
    if args.state is not None:
        net = from_state_dict(read_state(args.state), net)
    export(net, args.to, args.out)
    size, zeros = Path(args.out).stat().st_size, sum(int((a == 0).sum()) for a in net.params().values())
    print(f"wrote {args.out}: {net.count_params():,} parameters, {zeros:,} of them zero, {size:,} bytes")


@command(
    "course",
    "write a course folder: notebooks, files to complete, checks",
    argument("--out", metavar="DIR", required=True, help="a new or empty folder"),
)
def course(args):
    import importlib

    assignments = Path(__file__).resolve().parents[1] / "notebooks" / "assignments"
    if not (assignments / "make.py").is_file():
        raise MnpError(
            "the course is not part of the installed package: clone the project's repository and run"
            f" `python notebooks/assignments/make.py student --out {args.out}` there"
        )
    sys.path.insert(0, str(assignments))  # its files import each other by name
    try:
        importlib.import_module("make").student(args.out)
    except FileExistsError as error:
        raise MnpError(str(error)) from None
    except ModuleNotFoundError as error:
        raise MnpError(f"{error.name} is missing: python -m pip install pytest") from None
    finally:
        sys.path.remove(str(assignments))
    print(f"wrote {args.out}; read {Path(args.out, 'README.md')}, then: jupyter lab {args.out}")
