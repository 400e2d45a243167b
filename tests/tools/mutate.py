"""Mutation testing: change one thing in the package at a time, and see whether a test fails.

    python tests/tools/mutate.py --json FILE                     # hours; begun again, it goes on where it was
    python tests/tools/mutate.py --sample 20 mnp/data/tar.py     # some mutants of some files

The changes are cosmic-ray's (`pip install '.[dev]'`): another number, operator, comparison, True for False,
break for continue, a loop that never runs, an exception that is not caught. All places of a file where it
could change something are listed; a seeded generator picks places, and one change for each. Left out: taking
away decorators (here they compile, and change no result) and type annotations.

Every mutant is tested in a fork of a process that has imported everything but the package, with
NUMBA_DISABLE_JIT=1, so that loops are plain Python (register tiles, too: `plain_tiles.py`): no file is
changed, and a mutant costs little more than its tests. Only `registers.py` and `parallel.py`, which write
machine code, are judged with the compiler on. A mutant is killed if a test fails or does not end in time;
the time is the processor's, so that a busy machine kills nothing. Survivors are printed with their diff;
the reasons why are in `notebooks/results/mutation.json`, under the mutant's name.
"""

import argparse
import ast
import difflib
import hashlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEED, SAMPLE = 8, 420
LONGEST = 60.0  # seconds of CPU time more than the tests take without a change
WAITED = 20  # times as long by the clock: a test that sleeps
MEMORY = 6 << 30
LEFT_OUT = ("RemoveDecorator",)

KERNELS = "test_kernels_textbook test_kernels_shapes test_kernels_jitted"
PRUNING = (
    "test_neurons test_relevance test_weights test_sizes test_sparse test_sparse_file test_surgery "
    "test_shrink test_pruning_properties test_gradual"
)
# which tests judge which files: the first prefix that fits
TESTS = {
    "mnp/kernels/textbook/": "test_kernels_textbook test_kernels_shapes",
    "mnp/kernels/jitted/": "test_kernels_jitted test_kernels_shapes",
    "mnp/kernels/tiled/parallel.py": "test_tiled",
    "mnp/kernels/tiled/": "test_tiles_in_python",
    "mnp/kernels/registers.py": "test_registers",
    "mnp/sparse/": "test_sparse test_sparse_file test_tiles_in_python",
    "mnp/kernels/": KERNELS,
    "mnp/pruning/": PRUNING,
    "mnp/data/idx.py": "test_data_mnist",
    "mnp/data/": "test_data_lfw",
    "mnp/experiments/typed.py": "test_recipes",
    "mnp/experiments/": "test_checkpoint",
    "mnp/verify/safetensors_file.py": "test_golden",
}
# judged with the compiler on
MACHINE_CODE = ("mnp/kernels/registers.py", "mnp/kernels/tiled/parallel.py")
# the tests that a mutant most likely fails, by the file's name: they come first, all others after them
FIRST = {
    "batchnorm": "batchnorm",
    "pooling": "pool",
    "products": "conv or dense",
    "loops": "conv or dense or product or bands",
    "units": "maxout or relu or dropout or win_counts",
    "dense": "dense or maxout or relu or dropout or win_counts",
    "windows": "conv or pool",
    "learning": "softmax or sgd",
}
FILES = [
    *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "mnp/kernels").rglob("*.py")),
    *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "mnp/pruning").rglob("*.py")),
    *(f"mnp/data/{name}.py" for name in ("idx", "tar", "lfw_archive", "lfw_protocol")),
    *(f"mnp/experiments/{name}.py" for name in ("checkpoint", "typed")),
    "mnp/verify/safetensors_file.py",
]
# Tests that start other processes see the files on the disk, not the mutant; some need the compiler.
SKIPPED = "not process and not threads and not plain_python and not cache_can and not liar and not notices"


def places(path):
    """Every place of a file that can be mutated: (line, column, kind) -> [(operator, occurrence)]."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (ROOT / path).read_text(encoding="utf-8")
    tree, found = get_ast(source), {}
    notes = annotations(source)
    for name in operator_names():
        short = name.partition("/")[2]
        if short.startswith(LEFT_OUT):
            continue
        try:
            operator = get_operator(name)()
        except TypeError:  # one that wants arguments
            continue
        positions = (p for node in ast_nodes(tree) for p in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if start[0] not in notes:
                found.setdefault((start, end, short.split("_")[0]), []).append((name, occurrence))
    return found


def annotations(source):
    """Lines that hold nothing but a signature's annotations are few; those of `X | Y` would all survive."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        notes = [a.annotation for a in ast.walk(node) if isinstance(a, ast.arg) and a.annotation]
        notes += [node.returns] if isinstance(node, ast.FunctionDef) and node.returns else []
        notes += [node.annotation] if isinstance(node, ast.AnnAssign) else []
        for note in notes if isinstance(node, ast.FunctionDef | ast.AnnAssign) else []:
            lines.update(range(note.lineno, note.end_lineno + 1))
    return lines


def mutants(files, sample, seed):
    """A sample of all places, each with one of its changes: [(name, path, operator, occurrence)]."""
    every = [(path, place, changes) for path in files for place, changes in sorted(places(path).items())]
    rng = random.Random(seed)
    chosen = rng.sample(range(len(every)), min(sample, len(every)))  # in any order: a part is a sample too
    made = []
    for i in chosen:
        path, (start, _, _), changes = every[i]
        operator, occurrence = rng.choice(changes)
        made.append(
            (f"{path}:{start[0]}:{start[1]} {operator.partition('/')[2]}", path, operator, occurrence)
        )
    return made, len(every)


def mutated(path, operator, occurrence):
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / path).read_text(encoding="utf-8")
    return source, mutate_code(source, get_operator(operator)(), occurrence)


class OneModule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module of the package from a text instead of its file."""

    def __init__(self, path, text):
        name = ".".join(Path(path).with_suffix("").parts)
        self.name, self.path, self.text = name.removesuffix(".__init__"), ROOT / path, text

    def find_spec(self, name, path, target=None):
        if name != self.name:
            return None
        package = self.path.name == "__init__.py"
        spec = importlib.util.spec_from_loader(name, self, origin=str(self.path), is_package=package)
        if package:
            spec.submodule_search_locations = [str(self.path.parent)]
        spec.has_location = True
        return spec

    def exec_module(self, module):
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def tests_of(path):
    names = next(names for prefix, names in TESTS.items() if path.startswith(prefix)).split()
    return [str(ROOT / "tests" / f"{name}.py") for name in names if (ROOT / "tests" / f"{name}.py").exists()]


def judge(path, text, limit):
    """Run the tests of a file with the file replaced: (verdict, seconds)."""
    verdict, seconds, first = "survived", 0.0, FIRST.get(Path(path).stem)
    if text is not None and first:
        verdict, seconds = judge_by(path, text, limit, f"({first}) and {SKIPPED}")
    if verdict == "survived":
        wanted = "not process" if path in MACHINE_CODE else SKIPPED
        verdict, more = judge_by(path, text, limit, wanted)
        seconds += more
    return verdict, seconds


def judge_by(path, text, limit, wanted):
    """Run some of the tests in a fork, for at most so many seconds of CPU time."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        silent = os.open(os.devnull, os.O_RDWR)
        if not os.environ.get("MUTATE_LOUD"):
            for stream in (1, 2):
                os.dup2(silent, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 1))
        if path in MACHINE_CODE:
            config = sys.modules["numba"].config
            os.environ["NUMBA_DISABLE_JIT"], config.DISABLE_JIT = "0", 0
            # Code that is kept was compiled from the files, not from the mutant.
            os.environ["NUMBA_CACHE_DIR"] = config.CACHE_DIR = tempfile.mkdtemp()
        if text is not None:
            sys.meta_path.insert(0, OneModule(path, text))
        import pytest

        words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:timeout", "-k", wanted, "--no-header"]
        if "tile" in path and path not in MACHINE_CODE:
            words += ["-p", "plain_tiles"]
        status = 3
        try:
            status = int(pytest.main([*words, "-o", "addopts=", "-o", "timeout=0", *tests_of(path)]))
        finally:
            os._exit(status)
    code = None
    while code is None and time.perf_counter() - began < limit * WAITED:
        time.sleep(0.02)
        pid, status = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if pid else None
    if code is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if code in (None, -signal.SIGXCPU, -signal.SIGKILL):
        return "killed, too slow", seconds
    return ("survived" if code in (0, 5) else "killed"), seconds


def prepare():
    """Import what the forks share; nothing of the package, and with the compiler off."""
    os.environ.update(NUMBA_DISABLE_JIT="1", HYPOTHESIS_DATABASE="", PYTHONDONTWRITEBYTECODE="1")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
    sys.dont_write_bytecode = True
    for name in ("numpy", "numba", "pytest", "hypothesis", "hypothesis.strategies", "hypothesis.extra.numpy"):
        importlib.import_module(name)
    for name in ("PIL.Image", "matplotlib", "scipy.sparse", "onnx", "torch"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", metavar="FILE", help="update the figures there; reasons that it has stay")
    parser.add_argument("--only-survivors", metavar="FILE", help="test again what is noted there as survived")
    options = parser.parse_args()
    sample, of_all = mutants(options.files, options.sample, options.seed)
    if options.only_survivors:
        again = json.loads(Path(options.only_survivors).read_text())["survivors"]
        sample = [m for m in sample if m[0] in again]
    prepare()
    journal = Journal(options)
    baselines, results = {}, journal.results
    if results:
        print(f"{len(results)} verdicts of an earlier run, {journal.path}", flush=True)
    for name, path, operator, occurrence in sample:
        if name in results:
            continue
        group = tuple(tests_of(path))
        if group not in baselines:
            verdict, seconds = judge(path, None, 900)
            assert verdict == "survived", f"the tests of {path} fail without any change"
            baselines[group] = seconds
            print(f"       {seconds:6.1f} s without a change: {path}", flush=True)
        try:
            source, text = mutated(path, operator, occurrence)
            compile(text, path, "exec")
        except (SyntaxError, TypeError, AttributeError):  # a place that cosmic-ray itself cannot change
            continue
        verdict, seconds = judge(path, text, baselines[group] * 3 + LONGEST)
        diff = [
            line
            for line in difflib.unified_diff(source.splitlines(), text.splitlines(), lineterm="", n=0)
            if line[0] in "+-" and line[:3] not in ("+++", "---")
        ]
        journal.add(name, {"verdict": verdict, "change": diff})
        print(f"{verdict:8} {seconds:6.1f} s {name}", flush=True)
        if verdict == "survived":
            print("\n".join("         " + line for line in diff), flush=True)
        if options.json and len(results) % 20 == 0:
            keep(Path(options.json), options, results, of_all)
    survivors = {n: r["change"] for n, r in results.items() if r["verdict"] == "survived"}
    share = 1 - len(survivors) / max(1, len(results))
    print(f"{len(results)} mutants of {of_all} places: {len(survivors)} survived, {100 * share:.1f} % killed")
    if options.json:
        keep(Path(options.json), options, results, of_all)
        journal.path.unlink()
    return 0 if share >= 0.9 else 1


class Journal:
    """Verdicts so far, one a line beside the file of figures, so that a run of hours can be broken off."""

    def __init__(self, options):
        self.path = Path(f"{options.json}.journal") if options.json else None
        self.results, key = {}, self.key(options)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path and self.path.exists() else []
        if lines[:1] == [key]:
            self.results = dict(json.loads(line) for line in lines[1:])
        elif self.path:
            self.path.write_text(key + "\n", encoding="utf-8")

    @staticmethod
    def key(options):
        """What the verdicts depend on: the sample and every file of the package and of its tests."""
        digest = hashlib.sha256()
        for path in sorted([*ROOT.glob("mnp/**/*.py"), *ROOT.glob("tests/**/*.py")]):
            digest.update(path.read_bytes())
        return json.dumps([options.files, options.sample, options.seed, digest.hexdigest()])

    def add(self, name, result):
        self.results[name] = result
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps([name, result]) + "\n")


def keep(path, options, results, of_all):
    """Write the figures; a survivor's reason, which a person gives, stays."""
    survivors = {n: r["change"] for n, r in results.items() if r["verdict"] == "survived"}
    reasons = {}
    if path.exists():
        reasons = {n: s.get("reason", "") for n, s in json.loads(path.read_text())["survivors"].items()}
    rooms = {}
    for name, result in results.items():
        room = "readers" if name.startswith(("mnp/data", "mnp/exp", "mnp/ver")) else name.split("/")[1]
        counted = rooms.setdefault(room, {"mutants": 0, "killed": 0, "too slow": 0})
        counted["mutants"] += 1
        counted["killed"] += result["verdict"] != "survived"
        counted["too slow"] += "slow" in result["verdict"]
    found = {
        "command": "python tests/tools/mutate.py "
        f"--seed {options.seed} --sample {options.sample} --json FILE",
        "places": of_all,
        "mutants": len(results),
        "killed": len(results) - len(survivors),
        "rooms": rooms,
        "survivors": {n: {"change": c, "reason": reasons.get(n, "")} for n, c in survivors.items()},
    }
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
