"""The README's two commands on fresh machines: clean environments, as far as one machine can play them all.

    python tests/tools/fresh_machines.py --python python3.11 --python python3.13 --json FILE
    python tests/tools/fresh_machines.py --only run                 # without the long test command

For each interpreter, in a copy of the committed tree and with an environment that holds little but PATH:

    newest        both commands word for word, with the newest dependencies that `pyproject.toml` admits
    lowest        both, with the lowest (of those that exist for this Python); a part of the tests
    no Numba      the run command's digits, with NumPy, Matplotlib and tqdm only
    odd path      the run command in a folder with blanks and letters beyond ASCII, and a part of the tests
    read-only     the installed program, where nothing but the current folder can be written to
    no home       where HOME is no folder
    no network    in a separate network namespace, without any interface
    all at once   read-only, no home, no network: the run, and a part of the tests
    as Windows    a part of the tests, without POSIX and with a console of 256 letters

Conditions need Linux's `unshare` and the right to use it; without them a row says so and counts as not run.
Prints a line for each, writes them to a file if asked to; exit status 1 if anything failed.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a clean machine, its cache and its rights touch; the whole suite runs once for each Python.
PART = "test_cli experiments/test_checkpoint data/test_data_digits test_doctests kernels/test_kernels_jitted"
PART = [f"tests/{name}.py" for name in PART.split()]
# The lowest versions with a wheel for an interpreter, where that is not the lowest that we admit.
WHEELS = {(3, 12): {"numpy": "1.26.0"}, (3, 13): {"numpy": "2.1.0", "matplotlib": "3.9.2"}}
WINDOWS = (
    ".venv/bin/python -m pytest -p like_windows -o timeout_method=thread"
    " tests/test_files.py tests/test_cli.py tests/experiments/test_seeds.py"
)
RUN_DIGITS = ["-m", "mnp", "run", "digits", "--out", "out here"]


def readme_command(marker):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- {marker} command -->\s*```sh\n(.*?)```", text, re.S).group(1).strip()


def lowest(version):
    """Constraints: the lower bound of each of our dependencies, raised to what this Python has."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["dependencies"] + project["optional-dependencies"]["test"]
    bounds = dict(re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line).groups() for line in named)
    bounds = {name: bound + ".0" * (2 - bound.count(".")) for name, bound in bounds.items()}
    return bounds | WHEELS.get(version, {})


def copy_tree(target):
    """The committed files and the changed ones, as they are now."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in filter(None, files.decode().split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


class Machine:
    """A fresh copy of the tree with an interpreter; `do` runs a command there and notes how it went."""

    def __init__(self, python, folder, downloads, constraints=None):
        self.python, self.folder = python, folder
        self.tree, self.home = folder / "tree", folder / "home"
        for path in (self.tree, self.home, folder / "bin", folder / "work"):
            path.mkdir(parents=True)
        copy_tree(self.tree)
        (folder / "bin" / "python3").symlink_to(python)
        kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "LANG", "TMPDIR"))}
        self.environment = {
            **kept,
            "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "PIP_CACHE_DIR": str(downloads),  # so that the same wheels are fetched once
        }
        if constraints:
            lines = [f"{name}=={version}\n" for name, version in constraints.items()]
            (folder / "constraints.txt").write_text("".join(lines))
            self.environment["PIP_CONSTRAINT"] = str(folder / "constraints.txt")

    def do(self, command, cwd=None, within=(), **environment):
        """Run a shell command; give (seconds, exit status, last line)."""
        began = time.perf_counter()
        done = subprocess.run(
            [*within, "bash", "-euo", "pipefail", "-c", command],
            cwd=cwd or self.tree,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        tail = [line for line in lines if re.search(r"\d+ (passed|failed)", line)] or lines
        if done.returncode:
            print("\n".join(lines[-40:]), file=sys.stderr)
        return round(time.perf_counter() - began, 1), done.returncode, (tail or [""])[-1].strip(" =")

    def installed(self):
        command = "import importlib.metadata as m; print(*(f'{n}={m.version(n)}' for n in %r.split()))"
        names = "numpy numba matplotlib tqdm"
        return self.do(f".venv/bin/python -c {shlex.quote(command % names)}")[2]


def read_only(*folders):
    """Words before a command: a mount namespace in which these folders cannot be written to."""
    binds = " && ".join(
        f"mount --bind {f} {f} && mount -o remount,ro,bind {f}" for f in map(shlex.quote, folders)
    )
    return ["unshare", "--mount", "bash", "-c", f'{binds} && exec "$@"', "_"]


def unshares():
    return shutil.which("unshare") and not subprocess.run(["unshare", "--net", "--mount", "true"]).returncode


class Matrix:
    def __init__(self, only, keep):
        self.only, self.keep, self.rows, self.versions = only, keep, [], []

    def add(self, machine, name, what, command, **how):
        if self.only and what not in self.only:
            return
        seconds, status, tail = machine.do(command, **how)
        row = {"python": machine.version, "machine": name, "what": what, "command": command}
        row |= {"seconds": seconds, "exit": status, "last_line": tail[:200]}
        self.rows.append(row)
        self.keep(self)
        shown = "ok  " if status == 0 else "FAIL"
        print(f"{shown} {machine.version:8} {name:12} {what:14} {seconds:7.1f} s  {tail[:90]}", flush=True)


def play(python, folder, downloads, matrix):
    """The rows of one interpreter, shortest first."""
    ask = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    version = subprocess.run(
        [python, "-c", ask], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    short = tuple(int(n) for n in version.split(".")[:2])
    run, test = readme_command("run"), readme_command("test")
    part = " ".join(PART)

    def machine(name, replace="-", **more):
        made = Machine(python, folder / f"{version} {name}".replace(" ", replace), downloads, **more)
        made.version = version
        return made

    newest = machine("newest")
    matrix.add(newest, "newest", "run", run)
    low = machine("lowest", constraints=lowest(short))
    matrix.add(low, "lowest", "run", run)
    numpy = machine("no Numba")
    install = "python3 -m venv .venv && .venv/bin/python -m pip install"
    install += " numpy matplotlib tqdm && .venv/bin/python -m pip install --no-deps ."
    matrix.add(numpy, "no Numba", "run", f"{install} && .venv/bin/mnp run digits")
    odd = machine("wëg mit Lücken – 路径", replace=" ")
    matrix.add(odd, "odd path", "run", run)
    for made in (newest, low):
        if not (made.tree / ".venv").exists():  # the row that installs was not asked for
            made.do("python3 -m venv .venv && .venv/bin/python -m pip install .")
    matrix.versions.append({"python": version, "newest": newest.installed(), "lowest": low.installed()})

    program = shlex.quote(str(newest.tree / ".venv/bin/python"))
    digits = shlex.join(RUN_DIGITS)
    tests = " ".join([f"{program} -m pytest", *(f"{newest.tree}/{name}" for name in PART)])
    shutil.rmtree(newest.tree / ".git", ignore_errors=True)
    for cache in newest.tree.rglob("__pycache__"):  # nothing that the first run compiled helps the others
        shutil.rmtree(cache, ignore_errors=True)
    locked, nowhere = read_only(str(newest.tree), str(newest.home)), {"HOME": "/nowhere/at all"}
    conditions = {
        "read-only": (locked, {}),
        "no home": ((), nowhere),
        "no network": (["unshare", "--net"], {}),
        "all at once": (["unshare", "--net", *locked], nowhere),
    }
    for name, (within, environment) in conditions.items():
        work = newest.folder / "work" / name.replace(" ", "-")
        work.mkdir()
        if within and not unshares():
            print(f"not run: {version} {name}: no right to unshare")
            continue
        matrix.add(newest, name, "run", f"{program} {digits}", cwd=work, within=within, **environment)
    matrix.add(low, "lowest", "test, part", f"{test} {part}")
    matrix.add(odd, "odd path", "test, part", f"{test} {part}")
    newest.do(".venv/bin/python -m pip install '.[test]'")
    if unshares():
        matrix.add(newest, name, "test, part", tests, cwd=work, within=within, **environment)
    matrix.add(newest, "as Windows", "test, part", WINDOWS, PYTHONPATH="tests/helpers")
    matrix.add(newest, "newest", "test, whole", test)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", help="an interpreter; may be repeated; this one if none")
    parser.add_argument("--only", action="append", choices=["run", "test, part", "test, whole"])
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:

        def keep(matrix):
            if options.json:
                write(Path(options.json), matrix, folder)

        matrix = Matrix(options.only, keep)
        pythons = [os.path.realpath(shutil.which(p) or p) for p in options.python or [sys.executable]]
        for python in pythons:
            play(python, Path(folder), Path(folder) / "downloads", matrix)
    return 1 if any(row["exit"] for row in matrix.rows) else 0


def write(path, matrix, folder):
    """The rows so far, without the names of this machine's folders."""
    names = ["python" + ".".join(v["python"].split(".")[:2]) for v in matrix.versions]
    words = ["python tests/tools/fresh_machines.py", *(f"--python {n}" for n in names)]
    command = " ".join([*words, *(f"--only {shlex.quote(what)}" for what in matrix.only or ())])
    found = {"command": command, "versions": matrix.versions, "rows": matrix.rows}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    path.write_text(re.sub(re.escape(folder) + r"/[^/]*/", "", text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
