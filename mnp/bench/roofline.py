"""The roofline of this machine, and each kernel on it before and after its tile: `mnp bench --roofline`.

      attainable operations per second = min(peak, bandwidth * intensity)
      intensity = operations of the kernel's definition / bytes of its inputs and outputs, each moved once

Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model".
"""

import time
from functools import partial

import numba
import numpy as np

from mnp.bench.cases import examples
from mnp.bench.timing import fma_peak, interleaved, load
from mnp.experiments import environment
from mnp.kernels import fused, get_backend, registers

PIECE = 1 << 14  # floats of a share of the bandwidth's loop


def bandwidth(seconds=1.0, size=1 << 25):
    """Bytes per second of a[i] = b[i] + 3 * c[i] on every thread, three arrays of 128 MiB; best of many."""
    from mnp.kernels.tiled.parallel import FLOATS, shared

    @shared(FLOATS, FLOATS, FLOATS)
    def triad(index, a, b, c):
        for i in range(index * PIECE, (index + 1) * PIECE):
            registers.put(a, i, registers.get(b, i) + np.float32(3) * registers.get(c, i))

    a, b, c = (np.ones(size, np.float32) for _ in range(3))
    best, began = np.inf, time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        triad(size // PIECE, a, b, c)
        best = min(best, time.perf_counter() - start)
    return 3 * a.nbytes / best


def fused_of(backend, kernel):
    """A fused kernel of a backend, or its definition by the backend's plain ones."""
    return getattr(backend, kernel, None) or partial(getattr(fused, kernel), backend)


def convolution(name, x, filters, kernel, padding, pooled):
    """Forward and backward pass of a convolution, with max pooling where `pooled`, as cases."""
    rng, channels = np.random.default_rng(0), x.shape[1]
    need_dx = channels > 1  # a single channel is an image
    weight = rng.standard_normal((filters, channels, kernel, kernel), np.float32) / 10
    bias = np.zeros(filters, np.float32)

    def forward(backend):
        if pooled:
            return fused_of(backend, "conv2d_maxpool2d_forward")(x, weight, bias, 1, padding, 2, 2)
        return backend.conv2d_forward(x, weight, bias, 1, padding), None

    y, winner = forward(get_backend("tiled"))
    dy = rng.standard_normal(y.shape, np.float32)

    def backward(backend):
        if not pooled:
            return backend.conv2d_backward(dy, x, weight, 1, padding, need_dx)
        fused_backward = fused_of(backend, "conv2d_maxpool2d_backward")
        return fused_backward(dy, winner, x, weight, 1, padding, 2, 2, need_dx)

    outputs = y.size * (4 if pooled else 1)
    moved = x.nbytes + weight.nbytes + y.nbytes + (winner.nbytes if pooled else 0)
    multiply_adds = outputs * channels * kernel**2
    yield f"{name}, forward", multiply_adds, moved, forward
    # Backward, only the winners of a window pass a gradient on; dweight is written, and dx.
    multiply_adds = (1 + need_dx) * y.size * channels * kernel**2
    yield f"{name}, backward", multiply_adds, moved + weight.nbytes + need_dx * x.nbytes, backward


def dense(name, batch, features, units, k):
    """Forward pass of a maxout layer, and backward from eight examples on, as cases."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, features), np.float32)
    weight, bias = rng.standard_normal((units, k, features), np.float32), np.zeros((units, k), np.float32)

    def forward(backend):
        return fused_of(backend, "dense_maxout_forward")(x, weight, bias)

    y, winner = forward(get_backend("tiled"))
    dy = rng.standard_normal(y.shape, np.float32)

    def backward(backend):
        return fused_of(backend, "dense_maxout_backward")(dy, y, winner, x, weight)

    moved = x.nbytes + weight.nbytes + y.nbytes + winner.nbytes
    yield f"{name}, forward", batch * units * k * features, moved, forward
    if batch > 1:
        yield f"{name}, backward", 2 * batch * units * features, moved + x.nbytes + weight.nbytes, backward


def update(size=1 << 24):
    """The SGD update of 16 million parameters as a case: five arrays moved, three multiply-adds each."""
    w, g, v = (np.zeros(size, np.float32) for _ in range(3))
    step = lambda backend: backend.sgd_step([w], [g], [v], [None], 0.01, 0.9, 5e-4)  # noqa: E731
    yield "SGD update", 3 * size, 5 * w.nbytes, step


def kernels():
    """(name, multiply-adds, bytes, function of a backend) of every kernel in the figure."""
    first, _ = examples(64)
    second, _ = examples(64, 12, 20)
    third, _ = examples(32, 16, 64)
    yield from convolution("conv1 + pool1 of LeNet", first, 20, 5, 0, True)
    yield from convolution("conv2 + pool2 of LeNet", second, 52, 5, 0, True)
    yield from dense("maxout fc3 of LeNet", 64, 832, 64, 4)
    yield from dense("the same for one image", 1, 832, 64, 4)
    yield from convolution("conv3_2 of VGG16/4", third, 64, 3, 1, False)
    yield from update()


def measure(log):
    """Measure, and return what `mnp bench --roofline --json` writes.

    Each row has the kernel's operations (two for a multiply-add), bytes and intensity, and for the plain
    loop (`jitted`) and the tiled kernel the milliseconds and 1e9 operations of the definition per second.
    """
    threads = numba.get_num_threads()
    report = {
        "command": "mnp bench --roofline --json notebooks/results/roofline.json "
        "--figure notebooks/results/roofline.png",
        "machine": environment.cpu(),
        "threads": threads,
        "tiles": "AVX-512" if registers.WIDE else "AVX2",
        "load": load(),
        "rows": [],
    }
    peak, moved = fma_peak(threads), bandwidth()
    for kernel, multiply_adds, bytes_, call in kernels():
        log(f"measuring: {kernel}")
        calls = {"plain": partial(call, get_backend("jitted")), "tiled": partial(call, get_backend("tiled"))}
        row = {"kernel": kernel, "operations": 2 * multiply_adds, "bytes": bytes_}
        row["intensity"] = round(row["operations"] / bytes_, 2)
        for key, (best, _) in interleaved(calls, budget=3).items():
            row |= {f"{key}_ms": round(best, 4), f"{key}_gflops": round(row["operations"] / best / 1e6, 2)}
        report["rows"].append(row)
        peak, moved = max(peak, fma_peak(threads, 0.3)), max(moved, bandwidth(0.3))
    return report | {"peak_gflops": round(peak, 1), "bandwidth_gbs": round(moved / 1e9, 2)}
