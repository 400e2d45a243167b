"""The command line: `mnp COMMAND ...`, or `python -m mnp COMMAND ...`.

A command is a module with two functions:

    add_parser(subparsers)   adds its argparse parser (cheap: nothing heavy is imported yet)
    main(args)               does the work; returns the exit status, or None for 0

and a line in COMMANDS. Exit status: 0 done, 1 the answer is no (a check that failed), 2 a mistake in the
input, told in one line, 130 interrupted.
"""

import os
import sys

from mnp.process import import_path

sys.path[:] = import_path()  # before any other import: a random.py in the working folder hides nothing

import argparse  # noqa: E402
import importlib  # noqa: E402
import importlib.util  # noqa: E402

import mnp  # noqa: E402
from mnp.errors import MnpError  # noqa: E402

COMMANDS = {
    "list": ("mnp.commands.list", "show the recipes"),
    "fetch": ("mnp.commands.fetch", "download MNIST, Fashion-MNIST or LFW"),
    "run": ("mnp.commands.run", "train, rank, prune, retrain: carry out a recipe"),
    "figures": ("mnp.commands.figures", "draw the figures of a run again"),
    "sizes": ("mnp.commands.sizes", "count the full-size VGG16 before and after neuron pruning"),
    "bench": ("mnp.commands.bench", "measure the kernels' speed, beside other frameworks"),
    "check": ("mnp.commands.check", "test a kernel module against the reference"),
    "stub": ("mnp.commands.stub", "write the kernel interface as a module to fill in"),
    "vectors": ("mnp.commands.vectors", "write golden vectors for other languages"),
    "course": ("mnp.commands.course", "write the course's folder to work in"),
    "export": ("mnp.commands.export", "a checkpoint as ONNX, safetensors or PyTorch"),
}


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line."""

    def error(self, message):
        raise MnpError(f"{message} (`{self.prog} --help` says more)")


def parser_for(command=None):
    """The parser of one command, or of all without their options, which `mnp --help` shows."""
    parser = Parser(
        prog="mnp", description="Maxout neuron pruning by hand: NumPy arrays, Numba kernels, manual backprop."
    )
    parser.add_argument("--version", action="version", version=f"mnp {mnp.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, help_text) in COMMANDS.items():
        if name == command:
            importlib.import_module(module).add_parser(subparsers)
        elif importlib.util.find_spec(module):
            subparsers.add_parser(name, help=help_text, add_help=False)
    return parser


def main(argv=None):
    """Run one command line; the exit status comes back."""
    argv = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in argv if not word.startswith("-")), None)
    command = command if command in COMMANDS and importlib.util.find_spec(COMMANDS[command][0]) else None
    try:
        args = parser_for(command).parse_args(argv)
        return importlib.import_module(COMMANDS[command][0]).main(args) or 0
    except MnpError as error:
        print(f"mnp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mnp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a path that the system refuses: no right to look at it, a name too long
        print(f"mnp: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"mnp: not enough memory ({error}); make the model or the batch smaller", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
