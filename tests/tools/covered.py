"""Coverage with the compiler off: 100 % of the lines of mnp/kernels and mnp/pruning, 95 % of the package.

    python tests/tools/covered.py [--json FILE]    # some ten minutes; needs the extras test, verify and dev

Four parts, added up:

    plain     the tests with NUMBA_DISABLE_JIT=1: compiled loops run, and are counted, as Python. Left out are
              tests named in SLOW, which take minutes of plain loops
    tiles     the tests of the tiled kernels, also without the compiler, on the plain register tiles of
              `plain_tiles.py`; only small sizes. Once with the tiles of AVX-512, once (`narrow`) of AVX2
    compiler  what writes machine code cannot run without a compiler: `registers.py`, and in `tiled` what
              hands a loop to threads. While Numba compiles, these lines run as Python and are counted. (Four
              functions are machine code only, and say so: `no cover` in `parallel.py`.)

Prints every file that is not whole, with its missing lines; exit status 1 below the marks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
# minutes of plain loops each, or in need of other programs' compilers; their lines are covered by others
SLOW = [
    "test_bench",
    "test_assignments",
    "test_assignments_nbgrader",
    "test_assignments_hostile",
    "test_assignments_hints",
    "test_assignments_classroom",
    "test_assignments_student",
    "test_determinism",
    "test_accuracy",
    "test_frameworks",
    "test_onnx_nodes",
    "test_oracle",
    "test_torch_steps",
    "test_registers",
    "test_tiled",
    "test_tiled_convolution",
    "test_doctests",
]
TILES = ("test_tiles_in_python", "test_sparse")
NOT_WITHOUT = "not cache and not threads and not process and not without_a_compiler"
PARTS = {
    "plain": [*sorted(p.stem for p in TESTS.rglob("test_*.py") if p.stem not in SLOW)],
    "tiles": TILES,
    "narrow": TILES,
    "compiler": ["test_registers", "test_tiled", "test_bench", "test_doctests", "test_accuracy"],
}
MARKS = {"mnp/kernels/*,mnp/pruning/*": 100, "mnp/*": 95}


def run(part, folder):
    """The tests of one part under coverage; failures are shown, and count as such."""
    environment = {**os.environ, "COVERAGE_FILE": str(folder / part), "MPLBACKEND": "agg"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", "coverage", "run", "--source", str(ROOT / "mnp"), "-m", "pytest", "-q"]
    words += ["-p", "no:cacheprovider", "-o", "timeout=900"]
    if part == "compiler":
        environment["NUMBA_CACHE_DIR"] = str(folder / "empty cache")  # so that everything is compiled
        words += ["-k", "not threads"]
    else:
        environment["NUMBA_DISABLE_JIT"] = "1"
        environment["MNP_FORCE_AVX2"] = str(int(part == "narrow"))
        words += ["-k", NOT_WITHOUT, *(["-p", "plain_tiles"] if PARTS[part] is TILES else [])]
    words += [str(next(TESTS.rglob(f"{name}.py"))) for name in PARTS[part]]
    return subprocess.run(words, cwd=ROOT, env=environment).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the shares there")
    options = parser.parse_args()
    failed, found = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        failed += [part for part in PARTS if run(part, folder)]
        coverage = [sys.executable, "-m", "coverage"]
        environment = {**os.environ, "COVERAGE_FILE": str(folder / "all")}
        parts = [str(folder / part) for part in PARTS]
        subprocess.run([*coverage, "combine", "-q", *parts], cwd=ROOT, env=environment, check=True)
        for files, mark in MARKS.items():
            words = [*coverage, "report", f"--include={files}"]
            detailed = [*words, "-m", "--skip-covered", f"--fail-under={mark}"]
            if subprocess.run(detailed, cwd=ROOT, env=environment).returncode:
                failed.append(f"{files} below {mark} %")
            total = [*words, "--format=total", "--precision=1"]
            share = subprocess.run(total, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True).stdout
            found.append({"files": files, "percent": float(share), "at_least": mark})
    print("failed: " + "; ".join(failed) if failed else "as it should be")
    if options.json:
        results = {
            "command": f"python tests/tools/covered.py --json {options.json}",
            "shares": found,
            "failed": failed,
        }
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
