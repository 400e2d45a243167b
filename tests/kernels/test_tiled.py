"""The tiled kernels against the textbook: shapes, layouts, ties, NaN, threads, other types, the fallback."""

from hashlib import sha256

import numba
import numpy as np
import pytest
from error_bounds import assert_within
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import LAYOUTS, arguments, call, copied, draw, laid_out, sizes
from tolerances import TEXTBOOK, assert_close, assert_results_close

from mnp.kernels import KERNELS, fused, textbook, tiled
from mnp.kernels.registers import NEON
from mnp.kernels.tiled import parallel, support
from mnp.verify import reference

FEW = settings(max_examples=20, deadline=None, derandomize=True)
needs_tiles = pytest.mark.skipif(not tiled.available(), reason="no vector instructions, or no compiler")


def rng_of(seed):
    return np.random.default_rng(seed)


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
    forward = fused.conv2d_maxpool2d_forward(textbook, x, weight, bias, 1, padding, 2, 2)
    dy = draw(rng, forward[0].shape, coarse, layout)
    before = [a.copy() for a in (x, weight, bias)]
    result = tiled.conv2d_maxpool2d_forward(x, weight, bias, 1, padding, 2, 2)
    assert_results_close(result, forward, TEXTBOOK["float32"], "forward")
    args = (dy, result[1], x, weight, 1, padding, 2, 2)
    gradients, backward = (
        tiled.conv2d_maxpool2d_backward(*args),
        fused.conv2d_maxpool2d_backward(textbook, *args),
    )
    assert_results_close(gradients, backward, TEXTBOOK["float32"], "backward")
    without = tiled.conv2d_maxpool2d_backward(*args, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], gradients[1])
    for array, old in zip((x, weight, bias), before, strict=True):
        np.testing.assert_array_equal(array, old)


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
    named = {"x": x, "weight": weight, "relu": relu}
    named |= {"keep": rng.random((n, units, k)) < 0.7, "p": 0.25} if dropped else {}
    got = assert_within(tiled, "dense_maxout_forward", named | {"bias": bias})
    named |= {"dy": dy, **got}
    gradients = assert_within(tiled, "dense_maxout_backward", named)
    without = tiled.dense_maxout_backward(**named, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], gradients["dweight"])


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


def test_bits_do_not_depend_on_the_threads():
    before, code = numba.get_num_threads(), "import test_tiled; print(test_tiled.digest())"
    assert len({run_python(code, NUMBA_NUM_THREADS=str(threads)).stdout for threads in (1, 2, 4)}) == 1
    assert numba.get_num_threads() == before


def digest():
    """All bits of the LeNet results, for three batches, and of a convolution of VGG's kind."""
    rng = rng_of(5)
    x, weight, bias = draw(rng, (9, 16, 16, 16)), draw(rng, (32, 16, 3, 3)), draw(rng, 32)
    dy = draw(rng, (9, 32, 16, 16))
    results = [tiled.conv2d_forward(x, weight, bias, 1, 1), *tiled.conv2d_backward(dy, x, weight, 1, 1)]
    for n in (1, 7, 40):
        results += lenet_results(n)
    return sha256(b"".join(a.tobytes() for a in results)).hexdigest()


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


def fails(*arguments):
    raise AssertionError("a tile ran where it should not")


def test_where_tiles_are_switched_off_the_results_are_equal(monkeypatch):
    conv, maxout, keep, conv_dy, dy = lenet_arrays(2)
    monkeypatch.setattr(support, "FORCED", True)
    monkeypatch.setattr(parallel.Shared, "__call__", fails)
    assert not tiled.available()
    flat, bias = maxout[1].reshape(256, 832), maxout[2].reshape(-1)
    winners = [fused.conv2d_maxpool2d_forward(textbook, *conv, 1, 0, 2, 2)[1]]
    y, winner = fused.dense_maxout_forward(textbook, *maxout, True, keep, 0.5)
    for kernel, args in (
        ("conv2d_maxpool2d_forward", (*conv, 1, 0, 2, 2)),
        ("conv2d_maxpool2d_backward", (conv_dy, *winners, *conv[:2], 1, 0, 2, 2)),
        ("dense_maxout_forward", (*maxout, True, keep, 0.5)),
        ("dense_maxout_backward", (dy, y, winner, *maxout[:2], True, keep, 0.5)),
        ("dense_forward", (maxout[0], flat, bias)),
    ):
        expected = reference.function(kernel)(*args)
        assert_results_close(getattr(tiled, kernel)(*args), expected, 4 * TEXTBOOK["float32"], kernel)
    w = (bias.copy(),)
    tiled.sgd_step(w, (bias,), (bias * 0,), (None,), 0.5, 0.9, 0.0)
    assert_close(w[0], bias * np.float32(0.5), TEXTBOOK["float32"])


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


@pytest.mark.parametrize(
    "setting",
    [
        "NUMBA_DISABLE_JIT=1",
        *(() if NEON else ("NUMBA_CPU_NAME=generic", "NUMBA_CPU_FEATURES=+avx,+fma,-avx2")),
    ],
)
def test_where_tiles_cannot_run_everything_falls_back(setting):
    code = """
        import numpy as np; from mnp.kernels import default_backend, jitted, tiled
        assert default_backend() is jitted and not tiled.available()
        x, w = np.ones((1, 16), np.float32), np.ones((4, 1, 16), np.float32)
        print(tiled.dense_maxout_forward(x, w, np.zeros((4, 1), np.float32))[0].tolist())"""
    assert run_python(code, **dict([setting.split("=")])).stdout == "[[16.0, 16.0, 16.0, 16.0]]\n"


@pytest.mark.skipif(NEON, reason="names features of x86")
@needs_tiles
def test_the_target_that_numba_compiles_for_decides_and_not_the_cpu():
    features = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    code = "from mnp.kernels import tiled; print(tiled.available())"
    assert run_python(code, **features).stdout == "True\n"
