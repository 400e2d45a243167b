"""Usual mistakes in batch normalisation; see `mistakes.change` for the form."""

import numpy as np

from mnp.kernels import textbook
from mnp.verify.mistakes.change import by_name, changed, scaled

PIXELS = (0, 2, 3)


def _over(v):
    return v[None, :, None, None]


def _normalised(divisor):
    """y with another divisor than the square root of var + eps."""

    def y(x, weight, bias, mean, var, eps):
        by = by_name(divisor, {"x": x, "var": var, "eps": eps})
        return _over(weight) * (x - _over(mean)) / _over(by) + _over(bias)

    return {"y": y}


def _unbiased(var, x):
    """Bessel's correction, which PyTorch uses for the running variance but not for y."""
    m = x.size // x.shape[1]
    return var * m / max(m - 1, 1)


DIVISORS = {
    "eps added outside the square root": _normalised(lambda var, eps: np.sqrt(var) + eps),
    "divided by the variance instead of its root": _normalised(lambda var, eps: var + eps),
}

TABLE = {
    "batchnorm2d_forward": {
        "var unbiased (divided by M - 1) everywhere": {
            **_normalised(lambda var, eps, x: np.sqrt(_unbiased(var, x) + eps)),
            "var": _unbiased,
        },
        "var unbiased (divided by M - 1) where it is returned": {"var": _unbiased},
        **DIVISORS,
        "the standard deviation returned instead of the variance": {"var": lambda var: np.sqrt(var)},
        "eps included in the variance that is returned": {"var": lambda var, eps: var + eps},
        "mean and var with axes of length one (keepdims): they are (C,)": {
            "mean": lambda mean: _over(mean),
            "var": lambda var: _over(var),
        },
    },
    "batchnorm2d_inference": {
        "the batch's own statistics used instead of those given": {
            "y": lambda x, weight, bias, eps: textbook.batchnorm2d_forward(x, weight, bias, eps)[0]
        },
        **DIVISORS,
    },
    "batchnorm2d_backward": {
        "mean and var taken as constants: their share of dx is missing": {
            "dx": lambda dy, weight, var, eps: dy * _over(weight / np.sqrt(var + eps))
        },
        "the variance's share of dx is missing": {
            "dx": lambda dy, weight, var, eps: (
                _over(weight / np.sqrt(var + eps)) * (dy - dy.mean(axis=PIXELS, keepdims=True))
            )
        },
        "weight forgotten in dx": changed(
            "batchnorm2d_backward", ("dx",), weight=lambda weight: np.ones_like(weight)
        ),
        "dweight from x instead of the normalised x": {"dweight": lambda dy, x: (dy * x).sum(axis=PIXELS)},
        "dweight and dbias as means where sums are agreed": scaled(
            lambda x: x.shape[1] / x.size, "dweight", "dbias"
        ),
    },
}
