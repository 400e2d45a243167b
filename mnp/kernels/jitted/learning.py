"""The loss and the step downhill."""

import numpy as np
from numba import prange

from mnp.kernels import shapes
from mnp.kernels.compiling import compiled


def softmax_cross_entropy(logits, labels):
    """Turn scores into probabilities and charge for what the right class was denied.

        prob[n, c]    = exp(logits[n, c]) / sum_d exp(logits[n, d])
        loss          = -1/N * sum_n log prob[n, labels[n]]
        dlogits[n, c] = (prob[n, c] - [c = labels[n]]) / N

    logits (N, classes) float, labels (N,) int in [0, classes) -> loss, a scalar of logits.dtype; dlogits
    like logits. Each row's maximum is subtracted first, so that exp cannot overflow.

    >>> loss, dlogits = softmax_cross_entropy(np.array([[1000.0, 1000.0]]), np.array([1]))
    >>> print(round(float(loss), 6), dlogits)
    0.693147 [[ 0.5 -0.5]]
    """
    shapes.check_labels("softmax_cross_entropy", logits, labels)
    dlogits, losses = np.empty(logits.shape, dtype=logits.dtype), np.empty(len(logits), dtype=logits.dtype)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    _softmax_cross_entropy(np.ascontiguousarray(logits), labels, dlogits, losses)
    return losses.mean(dtype=logits.dtype), dlogits


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    """Move every weight one step downhill, with momentum and weight decay. Changes its arguments.

        v <- momentum * v + g + weight_decay * w
        w <- w - lr * v
        w = v = 0 wherever the mask is False

    weights, grads, velocities: tuples of float arrays; masks: tuple of bool arrays or None, True = kept.

    >>> w, v = np.array([1.0, 2.0]), np.array([0.0, 1.0])
    >>> sgd_step((w,), (np.array([1.0, 1.0]),), (v,), (np.array([True, False]),), 0.1, 0.9, 0.5)
    >>> w, v
    (array([0.85, 0.  ]), array([1.5, 0. ]))
    """
    shapes.check_sgd("sgd_step", weights, grads, velocities, masks)
    for w, g, v, mask in zip(weights, grads, velocities, masks, strict=True):
        numbers = [w.dtype.type(value) for value in (lr, momentum, weight_decay)]
        flat = [np.ascontiguousarray(array).reshape(-1) for array in (w, g, v)]
        if mask is None:
            _step(*flat, *numbers)
        else:
            _masked_step(*flat, np.ascontiguousarray(mask).reshape(-1), *numbers)
        for array, result in ((w, flat[0]), (v, flat[2])):
            if not array.flags.c_contiguous:  # then flat is a copy of it
                array[...] = result.reshape(array.shape)


@compiled(parallel=True)
def _softmax_cross_entropy(logits, labels, dlogits, losses):
    n_examples, classes = logits.shape
    for n in prange(n_examples):
        largest = logits[n, 0]
        for c in range(1, classes):
            largest = max(largest, logits[n, c])
        total = logits.dtype.type(0)
        for c in range(classes):
            dlogits[n, c] = np.exp(logits[n, c] - largest)
            total += dlogits[n, c]
        losses[n] = np.log(total) - (logits[n, labels[n]] - largest)
        for c in range(classes):
            dlogits[n, c] /= total
        dlogits[n, labels[n]] -= logits.dtype.type(1)  # first, for a probability of 1 leaves exactly nothing
        for c in range(classes):
            dlogits[n, c] /= n_examples


@compiled(parallel=True)
def _step(w, g, v, lr, momentum, weight_decay):
    for i in prange(w.size):
        v[i] = momentum * v[i] + g[i] + weight_decay * w[i]
        w[i] -= lr * v[i]


@compiled(parallel=True)
def _masked_step(w, g, v, mask, lr, momentum, weight_decay):
    for i in prange(w.size):
        v[i] = momentum * v[i] + g[i] + weight_decay * w[i] if mask[i] else 0
        w[i] = w[i] - lr * v[i] if mask[i] else 0
