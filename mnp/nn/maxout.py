"""The layers that are pruned: maximum over the k neurons, or the k feature maps, of each unit."""

from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.nn.base import Layer, check_int, check_probability, draw_keep
from mnp.nn.layers import Conv2d, Convolution, Dense, Dropout, ReLU


class MaxoutCache(NamedTuple):
    x: np.ndarray  # (N, in), the input
    winner: np.ndarray  # (N, units) int, the neuron that supplied the maximum
    y: np.ndarray  # (N, units), the output
    keep: np.ndarray | None  # (N, units, k) bool of dropout, None if nothing was dropped
    z: np.ndarray | None  # (N, units, k) before the maximum; None after a fused kernel
    training: bool


class MaxoutConvCache(NamedTuple):
    x: np.ndarray  # (N, C, H, W), the input
    winner: np.ndarray  # (N*OH*OW, units) int, the neuron that supplied the maximum at each pixel
    y: np.ndarray  # (N, units, OH, OW), the output


class Maxout(Layer):
    """What the maxout layers share. weight is (units, k, ...), bias (units, k); `cache.winner` (rows, units).

    A row is an example, or, of feature maps, a pixel of an example.
    """

    def masked_out(self, masks=None):
        """Bool (units, k), True for a neuron whose weights and bias are all masked; None if there is none.

        masks: weight and bias masks to look at instead of the layer's own. MnpError if a unit would be
        left without any neuron.
        """
        masks = self.masks if masks is None else masks
        if "weight" not in masks or "bias" not in masks or masks["bias"].all():
            return None
        out = ~(masks["weight"].reshape(self.units, self.k, -1).any(axis=2) | masks["bias"])
        if out.all(axis=1).any():
            unit = int(out.all(axis=1).argmax())
            raise MnpError(
                f"the masks remove every neuron of unit {unit}: keep a weight or the bias of one of them"
            )
        return out if out.any() else None

    def check_masks(self, masks):
        self.masked_out(masks)

    def before_maximum(self):
        """z (rows, units, k) of the last forward pass, computed again: a fused kernel does not store it."""
        return self._z(self._saved().x)

    def _flat(self):
        """Weight and bias of an ordinary layer: k adjacent rows, or filters, are the neurons of a unit."""
        weight = self.params["weight"]
        return weight.reshape(-1, *weight.shape[2:]), self.params["bias"].reshape(-1)


class MaxoutDense(Maxout):
    """Affine layer, then the maximum over the k neurons of each unit; the lowest index wins a tie.

        z[n, u, j] = bias[u, j] + sum_i x[n, i] * weight[u, j, i]
        y[n, u]    = max_j z[n, u, j],    winner[n, u] = argmax_j z[n, u, j]

    The authors' network puts a ReLU and dropout between the two, and so does this layer in training
    with relu=True and dropout > 0: dense -> ReLU -> dropout -> maximum. In evaluation mode there is
    no dropout, the maximum is taken of the raw z and the ReLU comes after it. max(relu(z)) equals
    relu(max(z)), so y is the same, but negative neurons keep their order: winner has no ties at zero,
    which would all go to neuron 0 and spoil the ranking.

    A neuron whose weights and bias are all masked is out: its z counts as -inf, so it never wins. With
    the weights masked and the bias kept, it is a constant that still takes part in the maximum.

    Parameters
    ----------
    in_features, units, k : int
        params: weight (units, k, in_features), bias (units, k). Removing neurons is one
        `take_along_axis` along k.
    relu : bool
    dropout : float in [0, 1)
        The share of *neurons* dropped in training, before the maximum.
    rng, init, dtype, backend
        As in `Conv2d`. rng=None gives zero weights, ready to be loaded.

    Errors: ShapeError if the width of x differs; MnpError for training without a generator if
    dropout > 0, and for masks that leave a unit no neuron.
    Sources: Goodfellow et al. 2013, arXiv 1302.4389 (maxout); Moya Rueda et al. 2017, arXiv 1707.06838,
    and its published Caffe network (the order of ReLU, dropout and maximum).

    >>> from mnp.kernels import textbook
    >>> layer = MaxoutDense(1, units=2, k=2, backend=textbook)
    >>> layer.params["weight"][:, :, 0] = [[1, -1], [2, 0]]      # |x| and max(2 x, 0)
    >>> layer.forward(np.array([[3.0], [-3.0]], np.float32))
    array([[3., 6.],
           [3., 0.]], dtype=float32)
    >>> layer.cache.winner.tolist()
    [[0, 0], [1, 1]]
    """

    def __init__(
        self,
        in_features,
        units,
        k,
        *,
        relu=False,
        dropout=0.0,
        rng=None,
        dtype=np.float32,
        init="caffe",
        backend=None,
    ):
        super().__init__(backend)
        self.in_features = check_int("in_features", in_features)
        self.units = check_int("units", units)
        self.k = check_int("k", k)
        self.relu = bool(relu)
        self.dropout = check_probability("dropout", dropout)
        self._init_params((self.units, self.k), (self.in_features,), rng, init, dtype)

    def forward(self, x, training=False, rng=None):
        if type(x) is not np.ndarray or x.dtype is not self.dtype or x.shape[1:] != (self.in_features,):
            x = self._check_input(x, (self.in_features,))
        keep = None
        if training and self.dropout > 0.0:
            keep = draw_keep((x.shape[0], self.units, self.k), self.dropout, rng, self)
        relu_first = self.relu and training
        if hasattr(self.backend, "dense_maxout_forward") and self.masked_out() is None:
            z = None
            y, winner = self.backend.dense_maxout_forward(
                x, self.params["weight"], self.params["bias"], relu_first, keep, self.dropout
            )
        else:
            z, y, winner = self._step_by_step(x, relu_first, keep)
        if self.relu and not training:
            y = self.backend.relu_forward(y)
        self.cache = MaxoutCache(x, winner, y, keep, z, training)
        return y

    def _step_by_step(self, x, relu_first, keep):
        z = self._z(x)
        if relu_first:
            z = self.backend.relu_forward(z)
        if keep is not None:
            z = self.backend.dropout_forward(z, keep, self.dropout)
        out = self.masked_out()
        if out is not None:
            z[:, out] = -np.inf  # after the ReLU, which would make it 0
        y, winner = self.backend.maxout_forward(z)
        return z, y, winner

    def _z(self, x):
        return self.backend.dense_forward(x, *self._flat()).reshape(-1, self.units, self.k)

    def rows(self, y):
        """An array in the shape of the output as (rows, units)."""
        return y

    def with_neurons(self, n_keep, name):
        """New layers, with zero weights, for n_keep neurons per unit: a list of (name, layer)."""
        common = {"dtype": self.dtype, "backend": self.backend}
        if n_keep > 1:
            options = {"relu": self.relu, "dropout": self.dropout, **common}
            return [(name, MaxoutDense(self.in_features, self.units, n_keep, **options))]
        return without_maximum(name, self.in_features, self.units, self.relu, self.dropout, **common)

    def backward(self, dy, need_dx=True):
        cache = self._saved()
        if self.relu and not cache.training:
            dy = self.backend.relu_backward(dy, cache.y)
        weight = self.params["weight"]
        relu_first = self.relu and cache.training
        if cache.z is None:
            dx, self.grads["weight"], self.grads["bias"] = self.backend.dense_maxout_backward(
                dy, cache.y, cache.winner, cache.x, weight, relu_first, cache.keep, self.dropout, need_dx
            )
            return dx
        dz = self.backend.maxout_backward(dy, cache.winner, self.k)
        if cache.keep is not None:
            dz = self.backend.dropout_backward(dz, cache.keep, self.dropout)
        if relu_first:
            # cache.z is after dropout, too, but where dropout made it 0 the gradient is 0 already.
            dz = self.backend.relu_backward(dz, cache.z)
        dx, dweight, dbias = self.backend.dense_backward(
            dz.reshape(dz.shape[0], -1), cache.x, self._flat()[0], need_dx
        )
        self.grads["weight"] = dweight.reshape(weight.shape)
        self.grads["bias"] = dbias.reshape(weight.shape[:2])
        return dx

    def output_shape(self, shape):
        self._check_input_shape(shape, (self.in_features,))
        return (self.units,)

    def macs(self, shape):
        """units * k * in_features."""
        return self.params["weight"].size


def without_maximum(name, in_features, neurons, relu, dropout, **options):
    """What is left of a maxout layer without its maximum: a list of (name, layer), a Dense first."""
    layers = [(name, Dense(in_features, neurons, **options))]
    if relu:
        layers.append((f"{name}_relu", ReLU(backend=options["backend"])))
    if dropout:
        layers.append((f"{name}_dropout", Dropout(dropout, backend=options["backend"])))
    return layers


class MaxoutConv2d(Maxout, Convolution):
    """Convolution, then at every pixel the maximum over the k feature maps of each unit.

        z[n, u, j, p, q] = bias[u, j] + sum_{c, a, b} weight[u, j, c, a, b]
                                        * x[n, c, p*stride + a - padding, q*stride + b - padding]
        y[n, u, p, q]    = max_j z[n, u, j, p, q];  the lowest j wins a tie

    A unit has k filters, the neurons that `prune_neurons` removes; their win counts are over all examples and
    all pixels. With one filter left per unit the layer becomes an ordinary `Conv2d`.

    Parameters
    ----------
    in_channels, units, k, kernel_size, stride, padding : int
        params: weight (units, k, in_channels, K, K), bias (units, k).
    rng, init, dtype, backend
        As in `Conv2d`. rng=None gives zero weights, ready to be loaded.

    Errors: ShapeError if the channels of x differ, MnpError if its dtype does, and for masks that leave a
    unit no neuron.
    Source: Goodfellow et al. 2013, arXiv 1302.4389, section 2 (a maxout feature map).

    >>> conv = MaxoutConv2d(1, units=6, k=2, kernel_size=5, rng=0, backend="textbook")
    >>> conv.forward(np.ones((3, 1, 28, 28), np.float32)).shape, conv.cache.winner.shape
    ((3, 6, 24, 24), (1728, 6))
    """

    def __init__(
        self,
        in_channels,
        units,
        k,
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
        self.units = check_int("units", units)
        self.k = check_int("k", k)
        sizes = in_channels, kernel_size, stride, padding
        self._init_filters((self.units, self.k), *sizes, rng, init, dtype)

    def forward(self, x, training=False, rng=None):
        x = self._check_input(x, (self.in_channels, "H", "W"))
        z = self._z(x)
        out = self.masked_out()
        if out is not None:
            z[:, out] = -np.inf
        y, winner = self.backend.maxout_forward(z)
        n, *image = x.shape
        units, oh, ow = self.output_shape(image)
        y = np.ascontiguousarray(y.reshape(n, oh, ow, units).transpose(0, 3, 1, 2))
        self.cache = MaxoutConvCache(x, winner, y)
        return y

    def backward(self, dy, need_dx=True):
        x, winner, y = self._saved()
        n, _, oh, ow = y.shape
        dz = self.backend.maxout_backward(self.rows(dy), winner, self.k)  # (rows, units, k)
        dz = np.ascontiguousarray(dz.reshape(n, oh, ow, -1).transpose(0, 3, 1, 2))
        dx, dweight, dbias = self.backend.conv2d_backward(
            dz, x, self._flat()[0], self.stride, self.padding, need_dx
        )
        self.grads["weight"] = dweight.reshape(self.params["weight"].shape)
        self.grads["bias"] = dbias.reshape(self.units, self.k)
        return dx

    def _z(self, x):
        """One row per pixel, (rows, units, k), so that the kernels of a dense maxout layer serve."""
        z = self.backend.conv2d_forward(x, *self._flat(), self.stride, self.padding)
        return np.ascontiguousarray(z.transpose(0, 2, 3, 1)).reshape(-1, self.units, self.k)

    def rows(self, y):
        """An array in the shape of the output as (rows, units)."""
        return np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(-1, self.units)

    def with_neurons(self, n_keep, name):
        """New layers, with zero weights, for n_keep neurons per unit: a list of (name, layer)."""
        sizes = (self.kernel_size, self.stride, self.padding)
        common = {"dtype": self.dtype, "backend": self.backend}
        if n_keep > 1:
            return [(name, MaxoutConv2d(self.in_channels, self.units, n_keep, *sizes, **common))]
        return [(name, Conv2d(self.in_channels, self.units, *sizes, **common))]
