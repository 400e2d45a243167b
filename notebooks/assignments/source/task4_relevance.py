"""Task 4: win counts, ranking and keep."""

import numpy as np
import pytest

# %% [markdown]
# # Task 4: win counts, ranking and keep
#
# A maxout layer has k neurons where another layer has one. Does it need them all? The paper that this
# course follows (Moya Rueda, Grzeszick and Fink, 2017) asks the cheapest question there is: **how often
# does a neuron win its unit?** One that never wins has no influence and gets no gradient. So count over the
# training set, rank inside every unit, and keep the best.
#
# **You fill:** [`task4_relevance.py`](task4_relevance.py), three short functions, NumPy only.
# **Worth:** 15 points. **Time:** about 25 minutes.
#
# | array | shape | meaning |
# |---|---|---|
# | `winner` | (N, units) int | which neuron won each unit, example by example |
# | `counts` | (units, k) int64 | how often each neuron won |
# | `order` | (units, k) int | each unit's neurons, most relevant first |
# | `keep` | (units, n_keep) int | the neurons that stay, ascending |
#
# You need no code of an earlier task: winners are given.

# %% [markdown]
# ## Count
#
# $$\mathrm{counts}_{u,j} = \#\{\,n : \mathrm{winner}_{n,u} = j\,\}$$
#
# Every row sums to N. A neuron that never won has a **0**, and it must be there: k is given, do not
# guess it from the largest winner. Counts of two batches can be added, which is how a whole training set
# is counted without holding it in memory.

# %% [code]
# import numpy as np
#
# winner = np.array([[1, 0], [1, 2], [0, 0]])  # three examples, two units
# %load_ext autoreload
# %autoreload 2
# import task4_relevance as mine
#
# counts = mine.win_counts(winner, k=4)
# counts

# %% [markdown]
# Unit 0 was won twice by neuron 1 and once by neuron 0; neurons 2 and 3 never won anything.
#
# ## Rank
#
# `rank_neurons` sorts each row, **most relevant first**, and ties by the lowest index first. It must not
# know about win counts: any measure may come, also floats and negative numbers; larger means keep.
#
# Take care with the tie rule. `np.argsort(row)[::-1]` turns ties round as well. A *stable* sort keeps
# equal elements in their old order.

# %% [code]
# order = mine.rank_neurons(counts)
# order

# %% [markdown]
# ## Keep
#
# `keep_top` takes the first `n_keep` of every row and puts them in **ascending** order: the survivors
# keep their order among themselves, and no later step has to know about ranks. All units keep
# equally many, so that the smaller layer is a plain array again.

# %% [code]
# mine.keep_top(order, n_keep=2)

# %% [markdown]
# ## What it costs
#
# How many examples lose their winner? Those, and only those, can see another output.

# %% [code]
# keep = mine.keep_top(order, n_keep=1)
# lost = counts.sum(axis=1) - np.take_along_axis(counts, keep, axis=1).sum(axis=1)
# print("examples whose winner goes, unit by unit:", lost)

# %% [markdown]
# ## Check
#
# The same as `pytest -m task4` in a terminal. Each function is judged by itself.
#
# Then answer questions 4a and 4b in `answers.md`, in words.

# %% [code]
# from course_check import run
#
# run("task4")


# %% answer
def win_counts(winner, k):
    """Count how often each neuron wins its maxout unit.

        counts[u, j] = number of examples n with winner[n, u] == j

    Parameters
    ----------
    winner : (N, units) int in [0, k)
    k : int
        Neurons per unit, also those that never win.

    Returns
    -------
    counts : (units, k) int64
        Every row sums to N.

    >>> win_counts(np.array([[1, 0], [1, 2], [0, 0]]), k=3)
    array([[1, 2, 0],
           [2, 0, 1]])
    """
    ### BEGIN SOLUTION
    return (winner[:, :, None] == np.arange(k)).sum(axis=0, dtype=np.int64)
    ### END SOLUTION


def rank_neurons(relevance):
    """Order the neurons of every unit by relevance, the most relevant first.

    Parameters
    ----------
    relevance : (units, k) int or float
        Larger means keep.

    Returns
    -------
    order : (units, k) int
        Every row is a permutation of 0 .. k-1. Ties: the lowest index comes first.

    >>> rank_neurons(np.array([[5, 9, 5], [0, 0, 0]]))
    array([[1, 0, 2],
           [0, 1, 2]])
    """
    ### BEGIN SOLUTION
    return np.argsort(-relevance, axis=1, kind="stable")
    ### END SOLUTION


def keep_top(order, n_keep):
    """Pick the first n_keep neurons of every unit's ranking, in ascending order.

    Parameters
    ----------
    order : (units, k) int
        Most relevant first.
    n_keep : int in [1, k]

    Returns
    -------
    keep : (units, n_keep) int
        Ascending in every row.

    >>> keep_top(np.array([[1, 0, 2], [2, 1, 0]]), n_keep=2)
    array([[0, 1],
           [1, 2]])
    """
    ### BEGIN SOLUTION
    return np.sort(order[:, :n_keep], axis=1)
    ### END SOLUTION


# %% checks
pytestmark = pytest.mark.task4


def orders(draws, units, k):
    """A ranking for every unit."""
    return np.stack([draws.order(k) for _ in range(units)])


@pytest.mark.points(2)
def test_counts_by_hand(ask):
    """Four examples, two units, three neurons."""
    winner = np.array([[2, 0], [2, 1], [0, 1], [2, 1]])
    ask.by_hand("win_counts", (winner, 3), np.array([[1, 0, 3], [1, 3, 0]]))
    ask("win_counts", ask.draws.integers(0, 3, (4, 2)), 3)  # and a drawn one


@pytest.mark.points(2)
def test_counts_values(ask):
    """Many examples; also neurons that never won, which count 0."""
    n, units, k = ask.draws.one_of([(30, 4, 3), (25, 3, 5), (40, 6, 2)])
    winner = ask.draws.integers(0, k, (n, units))
    ask("win_counts", winner, k)
    ask("win_counts", winner, k + 2)
    ask("win_counts", 0 * winner, 1)


@pytest.mark.points(1)
def test_counts_add_up(ask):
    """int64, every row sums to N, and the counts of two halves add up to those of the whole."""
    winner = ask.draws.integers(0, 4, (20, 5))
    whole, halves = (
        ask("win_counts", winner, 4),
        [ask("win_counts", part, 4) for part in (winner[:7], winner[7:])],
    )
    assert whole.dtype == np.int64, f"counts should be int64, yours are {whole.dtype}"
    assert (whole == halves[0] + halves[1]).all(), "the counts of two batches should add up to those of both"
    ask.unchanged("win_counts", winner, 4)


@pytest.mark.points(2)
def test_rank_by_hand(ask):
    """Two units of four neurons, no ties."""
    relevance = np.array([[3, 9, 0, 5], [8, 1, 2, 4]])
    ask.by_hand("rank_neurons", (relevance,), np.array([[1, 3, 0, 2], [0, 3, 2, 1]]))
    ask("rank_neurons", ask.draws.distinct(2, 4))  # and a drawn one


@pytest.mark.points(2)
def test_rank_values(ask):
    """Any measure: many units, floats, negative numbers."""
    units, k = ask.draws.one_of([(5, 4), (4, 6), (6, 3)])
    ask("rank_neurons", ask.draws.distinct(units, k))
    ask("rank_neurons", ask.draws.distinct(units, k) - 50)


@pytest.mark.points(1)
def test_rank_ties(ask):
    """Equal relevance: the lowest index comes first. Units of many neurons, because short rows hide it."""
    ask("rank_neurons", ask.draws.integers(0, 3, (4, 24)))
    ask("rank_neurons", np.zeros((2, 20)))


@pytest.mark.points(2)
def test_keep_by_hand(ask):
    """Three of four neurons stay, ascending."""
    order = np.array([[3, 1, 0, 2], [2, 0, 1, 3]])
    ask.by_hand("keep_top", (order, 3), np.array([[0, 1, 3], [0, 1, 2]]))
    ask("keep_top", orders(ask.draws, 2, 4), 3)  # and a drawn one


@pytest.mark.points(2)
def test_keep_values(ask):
    """One neuron per unit, all but one, and all of them."""
    units, k = ask.draws.one_of([(5, 4), (4, 6), (6, 3)])
    order = orders(ask.draws, units, k)
    for n_keep in (1, k - 1, k):
        ask("keep_top", order, n_keep)


@pytest.mark.points(1)
def test_inputs_are_left_alone(ask):
    """Sorting in place would spoil the caller's arrays."""
    ask.unchanged("rank_neurons", ask.draws.distinct(3, 5))
    ask.unchanged("keep_top", orders(ask.draws, 3, 5), 4)


# %% mistakes
def _all_units_together(right, winner, k):
    return right(winner, k).sum(axis=0)


def _k_is_guessed(right, winner, k):
    return right(winner, int(winner.max()) + 1)


def _transposed(right, winner, k):
    return right(winner, k).T


def _shares(right, winner, k):
    return right(winner, k) / len(winner)


def _least_first(right, relevance):
    return np.argsort(relevance, axis=1, kind="stable")


def _ties_turned(right, relevance):
    return np.argsort(relevance, axis=1, kind="stable")[:, ::-1]


def _ranks(right, relevance):
    return np.argsort(right(relevance), axis=1)


def _along_units(right, relevance):
    return np.argsort(-relevance, axis=0, kind="stable")


def _not_ascending(right, order, n_keep):
    return order[:, :n_keep]


def _keeps_the_last(right, order, n_keep):
    return right(order[:, ::-1], n_keep)


def _smallest_indices(right, order, n_keep):
    return np.sort(order, axis=1)[:, :n_keep]


MISTAKES = {
    "win_counts": [
        (
            _all_units_together,
            "all units are counted together: a neuron competes in its own unit only, one row per unit.",
        ),
        (
            _k_is_guessed,
            "the number of columns follows the largest winner: neurons that never won need their 0.",
        ),
        (_transposed, "units and neurons are swapped: one row for each unit."),
        (_shares, "you divide by N: counts are whole numbers, so that batches can be added."),
    ],
    "rank_neurons": [
        (_least_first, "the least relevant neuron comes first: it should be the most relevant."),
        (
            _ties_turned,
            "ties come out with the highest index first: turning a sorted row round turns its ties as well.",
        ),
        (_ranks, "you return the rank of each neuron: order[u] lists neurons, most relevant first."),
        (_along_units, "the sort runs along the units: rank the neurons of each unit, axis 1."),
    ],
    "keep_top": [
        (
            _not_ascending,
            "the neurons that stay are in the order of their rank: sort each row in ascending order.",
        ),
        (_keeps_the_last, "the least relevant neurons stay: order begins with the most relevant ones."),
        (
            _smallest_indices,
            "you sort before you select: take the first n_keep of the ranking, then sort them.",
        ),
    ],
}
