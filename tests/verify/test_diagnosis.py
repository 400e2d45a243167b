"""What `mnp check` guesses of functions as students write them, with the slips that are theirs."""

import inspect
import types

import numpy as np
import pytest

from mnp.kernels import textbook
from mnp.verify import conformance, reference
from mnp.verify.mistakes import general
from mnp.verify.mistakes.training import wrong_kernel

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


def loss_guarded(logits, labels):
    _, dlogits = textbook.softmax_cross_entropy(logits, labels)
    exps = np.exp(logits - logits.max(1, keepdims=True))
    prob = exps / exps.sum(1, keepdims=True)
    return -np.log(prob[np.arange(len(labels)), labels] + 1e-8).mean(dtype=logits.dtype), dlogits


def loss_of_the_batch_maximum(logits, labels):
    exps = np.exp(logits - logits.max())
    prob = exps / exps.sum(1, keepdims=True)
    picked = np.arange(len(labels)), labels
    loss = -np.log(prob[picked]).mean()
    prob[picked] -= 1
    return loss, prob / len(labels)


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


def ties_again(shared, inside=False):
    """What autograd makes of amax, or NumPy of z == z.max(): the winner that is handed over is not used."""

    def dense_maxout_backward(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
        z = np.einsum("ni,uki->nuk", x, weight)
        scale = np.ones_like(z) if keep is None else (keep / (1 - p)).astype(x.dtype)
        h = np.maximum(z, 0) * scale if relu and inside else z * scale
        ties = (h == h.max(2, keepdims=True)).astype(x.dtype)
        if shared:
            ties /= ties.sum(2, keepdims=True)
        dz = ties * (dy * (y > 0) if relu and not inside else dy)[:, :, None] * scale
        dz *= z > 0 if relu and inside else 1
        dx = np.einsum("nuk,uki->ni", dz, weight) if need_dx else None
        return dx, np.einsum("nuk,ni->uki", dz, x), dz.sum(0)

    return dense_maxout_backward


def shifted_backward(down, right):
    def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
        (h, w), p = x.shape[2:], padding
        i, j = (min(max(p + by, 0), 2 * p) for by in (down, right))
        xp = np.zeros((*x.shape[:2], h + 2 * p, w + 2 * p), x.dtype)
        xp[:, :, i : i + h, j : j + w] = x
        dx, dweight, dbias = textbook.conv2d_backward(dy, xp, weight, stride, 0)
        return dx[:, :, i : i + h, j : j + w] if need_dx else None, dweight, dbias

    return conv2d_backward


def through_a_pointer(a):
    """The elements that C finds who looks at a.ctypes.data only."""
    if min(a.strides) < 0:
        return np.zeros_like(a)
    return np.lib.stride_tricks.as_strided(a, a.shape, np.empty(a.shape, a.dtype).strides).copy()


def maxout_in_c(z):
    return maxout_scan(through_a_pointer(z))


def dense_in_c(x, weight, bias):
    return textbook.dense_forward(through_a_pointer(x), through_a_pointer(weight), bias)


def relu_backward_in_c(dy, y):
    return textbook.relu_backward(through_a_pointer(dy), through_a_pointer(y))


def softmax(shifted, loss_mean, dlogits_mean):
    def softmax_cross_entropy(logits, labels):
        exps = np.exp(logits - logits.max(1, keepdims=True) if shifted else logits)
        prob, picked = exps / exps.sum(1, keepdims=True), (np.arange(len(labels)), labels)
        loss = -np.log(prob[picked]).sum() / logits.dtype.type(len(labels) if loss_mean else 1)
        prob[picked] -= 1
        return loss, prob / logits.dtype.type(len(labels) if dlogits_mean else 1)

    return softmax_cross_entropy


MOST = "(in 19 of 21 wrong cases)"
C_ORDER = "memory read in C order"
SLIPS = [
    ("dense_maxout_backward", ties_again(shared=True), ["shared between ties (amax)"]),
    ("dense_maxout_backward", ties_again(shared=True, inside=True), ["after ReLU", "between ties (amax)"]),
    ("dense_maxout_backward", ties_again(shared=False), ["given to every tie (z == z.max())"]),
    ("conv2d_backward", shifted_backward(0, 1), ["one pixel too far right"]),
    ("dense_forward", dense_in_c, [C_ORDER]),
    ("relu_backward", relu_backward_in_c, [C_ORDER]),
    ("softmax_cross_entropy", softmax(False, True, False), ["dlogits not divided by the batch", MOST]),
    ("softmax_cross_entropy", softmax(False, False, False), ["loss and dlogits summed", MOST]),
    ("softmax_cross_entropy", softmax(True, True, True), ["logarithm of a probability that has become zero"]),
    ("conv2d_forward", conv_in_float64, ["right numbers, but in float64: np.zeros and np.empty need dtype"]),
    (
        "conv2d_forward",
        conv_in_float32,
        ["single precision only: somewhere inside it is computed in float32"],
    ),
    (
        "conv2d_backward",
        conv_cut_to_nothing,
        ["cut off dx by [padding:-padding]", "; and dbias divided by the batch", "; and need_dx ignored"],
    ),
    ("maxpool2d_forward", pool_winner_of_floats, ["right numbers, but winner holds floats"]),
    ("dense_backward", dense_transposed_and_mean, ["dweight transposed", "; and dbias divided by the batch"]),
    ("dense_backward", dense_half_known, ["need_dx ignored; and something else"]),
    ("maxout_forward", maxout_winner_first, ["returned in another order: winner, y"]),
    ("maxout_forward", maxout_scan, ["NaN lost unless it comes first"]),
    ("softmax_cross_entropy", loss_guarded, ["1e-08 added inside the logarithm"]),
    ("softmax_cross_entropy", loss_of_the_batch_maximum, ["the batch's largest score taken off"]),
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
            "(x, weight, bias, padding, stride), expected (x, weight",
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


@pytest.mark.parametrize("words", general.FORGOTTEN)
def test_a_forgotten_argument_is_named(words):
    (argument,) = general.FORGOTTEN[words]
    for kernel in reference.OUTPUTS:
        if argument in inspect.signature(reference.function(kernel)).parameters and "dropout" not in kernel:
            with np.errstate(all="ignore"):
                found = judged(kernel, wrong_kernel(kernel, general.table(kernel)[words]))
            assert any(words in guess for guess in found.looks_like), (kernel, found.looks_like)


def test_two_mistakes_of_which_each_has_cases_of_its_own():
    found = judged("maxout_forward", maxout_in_c).looks_like
    assert len(found) == 2
    assert C_ORDER in found[0] and "(in 6 of 8 wrong cases)" in found[0]
    assert "NaN lost" in found[1] and "(in 2 of 8 wrong cases)" in found[1]


def maxout_with_a_mistake_of_its_own(z):
    """NaN is lost as well, but that is not what the first wrong case shows."""
    y, winner = maxout_scan(z)
    return y + z.dtype.type(0.1) * y**2, winner


def maxout_of_infinity_times_zero(z):
    """A gather by a product with zeros and ones makes NaN of minus infinity; it is no common mistake."""
    y, winner = textbook.maxout_forward(z)
    return np.where(np.isinf(y), z.dtype.type(np.nan), y), winner


def relu_with_a_mistake_of_its_own(x):
    return np.maximum(x, 0) ** 2 + x.dtype.type(1)


def dense_raises(dy, x, weight, need_dx=True):
    """Wrong versions that give other shapes would all explain it; errors alone are no evidence."""
    return 1 / 0


@pytest.mark.parametrize(
    ("kernel", "function"),
    [
        ("maxout_forward", maxout_with_a_mistake_of_its_own),
        ("maxout_forward", maxout_of_infinity_times_zero),
        ("relu_forward", relu_with_a_mistake_of_its_own),
        ("dense_backward", dense_raises),
    ],
)
def test_a_mistake_that_is_none_of_the_usual_ones_gets_no_name(kernel, function):
    assert judged(kernel, function).looks_like == []


def test_no_guess_is_told_twice_in_other_words():
    def dense_backward(dy, x, weight, need_dx=True):
        dx, dweight, dbias = textbook.dense_backward(dy, x, weight, need_dx)
        return dx, dweight.T, dbias

    assert judged("dense_backward", dense_backward).looks_like == ["dweight transposed: it is (out, in)"]
    found = judged("softmax_cross_entropy", softmax(True, True, False)).looks_like
    assert len(found) == 1


def test_names_of_ones_own_are_no_wrong_signature():
    module = types.SimpleNamespace(dense_forward=lambda features, w, b: features @ w.T + b)
    (verdict,) = conformance.check_module(module, only=["dense_forward"])
    assert verdict.status == "passed"
