"""Usual mistakes in dense, maxout, ReLU and dropout kernels; see `mistakes.conv` for the form."""

from functools import partial

import numpy as np

from mnp.verify import reference
from mnp.verify.mistakes.change import changed, last_argmax, maximum, scaled, zero

dense = partial(changed, "dense_forward")
fused = partial(changed, "dense_maxout_forward")
fused_backward = partial(changed, "dense_maxout_backward")


def _dense_transposed(a, right):
    """x @ weight: where the weight is square it runs, elsewhere it is an error."""
    return {"y": a["x"] @ a["weight"] + a["bias"]}


def _dx(compute):
    """A mistake in dx alone, which leaves a dx that was not asked for alone."""
    return lambda a, right: {} if right["dx"] is None else {"dx": compute(a)}


DENSE_FORWARD = {
    "weight transposed: it is (out, in)": _dense_transposed,
    "bias forgotten": dense(bias=zero("bias")),
    "bias subtracted": dense(bias=lambda a: -a["bias"]),
    "divided by the number of features: a mean where a sum is agreed": lambda a, r: {
        "y": a["x"] @ a["weight"].T / a["x"].shape[1] + a["bias"]
    },
    "a ReLU that nobody asked for": lambda a, r: {"y": np.maximum(r["y"], 0)},
}

DENSE_BACKWARD = {
    "weight transposed in dx": _dx(lambda a: a["dy"] @ a["weight"].T),
    "dweight transposed: it is (out, in)": lambda a, r: {"dweight": a["x"].T @ a["dy"]},
    "dbias summed over the wrong axis": lambda a, r: {"dbias": a["dy"].sum(axis=1)},
    "dbias not summed": lambda a, r: {"dbias": a["dy"]},
    "dweight and dbias divided by the batch size: a mean where a sum is agreed": scaled(
        lambda a: 1 / len(a["x"]), "dweight", "dbias"
    ),
}


def _grouped(a, right):
    """Neurons read as (k, units): every unit gets neurons that are `units` apart."""
    n, units, k = a["z"].shape
    z = a["z"].reshape(n, k, units)
    return {"y": z.max(axis=1), "winner": z.argmax(axis=1)}


MAXOUT_FORWARD = {
    **maximum(lambda a: a["z"]),
    "neurons grouped wrongly: z is (N, units, k), not (N, k, units)": _grouped,
    "a sum instead of a maximum": lambda a, r: {"y": a["z"].sum(2)},
    "the winner of the largest magnitude": lambda a, r: {"winner": np.abs(a["z"]).argmax(2)},
    "the maximum over units instead of neurons": lambda a, r: {
        "y": a["z"].max(1),
        "winner": a["z"].argmax(1),
    },
    "the last neuron overlooked": lambda a, r: {
        "y": a["z"][:, :, :-1].max(2),
        "winner": a["z"][:, :, :-1].argmax(2),
    },
}


def _fancy(a, right):
    """dz[:, :, winner] = dy: all units of all examples get every winner's dy, the last one stays."""
    dz = np.zeros_like(right["dz"])
    dz[:, :, a["winner"]] = a["dy"]
    return {"dz": dz}


def _one_hot(index):
    return lambda a, right: {"dz": a["dy"][:, :, None] * (index(a)[:, :, None] == np.arange(a["k"]))}


MAXOUT_BACKWARD = {
    "gradient of a max shared between all neurons, as if they were ties": lambda a, r: {
        "dz": np.repeat(a["dy"][:, :, None], a["k"], axis=2) / a["k"]
    },
    "gradient of a max given to every neuron": lambda a, r: {
        "dz": np.repeat(a["dy"][:, :, None], a["k"], axis=2)
    },
    "dz[:, :, winner] = dy reaches all units: np.put_along_axis reaches each one's own winner": _fancy,
    "the winner ignored: the first neuron gets all": _one_hot(lambda a: 0 * a["winner"]),
    "winners counted from one": _one_hot(lambda a: a["winner"] - 1),
    "winners counted backwards": _one_hot(lambda a: a["k"] - 1 - a["winner"]),
    "the winner gets 1 instead of dy": lambda a, r: {
        "dz": (a["winner"][:, :, None] == np.arange(a["k"])).astype(float)
    },
    "neurons grouped wrongly: dz is (N, units, k), not (N, k, units)": lambda a, r: {
        "dz": np.swapaxes(r["dz"], 1, 2).reshape(r["dz"].shape)
    },
}

RELU_FORWARD = {
    "NaN lost: it became zero": lambda a, r: {"y": np.where(a["x"] > 0, a["x"], 0.0)},
    "a leaky ReLU (slope 0.01)": lambda a, r: {"y": np.where(a["x"] < 0, 0.01 * a["x"], a["x"])},
    "the magnitude": lambda a, r: {"y": np.abs(a["x"])},
    "nothing was cut off": lambda a, r: {"y": a["x"]},
    "the negative part": lambda a, r: {"y": np.minimum(a["x"], 0)},
    "cut off at one as well": lambda a, r: {"y": np.clip(a["x"], 0, 1)},
    "a step: 1 where x is positive": lambda a, r: {"y": np.where(np.isnan(a["x"]), a["x"], a["x"] > 0)},
}

RELU_BACKWARD = {
    "wrong tie rule: at zero the derivative is 0 (y > 0, not y >= 0)": lambda a, r: {
        "dx": np.where(a["y"] >= 0, a["dy"], 0.0)
    },
    "gradient of a max shared between ties: half of dy at zero": lambda a, r: {
        "dx": a["dy"] * np.where(a["y"] > 0, 1.0, 0.5)
    },
    "the condition turned round": lambda a, r: {"dx": np.where(a["y"] > 0, 0.0, a["dy"])},
    "dy multiplied by y instead of by y > 0": lambda a, r: {"dx": a["dy"] * a["y"]},
    "the derivative alone, without dy": lambda a, r: {"dx": (a["y"] > 0).astype(float)},
    "the sign of dy tested instead of y's": lambda a, r: {"dx": np.maximum(a["dy"], 0)},
}


DROPOUT = {  # forward and backward go wrong in the same ways
    "scaling forgotten: kept values are divided by 1 - p": lambda v, keep, p: v * keep,
    "keep turned round: True means kept": lambda v, keep, p: np.where(keep, 0.0, v / (1 - p)),
    "divided by p instead of 1 - p": lambda v, keep, p: np.where(keep, v / p if p else np.inf * v, 0.0),
    "multiplied by 1 - p instead of divided": lambda v, keep, p: v * keep * (1 - p),
    "multiplied by p instead of divided by 1 - p": lambda v, keep, p: v * keep * p,
    "nothing was dropped, only scaled": lambda v, keep, p: v / (1 - p),
    "nothing was dropped": lambda v, keep, p: v,
}


def _dropout(name, out):
    return {
        words: lambda a, right, how=how: {out: how(a[name], a["keep"], a["p"])}
        for words, how in DROPOUT.items()
    }


COUNTS = {
    "counts transposed: they are (units, k)": lambda w, k, c: c.T,
    "k taken from the largest winner, so that the last neurons are missing": lambda w, k, c: c[
        :, : w.max() + 1
    ],
    "wins counted over the units of each example, not over the examples of each unit": lambda w, k, c: (
        w[:, :, None] == np.arange(k)
    ).sum(axis=1),
    "losses counted instead of wins": lambda w, k, c: len(w) - c,
    "wins counted over all units together": lambda w, k, c: np.tile(c.sum(axis=0), (len(c), 1)),
    "only whether a neuron ever won (= 1 instead of += 1)": lambda w, k, c: (c > 0).astype(np.int64),
    "winners counted from one": lambda w, k, c: np.roll(np.where(np.arange(k) < k - 1, c, 0), 1, axis=1),
    "the last example left out": lambda w, k, c: c - (w[-1][:, None] == np.arange(k)),
    "the first example left out": lambda w, k, c: c - (w[0][:, None] == np.arange(k)),
    "a share instead of a count": lambda w, k, c: c / len(w),
    "an overflow: counted in 8 bits": lambda w, k, c: c % 256,
}
WIN_COUNTS = {
    words: lambda a, right, how=how: {"counts": how(a["winner"], a["k"], right["counts"])}
    for words, how in COUNTS.items()
}


def _neurons(a):
    """z as the fused kernel sees it before ReLU and dropout; without the bias where it is not given."""
    z = np.einsum("ni,uji->nuj", a["x"], a["weight"])
    return z + a["bias"] if "bias" in a else z


def _relu_after(a, right):
    """ReLU applied to the unit's output: the same y (without dropout), but other winners at zero."""
    y, winner = reference.dense_maxout_forward(**{**a, "relu": False})
    return {"y": np.maximum(y, 0) if a["relu"] else y, "winner": winner}


def _last_tie(a, right):
    z = np.maximum(_neurons(a), 0) if a["relu"] else _neurons(a)
    return {"winner": last_argmax(z if a["keep"] is None else z * a["keep"])}


def _to_ties(shared, relu_first):
    """Gradient of a maximum that is computed again: dy goes to all neurons that reach it, not to `winner`."""

    def mistake(a, right):
        z = _neurons(a)
        passed = a["dy"] * (a["y"] > 0) if a["relu"] and not relu_first else a["dy"]
        scale = 1.0 if a["keep"] is None else a["keep"] / (1 - a["p"])
        values = scale * (np.maximum(z, 0) if a["relu"] and relu_first else z)
        ties = values == values.max(axis=2, keepdims=True)
        dz = passed[:, :, None] * ties * scale / (ties.sum(axis=2, keepdims=True) if shared else 1)
        if a["relu"] and relu_first:
            dz = dz * (z > 0)
        return {
            "dx": None if right["dx"] is None else np.einsum("nuj,uji->ni", dz, a["weight"]),
            "dweight": np.einsum("nuj,ni->uji", dz, a["x"]),
            "dbias": dz.sum(axis=0),
        }

    return mistake


TABLE = {
    "dense_forward": DENSE_FORWARD,
    "dense_backward": DENSE_BACKWARD,
    "maxout_forward": MAXOUT_FORWARD,
    "maxout_backward": MAXOUT_BACKWARD,
    "relu_forward": RELU_FORWARD,
    "relu_backward": RELU_BACKWARD,
    "dropout_forward": _dropout("x", "y"),
    "dropout_backward": _dropout("dy", "dx"),
    "win_counts": WIN_COUNTS,
    "dense_maxout_forward": {
        "wrong tie rule: the last index wins": _last_tie,
        "ReLU after the maximum instead of before it: the winners differ at zero": _relu_after,
        "ReLU forgotten": fused(relu=False),
        "dropout forgotten": fused(keep=None),
        "dropout's scaling forgotten": fused(p=0.0),
        "bias forgotten": fused(bias=zero("bias")),
    },
    "dense_maxout_backward": {
        "ReLU forgotten": fused_backward(relu=False),
        "dropout forgotten": fused_backward(keep=None),
        "dropout's scaling forgotten": fused_backward(p=0.0),
        "the winner ignored: the first neuron gets all": fused_backward(winner=zero("winner")),
        "the maximum computed again, and its gradient shared between ties (amax): `winner` gets all of it": (
            _to_ties(shared=True, relu_first=False)
        ),
        "the maximum computed again after ReLU, and its gradient shared between ties (amax)": (
            _to_ties(shared=True, relu_first=True)
        ),
        "the maximum computed again, and its gradient given to every tie (z == z.max())": (
            _to_ties(shared=False, relu_first=False)
        ),
        "the maximum computed again after ReLU, and its gradient given to every tie (z == z.max())": (
            _to_ties(shared=False, relu_first=True)
        ),
    },
}
