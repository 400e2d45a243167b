"""Task 2: max pooling, forward and backward."""

import numpy as np
import pytest

# %% [markdown]
# # Task 2: max pooling
#
# After a convolution, neighbouring pixels are nearly equal. Pooling keeps the largest value of each
# small window and drops the rest: the maps shrink, and a feature may move by a pixel without changing the
# output. It has no weights. It has a *winner* in every window, and only the winner receives a gradient.
# Remember the word: in the next task the neurons of a maxout unit compete in the same way.
#
# **You fill:** [`task2_pooling.py`](task2_pooling.py), two functions, NumPy only.
# **Worth:** 15 points. **Time:** 35 to 50 minutes.
#
# | array | shape | meaning |
# |---|---|---|
# | `x` | (N, C, H, W) | N images of C channels |
# | `y` | (N, C, OH, OW) | the largest value of each window |
# | `winner` | (N, C, OH, OW) int | its place in the window, counted row by row from 0 |

# %% [markdown]
# ## Forward
#
# $$y_{n,c,p,q} = \max_{0 \le i,j < \mathrm{size}} x_{n,c,\;ps+i,\;qs+j}$$
#
# and `winner` is $i \cdot \mathrm{size} + j$ of that largest value. Two rules for the edges:
#
# * **Ties**: the lowest number wins, like `np.argmax`. Zeros tie often in real networks.
# * **Left-overs**: OH = (H - size) // stride + 1; rows and columns that fill no whole window are ignored.
#
# Channels do not mix. Windows overlap when stride < size.

# %% [code]
# import numpy as np
#
# x = np.array([[1.0, 5.0, 2.0, 0.0], [3.0, 5.0, 7.0, 7.0]]).reshape(1, 1, 2, 4)
# x[0, 0]

# %% [markdown]
# With size 2 and stride 2 there are two windows. In the left one the 5 appears twice, at places 1 and 3:
# place 1 wins. In the right one 7 wins at place 2. Write `maxpool2d_forward`, save, run:

# %% [code]
# %load_ext autoreload
# %autoreload 2
# import task2_pooling as mine
#
# mine.maxpool2d_forward(x, size=2, stride=2)

# %% [markdown]
# ## Backward
#
# A pixel that did not win had no influence on `y`: a small change of it changes nothing, so its gradient
# is 0. The winner's value was copied to `y`, so it receives `dy` unchanged. One pixel may win several
# overlapping windows; then it receives the **sum**.
#
# `winner` tells where to: divide it by `size` (with remainder) to get the row and column in the window.
# You do not need `x` for this, and you do not get it.

# %% [code]
# dy = np.array([10.0, 20.0]).reshape(1, 1, 1, 2)
# winner = np.array([1, 2]).reshape(1, 1, 1, 2)
# mine.maxpool2d_backward(dy, winner, x.shape, size=2, stride=2)[0, 0]

# %% [markdown]
# ## Check
#
# The same as `pytest -m task2` in a terminal. The backward checks bring their own winners, so they count
# even if your forward pass is wrong.
#
# Then answer questions 2a and 2b in `answers.md`, in words.

# %% [code]
# from course_check import run
#
# run("task2")


# %% answer
def maxpool2d_forward(x, size, stride):
    """Maximum over each window, and its position in the window.

        y[n, c, p, q] = max_{i, j} x[n, c, p*stride + i, q*stride + j],   winner = i*size + j of it

    Parameters
    ----------
    x : (N, C, H, W) float, finite
    size, stride : int
        Windows of size x size, stride pixels apart; they overlap when stride < size.

    Returns
    -------
    y : (N, C, OH, OW), the dtype of x
        OH = (H - size) // stride + 1: left-over rows and columns are ignored.
    winner : (N, C, OH, OW) int in [0, size*size)
        The lowest index wins a tie.

    >>> x = np.array([[1.0, 5.0, 2.0, 0.0], [3.0, 5.0, 7.0, 7.0]]).reshape(1, 1, 2, 4)
    >>> y, winner = maxpool2d_forward(x, size=2, stride=2)
    >>> y.ravel(), winner.ravel()
    (array([5., 7.]), array([1, 2]))
    """
    ### BEGIN SOLUTION
    n, c, h, w = x.shape
    oh, ow = (h - size) // stride + 1, (w - size) // stride + 1
    y = np.empty((n, c, oh, ow), dtype=x.dtype)
    winner = np.empty((n, c, oh, ow), dtype=np.int64)
    for p in range(oh):
        for q in range(ow):
            top, left = p * stride, q * stride
            window = x[:, :, top : top + size, left : left + size].reshape(n, c, size * size)
            y[:, :, p, q] = window.max(axis=2)
            winner[:, :, p, q] = window.argmax(axis=2)
    return y, winner
    ### END SOLUTION


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    """Gradient of max pooling: dy goes to the winner of each window, every other pixel gets zero.

        dx[n, c, p*stride + i, q*stride + j] += dy[n, c, p, q]   where winner[n, c, p, q] = i*size + j

    Parameters
    ----------
    dy : (N, C, OH, OW) float
    winner : (N, C, OH, OW) int
        From the forward pass.
    x_shape : tuple (N, C, H, W)
    size, stride : int

    Returns
    -------
    dx : x_shape, the dtype of dy
        A pixel that won several windows gets the sum.

    >>> dy, winner = np.array([10.0, 20.0]).reshape(1, 1, 1, 2), np.array([1, 2]).reshape(1, 1, 1, 2)
    >>> maxpool2d_backward(dy, winner, (1, 1, 2, 4), size=2, stride=2)[0, 0]
    array([[ 0., 10.,  0.,  0.],
           [ 0.,  0., 20.,  0.]])
    """
    ### BEGIN SOLUTION
    dx = np.zeros(x_shape, dtype=dy.dtype)
    for n, c, p, q in np.ndindex(dy.shape):
        i, j = divmod(int(winner[n, c, p, q]), size)
        dx[n, c, p * stride + i, q * stride + j] += dy[n, c, p, q]
    return dx
    ### END SOLUTION


# %% checks
pytestmark = pytest.mark.task2


def back(draws, size, stride):
    """Arguments of a backward call; the winners are drawn, no forward pass is needed."""
    n, c = draws.one_of([(2, 3), (3, 2)])
    h, w = draws.one_of([(7, 6), (6, 9), (8, 7)])
    shape = (n, c, (h - size) // stride + 1, (w - size) // stride + 1)
    return draws.eighths(*shape), draws.integers(0, size * size, shape), (n, c, h, w), size, stride


@pytest.mark.points(2)
def test_forward_by_hand(ask):
    """Four windows of 2x2 on an image of 4x4: the largest value of each."""
    x = np.array([[1.0, 2.0, 8.0, 7.0], [4.0, 3.0, 5.0, 6.0], [0.0, 1.0, 5.0, 4.0], [9.0, 2.0, 3.0, 2.0]])
    expected = (np.array([[4.0, 8.0], [9.0, 5.0]])[None, None], np.array([[2, 0], [2, 0]])[None, None])
    ask.by_hand("maxpool2d_forward", (x[None, None], 2, 2), expected, parts=("y",))
    ask("maxpool2d_forward", ask.draws.distinct(1, 1, 4, 4) + 20, 2, 2, parts=("y",))  # and a drawn one


@pytest.mark.points(2)
def test_forward_values(ask):
    """Several images and channels; sizes 2 and 3; negative values too."""
    ask("maxpool2d_forward", ask.draws.distinct(2, 3, 6, 4) - 9, 2, 2, parts=("y",))
    ask("maxpool2d_forward", ask.draws.distinct(3, 2, 6, 9), 3, 3, parts=("y",))


@pytest.mark.points(2)
def test_forward_overlap_and_leftovers(ask):
    """stride differs from size; rows and columns that fill no window are ignored."""
    ask("maxpool2d_forward", ask.draws.distinct(2, 2, 7, 6) + 20, 3, 2, parts=("y",))
    ask("maxpool2d_forward", ask.draws.distinct(2, 2, 5, 8) + 20, 2, 3, parts=("y",))
    ask("maxpool2d_forward", ask.draws.distinct(2, 1, 5, 7) + 20, 2, 2, parts=("y",))


@pytest.mark.points(1)
def test_forward_winner(ask):
    """winner counts the places of a window row by row from 0."""
    ask("maxpool2d_forward", ask.draws.distinct(2, 2, 6, 9), 3, 3, parts=("winner",))


@pytest.mark.points(1)
def test_forward_ties(ask):
    """Equal values: the lowest place wins."""
    ask("maxpool2d_forward", ask.draws.integers(0, 2, (2, 3, 6, 6)) * 1.0, 2, 2, parts=("winner",))
    ask("maxpool2d_forward", np.zeros((1, 2, 4, 4)), 2, 2, parts=("winner",))


@pytest.mark.points(2)
def test_backward_by_hand(ask):
    """Two windows; the numbers go to the winners, the rest is zero."""
    dy, winner = np.array([10.0, 20.0]).reshape(1, 1, 1, 2), np.array([3, 1]).reshape(1, 1, 1, 2)
    expected = np.array([[0.0, 0.0, 0.0, 20.0], [0.0, 10.0, 0.0, 0.0]]).reshape(1, 1, 2, 4)
    ask.by_hand("maxpool2d_backward", (dy, winner, (1, 1, 2, 4), 2, 2), expected)
    ask("maxpool2d_backward", ask.draws.eighths(1, 1, 1, 2), winner, (1, 1, 2, 4), 2, 2)  # and a drawn one


@pytest.mark.points(2)
def test_backward_values(ask):
    """Several images and channels, windows side by side, left-over rows included (they get zero)."""
    ask("maxpool2d_backward", *back(ask.draws, size=2, stride=2))
    ask("maxpool2d_backward", *back(ask.draws, size=3, stride=3))


@pytest.mark.points(2)
def test_backward_overlap(ask):
    """One pixel may win several windows: it gets the sum."""
    ask("maxpool2d_backward", *back(ask.draws, size=3, stride=1))
    ask("maxpool2d_backward", *back(ask.draws, size=3, stride=2))


@pytest.mark.points(1)
def test_inputs_and_dtype(ask):
    """Neither function changes its inputs; float32 in, float32 out."""
    ask.unchanged("maxpool2d_forward", ask.draws.distinct(1, 2, 4, 6), 2, 2)
    dy, winner, x_shape, size, stride = back(ask.draws, size=2, stride=2)
    ask.unchanged("maxpool2d_backward", dy, winner, x_shape, size, stride)
    y, _ = ask("maxpool2d_forward", ask.draws.distinct(1, 2, 4, 6).astype(np.float32) + 20, 2, 2)
    dx = ask("maxpool2d_backward", dy.astype(np.float32), winner, x_shape, size, stride)
    assert y.dtype == np.float32, f"float32 went in, y came out as {y.dtype}: make it with dtype=x.dtype"
    assert dx.dtype == np.float32, f"float32 went in, dx came out as {dx.dtype}: make it with dtype=dy.dtype"


# %% mistakes
def _last_of_a_tie(right, x, size, stride):
    y, winner = right(x[:, :, ::-1, ::-1], size, stride)
    if (x.shape[2] - size) % stride or (x.shape[3] - size) % stride:
        return right(x, size, stride)
    return y[:, :, ::-1, ::-1], size * size - 1 - winner[:, :, ::-1, ::-1]


def _column_by_column(right, x, size, stride):
    y, winner = right(x.transpose(0, 1, 3, 2), size, stride)
    return y.transpose(0, 1, 3, 2), winner.transpose(0, 1, 3, 2)


def _starts_at_zero(right, x, size, stride):
    y, winner = right(x, size, stride)
    return np.maximum(y, 0), winner


def _stride_is_size(right, x, size, stride):
    return right(x, size, size)


def _mean(right, x, size, stride):
    y, winner = right(x, size, stride)
    for p, q in np.ndindex(y.shape[2:]):
        window = x[:, :, p * stride : p * stride + size, q * stride : q * stride + size]
        y[:, :, p, q] = window.mean(axis=(2, 3))
    return y, winner


def _overwrites(right, dy, winner, x_shape, size, stride):
    dx = np.zeros(x_shape, dtype=dy.dtype)
    for n, c, p, q in np.ndindex(dy.shape):
        i, j = divmod(int(winner[n, c, p, q]), size)
        dx[n, c, p * stride + i, q * stride + j] = dy[n, c, p, q]
    return dx


def _shared(right, dy, winner, x_shape, size, stride):
    return sum(right(dy / size**2, 0 * winner + place, x_shape, size, stride) for place in range(size**2))


def _transposed_place(right, dy, winner, x_shape, size, stride):
    return right(dy, winner % size * size + winner // size, x_shape, size, stride)


MISTAKES = {
    "maxpool2d_forward": [
        (
            _last_of_a_tie,
            "the last of several equal values wins: let a later one win only if it is larger (>, not >=).",
        ),
        (
            _column_by_column,
            "the places of a window are counted column by column: it is i * size + j, row i first.",
        ),
        (_starts_at_zero, "the maximum starts from 0: a window of negative values has a negative maximum."),
        (_stride_is_size, "the windows are size apart instead of stride."),
        (_mean, "you take the mean of each window, not its largest value."),
    ],
    "maxpool2d_backward": [
        (_overwrites, "a pixel that wins twice keeps only the last dy: windows overlap, so add with +=."),
        (
            _shared,
            "dy is shared among all pixels of the window: only the winner supplied y, so only it gets dy.",
        ),
        (
            _transposed_place,
            "row and column in the window are swapped: row = winner // size, column = winner % size.",
        ),
    ],
}
