"""Every loop of the tiled kernels on sizes small enough for plain Python: against the stated bounds.

With `-p plain_tiles` and NUMBA_DISABLE_JIT=1 the loops run without a compiler, for coverage, for mutants and
with their bounds checked; without them the same cases judge the machine code.
"""

import numpy as np
import pytest
from error_bounds import assert_within

from mnp.errors import MnpError
from mnp.kernels import jitted, textbook, tiled
from mnp.kernels.tiled import convolution, pooled, support
from mnp.verify import reference

needs_tiles = pytest.mark.skipif(not tiled.available(), reason="no vector instructions, or no compiler")
pytestmark = needs_tiles


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.fixture
def no_fallback(monkeypatch):
    """What a kernel would fall back on fails: it is the tiles that are judged."""

    def fail(*args, **kwargs):
        raise AssertionError("not run by tiles")

    for kernel in ("conv2d", "maxpool2d", "dense", "maxout"):
        for way in ("forward", "backward"):
            monkeypatch.setattr(jitted, f"{kernel}_{way}", fail)
    for module in (convolution, pooled):  # these give way to plain tiles where they find an infinite number
        short_filters = module.short_filters

        def finite(*args, short_filters=short_filters):
            assert short_filters(*args), "not a finite number"
            return True

        monkeypatch.setattr(module, "short_filters", finite)


# images, channels, filters, kernel, height, width, padding
POOLED = [
    (2, 1, 7, (5, 5), 10, 11, 0),
    (1, 14, 3, (5, 5), 8, 9, 1),
    (3, 2, 13, (2, 3), 5, 37, 2),
    (1, 3, 1, (1, 1), 2, 2, 0),
    (2, 8, 5, (3, 3), 34, 34, 0),
    (3, 9, 4, (5, 5), 33, 37, 1),  # windows of two images among the 16 of a vector
    (16, 1, 2, (3, 2), 4, 5, 0),
    (1, 2, 4, (3, 2), 5, 6, 0),
    (1, 2, 10, (2, 2), 5, 6, 0),
    (3, 20, 3, (5, 5), 8, 9, 0),  # a patch's row: one wide tile, begun 0, 4, 8 and 12 floats behind a border
    (1, 51, 2, (5, 5), 6, 8, 1),  # two wide tiles and a narrow one; pixels filled up with a zero
    (1, 1, 34, (2, 2), 4, 5, 0),  # more filters than blocks
    (1, 5, 18, (2, 2), 4, 5, 0),
    (2, 1, 1, (3, 3), 80, 80, 0),  # images of an odd number of windows, each too large to share the cache
]


@pytest.mark.parametrize("n, c, f, kernel, h, w, padding", POOLED)
def test_convolution_with_pooling(no_fallback, monkeypatch, n, c, f, kernel, h, w, padding):
    monkeypatch.setattr(pooled, "threads", lambda: 2)  # which the number of blocks follows
    rng = np.random.default_rng(c + f)
    args = {"x": floats(rng, n, c, h, w), "weight": floats(rng, f, c, *kernel), "bias": floats(rng, f)}
    args |= {"stride": 1, "padding": padding, "size": 2, "pool_stride": 2}
    got = assert_within(tiled, "conv2d_maxpool2d_forward", args, near=kernel[0])
    args.pop("bias")
    dy = floats(rng, *got["y"].shape) * (rng.random(got["y"].shape) < 0.8)
    for winner in (got["winner"], got["winner"].astype(np.int64)):
        whole = assert_within(
            tiled, "conv2d_maxpool2d_backward", {"dy": dy, "winner": winner, **args}, near=kernel[0]
        )
    without = tiled.conv2d_maxpool2d_backward(dy, got["winner"], **args, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], whole["dweight"])


@pytest.mark.parametrize(
    "n, c, f, h, w, padding",
    [
        (2, 3, 5, 16, 16, 1),
        (2, 64, 4, 16, 17, 1),
        (3, 33, 17, 15, 14, 2),
        (1, 1, 1, 30, 26, 0),
        (9, 2, 8, 10, 18, 0),  # few channels: rows of whole vectors, and more images than groups
        (2, 16, 16, 9, 30, 2),
        (1, 1, 8, 70, 16, 1),  # two strips
    ],
)
def test_plain_convolution(no_fallback, n, c, f, h, w, padding):
    rng = np.random.default_rng(c + f)
    args = {"x": floats(rng, n, c, h, w), "weight": floats(rng, f, c, 3, 3), "bias": floats(rng, f)}
    args |= {"stride": 1, "padding": padding}
    y = assert_within(tiled, "conv2d_forward", args, near=3)["y"]
    args.pop("bias")
    dy = floats(rng, *y.shape)
    whole = assert_within(tiled, "conv2d_backward", {"dy": dy, **args}, near=3)
    without = tiled.conv2d_backward(dy, **args, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], whole["dweight"])


@pytest.mark.parametrize("where", ["dy", "x", "weight", "bias"])
def test_infinity_is_where_the_definition_has_it(where):
    rng = np.random.default_rng(0)
    args = {"x": floats(rng, 2, 2, 16, 16), "weight": floats(rng, 3, 2, 3, 3), "bias": floats(rng, 3)}
    dy = floats(rng, 2, 3, 16, 16)
    (dy if where == "dy" else args[where]).flat[0] = np.inf
    with np.errstate(invalid="ignore"):
        y = tiled.conv2d_forward(**args, stride=1, padding=1)
        expected = jitted.conv2d_forward(**args, stride=1, padding=1)
        np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
        args.pop("bias")
        found = tiled.conv2d_backward(dy, **args, stride=1, padding=1)
        wanted = jitted.conv2d_backward(dy, **args, stride=1, padding=1)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


@pytest.mark.parametrize(
    "n, features, units, k",
    [
        (1, 16, 8, 1),
        (7, 41, 3, 3),
        (13, 119, 2, 4),
        (129, 33, 1, 9),
        (40, 215, 9, 2),
        (1, 272, 2, 4),  # 17 vectors of features: for one example and few neurons, one and many, six
        (1, 272, 5, 2),
        (6, 272, 4, 2),
        (3, 31, 4, 2),
        (2, 177, 40, 1),  # more units than are listed at a time: dx is added to, whatever is left of a row
        (2, 305, 40, 1),  # and in several strips
    ],
)
@pytest.mark.parametrize("relu, dropped", [(False, False), (True, True)])
def test_dense_and_maxout(no_fallback, n, features, units, k, relu, dropped):
    rng = np.random.default_rng(n)
    x, weight = floats(rng, n, features), floats(rng, units, k, features)
    args = {"x": x, "weight": weight, "bias": floats(rng, units, k), "relu": relu}
    args |= {"keep": rng.random((n, units, k)) < 0.7, "p": 0.25} if dropped else {}
    got = assert_within(tiled, "dense_maxout_forward", args)
    args.pop("bias")
    args |= {"dy": floats(rng, n, units), **got}
    whole = assert_within(tiled, "dense_maxout_backward", args)
    assert tiled.dense_maxout_backward(**args, need_dx=False)[0] is None
    flat = weight.reshape(units * k, features)
    assert_within(tiled, "dense_forward", {"x": x, "weight": flat, "bias": floats(rng, units * k)})
    dy = floats(rng, n, units * k)
    assert_within(tiled, "dense_backward", {"dy": dy, "x": x, "weight": flat})
    assert whole["dbias"].shape == (units, k)


def test_sgd_on_more_arrays_than_one_call_takes_and_on_strange_ones(monkeypatch):
    rng = np.random.default_rng(4)
    plain = jitted.sgd_step
    monkeypatch.setattr(jitted, "sgd_step", None)
    for count, size in ((1, 5), (9, 33), (2, 9000)):
        weights, grads, velocities = (tuple(floats(rng, size) for _ in range(count)) for _ in range(3))
        masks = tuple(rng.random(size) < 0.5 if i % 2 else None for i in range(count))
        expected = [a.astype(np.float64) for a in (*weights, *velocities)]
        wide = tuple(g.astype(np.float64) for g in grads)
        textbook.sgd_step(tuple(expected[:count]), wide, tuple(expected[count:]), masks, 0.1, 0.9, 5e-4)
        tiled.sgd_step(weights, grads, velocities, masks, 0.1, 0.9, 5e-4)
        for a, b in zip((*weights, *velocities), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(jitted, "sgd_step", plain)
    turned = floats(rng, 6, 5).T  # the loops cannot take it: as in `jitted`
    before, v = turned.copy(), np.zeros((5, 6), np.float32)
    tiled.sgd_step((turned,), (np.ones((5, 6), np.float32),), (v,), (None,), 0.5, 0.0, 0.0)
    np.testing.assert_array_equal(turned, before - np.float32(0.5))


def test_winners_that_no_window_has_are_refused_and_others_are_taken_as_they_are():
    rng = np.random.default_rng(5)
    x, weight, dy = floats(rng, 2, 2, 6, 6), floats(rng, 4, 2, 3, 3), floats(rng, 2, 4, 2, 2)
    for wrong in (np.full(dy.shape, 4, np.uint8), np.full(dy.shape, -1)):
        with pytest.raises(ValueError, match="must lie in"):
            tiled.conv2d_maxpool2d_backward(dy, wrong, x, weight, 1, 0, 2, 2)
    x, weight = floats(rng, 6, 32), floats(rng, 2, 4, 32)
    y, dy = floats(rng, 6, 2), floats(rng, 6, 2)
    for wrong in (np.full(dy.shape, 4, np.uint8), np.full(dy.shape, -1)):
        with pytest.raises(ValueError, match="must lie in"):
            tiled.dense_maxout_backward(dy, y, wrong, x, weight)
    assert support.bytes_of(np.array([255, 256]), 300) is None  # no byte holds it


@pytest.mark.parametrize("kernel", ["conv2d_maxpool2d", "dense_maxout"])
def test_float64_and_other_strides_run_as_the_definition(kernel):
    rng = np.random.default_rng(6)
    if kernel == "conv2d_maxpool2d":
        args = {"x": rng.normal(size=(2, 3, 7, 8)), "weight": rng.normal(size=(4, 3, 3, 2))}
        args |= {"bias": rng.normal(size=4), "padding": 1}
        cases = [(1, 2, 2, np.float64), (2, 2, 2, np.float32), (1, 3, 1, np.float32), (1, 2, 3, np.float32)]
        cases = [(t, {"stride": s, "size": a, "pool_stride": b}) for s, a, b, t in cases]
    else:
        args = {
            "x": rng.normal(size=(3, 20)),
            "weight": rng.normal(size=(4, 3, 20)),
            "bias": rng.normal(size=(4, 3)),
        }
        keep = rng.random((3, 4, 3)) < 0.5
        cases = [(np.float64, {}), (np.float64, {"relu": True, "keep": keep, "p": 0.5})]
    for dtype, more in cases:
        given = {n: a.astype(dtype) if isinstance(a, np.ndarray) else a for n, a in args.items()} | more
        y, winner = getattr(tiled, f"{kernel}_forward")(**given)
        expected = reference.call(f"{kernel}_forward", given)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected["y"], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(winner, expected["winner"])
        given.pop("bias")
        given |= {"dy": rng.normal(size=y.shape).astype(dtype), "winner": winner}
        given |= {"y": y} if kernel == "dense_maxout" else {}
        expected = reference.call(f"{kernel}_backward", given)
        for name, array in zip(
            ("dx", "dweight", "dbias"), getattr(tiled, f"{kernel}_backward")(**given), strict=True
        ):
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5)


def test_shapes_that_do_not_fit_are_refused():
    ones, weight, bias = (
        np.ones((2, 3, 6, 6), np.float32),
        np.ones((4, 3, 3, 3), np.float32),
        np.ones(4, "f4"),
    )
    x, units, unit_bias = np.ones((2, 20), np.float32), np.ones((2, 3, 20), np.float32), np.ones((2, 3), "f4")
    pool = 1, 0, 2, 2
    for wrong in (
        lambda: tiled.conv2d_forward(ones, weight[:, :2], bias, 1, 0),
        lambda: tiled.conv2d_forward(ones[:, :, :2], weight, bias, 1, 0),
        lambda: tiled.conv2d_forward(ones[0], weight, bias, 1, 0),
        lambda: tiled.conv2d_maxpool2d_forward(ones, weight[:, :2], bias, *pool),
        lambda: tiled.conv2d_maxpool2d_backward(ones, np.zeros(ones.shape, np.uint8), ones, weight, *pool),
        lambda: tiled.dense_maxout_forward(x[:, :19], units, unit_bias),
        lambda: tiled.dense_maxout_forward(x, units, unit_bias, True, np.ones((2, 2, 2), bool), 0.5),
        lambda: tiled.dense_maxout_forward(x, units, unit_bias, True, np.ones((2, 2, 3), bool), 1.0),
        lambda: tiled.sgd_step((x,), (units,), (x,), (None,), 0.1, 0.9, 0.0),
        lambda: tiled.sgd_step((x, weight), (x,), (x,), (None,), 0.1, 0.9, 0.0),
        lambda: tiled.sgd_step((x,), (x,), (x.copy(),), (np.ones(3, bool),), 0.1, 0.9, 0.0),
    ):
        with pytest.raises(MnpError):
            wrong()


def test_plain_dense_layers_of_float64_run_as_in_jitted():
    rng = np.random.default_rng(7)
    x, weight, bias, dy = (rng.normal(size=shape) for shape in ((3, 20), (5, 20), 5, (3, 5)))
    np.testing.assert_array_equal(tiled.dense_forward(x, weight, bias), jitted.dense_forward(x, weight, bias))
    for a, b in zip(tiled.dense_backward(dy, x, weight), jitted.dense_backward(dy, x, weight), strict=True):
        np.testing.assert_array_equal(a, b)


def test_relu_keeps_nan(monkeypatch):
    monkeypatch.delattr(jitted, "relu_forward")  # which it would fall back on
    x = np.array([-1.0, -0.0, 0.0, 2.0, np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(tiled.relu_forward(x), textbook.relu_forward(x))
