"""The layer that the paper prunes: maximum over the k neurons of each unit."""

from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.nn.base import Layer, check_int, check_probability, draw_keep


class MaxoutCache(NamedTuple):
    x: np.ndarray  # (N, in), the input
    winner: np.ndarray  # (N, units) int, the neuron that supplied the maximum
    y: np.ndarray  # (N, units), the output
    keep: np.ndarray | None  # (N, units, k) bool of dropout, None if nothing was dropped
    z: np.ndarray | None  # (N, units, k) before the maximum; None after a fused kernel
    training: bool


class MaxoutDense(Layer):
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
        # A dense layer of units * k rows: k adjacent rows are the neurons of a unit.
        weight, bias = self.params["weight"], self.params["bias"]
        z = self.backend.dense_forward(x, weight.reshape(-1, self.in_features), bias.reshape(-1))
        z = z.reshape(x.shape[0], self.units, self.k)
        if relu_first:
            z = self.backend.relu_forward(z)
        if keep is not None:
            z = self.backend.dropout_forward(z, keep, self.dropout)
        out = self.masked_out()
        if out is not None:
            z[:, out] = -np.inf  # after the ReLU, which would make it 0
        y, winner = self.backend.maxout_forward(z)
        return z, y, winner

    def masked_out(self, masks=None):
        """Bool (units, k), True for a neuron whose weights and bias are all masked; None if there is none.

        masks: weight and bias masks to look at instead of the layer's own. MnpError if a unit would be
        left without any neuron.
        """
        masks = self.masks if masks is None else masks
        if "weight" not in masks or "bias" not in masks or masks["bias"].all():
            return None
        out = ~(masks["weight"].any(axis=2) | masks["bias"])
        if out.all(axis=1).any():
            unit = int(out.all(axis=1).argmax())
            raise MnpError(
                f"the masks remove every neuron of unit {unit}: keep a weight or the bias of one of them"
            )
        return out if out.any() else None

    def check_masks(self, masks):
        self.masked_out(masks)

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
            dz.reshape(dz.shape[0], -1), cache.x, weight.reshape(-1, self.in_features), need_dx
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
