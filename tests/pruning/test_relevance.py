"""mnp.pruning.relevance: the measures on small integers, and the ranking with its tie rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from one_line import one_line

from mnp.pruning import relevance as rel


@pytest.mark.parametrize(
    ("row", "order"),
    [
        *((np.array([0, 200, 7, 7], dtype), [1, 2, 3, 0]) for dtype in (np.uint8, np.int64, np.float32)),
        ([np.iinfo(np.int64).min, 0, np.iinfo(np.int64).max], [2, 1, 0]),
        ([-np.inf, 0, np.inf], [2, 1, 0]),
        ([0.0, -0.0, 0.0], [0, 1, 2]),
    ],
)
def test_ranking_of_numbers_of_any_type(row, order):
    assert rel.rank_neurons(np.array([row])).tolist() == [order]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-3, 3))
)
def test_ranking_is_a_sorted_stable_permutation(relevance):
    before = relevance.copy()
    order = rel.rank_neurons(relevance)
    assert np.array_equal(relevance, before)
    assert order.dtype == np.int64 and order.flags.c_contiguous
    for row, ranks in zip(relevance, order, strict=True):
        # sorted() is stable: the readable definition of "most relevant first, lowest index first"
        assert ranks.tolist() == sorted(range(len(row)), key=lambda j, row=row: -row[j])


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
    assert rel.random_relevance(1, 1, 0).shape == (1, 1)


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


def test_activations_by_hand():
    z = np.array([[[1.0, -1.0]], [[2.0, 3.0]], [[-6.0, 1.0]]])
    assert rel.activation_sums(z).tolist() == [[-3.0, 3.0]]
    assert rel.activation_sums(z, relu=True).tolist() == [[3.0, 4.0]]
    assert rel.mean_activation(rel.activation_sums(z), 3).tolist() == [[-1.0, 1.0]]
    assert rel.mean_activation(z[0], 1).tolist() == [[1.0, -1.0]]


def test_activation_sums_of_batches_add():
    z = np.random.default_rng(0).integers(-9, 9, (7, 3, 2)).astype(np.float32)
    parts = rel.activation_sums(z[:4], relu=True) + rel.activation_sums(z[4:], relu=True)
    assert np.array_equal(parts, rel.activation_sums(z, relu=True))
    assert parts.dtype == np.float64


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


def test_ties_have_no_margin():
    assert rel.margin_sums(np.zeros((5, 2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rel.rank_neurons(np.zeros(3)), "one row per unit"),
        (lambda: rel.rank_neurons(np.zeros((2, 2, 2))), "one row per unit"),
        (lambda: rel.rank_neurons(np.zeros((0, 3))), "one row per unit"),
        (lambda: rel.rank_neurons([[1, np.nan, 2], [np.nan, 0, np.nan]]), r"neuron \(0, 1\) is NaN"),
        (lambda: rel.random_relevance(0, 2, 0), "at least one"),
        (lambda: rel.random_relevance(2, 0, 0), "at least one"),
        (lambda: rel.weight_norm(np.zeros((2, 3))), r"\(units, k, in\)"),
        (lambda: rel.weight_norm(np.zeros((2, 3, 4)), np.zeros(6)), r"must be \(2, 3\)"),
        (lambda: rel.activation_sums(np.zeros((2, 2))), r"\(N, units, k\)"),
        (lambda: rel.mean_activation(np.zeros((1, 2)), 0), "over 0 examples"),
        (lambda: rel.margin_sums(np.zeros((5, 2, 1))), "k >= 2"),
        (lambda: rel.margin_sums(np.zeros((5, 2, 3)), dy=np.zeros((2, 5))), "dy has shape"),
    ],
)
def test_wrong_use_is_one_line(call, says):
    with one_line(says):
        call()
