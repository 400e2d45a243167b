"""The tiled kernels against the textbook: shapes, layouts, ties, NaN, threads, other types, the fallback."""

import doctest
import os
import subprocess
import sys

import error_bounds
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import LAYOUTS, arguments, call, copied, laid_out, sizes
from tolerances import TEXTBOOK, assert_close, assert_results_close

from mnp.errors import MnpError
from mnp.kernels import FUSED, KERNELS, jitted, textbook, tiled
from mnp.kernels.registers import NEON
from mnp.kernels.tiled import convolution, dense, elementwise, parallel, pooled, support
from mnp.verify import reference

FEW = settings(max_examples=20, deadline=None, derandomize=True)
needs_tiles = pytest.mark.skipif(not tiled.available(), reason="no vector instructions, or no compiler")


def rng_of(seed):
    return np.random.default_rng(seed)


def draw(rng, shape, coarse=False, layout="C"):
    """Floats; coarse ones are small integers, so that ties are many and sums exact."""
    values = rng.integers(-2, 3, shape) if coarse else rng.standard_normal(shape)
    return laid_out(np.asarray(values).astype(np.float32), layout)


def test_an_array_on_a_line_starts_on_one():
    for shape in ((1,), (3, 5, 7), (64, 33)):
        array = support.cache_aligned_empty(shape)
        assert array.shape == shape and array.dtype == np.float32 and array.flags.carray
        assert array.ctypes.data % 64 == 0


def plain_conv_pool(x, weight, bias, padding, dy, need_dx=True):
    """Convolution and 2x2 pooling by the textbook: (y, winner), (dx, dweight, dbias)."""
    z = textbook.conv2d_forward(x, weight, bias, 1, padding)
    y, winner = textbook.maxpool2d_forward(z, 2, 2)
    dz = textbook.maxpool2d_backward(dy(y.shape), winner, z.shape, 2, 2)
    return (y, winner), textbook.conv2d_backward(dz, x, weight, 1, padding, need_dx)


def plain_maxout(x, weight, bias, relu, keep, p, dy):
    """Dense, ReLU, dropout and maxout by the textbook: (y, winner), (dx, dweight, dbias)."""
    units, k, features = weight.shape
    flat = weight.reshape(-1, features)
    z = before = textbook.dense_forward(x, flat, bias.reshape(-1)).reshape(-1, units, k)
    if relu:
        z = before = textbook.relu_forward(z)
    if keep is not None:
        z = textbook.dropout_forward(z, keep, p)
    y, winner = textbook.maxout_forward(z)
    dz = textbook.maxout_backward(dy(y.shape), winner, k)
    if keep is not None:
        dz = textbook.dropout_backward(dz, keep, p)
    if relu:
        dz = textbook.relu_backward(dz, before)
    dx, dweight, dbias = textbook.dense_backward(dz.reshape(len(x), -1), x, flat)
    return (y, winner), (dx, dweight.reshape(weight.shape), dbias.reshape(bias.shape))


@pytest.mark.parametrize("module", [convolution, dense, elementwise, pooled, support])
def test_examples_in_the_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_all_agreed_names_are_offered():
    assert {*KERNELS, *FUSED, "available"} <= set(tiled.__all__)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(s=sizes(), seed=st.integers(0, 999), layout=st.sampled_from(LAYOUTS), coarse=st.booleans())
def test_agreed_kernels_equal_the_textbook(kernel, s, seed, layout, coarse):
    args = arguments(kernel, s, rng_of(seed), np.float32, layout, coarse)
    expected = call(textbook, kernel, copied(args))
    largest = max(np.abs(w).max() for w in args[0]) if kernel == "sgd_step" else 0.0  # one may be left near 0
    assert_results_close(call(tiled, kernel, copied(args)), expected, TEXTBOOK["float32"], kernel, largest)


@FEW
@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 2, 3, 8, 20]),
    filters=st.sampled_from([1, 2, 3, 5, 6, 11, 20]),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    rows=st.integers(2, 9),
    columns=st.integers(2, 12),
    padding=st.integers(0, 2),
    coarse=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 999),
)
def test_convolution_with_pooling(n, channels, filters, kernel, rows, columns, padding, coarse, layout, seed):
    (kh, kw), rng = kernel, rng_of(seed)
    h, w = max(1, rows + kh - 1 - 2 * padding), max(1, columns + kw - 1 - 2 * padding)
    x, weight = draw(rng, (n, channels, h, w), coarse, layout), draw(rng, (filters, channels, kh, kw), coarse)
    bias, weight = draw(rng, filters, coarse), laid_out(weight, layout)
    gradient = {}

    def dy(shape):
        return gradient.setdefault("dy", draw(rng, shape, coarse, layout))

    forward, backward = plain_conv_pool(x, weight, bias, padding, dy)
    before = [a.copy() for a in (x, weight, bias)]
    result = tiled.conv2d_maxpool2d_forward(x, weight, bias, 1, padding, 2, 2)
    assert_results_close(result, forward, TEXTBOOK["float32"], "forward")
    args = (gradient["dy"], result[1], x, weight, 1, padding, 2, 2)
    gradients = tiled.conv2d_maxpool2d_backward(*args)
    assert_results_close(gradients, backward, TEXTBOOK["float32"], "backward")
    without = tiled.conv2d_maxpool2d_backward(*args, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], gradients[1])
    for array, old in zip((x, weight, bias), before, strict=True):
        np.testing.assert_array_equal(array, old)


def assert_within_bounds(got, kernel, named):
    """A single sum may cancel to nearly nothing: what counts is what it was made from."""
    expected, limits = reference.call(kernel, named), error_bounds.bounds(kernel, named)
    for name, array in got.items():
        assert (np.abs(array - expected[name]) <= limits[name]).all(), name


@FEW
@given(
    n=st.sampled_from([1, 2, 5, 6, 7, 13, 130]),
    features=st.sampled_from([16, 17, 40, 100, 215]),
    units=st.sampled_from([1, 3, 4, 9]),
    k=st.sampled_from([1, 2, 3, 4, 5, 8]),
    relu=st.booleans(),
    dropped=st.booleans(),
    coarse=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 999),
)
def test_dense_with_maxout(n, features, units, k, relu, dropped, coarse, layout, seed):
    rng = rng_of(seed)
    x, weight = draw(rng, (n, features), coarse, layout), draw(rng, (units, k, features), coarse, layout)
    bias, dy = draw(rng, (units, k), coarse), draw(rng, (n, units), coarse, layout)
    keep, p = (rng.random((n, units, k)) < 0.7, 0.25) if dropped else (None, 0.0)
    forward, backward = plain_maxout(x, weight, bias, relu, keep, p, lambda shape: dy)
    y, winner = tiled.dense_maxout_forward(x, weight, bias, relu, keep, p)
    named = {"x": x, "weight": weight, "bias": bias, "relu": relu, "keep": keep, "p": p}
    np.testing.assert_array_equal(winner, forward[1])
    assert_within_bounds({"y": y}, "dense_maxout_forward", named)
    args = (dy, y, winner, x, weight, relu, keep, p)
    gradients = tiled.dense_maxout_backward(*args)
    named = {name: value for name, value in named.items() if name != "bias"}
    named |= {"dy": dy, "y": y, "winner": winner}
    assert_within_bounds(
        dict(zip(("dx", "dweight", "dbias"), gradients, strict=True)), "dense_maxout_backward", named
    )
    assert_results_close(gradients, backward, 1e-4, "backward")  # types and shapes; the digits were judged
    without = tiled.dense_maxout_backward(*args, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], gradients[1])


def lenet_arrays(n=5):
    """The arrays of one step of the maxout LeNet's largest layers."""
    rng = rng_of(3)
    conv = draw(rng, (n, 20, 12, 12)), draw(rng, (52, 20, 5, 5)), draw(rng, 52)
    maxout = draw(rng, (n, 832)), draw(rng, (64, 4, 832)), draw(rng, (64, 4))
    keep = rng.random((n, 64, 4)) < 0.5
    return conv, maxout, keep, draw(rng, (n, 52, 4, 4)), draw(rng, (n, 64))


def lenet_results(n=5):
    """Everything that the fused kernels compute for them."""
    conv, maxout, keep, conv_dy, dy = lenet_arrays(n)
    y, winner = tiled.conv2d_maxpool2d_forward(*conv, 1, 0, 2, 2)
    y2, winner2 = tiled.dense_maxout_forward(*maxout, True, keep, 0.5)
    return (
        *(y, winner, *tiled.conv2d_maxpool2d_backward(conv_dy, winner, *conv[:2], 1, 0, 2, 2)),
        *(y2, winner2, *tiled.dense_maxout_backward(dy, y2, winner2, *maxout[:2], True, keep, 0.5)),
    )


def test_lenet_sizes_against_float64():
    conv, maxout, keep, conv_dy, dy = lenet_arrays()
    wide = [a.astype(np.float64) for a in (*conv, *maxout)]
    first, second = plain_conv_pool(*wide[:3], 0, lambda shape: conv_dy.astype(np.float64))
    third, fourth = plain_maxout(*wide[3:], True, keep, 0.5, lambda shape: dy.astype(np.float64))
    for result, expected in zip(lenet_results(), (*first, *second, *third, *fourth), strict=True):
        expected = expected.astype(np.float32) if expected.dtype.kind == "f" else expected
        assert_close(result, expected, 2e-6, "a LeNet step")


def test_bits_do_not_depend_on_the_threads():
    before = numba.get_num_threads()
    code = "import test_tiled, numpy as np, sys; sys.stdout.buffer.write(test_tiled.digest())"
    digests = set()
    for threads in (1, 2, 4):
        env = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1
    assert numba.get_num_threads() == before


def digest():
    """All bits of the LeNet results, for batches of one and of seven."""
    return b"".join(a.tobytes() for n in (1, 7) for a in lenet_results(n))


def test_a_batch_gives_what_its_examples_give():
    whole = lenet_results(7)
    conv = lenet_arrays(7)[0]
    for n in range(7):
        y, winner = tiled.conv2d_maxpool2d_forward(conv[0][n : n + 1], *conv[1:], 1, 0, 2, 2)
        assert_close(y[0], whole[0][n], 2e-6)
        np.testing.assert_array_equal(winner[0], whole[1][n])


def test_nan_wins_every_maximum_it_meets():
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 1, 0] = x[0, 0, 1, 1] = x[0, 0, 2, 3] = np.nan
    one, none = np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32)
    y, winner = tiled.conv2d_maxpool2d_forward(x, one, none, 1, 0, 2, 2)
    np.testing.assert_array_equal(y[0, 0], [[np.nan, 0], [0, np.nan]])
    assert winner[0, 0].tolist() == [[2, 0], [0, 1]]

    x, weight = np.ones((1, 16), np.float32), np.zeros((2, 3, 16), np.float32)
    weight[0, 1, 0] = weight[0, 2, 0] = np.nan
    bias = np.zeros((2, 3), np.float32)
    for relu in (False, True):
        y, winner = tiled.dense_maxout_forward(x, weight, bias, relu)
        np.testing.assert_array_equal(y, [[np.nan, 0]])
        assert winner.tolist() == [[1, 0]]


def test_equal_pixels_leave_the_window_to_its_first():
    x = np.full((20, 8, 12, 12), 0.1, np.float32)  # a flat background, as around a digit
    weight, bias = draw(rng_of(4), (7, 8, 5, 5)), draw(rng_of(5), 7)
    _, winner = tiled.conv2d_maxpool2d_forward(x, weight, bias, 1, 0, 2, 2)
    assert not winner.any()


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16])
def test_winners_of_any_integer_type(dtype):
    conv, maxout, keep, conv_dy, dy = lenet_arrays(2)
    results = lenet_results(2)
    again = tiled.conv2d_maxpool2d_backward(conv_dy, results[1].astype(dtype), *conv[:2], 1, 0, 2, 2)
    for a, b in zip(again, results[2:5], strict=True):
        np.testing.assert_array_equal(a, b)
    winner = results[6].astype(dtype)
    again = tiled.dense_maxout_backward(dy, results[5], winner, *maxout[:2], True, keep, 0.5)
    for a, b in zip(again, results[7:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrong", [4, -1, 300])
def test_winners_out_of_range_are_refused(wrong):
    conv, maxout, _, conv_dy, dy = lenet_arrays(2)
    for dtype in (np.uint8, np.int64):
        if not np.iinfo(dtype).min <= wrong <= np.iinfo(dtype).max:
            continue
        winner = np.zeros(conv_dy.shape, dtype)
        winner[1, 2, 3, 0] = wrong
        with pytest.raises(MnpError, match="winner"):
            tiled.conv2d_maxpool2d_backward(conv_dy, winner, *conv[:2], 1, 0, 2, 2)
        winner = np.zeros(dy.shape, dtype)
        winner[1, 2] = wrong
        with pytest.raises(MnpError, match="winner"):
            tiled.dense_maxout_backward(dy, dy, winner, *maxout[:2])


def test_wrong_shapes_are_refused():
    conv, maxout, keep, conv_dy, dy = lenet_arrays(2)
    x, weight, bias = conv
    winner = np.zeros(conv_dy.shape, np.uint8)
    calls = [
        lambda: tiled.conv2d_maxpool2d_forward(x[:, :3], weight, bias, 1, 0, 2, 2),
        lambda: tiled.conv2d_maxpool2d_forward(x, weight, bias[:3], 1, 0, 2, 2),
        lambda: tiled.conv2d_maxpool2d_forward(x[:, :, :4], weight, bias, 1, 0, 2, 2),
        lambda: tiled.conv2d_maxpool2d_backward(conv_dy[:, :, 1:], winner, x, weight, 1, 0, 2, 2),
        lambda: tiled.conv2d_maxpool2d_backward(conv_dy, winner[:1], x, weight, 1, 0, 2, 2),
        lambda: tiled.dense_maxout_forward(maxout[0][:, 1:], *maxout[1:]),
        lambda: tiled.dense_maxout_forward(*maxout[:2], maxout[2][1:]),
        lambda: tiled.dense_maxout_forward(*maxout, True, keep[:, :, 1:], 0.5),
        lambda: tiled.dense_maxout_forward(*maxout, True, keep, 1.0),
        lambda: tiled.dense_maxout_backward(dy[1:], dy, dy.astype(int), *maxout[:2]),
        lambda: tiled.dense_forward(maxout[0], maxout[1][0, :, 1:], maxout[2][0]),
        lambda: tiled.dense_backward(dy, maxout[0], maxout[1][0]),
        lambda: tiled.sgd_step((bias,), (bias[1:],), (bias,), (None,), 0.1, 0.9, 0.0),
    ]
    for wrong in calls:
        with pytest.raises(MnpError):
            wrong()


def test_sgd_takes_any_number_of_arrays_and_masks():
    rng = rng_of(6)
    shapes = [(3, 4), (20000,), (5,), (1,), (2, 2, 2), (7,), (8200,), (9,), (4, 4), (11,)]
    ours = [tuple(draw(rng, shape) for shape in shapes) for _ in range(3)]
    theirs = copied(tuple(ours))
    masks = tuple(None if i % 2 else rng.random(shape) < 0.5 for i, shape in enumerate(shapes))
    for _ in range(2):
        tiled.sgd_step(*ours, masks, 0.1, 0.9, 5e-4)
        textbook.sgd_step(*theirs, masks, 0.1, 0.9, 5e-4)
    for group, expected in zip(ours, theirs, strict=True):
        assert_results_close(group, expected, TEXTBOOK["float32"], "sgd_step")
    for w, v, mask in zip(ours[0], ours[2], masks, strict=True):
        if mask is not None:
            assert not w[~mask].any() and not v[~mask].any()


def fails(*arguments):
    raise AssertionError("a tile ran where it should not")


@pytest.mark.parametrize("reason", ["float64", "forced"])
def test_the_fallback_gives_equal_results(reason, monkeypatch):
    conv, maxout, keep, conv_dy, dy = lenet_arrays(2)
    if reason == "float64":
        conv, maxout = ([a.astype(np.float64) for a in group] for group in (conv, maxout))
        conv_dy, dy = conv_dy.astype(np.float64), dy.astype(np.float64)
    else:
        monkeypatch.setattr(support, "FORCED", True)
        assert not tiled.available()
    monkeypatch.setattr(parallel.Shared, "__call__", fails)
    bound = TEXTBOOK["float64" if reason == "float64" else "float32"] * 4
    forward, backward = plain_conv_pool(*conv, 0, lambda shape: conv_dy)
    results = tiled.conv2d_maxpool2d_forward(*conv, 1, 0, 2, 2)
    assert_results_close(results, forward, bound)
    results = tiled.conv2d_maxpool2d_backward(conv_dy, results[1], *conv[:2], 1, 0, 2, 2)
    assert_results_close(results, backward, bound)
    forward, backward = plain_maxout(*maxout, True, keep, 0.5, lambda shape: dy)
    y, winner = tiled.dense_maxout_forward(*maxout, True, keep, 0.5)
    assert_results_close((y, winner), forward, bound)
    results = tiled.dense_maxout_backward(dy, y, winner, *maxout[:2], True, keep, 0.5)
    assert_results_close(results, backward, bound)
    flat, bias = maxout[1].reshape(256, 832), maxout[2].reshape(-1)
    np.testing.assert_array_equal(
        tiled.dense_forward(maxout[0], flat, bias), jitted.dense_forward(maxout[0], flat, bias)
    )
    w = (maxout[2].copy(),)
    tiled.sgd_step(w, (maxout[2],), (maxout[2] * 0,), (None,), 0.5, 0.9, 0.0)
    assert_close(w[0], maxout[2] * maxout[2].dtype.type(0.5), bound)


@pytest.mark.parametrize("stride, size, pool_stride", [(2, 2, 2), (1, 3, 2), (1, 2, 1)])
def test_other_strides_and_windows_fall_back(stride, size, pool_stride):
    rng = rng_of(7)
    x, weight, bias = draw(rng, (2, 3, 12, 11)), draw(rng, (4, 3, 3, 3)), draw(rng, 4)
    z = textbook.conv2d_forward(x, weight, bias, stride, 1)
    expected = textbook.maxpool2d_forward(z, size, pool_stride)
    results = tiled.conv2d_maxpool2d_forward(x, weight, bias, stride, 1, size, pool_stride)
    assert_results_close(results, expected, TEXTBOOK["float32"])
    dy = draw(rng, expected[0].shape)
    dz = textbook.maxpool2d_backward(dy, expected[1], z.shape, size, pool_stride)
    expected = textbook.conv2d_backward(dz, x, weight, stride, 1)
    results = tiled.conv2d_maxpool2d_backward(dy, results[1], x, weight, stride, 1, size, pool_stride)
    assert_results_close(results, expected, TEXTBOOK["float32"])


@pytest.mark.parametrize("layout", ["read-only", "unaligned"])
def test_memory_that_loops_cannot_use_is_copied(layout):
    x, weight, bias = draw(rng_of(8), (2, 16)), draw(rng_of(9), (4, 1, 16)), np.zeros((4, 1), np.float32)
    expected = tiled.dense_maxout_forward(x, weight, bias)
    if layout == "read-only":
        x.flags.writeable = False
    else:
        x = np.frombuffer(b"?" + x.tobytes(), np.float32, offset=1).reshape(x.shape)
        assert not x.flags.aligned
    for a, b in zip(tiled.dense_maxout_forward(x, weight, bias), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_tiles
def test_the_tiles_really_run(monkeypatch):
    """Without this, every test above would pass on a tier that only ever falls back."""
    conv, maxout, *_ = lenet_arrays(1)
    monkeypatch.setattr(parallel.Shared, "__call__", fails)
    for call_tiles in (
        lambda: tiled.conv2d_maxpool2d_forward(*conv, 1, 0, 2, 2),
        lambda: tiled.dense_maxout_forward(*maxout),
        lambda: tiled.sgd_step((conv[2],), (conv[2],), (conv[2],), (None,), 0.1, 0.9, 0.0),
    ):
        with pytest.raises(AssertionError, match="a tile ran"):
            call_tiles()


@needs_tiles
def test_code_from_the_cache_runs_in_a_process_that_has_done_nothing_else():
    code = (
        "import numpy as np; from mnp.kernels import tiled\n"
        "w = np.ones(5, np.float32)\n"
        "tiled.sgd_step((w,), (w.copy(),), (w * 0,), (None,), 0.5, 0.0, 0.0)\n"
        "print(w.tolist())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(2):  # the second finds the first one's code
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False
        )
        assert done.stdout == "[0.5, 0.5, 0.5, 0.5, 0.5]\n", done.stderr


@pytest.mark.parametrize(
    "setting",
    [
        *("NUMBA_DISABLE_JIT=1", "MNP_FORCE_FALLBACK=1"),
        *(() if NEON else ("NUMBA_CPU_NAME=generic", "NUMBA_ENABLE_AVX=0")),
        *(() if NEON else ("NUMBA_CPU_FEATURES=", "NUMBA_CPU_FEATURES=+avx,+fma,-avx2")),
    ],
)
def test_where_tiles_cannot_run_everything_falls_back(setting):
    code = (
        "import numpy as np; from mnp.kernels import default_backend, jitted, tiled\n"
        "assert default_backend() is jitted and not tiled.available()\n"
        "x, w = np.ones((1, 16), np.float32), np.ones((4, 1, 16), np.float32)\n"
        "b = np.zeros((4, 1), np.float32)\n"
        "print(tiled.dense_maxout_forward(x, w, b)[0].tolist())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)} | dict([setting.split("=")])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout == "[[16.0, 16.0, 16.0, 16.0]]\n", done.stderr


@pytest.mark.skipif(NEON, reason="names features of x86")
@needs_tiles
def test_the_target_that_numba_compiles_for_decides_and_not_the_cpu():
    code = "from mnp.kernels import tiled; print(tiled.available())"
    features = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **features}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "True\n"
