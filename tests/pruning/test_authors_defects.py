"""Three defects of the published Caffe code on small integers, and what this package does instead.

See `mnp.notebooks.defects`.
"""

import numpy as np

from mnp.kernels import textbook
from mnp.nn import MaxoutDense, Network
from mnp.notebooks.defects import copy_to_wrong_rows, keep_by_old_table
from mnp.pruning import collect_win_counts, keep_top, rank_neurons, take_neurons

UNITS, K = 3, 3
WEIGHT = np.arange(1, 10).reshape(UNITS, K, 1)  # every neuron has one weight, its own number
BIAS = -WEIGHT[:, :, 0]
COUNTS = np.array([[5, 0, 5], [0, 7, 3], [4, 6, 0]])  # the least relevant: neuron 1, 0, 2


def test_a_the_copy_loop_leaves_rows_zero():
    order = rank_neurons(COUNTS)
    assert order[:, -1].tolist() == [1, 0, 2]
    theirs = copy_to_wrong_rows(WEIGHT, keep_top(order, K - 1))
    # Rows 0 .. units + k - 3 are written, some of them twice; the rest of the 6 rows stay zero.
    assert theirs[:, :, 0].tolist() == [[1, 5], [7, 8], [0, 0]]

    weight, bias = take_neurons(WEIGHT, BIAS, keep_top(order, K - 1))
    assert weight[:, :, 0].tolist() == [[1, 3], [5, 6], [7, 8]]
    assert np.array_equal(bias, -weight[:, :, 0])
    assert (weight != 0).all()
    # At the published size, 64 units of 4, only 66 of 192 rows are written.
    theirs = copy_to_wrong_rows(np.ones((64, 4, 1), dtype=int), np.tile([1, 2, 3], (64, 1)))
    assert (theirs.size, np.count_nonzero(theirs)) == (192, 66)


def test_b_the_table_remembers_neurons_that_are_gone():
    second = np.array([[9, 1], [2, 8], [5, 5]])  # the second round: k is 2 now
    theirs = keep_by_old_table(second, columns=K)
    # Column 2 holds no neuron any more and is always the smallest: the last neuron is removed.
    assert theirs.tolist() == [[0], [0], [0]]

    ours = keep_top(rank_neurons(second), n_keep=1)
    assert ours.tolist() == [[0], [1], [0]]  # by relevance; the tie keeps the lowest index
    assert not np.array_equal(ours, theirs)


def test_c_wins_are_counted_in_evaluation_mode_before_the_relu():
    net = Network([("fc", MaxoutDense(1, 1, 3, relu=True, dropout=0.5, dtype=np.float64, backend=textbook))])
    net["fc"].params["weight"][0, :, 0] = [-3, -2, -1]
    x = np.full((50, 1), 1.0)
    assert collect_win_counts(net, "fc", x).tolist() == [[0, 0, 50]]
    # The authors' way can be asked for, to compare: every unit is silent, every win is a tie.
    theirs = collect_win_counts(net, "fc", x, training=True, rng=np.random.default_rng(0))
    assert theirs.tolist() == [[50, 0, 0]]
    assert net.forward(x).tolist() == [[0.0]] * 50
