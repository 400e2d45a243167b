"""What `mnp check` guesses of functions as students write them, with the slips that are theirs."""

import types

import numpy as np
import pytest

from mnp.kernels import textbook
from mnp.verify import conformance

# --- conv2d -------------------------------------------------------------------------------------------


def conv_in_float64(x, weight, bias, stride, padding):
    xp = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    kh, kw = weight.shape[2:]
    y = np.zeros((len(x), len(weight), (xp.shape[2] - kh) // stride + 1, (xp.shape[3] - kw) // stride + 1))
    for p, q in np.ndindex(y.shape[2:]):
        window = xp[:, :, p * stride : p * stride + kh, q * stride : q * stride + kw]
        y[:, :, p, q] = np.einsum("ncij,fcij->nf", window, weight) + bias
    return y


def conv_in_float32(x, weight, bias, stride, padding):
    arrays = [a.astype(np.float32) for a in (x, weight, bias)]
    return textbook.conv2d_forward(*arrays, stride, padding).astype(x.dtype)


def conv_cut_to_nothing(dy, x, weight, stride, padding, need_dx=True):
    """Three slips: dx cut by [padding:-padding], dbias a mean, need_dx unread."""
    _, dweight, dbias = textbook.conv2d_backward(dy, x, weight, stride, padding)
    xp = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    dx = textbook.conv2d_backward(dy, xp, weight, stride, 0)[0][:, :, padding:-padding, padding:-padding]
    return dx, dweight, dbias / x.dtype.type(len(x))


def conv_arguments_swapped(x, weight, bias, padding, stride):
    return textbook.conv2d_forward(x, weight, bias, stride, padding)


# --- pooling ------------------------------------------------------------------------------------------


def pool_winner_of_floats(x, size, stride):
    y, winner = textbook.maxpool2d_forward(x, size, stride)
    return y, winner.astype(float)


def pool_beyond_the_image(x, size, stride):
    y = np.zeros((*x.shape[:2], x.shape[2] // stride, x.shape[3] // stride), x.dtype)
    for i, j in np.ndindex(y.shape[2:]):
        window = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
        y[:, :, i, j] = window.mean((2, 3))
    return y


# --- dense, maxout, loss, batch norm, SGD ---------------------------------------------------------------


def dense_transposed_and_mean(dy, x, weight, need_dx=True):
    return dy @ weight if need_dx else None, x.T @ dy, dy.mean(0)


def dense_half_known(dy, x, weight, need_dx=True):
    return dy @ weight + 1, dy.T @ x, dy.sum(0)


def maxout_winner_first(z):
    return z.argmax(2), z.max(2)


def maxout_scan(z):
    y, winner = z[:, :, 0].copy(), np.zeros(z.shape[:2], int)
    for j in range(1, z.shape[2]):
        larger = z[:, :, j] > y
        y[larger], winner[larger] = z[:, :, j][larger], j
    return y, winner


def maxout_scattered(dy, winner, k):
    dz = np.zeros((*dy.shape, k), dy.dtype)
    dz[:, :, winner] = dy
    return dz


def loss_guarded(logits, labels):
    _, dlogits = textbook.softmax_cross_entropy(logits, labels)
    exps = np.exp(logits - logits.max(1, keepdims=True))
    prob = exps / exps.sum(1, keepdims=True)
    return -np.log(prob[np.arange(len(labels)), labels] + 1e-8).mean(dtype=logits.dtype), dlogits


def loss_columns(logits, labels):
    loss, _ = textbook.softmax_cross_entropy(logits, labels)
    exps = np.exp(logits - logits.max(1, keepdims=True))
    dlogits = exps / exps.sum(1, keepdims=True)
    dlogits[:, labels] -= 1
    return loss, dlogits / len(labels)


def loss_of_the_batch_maximum(logits, labels):
    exps = np.exp(logits - logits.max())
    prob = exps / exps.sum(1, keepdims=True)
    picked = np.arange(len(labels)), labels
    loss = -np.log(prob[picked]).mean()
    prob[picked] -= 1
    return loss, prob / len(labels)


def norm_keepdims(x, weight, bias, eps):
    y, mean, var = textbook.batchnorm2d_forward(x, weight, bias, eps)
    return y, mean[None, :, None, None], var[None, :, None, None]


def norm_of_squares(x, weight, bias, eps):
    """var = mean(x**2) - mean**2: right, but for its last digits."""
    mean = x.mean((0, 2, 3))
    var = (x**2).mean((0, 2, 3)) - mean**2
    return *textbook.batchnorm2d_forward(x, weight, bias, eps)[:2], var


def sgd_rebinds(weights, grads, velocities, masks, lr, momentum, weight_decay):
    for w, g, v in zip(weights, grads, velocities, strict=True):
        v = momentum * v + g + weight_decay * w
        w = w - lr * v


def sgd_assigns_items(weights, grads, velocities, masks, lr, momentum, weight_decay):
    for i, (w, g, v) in enumerate(zip(weights, grads, velocities, strict=True)):
        velocities[i] = momentum * v + g + weight_decay * w
        weights[i] = w - lr * velocities[i]


def counts_of_floats(winner, k):
    return (winner[:, :, None] == np.arange(k)).sum(0).astype(float)


SLIPS = [
    ("conv2d_forward", conv_in_float64, ["right numbers, but in float64: np.zeros and np.empty need dtype"]),
    (
        "conv2d_forward",
        conv_in_float32,
        ["single precision only: somewhere inside it is computed in float32"],
    ),
    (
        "conv2d_backward",
        conv_cut_to_nothing,
        [
            "cut off dx by [padding:-padding]",
            "; and dbias divided by the batch size",
            "; and need_dx ignored",
        ],
    ),
    ("maxpool2d_forward", pool_winner_of_floats, ["right numbers, but winner holds floats"]),
    ("avgpool2d_forward", pool_beyond_the_image, ["H // stride instead of (H - size) // stride + 1"]),
    ("dense_backward", dense_transposed_and_mean, ["dweight transposed", "; and dbias divided by the batch"]),
    ("dense_backward", dense_half_known, ["need_dx ignored; and something else"]),
    ("maxout_forward", maxout_winner_first, ["returned in another order: winner, y"]),
    ("maxout_forward", maxout_scan, ["NaN lost unless it comes first"]),
    ("maxout_backward", maxout_scattered, ["dz[:, :, winner] = dy reaches all units"]),
    ("softmax_cross_entropy", loss_guarded, ["1e-08 added inside the logarithm"]),
    ("softmax_cross_entropy", loss_columns, ["dlogits[:, labels] -= 1 reaches all rows"]),
    ("softmax_cross_entropy", loss_of_the_batch_maximum, ["the batch's largest score taken off"]),
    ("batchnorm2d_forward", norm_keepdims, ["mean and var with axes of length one (keepdims)"]),
    ("batchnorm2d_forward", norm_of_squares, ["nearly right, digits are lost in rounding"]),
    ("sgd_step", sgd_rebinds, ["nothing was changed in place: w = w - ... makes a new array"]),
    ("win_counts", counts_of_floats, ["right numbers, but counts holds floats"]),
]


def judged(kernel, function):
    (verdict,) = conformance.check_module(types.SimpleNamespace(**{kernel: function}), only=[kernel])
    assert verdict.status == "failed"
    return verdict


@pytest.mark.parametrize(("kernel", "function", "says"), SLIPS, ids=[s[1].__name__ for s in SLIPS])
def test_slips_are_named_and_nothing_else_is(kernel, function, says):
    verdict = judged(kernel, function)
    assert len(verdict.looks_like) == 1
    assert [words for words in says if words not in verdict.looks_like[0]] == []


@pytest.mark.parametrize(
    ("kernel", "function", "says"),
    [
        (
            "conv2d_forward",
            conv_arguments_swapped,
            "(x, weight, bias, padding, stride), agreed are (x, weight",
        ),
        (
            "sgd_step",
            sgd_assigns_items,
            "item assignment: write into the arrays, weights[i][...] = ... (test_dia",
        ),
    ],
)
def test_what_needs_no_guess_is_told_and_nothing_is_guessed(kernel, function, says):
    verdict = judged(kernel, function)
    assert any(says in line for line in verdict.lines), verdict.lines
    assert verdict.looks_like == []


def test_names_of_ones_own_are_no_wrong_signature():
    module = types.SimpleNamespace(dense_forward=lambda features, w, b: features @ w.T + b)
    (verdict,) = conformance.check_module(module, only=["dense_forward"])
    assert verdict.status == "passed"


def test_errors_alone_are_no_evidence():
    """Wrong versions that give other shapes would all explain a function that always raises."""
    assert judged("dense_backward", lambda dy, x, weight, need_dx=True: 1 / 0).looks_like == []
