"""Cases without a baseline: cost against batch size, width and k, first use, memory."""

import os
import subprocess
import sys
import tempfile
import time
import tracemalloc

from mnp.bench.cases import authors_net, examples, make_row, training_step
from mnp.bench.timing import interleaved
from mnp.nn import lenet5
from mnp.pruning.sizes import count_sizes

TINY = ((6, 10, 40), (4, 8, 24), (3, 6, 16))  # filters, filters, units of the recipes mnist-tiny-*
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
    nets |= {"-".join(map(str, tiny)): lenet5(*tiny, 1, rng=0, backend="tiled") for tiny in TINY}
    for batch in (1, 64):
        x, _ = examples(batch)
        calls = {name: lambda net=net, x=x: net.forward(x) for name, net in nets.items()}
        for name, time_of in interleaved(calls, rounds=40, budget=10).items():
            counted = count_sizes(nets[name], x.shape[1:])
            row = make_row(f"inference by size, {name}", batch, "tiled", {"tiled": time_of}, "tiled")
            yield row | {"params": counted.params, "macs": counted.macs}


def first_use(compare, peak):
    """A training step and an inference of the LeNet in a new process: compiled, then cached."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for case in ("first use, cold compilation", "first use, cached"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True, check=True
            )
            imports, seconds = map(float, done.stdout.split())
            times = {"tiled": (1e3 * seconds, 1e3 * seconds)}
            note = f"without importing numpy and numba, which took {imports:.2f} s"
            yield make_row(case, 64, "default", times, "tiled", note=note)


def memory(compare, peak, steps=200):
    """Memory that training steps leave allocated, and how much one has at a time."""
    step = training_step(authors_net("tiled"), *examples(64))
    for _ in range(5):
        step()
    tracemalloc.start()
    step()
    before = tracemalloc.get_traced_memory()[0]
    began = time.perf_counter()
    for _ in range(steps):
        step()
    each = 1e3 * (time.perf_counter() - began) / steps
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    left = f"{steps} steps left {now - before} bytes allocated"
    note = f"{left}; at most {(most - before) / 2**20:.1f} MiB were in use during a step"
    yield make_row("memory of a training step", 64, "tiled", {"tiled": (each, each)}, "tiled", note=note)
