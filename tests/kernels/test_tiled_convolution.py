"""Short filters (Winograd) in the tiled tier: against float64, and exact where they promise it."""

import os

import numpy as np
import pytest
from fresh_python import python_path, run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import LAYOUTS, draw
from tolerances import TEXTBOOK, assert_close, assert_results_close

from mnp.kernels import jitted, textbook, tiled
from mnp.kernels.tiled import compiling, parallel

FEW = settings(max_examples=20, deadline=None, derandomize=True)
needs_tiles = pytest.mark.skipif(not tiled.available(), reason="no vector instructions, or no compiler")
LEAST = 128  # squares of outputs from which short filters are used without pooling


def enough(height, width, padding):
    """How many images have LEAST squares."""
    squares = ((height + 2 * padding - 1) // 2) * ((width + 2 * padding - 1) // 2)
    return -(-LEAST // squares)


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


@FEW
@given(
    extra=st.integers(0, 3),
    channels=st.sampled_from([1, 2, 3, 15, 16, 17, 33, 64]),
    filters=st.sampled_from([1, 3, 4, 5, 16, 17, 48]),
    height=st.integers(3, 11),
    width=st.integers(3, 37),
    padding=st.integers(0, 2),
    coarse=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 999),
)
def test_plain_convolution(extra, channels, filters, height, width, padding, coarse, layout, seed):
    rng = np.random.default_rng(seed)
    n = enough(height, width, padding) + extra
    x = draw(rng, (n, channels, height, width), coarse, layout)
    weight, bias = draw(rng, (filters, channels, 3, 3), coarse, layout), draw(rng, filters, coarse)
    before = [a.copy() for a in (x, weight, bias)]
    expected = jitted.conv2d_forward(*wide(x, weight, bias), 1, padding)
    y = tiled.conv2d_forward(x, weight, bias, 1, padding)
    bound = 0 if coarse else TEXTBOOK["float32"]  # factors of two keep small integers exact
    assert_close(y, expected.astype(np.float32), bound, "y")
    dy = draw(rng, y.shape, coarse, layout)
    expected = jitted.conv2d_backward(*wide(dy, x, weight), 1, padding)
    gradients = tiled.conv2d_backward(dy, x, weight, 1, padding)
    assert_results_close(gradients, tuple(g.astype(np.float32) for g in expected), bound, "gradients")
    without = tiled.conv2d_backward(dy, x, weight, 1, padding, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], gradients[1])
    for array, old in zip((x, weight, bias), before, strict=True):
        np.testing.assert_array_equal(array, old)


@needs_tiles
def test_it_is_these_loops_that_ran(monkeypatch):
    def fails(self, *arguments):
        raise AssertionError(f"{self.function.__name__} ran")

    x, weight, bias = np.ones((2, 8, 16, 16), np.float32), np.ones((5, 8, 3, 3), np.float32), np.ones(5)
    bias = bias.astype(np.float32)
    monkeypatch.setattr(parallel.Shared, "__call__", fails)
    with pytest.raises(AssertionError, match="make_factors ran"):
        tiled.conv2d_forward(x, weight, bias, 1, 1)
    with pytest.raises(AssertionError, match="make_factors ran"):
        tiled.conv2d_backward(np.ones((2, 5, 16, 16), np.float32), x, weight, 1, 1)
    with pytest.raises(AssertionError, match="lay_out ran"):
        tiled.conv2d_backward(np.ones((2, 5, 16, 16), np.float32), x, weight, 1, 1, need_dx=False)
    with pytest.raises(AssertionError, match="make_factors ran"):
        tiled.conv2d_maxpool2d_forward(np.repeat(x, 8, 0), weight, bias, 1, 1, 2, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_where_it_belongs(value):
    """A product of sums would carry an infinite pixel to its neighbours; overflowing sums likewise."""
    rng = np.random.default_rng(3)
    x, weight, bias = draw(rng, (3, 8, 14, 14)), draw(rng, (5, 8, 3, 3)) / 64, draw(rng, 5)
    x[1, 2, 5, 6] = value
    x[1, 2, 5, 7] = value  # the two middle ones of a square, whose sum is too large for float32
    y = tiled.conv2d_forward(x, weight, bias, 1, 1)
    expected = jitted.conv2d_forward(x, weight, bias, 1, 1)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
    np.testing.assert_array_equal(y, expected)
    dy = draw(rng, y.shape)
    for a, b in zip(
        tiled.conv2d_backward(dy, x, weight, 1, 1), jitted.conv2d_backward(dy, x, weight, 1, 1), strict=True
    ):
        if abs(value) < np.inf:
            assert_close(a, b, 1e-5)
        else:
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
    many = np.repeat(x, 8, axis=0)
    y, winner = tiled.conv2d_maxpool2d_forward(many, weight, bias, 1, 1, 2, 2)
    expected, first = textbook.maxpool2d_forward(jitted.conv2d_forward(many, weight, bias, 1, 1), 2, 2)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
    np.testing.assert_array_equal(winner[~np.isfinite(expected)], first[~np.isfinite(expected)])


def test_equal_pixels_leave_the_window_to_its_first():
    rng = np.random.default_rng(4)
    x = np.full((40, 8, 12, 12), 0.1, np.float32)  # a flat background, as around a digit
    for kernel in (3, 5):
        weight, bias = draw(rng, (7, 8, kernel, kernel)), draw(rng, 7)
        assert not tiled.conv2d_maxpool2d_forward(x, weight, bias, 1, 0, 2, 2)[1].any()


@needs_tiles
def test_functions_of_one_name_in_two_modules_are_two_functions(tmp_path):
    """Their machine code once went into one file; a process then ran one module's code for the other's."""
    for module, value in (("one", 1), ("two", 2)):
        (tmp_path / f"{module}.py").write_text(
            "from mnp.kernels.tiled.parallel import FLOATS, shared\n"
            "@shared(FLOATS)\n"
            f"def fill(index, y): y[index] = {value}\n"
        )
    code = """
        import numpy as np, one, two
        y = np.zeros(1, np.float32)
        for module in (one, two):
            module.fill(1, y)
            print(y[0])"""
    cache = tmp_path / "cache"

    def filled():
        path = os.pathsep.join([str(tmp_path), python_path()])
        return run_python(code, NUMBA_CACHE_DIR=str(cache), PYTHONPATH=path).stdout.split()

    assert filled() == filled() == ["1.0", "2.0"]
    names = [path.name for path in cache.rglob("*.nbi") if "fill" in path.name]
    digests = [compiling.sources_digest(tmp_path / f"{module}.py")[:16] for module in ("one", "two")]
    assert len(names) == 4 and all(sum(d in name for name in names) == 2 for d in digests)
    # A file that is not of this tier changes: its kept code is another's now, though its loop is not its own.
    (tmp_path / "two.py").write_text((tmp_path / "two.py").read_text().replace("= 2", "= 3"))
    assert filled() == ["1.0", "3.0"]
