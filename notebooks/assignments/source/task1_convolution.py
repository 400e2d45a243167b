"""Task 1: convolution, forward and backward."""

import numpy as np
import pytest

# %% [markdown]
# # Task 1: convolution, forward and backward
#
# A small window of weights slides over an image; at every position it multiplies the pixels that it covers
# by the weights and adds up. Where the image looks like the weights, the sum is large. That is all a
# convolutional layer does. In this task you write it, together with the gradients that training needs.
#
# **You fill:** [`task1_convolution.py`](task1_convolution.py), two functions, NumPy only.
# **Worth:** 30 points. **Time:** 40 to 90 minutes.
#
# | array | shape | meaning |
# |---|---|---|
# | `x` | (N, C, H, W) | N images of C channels |
# | `weight` | (F, C, KH, KW) | F filters, each over all C channels |
# | `bias` | (F,) | one number per filter |
# | `y` | (N, F, OH, OW) | one map per filter |
#
# You can solve it with loops and nothing clever: the images of the checks are a few pixels wide.

# %% [markdown]
# ## Forward
#
# $$y_{n,f,p,q} = b_f + \sum_{c,i,j} w_{f,c,i,j}\; x_{n,c,\;ps+i-\mathrm{pad},\;qs+j-\mathrm{pad}}$$
#
# `stride` ($s$) is the step of the window; `padding` puts that many rows and columns of zeros around the
# image. The output has
#
# $$OH = \left\lfloor \frac{H + 2\,\mathrm{pad} - KH}{s} \right\rfloor + 1$$
#
# rows, and OW columns likewise: a window that would extend beyond the end is left out. The weights are
# *not* flipped. Mathematicians call this a correlation; every deep-learning library calls it convolution.
#
# A case to work by hand: a row of three pixels and a window of two weights.

# %% [code]
# import numpy as np
#
# x = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)
# weight = np.array([10.0, 1.0]).reshape(1, 1, 1, 2)
# by_hand = [10 * 1 + 1 * 2, 10 * 2 + 1 * 4]
# by_hand

# %% [markdown]
# Open the file, write `conv2d_forward`, save, and run this cell again: the same two numbers should come
# out. (The first line makes the notebook notice that the file has changed.)

# %% [code]
# %load_ext autoreload
# %autoreload 2
# import task1_convolution as mine
#
# mine.conv2d_forward(x, weight, np.zeros(1), stride=1, padding=0)

# %% [markdown]
# ## Backward
#
# The layer above passes `dy`, the gradient of the loss with respect to `y`. You return the gradient with
# respect to each input. There is one rule: **every product in the forward formula adds a term to two
# gradients**. The product $w \cdot x$ inside $y$ adds $dy \cdot x$ to $dw$ and $dy \cdot w$ to $dx$:
#
# $$dw_{f,c,i,j} = \sum_{n,p,q} dy_{n,f,p,q}\; x_{n,c,\;ps+i-\mathrm{pad},\;qs+j-\mathrm{pad}}
# \qquad db_f = \sum_{n,p,q} dy_{n,f,p,q}$$
#
# For $dx$ it is easier to *scatter* than to solve for the right indices: start with zeros in the shape of
# the padded image; for every window, **add** (`+=`, because windows overlap) $dy \cdot w$ to the pixels
# it covered; cut the padding off at the end.
#
# The first layer of a network needs no `dx`. With `need_dx=False` return `None` in its place.

# %% [markdown]
# ## Is the gradient right?
#
# Change one weight a little and see how the loss changes. Take $\sum y \cdot dy$ with some fixed `dy` as
# the loss: its gradient with respect to `y` is exactly `dy`. The two rows below should agree.

# %% [code]
# from checking import numerical_gradient
#
# dy = np.array([3.0, 5.0]).reshape(1, 1, 1, 2)
# loss = lambda w: (mine.conv2d_forward(x, w, np.zeros(1), 1, 0) * dy).sum()
# print("numerical:", numerical_gradient(loss, weight).ravel().round(6))
# print("yours:    ", mine.conv2d_backward(dy, x, weight, 1, 0)[1].ravel())

# %% [markdown]
# ## Check
#
# The cell below is the same as `pytest -m task1` in a terminal. Each check is judged by itself: right
# gradients count even if the forward pass is wrong. You are graded with the same checks on other
# numbers.
#
# Then answer questions 1a and 1b in `answers.md`, in words.

# %% [code]
# from course_check import run
#
# run("task1")


# %% answer
def conv2d_forward(x, weight, bias, stride, padding):
    """Convolution of images with filters: sums of products over each window, plus bias.

        y[n, f, p, q] = bias[f] + sum_{c, i, j} weight[f, c, i, j] * padded[n, c, p*stride + i, q*stride + j]

    Parameters
    ----------
    x : (N, C, H, W) float
    weight : (F, C, KH, KW) float
    bias : (F,) float
    stride, padding : int
        The window's step; the rows and columns of zeros on each of the four sides.

    Returns
    -------
    y : (N, F, OH, OW), the dtype of x
        OH = (H + 2*padding - KH) // stride + 1, and OW likewise.

    Inputs are left as they are.

    >>> x = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)
    >>> weight = np.array([10.0, 1.0]).reshape(1, 1, 1, 2)
    >>> conv2d_forward(x, weight, np.zeros(1), stride=1, padding=0).ravel()
    array([12., 24.])
    """
    ### BEGIN SOLUTION
    _, _, kh, kw = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    oh = (padded.shape[2] - kh) // stride + 1
    ow = (padded.shape[3] - kw) // stride + 1
    y = np.empty((len(x), len(weight), oh, ow), dtype=x.dtype)
    for p in range(oh):
        for q in range(ow):
            top, left = p * stride, q * stride
            window = padded[:, :, top : top + kh, left : left + kw]  # (N, C, KH, KW)
            y[:, :, p, q] = np.einsum("ncij,fcij->nf", window, weight) + bias
    return y
    ### END SOLUTION


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    """Gradients of the convolution with respect to its input, weights and biases.

        dweight[f, c, i, j] = sum_{n, p, q} dy[n, f, p, q] * padded[n, c, p*stride + i, q*stride + j]
        dbias[f]            = sum_{n, p, q} dy[n, f, p, q]
        dx                  : each window adds dy[n, f, p, q] * weight[f] to the pixels that it covered

    Parameters
    ----------
    dy : (N, F, OH, OW) float
        Gradient of the loss with respect to y.
    x, weight, stride, padding
        What conv2d_forward was given.
    need_dx : bool
        False: do not compute dx, return None in its place.

    Returns
    -------
    dx : (N, C, H, W) or None
    dweight : (F, C, KH, KW)
    dbias : (F,)

    Sums, not means: a loss that is a mean over the batch has divided already.

    >>> x = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)
    >>> weight = np.array([10.0, 1.0]).reshape(1, 1, 1, 2)
    >>> dy = np.array([3.0, 5.0]).reshape(1, 1, 1, 2)
    >>> dx, dweight, dbias = conv2d_backward(dy, x, weight, stride=1, padding=0)
    >>> dx.ravel(), dweight.ravel(), dbias
    (array([30., 53.,  5.]), array([13., 26.]), array([8.]))
    """
    ### BEGIN SOLUTION
    _, _, kh, kw = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for p in range(dy.shape[2]):
        for q in range(dy.shape[3]):
            rows = slice(p * stride, p * stride + kh)
            columns = slice(q * stride, q * stride + kw)
            dweight += np.einsum("nf,ncij->fcij", dy[:, :, p, q], padded[:, :, rows, columns])
            dpadded[:, :, rows, columns] += np.einsum("nf,fcij->ncij", dy[:, :, p, q], weight)
    h, w = x.shape[2:]
    dx = dpadded[:, :, padding : padding + h, padding : padding + w].copy() if need_dx else None
    return dx, dweight, dy.sum(axis=(0, 2, 3))
    ### END SOLUTION


# %% checks
pytestmark = pytest.mark.task1


def images(draws, stride, padding, n=None, c=None, f=None):
    """Arguments of a forward call: not square, so that swapped axes show."""
    n, c, f = n or draws.one_of([2, 3]), c or draws.one_of([2, 3]), f or draws.one_of([2, 4])
    kh, kw = draws.one_of([(2, 3), (3, 2), (3, 1)])
    h, w = draws.one_of([(5, 7), (7, 6), (6, 5)])
    return draws.eighths(n, c, h, w), draws.eighths(f, c, kh, kw), draws.eighths(f), stride, padding


def back(draws, stride, padding):
    """Arguments of a backward call with a dy that fits."""
    x, weight, _, _, _ = images(draws, stride, padding)
    size = [(x.shape[i] + 2 * padding - weight.shape[i]) // stride + 1 for i in (2, 3)]
    return draws.eighths(len(x), len(weight), *size), x, weight, stride, padding


@pytest.mark.points(2)
def test_forward_by_hand(ask):
    """One image of 3x3 pixels, one filter of 2x2: four sums to work by hand."""
    x = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    weight = np.array([[1.0, 0.0], [0.0, -2.0]]).reshape(1, 1, 2, 2)
    # top left: 1*1 - 2*5 + 0.5, then 1*2 - 2*6 + 0.5, and so on
    expected = np.array([[-8.5, -9.5], [-11.5, -12.5]]).reshape(1, 1, 2, 2)
    ask.by_hand("conv2d_forward", (x, weight, np.array([0.5]), 1, 0), expected)
    ask("conv2d_forward", *images(ask.draws, stride=1, padding=0, n=1, c=1, f=1))  # and a drawn one


@pytest.mark.points(3)
def test_forward_channels_filters_and_bias(ask):
    """Several images, channels and filters at once, at stride 1 and without padding."""
    ask("conv2d_forward", *images(ask.draws, stride=1, padding=0))
    ask("conv2d_forward", *images(ask.draws, stride=1, padding=0, n=1, c=1))


@pytest.mark.points(2)
def test_forward_stride(ask):
    """The window moves by more than one pixel; what does not fit at the end is left out."""
    ask("conv2d_forward", *images(ask.draws, stride=2, padding=0))
    ask("conv2d_forward", *images(ask.draws, stride=3, padding=0))


@pytest.mark.points(2)
def test_forward_padding(ask):
    """Zeros on all four sides, alone and together with a stride."""
    ask("conv2d_forward", *images(ask.draws, stride=1, padding=1))
    ask("conv2d_forward", *images(ask.draws, stride=2, padding=2))


@pytest.mark.points(1)
def test_forward_keeps_inputs_and_dtype(ask):
    """Inputs stay as they were; float32 in, float32 out."""
    arguments = images(ask.draws, stride=1, padding=1)
    ask.unchanged("conv2d_forward", *arguments)
    single = [a.astype(np.float32) for a in arguments[:3]]
    y = ask("conv2d_forward", *single, 1, 1)
    assert y.dtype == np.float32, f"float32 went in, {y.dtype} came out: make y with dtype=x.dtype"


@pytest.mark.points(3)
def test_backward_dbias(ask):
    """dbias: dy summed over all images and positions of a filter."""
    ask("conv2d_backward", *back(ask.draws, stride=1, padding=0), parts=("dbias",))
    ask("conv2d_backward", *back(ask.draws, stride=2, padding=1), parts=("dbias",))


@pytest.mark.points(5)
def test_backward_dweight(ask):
    """dweight at stride 1 without padding: dy times the pixel under the weight, summed over all positions."""
    ask("conv2d_backward", *back(ask.draws, stride=1, padding=0), parts=("dweight",))


@pytest.mark.points(5)
def test_backward_dx(ask):
    """dx at stride 1 without padding: overlapping windows add."""
    ask("conv2d_backward", *back(ask.draws, stride=1, padding=0), parts=("dx",))


@pytest.mark.points(5)
def test_backward_stride_and_padding(ask):
    """All three gradients with a stride and with padding; dx has the shape of x, not of the padded x."""
    ask("conv2d_backward", *back(ask.draws, stride=2, padding=0))
    ask("conv2d_backward", *back(ask.draws, stride=1, padding=2))
    ask("conv2d_backward", *back(ask.draws, stride=3, padding=1))


@pytest.mark.points(2)
def test_backward_without_dx_and_inputs(ask):
    """need_dx=False gives None first and the rest as before; no input is changed."""
    arguments = back(ask.draws, stride=1, padding=1)
    ask("conv2d_backward", *arguments, need_dx=False)
    ask.unchanged("conv2d_backward", *arguments)


# %% mistakes
def _flipped(right, x, weight, bias, stride, padding):
    return right(x, weight[:, :, ::-1, ::-1], bias, stride, padding)


def _no_bias(right, x, weight, bias, stride, padding):
    return right(x, weight, 0 * bias, stride, padding)


def _no_padding(right, x, weight, bias, stride, padding):
    return right(x, weight, bias, stride, 0)


def _one_sided_padding(right, x, weight, bias, stride, padding):
    return right(np.pad(x, ((0, 0), (0, 0), (2 * padding, 0), (2 * padding, 0))), weight, bias, stride, 0)


def _no_stride(right, x, weight, bias, stride, padding):
    y = right(x, weight, bias, 1, padding)
    kh, kw = weight.shape[2:]
    oh, ow = (x.shape[2] + 2 * padding - kh) // stride + 1, (x.shape[3] + 2 * padding - kw) // stride + 1
    return y[:, :, :oh, :ow]


def _last_window_wins(right, dy, x, weight, stride, padding, need_dx=True):
    _, dweight, dbias = right(dy, x, weight, stride, padding)
    (n, c, h, w), (kh, kw) = x.shape, weight.shape[2:]
    dx = np.zeros((n, c, h + 2 * padding, w + 2 * padding), dtype=x.dtype)
    for p in range(dy.shape[2]):
        for q in range(dy.shape[3]):
            share = np.einsum("nf,fcij->ncij", dy[:, :, p, q], weight)
            dx[:, :, p * stride : p * stride + kh, q * stride : q * stride + kw] = share
    return dx[:, :, padding : padding + h, padding : padding + w] if need_dx else None, dweight, dbias


def _padding_left_on(right, dy, x, weight, stride, padding, need_dx=True):
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    return right(dy, padded, weight, stride, 0, need_dx)


def _backward_without_stride(right, dy, x, weight, stride, padding, need_dx=True):
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = (dy.shape[i] + weight.shape[i] - 1 for i in (2, 3))
    seen = padded[:, :, :rows, :columns]  # all that windows one pixel apart can reach
    dseen, dweight, dbias = right(dy, seen, weight, 1, 0)
    dpadded = np.zeros_like(padded)
    dpadded[:, :, :rows, :columns] = dseen
    h, w = x.shape[2:]
    dx = dpadded[:, :, padding : padding + h, padding : padding + w]
    return dx if need_dx else None, dweight, dbias


def _mean_over_batch(right, dy, x, weight, stride, padding, need_dx=True):
    dx, dweight, dbias = right(dy, x, weight, stride, padding, need_dx)
    return dx, dweight / len(x), dbias / len(x)


def _always_dx(right, dy, x, weight, stride, padding, need_dx=True):
    return right(dy, x, weight, stride, padding)


MISTAKES = {
    "conv2d_forward": [
        (
            _flipped,
            "the filters are flipped. Here they are not: y[p, q] uses weight[i, j] with pixel p + i, q + j.",
        ),
        (_no_bias, "the bias is missing: every filter adds its own bias[f] to its whole map."),
        (_no_padding, "padding is ignored: put that many zeros on each side first (np.pad)."),
        (
            _one_sided_padding,
            "all zeros went to the top and the left: padding goes on each of the four sides.",
        ),
        (_no_stride, "the window moves by one pixel only: output p looks at rows from p * stride on."),
    ],
    "conv2d_backward": [
        (
            _last_window_wins,
            "each window overwrites what another wrote to dx: windows overlap, so add with +=.",
        ),
        (_padding_left_on, "dx still has the padding on: cut it off, so that dx has the shape of x."),
        (
            _backward_without_stride,
            "stride is forgotten on the way back: output p looked at rows from p * stride on.",
        ),
        (
            _mean_over_batch,
            "you divide by the number of images: add over the batch, the loss has divided already.",
        ),
        (_always_dx, "need_dx=False is ignored: return None in place of dx."),
    ],
}
