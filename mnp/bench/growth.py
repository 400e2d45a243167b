"""What has no peer: cost as the work grows, the first use on a machine, memory."""

import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc

from mnp.bench.cases import authors_net, examples, row, training_step
from mnp.bench.timing import interleaved
from mnp.nn import lenet5

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


def batches(against, peak, sizes=(16, 32, 64, 128, 256, 512, 1024)):
    """The training step against the batch size: linear, but for a constant part."""
    calls = {}
    for batch in sizes:
        calls[batch] = training_step(authors_net("tiled"), *examples(batch))
    times = interleaved(calls, rounds=20, budget=10)
    for batch in sizes:
        yield row("growth with the batch", batch, "tiled", {"tiled": times[batch]}, "tiled")


def widths(against, peak, factors=(1, 2, 4, 8)):
    """The training step against the width of fc3: 256 to 2,048 neurons."""
    calls = {}
    for factor in factors:
        net = lenet5(20, 52, 64 * factor, 4, rng=0, backend="tiled")
        calls[factor] = training_step(net, *examples(64))
    times = interleaved(calls, rounds=20, budget=10)
    for factor in factors:
        case = f"growth with the width, {256 * factor} neurons"
        yield row(case, 64, "tiled", {"tiled": times[factor]}, "tiled")


def first_use(against, peak):
    """A step and an inference of the LeNet in a new process: nothing compiled before, then cached."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for case in ("first use, cold compilation", "first use, cached"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True, check=True
            )
            imports, seconds = map(float, done.stdout.split())
            times = {"tiled": (1e3 * seconds, 1e3 * seconds)}
            note = f"over importing numpy and numba, which took {imports:.2f} s"
            yield row(case, 64, "default", times, "tiled", note=note)


def memory(against, peak, steps=200):
    """What a training step leaves behind, and the most this process has used."""
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
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    note = f"{steps} steps left {grown} bytes behind; the whole benchmark's peak is {peak_mib:.0f} MiB"
    yield row("memory of a training step", 64, "tiled", {"tiled": (each, each)}, "tiled", note=note)
