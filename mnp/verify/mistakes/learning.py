"""Usual mistakes in the loss and in the SGD step; see `mistakes.conv` for the form."""

import numpy as np

from mnp.kernels import textbook
from mnp.verify.mistakes.change import changed


def _softmax(logits, axis=1):
    exps = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return exps / exps.sum(axis=axis, keepdims=True)


def _row_maximum(logits):
    return logits.max(axis=1, keepdims=True)


def _by_softmax(outputs, shift=_row_maximum, eps=0.0):
    """The loss as the logarithm of the softmax, which may be zero: `shift` is taken off, `eps` added."""

    def mistake(a, right):
        n, picked = len(a["labels"]), (np.arange(len(a["labels"])), a["labels"])
        exps = np.exp(a["logits"] - shift(a["logits"]))
        prob = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.log(prob[picked] + eps).mean()
        prob[picked] -= 1
        wrong = {"loss": loss, "dlogits": prob / n}
        return {name: wrong[name] for name in outputs}

    return mistake


def _whole_columns(a, right):
    """dlogits[:, labels] -= 1: in every row, the columns of all labels."""
    prob = _softmax(a["logits"])
    prob[:, a["labels"]] -= 1
    return {"dlogits": prob / len(prob)}


def _targets(a):
    return (a["labels"][:, None] == np.arange(a["logits"].shape[1])).astype(float)


LOSS, BOTH = ("loss",), ("loss", "dlogits")
SOFTMAX = {
    "loss and dlogits summed over the batch: a sum where a mean is agreed": lambda a, r: {
        "loss": r["loss"] * len(a["logits"]),
        "dlogits": r["dlogits"] * len(a["logits"]),
    },
    "dlogits not divided by the batch size: a sum where a mean is agreed": lambda a, r: {
        "dlogits": r["dlogits"] * len(a["logits"])
    },
    "loss summed over the batch: a sum where a mean is agreed": lambda a, r: {
        "loss": r["loss"] * len(a["logits"])
    },
    "the row's maximum is not taken off: exp overflows": _by_softmax(BOTH, lambda logits: 0.0),
    "logarithm of a probability that has become zero: use logits - log(sum(exp(logits)))": _by_softmax(LOSS),
    "the batch's largest score taken off instead of the row's": _by_softmax(BOTH, np.max),
    **{
        f"{eps:g} added inside the logarithm: use logits - log(sum(exp(logits)))": _by_softmax(
            ("loss",), eps=eps
        )
        for eps in (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15)
    },
    "dlogits[:, labels] -= 1 reaches all rows: dlogits[np.arange(N), labels] one of each": _whole_columns,
    "softmax over the batch axis": lambda a, r: {
        "dlogits": (_softmax(a["logits"], axis=0) - _targets(a)) / len(a["logits"])
    },
    "dlogits are the probabilities: the label's 1 is not taken off": lambda a, r: {
        "dlogits": _softmax(a["logits"]) / len(a["logits"])
    },
    "logarithm to base 2": lambda a, r: {"loss": r["loss"] / np.log(2)},
    "logarithm to base 10": lambda a, r: {"loss": r["loss"] / np.log(10)},
    "labels counted from one": changed(
        "softmax_cross_entropy", labels=lambda a: (a["labels"].astype(int) - 1) % a["logits"].shape[1]
    ),
    "a mean over batch and classes": lambda a, r: {
        "loss": r["loss"] / a["logits"].shape[1],
        "dlogits": r["dlogits"] / a["logits"].shape[1],
    },
}


def _step(velocity, weight, clear_weight=True, clear_velocity=True, invert=False):
    """An SGD step with its own formulas, which then masks or forgets to."""

    def mistake(a, right):
        lr, mu, wd = a["lr"], a["momentum"], a["weight_decay"]
        weights, velocities = [], []
        for w, g, v, mask in zip(a["weights"], a["grads"], a["velocities"], a["masks"], strict=True):
            new_v = velocity(w, g, v, lr, mu, wd)
            new_w = weight(w, g, new_v, lr, mu, wd)
            if mask is not None:
                gone = mask if invert else ~mask
                new_w = np.where(gone & clear_weight, 0.0, new_w)
                new_v = np.where(gone & clear_velocity, 0.0, new_v)
            weights.append(new_w)
            velocities.append(new_v)
        return {"weights": tuple(weights), "velocities": tuple(velocities)}

    return mistake


def _v(w, g, v, lr, mu, wd):
    return mu * v + g + wd * w


def _w(w, g, v, lr, mu, wd):
    return w - lr * v


SGD = {
    "weight decay forgotten": _step(lambda w, g, v, lr, mu, wd: mu * v + g, _w),
    "weight decay with the wrong sign": _step(lambda w, g, v, lr, mu, wd: mu * v + g - wd * w, _w),
    "weight decay decoupled (AdamW's form)": _step(
        lambda w, g, v, lr, mu, wd: mu * v + g, lambda w, g, v, lr, mu, wd: w - lr * (v + wd * w)
    ),
    "momentum forgotten": _step(lambda w, g, v, lr, mu, wd: g + wd * w, _w),
    "momentum dampened: (1 - momentum) * g": _step(
        lambda w, g, v, lr, mu, wd: mu * v + (1 - mu) * (g + wd * w), _w
    ),
    "lr inside the velocity (Caffe's form)": _step(
        lambda w, g, v, lr, mu, wd: mu * v + lr * (g + wd * w), lambda w, g, v, lr, mu, wd: w - v
    ),
    "Nesterov's momentum": _step(_v, lambda w, g, v, lr, mu, wd: w - lr * (mu * v + g + wd * w)),
    "uphill: lr * v added instead of subtracted": _step(_v, lambda w, g, v, lr, mu, wd: w + lr * v),
    "lr forgotten": _step(_v, lambda w, g, v, lr, mu, wd: w - v),
    "the masks ignored: pruned weights come back": _step(_v, _w, clear_weight=False, clear_velocity=False),
    "the velocity of pruned weights is not cleared": _step(_v, _w, clear_velocity=False),
    "the weights are not masked, only the velocity": _step(_v, _w, clear_weight=False),
    "the masks turned round: True means kept": _step(_v, _w, invert=True),
    "the gradient masked before the step, so decay and momentum move pruned weights": lambda a, r: _premasked(
        a
    ),
    "nothing was changed in place: w = w - ... makes a new array, w[...] = w - ... does not": lambda a, r: {
        "weights": a["weights"],
        "velocities": a["velocities"],
    },
    "the velocity was not changed in place": lambda a, r: {"velocities": a["velocities"]},
    "the weights were not changed in place": lambda a, r: {"weights": a["weights"]},
}


def _premasked(a):
    masked = [g if mask is None else g * mask for g, mask in zip(a["grads"], a["masks"], strict=True)]
    plain = {**a, "grads": tuple(masked), "masks": tuple(None for _ in masked)}
    weights, velocities = (
        tuple(np.array(w) for w in a["weights"]),
        tuple(np.array(v) for v in a["velocities"]),
    )
    plain.update(weights=weights, velocities=velocities)
    textbook.sgd_step(**plain)
    return {"weights": weights, "velocities": velocities}


TABLE = {"softmax_cross_entropy": SOFTMAX, "sgd_step": SGD}
