"""Interleaved timing: every candidate runs in every round, so that a change of the machine affects all."""

import os
import time

import numpy as np

from mnp.kernels.registers import WIDE, make_tile

BUSY = 0.5  # load average above which timings are unreliable


def load():
    """The system's load average of the last minute; None on systems without one."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def interleaved(candidates, rounds=15, budget=4.0):
    """Call each candidate in turn, round after round; return {name: (best, median)} in milliseconds.

    Each is called twice before the first round, so that nothing is compiled or allocated later, and then in
    its turn for about 40 ms, 20 times at most: in training, too, one step follows another. There are fewer
    rounds when `budget` seconds have passed, but at least three.
    """
    inner = {}
    for name, call in candidates.items():
        call()
        began = time.perf_counter()
        call()
        inner[name] = int(np.clip(0.04 / max(time.perf_counter() - began, 1e-6), 1, 20))
    seconds = {name: [] for name in candidates}
    began = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - began > budget:
            break
        for name, call in candidates.items():
            time.sleep(0.004)  # so that spinning threads of another library go to sleep
            call()
            for _ in range(inner[name]):
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return {name: (1e3 * min(s), 1e3 * float(np.median(s))) for name, s in seconds.items()}


def fma_peak(threads, seconds=1.0):
    """Peak rate of multiply-adds: a register tile fed from the cache, on every thread.

    Returns 1e9 floating-point operations per second, two per multiply-add; the best of many tries.
    """
    from mnp.kernels.tiled.parallel import FLOATS, INT, shared

    rows, columns = (6, 4) if WIDE else (4, 1)  # as much as the registers hold
    tile = make_tile(rows, columns)

    @shared(FLOATS, FLOATS, FLOATS, INT)
    def multiply(index, w, x, y, count):
        t = tile.zero()
        for i in range(count):
            c = i & 63
            t = tile.outer(t, w, c, 64, x, c * 64, 16)
        tile.store(t, y, index * 384, 64, 16)

    count = 20_000
    w, x = np.full(512, 0.5, np.float32), np.full(8192, 0.5, np.float32)
    y = np.zeros(384 * threads, np.float32)
    multiply(threads, w, x, y, count)
    best, began = np.inf, time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        multiply(threads, w, x, y, count)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * columns * 16 * count * threads / best / 1e9
