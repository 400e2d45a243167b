"""Usual mistakes in the loss and in the SGD step; see `mistakes.change` for the form."""

from types import SimpleNamespace

import numpy as np

from mnp.verify.mistakes.change import changed, scaled


def _softmax(logits, axis=1, shift=None):
    """Probabilities; `shift`, a function of the logits, is taken off in place of the largest of each row."""
    exps = np.exp(logits - (shift(logits) if shift else logits.max(axis=axis, keepdims=True)))
    return exps / exps.sum(axis=axis, keepdims=True)


def _by_softmax(shift=None, eps=0.0):
    """The loss as the logarithm of the softmax, which may be zero, so that `eps` is added."""

    def loss(logits, labels):
        return -np.log(_softmax(logits, shift=shift)[np.arange(len(labels)), labels] + eps).mean()

    def dlogits(logits, labels):
        return (_softmax(logits, shift=shift) - _targets(logits, labels)) / len(labels)

    return {"loss": loss, "dlogits": dlogits}


def _loss_plus(eps):
    return {"loss": _by_softmax(eps=eps)["loss"]}


def _whole_columns(logits, labels):
    """dlogits[:, labels] -= 1: in every row, the columns of all labels."""
    prob = _softmax(logits)
    prob[:, labels] -= 1
    return prob / len(prob)


def _targets(logits, labels):
    return (labels[:, None] == np.arange(logits.shape[1])).astype(float)


def _batch(logits):
    return len(logits)


BOTH = ("loss", "dlogits")
SOFTMAX = {
    "loss and dlogits summed over the batch: a sum where a mean is agreed": scaled(_batch, *BOTH),
    "dlogits not divided by the batch size: a sum where a mean is agreed": scaled(_batch, "dlogits"),
    "loss summed over the batch: a sum where a mean is agreed": scaled(_batch, "loss"),
    "the row's maximum is not taken off: exp overflows": _by_softmax(lambda logits: 0.0),
    "logarithm of a probability that has become zero: use logits - log(sum(exp(logits)))": _loss_plus(0.0),
    "the batch's largest score taken off instead of the row's": _by_softmax(np.max),
    **{
        f"{eps:g} added inside the logarithm: use logits - log(sum(exp(logits)))": _loss_plus(eps)
        for eps in (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15)
    },
    "dlogits[:, labels] -= 1 reaches all rows: dlogits[np.arange(N), labels] one of each": {
        "dlogits": _whole_columns
    },
    "softmax over the batch axis": {
        "dlogits": lambda logits, labels: (_softmax(logits, 0) - _targets(logits, labels)) / len(labels)
    },
    "dlogits are the probabilities: the label's 1 is not taken off": {
        "dlogits": lambda logits: _softmax(logits) / len(logits)
    },
    "logarithm to base 2": {"loss": lambda loss: loss / np.log(2)},
    "logarithm to base 10": {"loss": lambda loss: loss / np.log(10)},
    "labels counted from one": changed(
        "softmax_cross_entropy", labels=lambda logits, labels: (labels.astype(int) - 1) % logits.shape[1]
    ),
    "a mean over batch and classes": scaled(lambda logits: 1 / logits.shape[1], *BOTH),
}


def _velocity(s):
    return s.mu * s.v + s.g + s.wd * s.w


def _weight(s):
    return s.w - s.lr * s.v


def _step(velocity=_velocity, weight=_weight, clear=("w", "v"), invert=False):
    """An SGD step with its own formulas for one array, which then masks what `clear` names."""

    def mistake(a, right):
        weights, velocities = [], []
        for w, g, v, mask in zip(a["weights"], a["grads"], a["velocities"], a["masks"], strict=True):
            s = SimpleNamespace(w=w, g=g, v=v, lr=a["lr"], mu=a["momentum"], wd=a["weight_decay"])
            s.v = velocity(s)
            s.w = weight(s)
            for name in clear if mask is not None else ():
                setattr(s, name, np.where(mask if invert else ~mask, 0.0, getattr(s, name)))
            weights.append(s.w)
            velocities.append(s.v)
        return {"weights": tuple(weights), "velocities": tuple(velocities)}

    return mistake


def _masked_grads(grads, masks):
    return tuple(g if mask is None else g * mask for g, mask in zip(grads, masks, strict=True))


def _unchanged(*names):
    return lambda a, right: {name: a[name] for name in names}


SGD = {
    "weight decay forgotten": _step(lambda s: s.mu * s.v + s.g),
    "weight decay with the wrong sign": _step(lambda s: s.mu * s.v + s.g - s.wd * s.w),
    "weight decay decoupled (AdamW's form)": _step(
        lambda s: s.mu * s.v + s.g, lambda s: s.w - s.lr * (s.v + s.wd * s.w)
    ),
    "momentum forgotten": _step(lambda s: s.g + s.wd * s.w),
    "momentum dampened: (1 - momentum) * g": _step(lambda s: s.mu * s.v + (1 - s.mu) * (s.g + s.wd * s.w)),
    "lr inside the velocity (Caffe's form)": _step(
        lambda s: s.mu * s.v + s.lr * (s.g + s.wd * s.w), lambda s: s.w - s.v
    ),
    "Nesterov's momentum": _step(weight=lambda s: s.w - s.lr * _velocity(s)),
    "uphill: lr * v added instead of subtracted": _step(weight=lambda s: s.w + s.lr * s.v),
    "lr forgotten": _step(weight=lambda s: s.w - s.v),
    "the masks ignored: pruned weights come back": _step(clear=()),
    "the velocity of pruned weights is not cleared": _step(clear=("w",)),
    "the weights are not masked, only the velocity": _step(clear=("v",)),
    "the masks turned round: True means kept": _step(invert=True),
    "the gradient masked before the step, so decay and momentum move pruned weights": changed(
        "sgd_step", grads=_masked_grads, masks=lambda masks: (None,) * len(masks)
    ),
    "nothing was changed in place: w = w - ... makes a new array, w[...] = w - ... does not": _unchanged(
        "weights", "velocities"
    ),
    "the velocity was not changed in place": _unchanged("velocities"),
    "the weights were not changed in place": _unchanged("weights"),
}

TABLE = {"softmax_cross_entropy": SOFTMAX, "sgd_step": SGD}
