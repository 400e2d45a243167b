"""Register tiles: their sums, maxima and mistakes. How they load and store, the kernels' tests show."""

import re

import numpy as np
import pytest
from fresh_python import run_python
from numba import njit
from numba.core.errors import TypingError

from mnp.kernels.registers import NEON, WIDE, get, make_tile, put


def vectors(array, starts, lanes):
    """The vectors that begin at these places, as rows."""
    return np.stack([array[start : start + lanes] for start in starts])


ONE, TWO = make_tile(1, 1), make_tile(2, 1)
SHAPES = [(1, 1, 4), (2, 3, 8), (6, 4, 16), (3, 1, 16)]


@pytest.mark.parametrize(("rows", "columns", "lanes"), SHAPES)
def test_products_add_up_exactly_on_small_integers(rows, columns, lanes):
    tile = make_tile(rows, columns, lanes)
    depth, w_step, x_step = 5, 7, lanes + 2
    rng = np.random.default_rng(1)
    w = rng.integers(-9, 9, rows * w_step + depth).astype(np.float32)
    x = rng.integers(-9, 9, columns * x_step + depth + lanes).astype(np.float32)
    places = tuple(range(2, 2 + 3 * columns, 3))

    @njit
    def products(w, x, places, y):
        outer, outer_at = tile.zero(), tile.zero()
        for i in range(depth):
            outer = tile.outer(outer, w, i, w_step, x, i, x_step)
            outer_at = tile.outer_at(outer_at, w, i, w_step, x, places)
        tile.store(outer, y[0], 0, columns * lanes, lanes)
        tile.store(outer_at, y[1], 0, columns * lanes, lanes)
        tile.store(tile.add(outer, outer_at), y[2], 0, columns * lanes, lanes)
        tile.store(tile.sub(outer, outer_at), y[3], 0, columns * lanes, lanes)

    y = np.empty((4, rows * columns * lanes), np.float32)
    products(w, x, places, y)
    outer = np.zeros((rows, columns, lanes), np.float32)
    outer_at = np.zeros_like(outer)
    for i in range(depth):
        scalars = w[i + w_step * np.arange(rows)][:, None, None]
        outer += scalars * vectors(x, [i + q * x_step for q in range(columns)], lanes)
        outer_at += scalars * vectors(x, places, lanes)
    for result, expected in zip(y, (outer, outer_at, outer + outer_at, outer - outer_at), strict=True):
        np.testing.assert_array_equal(result.reshape(outer.shape), expected)


def test_a_product_is_rounded_once():
    tile = make_tile(1, 1, 4)

    @njit
    def once(w, x, y):
        tile.store(tile.outer(tile.load(y, 0, 0, 0), w, 0, 0, x, 0, 0), y, 0, 0, 0)

    tiny = np.float32(2.0**-13)
    w, x, y = np.array([1 + tiny]), np.full(4, 1 - tiny), np.full(4, -1.0)
    w, x, y = (a.astype(np.float32) for a in (w, x, y))
    once(w, x, y)  # (1 + e)(1 - e) - 1 = -e^2; rounding the product first would give 0
    np.testing.assert_array_equal(y, np.full(4, -(tiny**2)))


def maxima(columns, lanes, values, bias):
    """max_columns of one row per bias, after add_rows; values (columns, lanes)."""
    rows = len(bias)
    tile = make_tile(rows, columns, lanes)

    @njit
    def largest(x, bias, y, winner):
        t = tile.zero()
        one = tile.add_rows(t, bias, 0)
        tile.max_columns(tile.add(tile.load(x, 0, 0, lanes), one), y, winner, 0, lanes)

    y, winner = np.empty(rows * lanes, np.float32), np.empty(rows * lanes, np.uint8)
    largest(values.reshape(-1), bias, y, winner)
    return y.reshape(rows, lanes), winner.reshape(rows, lanes)


@pytest.mark.parametrize("columns", [1, 2, 4, 5])
def test_the_maximum_and_its_column_follow_argmax(columns):
    rng = np.random.default_rng(2)
    values = rng.integers(-1, 2, (columns, 16)).astype(np.float32)  # few values: many ties
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.1] = -np.inf
    bias = np.array([0.0, -3.0], np.float32)
    y, winner = maxima(columns, 16, values, bias)
    for p in range(2):
        np.testing.assert_array_equal(y[p], np.max(values + bias[p], axis=0))
        np.testing.assert_array_equal(winner[p], np.argmax(values + bias[p], axis=0))


@pytest.mark.parametrize(
    ("a", "call"),
    [
        (np.zeros((2, 4), np.float32), lambda a: get(a, 0)),
        (np.zeros(8, np.float32)[::2], lambda a: put(a, 0, 1)),
        (np.zeros(64), lambda a: ONE.store(ONE.load(a, 0, 0, 0), a, 0, 0, 0)),
        (np.zeros(64, np.float32)[::2], lambda a: ONE.store(ONE.load(a, 0, 0, 0), a, 0, 0, 0)),
        (np.zeros(64, np.float32), lambda a: ONE.store(TWO.zero(), a, 0, 0, 0)),
        (np.zeros(64, np.float32), lambda a: TWO.store(TWO.load_pairs(a, 0, 16), a, 0, 16, 0)),
        (np.zeros(64, np.float32), lambda a: TWO.store(TWO.transpose(TWO.zero()), a, 0, 16, 0)),
    ],
)
def test_other_arrays_and_other_tiles_are_a_typing_error(a, call):
    with pytest.raises(TypingError):
        njit(call)(a)


def test_the_accumulators_stay_in_registers():
    """The loop of a full tile has its multiply-adds and no store: nothing is spilled."""
    rows, columns, sums_of_loop = (6, 4, 24) if WIDE else (4, 1, 16 if NEON else 8)
    sums_of = r"fmla.*\.4s" if NEON else "vfmadd.*zmm" if WIDE else "vfmadd.*ymm"
    spill_of = r"st[rp]\s+q.*\[sp" if NEON else r"vmov.*[yz]mm.*\(%rsp\)"
    tile = make_tile(rows, columns)

    @njit
    def sums(w, x, y, depth):
        t = tile.zero()
        for i in range(depth):
            t = tile.outer(t, w, i * rows, 1, x, i * 16 * columns, 16)
        tile.store(t, y, 0, 16 * columns, 16)

    sums(np.zeros(6, np.float32), np.zeros(64, np.float32), np.zeros(384, np.float32), 1)
    (code,) = sums.inspect_asm().values()
    blocks = re.split(r"^\S+:", code, flags=re.MULTILINE)
    loops = [block for block in blocks if len(re.findall(sums_of, block)) >= sums_of_loop]
    assert loops
    for loop in loops:
        assert not re.search(spill_of, loop)


def test_importing_needs_no_compiler():
    code = "import mnp.kernels.registers as r; r.make_tile(2, 2); print('imported')"
    assert run_python(code, NUMBA_DISABLE_JIT="1").stdout == "imported\n"


def test_the_size_of_tiles_can_be_forced_to_avx2s_and_is_a_part_of_the_kept_codes_key():
    code = """
        import mnp.kernels.registers as r; from mnp.kernels.tiled import compiling, dense_loops, winograd
        print(r.WIDE, dense_loops.LANES, winograd.STRIP, compiling.sources_digest(r.__file__))"""
    found = [run_python(code, MNP_FORCE_AVX2=force).stdout.split() for force in "01"]
    assert found[1][:3] == ["False", "8", "16"]
    assert found[0][:3] in (["True", "16", "64"], found[1][:3])
    assert (found[0][3] == found[1][3]) == (found[0][0] == "False")
