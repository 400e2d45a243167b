"""The layer that the paper prunes: k neurons to a unit, of which the largest is passed on."""

from typing import NamedTuple

import numpy as np

from mnp.nn.base import Layer, check_int, check_probability, draw_keep, float_dtype, init_weight


class MaxoutCache(NamedTuple):
    x: np.ndarray  # (N, in) as it came in
    winner: np.ndarray  # (N, units) int, the neuron that supplied the maximum
    y: np.ndarray  # (N, units) as it went out
    keep: np.ndarray | None  # (N, units, k) bool, None where nothing was dropped
    z: np.ndarray | None  # (N, units, k) before the maximum; None if a fused kernel kept it to itself
    training: bool


class MaxoutDense(Layer):
    """Pass on the largest of every unit's k neurons; the lowest index wins a tie.

        z[n, u, j] = bias[u, j] + sum_i x[n, i] * weight[u, j, i]
        y[n, u]    = max_j z[n, u, j],    winner[n, u] = argmax_j z[n, u, j]

    The authors' network puts a ReLU and dropout between the two, and so does this layer in training
    with relu=True and dropout > 0: dense -> ReLU -> dropout -> maximum. In evaluation mode there is
    no dropout, the maximum is taken of the raw z and the ReLU comes after it. max(relu(z)) equals
    relu(max(z)), so y is the same, but negative neurons are told apart: winner has no ties at zero,
    which would all go to neuron 0 and spoil the ranking.

    Parameters
    ----------
    in_features, units, k : int
        params: weight (units, k, in_features), bias (units, k). Removing neurons is one
        `take_along_axis` along k.
    relu : bool
    dropout : float in [0, 1)
        The share of *neurons* dropped in training, before the maximum.
    rng, init, dtype, kernels
        As in `Dense`. rng=None gives zero weights, ready to be loaded.

    Errors: ShapeError for an x of other width; MnpError for training without a generator where
    dropout > 0. Sources: Goodfellow et al. 2013, arXiv 1302.4389 (maxout); Moya Rueda et al. 2017,
    arXiv 1707.06838, and its published Caffe network (the order).

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
        self.dtype = float_dtype(dtype)
        self.params["weight"] = init_weight(
            (self.units, self.k, self.in_features), self.in_features, rng, init, self.dtype
        )
        self.params["bias"] = np.zeros((self.units, self.k), self.dtype)

    def forward(self, x, training=False, rng=None):
        self._check_input(x, (self.in_features,))
        keep = None
        if training and self.dropout > 0.0:
            keep = draw_keep((x.shape[0], self.units, self.k), self.dropout, rng, self)
        relu_first = self.relu and training
        if hasattr(self.backend, "dense_maxout_forward"):
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
        # The same numbers as a dense layer of units * k rows: k adjacent neurons make a unit.
        weight, bias = self.params["weight"], self.params["bias"]
        z = self.backend.dense_forward(x, weight.reshape(-1, self.in_features), bias.reshape(-1))
        z = z.reshape(x.shape[0], self.units, self.k)
        if relu_first:
            z = self.backend.relu_forward(z)
        if keep is not None:
            z = self.backend.dropout_forward(z, keep, self.dropout)
        y, winner = self.backend.maxout_forward(z)
        return z, y, winner

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
            # z went through the dropout too, but what it zeroed has no gradient left to stop.
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
