"""Dense layers, maxout units, ReLU and dropout: one or two lines of NumPy each.

N examples; n is an example, u a unit, j one of its k neurons, o an output, i a feature.
"""

import numpy as np

from mnp.kernels import shapes


def dense_forward(x, weight, bias):
    """Affine layer: x @ weight.T + bias.

        y[n, o] = bias[o] + sum_i weight[o, i] * x[n, i]

    Parameters
    ----------
    x : (N, in) float
    weight : (out, in) float
    bias : (out,) float

    Returns
    -------
    y : (N, out) float

    >>> dense_forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, -1.0]]), np.array([0.5, 0.0]))
    array([[11.5, -2. ]])
    """
    shapes.check_dense("dense_forward", x, weight, bias)
    return x @ weight.T + bias


def dense_backward(dy, x, weight, need_dx=True):
    """Gradients of a dense layer with respect to input, weights and bias.

        dx[n, i]      = sum_o dy[n, o] * weight[o, i]
        dweight[o, i] = sum_n dy[n, o] * x[n, i]
        dbias[o]      = sum_n dy[n, o]

    Parameters
    ----------
    dy : (N, out) float
    x : (N, in) float
    weight : (out, in) float
    need_dx : bool

    Returns
    -------
    dx : (N, in) float, or None
    dweight : (out, in) float
    dbias : (out,) float

    >>> dense_backward(np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    (array([[1., 2.]]), array([[ 3.,  5.],
           [ 6., 10.]]), array([1., 2.]))
    """
    shapes.check_dense_backward("dense_backward", dy, x, weight)
    dx = dy @ weight if need_dx else None
    return dx, dy.T @ x, dy.sum(axis=0)


def maxout_forward(z):
    """Maximum over the k neurons of each maxout unit, and its index.

        y[n, u] = max_j z[n, u, j],      winner[n, u] = the j of that maximum

    Parameters
    ----------
    z : (N, units, k) float
        The neurons' values.

    Returns
    -------
    y : (N, units) float
    winner : (N, units) int in [0, k)
        The lowest index wins a tie; the first NaN wins over any number.

    Source: Goodfellow et al., Maxout Networks, 2013, equation (1).

    >>> maxout_forward(np.array([[[1.0, 3.0, 2.0], [4.0, 4.0, 0.0]]]))
    (array([[3., 4.]]), array([[1, 0]]))
    """
    shapes.check_maxout("maxout_forward", z)
    return z.max(axis=2), z.argmax(axis=2)


def maxout_backward(dy, winner, k):
    """Gradient of maxout: dy goes to the neuron that won, zero to the others.

        dz[n, u, j] = dy[n, u] if winner[n, u] = j else 0

    Parameters
    ----------
    dy : (N, units) float
    winner : (N, units) int in [0, k)
        From maxout_forward.
    k : int

    Returns
    -------
    dz : (N, units, k) float

    >>> maxout_backward(np.array([[5.0, 7.0]]), np.array([[1, 0]]), k=3)
    array([[[0., 5., 0.],
            [7., 0., 0.]]])
    """
    shapes.check_maxout_backward("maxout_backward", dy, winner, k)
    won = winner[:, :, None] == np.arange(k)  # (N, units, k)
    return np.where(won, dy[:, :, None], dy.dtype.type(0))


def win_counts(winner, k):
    """Count how often each neuron wins its maxout unit: the paper's relevance.

        counts[u, j] = #{ n : winner[n, u] = j }

    Parameters
    ----------
    winner : (N, units) int in [0, k)
        From maxout_forward in evaluation mode, over the training set.
    k : int
        Neurons per unit now; after a pruning round, fewer than the recipe began with.

    Returns
    -------
    counts : (units, k) int64
        Every row sums to N. Counts of two batches add, so a data set may be streamed.

    A zero marks a neuron that never won: without it, no output on these examples changes.
    Source: Moya Rueda, Grzeszick and Fink, 2017.

    >>> win_counts(np.array([[1, 0], [1, 2], [0, 0]]), k=3)
    array([[1, 2, 0],
           [2, 0, 1]])
    """
    shapes.check_ndim("win_counts", "winner", winner, "N, units")
    shapes.check_winner("win_counts", winner, winner.shape, k)
    return (winner[:, :, None] == np.arange(k)).sum(axis=0, dtype=np.int64)


def relu_forward(x):
    """Rectified linear unit: max(x, 0), element by element.

        y = max(x, 0); NaN stays NaN

    Parameters
    ----------
    x : float, any shape

    Returns
    -------
    y : float, the same shape

    >>> relu_forward(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    shapes.check_floats("relu_forward", x=x)
    return np.maximum(x, x.dtype.type(0))


def relu_backward(dy, y):
    """Gradient of ReLU: dy where the output was positive, else 0.

        dx = dy where y > 0, else 0

    At y = 0 the derivative is taken as 0, the one-sided value that every framework uses.

    Parameters
    ----------
    dy, y : float, one shape
        y is the output of relu_forward.

    Returns
    -------
    dx : float, the same shape

    >>> relu_backward(np.array([5.0, 6.0, 7.0]), np.array([0.0, 0.0, 2.0]))
    array([0., 0., 7.])
    """
    shapes.check_floats("relu_backward", dy=dy, y=y)
    shapes.check_shape("relu_backward", "dy", dy, y.shape, "the elements of y")
    return np.where(y > 0, dy, dy.dtype.type(0))


def dropout_forward(x, keep, p):
    """Inverted dropout: zero the dropped values, divide the others by 1 - p.

        y = x / (1 - p) where keep, else 0

    Parameters
    ----------
    x : float, any shape
    keep : bool, the same shape
        Drawn by the caller, each True with probability 1 - p.
    p : float in [0, 1)
        The probability of dropping. Dividing by 1 - p keeps the mean, so that nothing needs scaling
        in evaluation mode.

    Returns
    -------
    y : float, the same shape

    Source: Srivastava et al., 2014; this is the "inverted" form of Caffe and PyTorch.

    >>> dropout_forward(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]), 0.5)
    array([2., 0., 6.])
    """
    shapes.check_dropout("dropout_forward", "x", x, keep, p)
    return np.where(keep, x * x.dtype.type(1.0 / (1.0 - p)), x.dtype.type(0))


def dropout_backward(dy, keep, p):
    """Gradient of dropout: the same positions and the same factor.

        dx = dy / (1 - p) where keep, else 0

    Parameters
    ----------
    dy : float, any shape
    keep : bool, the same shape
    p : float in [0, 1)

    Returns
    -------
    dx : float, the same shape

    >>> dropout_backward(np.array([1.0, 1.0]), np.array([True, False]), 0.75)
    array([4., 0.])
    """
    shapes.check_dropout("dropout_backward", "dy", dy, keep, p)
    return np.where(keep, dy * dy.dtype.type(1.0 / (1.0 - p)), dy.dtype.type(0))
