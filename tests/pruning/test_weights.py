"""mnp.pruning.weights, splicing and checks: exact counts, nesting, schedules, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from one_line import one_line

from mnp.errors import MnpError
from mnp.pruning import checks, splicing, weights

SMALL = hnp.arrays(
    np.float64, hnp.array_shapes(max_dims=3, max_side=5), elements=st.integers(-3, 3).map(float)
)


@pytest.mark.parametrize(
    "sparsity, size, zeros",
    # 0.29 * 100 is 28.999999999999996 in floating point, 0.07 * 100 is 7.000000000000001.
    [
        (0, 5, 0),
        (0.29, 100, 29),
        (0.07, 100, 7),
        (0.5, 3, 2),
        (0.25, 10, 3),
        (0.24, 10, 2),
        (0.999, 1000, 999),
    ],
)
def test_counts_are_exact(sparsity, size, zeros):
    assert checks.count_zeros(sparsity, size) == zeros


@pytest.mark.parametrize("sparsity", [-0.01, 1.0, 1.5, float("nan"), float("inf")])
def test_sparsity_lies_in_0_1(sparsity):
    weight = np.ones(4)
    for call in (
        lambda: weights.magnitude_mask(weight, sparsity),
        lambda: weights.global_magnitude_masks({"w": weight}, sparsity),
        lambda: splicing.splice_thresholds(weight, sparsity),
        lambda: weights.iterative_schedule(sparsity, 3),
        lambda: weights.cubic_schedule(1, 0, 2, 0.0, sparsity),
        lambda: weights.cubic_schedule(1, 0, 2, sparsity, 0.99),
    ):
        with pytest.raises(MnpError, match=r"outside \[0, 1\)"):
            call()


def test_ties_keep_the_lowest_flat_index():
    weight = np.array([[2.0, -2.0], [2.0, 2.0]])
    assert weights.magnitude_mask(np.asfortranarray(weight), 0.5).tolist() == [[True, True], [False, False]]
    masks = weights.global_magnitude_masks({"b": np.ones(2), "a": np.ones(2)}, 0.25)  # the first name
    assert masks["b"].tolist() == [True, True] and masks["a"].tolist() == [True, False]


@settings(max_examples=60, deadline=None)
@given(SMALL, st.floats(0, 0.99))
def test_magnitude_mask_has_the_exact_count_and_the_largest(weight, sparsity):
    zeros = int(np.floor(sparsity * weight.size + 0.5))
    if zeros == weight.size:
        with pytest.raises(MnpError):
            weights.magnitude_mask(weight, sparsity)
        return
    mask = weights.magnitude_mask(weight, sparsity)
    assert mask.dtype == bool and mask.shape == weight.shape and np.count_nonzero(~mask) == zeros
    flat = weight.ravel()
    by_definition = sorted(range(flat.size), key=lambda i: -abs(flat[i]))[: flat.size - zeros]
    assert sorted(by_definition) == np.flatnonzero(mask.ravel()).tolist()


def test_an_earlier_mask_outranks_any_value():
    weight = np.array([9.0, 1.0, 2.0, 3.0])
    mask = np.array([False, True, True, True])
    assert weights.magnitude_mask(weight, 0.25, mask).tolist() == [False, True, True, True]
    assert weights.magnitude_mask(weight, 0.5, mask).tolist() == [False, False, True, True]
    assert weights.magnitude_mask(weight, 0.0, mask).tolist() == mask.tolist()
    assert mask.tolist() == [False, True, True, True]
    # A kept weight of exactly zero is still ahead of a masked one.
    assert weights.magnitude_mask(np.zeros(2), 0.5, np.array([False, True])).tolist() == [False, True]


def test_growing_sparsities_give_nested_masks():
    weight = np.random.default_rng(1).integers(-4, 5, 50).astype(np.float32)
    masks = [weights.magnitude_mask(weight, s) for s in (0.1, 0.3, 0.31, 0.8, 0.98)]
    for wide, narrow in itertools.pairwise(masks):
        assert not (narrow & ~wide).any()
    assert [int((~m).sum()) for m in masks] == [5, 15, 16, 40, 49]


def test_global_masks_respect_earlier_masks():
    arrays = {"a": np.array([9.0, 8.0]), "b": np.array([1.0, 2.0])}
    masks = weights.global_magnitude_masks(arrays, 0.5, {"a": np.array([False, True])})
    assert masks["a"].tolist() == [False, True] and masks["b"].tolist() == [False, True]


@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.ones((2, 1), dtype=bool), np.ones(2)])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    weight = np.array([1.0, 2.0])
    for call in (
        lambda: weights.magnitude_mask(weight, 0.5, mask),
        lambda: splicing.splice_mask(weight, mask, 0.5, 1.0),
    ):
        with pytest.raises(MnpError, match=r"it must be bool \(2,\)"):
            call()


def test_iterative_schedule_removes_the_same_share_each_time():
    assert weights.iterative_schedule(0.92, 1) == [0.92]
    assert weights.iterative_schedule(0.75, 2) == pytest.approx([0.5, 0.75])
    schedule = weights.iterative_schedule(0.99, 5, initial=0.5)
    left = 1 - np.array([0.5, *schedule])
    assert np.allclose(left[1:] / left[:-1], (0.01 / 0.5) ** 0.2)
    assert schedule[-1] == 0.99
    assert weights.iterative_schedule(0.0, 2) == [0.0, 0.0]


def test_cubic_schedule_by_hand():
    def at(step):
        return weights.cubic_schedule(step, begin=10, end=20, initial=0.1, final=0.9)

    assert at(0) == pytest.approx(0.1) and at(10) == pytest.approx(0.1)
    assert at(15) == pytest.approx(0.9 - 0.8 / 8)
    assert at(20) == 0.9 and at(1000) == 0.9
    steps = [at(t) for t in range(25)]
    assert steps == sorted(steps)
    assert steps[11] - steps[10] > steps[19] - steps[18]


def test_splicing_brings_a_weight_back():
    mask = np.array([True, True, False, False, False])
    weight = np.array([0.8, 1.0, 1.0, 1.1, -7.0])
    # below lower: out; between: as it was; from upper on: back in
    assert splicing.splice_mask(weight, mask, 0.9, 1.1).tolist() == [False, True, False, True, True]
    assert mask.tolist() == [True, True, False, False, False]


def test_splicing_at_its_borders():
    all_in, all_out = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)
    assert splicing.splice_mask(np.array([0.9]), all_in, 0.9, 1.1).tolist() == [True]  # not below lower
    assert splicing.splice_mask(np.array([1.1]), all_out, 0.9, 1.1).tolist() == [True]  # reaches upper
    assert splicing.splice_mask(np.array([0.0]), all_out, 0.0, 0.0).tolist() == [True]


def test_splice_thresholds_by_hand():
    weight = np.array([4.0, -3.0, 2.0, -1.0])
    assert splicing.splice_thresholds(weight, 0.0, margin=0.0) == (1.0, 1.0)
    assert splicing.splice_thresholds(weight, 0.75, margin=0.0) == (4.0, 4.0)
    assert splicing.splice_thresholds(weight, 0.5) == pytest.approx((2.7, 3.3))
    assert splicing.splice_thresholds_std(weight, 1.0, margin=0.5) == pytest.approx(
        (0.5 * (2.5 + np.sqrt(1.25)), 1.5 * (2.5 + np.sqrt(1.25)))
    )
    assert splicing.splice_thresholds_std(weight, -9.0) == (0.0, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(1, 9)), st.floats(0, 0.9))
def test_without_a_margin_splicing_selects_by_magnitude(values, sparsity):
    weight = np.array(values, dtype=np.float64)
    lower, upper = splicing.splice_thresholds(weight, sparsity, margin=0.0)
    spliced = splicing.splice_mask(weight, np.zeros(8, dtype=bool), lower, upper)
    assert np.array_equal(spliced, weights.magnitude_mask(weight, sparsity))


ONES, KEPT, BAD = np.ones(2), np.ones(2, dtype=bool), np.array([1.0, np.nan])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: weights.magnitude_mask(np.ones(3), 0.9), "all 3 weights"),
        (lambda: weights.magnitude_mask(np.array([1, 2]), 0.5), "at least one weight"),
        (lambda: weights.magnitude_mask(np.zeros((0, 3)), 0.5), "at least one weight"),
        (lambda: weights.magnitude_mask(BAD, 0.5), "holds NaN"),
        (lambda: splicing.splice_mask(BAD, KEPT, 0, 1), "holds NaN"),
        (lambda: splicing.splice_thresholds_std(BAD, 0.5), "holds NaN"),
        (lambda: weights.global_magnitude_masks({"a": np.ones(4), "b": ONES / 9}, 0.5), "every weight of b"),
        (lambda: weights.global_magnitude_masks({"a": ONES}, 0.5, {"c": KEPT}), "no weight 'c'"),
        (lambda: weights.global_magnitude_masks({}, 0.5), "at least one array"),
        (lambda: weights.iterative_schedule(0.5, 0), "at least 1"),
        (lambda: weights.iterative_schedule(0.5, 3, initial=0.6), "must rise"),
        (lambda: weights.cubic_schedule(0, 0, 1, 0.9, 0.5), "must rise"),
        (lambda: weights.cubic_schedule(0, 5, 5, 0.0, 0.5), "begin before it ends"),
        (lambda: splicing.splice_mask(ONES, KEPT, -0.1, 1), "0 <= lower <= upper"),
        (lambda: splicing.splice_mask(ONES, KEPT, 1.0, 0.5), "0 <= lower <= upper"),
        (lambda: splicing.splice_mask(ONES, KEPT, np.nan, 1), "0 <= lower <= upper"),
        (lambda: splicing.splice_mask(ONES, KEPT, 0, np.nan), "0 <= lower <= upper"),
        (lambda: splicing.splice_mask(ONES, KEPT, 2.0, 3.0), "every weight"),
        (lambda: splicing.splice_thresholds(ONES, 0.5, -0.1), "margin"),
        (lambda: splicing.splice_thresholds(ONES, 0.5, 1.0), "margin"),
        (lambda: splicing.splice_thresholds_std(ONES, 0.5, -0.1), "margin"),
        (lambda: splicing.splice_thresholds_std(ONES, 0.5, 1.0), "margin"),
    ],
)
def test_wrong_use_is_one_line(call, says):
    with one_line(says):
        call()
