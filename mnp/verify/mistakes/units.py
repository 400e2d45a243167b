"""Usual mistakes in dense, maxout, ReLU and dropout kernels; see `mistakes.change` for the form."""

import numpy as np

from mnp.kernels import fused, textbook
from mnp.verify.mistakes.change import last_argmax, maximum, scaled


def _grouped(z):
    """Neurons read as (k, units): every unit gets neurons that are `units` apart."""
    n, units, k = z.shape
    return z.reshape(n, k, units)


def _fancy(dz, dy, winner):
    """dz[:, :, winner] = dy: all units of all examples get every winner's dy, the last one stays."""
    dz = np.zeros_like(dz)
    dz[:, :, winner] = dy
    return dz


def _won(winner, k):
    """Where a neuron won: (N, units, k)."""
    return winner[:, :, None] == np.arange(k)


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


def _neurons(a):
    """z as the fused kernel sees it before ReLU and dropout; without the bias where it is not given."""
    z = np.einsum("ni,uji->nuj", a["x"], a["weight"])
    return z + a["bias"] if "bias" in a else z


def _relu_after(a, right):
    """ReLU applied to the unit's output: the same y (without dropout), but other winners at zero."""
    y, winner = fused.dense_maxout_forward(textbook, **{**a, "relu": False})
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
    "dense_forward": {
        # Where the weight is square it runs, elsewhere it is an error.
        "weight transposed: it is (out, in)": {"y": lambda x, weight, bias: x @ weight + bias},
        "bias subtracted": {"y": lambda y, bias: y - 2 * bias},
        "divided by the number of features: a mean where a sum is agreed": {
            "y": lambda y, x, bias: (y - bias) / x.shape[1] + bias
        },
        "a ReLU that nobody asked for": {"y": lambda y: np.maximum(y, 0)},
    },
    "dense_backward": {
        "weight transposed in dx": {"dx": lambda dy, weight: dy @ weight.T},
        "dweight transposed: it is (out, in)": {"dweight": lambda dweight: dweight.T},
        "dbias summed over the wrong axis": {"dbias": lambda dy: dy.sum(axis=1)},
        "dbias not summed": {"dbias": lambda dy: dy},
        "dweight and dbias divided by the batch size: a mean where a sum is agreed": scaled(
            lambda x: 1 / len(x), "dweight", "dbias"
        ),
    },
    "maxout_forward": {
        **maximum(lambda z: z),
        "neurons grouped wrongly: z is (N, units, k), not (N, k, units)": {
            "y": lambda z: _grouped(z).max(axis=1),
            "winner": lambda z: _grouped(z).argmax(axis=1),
        },
        "a sum instead of a maximum": {"y": lambda z: z.sum(2)},
        "the winner of the largest magnitude": {"winner": lambda z: np.abs(z).argmax(2)},
        "the maximum over units instead of neurons": {
            "y": lambda z: z.max(1),
            "winner": lambda z: z.argmax(1),
        },
        "the last neuron overlooked": {
            "y": lambda z: z[:, :, :-1].max(2),
            "winner": lambda z: z[:, :, :-1].argmax(2),
        },
    },
    "maxout_backward": {
        "gradient of a max shared between all neurons, as if they were ties": {
            "dz": lambda dy, k: np.repeat(dy[:, :, None], k, axis=2) / k
        },
        "gradient of a max given to every neuron": {"dz": lambda dy, k: np.repeat(dy[:, :, None], k, axis=2)},
        "dz[:, :, winner] = dy reaches all units: np.put_along_axis reaches each one's own winner": {
            "dz": _fancy
        },
        "winners counted from one": {"dz": lambda dy, winner, k: dy[:, :, None] * _won(winner - 1, k)},
        "winners counted backwards": {"dz": lambda dz: dz[:, :, ::-1]},
        "the winner gets 1 instead of dy": {"dz": lambda winner, k: 1.0 * _won(winner, k)},
        "neurons grouped wrongly: dz is (N, units, k), not (N, k, units)": {
            "dz": lambda dz: dz.swapaxes(1, 2).reshape(dz.shape)
        },
    },
    "relu_forward": {
        "NaN lost: it became zero": {"y": lambda x: np.where(x > 0, x, 0.0)},
        "a leaky ReLU (slope 0.01)": {"y": lambda x: np.where(x < 0, 0.01 * x, x)},
        "the magnitude": {"y": lambda x: np.abs(x)},
        "nothing was cut off": {"y": lambda x: x},
        "the negative part": {"y": lambda x: np.minimum(x, 0)},
        "cut off at one as well": {"y": lambda x: np.clip(x, 0, 1)},
        "a step: 1 where x is positive": {"y": lambda x: np.where(np.isnan(x), x, x > 0)},
    },
    "relu_backward": {
        "wrong tie rule: at zero the derivative is 0 (y > 0, not y >= 0)": {
            "dx": lambda dy, y: np.where(y >= 0, dy, 0.0)
        },
        "gradient of a max shared between ties: half of dy at zero": {
            "dx": lambda dy, y: dy * np.where(y > 0, 1.0, 0.5)
        },
        "the condition turned round": {"dx": lambda dy, y: np.where(y > 0, 0.0, dy)},
        "dy multiplied by y instead of by y > 0": {"dx": lambda dy, y: dy * y},
        "the derivative alone, without dy": {"dx": lambda y: 1.0 * (y > 0)},
        "the sign of dy tested instead of y's": {"dx": lambda dy: np.maximum(dy, 0)},
    },
    "dropout_forward": _dropout("x", "y"),
    "dropout_backward": _dropout("dy", "dx"),
    "win_counts": {
        "counts transposed: they are (units, k)": {"counts": lambda counts: counts.T},
        "k taken from the largest winner, so that the last neurons are missing": {
            "counts": lambda counts, winner: counts[:, : winner.max() + 1]
        },
        "wins counted over the units of each example, not over the examples of each unit": {
            "counts": lambda winner, k: _won(winner, k).sum(axis=1)
        },
        "losses counted instead of wins": {"counts": lambda counts, winner: len(winner) - counts},
        "wins counted over all units together": {
            "counts": lambda counts: np.tile(counts.sum(axis=0), (len(counts), 1))
        },
        "only whether a neuron ever won (= 1 instead of += 1)": {"counts": lambda counts: 1 * (counts > 0)},
        "winners counted from one": {"counts": lambda winner, k: _won(winner + 1, k).sum(axis=0)},
        "the last example left out": {"counts": lambda winner, k: _won(winner[:-1], k).sum(axis=0)},
        "the first example left out": {"counts": lambda winner, k: _won(winner[1:], k).sum(axis=0)},
        "a share instead of a count": {"counts": lambda counts, winner: counts / len(winner)},
        "an overflow: counted in 8 bits": {"counts": lambda counts: counts % 256},
    },
    "dense_maxout_forward": {
        "wrong tie rule: the last index wins": _last_tie,
        "ReLU after the maximum instead of before it: the winners differ at zero": _relu_after,
    },
    "dense_maxout_backward": {
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
