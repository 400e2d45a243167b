"""The three mistakes of the published Caffe code, rebuilt on arrays so that their harm can be measured.

Nothing else in the package calls these. `tests/pruning/test_authors_defects.py` has them on small integers.
"""

import numpy as np


def copied_to_wrong_rows(weight, keep):
    """Defect (a): copy the kept neurons to row unit + neuron of the flattened smaller layer.

        small[u + m] = weight[u, keep[u, m]]         meant: small[u * n_keep + m]

    Later units overwrite earlier ones, and the rows from units + n_keep - 1 on stay zero.

    Parameters
    ----------
    weight : (units, k, ...) float: weights, or biases
    keep : (units, n_keep) int

    Returns
    -------
    small : (units, n_keep, ...) of the same dtype

    >>> copied_to_wrong_rows(np.array([[1, 2, 3], [4, 5, 6]]), np.array([[0, 2], [1, 2]])).tolist()
    [[1, 5], [6, 0]]
    """
    units, n_keep = keep.shape
    small = np.zeros((units * n_keep, *weight.shape[2:]), dtype=weight.dtype)
    for u in range(units):
        for m in range(n_keep):
            small[u + m] = weight[u, keep[u, m]]
    return small.reshape(units, n_keep, *weight.shape[2:])


def keep_by_old_table(counts, columns):
    """Defect (b): the table of counts keeps the columns of the first round.

    A column without a neuron holds 0 wins and is always found the least; what goes is then the layer's
    last neuron, whatever its relevance.

    Parameters
    ----------
    counts : (units, k) int
    columns : int
        Neurons a unit had in the first round.

    Returns
    -------
    keep : (units, k - 1) int64, ascending

    >>> keep_by_old_table(np.array([[1, 9]]), columns=3), keep_by_old_table(np.array([[5, 1, 9]]), 3)
    (array([[0]]), array([[0, 2]]))
    """
    units, k = counts.shape
    table = np.zeros((units, columns), dtype=counts.dtype)
    table[:, :k] = counts
    least = np.minimum(table.argmin(axis=1), k - 1)
    return np.array([[j for j in range(k) if j != gone] for gone in least], dtype=np.int64)


def with_wrong_rows(net, name, pruned, keep):
    """The pruned network as defect (a) would have filled it: a copy, the right one untouched."""
    wrong = pruned.copy()
    for key, array in net[name].params.items():
        wrong[name].params[key][...] = copied_to_wrong_rows(array, keep).reshape(
            wrong[name].params[key].shape
        )
    return wrong
