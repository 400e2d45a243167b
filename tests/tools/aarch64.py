"""The tiled backend on ARM, emulated: an arm64 root, and tests, `mnp check` and a run in it.

    sudo apt-get install debootstrap qemu-user-static
    sudo python tests/tools/aarch64.py --root FOLDER --json notebooks/results/aarch64.json

The root holds Debian's Python 3.11 and PyPI's aarch64 wheels. It is kept for the next call, with the compiled
kernels: the first call takes hours, the next one minutes. QEMU translates each instruction of a Neoverse N1,
so the results are those of that CPU, and the times say nothing about it. Nor can an x86 machine show mistakes
that only ARM's weaker memory order allows. Prints a line for each command; exit status 1 if one failed. Needs
Linux 6.7: the emulator is registered in a separate namespace.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from fresh_machines import ROOT, copy_tree

DEBIAN = "python3-minimal,libpython3-stdlib,libstdc++6,libgomp1"
WHEELS = [f"manylinux_2_{n}_aarch64" for n in (28, 27, 26, 17)] + ["manylinux2014_aarch64"]
# What QEMU does not pretend; LLVM finds out from it for which CPU it compiles.
CPUINFO = """processor\t: 0
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""
# Magic number and mask of an AArch64 program, as Debian registers them for QEMU.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
ENTER = f"""
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
echo ':arm:M::{MAGIC}:{MASK}:/usr/bin/qemu-aarch64-static:OPF' > /proc/sys/fs/binfmt_misc/register
mount --rbind /proc "$0/proc"
mount --rbind /dev "$0/dev"
mount --bind "$0/cpuinfo" "$0/proc/cpuinfo"
exec chroot "$0" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 QEMU_CPU=neoverse-n1 \\
    MPLBACKEND=agg PYTHONPATH=/mnp:/packages NUMBA_CACHE_DIR=/cache NUMBA_NUM_THREADS=2 \\
    bash -c "cd /mnp && $1"
"""
SHORT_RUN = "-m mnp run digits --no-figures --set train.epochs=2 prune.epochs=1 --out"
KERNELS = ("registers", "tiled", "tiled_convolution", "threads", "determinism")
TESTS = " ".join(f"tests/kernels/test_{name}.py" for name in KERNELS)
COMMANDS = (
    "python3 -c 'from mnp.kernels import default_backend as b; assert b().available(); print(b().__name__)'",
    f"python3 {SHORT_RUN} /run",
    "python3 -m mnp check mnp.kernels.tiled --seconds 3600",  # compiling is emulated, too
    f"python3 -m pytest -o timeout=0 {TESTS}",
    "python3 -m pytest -o timeout=0 tests/nn/test_captured.py tests/sparse/test_sparse.py",
)


def make_root(root):
    """Debian's packages, unpacked and not set up: Python needs no more."""
    kind = ["--foreign", "--variant=minbase", "--arch=arm64", f"--include={DEBIAN}"]
    subprocess.run(["debootstrap", *kind, "bookworm", root], check=True)
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        done = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", root, "--keep-directory-symlink"], input=done.stdout, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    target = ["--target", str(root / "packages"), "--python-version", "3.11", "--only-binary=:all:"]
    platforms = [word for name in WHEELS for word in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *target, *platforms, *wanted], check=True)
    (root / "cpuinfo").write_text(CPUINFO)


def run(words, **how):
    """Run a command; give (seconds, exit status, lines of output)."""
    began = time.perf_counter()
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **how
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode:
        print("\n".join(lines[-60:]), file=sys.stderr)
    return round(time.perf_counter() - began), done.returncode, lines


def counts(folder):
    """What a run has counted: parameters, wrong answers, lost wins. Rounding does not touch them."""
    with open(folder / "history.csv", encoding="utf-8") as file:
        names = ("k", "params", "error_before", "error", "wins_lost")
        return [[row[name] for name in names] for row in csv.DictReader(file)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the arm64 root; made if missing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    root = options.root.resolve()
    if not (root / "packages").exists():
        make_root(root)
    for name in ("mnp", "run"):
        shutil.rmtree(root / name, ignore_errors=True)
    copy_tree(root / "mnp")
    versions = [path.name.removesuffix(".dist-info") for path in sorted(root.glob("packages/*.dist-info"))]
    found = {
        "command": "python tests/tools/aarch64.py --root FOLDER --json notebooks/results/aarch64.json",
        "emulator": run(["qemu-aarch64-static", "--version"])[2][0],
        "cpu": "neoverse-n1",
        "versions": [v for v in versions if v.startswith(("numpy-", "numba-", "llvmlite-"))],
        "rows": [],
    }

    def add(command, seconds, status, said):
        found["rows"].append({"command": command, "seconds": seconds, "exit": status, "last_line": said})
        print("FAIL" if status else "ok  ", f"{seconds} s", said, flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for command in COMMANDS:
        inside = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-ec", ENTER, str(root), command]
        seconds, status, lines = run(inside)
        summary = [line for line in lines if "passed" in line] or lines
        add(command, seconds, status, summary[-1].strip(" ="))
    here = root / "run-here"
    shutil.rmtree(here, ignore_errors=True)
    seconds, *_ = run([sys.executable, *SHORT_RUN.split(), str(here)], cwd=ROOT)
    equal = counts(root / "run") == counts(here)
    said = "equal counts" if equal else "other counts"
    add("the same run on the host", seconds, int(not equal), said)
    return 1 if any(row["exit"] for row in found["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
