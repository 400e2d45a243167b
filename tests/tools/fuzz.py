"""Feed mutated files to the package's readers: a clean MnpError or a sound result, nothing else.

    python tests/tools/fuzz.py                        # 20,000 files for each reader
    python tests/tools/fuzz.py --count 500 idx tar    # fewer, and only some readers
    TMPDIR=/dev/shm python tests/tools/fuzz.py        # where the disk is slow
    python tests/tools/fuzz.py --json FILE            # and keep the figures

Deterministic: file i of a reader is the same in every run. Prints a line a reader: how many files
were refused and how many read, the slowest, and the most memory that its process had (each reader has
one of its own). Exit status 1 if anything else happened, with the file kept for a look: another
exception, a result that is not sound, a pickle, a program started, a file written elsewhere, more than
5 s for a file, more than 1 GiB. `test_fuzz.py` runs a few hundred of each.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import platform
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
import drawn_lfw
import fuzz_formats

from mnp.data import Dataset, idx, lfw_archive, lfw_images, lfw_protocol, own
from mnp.errors import MnpError

SLOWEST = 5.0  # seconds for one file
MEMORY = 1024  # MiB the process may have
FORBIDDEN = {  # audit events: what no reader may do
    *("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen"),
    *("socket.connect", "socket.getaddrinfo", "ctypes.dlopen"),
}
CHANGES = {f"os.{n}" for n in ("mkdir", "rename", "remove", "rmdir", "link", "symlink", "truncate", "chmod")}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
COMPILED = os.environ.get("NUMBA_CACHE_DIR")  # where Numba keeps what it compiled for a new dtype
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


class Reader(NamedTuple):
    """seeds: good files. read: of a path. sound: whether a result is one that this reader may give.

    made: of (seed, rng, mutated), a file put together with lies, for every second one. name: of the file.
    """

    seeds: list[bytes]
    read: Callable[[Path], object]
    sound: Callable[[object], bool]
    packed: bool = False  # mutate the first seed inside its gzip layer, too
    made: Callable[..., bytes] | None = None
    name: str = "file"


def readers():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    idx_seed = b"\0\0\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes()
    lists = {name: text.encode() for name, text in drawn_lfw.lists().items()}
    drawings = drawn_lfw.drawings({"Ada_Ash": 2, "Ben": 1})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tgz"
        archive = drawn_lfw.pack({"Ada_Ash": None} | drawings, path).read_bytes()
        long = [  # names of more than 100 characters, in the two forms that programs write
            drawn_lfw.pack(drawings, path, top="folder/" * 40, form=form).read_bytes()
            for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
        ]
    bomb = gzip.compress(idx_seed[:16] + bytes(1 << 24), mtime=0)
    mine = io.BytesIO()
    labels = np.arange(3)
    np.savez(mine, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return {
        "own": Reader(
            [mine.getvalue()], own.read_npz, lambda data: isinstance(data, Dataset), name="own.npz"
        ),
        "idx": Reader([idx_seed], lambda p: idx.read_idx(p, ndim=3), _is_images),
        "idx.gz": Reader(
            [gzip.compress(idx_seed, mtime=0), bomb], lambda p: idx.read_idx(p, ndim=3), _is_images, True
        ),
        "pairs": Reader([lists["pairs"], lists["pairsDevTest"]], lfw_protocol.read_pairs, _are_pairs),
        "people": Reader([lists["people"], lists["peopleDevTest"]], lfw_protocol.read_people, _are_people),
        "tar": Reader(long, lfw_archive.read_jpegs, _are_jpegs, True),
        "archive": Reader([archive], lfw_archive.read_jpegs, _are_jpegs, True),
        "jpeg": Reader(
            list(drawings.values()),
            lambda p: lfw_images.decode_one(p.read_bytes(), 128, 16),
            lambda image: image.shape == (3, 16, 16) and image.dtype == np.uint8,
        ),
    } | fuzz_formats.readers(Reader)


def _is_images(array):
    return array.dtype == np.uint8 and array.ndim == 3 and 0 < array.size <= idx.MAX_BYTES


def _are_pairs(result):
    pairs, folds = result
    return len(pairs) == len(folds) and all(p.number > 0 and p.other_number > 0 for p in pairs)


def _are_people(folds):
    names = [name for fold in folds for name in fold]
    return len(set(names)) == len(names) and all(n > 0 for fold in folds for n in fold.values())


def _are_jpegs(jpegs):
    return all(lfw_archive.photograph(name) == name for name in jpegs)


def mutated(seed, rng):
    """One to four changes: bits, numbers, cuts, repeats, insertions, blocks moved."""
    data = bytearray(seed)
    for _ in range(int(rng.integers(1, 5))):
        size = len(data)
        # half of the changes near the beginning, where headers are
        place = int(rng.integers(0, min(size, 600) if rng.random() < 0.5 else size)) if size else 0
        length = int(rng.integers(1, 40))
        match int(rng.integers(0, 8)):
            case 0 if size:
                data[place] ^= 1 << int(rng.integers(0, 8))
            case 1 if size:
                data[place] = int(rng.integers(0, 256))
            case 2:
                del data[place:]
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = data[place : place + length] * int(rng.integers(1, 20))
            case 5:
                number = EXTREMES[int(rng.integers(0, len(EXTREMES)))]
                form = ["<I", ">I", "<Q", ">Q"][int(rng.integers(0, 4))]
                data[place : place + 4] = struct.pack(form, number)
            case 6:
                data[place : place + length] = b"-99999999999999999999 ../\\\t\n\0\xff{}"[:length]
            case 7:
                data += bytes(rng.integers(0, 256, length, dtype=np.uint8))
    return bytes(data)


def case(reader, number):
    """File `number` of a reader."""
    rng = np.random.Generator(np.random.PCG64(number))
    if reader.made and number % 2:
        return reader.made(reader.seeds[number // 2 % len(reader.seeds)], rng, mutated)
    seed = reader.seeds[(number // 2 if reader.made else number) % len(reader.seeds)]
    if reader.packed and number % 4 < 2 and seed is reader.seeds[0]:
        return gzip.compress(mutated(gzip.decompress(seed), rng), 1, mtime=0)
    return mutated(seed, rng)


class Watch:
    """An audit hook, which stays as long as the process: what is forbidden is seen while a folder is set."""

    def __init__(self):
        self.folder, self.seen = None, []  # the only folder that may be written to
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.folder is None:
            return
        if event in FORBIDDEN:
            self.seen.append(event)
        elif event in CHANGES:
            self.seen.extend(f"{event} {a}" for a in arguments if self.outside(a))
        elif event == "open" and arguments[2] & WRITING and self.outside(arguments[0]):
            self.seen.append(f"open {arguments[0]} to write")

    def outside(self, path):
        if not isinstance(path, str | os.PathLike):
            return False
        path = Path(os.path.abspath(path))
        return not any(path.is_relative_to(f) for f in (self.folder, COMPILED) if f)

    @contextlib.contextmanager
    def over(self, folder):
        """Give the list that forbidden events within the block are added to; `folder` may be written to."""
        self.folder, self.seen = os.path.abspath(folder), []
        try:
            yield self.seen
        finally:
            self.folder = None


WATCH = Watch()


def fuzz(name, reader, count, folder):
    """Returns how many files were refused, how many read, the slowest one's seconds, and the troubles."""
    refused, slowest, troubles = 0, 0.0, []
    path = folder / reader.name
    path.write_bytes(reader.seeds[0])
    with contextlib.suppress(Exception):  # what the first call imports or compiles is no reader's doing
        reader.sound(reader.read(path))
    for number in range(count):
        path.write_bytes(case(reader, number))
        begun = time.perf_counter()
        trouble = None
        with WATCH.over(folder) as events:
            try:
                result = reader.read(path)
                if not reader.sound(result):
                    trouble = "a result that is not sound"
            except MnpError as error:
                refused += 1
                if "\n" in str(error):
                    trouble = f"an error of several lines: {error}"
            except Exception as error:  # this is what is looked for
                trouble = f"{type(error).__name__}: {error}"
            seconds = time.perf_counter() - begun
            if seconds > SLOWEST:  # the file, or a machine that stood still for a moment?
                begun = time.perf_counter()
                with contextlib.suppress(Exception):
                    reader.sound(reader.read(path))
                seconds = min(seconds, time.perf_counter() - begun)
            trouble = f"did what no reader may: {', '.join(events)}" if events else trouble
        slowest = max(slowest, seconds)
        if seconds > SLOWEST:
            trouble = f"{seconds:.1f} s"
        if trouble:
            kept = Path(tempfile.gettempdir()) / f"fuzz-{name}-{number}"
            kept.write_bytes(path.read_bytes())
            troubles.append(f"{name} file {number}: {trouble} (kept as {kept})")
        others = [p.name for p in folder.iterdir() if p != path]
        if others:
            troubles.append(f"{name} file {number}: files written: {others}")
            break
    return refused, count - refused, slowest, troubles


def report(name, count):
    """One reader in this process: the figures, and the troubles."""
    with tempfile.TemporaryDirectory() as folder:
        refused, read, slowest, troubles = fuzz(name, readers()[name], count, Path(folder))
    memory = 0  # where there is no /proc
    with contextlib.suppress(OSError):
        memory = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
    if memory > MEMORY:
        troubles.append(f"{name}: {memory} MiB of memory")
    found = {"reader": name, "files": count, "refused": refused, "read": read}
    return found | {"slowest_seconds": round(slowest, 3), "peak_memory_mib": memory, "troubles": troubles}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="readers; all if none is named")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--here", action="store_true", help="one reader, in this process; prints JSON")
    options = parser.parse_args(arguments)
    if options.here:
        print(json.dumps(report(options.names[0], options.count)))
        return 0
    reports = []
    for name in options.names or readers():
        words = [sys.executable, __file__, name, "--count", str(options.count), "--here"]
        made = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        one = json.loads(made.stdout.splitlines()[-1])
        reports.append(one)
        print(
            f"{name:11} {one['files']} files: {one['refused']} refused, {one['read']} read, slowest "
            f"{one['slowest_seconds']:.3f} s, peak {one['peak_memory_mib']} MiB, "
            f"{len(one['troubles'])} troubles",
            flush=True,
        )
        print("".join(f"{line}\n" for line in one["troubles"]), end="", file=sys.stderr)
    if options.json:
        about = {
            "command": "python tests/tools/fuzz.py --json notebooks/results/fuzz.json",
            "seed": "file i of a reader is made by PCG64(i)",
            "limits": {"seconds": SLOWEST, "memory_mib": MEMORY},
            "python": platform.python_version(),
            "numpy": np.__version__,
            "cpus": os.cpu_count(),
        }
        with contextlib.suppress(OSError):  # readers that were not named keep the figures that they have
            known = json.loads(Path(options.json).read_text())["readers"]
            new = {one["reader"]: one for one in reports}
            reports = [new.pop(one["reader"], one) for one in known] + list(new.values())
        Path(options.json).write_text(json.dumps(about | {"readers": reports}, indent=1) + "\n")
    return 1 if any(one["troubles"] for one in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
