"""mnp.pruning.relevance: the measures on small integers, and the ranking with its tie rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnp.errors import MnpError
from mnp.pruning import relevance as rel


def test_ranking_by_hand():
    order = rel.rank_neurons(np.array([[3, 1, 2], [0, 5, 0]]))
    assert order.tolist() == [[0, 2, 1], [1, 0, 2]]
    assert order.dtype == np.int64
    assert order.flags.c_contiguous


def test_ties_go_to_the_lowest_index():
    assert rel.rank_neurons(np.full((2, 5), 7)).tolist() == [[0, 1, 2, 3, 4]] * 2
    assert rel.rank_neurons(np.array([[2, 9, 2, 9]])).tolist() == [[1, 3, 0, 2]]
    assert rel.rank_neurons(np.array([[0.0, -0.0, 0.0]])).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_every_number_type_ranks_alike(dtype):
    assert rel.rank_neurons(np.array([[0, 200, 7, 7]], dtype=dtype)).tolist() == [[1, 2, 3, 0]]


@pytest.mark.parametrize("ends", [(np.iinfo(np.int64).min, np.iinfo(np.int64).max), (-np.inf, np.inf)])
def test_the_ends_of_a_type_rank_where_they_belong(ends):
    assert rel.rank_neurons(np.array([[ends[0], 0, ends[1]]])).tolist() == [[2, 1, 0]]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-3, 3))
)
def test_ranking_is_a_sorted_stable_permutation(relevance):
    before = relevance.copy()
    order = rel.rank_neurons(relevance)
    assert np.array_equal(relevance, before)
    for row, ranks in zip(relevance, order, strict=True):
        # sorted() is stable: the readable definition of "most relevant first, lowest index first"
        assert ranks.tolist() == sorted(range(len(row)), key=lambda j, row=row: -row[j])


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 3), (3, 0), ()])
def test_ranking_refuses_other_shapes(shape):
    with pytest.raises(MnpError, match="one row per unit"):
        rel.rank_neurons(np.zeros(shape))


def test_reversed_counts_removes_the_most_relevant():
    counts = np.array([[4, 0, 6], [5, 5, 0]])
    reverse = rel.reversed_counts(counts)
    assert reverse.tolist() == [[-4, 0, -6], [-5, -5, 0]]
    assert rel.rank_neurons(reverse).tolist() == [[1, 0, 2], [2, 0, 1]]
    assert rel.reversed_counts(np.array([[3]], dtype=np.uint8)).tolist() == [[-3]]


def test_random_relevance_follows_its_generator():
    first = rel.random_relevance(4, 3, np.random.default_rng(5))
    again = rel.random_relevance(4, 3, np.random.default_rng(5))
    other = rel.random_relevance(4, 3, np.random.default_rng(6))
    assert first.shape == (4, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first >= 0).all() and (first < 1).all()


@pytest.mark.parametrize("units, k", [(0, 2), (2, 0)])
def test_random_relevance_needs_neurons(units, k):
    with pytest.raises(MnpError, match="at least one"):
        rel.random_relevance(units, k, np.random.default_rng(0))
    assert rel.random_relevance(1, 1, np.random.default_rng(0)).shape == (1, 1)


def test_weight_norm_by_hand():
    weight = np.array([[[3.0, 4.0], [0.0, -2.0]], [[1.0, 0.0], [0.0, 0.0]]])
    bias = np.array([[12.0, 0.0], [0.0, -2.0]])
    assert rel.weight_norm(weight).tolist() == [[5.0, 2.0], [1.0, 0.0]]
    assert rel.weight_norm(weight, bias).tolist() == [[13.0, 2.0], [1.0, 2.0]]
    assert rel.weight_norm(weight.astype(np.float32)).dtype == np.float64


def test_weight_norm_sums_in_float64():
    # In float32 the squares would overflow to infinity and all neurons would tie.
    weight = np.array([[[1e30], [2e30]]], dtype=np.float32)
    assert np.isfinite(rel.weight_norm(weight)).all()


def test_weight_norm_refuses_other_shapes():
    with pytest.raises(MnpError, match=r"\(units, k, in\)"):
        rel.weight_norm(np.zeros((2, 3)))
    with pytest.raises(MnpError, match=r"must be \(2, 3\)"):
        rel.weight_norm(np.zeros((2, 3, 4)), np.zeros(6))


def test_activations_by_hand():
    z = np.array([[[1.0, -1.0]], [[2.0, 3.0]], [[-6.0, 1.0]]])
    assert rel.activation_sums(z).tolist() == [[-3.0, 3.0]]
    assert rel.activation_sums(z, relu=True).tolist() == [[3.0, 4.0]]
    assert rel.mean_activation(rel.activation_sums(z), 3).tolist() == [[-1.0, 1.0]]


def test_activation_sums_of_batches_add():
    z = np.random.default_rng(0).integers(-9, 9, (7, 3, 2)).astype(np.float32)
    parts = rel.activation_sums(z[:4], relu=True) + rel.activation_sums(z[4:], relu=True)
    assert np.array_equal(parts, rel.activation_sums(z, relu=True))
    assert parts.dtype == np.float64


def test_activations_refuse_bad_input():
    with pytest.raises(MnpError, match=r"\(N, units, k\)"):
        rel.activation_sums(np.zeros((2, 2)))
    with pytest.raises(MnpError, match="over 0 examples"):
        rel.mean_activation(np.zeros((1, 2)), 0)
    assert rel.mean_activation(np.ones((1, 2)), 1).tolist() == [[1.0, 1.0]]


def test_the_first_nan_is_named():
    with pytest.raises(MnpError, match=r"neuron \(0, 1\) is NaN"):
        rel.rank_neurons(np.array([[1.0, np.nan, 2.0], [np.nan, 0.0, np.nan]]))


@pytest.mark.parametrize("relu", [False, True])
def test_margins_are_what_the_outputs_lose_without_each_neuron(relu):
    rng = np.random.default_rng(3)
    z = rng.standard_normal((40, 3, 4))
    values = np.maximum(z, 0) if relu else z
    sums = rel.margin_sums(z, relu)
    for j in range(4):
        without = np.delete(values, j, axis=2).max(axis=2)
        np.testing.assert_allclose(sums[:, j], (values.max(axis=2) - without).sum(axis=0), atol=1e-12)
    dy = rng.standard_normal((40, 3))
    one_by_one = sum(rel.margin_sums(z[n : n + 1], relu) * np.abs(dy[n])[:, None] for n in range(40))
    np.testing.assert_allclose(rel.margin_sums(z, relu, dy), one_by_one, atol=1e-12)


def test_margins_of_ties_and_of_one_neuron():
    assert rel.margin_sums(np.zeros((5, 2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]
    with pytest.raises(MnpError, match="k >= 2"):
        rel.margin_sums(np.zeros((5, 2, 1)))
    with pytest.raises(MnpError, match="dy has shape"):
        rel.margin_sums(np.zeros((5, 2, 3)), dy=np.zeros((2, 5)))
