"""The jitted kernels against the textbook: shapes, strides, layouts, ties, NaN, threads, no JIT, no cache."""

import os

import numpy as np
import pytest
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import LAYOUTS, Sizes, arguments, arrays_of, call, copied, sizes
from tolerances import TEXTBOOK, assert_results_close

import mnp.kernels.jitted as jitted
from mnp.kernels import KERNELS, textbook
from mnp.kernels.jitted import batchnorm, learning, loops, pooling, products, units

# Sums of terms as large as the inputs. Where an output is one number, its terms may nearly cancel, and their
# rounding errors stay. (`test_accuracy` holds each element to its own bound.)
SUMS = ("conv2d_backward", "dense_backward", "batchnorm2d_backward", "sgd_step")


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(s=sizes(), seed=st.integers(0, 2**32 - 1), layout=st.sampled_from(LAYOUTS), data=st.data())
def test_equals_the_textbook(kernel, s, seed, layout, data):
    dtype = data.draw(st.sampled_from([np.float64, np.float32]))
    coarse = data.draw(st.booleans())
    args = arguments(kernel, s, np.random.default_rng(seed), dtype, layout, coarse)
    expected = call(textbook, kernel, copied(args))
    given_args = copied(args)
    results = call(jitted, kernel, given_args)
    floats = [a for a in arrays_of(args) if a.dtype.kind == "f"] if kernel in SUMS else []
    term = max((np.abs(a).max() for a in floats), default=0.0)
    assert_results_close(results, expected, TEXTBOOK[dtype.__name__], kernel, term)
    if kernel != "sgd_step":
        for before, after in zip(arrays_of(args), arrays_of(given_args), strict=True):
            np.testing.assert_array_equal(after, before, err_msg=f"{kernel} changed its input")


@pytest.mark.parametrize("kernel", ["conv2d_backward", "dense_backward"])
def test_without_dx(kernel):
    args = arguments(kernel, Sizes(channels=9), np.random.default_rng(0))
    expected = getattr(textbook, kernel)(*args, need_dx=False)
    assert expected[0] is None
    assert_results_close(getattr(jitted, kernel)(*args, need_dx=False), expected, TEXTBOOK["float64"], kernel)


@pytest.mark.parametrize("channels", [1, 20])
def test_large_images_are_unfolded_in_bands(channels, monkeypatch):
    monkeypatch.setattr(products, "CHUNK", 300)  # so that a band is a row or two of the output
    s = Sizes(n=2, channels=channels, height=11, width=9, filters=6, kh=3, kw=3, padding=1)
    for kernel in ("conv2d_forward", "conv2d_backward", "dense_forward", "dense_backward"):
        args = arguments(kernel, s, np.random.default_rng(1))
        bound = TEXTBOOK["float64"]
        assert_results_close(call(jitted, kernel, args), call(textbook, kernel, args), bound, kernel)


def test_nan_in_an_image_reaches_only_the_windows_that_see_it():
    for channels in (1, 16):
        x = np.ones((2, channels, 6, 6))
        x[1, 0, 2, 3] = np.nan
        args = x, np.ones((3, channels, 3, 3)), np.zeros(3), 1, 0
        np.testing.assert_array_equal(jitted.conv2d_forward(*args), textbook.conv2d_forward(*args))
    dy = np.zeros((2, 3, 4, 4))
    dy[1, 2, 0, 0] = np.nan
    dx, dweight, dbias = jitted.conv2d_backward(dy, np.ones((2, 16, 6, 6)), np.ones((3, 16, 3, 3)), 1, 0)
    assert np.isnan(dx[1, :, :3, :3]).all() and np.isfinite(dx[0]).all() and np.isfinite(dx[1, :, 3:]).all()
    assert np.isnan(dweight[2]).all() and np.isfinite(dweight[:2]).all() and np.isnan(dbias).sum() == 1


def test_winners_of_any_integer_type():
    dy = np.arange(4.0).reshape(2, 2)
    for dtype in (np.uint8, np.int16, np.int32, np.int64, np.uint64):
        winner = np.array([[0, 2], [1, 1]], dtype=dtype)
        np.testing.assert_array_equal(
            jitted.maxout_backward(dy, winner, 3), textbook.maxout_backward(dy, winner, 3)
        )
        np.testing.assert_array_equal(jitted.win_counts(winner, 3), textbook.win_counts(winner, 3))


def test_relu_of_many_elements_takes_the_loop_and_of_few_does_not(monkeypatch):
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    x[0, :3] = np.nan, 0.0, -0.0
    few = jitted.relu_forward(x)
    monkeypatch.setattr(jitted.units, "_FEW", 1)
    many = jitted.relu_forward(x)
    np.testing.assert_array_equal(many, textbook.relu_forward(x))
    np.testing.assert_array_equal(few, many)
    assert many.dtype == few.dtype == np.float32


SAME_BITS = """
import hashlib, numpy as np, numba
import mnp.kernels.jitted as jitted
from mnp.kernels import KERNELS
from kernel_cases import Sizes, arguments, arrays_of, call
big = Sizes(n=7, height=13, width=11, filters=11, kh=3, kw=3, padding=1, units=23, k=3)
for threads in (1, 2, 4):
    numba.set_num_threads(threads)
    digest = hashlib.sha256()
    for dtype in (np.float32, np.float64):
        for channels in (1, 9):
            for kernel in KERNELS:
                args = arguments(kernel, big._replace(channels=channels), np.random.default_rng(0), dtype)
                result = call(jitted, kernel, args)
                result = result if isinstance(result, tuple) else (result,)
                for array in arrays_of(tuple(np.ascontiguousarray(a) for a in result if a is not None)):
                    digest.update(array.tobytes())
    print(digest.hexdigest())
"""


def test_same_bits_for_any_number_of_threads():
    done = run_python(SAME_BITS, NUMBA_NUM_THREADS="4", options=("-W", "error::RuntimeWarning"))
    first, *others = done.stdout.split()
    assert others == [first, first]


def test_no_loop_assumes_that_nan_does_not_exist():
    """`fastmath=True` would; the flags in use let products fuse and sums split, no more."""
    found = 0
    for module in (batchnorm, learning, loops, pooling, units):
        for value in vars(module).values():
            options = getattr(value, "targetoptions", None)
            if options is not None:
                found += 1
                flags = options["fastmath"]
                assert set(getattr(flags, "flags", flags)) <= {"contract", "reassoc"}
    assert found > 20 or os.environ.get("NUMBA_DISABLE_JIT")


@pytest.mark.parametrize("largest", [0, 1, 4])
def test_softmax_subtracts_the_largest_wherever_it_is(largest):
    logits = np.zeros((2, 5))
    logits[:, largest] = 1e4
    loss, dlogits = jitted.softmax_cross_entropy(logits, np.array([largest, largest]))
    assert loss == 0 and not dlogits.any()


def test_a_dense_layer_of_nothing_gives_its_bias():
    y = jitted.dense_forward(np.ones((2, 0)), np.ones((3, 0)), np.arange(3.0))
    np.testing.assert_array_equal(y, [[0, 1, 2], [0, 1, 2]])
