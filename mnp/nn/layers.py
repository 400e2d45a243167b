"""Layers: convolution, pooling, ReLU, dropout, flatten, dense, batch normalisation.

Each stores its arrays and a cache; the arithmetic is in the kernels of the same name.
The maxout layers are in maxout.py.
"""

import math
from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.kernels.shapes import conv2d_output_size, pool2d_output_size
from mnp.nn.base import Layer, as_array, check_int, check_probability, draw_keep, float_dtype


class ConvCache(NamedTuple):
    x: np.ndarray  # (N, C, H, W), the input


class PoolCache(NamedTuple):
    winner: np.ndarray  # (N, C, OH, OW) int, position in the window, row by row
    x_shape: tuple


class ShapeCache(NamedTuple):
    x_shape: tuple


class ReLUCache(NamedTuple):
    y: np.ndarray  # the output


class DropoutCache(NamedTuple):
    keep: np.ndarray | None  # bool, None in evaluation mode


class DenseCache(NamedTuple):
    x: np.ndarray  # (N, in), the input


class BatchNormCache(NamedTuple):
    x: np.ndarray  # (N, C, H, W), the input
    mean: np.ndarray | None  # (C,) of this batch; None in evaluation mode
    var: np.ndarray | None  # (C,) of this batch, biased; None in evaluation mode


class Convolution(Layer):
    """What the convolution layers share: square filters, stride and padding, and the sizes that follow."""

    def _init_filters(self, outputs, in_channels, kernel_size, stride, padding, rng, init, dtype):
        """Set the sizes, and params: weight (*outputs, in_channels, K, K), bias (*outputs)."""
        self.in_channels = check_int("in_channels", in_channels)
        self.kernel_size = size = check_int("kernel_size", kernel_size)
        self.stride = check_int("stride", stride)
        self.padding = check_int("padding", padding, minimum=0)
        self._init_params(outputs, (self.in_channels, size, size), rng, init, dtype)

    def output_shape(self, shape):
        _, h, w = self._check_input_shape(shape, (self.in_channels, "H", "W"))
        size = self.kernel_size
        outputs = len(self.params["weight"])
        return (outputs, *conv2d_output_size(h, w, size, size, self.stride, self.padding))

    def macs(self, shape):
        """Number of weights * OH * OW."""
        _, oh, ow = self.output_shape(shape)
        return self.params["weight"].size * oh * ow


class Conv2d(Convolution):
    """2-D convolution (cross-correlation) of a batch of images with `out_channels` filters.

        y[n, f, p, q] = bias[f] + sum_{c, i, j} weight[f, c, i, j]
                                  * x[n, c, p*stride + i - padding, q*stride + j - padding]

    x is (N, in_channels, H, W); params: weight (F, C, KH, KW), bias (F,); filters are square.
    rng is a Generator or a seed; None gives zero weights, ready to be loaded; init is "caffe" or "he"
    (see `init_weight`). Errors: ShapeError if the channels of x differ, MnpError if its dtype does.

    >>> conv = Conv2d(1, 20, 5)
    >>> conv.output_shape((1, 28, 28))
    (20, 24, 24)
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        *,
        rng=None,
        dtype=np.float32,
        init="caffe",
        backend=None,
    ):
        super().__init__(backend)
        self.out_channels = check_int("out_channels", out_channels)
        sizes = in_channels, kernel_size, stride, padding
        self._init_filters((self.out_channels,), *sizes, rng, init, dtype)

    def check(self, x):
        """Return x if it is (N, in_channels, H, W) of the weights' dtype; raise otherwise."""
        if type(x) is np.ndarray and x.ndim == 4 and x.shape[1] == self.in_channels and x.dtype is self.dtype:
            return x  # quickly: for one image this counts
        return self._check_input(x, (self.in_channels, "H", "W"))

    def forward(self, x, training=False, rng=None):
        x = self.check(x)
        y = self.backend.conv2d_forward(
            x, self.params["weight"], self.params["bias"], self.stride, self.padding
        )
        self.cache = ConvCache(x)
        return y

    def backward(self, dy, need_dx=True):
        x = self._saved().x
        dx, self.grads["weight"], self.grads["bias"] = self.backend.conv2d_backward(
            dy, x, self.params["weight"], self.stride, self.padding, need_dx
        )
        return dx


class _Pool2d(Layer):
    def __init__(self, size, stride=None, *, backend=None):
        super().__init__(backend)
        self.size = check_int("size", size)
        self.stride = self.size if stride is None else check_int("stride", stride)

    def output_shape(self, shape):
        c, h, w = self._check_input_shape(shape, ("C", "H", "W"))
        return (c, *pool2d_output_size(h, w, self.size, self.stride))


class MaxPool2d(_Pool2d):
    """Maximum of every window; the lowest index, row by row, wins a tie.

        y[n, c, p, q] = max_{i, j} x[n, c, p*stride + i, q*stride + j]      0 <= i, j < size

    stride=None means stride = size: windows side by side. No padding; remaining rows and columns at the
    lower and right edge belong to no window.

    >>> MaxPool2d(2).output_shape((20, 24, 24))
    (20, 12, 12)
    """

    def forward(self, x, training=False, rng=None):
        x = self._check_input(x, ("C", "H", "W"))
        y, winner = self.backend.maxpool2d_forward(x, self.size, self.stride)
        self.cache = PoolCache(winner, x.shape)
        return y

    def backward(self, dy, need_dx=True):
        cache = self._saved()
        if not need_dx:
            return None
        return self.backend.maxpool2d_backward(dy, cache.winner, cache.x_shape, self.size, self.stride)


class AvgPool2d(_Pool2d):
    """Mean of every window: y[n, c, p, q] = mean_{i, j} x[n, c, p*stride + i, q*stride + j].

    >>> AvgPool2d(3, stride=2).output_shape((4, 7, 7))
    (4, 3, 3)
    """

    def forward(self, x, training=False, rng=None):
        x = self._check_input(x, ("C", "H", "W"))
        y = self.backend.avgpool2d_forward(x, self.size, self.stride)
        self.cache = ShapeCache(x.shape)
        return y

    def backward(self, dy, need_dx=True):
        cache = self._saved()
        if not need_dx:
            return None
        return self.backend.avgpool2d_backward(dy, cache.x_shape, self.size, self.stride)


class ReLU(Layer):
    """Rectified linear unit: y = max(x, 0). The gradient at exactly zero is zero.

    >>> ReLU().config()
    {}
    """

    def __init__(self, *, backend=None):
        super().__init__(backend)

    def forward(self, x, training=False, rng=None):
        y = self.backend.relu_forward(as_array(x))
        self.cache = ReLUCache(y)
        return y

    def backward(self, dy, need_dx=True):
        y = self._saved().y
        return self.backend.relu_backward(dy, y) if need_dx else None


class Dropout(Layer):
    """Inverted dropout: in training, y = x * keep / (1 - p), with a share p of keep False.

    keep is drawn from the generator passed to forward; in evaluation mode y is x itself.
    Errors: MnpError for p outside [0, 1), and for training without a generator if p > 0.
    Source: Srivastava et al. 2014, JMLR 15; scaled in training, so that evaluation needs no scaling.

    >>> Dropout(0.5)
    Dropout(0.5)
    """

    def __init__(self, p, *, backend=None):
        super().__init__(backend)
        self.p = check_probability("p", p)

    def forward(self, x, training=False, rng=None):
        x = as_array(x)
        if not training or self.p == 0.0:
            self.cache = DropoutCache(None)
            return x
        keep = draw_keep(x.shape, self.p, rng, self)
        self.cache = DropoutCache(keep)
        return self.backend.dropout_forward(x, keep, self.p)

    def backward(self, dy, need_dx=True):
        keep = self._saved().keep
        if not need_dx:
            return None
        return dy if keep is None else self.backend.dropout_backward(dy, keep, self.p)


class Flatten(Layer):
    """Reshape every example to one row, (N, C, H, W) -> (N, C * H * W), in C order.

    >>> Flatten().output_shape((52, 4, 4))
    (832,)
    """

    def __init__(self, *, backend=None):
        super().__init__(backend)

    def forward(self, x, training=False, rng=None):
        x = as_array(x)
        self.cache = ShapeCache(x.shape)
        return x.reshape(x.shape[0], -1)

    def backward(self, dy, need_dx=True):
        return dy.reshape(self._saved().x_shape)

    def output_shape(self, shape):
        return (math.prod(shape),)


class Dense(Layer):
    """Affine layer: y = x @ weight.T + bias.

        y[n, o] = bias[o] + sum_i x[n, i] * weight[o, i]

    params: weight (out_features, in_features), bias (out_features,), as PyTorch's nn.Linear. rng and init
    as in `Conv2d`. Errors: ShapeError if the width of x differs, MnpError if its dtype does.

    >>> Dense(64, 10).output_shape((64,))
    (10,)
    """

    def __init__(self, in_features, out_features, *, rng=None, dtype=np.float32, init="caffe", backend=None):
        super().__init__(backend)
        self.in_features = check_int("in_features", in_features)
        self.out_features = check_int("out_features", out_features)
        self._init_params((self.out_features,), (self.in_features,), rng, init, dtype)

    def forward(self, x, training=False, rng=None):
        if type(x) is not np.ndarray or x.dtype is not self.dtype or x.shape[1:] != (self.in_features,):
            x = self._check_input(x, (self.in_features,))
        y = self.backend.dense_forward(x, self.params["weight"], self.params["bias"])
        self.cache = DenseCache(x)
        return y

    def backward(self, dy, need_dx=True):
        x = self._saved().x
        dx, self.grads["weight"], self.grads["bias"] = self.backend.dense_backward(
            dy, x, self.params["weight"], need_dx
        )
        return dx

    def output_shape(self, shape):
        self._check_input_shape(shape, (self.in_features,))
        return (self.out_features,)

    def macs(self, shape):
        """out_features * in_features."""
        return self.params["weight"].size


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
