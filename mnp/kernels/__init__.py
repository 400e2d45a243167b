"""Kernels: what a layer computes, as plain functions on arrays.

An implementation, or backend, is a module that offers the names in `KERNELS` (and optionally those in
`FUSED`, which `fused` defines). Three come with the package:

    textbook   reference: NumPy and visible loops, made to be read and stepped through
    jitted     readable loops, compiled by Numba
    tiled      hand-tuned SIMD (AVX2, AVX-512, NEON), fused layers; falls back to jitted

Rules that hold in every implementation, tested in `tests/kernels/`:

- dtype in = dtype out, float32 or float64; inputs may have any strides and either byte order (results
  have the machine's) and are never changed (except by `sgd_step`, which works in place);
- wherever there is a maximum the lowest index wins a tie, and a NaN propagates as in `np.max` and
  `np.argmax`: the first NaN wins;
- shapes that do not fit raise `shapes.ShapeError`, one line with the shapes in it;
- nothing is random: `dropout_forward` is given the kept positions.

Importing this package compiles nothing; a backend is imported when it is first asked for.
"""

import importlib
import logging
import os
import re
from functools import cache

from mnp.errors import MnpError
from mnp.kernels.shapes import ShapeError

KERNELS = {
    "conv2d_forward": "(x, weight, bias, stride, padding) -> y",
    "conv2d_backward": "(dy, x, weight, stride, padding, need_dx=True) -> dx or None, dweight, dbias",
    "maxpool2d_forward": "(x, size, stride) -> y, winner",
    "maxpool2d_backward": "(dy, winner, x_shape, size, stride) -> dx",
    "avgpool2d_forward": "(x, size, stride) -> y",
    "avgpool2d_backward": "(dy, x_shape, size, stride) -> dx",
    "dense_forward": "(x, weight, bias) -> y",
    "dense_backward": "(dy, x, weight, need_dx=True) -> dx or None, dweight, dbias",
    "maxout_forward": "(z) -> y, winner",
    "maxout_backward": "(dy, winner, k) -> dz",
    "relu_forward": "(x) -> y",
    "relu_backward": "(dy, y) -> dx",
    "dropout_forward": "(x, keep, p) -> y",
    "dropout_backward": "(dy, keep, p) -> dx",
    "softmax_cross_entropy": "(logits, labels) -> loss, dlogits",
    "win_counts": "(winner, k) -> counts",
    "batchnorm2d_forward": "(x, weight, bias, eps) -> y, mean, var",
    "batchnorm2d_inference": "(x, weight, bias, mean, var, eps) -> y",
    "batchnorm2d_backward": "(dy, x, weight, mean, var, eps) -> dx, dweight, dbias",
    "sgd_step": "(weights, grads, velocities, masks, lr, momentum, weight_decay) -> None, in place",
}

FUSED = {
    "conv2d_maxpool2d_forward": "(x, weight, bias, stride, padding, size, pool_stride) -> y, winner",
    "conv2d_maxpool2d_backward": (
        "(dy, winner, x, weight, stride, padding, size, pool_stride, need_dx=True)"
        " -> dx or None, dweight, dbias"
    ),
    "dense_maxout_forward": "(x, weight, bias, relu=False, keep=None, p=0.0) -> y, winner",
    "dense_maxout_backward": (
        "(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True) -> dx or None, dweight, dbias"
    ),
}

BACKENDS = ("textbook", "jitted", "tiled")

_threads = os.environ.get("NUMBA_NUM_THREADS", "")
if re.fullmatch(r"\s*(-\d+|0+)\s*", _threads):  # Numba's own error is a traceback while it is imported
    raise MnpError(f"NUMBA_NUM_THREADS is {_threads}: set it to 1 or more")

__all__ = ["BACKENDS", "FUSED", "KERNELS", "ShapeError", "default_backend", "get_backend", "why_no_numba"]


@cache
def why_no_numba():
    """Why Numba, which all backends but `textbook` need, does not import: one line, or None if it does."""
    try:
        import numba  # noqa: F401
    except Exception as error:  # whatever it raises beside a NumPy or Python that it does not know
        return next(iter(str(error).splitlines()), type(error).__name__)


def get_backend(name):
    """Import one of the package's backends by its name.

    Parameters
    ----------
    name : str
        "textbook", "jitted" or "tiled".

    Returns
    -------
    backend : module
        Hand it to a layer (`Conv2d(..., backend=backend)`) or to `net.with_backend(backend)`.

    Raises MnpError for any other name, and where Numba is missing for all but "textbook".

    >>> get_backend("textbook").__name__
    'mnp.kernels.textbook'
    """
    if name not in BACKENDS:
        raise MnpError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    if name != "textbook" and why_no_numba():
        raise MnpError(
            f"the backend {name!r} needs Numba, which does not import ({why_no_numba()}): install it, "
            "or choose 'textbook'"
        )
    return importlib.import_module(f"mnp.kernels.{name}")


def default_backend():
    """Import the fastest backend that this machine can run.

    `tiled` where it is available (Numba may compile, and does so for a CPU with the vector instructions),
    otherwise `jitted`. Without Numba it is `textbook`, which needs NumPy only, and a warning is logged.

    >>> default_backend().__name__.removeprefix("mnp.kernels.") in BACKENDS
    True
    """
    if why_no_numba():
        _warn_of_no_numba()
        return get_backend("textbook")
    tiled = get_backend("tiled")
    return tiled if tiled.available() else get_backend("jitted")


@cache  # once
def _warn_of_no_numba():
    logging.getLogger("mnp").warning(
        "Numba does not import (%s): using the textbook backend, at a tenth of the speed", why_no_numba()
    )
