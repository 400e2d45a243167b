"""Float32 kernels of every tier against the float64 textbook, at all magnitudes: the bound of each holds."""

import doctest
import inspect

import error_bounds
import numpy as np
import pytest
from kernel_cases import Sizes, arguments

from mnp.kernels import BACKENDS, FUSED, KERNELS, get_backend, textbook
from mnp.verify import reference

SMALL = Sizes(n=3, channels=2, height=7, width=6, filters=5, kh=3, kw=2, units=4, k=3)
LENET = Sizes(n=16, channels=20, height=12, width=12, filters=50, kh=5, kw=5, units=64, k=4)
VGG = Sizes(n=2, channels=64, height=16, width=16, filters=40, kh=3, kw=3, padding=1, units=16, k=2)
KINDS = ("wide", "one sign", "huge", "minute", "cancelling")
FAST = [name for name in BACKENDS if name != "textbook"]


def scaled(array, rng, kind, exponents):
    """The same array with other magnitudes: what makes rounding errors large, each in its way."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(under="ignore"):
        if kind == "wide":
            array = array * 10.0 ** rng.uniform(-exponents, exponents, array.shape)
        elif kind == "one sign":
            array = 1 + np.abs(array)
        elif kind == "huge":
            array = array * 10.0**exponents
        elif kind == "minute":
            array = array * 10.0**-22
        else:
            array = array + 1000
        return array.astype(np.float32)


def named_arguments(kernel, sizes, rng, kind):
    """Arguments of an agreed or a fused kernel by name; sums of products of them do not overflow."""
    plain = {"conv2d_maxpool2d_forward": "conv2d_forward", "dense_maxout_forward": "dense_forward"}
    names = list(inspect.signature(reference.function(kernel)).parameters)
    if kernel in KERNELS:
        args = dict(zip(names, arguments(kernel, sizes, rng, np.float32), strict=False))
    elif kernel.endswith("forward"):
        first = arguments(plain[kernel], sizes._replace(stride=1), rng, np.float32)
        args = dict(zip(names, [*first, 2, 2] if "conv" in kernel else first, strict=False))
        if "dense" in kernel:
            args["weight"] = args["weight"].reshape(sizes.units, sizes.k, -1)
            args["bias"] = args["bias"].reshape(sizes.units, sizes.k)
            args |= {"relu": True, "keep": rng.random((sizes.n, sizes.units, sizes.k)) < 0.7, "p": 0.3}
    else:
        args = named_arguments(kernel.replace("backward", "forward"), sizes, rng, kind)
        y, winner = reference.function(kernel.replace("backward", "forward"))(**args)
        args.pop("bias")
        args |= {"winner": winner, "dy": rng.standard_normal(y.shape).astype(np.float32)}
        args |= {"y": y.astype(np.float32)} if "dense" in kernel else {}
        args["dy"] = scaled(args["dy"], rng, kind, 5)
        return args
    exponents = {"softmax_cross_entropy": 1.5, "batchnorm2d_forward": 6}.get(kernel, 8)
    exponents = 5 if "backward" in kernel else exponents
    for name, value in args.items():
        if kernel == "softmax_cross_entropy" and kind in ("huge", "minute", "cancelling"):
            args[name] = value * np.float32(30) if name == "logits" else value
        elif isinstance(value, np.ndarray) and name not in ("mean", "var"):
            args[name] = scaled(value, rng, kind, exponents)
        elif isinstance(value, tuple) and kernel == "sgd_step" and name != "masks":
            args[name] = tuple(scaled(v, rng, kind, 8) for v in value)
    if "mean" in args:
        x = args["x"].astype(np.float64)
        args["mean"], args["var"] = (f(axis=(0, 2, 3)).astype(np.float32) for f in (x.mean, x.var))
    return args


def near(module, kernel, args):
    """Tiled convolutions may be by short filters; which ones are is nobody's business here."""
    return args["weight"].shape[2] if "conv2d" in kernel and module is get_backend("tiled") else 0


def check(module, kernel, args):
    """The outputs, held to their bounds; winners too where nothing was rounded before the maximum."""
    return error_bounds.assert_within(module, kernel, args, near(module, kernel, args), kernel in KERNELS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tier", FAST)
@pytest.mark.parametrize("kernel", [*KERNELS, *FUSED])
def test_bound_of_each_kernel(kernel, tier, kind):
    module = get_backend(tier)
    if not hasattr(module, kernel):
        pytest.skip(f"{tier} has no {kernel}")
    for number, sizes in enumerate((SMALL, SMALL._replace(stride=2, pool_stride=1), LENET, VGG)):
        rng = np.random.default_rng([number, KINDS.index(kind)])
        args = named_arguments(kernel, sizes, rng, kind)
        check(module, kernel, args)


@pytest.mark.parametrize("tier", FAST)
def test_sums_of_thousands(tier):
    """The layers of VGG16 and LeNet whose sums are longest: no more roundings than are promised."""
    module, rng = get_backend(tier), np.random.default_rng(0)
    x = (1 + rng.random((8, 25088))).astype(np.float32)
    weight = (1 + rng.random((12, 25088))).astype(np.float32)
    check(module, "dense_forward", {"x": x, "weight": weight, "bias": np.ones(12, np.float32)})
    dy = (1 + rng.random((4096, 12))).astype(np.float32)
    x = (1 + rng.random((4096, 48))).astype(np.float32)
    check(module, "dense_backward", {"dy": dy, "x": x, "weight": weight[:, :48].copy()})
    dy = (1 + rng.random((64, 8, 24, 24))).astype(np.float32)
    x = (1 + rng.random((64, 1, 28, 28))).astype(np.float32)
    filters = (1 + rng.random((8, 1, 5, 5))).astype(np.float32)
    check(module, "conv2d_backward", {"dy": dy, "x": x, "weight": filters, "stride": 1, "padding": 0})


@pytest.mark.parametrize("tier", FAST)
@pytest.mark.parametrize("kernel", ["conv2d_maxpool2d_forward", "dense_maxout_forward"])
def test_a_winner_is_as_large_as_the_bound_can_tell(kernel, tier):
    module = get_backend(tier)
    if not hasattr(module, kernel):
        pytest.skip(f"{tier} has no {kernel}")
    for seed in range(10):
        args = named_arguments(kernel, LENET, np.random.default_rng(seed), "wide")
        args |= {"relu": False, "keep": None} if "dense" in kernel else {}
        got = check(module, kernel, args)
        limit = error_bounds.bounds(kernel, args, near(module, kernel, args))["y"]
        wide = {name: reference.widen(a) for name, a in args.items()}
        if "dense" in kernel:
            z = np.einsum("ni,uki->nuk", wide["x"], wide["weight"]) + wide["bias"]
            z = np.moveaxis(z, 2, -1)
        else:
            z = textbook.conv2d_forward(wide["x"], wide["weight"], wide["bias"], 1, args["padding"])
            n, f, h, w = z.shape
            z = z[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, f, h // 2, 2, w // 2, 2)
            z = z.transpose(0, 1, 2, 4, 3, 5).reshape(n, f, h // 2, w // 2, 4)
        won = np.take_along_axis(z, got["winner"][..., None].astype(np.int64), -1)[..., 0]
        assert (z.max(axis=-1) - won <= 2 * limit).all()


def test_every_output_of_every_kernel_has_a_bound():
    for kernel, outputs in reference.OUTPUTS.items():
        assert set(error_bounds.ROUNDINGS[kernel]) == set(outputs) - {"winner"}
    assert set(error_bounds.ROUNDINGS) == {*KERNELS, *FUSED}
    assert doctest.testmod(error_bounds).failed == 0 and doctest.testmod(error_bounds).attempted == 3


@pytest.mark.parametrize(
    "wrong", [lambda y: y * np.float32(1 + 2e-5), lambda y: y.astype(np.float16).astype(np.float32)]
)
def test_a_kernel_with_fewer_digits_is_noticed(wrong):
    class Careless:
        @staticmethod
        def dense_forward(x, weight, bias):
            return wrong(textbook.dense_forward(x, weight, bias))

    args = named_arguments("dense_forward", SMALL, np.random.default_rng(0), "one sign")
    with pytest.raises(AssertionError, match="above the bound"):
        check(Careless, "dense_forward", args)
