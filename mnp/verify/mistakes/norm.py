"""Usual mistakes in batch normalisation; see `mistakes.conv` for the form."""

from functools import partial

import numpy as np

from mnp.kernels import textbook
from mnp.verify.mistakes.change import changed, scaled, zero

training = partial(changed, "batchnorm2d_forward")
inference = partial(changed, "batchnorm2d_inference")
backward = partial(changed, "batchnorm2d_backward")

PIXELS = (0, 2, 3)


def _over(v):
    return v[None, :, None, None]


def _normalise(a, mean, var, std=None):
    std = np.sqrt(var + a["eps"]) if std is None else std
    return _over(a["weight"]) * (a["x"] - _over(mean)) / _over(std) + _over(a["bias"])


def _unbiased(a, right):
    """Bessel's correction, which PyTorch uses for the running variance but not for y."""
    m = a["x"].size // a["x"].shape[1]
    return right["var"] * m / max(m - 1, 1)


def _y(compute):
    return lambda a, right: {"y": compute(a, right)}


def _statistics_constant(a, right):
    """dx as if mean and var did not depend on x."""
    return {"dx": a["dy"] * _over(a["weight"] / np.sqrt(a["var"] + a["eps"]))}


FORWARD = {
    "var unbiased (divided by M - 1) everywhere": lambda a, r: {
        "y": _normalise(a, r["mean"], _unbiased(a, r)),
        "var": _unbiased(a, r),
    },
    "var unbiased (divided by M - 1) where it is returned": lambda a, r: {"var": _unbiased(a, r)},
    "eps forgotten": _y(lambda a, r: _normalise(a, r["mean"], r["var"], np.sqrt(r["var"]))),
    "eps added outside the square root": _y(
        lambda a, r: _normalise(a, r["mean"], r["var"], np.sqrt(r["var"]) + a["eps"])
    ),
    "the standard deviation returned instead of the variance": lambda a, r: {"var": np.sqrt(r["var"])},
    "eps included in the variance that is returned": lambda a, r: {"var": r["var"] + a["eps"]},
    "divided by the variance instead of its root": _y(
        lambda a, r: _normalise(a, r["mean"], r["var"], r["var"] + a["eps"])
    ),
    "mean and var with axes of length one (keepdims): they are (C,)": lambda a, r: {
        "mean": _over(r["mean"]),
        "var": _over(r["var"]),
    },
    "weight forgotten": training(("y",), weight=lambda a: np.ones_like(a["weight"])),
    "bias forgotten": training(("y",), bias=zero("bias")),
}

INFERENCE = {
    "the batch's own statistics used instead of those given": lambda a, r: {
        "y": textbook.batchnorm2d_forward(a["x"], a["weight"], a["bias"], a["eps"])[0]
    },
    "eps forgotten": inference(eps=0.0),
    "eps added outside the square root": _y(
        lambda a, r: _normalise(a, a["mean"], a["var"], np.sqrt(a["var"]) + a["eps"])
    ),
    "divided by the variance instead of its root": _y(
        lambda a, r: _normalise(a, a["mean"], a["var"], a["var"] + a["eps"])
    ),
    "weight forgotten": inference(weight=lambda a: np.ones_like(a["weight"])),
    "bias forgotten": inference(bias=zero("bias")),
    "mean forgotten": inference(mean=zero("mean")),
}

BACKWARD = {
    "mean and var taken as constants: their share of dx is missing": _statistics_constant,
    "the variance's share of dx is missing": lambda a, r: {
        "dx": _over(a["weight"] / np.sqrt(a["var"] + a["eps"]))
        * (a["dy"] - a["dy"].mean(axis=PIXELS, keepdims=True))
    },
    "weight forgotten in dx": backward(("dx",), weight=lambda a: np.ones_like(a["weight"])),
    "eps forgotten": backward(eps=0.0),
    "dweight from x instead of the normalised x": lambda a, r: {
        "dweight": (a["dy"] * a["x"]).sum(axis=PIXELS)
    },
    "dweight and dbias as means where sums are agreed": scaled(
        lambda a: a["x"].shape[1] / a["x"].size, "dweight", "dbias"
    ),
}

TABLE = {"batchnorm2d_forward": FORWARD, "batchnorm2d_inference": INFERENCE, "batchnorm2d_backward": BACKWARD}
