"""Usual mistakes in a program's network, loss and optimiser, as wrong kernels.

With them the textbook's network shows what a program with this mistake computes.
"""

import inspect
from functools import partial

import numpy as np

from mnp.kernels import textbook
from mnp.verify import reference
from mnp.verify.mistakes import TABLE
from mnp.verify.mistakes.change import outputs_of


def wrong_kernel(kernel, mistake):
    """Make a kernel, in the type of its inputs, of a wrong version of `TABLE`."""

    def function(*args, **keywords):
        a = reference.bind(kernel, args, keywords)
        right = reference.call(kernel, a)
        widened = {name: reference.widen(value) for name, value in a.items()}
        outputs = {**right, **outputs_of(mistake, widened, right)}
        if kernel in reference.IN_PLACE:
            for name in reference.IN_PLACE[kernel]:
                for array, value in zip(a[name], outputs[name], strict=True):
                    array[...] = value
            return None
        dtype = next((v.dtype for v in a.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f"), None)
        arrays = [None if value is None else np.asarray(value) for value in outputs.values()]
        arrays = [v.astype(dtype) if dtype and v is not None and v.dtype.kind == "f" else v for v in arrays]
        return tuple(arrays) if len(arrays) > 1 else arrays[0]

    function.__signature__ = inspect.signature(reference.function(kernel))
    return function


def remembering(forward, backward):
    """Make a pair of which the backward function gets the forward function's input, by its shape."""
    seen = {}

    def first(x, *args):
        result = forward(x, *args)
        seen[(result[0] if isinstance(result, tuple) else result).shape] = x, args
        return result

    def second(dy, *args):
        x, before = seen[dy.shape]
        return backward(dy, x, before, *args)

    return first, second


def _ties(share, golden):
    """The gradient of a maximum that goes to every neuron that reaches it."""

    def backward(dy, z, _, winner, k):
        ties = z == z.max(2, keepdims=True)
        return dy[:, :, None] * ties / (ties.sum(2, keepdims=True) if share else 1)

    forward, backward = remembering(textbook.maxout_forward, backward)
    return {"maxout_forward": forward, "maxout_backward": backward}


def _grouped(golden):
    """Rows of the maxout weight read as (k, units)."""
    units_of = {}  # by the rows of a weight, before and after pruning
    for counts in golden.of_maxouts("win_counts"):
        units_of |= {counts.size: len(counts), counts.size - len(counts): len(counts)}

    def turned(y, units, back):
        first = units if back else y.shape[1] // units
        return y.reshape(len(y), first, -1).swapaxes(1, 2).reshape(y.shape)

    def forward(x, weight, bias):
        y = textbook.dense_forward(x, weight, bias)
        return turned(y, units_of[len(bias)], False) if len(bias) in units_of else y

    def backward(dy, x, weight, need_dx=True):
        dy = turned(dy, units_of[len(weight)], True) if len(weight) in units_of else dy
        return textbook.dense_backward(dy, x, weight, need_dx)

    return {"dense_forward": forward, "dense_backward": backward}


def _conv_relu(golden):
    def forward(x, weight, bias, stride, padding):
        return np.maximum(textbook.conv2d_forward(x, weight, bias, stride, padding), 0)

    def backward(dy, x, before, _, weight, stride, padding, need_dx=True):
        passed = textbook.conv2d_forward(x, *before) > 0
        return textbook.conv2d_backward(dy * passed, x, weight, stride, padding, need_dx)

    forward, backward = remembering(forward, backward)
    return {"conv2d_forward": forward, "conv2d_backward": backward}


def _softmax_in_model(golden):
    """Logits that have been through a softmax."""

    def forward(x, weight, bias):
        y = textbook.dense_forward(x, weight, bias)
        if y.shape[1] != golden.classes:
            return y
        exps = np.exp(y - y.max(1, keepdims=True))
        return exps / exps.sum(1, keepdims=True)

    def backward(dy, x, before, _, weight, need_dx=True):
        if dy.shape[1] == golden.classes:
            y = forward(x, *before)
            dy = y * (dy - (dy * y).sum(1, keepdims=True))
        return textbook.dense_backward(dy, x, weight, need_dx)

    forward_too, backward = remembering(forward, backward)
    return {"dense_forward": forward_too, "dense_backward": backward}


def _no_decay_of_biases(weights, grads, velocities, masks, lr, momentum, weight_decay):
    for start, decay in ((0, weight_decay), (1, 0.0)):  # weights and biases take turns
        arrays = (a[start::2] for a in (weights, grads, velocities, masks))
        textbook.sgd_step(*arrays, lr, momentum, decay)


def _gradients_add_up(golden):
    sums = {}

    def step(weights, grads, velocities, masks, lr, momentum, weight_decay):
        for i, grad in enumerate(grads):
            sums[i] = sums.get(i, 0) + grad
        textbook.sgd_step(weights, tuple(sums.values()), velocities, masks, lr, momentum, weight_decay)

    return {"sgd_step": step}


def _of_table(chosen):
    """The wrong versions of kernels that have these words in `TABLE`."""
    return lambda golden: {name: wrong_kernel(name, TABLE[name][words]) for name, words in chosen.items()}


def _all_of_table(prefix, *names):
    """The wrong versions of a kernel, or of a pair that goes wrong together, as they are in `TABLE`."""
    return {f"{prefix}{words}": _of_table(dict.fromkeys(names, words)) for words in TABLE[names[0]]}


KERNELS = {  # words -> function of the golden arrays that makes the wrong kernels, by name
    "gradient of the maximum shared between ties (amax): the first neuron gets all (max(dim))": partial(
        _ties, True
    ),
    "gradient of the maximum given to every tie (z == z.max())": partial(_ties, False),
    "wrong tie rule: the last of equal neurons wins": _of_table(
        {"maxout_forward": "wrong tie rule: the last index wins"}
    ),
    "neurons grouped wrongly: row u * k + j is neuron j of unit u, so reshape to (N, units, k)": _grouped,
    "no ReLU before the maximum": lambda golden: {
        "relu_forward": lambda x: x,
        "relu_backward": lambda dy, y: dy,
    },
    "a ReLU after the convolutions, where none is agreed": _conv_relu,
    "mean pooling instead of max pooling": _of_table(
        {
            "maxpool2d_forward": "a mean instead of a maximum",
            "maxpool2d_backward": "gradient of a max shared between all pixels, as if they were ties",
        }
    ),
    "a softmax in the model, and another one in the loss": _softmax_in_model,
    **_all_of_table("dropout: ", "dropout_forward", "dropout_backward"),
    **_all_of_table("", "softmax_cross_entropy"),
    "no weight decay on the biases: here they decay as the weights do": lambda golden: {
        "sgd_step": _no_decay_of_biases
    },
    "gradients not set to zero: those of all steps add up": _gradients_add_up,
    **_all_of_table("", "sgd_step"),
}
