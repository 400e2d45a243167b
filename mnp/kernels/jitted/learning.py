"""Loss and SGD update: the formulas of `mnp.kernels.textbook.learning`."""

import numpy as np
from numba import prange

from mnp.kernels import shapes
from mnp.kernels.compiling import compiled, contiguous


def softmax_cross_entropy(logits, labels):
    """As `textbook.softmax_cross_entropy`."""
    shapes.check_labels("softmax_cross_entropy", logits, labels)
    logits, labels = contiguous(logits), np.ascontiguousarray(labels, dtype=np.int64)
    dlogits, losses = np.empty_like(logits), np.empty(len(logits), dtype=logits.dtype)
    _softmax_cross_entropy(logits, labels, dlogits, losses)
    return losses.mean(dtype=logits.dtype), dlogits


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    """As `textbook.sgd_step`: changes weights and velocities in place."""
    shapes.check_sgd("sgd_step", weights, grads, velocities, masks)
    for w, g, v, mask in zip(weights, grads, velocities, masks, strict=True):
        numbers = [w.dtype.type(value) for value in (lr, momentum, weight_decay)]
        flat = [contiguous(array).reshape(-1) for array in (w, g, v)]
        if mask is None:
            _step(*flat, *numbers)
        else:
            _masked_step(*flat, contiguous(mask).reshape(-1), *numbers)
        for array, result in ((w, flat[0]), (v, flat[2])):
            if not np.may_share_memory(array, result):  # the loop has changed a copy
                array[...] = result.reshape(array.shape)


@compiled()  # a few thousand numbers: threads would not pay
def _softmax_cross_entropy(logits, labels, dlogits, losses):
    n_examples, classes = logits.shape
    for n in range(n_examples):
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
