"""Usual mistakes in a program that trains and prunes a maxout network; see `mnp.verify.models`.

Those in the network, the loss and the optimiser are wrong kernels: with them the textbook's network shows
what a program with this mistake computes. Those in pruning are wrong versions of one stage.
"""

import itertools
import types
from functools import partial

import numpy as np

from mnp.kernels import textbook
from mnp.pruning.weights import global_magnitude_masks
from mnp.verify import reference
from mnp.verify.mistakes import TABLE
from mnp.verify.models import MAXOUT, PRUNED_COUNTS, TIED_COUNTS, Textbook, mismatch, notes_of
from mnp.verify.network import DROPOUT, STEPS, UNITS


def wrong_kernel(kernel, mistake):
    """Make a kernel of a wrong version of `TABLE`, which gives the outputs that come out wrong."""

    def function(*args, **keywords):
        a = reference.bind(kernel, args, keywords)
        right = reference.call(kernel, a)
        outputs = {**right, **mistake(a, right)}
        for name in reference.IN_PLACE.get(kernel, ()):
            for array, value in zip(a[name], outputs[name], strict=True):
                array[...] = value
        outputs = tuple(outputs.values())
        return None if kernel in reference.IN_PLACE else outputs if len(outputs) > 1 else outputs[0]

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


def _ties(share):
    """The gradient of a maximum that goes to every neuron that reaches it."""

    def backward(dy, z, _, winner, k):
        ties = z == z.max(2, keepdims=True)
        return dy[:, :, None] * ties / (ties.sum(2, keepdims=True) if share else 1)

    forward, backward = remembering(textbook.maxout_forward, backward)
    return {"maxout_forward": forward, "maxout_backward": backward}


def _last_tie(z):
    return z.max(2), z.shape[2] - 1 - z[:, :, ::-1].argmax(2)


def _grouped():
    """Rows of the maxout weight read as (k, units)."""

    def turned(y, first):
        return y.reshape(len(y), first, -1).swapaxes(1, 2).reshape(y.shape) if y.shape[1] != 10 else y

    def forward(x, weight, bias):
        y = textbook.dense_forward(x, weight, bias)
        return turned(y, y.shape[1] // UNITS)

    def backward(dy, x, weight, need_dx=True):
        return textbook.dense_backward(turned(dy, UNITS), x, weight, need_dx)

    return {"dense_forward": forward, "dense_backward": backward}


def _conv_relu():
    def forward(x, weight, bias, stride, padding):
        return np.maximum(textbook.conv2d_forward(x, weight, bias, stride, padding), 0)

    def backward(dy, x, before, _, weight, stride, padding, need_dx=True):
        passed = textbook.conv2d_forward(x, *before) > 0
        return textbook.conv2d_backward(dy * passed, x, weight, stride, padding, need_dx)

    forward, backward = remembering(forward, backward)
    return {"conv2d_forward": forward, "conv2d_backward": backward}


def _average(x, size, stride):
    return textbook.avgpool2d_forward(x, size, stride), textbook.maxpool2d_forward(x, size, stride)[1]


def _average_backward(dy, winner, x_shape, size, stride):
    return textbook.avgpool2d_backward(dy, x_shape, size, stride)


def _softmax_in_model():
    """Logits that have been through a softmax."""

    def forward(x, weight, bias):
        y = textbook.dense_forward(x, weight, bias)
        if y.shape[1] != 10:
            return y
        return np.exp(y - y.max(1, keepdims=True)) / np.exp(y - y.max(1, keepdims=True)).sum(1, keepdims=True)

    def backward(dy, x, before, _, weight, need_dx=True):
        if dy.shape[1] == 10:
            y = forward(x, *before)
            dy = y * (dy - (dy * y).sum(1, keepdims=True))
        return textbook.dense_backward(dy, x, weight, need_dx)

    forward_too, backward = remembering(forward, backward)
    return {"dense_forward": forward_too, "dense_backward": backward}


def _no_decay_of_biases(weights, grads, velocities, masks, lr, momentum, weight_decay):
    for start, decay in ((0, weight_decay), (1, 0.0)):  # weights and biases take turns
        arrays = (a[start::2] for a in (weights, grads, velocities, masks))
        textbook.sgd_step(*arrays, lr, momentum, decay)


def _gradients_add_up():
    sums = {}

    def step(weights, grads, velocities, masks, lr, momentum, weight_decay):
        for i, grad in enumerate(grads):
            sums[i] = sums.get(i, 0) + grad
        textbook.sgd_step(weights, tuple(sums.values()), velocities, masks, lr, momentum, weight_decay)

    return {"sgd_step": step}


def _dropout(words):
    return {k: wrong_kernel(k, TABLE[k][words]) for k in ("dropout_forward", "dropout_backward")}


KERNELS = {  # words -> a function that makes the wrong kernels, by name
    "gradient of the maximum shared between ties (amax): the first neuron gets all (max(dim))": partial(
        _ties, True
    ),
    "gradient of the maximum given to every tie (z == z.max())": partial(_ties, False),
    "wrong tie rule: the last of equal neurons wins": lambda: {"maxout_forward": _last_tie},
    "neurons grouped wrongly: row u * k + j is neuron j of unit u, so reshape to (N, units, k)": _grouped,
    "no ReLU before the maximum": lambda: {
        "relu_forward": lambda x: x,
        "relu_backward": lambda dy, y: dy,
    },
    "a ReLU after the convolutions, where none is agreed": _conv_relu,
    "mean pooling instead of max pooling": lambda: {
        "maxpool2d_forward": _average,
        "maxpool2d_backward": _average_backward,
    },
    "a softmax in the model, and another one in the loss": _softmax_in_model,
    **{f"dropout: {words}": partial(_dropout, words) for words in TABLE["dropout_forward"]},
    **{
        words: lambda mistake=mistake: {
            "softmax_cross_entropy": wrong_kernel("softmax_cross_entropy", mistake)
        }
        for words, mistake in TABLE["softmax_cross_entropy"].items()
    },
    "no weight decay on the biases: here they decay as the weights do": lambda: {
        "sgd_step": _no_decay_of_biases
    },
    "gradients not set to zero: those of all steps add up": _gradients_add_up,
    **{
        words: lambda mistake=mistake: {"sgd_step": wrong_kernel("sgd_step", mistake)}
        for words, mistake in TABLE["sgd_step"].items()
    },
}


# --- pruning: words -> function of the golden arrays that gives the notes of a wrong stage -----------------


def _z(golden, change):
    """Counts of the winners of the neurons' values, changed by a function."""
    net = Textbook(golden).net(STEPS)
    net.forward(golden.counted)
    x, params = net[MAXOUT].cache.x, net[MAXOUT].params
    z = change(np.einsum("ni,uji->nuj", x, params["weight"]) + params["bias"])
    return {"win counts": textbook.win_counts(z.argmax(2), z.shape[2])}


def _in_training(golden):
    keep = golden.keep_while_counting()
    return _z(golden, lambda z: np.maximum(z, 0) * keep / (1 - DROPOUT))


def _winners(golden, mistake):
    net = Textbook(golden).net(STEPS)
    net.forward(golden.counted)
    a = {"winner": net[MAXOUT].cache.winner, "k": golden.counts.shape[1]}
    return {"win counts": mistake(a, {"counts": golden.counts})["counts"]}


def _ranked(how):
    return lambda golden: {"order": how(golden.counts), "order of counts with ties": how(TIED_COUNTS)}


def _kept(how):
    return lambda golden: {f"neurons kept, {n} of 4": how(golden.order, n) for n in (3, 2)}


def _pruned(change):
    """Weights and biases taken by a function of (array, kept neurons)."""

    def notes(golden):
        params = golden.params(STEPS)
        for name in (f"{MAXOUT}.weight", f"{MAXOUT}.bias"):
            params[name] = change(params[name], golden.keep)
        return {f"{name} of the pruned network": array for name, array in params.items()}

    return notes


def _wrong_rows(array, keep):
    units, n_keep = keep.shape
    small = np.zeros((units * n_keep, *array.shape[2:]))
    for u, m in np.ndindex(keep.shape):
        small[u + m] = array[u, keep[u, m]]
    return small.reshape(units, n_keep, *array.shape[2:])


def _first_neurons(array, keep):
    return array[:, : keep.shape[1]]


def _masked(change):
    def notes(golden):
        weights = {n: w for n, w in golden.params(STEPS).items() if n.endswith("weight")}
        return {
            f"mask of {name} at sparsity {s}": mask
            for s in (0.5, 0.3)
            for name, mask in change(weights, s).items()
        }

    return notes


def _each(change):
    return _masked(lambda weights, s: {name: change(weight, s) for name, weight in weights.items()})


def _largest(weight, n):
    """Mask of the n largest values."""
    mask = np.zeros(weight.size, bool)
    mask[np.argsort(-weight, axis=None, kind="stable")[:n]] = True
    return mask.reshape(weight.shape)


def _zeros(weight, s):
    return int(np.floor(s * weight.size + 0.5))


STAGES = {
    "win_counts": {
        "wins counted in training mode, after ReLU and dropout: model.eval() before": _in_training,
        "wins counted after the ReLU, where zeros are ties: take the maximum before it": lambda golden: _z(
            golden, lambda z: np.maximum(z, 0)
        ),
        **{
            words: lambda golden, mistake=mistake: _winners(golden, mistake)
            for words, mistake in TABLE["win_counts"].items()
        },
    },
    "rank": {
        "ascending: the least relevant neuron first": _ranked(lambda c: np.argsort(c, 1, kind="stable")),
        "ascending sort turned round: of equal counts the last comes first": _ranked(
            lambda c: np.argsort(c, 1, kind="stable")[:, ::-1]
        ),
        "ranks instead of indices (an argsort of the argsort)": _ranked(
            lambda c: np.argsort(np.argsort(-c, 1, kind="stable"), 1)
        ),
        "neurons ranked over the units, not within each unit": _ranked(
            lambda c: np.argsort(-c, 0, kind="stable")
        ),
    },
    "keep": {
        "the kept neurons are not in ascending order": _kept(lambda order, n: order[:, :n]),
        "the least relevant neurons kept": _kept(lambda order, n: np.sort(order[:, -n:], 1)),
        "the least relevant neurons kept, and not in ascending order": _kept(lambda order, n: order[:, -n:]),
    },
    "prune": {
        "rows of the smaller weight counted as u + m, not u * n_keep + m, as in the authors' code": _pruned(
            _wrong_rows
        ),
        "the first neurons kept, whatever `keep` says": _pruned(_first_neurons),
        "biases of other neurons than the weights": lambda golden: {
            **_pruned(lambda a, keep: np.take_along_axis(a, keep[:, :, None] if a.ndim == 3 else keep, 1))(
                golden
            ),
            f"{MAXOUT}.bias of the pruned network": _first_neurons(
                golden.params(STEPS)[f"{MAXOUT}.bias"], golden.keep
            ),
        },
    },
    "masks": {
        "one threshold for all layers instead of one for each": _masked(global_magnitude_masks),
        "the masks turned round: True means kept": _each(
            lambda w, s: ~_largest(np.abs(w), w.size - _zeros(w, s))
        ),
        "values compared instead of magnitudes": _each(lambda w, s: _largest(w, w.size - _zeros(w, s))),
        "sparsity taken as the share that stays": _each(lambda w, s: _largest(np.abs(w), _zeros(w, s))),
    },
}


class Guesses:
    """Names the mistake of one stage after the other.

    A mistake in the kernels stays in for the stages that follow, and may be all that is wrong in them.
    """

    def __init__(self, golden):
        self.golden, self.kernels, self.words = golden, {}, []

    def __call__(self, stage, notes):
        """Words of the mistake that gives all notes of a stage; an empty list if none does."""
        if self.kernels and self.fits(stage, notes, self.kernels):
            return [f"nothing new: {'; and '.join(self.words)}"]
        if stage in STAGES:
            return self.in_pruning(stage, notes)
        for words, make in KERNELS.items():
            if stage == "masked_step" and "sgd_step" not in make():
                continue
            kernels = {**self.kernels, **make()}
            if self.fits(stage, notes, kernels):
                self.kernels = kernels
                self.words.append(words)
                return [words]
        return []

    def fits(self, stage, notes, kernels):
        """Say whether the textbook with these kernels gives the notes."""
        backend = types.SimpleNamespace(**{**vars(textbook), **kernels})
        given = notes_of(stage, Textbook(self.golden, backend), self.golden)
        if stage == "training":  # later steps of a training that blows up differ by rounding alone
            given = itertools.islice(given, 4 * len(self.golden.names))
        with np.errstate(all="ignore"):
            return all(
                mismatch(name, array, notes[name]) is None if name in notes else name == PRUNED_COUNTS
                for name, array in given
            )

    def in_pruning(self, stage, notes):
        for words, wrong in STAGES[stage].items():
            given = {name: array for name, array in wrong(self.golden).items() if name in notes}
            if given and all(mismatch(name, array, notes[name]) is None for name, array in given.items()):
                return [words]
        counts = notes.get(PRUNED_COUNTS)
        if counts is not None and counts.shape[1] == self.golden.counts.shape[1]:
            return ["the table of win counts keeps its columns after pruning, as in the authors' code"]
        return []
