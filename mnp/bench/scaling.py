"""Cases without a baseline: cost against batch size, width and k, first use, memory."""

import os
import subprocess
import sys
import tempfile
from functools import partial

from mnp.bench.cases import authors_net, examples, make_row, training_step
from mnp.bench.timing import interleaved
from mnp.experiments.registry import TINY
from mnp.nn import lenet5
from mnp.pruning.sizes import count_sizes

FIRST_USE = """
import sys, time
sys.modules["scipy"] = None  # not a dependency; numba would import it where it is installed
began = time.perf_counter()
import numba, numpy
imported = time.perf_counter()
from mnp.bench.cases import authors_net, examples, training_step
net = authors_net(None)
x, y = examples(64)
training_step(net, x, y)()
net.forward(x)
print(imported - began, time.perf_counter() - imported)
"""

MEMORY_STEPS = 20
MEMORY = f"""
import sys, time, tracemalloc
from mnp.bench.cases import authors_net, examples, lenet5, training_step, vgg16
from mnp.kernels.tiled.support import workspace

def make_step():
    net = eval(sys.argv[1])
    size, channels = (64, 3) if "conv1_1" in net else (28, 1)
    return training_step(net, *examples(int(sys.argv[2]), size, channels))

make_step()()  # what Numba loads is not the network's
workspace.arrays.clear()
tracemalloc.start()
empty = tracemalloc.get_traced_memory()[0]
step = make_step()
for _ in range(3):
    step()
rest = tracemalloc.get_traced_memory()[0]
tracemalloc.reset_peak()
began = time.perf_counter()
for _ in range({MEMORY_STEPS}):
    step()
ms = 1e3 * (time.perf_counter() - began) / {MEMORY_STEPS}
now, most = tracemalloc.get_traced_memory()
print(ms, rest - empty, most - empty, now - rest)
"""
MEMORY_OF = {  # the network, and its batch size
    "LeNet of mnist-caffe": ("authors_net('tiled')", 64),
    "LeNet of mnist": ("lenet5(20, 50, 512, 4, rng=0, backend='tiled')", 64),
    "VGG16/4": ("vgg16(0.25, 64, 256, 4, 400, batchnorm=True, rng=0, backend='tiled')", 32),
}


def batches(compare, peak):
    """The training step against the batch size: linear, except for a constant part."""
    sizes = (16, 32, 64, 128, 256, 512, 1024)
    calls = {batch: training_step(authors_net("tiled"), *examples(batch)) for batch in sizes}
    for batch, time_of in interleaved(calls, rounds=20, budget=10).items():
        yield make_row("growth with the batch", batch, "tiled", {"tiled": time_of}, "tiled")


def widths(compare, peak):
    """The training step against the width of fc3: 256 to 2,048 neurons."""
    units = (64, 128, 256, 512)
    calls = {n: training_step(authors_net("tiled", n), *examples(64)) for n in units}
    for n, time_of in interleaved(calls, rounds=20, budget=10).items():
        case = f"growth with the width, {4 * n} neurons"
        yield make_row(case, 64, "tiled", {"tiled": time_of}, "tiled")


def sizes(compare, peak):
    """Inference by the neurons per unit of fc3, and of small networks, with parameters and multiply-adds."""
    nets = {f"k = {k}": lenet5(20, 52, 64, k, rng=0, backend="tiled") for k in range(8, 0, -1)}
    nets |= {"-".join(map(str, w)): lenet5(*w, 1, rng=0, backend="tiled") for w in TINY.values()}
    for batch in (1, 64):
        x, _ = examples(batch)
        calls = {name: partial(net.forward, x) for name, net in nets.items()}
        for name, time_of in interleaved(calls, rounds=40, budget=10).items():
            counted = count_sizes(nets[name], x.shape[1:])
            row = make_row(f"inference by size, {name}", batch, "tiled", {"tiled": time_of}, "tiled")
            yield row | {"params": counted.params, "macs": counted.macs}


def first_use(compare, peak):
    """A training step and an inference of the LeNet in a new process: compiled, then cached."""
    with tempfile.TemporaryDirectory() as folder:
        # Python's own compiled files are kept, too, as pip does when it installs.
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONDONTWRITEBYTECODE": ""}
        for case in ("first use, cold compilation", "first use, cached"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True, check=True
            )
            imports, seconds = map(float, done.stdout.split())
            times = {"tiled": (1e3 * seconds, 1e3 * seconds)}
            note = f"without importing numpy and numba, which took {imports:.2f} s"
            yield make_row(case, 64, "default", times, "tiled", note=note)


def memory(compare, peak):
    """Memory of a training step of each network, in a separate process: at rest, at most, left over."""
    for name, (network, batch) in MEMORY_OF.items():
        words = [sys.executable, "-c", MEMORY, network, str(batch)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        ms, rest, most, left = map(float, done.stdout.split())
        note = f"at most {most / 2**20:.1f} MiB of arrays, {rest / 2**20:.1f} MiB of them between two steps; "
        note += f"{MEMORY_STEPS} steps left {left:.0f} bytes"
        case, times = f"memory of a training step, {name}", {"tiled": (ms, ms)}
        yield make_row(case, batch, "tiled", times, "tiled", note=note)
