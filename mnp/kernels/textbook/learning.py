"""Loss and SGD update."""

import numpy as np

from mnp.kernels import shapes


def softmax_cross_entropy(logits, labels):
    """Softmax cross-entropy loss (mean over the batch) and its gradient with respect to the logits.

        prob[n, c]    = exp(logits[n, c]) / sum_d exp(logits[n, d])
        loss          = -1/N * sum_n log prob[n, labels[n]]
        dlogits[n, c] = (prob[n, c] - [c = labels[n]]) / N

    Each row's maximum is subtracted first: the result is the same, and exp cannot overflow.

    Parameters
    ----------
    logits : (N, classes) float
    labels : (N,) int in [0, classes)

    Returns
    -------
    loss : a scalar of logits.dtype
        The mean over the batch.
    dlogits : (N, classes) float
        Every row sums to zero.

    Raises MnpError for a label that is not a class.

    >>> loss, dlogits = softmax_cross_entropy(np.array([[1000.0, 1000.0]]), np.array([1]))
    >>> print(round(float(loss), 6), dlogits)
    0.693147 [[ 0.5 -0.5]]
    """
    shapes.check_labels("softmax_cross_entropy", logits, labels)
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exps = np.exp(shifted)
    sums = exps.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(sums[:, 0]) - shifted[rows, labels], dtype=logits.dtype.type)
    dlogits = exps / sums
    dlogits[rows, labels] -= 1
    return loss, dlogits / logits.dtype.type(len(logits))


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    """SGD update with momentum, weight decay and masks. Changes weights and velocities in place.

        v <- momentum * v + g + weight_decay * w
        w <- w - lr * v
        w = v = 0 wherever the mask is False

    The last line is why a pruned weight stays exactly zero: without it, decay and the remembered
    velocity would bring it back.

    Parameters
    ----------
    weights, grads, velocities : tuples of float arrays
        One each of the same shape and dtype. weights and velocities are changed in place.
    masks : tuple of bool arrays or None
        True = kept; None where nothing is pruned.
    lr, momentum, weight_decay : float

    This is PyTorch's form of the update (Caffe folds lr into v, which is the same while lr is constant).

    >>> w, v = np.array([1.0, 2.0]), np.array([0.0, 1.0])
    >>> sgd_step((w,), (np.array([1.0, 1.0]),), (v,), (np.array([True, False]),), 0.1, 0.9, 0.5)
    >>> w, v
    (array([0.85, 0.  ]), array([1.5, 0. ]))
    """
    shapes.check_sgd("sgd_step", weights, grads, velocities, masks)
    for w, g, v, mask in zip(weights, grads, velocities, masks, strict=True):
        v[...] = float(momentum) * v + g + float(weight_decay) * w
        w[...] = w - float(lr) * v
        if mask is not None:
            w[~mask] = 0
            v[~mask] = 0
