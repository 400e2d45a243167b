"""Task 3: maxout, forward and backward."""

import numpy as np
import pytest

# %% [markdown]
# # Task 3: maxout, forward and backward
#
# A ReLU is the maximum of one neuron and zero. A **maxout unit** is the maximum of k neurons. Each neuron is
# a linear function of the inputs, so the unit is a convex function of at most k linear pieces, and training
# decides where the corners are. The price is k times the weights; the rest of the course removes them again.
#
# **You fill:** [`task3_maxout.py`](task3_maxout.py), two functions, NumPy only.
# **Worth:** 20 points. **Time:** about 20 minutes.
#
# | array | shape | meaning |
# |---|---|---|
# | `z` | (N, units, k) | the value of every neuron for every example |
# | `y` | (N, units) | the largest of each unit's k values |
# | `winner` | (N, units) int | the neuron j that supplied it |

# %% [markdown]
# ## Forward
#
# $$y_{n,u} = \max_j z_{n,u,j} \qquad \mathrm{winner}_{n,u} = \text{that } j$$
#
# Units do not compete with each other, and neither do examples: only the k neurons *inside* one unit do.
# Equal values are common (after a ReLU, zeros tie with zeros); then **the lowest j wins**. The rule matters:
# in task 4 wins decide which neurons stay, and an implementation with another tie rule prunes other ones.

# %% [code]
# import numpy as np
#
# z = np.array([[[1.0, 3.0, 2.0], [4.0, 4.0, 0.0]]])  # one example, two units, k = 3
# z.shape

# %% [markdown]
# In the first unit neuron 1 wins with 3; in the second, neurons 0 and 1 tie at 4, and neuron 0 wins.

# %% [code]
# %load_ext autoreload
# %autoreload 2
# import task3_maxout as mine
#
# mine.maxout_forward(z)

# %% [markdown]
# ## The function of one unit
#
# Four lines over one input, and their maximum. The corners are where the winner changes.

# %% [code]
# import matplotlib.pyplot as plt
#
# t = np.linspace(-2, 2, 201)
# lines = np.stack([-2 * t - 2, -0.5 * t, 0.3 * t - 0.2, 2 * t - 2.5], axis=1)  # (201, 4)
# y, winner = mine.maxout_forward(lines[:, None, :])
# plt.plot(t, lines, color="grey", linewidth=1)
# plt.scatter(t, y[:, 0], c=winner[:, 0], cmap="viridis", s=12)
# plt.xlabel("input")
# plt.ylabel("output of the unit")
# plt.title("One maxout unit, k = 4: colour = winning neuron")
# plt.show()

# %% [markdown]
# ## Backward
#
# A small change of a losing neuron changes nothing. A small change of the winner changes `y` by as much. So
#
# $$dz_{n,u,j} = \begin{cases} dy_{n,u} & j = \mathrm{winner}_{n,u} \\ 0 & \text{otherwise} \end{cases}$$
#
# Even in a tie one neuron gets all of it, the one that `winner` names. Neurons that never win receive no
# gradient; task 4 counts them.

# %% [code]
# dy = np.array([[5.0, 7.0]])
# mine.maxout_backward(dy, np.array([[1, 0]]), k=3)

# %% [markdown]
# A gradient check of your own two functions, away from ties. The two rows should agree.

# %% [code]
# from checking import numerical_gradient
#
# z = np.array([[[1.0, 3.0, 2.0], [4.0, -1.0, 0.0]]])
# loss = lambda values: (mine.maxout_forward(values)[0] * dy).sum()
# print("numerical:", numerical_gradient(loss, z).ravel().round(6))
# print("yours:    ", mine.maxout_backward(dy, mine.maxout_forward(z)[1], 3).ravel())

# %% [markdown]
# ## Check
#
# The same as `pytest -m task3` in a terminal. The backward checks bring their own winners.
#
# Then answer questions 3a and 3b in `answers.md`, in words.

# %% [code]
# from course_check import run
#
# run("task3")


# %% answer
def maxout_forward(z):
    """Maximum over the k neurons of each maxout unit, and its index.

        y[n, u] = max_j z[n, u, j],   winner[n, u] = the j of it

    Parameters
    ----------
    z : (N, units, k) float, finite

    Returns
    -------
    y : (N, units), the dtype of z
    winner : (N, units) int in [0, k)
        The lowest index wins a tie.

    >>> maxout_forward(np.array([[[1.0, 3.0, 2.0], [4.0, 4.0, 0.0]]]))
    (array([[3., 4.]]), array([[1, 0]]))
    """
    ### BEGIN SOLUTION
    return z.max(axis=2), z.argmax(axis=2)
    ### END SOLUTION


def maxout_backward(dy, winner, k):
    """Gradient of the maxout unit: dy goes to the winner, the other k - 1 neurons get zero.

        dz[n, u, j] = dy[n, u] if j == winner[n, u] else 0

    Parameters
    ----------
    dy : (N, units) float
    winner : (N, units) int in [0, k)
        From the forward pass.
    k : int
        Neurons per unit.

    Returns
    -------
    dz : (N, units, k), the dtype of dy

    >>> maxout_backward(np.array([[5.0, 7.0]]), np.array([[1, 0]]), k=3)
    array([[[0., 5., 0.],
            [7., 0., 0.]]])
    """
    ### BEGIN SOLUTION
    dz = np.zeros((*dy.shape, k), dtype=dy.dtype)
    np.put_along_axis(dz, winner[:, :, None], dy[:, :, None], axis=2)
    return dz
    ### END SOLUTION


# %% checks
pytestmark = pytest.mark.task3


def sizes(draws):
    """N, units and k, all different, so that swapped axes show."""
    return draws.one_of([(5, 3, 4), (4, 6, 3), (3, 7, 2)])


def back(draws):
    """Arguments of a backward call with winners that were drawn; the last neuron never wins."""
    n, units, k = sizes(draws)
    return draws.eighths(n, units), draws.integers(0, k, (n, units)), k + 1


@pytest.mark.points(2)
def test_forward_by_hand(ask):
    """One example, two units of three neurons: the two largest values."""
    z = np.array([[[1.0, 3.0, 2.0], [-4.0, -5.0, 0.5]]])
    ask.by_hand("maxout_forward", (z,), (np.array([[3.0, 0.5]]), np.array([[1, 2]])), parts=("y",))
    ask("maxout_forward", ask.draws.distinct(1, 2, 3) + 20, parts=("y",))  # and a drawn one


@pytest.mark.points(3)
def test_forward_values(ask):
    """Many examples and units: y is the maximum within each unit, also where all values are negative."""
    shape = sizes(ask.draws)
    ask("maxout_forward", ask.draws.distinct(*shape) + 20, parts=("y",))
    ask("maxout_forward", ask.draws.distinct(*shape) - 50, parts=("y",))


@pytest.mark.points(3)
def test_forward_winner(ask):
    """winner names the neuron within its unit, 0 to k - 1."""
    ask("maxout_forward", ask.draws.distinct(*sizes(ask.draws)) + 20, parts=("winner",))


@pytest.mark.points(2)
def test_forward_ties(ask):
    """Equal values: the lowest neuron wins."""
    ask("maxout_forward", ask.draws.integers(0, 2, sizes(ask.draws)) * 1.0, parts=("winner",))
    ask("maxout_forward", np.zeros((2, 3, 4)), parts=("winner",))


@pytest.mark.points(2)
def test_backward_by_hand(ask):
    """The winner gets dy, the others get zero."""
    expected = np.array([[[0.0, 5.0, 0.0], [0.0, 0.0, 7.0]]])
    ask.by_hand("maxout_backward", (np.array([[5.0, 7.0]]), np.array([[1, 2]]), 3), expected)
    ask("maxout_backward", ask.draws.eighths(1, 2), ask.draws.integers(0, 3, (1, 2)), 3)  # and a drawn one


@pytest.mark.points(5)
def test_backward_values(ask):
    """Many examples and units; the last neurons never win; also k = 1."""
    dy, winner, k = back(ask.draws)
    ask("maxout_backward", dy, winner, k)
    ask("maxout_backward", dy, np.minimum(winner, 1), k + 1)
    ask("maxout_backward", dy, 0 * winner, 1)


@pytest.mark.points(2)
def test_k_of_one(ask):
    """With one neuron per unit y is z, and neuron 0 always wins."""
    ask("maxout_forward", ask.draws.distinct(4, 3, 1) + 20)


@pytest.mark.points(1)
def test_inputs_and_dtype(ask):
    """Neither function changes its inputs; float32 in, float32 out."""
    dy, winner, k = back(ask.draws)
    z = ask.draws.distinct(*sizes(ask.draws)) + 20
    ask.unchanged("maxout_forward", z)
    ask.unchanged("maxout_backward", dy, winner, k)
    y, _ = ask("maxout_forward", z.astype(np.float32))
    dz = ask("maxout_backward", dy.astype(np.float32), winner, k)
    assert y.dtype == np.float32, f"float32 went in, y came out as {y.dtype}"
    assert dz.dtype == np.float32, f"float32 went in, dz came out as {dz.dtype}: make it with dtype=dy.dtype"


# %% mistakes
def _last_of_a_tie(right, z):
    y, winner = right(z[:, :, ::-1])
    return y, z.shape[2] - 1 - winner


def _units_compete(right, z):
    return z.max(axis=1), z.argmax(axis=1)


def _flat_index(right, z):
    y, winner = right(z)
    return y, winner + z.shape[2] * np.arange(z.shape[1])


def _with_relu(right, z):
    return right(np.maximum(z, 0))


def _one_hot(right, z):
    y, winner = right(z)
    return y, (winner[:, :, None] == np.arange(z.shape[2])).astype(np.int64)


def _everybody_gets_it(right, dy, winner, k):
    return np.repeat(dy[:, :, None], k, axis=2)


def _shared(right, dy, winner, k):
    return np.repeat(dy[:, :, None] / k, k, axis=2)


def _ones(right, dy, winner, k):
    return right(np.ones_like(dy), winner, k)


def _all_units_at_once(right, dy, winner, k):
    dz = np.zeros((*dy.shape, k), dtype=dy.dtype)
    dz[:, :, winner] = dy
    return dz


def _all_winners_of_the_batch(right, dy, winner, k):
    dz = np.zeros((*dy.shape, k), dtype=dy.dtype)
    dz[:, :, winner] = dy[:, :, None, None]
    return dz


EVERY_UNIT = (
    "dz[:, :, winner] = ... is used: it writes to every unit of every example. np.put_along_axis writes to"
    " each one's own winner."
)


MISTAKES = {
    "maxout_forward": [
        (
            _last_of_a_tie,
            "the last of several equal values wins: the lowest index should (np.argmax does that).",
        ),
        (
            _units_compete,
            "the maximum runs over the units: compare the k neurons of one unit, the last axis.",
        ),
        (_flat_index, "winner counts through all neurons of the layer: count within the unit, 0 to k - 1."),
        (
            _with_relu,
            "negative maxima become 0: no ReLU here, a negative maximum is passed on as it is.",
        ),
        (_one_hot, "winner is a row of zeros and ones: it should be the index itself."),
    ],
    "maxout_backward": [
        (
            _everybody_gets_it,
            "every neuron of the unit gets dy: only the winner supplied y, the others get zero.",
        ),
        (_shared, "dy is shared among the k neurons: only the winner supplied y, so it gets all of dy."),
        (_all_units_at_once, EVERY_UNIT),
        (_all_winners_of_the_batch, EVERY_UNIT),
        (_ones, "the winners get 1 instead of dy: multiply by what comes from above (the chain rule)."),
    ],
}
