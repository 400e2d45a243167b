"""Selection of the neurons of a maxout layer that stay. Arrays in, arrays out; layers are not known here.

`keep`, (units, n_keep), holds the indices of the neurons that stay, ascending in every row. All units
keep the same number of neurons, so the smaller layer is again a plain (units, n_keep, in) array, and the
neurons keep their order. (For different numbers per unit, mask the others out: `apply_masks`.)
"""

import numpy as np

from mnp.errors import MnpError


def keep_top(order, n_keep):
    """Indices of the n_keep most relevant neurons of every unit; the others are to be removed.

        keep[u] = sort( order[u, 0], ..., order[u, n_keep - 1] )

    Parameters
    ----------
    order : (units, k) int
        From `rank_neurons`: most relevant first. Ties are resolved there, lowest index first.
    n_keep : int in [1, k]
        Neurons that stay in each unit. The paper removes one per round: n_keep = k - 1.

    Returns
    -------
    keep : (units, n_keep) int64
        Ascending in every row.

    Raises
    ------
    MnpError
        If a row of `order` is not a permutation of 0 .. k-1, or n_keep lies outside [1, k].

    >>> keep_top(np.array([[1, 0, 2], [2, 1, 0]]), n_keep=2)
    array([[0, 1],
           [1, 2]])
    """
    order = np.asarray(order)
    if order.ndim != 2 or order.size == 0:
        raise MnpError(f"order has shape {order.shape}: pass one ranking per unit, (units, k)")
    k = order.shape[1]
    if not np.array_equal(np.sort(order, axis=1), np.broadcast_to(np.arange(k), order.shape)):
        raise MnpError(f"order must hold a permutation of 0..{k - 1} in every row: use rank_neurons")
    if not 1 <= n_keep <= k:
        raise MnpError(f"n_keep={n_keep} of k={k} neurons: a unit keeps at least 1 and at most all {k}")
    return np.sort(order[:, :n_keep], axis=1).astype(np.int64)


def keep_ever_winning(counts):
    """Indices of all neurons that ever won, padded with others to rows of equal length.

        n_keep = max_u #{ j : counts[u, j] > 0 }

    The row of a unit with fewer winners is filled with neurons that never won, lowest index first. No
    removed neuron ever won, so no output on the counted examples changes.

    Parameters
    ----------
    counts : (units, k) int
        Win counts, in evaluation mode, over the examples in question.

    Returns
    -------
    keep : (units, n_keep) int64
        Ascending in every row.

    >>> keep_ever_winning(np.array([[0, 7, 0, 3], [0, 0, 10, 0]]))
    array([[1, 3],
           [0, 2]])
    """
    won = _counts(counts) > 0
    n_keep = max(1, int(won.sum(axis=1).max()))
    order = np.argsort(~won, axis=1, kind="stable")  # winners first, each group in index order
    return keep_top(order, n_keep)


def wins_lost(counts, keep):
    """Number of examples per unit whose winner is removed.

        lost[u] = sum_j counts[u, j] - sum_m counts[u, keep[u, m]]

    An output can change only where its winner is removed, so for at most lost[u] of the counted
    examples. An output never increases, as the maximum is taken over fewer values.

    Parameters
    ----------
    counts : (units, k) int
    keep : (units, n_keep) int

    Returns
    -------
    lost : (units,) int64

    >>> wins_lost(np.array([[5, 1, 4]]), np.array([[0, 2]]))
    array([1])
    """
    counts = _counts(counts)
    keep = check_keep(keep, *counts.shape)
    return counts.sum(axis=1, dtype=np.int64) - np.take_along_axis(counts, keep, axis=1).sum(
        axis=1, dtype=np.int64
    )


def take_neurons(weight, bias, keep):
    """Weights and biases of the neurons that stay.

        new_weight[u, m, i] = weight[u, keep[u, m], i]
        new_bias[u, m]      = bias[u, keep[u, m]]

    Parameters
    ----------
    weight : (units, k, in) any dtype
        Weights, or an array of the same layout: a mask, a velocity.
    bias : (units, k) any dtype
    keep : (units, n_keep) int
        Ascending in every row, from `keep_top`.

    Returns
    -------
    new_weight : (units, n_keep, in), new_bias : (units, n_keep)
        New arrays of the same dtype; the inputs are unchanged.

    The authors' published code writes row u + m of the flattened (units * n_keep, in) weight where
    row u * n_keep + m is meant, which leaves most rows zero. Addressing by (u, m), as here, has no
    such row to get wrong.

    Raises
    ------
    MnpError
        If the shapes do not fit, or `keep` holds an index out of range or twice.

    >>> w, b = take_neurons(np.arange(6.0).reshape(1, 3, 2), np.array([[7.0, 8.0, 9.0]]), np.array([[0, 2]]))
    >>> w[0], b[0]
    (array([[0., 1.],
           [4., 5.]]), array([7., 9.]))
    """
    weight, bias = np.asarray(weight), np.asarray(bias)
    if weight.ndim != 3 or bias.shape != weight.shape[:2]:
        raise MnpError(
            f"weight {weight.shape}, bias {bias.shape}: a maxout layer has (units, k, in), (units, k)"
        )
    keep = check_keep(keep, *bias.shape)
    return take_rows(weight, keep), take_rows(bias, keep)


def take_rows(array, keep):
    """Rows keep[u] of every unit u of a weight (units, k, ...), a bias (units, k), or a mask of either.

    >>> take_rows(np.array([[7.0, 8.0, 9.0]]), np.array([[0, 2]]))
    array([[7., 9.]])
    """
    index = keep.reshape(keep.shape + (1,) * (array.ndim - 2))
    return np.ascontiguousarray(np.take_along_axis(array, index, axis=1))


def check_keep(keep, units, k):
    """Return `keep` as an int64 array; MnpError if it does not fit a layer of this size.

    >>> check_keep([[0, 2]], units=1, k=3)
    array([[0, 2]])
    """
    try:
        keep = np.asarray(keep)
    except ValueError:  # rows of different lengths
        raise MnpError(
            "keep has rows of different lengths: every unit keeps the same number of neurons; to remove "
            "more in some units, mask their neurons out with apply_masks"
        ) from None
    if keep.ndim != 2 or keep.shape[0] != units or keep.shape[1] < 1 or keep.dtype.kind not in "iu":
        raise MnpError(
            f"keep is {keep.dtype} {keep.shape}: pass integers, one row for each of the {units} units"
        )
    keep = keep.astype(np.int64)
    if keep.min() < 0 or keep.max() >= k:
        raise MnpError(
            f"keep holds neuron {keep.min() if keep.min() < 0 else keep.max()}: this layer has k={k}"
        )
    if (np.diff(keep, axis=1) <= 0).any():
        raise MnpError("keep must ascend strictly in every row, no neuron twice: use keep_top")
    return keep


def _counts(counts):
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.size == 0 or counts.dtype.kind not in "iu":
        raise MnpError(f"counts are {counts.dtype} {counts.shape}: pass integer win counts, (units, k)")
    return counts
