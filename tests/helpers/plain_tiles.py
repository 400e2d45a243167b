"""Register tiles in plain Python: the loops of the tiled kernels run, and are seen, without a compiler.

    NUMBA_DISABLE_JIT=1 python -m pytest -p plain_tiles tests/kernels/test_tiles_in_python.py

With MNP_FORCE_AVX2=1 the tiles have AVX2's sizes, without it those of AVX-512.

A pytest plugin for coverage, for mutants and for a debugger; users never get it. Importing it puts these
functions in the place of those of `mnp.kernels.registers`, lets `@shared` functions run in a loop, and says
that the tier is available. A tile's value is an array (rows, columns, lanes). Other than the machine code,
these functions check their bounds: a vector that reaches behind its array is an error here.
"""

import os
from types import SimpleNamespace

import numba
import numpy as np

from mnp.kernels import registers


def piece(a, at, count):
    """a[at : at + count], all of it."""
    at = int(at)
    assert at >= 0 and at + count <= a.size, f"elements {at} to {at + count - 1} of {a.size}"
    return a[at : at + count]


def fused(a, b, c):
    """a * b + c, rounded once to float32: the product is exact in float64."""
    with np.errstate(all="ignore"):  # machine code does not warn
        return (np.asarray(a, np.float64) * b + c).astype(np.float32)


def quiet(operation):
    def without_warnings(t, u):
        with np.errstate(all="ignore"):
            return operation(t, u)

    return without_warnings


def get(a, at):
    value = piece(a, at, 1)[0]
    return value if a.dtype.kind == "f" else int(value)  # whole numbers grow to int64, as Numba has it


def put(a, at, value):
    piece(a, at, 1)[0] = value


def make_tile(rows, columns, lanes=16):
    every = [(p, q) for p in range(rows) for q in range(columns)]

    def vectors(a, places):
        return np.stack([piece(a, at, lanes) for at in places])

    def load(a, at, row, column):
        return vectors(a, [at + p * row + q * column for p, q in every]).reshape(rows, columns, lanes)

    def store(t, a, at, row, column):
        for p, q in every:
            piece(a, at + p * row + q * column, lanes)[:] = t[p, q]

    def outer_at(t, w, w_at, w_step, x, places):
        scalars = np.array([get(w, w_at + p * w_step) for p in range(rows)])
        return fused(scalars[:, None, None], vectors(x, places)[None], t)

    def dot(t, a, a_at, a_step, b, b_at, b_step):
        left = vectors(a, [a_at + p * a_step for p in range(rows)])
        return fused(left[:, None], vectors(b, [b_at + q * b_step for q in range(columns)])[None], t)

    def sum_lanes(t, y, at, step):
        for p, q in every:
            put(y, at + p * step + q, t[p, q].sum())

    def max_columns(t, y, winner, at, step):
        for p in range(rows):  # argmax: the lowest column wins a tie, the first NaN wins all
            first = t[p].argmax(axis=0)
            piece(y, at + p * step, lanes)[:] = t[p][first, np.arange(lanes)]
            piece(winner, at + p * step, lanes)[:] = first

    def load_pairs(a, at, row):
        pairs = np.stack([piece(a, at + p * row, 2 * lanes) for p in range(rows)])
        return np.stack([pairs[:, 0::2], pairs[:, 1::2]], axis=1)

    def store_pairs(t, a, at, row):
        for p in range(rows):
            piece(a, at + p * row, 2 * lanes)[:] = t[p].T.reshape(-1)

    return SimpleNamespace(
        zero=lambda: np.zeros((rows, columns, lanes), np.float32),
        load=load,
        store=store,
        outer=lambda t, w, w_at, w_step, x, x_at, x_step: outer_at(
            t, w, w_at, w_step, x, [x_at + q * x_step for q in range(columns)]
        ),
        outer_at=outer_at,
        axpy=lambda t, g, x, x_at, x_step: fused(
            np.float32(g), vectors(x, [x_at + i * x_step for i in range(rows * columns)]).reshape(t.shape), t
        ),
        dot=dot,
        sum_lanes=sum_lanes,
        add=quiet(np.add),
        sub=quiet(np.subtract),
        scale=lambda t, g: quiet(np.multiply)(t, np.float32(g)),
        add_rows=lambda t, b, at: t + piece(b, at, rows)[:, None, None],
        max_columns=max_columns,
        load_pairs=load_pairs,
        store_pairs=store_pairs,
        transpose=lambda t: t.transpose(2, 1, 0).copy(),
    )


def run_in_a_loop(self, count, *arguments):
    for index in range(count):
        self.function(index, *arguments)


def install():
    """Before anything imports the tiled kernels: they take their functions by name."""
    for function in (make_tile, get, put):
        setattr(registers, function.__name__, function)
    registers.WIDE = os.environ.get("MNP_FORCE_AVX2") != "1"  # whatever this CPU has
    # The package's own file imports all loops, with the functions above; only then can these be changed.
    from mnp.kernels.tiled import parallel, support

    np.seterr(all="ignore")  # machine code does not warn, also not of lanes that nobody reads
    parallel.Shared.__call__, parallel._count = run_in_a_loop, numba.get_num_threads
    support.__dict__["numba"] = SimpleNamespace(config=SimpleNamespace(DISABLE_JIT=0))


install()
