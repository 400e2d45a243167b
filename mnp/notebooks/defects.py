"""Three defects of the published Caffe code, reproduced on arrays to measure their effect.

The facts are those of the authors' MNIST scripts: (a) the copy loop of the smaller layer, (b) the table of
win counts after the first round, (c) wins counted in training mode: `collect_win_counts(training=True)`.
"""

import numpy as np


def copy_to_wrong_rows(weight, keep):
    """Defect (a): copy the kept neurons to row unit + neuron of the flattened smaller layer.

        small[u + m] = weight[u, keep[u, m]]         meant: small[u * n_keep + m]

    weight (units, k, ...), keep (units, n_keep) int -> small (units, n_keep, ...), some of its rows zero

    >>> copy_to_wrong_rows(np.array([[1, 2, 3], [4, 5, 6]]), np.array([[0, 2], [1, 2]])).tolist()
    [[1, 5], [6, 0]]
    """
    units, n_keep = keep.shape
    small = np.zeros((units * n_keep, *weight.shape[2:]), dtype=weight.dtype)
    for u, m in np.ndindex(keep.shape):
        small[u + m] = weight[u, keep[u, m]]
    return small.reshape(units, n_keep, *weight.shape[2:])


def keep_by_old_table(counts, columns):
    """Defect (b): the table of win counts keeps the columns of the first round.

    A column without a neuron holds 0 wins and is always the smallest: the last neuron is removed.

    counts (units, k) int, columns of the first round -> keep (units, k - 1) int64, ascending

    >>> keep_by_old_table(np.array([[1, 9]]), columns=3), keep_by_old_table(np.array([[5, 1, 9]]), 3)
    (array([[0]]), array([[0, 2]]))
    """
    units, k = counts.shape
    table = np.zeros((units, columns), dtype=counts.dtype)
    table[:, :k] = counts
    removed = np.minimum(table.argmin(axis=1), k - 1)
    return np.array([np.delete(np.arange(k), least) for least in removed])
