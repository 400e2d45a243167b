"""Relevance measures of the neurons of a maxout unit. Arrays in, arrays out; layers are not known here.

A *unit* is one maxout output; its k *neurons* are the linear pieces of which the maximum is taken.
Every measure below has the shape (units, k) and the same sense: **larger means keep**. Only neurons of
one unit are compared with each other, so the measures need no common scale across units or layers.

The paper's measure is the kernel `win_counts`; those of this file are for comparison.
"""

import numpy as np

from mnp.errors import MnpError


def rank_neurons(relevance):
    """Order the neurons of every unit by relevance, the most relevant first.

        relevance[u, order[u, 0]] >= relevance[u, order[u, 1]] >= ... >= relevance[u, order[u, k-1]]

    Parameters
    ----------
    relevance : (units, k) integer or float
        Larger means keep: win counts, or any other measure of this file.

    Returns
    -------
    order : (units, k) int64
        Every row is a permutation of 0 .. k-1. Ties: the lowest index comes first.

    Raises
    ------
    MnpError
        If `relevance` is not two-dimensional, is empty, or holds a NaN, which has no rank.

    Source: Moya Rueda et al. 2017, the ranking step of iterative neuron pruning.

    >>> rank_neurons(np.array([[5, 9, 5], [0, 0, 0]]))
    array([[1, 0, 2],
           [0, 1, 2]])
    """
    relevance = np.asarray(relevance)
    if relevance.ndim != 2 or relevance.size == 0:
        raise MnpError(f"relevance has shape {relevance.shape}: pass one row per unit, (units, k)")
    if relevance.dtype.kind == "f" and np.isnan(relevance).any():
        u, j = np.argwhere(np.isnan(relevance))[0]
        raise MnpError(
            f"relevance of neuron ({u}, {j}) is NaN: it has no rank; check what it was computed from"
        )
    # A stable *descending* sort without negation (which unsigned integers and the smallest int64
    # would not survive): mirror, sort ascending, mirror back. Ties end with the lowest index first.
    k = relevance.shape[1]
    ascending = np.argsort(relevance[:, ::-1], axis=1, kind="stable")
    return np.ascontiguousarray((k - 1 - ascending)[:, ::-1]).astype(np.int64, copy=False)


def reversed_counts(counts):
    """Negate the win counts (control experiment): the neuron with the most wins is removed first.

        relevance[u, j] = -counts[u, j]

    If win counts carry information, this ranking must do harm.

    Parameters
    ----------
    counts : (units, k) integer

    Returns
    -------
    relevance : (units, k) int64
        Ties stay ties; after `rank_neurons` the lowest index still comes first.

    >>> rank_neurons(reversed_counts(np.array([[5, 9, 5]])))
    array([[0, 2, 1]])
    """
    return -np.asarray(counts).astype(np.int64)


def random_relevance(units, k, rng):
    """Random relevance, the baseline that any measure has to beat.

        relevance[u, j] ~ U[0, 1)

    Parameters
    ----------
    units, k : int
        Both at least 1.
    rng : numpy.random.Generator or seed
        The same generator state gives the same relevance.

    Returns
    -------
    relevance : (units, k) float64

    >>> random_relevance(2, 3, np.random.default_rng(0)).shape
    (2, 3)
    """
    if units < 1 or k < 1:
        raise MnpError(f"random_relevance needs at least one unit and one neuron, got units={units}, k={k}")
    if rng is None:
        raise MnpError("a random relevance needs rng: pass a numpy.random.Generator or a seed")
    return np.random.default_rng(rng).random((units, k))


def weight_norm(weight, bias=None):
    """Norm of every neuron's weight vector; no data needed.

        relevance[u, j] = sqrt( sum_i weight[u, j, i]**2  (+ bias[u, j]**2) )

    Parameters
    ----------
    weight : (units, k, in) float
    bias : (units, k) float, optional
        Counted as one more weight if it is given.

    Returns
    -------
    relevance : (units, k) float64

    >>> weight_norm(np.array([[[3.0, 4.0], [0.0, 1.0]]]))
    array([[5., 1.]])
    """
    weight = np.asarray(weight)
    if weight.ndim != 3:
        raise MnpError(f"weight has shape {weight.shape}: a maxout weight is (units, k, in)")
    squares = np.einsum("uji,uji->uj", weight, weight, dtype=np.float64)
    if bias is not None:
        bias = np.asarray(bias)
        if bias.shape != weight.shape[:2]:
            raise MnpError(f"bias has shape {bias.shape}: for this weight it must be {weight.shape[:2]}")
        squares += bias.astype(np.float64) ** 2
    return np.sqrt(squares)


def activation_sums(z, relu=False):
    """Sum of every neuron's value before the maximum, over the examples of a batch.

        sums[u, j] = sum_n z[n, u, j]              (relu: max(z[n, u, j], 0) instead of z)

    Parameters
    ----------
    z : (N, units, k) float
        The values before the maximum.
    relu : bool
        True if the layer has a ReLU before its maximum, as the authors' network does.

    Returns
    -------
    sums : (units, k) float64
        Sums of two batches add (to rounding), so a data set may be streamed.

    >>> activation_sums(np.array([[[1.0, -2.0]], [[3.0, 4.0]]]))
    array([[4., 2.]])
    >>> activation_sums(np.array([[[1.0, -2.0]], [[3.0, 4.0]]]), relu=True)
    array([[4., 4.]])
    """
    z = np.asarray(z)
    if z.ndim != 3:
        raise MnpError(f"z has shape {z.shape}: pass the values before the maximum, (N, units, k)")
    return (np.maximum(z, 0) if relu else z).sum(axis=0, dtype=np.float64)


def margin_sums(z, relu=False, dy=None):
    """Sum, over the examples of a batch, of what a unit's output loses when its winner is removed.

        y[n, u]    = max_j z[n, u, j],    winner[n, u] = argmax_j z[n, u, j]
        sums[u, j] = sum_n [winner[n, u] = j] * (y[n, u] - runner_up[n, u])

    runner_up is the second largest of the unit's values. A win count says how often a neuron wins, the
    margin by how much: without neuron j, the outputs of unit u on these examples sum to sums[u, j] less.

    Parameters
    ----------
    z : (N, units, k) float
        The values before the maximum, k of at least 2.
    relu : bool
        True if the layer has a ReLU before its maximum: max(z, 0) instead of z.
    dy : (N, units) float, optional
        Gradient of each example's loss with respect to y. Then every margin is weighted by abs(dy[n, u]):
        the change of the loss to first order, its sign left out.

    Returns
    -------
    sums : (units, k) float64
        The relevance; sums of two batches add (to rounding), so a data set may be streamed.

    Source: `dy` as Molchanov et al. 2017, arXiv 1611.06440, weight an activation.

    >>> margin_sums(np.array([[[1.0, 4.0, 3.5]], [[2.0, 0.0, -1.0]]]))
    array([[2. , 0.5, 0. ]])
    >>> margin_sums(np.array([[[1.0, 4.0, 3.5]], [[2.0, 0.0, -1.0]]]), dy=np.array([[-2.0], [0.0]]))
    array([[0., 1., 0.]])
    """
    z = np.asarray(z)
    if z.ndim != 3 or z.shape[2] < 2:
        raise MnpError(f"z has shape {z.shape}: pass the values before the maximum, (N, units, k), k >= 2")
    values = np.maximum(z, 0) if relu else z
    runner_up, y = np.moveaxis(np.partition(values, -2, axis=2)[:, :, -2:], 2, 0).astype(np.float64)
    margin = y - runner_up
    if dy is not None:
        if np.shape(dy) != margin.shape:
            raise MnpError(f"dy has shape {np.shape(dy)}: for this z it must be {margin.shape}")
        margin = margin * np.abs(dy)
    won = z.argmax(axis=2)[:, :, None] == np.arange(z.shape[2])
    return (won * margin[:, :, None]).sum(axis=0)


def mean_activation(sums, examples):
    """Mean of every neuron's value before the maximum.

        relevance[u, j] = sums[u, j] / examples

    A neuron may win often by a little or rarely by a lot. Win counts see only how often; the mean also
    includes the values with which a neuron loses.

    Parameters
    ----------
    sums : (units, k) float
        From `activation_sums`, added over the batches.
    examples : int
        How many examples went into `sums`; at least 1.

    Returns
    -------
    relevance : (units, k) float64

    >>> mean_activation(np.array([[4.0, 2.0]]), examples=2)
    array([[2., 1.]])
    """
    if examples < 1:
        raise MnpError(f"mean_activation over {examples} examples: run at least one batch first")
    return np.asarray(sums, dtype=np.float64) / examples
