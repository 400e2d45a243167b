"""mnp.pruning.neurons: what stays, and the rows that are taken."""

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.pruning import neurons


def test_keep_top_by_hand():
    order = np.array([[2, 0, 1, 3], [1, 3, 2, 0]])
    assert neurons.keep_top(order, 1).tolist() == [[2], [1]]
    assert neurons.keep_top(order, 2).tolist() == [[0, 2], [1, 3]]
    assert neurons.keep_top(order, 3).tolist() == [[0, 1, 2], [1, 2, 3]]
    assert neurons.keep_top(order, 4).tolist() == [[0, 1, 2, 3]] * 2
    assert neurons.keep_top(order, 3).dtype == np.int64


@pytest.mark.parametrize("n_keep", [0, -1, 4])
def test_keep_top_refuses_impossible_counts(n_keep):
    with pytest.raises(MnpError, match="at least 1 and at most all 3"):
        neurons.keep_top(np.array([[0, 1, 2]]), n_keep)


@pytest.mark.parametrize("order", [[[0, 0, 1]], [[0, 1, 3]], [[1, 2, 3]]])
def test_keep_top_refuses_what_is_no_ranking(order):
    with pytest.raises(MnpError, match="permutation"):
        neurons.keep_top(np.array(order), 1)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0)])
def test_keep_top_refuses_other_shapes(shape):
    with pytest.raises(MnpError, match="one ranking per unit"):
        neurons.keep_top(np.zeros(shape, dtype=int), 1)


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


@pytest.mark.parametrize("counts", [np.zeros((2, 2)), np.zeros(3, dtype=int), np.zeros((0, 2), dtype=int)])
def test_counts_must_be_counts(counts):
    with pytest.raises(MnpError, match="integer win counts"):
        neurons.keep_ever_winning(counts)
    with pytest.raises(MnpError, match="integer win counts"):
        neurons.wins_lost(counts, np.array([[0]]))


def test_take_neurons_by_hand():
    weight = np.arange(12).reshape(2, 3, 2)
    bias = np.arange(6).reshape(2, 3) * 10
    w, b = neurons.take_neurons(weight, bias, np.array([[0, 2], [1, 2]]))
    assert w.tolist() == [[[0, 1], [4, 5]], [[8, 9], [10, 11]]]
    assert b.tolist() == [[0, 20], [40, 50]]
    assert w.dtype == weight.dtype and b.dtype == bias.dtype
    assert not np.shares_memory(w, weight) and not np.shares_memory(b, bias)


@pytest.mark.parametrize(
    "keep, message",
    [
        ([[0, 1]], "one row for each of the 2 units"),
        ([0, 1], "one row for each"),
        ([[0.0], [1.0]], "pass integers"),
        ([[], []], "one row for each"),
        ([[0], [3]], "holds neuron 3"),
        ([[-1], [0]], "holds neuron -1"),
        ([[0, 0], [0, 1]], "no neuron twice"),
        ([[1, 0], [0, 1]], "ascend"),
    ],
)
def test_a_wrong_keep_is_explained(keep, message):
    with pytest.raises(MnpError, match=message):
        neurons.take_neurons(np.zeros((2, 3, 4)), np.zeros((2, 3)), np.array(keep))


def test_take_neurons_refuses_other_shapes():
    with pytest.raises(MnpError, match=r"\(units, k, in\)"):
        neurons.take_neurons(np.zeros((6, 4)), np.zeros(6), np.array([[0]]))
    with pytest.raises(MnpError, match=r"\(units, k, in\)"):
        neurons.take_neurons(np.zeros((2, 3, 4)), np.zeros((3, 2)), np.array([[0]] * 2))


def test_check_keep_accepts_every_integer_type():
    keep = neurons.check_keep(np.array([[0, 2]], dtype=np.uint8), 1, 3)
    assert keep.dtype == np.int64 and keep.tolist() == [[0, 2]]
