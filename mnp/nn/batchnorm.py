"""Batch normalisation as a layer: batch statistics in training, running ones afterwards."""

from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.nn.base import Layer, check_int, float_dtype


class BatchNormCache(NamedTuple):
    x: np.ndarray  # (N, C, H, W), the input
    mean: np.ndarray | None  # (C,) of this batch; None in evaluation mode
    var: np.ndarray | None  # (C,) of this batch, biased; None in evaluation mode


class BatchNorm2d(Layer):
    """Normalise each channel over the batch, then apply a learned scale and shift.

        y[n, c, h, w] = weight[c] * (x[n, c, h, w] - mean[c]) / sqrt(var[c] + eps) + bias[c]

    In training, mean and (biased) var are those of this batch over n, h, w, and the running ones follow:

        running = (1 - momentum) * running + momentum * batch      (var: times M / (M - 1))

    with M = N * H * W values per channel, as PyTorch counts. In evaluation mode the running ones are used.

    params: weight (C,) starting at 1, bias (C,) at 0; buffers: running_mean (C,) 0, running_var (C,) 1.
    Errors: MnpError for one value per channel in training (no variance), and for backward after a
    forward in evaluation mode. Source: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.

    >>> BatchNorm2d(16).buffers["running_var"][:3]
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1, *, dtype=np.float32, backend=None):
        super().__init__(backend)
        self.channels = check_int("channels", channels)
        self.eps, self.momentum = float(eps), float(momentum)
        if not (self.eps > 0.0 and 0.0 <= self.momentum <= 1.0):
            raise MnpError(f"BatchNorm2d needs eps > 0 and momentum in [0, 1], got {eps!r} and {momentum!r}")
        self.dtype = float_dtype(dtype)
        self.params = {"weight": np.ones(channels, self.dtype), "bias": np.zeros(channels, self.dtype)}
        self.buffers = {
            "running_mean": np.zeros(channels, self.dtype),
            "running_var": np.ones(channels, self.dtype),
        }

    def forward(self, x, training=False, rng=None):
        x = self._check_input(x, (self.channels, "H", "W"))
        weight, bias = self.params["weight"], self.params["bias"]
        running_mean, running_var = self.buffers["running_mean"], self.buffers["running_var"]
        if not training:
            self.cache = BatchNormCache(x, None, None)
            return self.backend.batchnorm2d_inference(x, weight, bias, running_mean, running_var, self.eps)
        values = x.size // self.channels
        if values < 2:
            raise MnpError(f"{self!r} got one value per channel in training; give it a larger batch or image")
        y, mean, var = self.backend.batchnorm2d_forward(x, weight, bias, self.eps)
        self.cache = BatchNormCache(x, mean, var)
        # In place: with_backend shares these arrays.
        running_mean += self.momentum * (mean - running_mean)
        running_var += self.momentum * (var * (values / (values - 1)) - running_var)
        return y

    def backward(self, dy, need_dx=True):
        cache = self._saved()
        if cache.mean is None:
            raise MnpError(
                f"{self!r}: the last forward was in evaluation mode; call forward(x, training=True)"
            )
        dx, self.grads["weight"], self.grads["bias"] = self.backend.batchnorm2d_backward(
            dy, cache.x, self.params["weight"], cache.mean, cache.var, self.eps
        )
        return dx if need_dx else None

    def output_shape(self, shape):
        return self._check_input_shape(shape, (self.channels, "H", "W"))

    def macs(self, shape):
        """0: at inference it folds into the convolution before it (`fold_batchnorm`)."""
        return 0
