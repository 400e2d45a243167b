"""The tiled backend on ARM, emulated: an arm64 root, and tests, `mnp check` and a run in it.

    sudo apt-get install debootstrap qemu-user-static
    sudo python tests/tools/aarch64.py --root FOLDER --json notebooks/results/aarch64.json     # an hour or two

The root holds Debian's Python 3.11 and PyPI's aarch64 wheels; it is kept for the next call. QEMU translates
each instruction of a Neoverse N1, so the results are those of that CPU, and the times say nothing about it. Nor
can an x86 machine show mistakes that only ARM's weaker memory order allows. Prints a line for each command;
exit status 1 if one failed. Linux 6.7 or newer: the interpreter is registered in a namespace of its own.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = "python3-minimal,libpython3-stdlib,libstdc++6,libgomp1"
WHEELS = [f"manylinux_2_{n}_aarch64" for n in (28, 27, 26, 17)] + ["manylinux2014_aarch64"]
# What QEMU does not pretend; LLVM finds out from it for which CPU it compiles.
CPUINFO = """processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""
# The namespace's own interpreter: magic number and mask of an AArch64 program, as Debian registers them.
ENTER = r"""
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
echo ':aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OPF' \
    > /proc/sys/fs/binfmt_misc/register
mount --rbind /proc "$0/proc"
mount --rbind /dev "$0/dev"
mount --bind "$0/cpuinfo" "$0/proc/cpuinfo"
exec chroot "$0" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 QEMU_CPU=neoverse-n1 \
    PYTHONPATH=/mnp:/packages MPLBACKEND=agg NUMBA_CACHE_DIR=/cache NUMBA_NUM_THREADS=2 bash -c "cd /mnp && $1"
"""
SHORT_RUN = "-m mnp run digits --set train.epochs=2 prune.epochs=1 --no-figures --out"
TESTS = "registers tiled tiled_convolution threads determinism".split()
COMMANDS = (
    'python3 -c "from mnp.kernels import default_backend as b; assert b().available(); print(b().__name__)"',
    f"python3 {SHORT_RUN} /run",
    "python3 -m mnp check mnp.kernels.tiled",
    f"python3 -m pytest -o timeout=0 {' '.join(f'tests/kernels/test_{name}.py' for name in TESTS)}",
    "python3 -m pytest -o timeout=0 tests/nn/test_captured.py tests/sparse/test_sparse.py",
)


def make_root(root):
    """Debian's packages, unpacked and not set up: Python needs no more."""
    subprocess.run(
        ["debootstrap", "--foreign", "--variant=minbase", "--arch=arm64", f"--include={DEBIAN}"]
        + ["bookworm", str(root)],
        check=True,
    )
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        files = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", root, "--keep-directory-symlink"], input=files, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    target = ["--target", str(root / "packages"), "--python-version", "3.11", "--only-binary=:all:"]
    platforms = [word for name in WHEELS for word in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *target, *platforms, *wanted], check=True)
    (root / "cpuinfo").write_text(CPUINFO)


def copy_tree(root):
    """The committed files and the changed ones, as they are now."""
    for name in ("mnp", "run"):
        shutil.rmtree(root / name, ignore_errors=True)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in filter(None, files.decode().split("\0")):
        (root / "mnp" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / "mnp" / name)


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


def table(lines):
    """The rows of a run's table without the times at their ends."""
    first = next(i for i, line in enumerate(lines) if line.startswith("round  operation"))
    return [re.sub(r"\s+[\d.]+$", "", line) for line in lines[first + 1 : first + 5]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the arm64 root; made if missing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    root = options.root.resolve()
    if not (root / "packages").exists():
        make_root(root)
    copy_tree(root)
    qemu = run(["qemu-aarch64-static", "--version"])[2][0]
    rows, tables = [], []
    for command in COMMANDS:
        inside = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-ec", ENTER, str(root), command]
        seconds, status, lines = run(inside)
        said = next((line for line in reversed(lines) if re.search(r"\d passed|\d failed", line)), lines[-1])
        rows.append({"command": command, "seconds": seconds, "exit": status, "last_line": said.strip(" =")})
        if SHORT_RUN in command and status == 0:
            here = [sys.executable, *SHORT_RUN.split(), str(root / "run-here")]
            shutil.rmtree(root / "run-here", ignore_errors=True)
            tables = [
                table(lines),
                table(run(here, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})[2]),
            ]
            rows.append(
                {
                    "command": "the table of the run, beside that of the same run on the host",
                    "exit": int(tables[0] != tables[1]),
                    "last_line": "equal" if tables[0] == tables[1] else f"{tables}",
                }
            )
        for row in rows[-2:] if tables else rows[-1:]:
            print(
                "ok  " if row["exit"] == 0 else "FAIL", row.get("seconds", ""), row["last_line"], flush=True
            )
        tables = []
        if options.json:
            versions = [p.name.removesuffix(".dist-info") for p in sorted(root.glob("packages/*.dist-info"))]
            kept = [v for v in versions if v.split("-")[0] in ("numpy", "numba", "llvmlite")]
            shown = shlex.join(["python", "tests/tools/aarch64.py", "--root", "FOLDER", "--json", "FILE"])
            found = {"command": shown, "emulator": qemu, "cpu": "neoverse-n1", "versions": kept, "rows": rows}
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["exit"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
