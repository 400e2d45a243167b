"""Mutation testing: change one thing in the package at a time, and see whether a test fails.

    python tests/tools/mutate.py --json FILE                     # hours; begun again, it goes on where it was
    python tests/tools/mutate.py --sample 20 mnp/data/idx.py     # some mutants of some files

The changes are cosmic-ray's (`pip install '.[dev]'`): another number, operator, comparison, True for False,
break for continue, a loop that never runs, an exception that is not caught. All places of a file where it
could change something are listed; a seeded generator picks places, and one change for each. Decorators are
not taken away: here they compile, and change no result.

Every mutant is tested in a fork of a process that has imported everything but the package, with
NUMBA_DISABLE_JIT=1, so that loops are plain Python (register tiles, too: `plain_tiles.py`): no file is
changed, and a mutant costs little more than its tests. Only `registers.py` and `parallel.py`, which write
machine code, are judged with the compiler on. A mutant is killed if a test fails or does not end in time;
the time is the processor's, so that a busy machine kills nothing. Survivors are printed with their diff;
the reasons why are in `notebooks/results/mutation.json`, under the mutant's name.
"""

import argparse
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
LONGEST = 60  # seconds of CPU time more than three times what the tests take without a change
WAITED = 20  # times as long by the clock: a test that sleeps
MEMORY = 6 << 30

# which tests judge which files: the first prefix that fits
TESTS = {
    "mnp/kernels/textbook/": "test_kernels_textbook test_kernels_shapes test_layers test_network",
    "mnp/kernels/jitted/": "test_kernels_jitted test_kernels_shapes",
    "mnp/kernels/tiled/parallel.py": "test_tiled",
    "mnp/kernels/tiled/": "test_tiles_in_python",
    "mnp/kernels/registers.py": "test_registers",
    "mnp/kernels/": "test_kernels_textbook test_kernels_shapes test_kernels_jitted",
    "mnp/sparse/": "test_sparse test_sparse_file test_tiles_in_python",
    "mnp/pruning/": "test_neurons test_relevance test_weights test_sizes test_sparse test_sparse_file "
    "test_surgery test_shrink test_pruning_properties test_gradual",
    "mnp/data/idx.py": "test_data_mnist",
    "mnp/data/": "test_data_lfw",
    "mnp/experiments/config.py": "test_recipes",
    "mnp/experiments/": "test_checkpoint",
    "mnp/verify/safetensors_file.py": "test_golden",
}
MACHINE_CODE = ("mnp/kernels/registers.py", "mnp/kernels/tiled/parallel.py")  # judged with the compiler on
FILES = [
    *(p.relative_to(ROOT).as_posix() for p in sorted((ROOT / "mnp/kernels").rglob("*.py"))),
    *(p.relative_to(ROOT).as_posix() for p in sorted((ROOT / "mnp/pruning").rglob("*.py"))),
    *(f"mnp/data/{name}.py" for name in ("idx", "lfw_archive", "lfw_protocol")),
    *(f"mnp/experiments/{name}.py" for name in ("checkpoint", "config")),
    "mnp/verify/safetensors_file.py",
]
# Tests that start other processes see the files on the disk, not the mutant; some need the compiler.
SKIPPED = "not process and not threads and not cache and not liar and not notices"


def places(path):
    """Every place of a file that can be mutated: (start, end, kind) -> [(operator, occurrence)]."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    tree, found = get_ast((ROOT / path).read_text(encoding="utf-8")), {}
    for name in operator_names():
        kind = name.partition("/")[2].split("_")[0]
        if kind == "RemoveDecorator":
            continue
        try:
            operator = get_operator(name)()
        except TypeError:  # one that wants arguments
            continue
        positions = (p for node in ast_nodes(tree) for p in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            found.setdefault((start, end, kind), []).append((name, occurrence))
    return found


def mutants(files, sample, seed):
    """A sample of all places, each with one of its changes: [(name, path, operator, occurrence)]."""
    every = [(path, place, changes) for path in files for place, changes in sorted(places(path).items())]
    rng, made = random.Random(seed), []
    for path, (start, _, _), changes in rng.sample(every, min(sample, len(every))):
        operator, occurrence = rng.choice(changes)
        name = f"{path}:{start[0]}:{start[1]} {operator.partition('/')[2]}"
        made.append((name, path, operator, occurrence))
    return made, len(every)


def mutated(path, operator, occurrence):
    """A file's text after a change, and the changed lines; None where cosmic-ray itself cannot make it."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / path).read_text(encoding="utf-8")
    try:
        text = mutate_code(source, get_operator(operator)(), occurrence)
        compile(text, path, "exec")
    except (SyntaxError, TypeError, AttributeError):
        return None, []
    diff = difflib.unified_diff(source.splitlines(), text.splitlines(), lineterm="", n=0)
    return text, [line for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")]


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
    return [str(next((ROOT / "tests").rglob(f"{name}.py"))) for name in names]


def judge(path, text, limit):
    """Run the tests of a file, its text replaced, in a fork: (verdict, seconds of CPU time)."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        if not os.environ.get("MUTATE_LOUD"):
            silent = os.open(os.devnull, os.O_RDWR)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 1))
        status = 3
        try:
            status = run_tests(path, text)
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


def run_tests(path, text):
    """In the fork: pytest's exit status."""
    import pytest

    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:timeout", "-o", "addopts=", "-o", "timeout=0"]
    if path in MACHINE_CODE:
        config = sys.modules["numba"].config
        os.environ["NUMBA_DISABLE_JIT"], config.DISABLE_JIT = "0", 0
        # Code that is kept was compiled from the files, not from the mutant.
        os.environ["NUMBA_CACHE_DIR"] = config.CACHE_DIR = tempfile.mkdtemp()
    elif "tile" in path:
        words += ["-p", "plain_tiles"]
    if text is not None:
        sys.meta_path.insert(0, OneModule(path, text))
    wanted = "not process" if path in MACHINE_CODE else SKIPPED
    return int(pytest.main([*words, "-k", wanted, *tests_of(path)]))


def prepare():
    """Import what the forks share; nothing of the package, and with the compiler off."""
    os.environ.update(NUMBA_DISABLE_JIT="1", HYPOTHESIS_DATABASE="", PYTHONDONTWRITEBYTECODE="1")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
    sys.dont_write_bytecode = True
    for name in ("numpy", "numba", "pytest", "hypothesis", "hypothesis.strategies", "hypothesis.extra.numpy"):
        importlib.import_module(name)


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
    known = json.loads(Path(options.json).read_text()) if options.json and Path(options.json).exists() else {}
    state, unfinished = digest(options), known.get("unfinished", {})
    results, baselines = unfinished["results"] if unfinished.get("of") == state else {}, {}
    for name, path, operator, occurrence in sample:
        text, change = mutated(path, operator, occurrence)
        if name in results or text is None:
            continue
        group = tuple(tests_of(path))
        if group not in baselines:
            verdict, seconds = judge(path, None, 900)
            assert verdict == "survived", f"the tests of {path} fail without any change"
            baselines[group] = seconds
            print(f"       {seconds:6.1f} s without a change: {path}", flush=True)
        verdict, seconds = judge(path, text, baselines[group] * 3 + LONGEST)
        results[name] = {"verdict": verdict, "change": change}
        print(f"{verdict:8} {seconds:6.1f} s {name}", flush=True)
        if verdict == "survived":
            print("\n".join("         " + line for line in change), flush=True)
        if options.json:
            keep(options, known, results, of_all, unfinished={"of": state, "results": results})
    survivors = [name for name, result in results.items() if result["verdict"] == "survived"]
    share = 1 - len(survivors) / max(1, len(results))
    print(f"{len(results)} mutants of {of_all} places: {len(survivors)} survived, {100 * share:.1f} % killed")
    if options.json:
        keep(options, known, results, of_all)
    return 0 if share >= 0.9 else 1


def digest(options):
    """What the verdicts depend on: the sample, and every file of the package and of its tests."""
    found = hashlib.sha256(repr([options.files, options.sample, options.seed]).encode())
    for path in sorted([*ROOT.glob("mnp/**/*.py"), *ROOT.glob("tests/**/*.py")]):
        found.update(path.read_bytes())
    return found.hexdigest()


def keep(options, known, results, of_all, **more):
    """Write the figures; a survivor's reason, which a person gives, stays."""
    reasons = {name: s.get("reason", "") for name, s in known.get("survivors", {}).items()}
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
        "killed": sum(result["verdict"] != "survived" for result in results.values()),
        "rooms": rooms,
        "survivors": {
            name: {"change": result["change"], "reason": reasons.get(name, "")}
            for name, result in results.items()
            if result["verdict"] == "survived"
        },
        **more,
    }
    Path(options.json).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
