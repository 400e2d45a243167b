"""mnp.pruning.neurons: what stays, and the rows that are taken."""

import numpy as np
import pytest
from one_line import one_line

from mnp.pruning import neurons


def test_keep_top_by_hand():
    order = np.array([[2, 0, 1, 3], [1, 3, 2, 0]])
    assert neurons.keep_top(order, 1).tolist() == [[2], [1]]
    assert neurons.keep_top(order, 2).tolist() == [[0, 2], [1, 3]]
    assert neurons.keep_top(order, 3).tolist() == [[0, 1, 2], [1, 2, 3]]
    assert neurons.keep_top(order, 4).tolist() == [[0, 1, 2, 3]] * 2
    assert neurons.keep_top(order, 3).dtype == np.int64


@pytest.mark.parametrize(
    ("call", "says"),
    [
        *((lambda n=n: neurons.keep_top([[0, 1, 2]], n), "at least 1 and at most all 3") for n in (0, -1, 4)),
        (lambda: neurons.keep_top([[0, 0, 1]], 1), "permutation"),
        (lambda: neurons.keep_top([[0, 1, 3]], 1), "permutation"),
        (lambda: neurons.keep_top([0, 1, 2], 1), "one ranking per unit"),
        (lambda: neurons.keep_top(np.zeros((2, 0), int), 1), "one ranking per unit"),
        (lambda: neurons.keep_ever_winning(np.zeros((2, 2))), "integer win counts"),
        (lambda: neurons.keep_ever_winning(np.zeros((0, 2), int)), "integer win counts"),
        (lambda: neurons.wins_lost([1, 2, 3], [[0]]), "integer win counts"),
        (lambda: neurons.take_neurons(np.zeros((6, 4)), np.zeros(6), [[0]]), r"\(units, k, in\)"),
        (lambda: neurons.take_neurons(np.zeros((2, 3, 4)), np.zeros((3, 2)), [[0]] * 2), r"\(units, k, in\)"),
        (lambda: neurons.check_keep([[0, 1]], 2, 3), "one row for each of the 2 units"),
        (lambda: neurons.check_keep([0, 1], 2, 3), "one row for each"),
        (lambda: neurons.check_keep([[], []], 2, 3), "one row for each"),
        (lambda: neurons.check_keep([[0], [1, 2]], 2, 3), "rows of different lengths"),
        (lambda: neurons.check_keep([[0.0], [1.0]], 2, 3), "pass integers"),
        (lambda: neurons.check_keep([[0], [3]], 2, 3), "holds neuron 3"),
        (lambda: neurons.check_keep([[-1], [0]], 2, 3), "holds neuron -1"),
        (lambda: neurons.check_keep([[0, 0], [0, 1]], 2, 3), "no neuron twice"),
        (lambda: neurons.check_keep([[1, 0], [0, 1]], 2, 3), "ascend"),
    ],
)
def test_wrong_use_is_one_line(call, says):
    with one_line(says):
        call()


def test_keep_winning_by_hand():
    counts = np.array([[0, 5, 0, 1], [0, 0, 0, 6], [2, 2, 2, 0]])
    # Unit 2 has three winners, so all keep three: the lowest losers fill up.
    assert neurons.keep_ever_winning(counts).tolist() == [[0, 1, 3], [0, 1, 3], [0, 1, 2]]
    assert neurons.keep_ever_winning(counts[:2]).tolist() == [[1, 3], [0, 3]]
    assert neurons.keep_ever_winning(counts[1:2]).tolist() == [[3]]


def test_keep_winning_without_any_win_keeps_one():
    assert neurons.keep_ever_winning(np.zeros((2, 3), dtype=int)).tolist() == [[0], [0]]


def test_wins_lost_by_hand():
    counts = np.array([[5, 1, 4], [0, 10, 0]])
    assert neurons.wins_lost(counts, np.array([[0, 2], [0, 2]])).tolist() == [1, 10]
    assert neurons.wins_lost(counts, np.array([[0, 1, 2]] * 2)).tolist() == [0, 0]
    assert neurons.wins_lost(counts.astype(np.uint8), np.array([[1], [1]])).tolist() == [9, 0]


def test_take_neurons_by_hand():
    weight = np.arange(12).reshape(2, 3, 2)
    bias = np.arange(6).reshape(2, 3) * 10
    w, b = neurons.take_neurons(weight, bias, np.array([[0, 2], [1, 2]]))
    assert w.tolist() == [[[0, 1], [4, 5]], [[8, 9], [10, 11]]]
    assert b.tolist() == [[0, 20], [40, 50]]
    assert w.dtype == weight.dtype and b.dtype == bias.dtype
    assert not np.shares_memory(w, weight) and not np.shares_memory(b, bias)
    assert neurons.take_neurons(weight, bias, np.array([[2], [0]], np.uint8))[1].tolist() == [[20], [30]]
