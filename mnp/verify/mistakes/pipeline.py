"""Usual mistakes in a program that trains and prunes a maxout network; see `mnp.verify.models`.

Those in the network, the loss and the optimiser are wrong kernels: with them the textbook's network shows
what a program with this mistake computes. Those in pruning are wrong versions of one stage.
"""

import itertools
import types
from functools import partial

import numpy as np

from mnp.kernels import textbook
from mnp.pruning.neurons import take_rows
from mnp.pruning.surgery import collect_win_counts
from mnp.pruning.weights import global_magnitude_masks
from mnp.verify import reference
from mnp.verify.mistakes import TABLE
from mnp.verify.models import (
    PRUNED_COUNTS,
    SPARSITIES,
    TIED_COUNTS,
    KeepThese,
    Textbook,
    mismatch,
    notes_of,
    per_layer,
)
from mnp.verify.network import STEPS


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


def _ties(share, golden):
    """The gradient of a maximum that goes to every neuron that reaches it."""

    def backward(dy, z, _, winner, k):
        ties = z == z.max(2, keepdims=True)
        return dy[:, :, None] * ties / (ties.sum(2, keepdims=True) if share else 1)

    forward, backward = remembering(textbook.maxout_forward, backward)
    return {"maxout_forward": forward, "maxout_backward": backward}


def _last_tie(z):
    return z.max(2), z.shape[2] - 1 - z[:, :, ::-1].argmax(2)


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


def _average(x, size, stride):
    return textbook.avgpool2d_forward(x, size, stride), textbook.maxpool2d_forward(x, size, stride)[1]


def _average_backward(dy, winner, x_shape, size, stride):
    return textbook.avgpool2d_backward(dy, x_shape, size, stride)


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


def _dropout(words, golden):
    return {k: wrong_kernel(k, TABLE[k][words]) for k in ("dropout_forward", "dropout_backward")}


KERNELS = {  # words -> a function that makes the wrong kernels, by name
    "gradient of the maximum shared between ties (amax): the first neuron gets all (max(dim))": partial(
        _ties, True
    ),
    "gradient of the maximum given to every tie (z == z.max())": partial(_ties, False),
    "wrong tie rule: the last of equal neurons wins": lambda golden: {"maxout_forward": _last_tie},
    "neurons grouped wrongly: row u * k + j is neuron j of unit u, so reshape to (N, units, k)": _grouped,
    "no ReLU before the maximum": lambda golden: {
        "relu_forward": lambda x: x,
        "relu_backward": lambda dy, y: dy,
    },
    "a ReLU after the convolutions, where none is agreed": _conv_relu,
    "mean pooling instead of max pooling": lambda golden: {
        "maxpool2d_forward": _average,
        "maxpool2d_backward": _average_backward,
    },
    "a softmax in the model, and another one in the loss": _softmax_in_model,
    **{f"dropout: {words}": partial(_dropout, words) for words in TABLE["dropout_forward"]},
    **{
        words: lambda golden, mistake=mistake: {
            "softmax_cross_entropy": wrong_kernel("softmax_cross_entropy", mistake)
        }
        for words, mistake in TABLE["softmax_cross_entropy"].items()
    },
    "no weight decay on the biases: here they decay as the weights do": lambda golden: {
        "sgd_step": _no_decay_of_biases
    },
    "gradients not set to zero: those of all steps add up": _gradients_add_up,
    **{
        words: lambda golden, mistake=mistake: {"sgd_step": wrong_kernel("sgd_step", mistake)}
        for words, mistake in TABLE["sgd_step"].items()
    },
}


# --- pruning: words -> function of the golden arrays that gives the notes of a wrong stage -----------------


def _z(golden, change):
    """Counts of the winners of the neurons' values, changed by a function."""
    net, counts = Textbook(golden).net(STEPS), []
    net.forward(golden.counted)
    for name in golden.maxouts:
        z = change(net[name].before_maximum())
        counts.append(textbook.win_counts(z.argmax(2), z.shape[2]))
    return dict(per_layer("win counts", counts, golden))


def _in_training(golden):
    net, counts = Textbook(golden).net(STEPS), []
    for name in golden.maxouts:
        how = {"training": True, "rng": KeepThese(golden.keep_while_counting())}
        counts.append(collect_win_counts(net, name, golden.counted, **how))
    return dict(per_layer("win counts", counts, golden))


def _winners(golden, mistake):
    pairs = zip(golden.of_maxouts("winner"), golden.of_maxouts("win_counts"), strict=True)
    counts = [mistake({"winner": w, "k": c.shape[1]}, {"counts": c})["counts"] for w, c in pairs]
    return dict(per_layer("win counts", counts, golden))


def _ranked(how):
    def notes(golden):
        orders = [how(counts) for counts in golden.of_maxouts("win_counts")]
        return {**dict(per_layer("order", orders, golden)), "order of counts with ties": how(TIED_COUNTS)}

    return notes


def _kept(how):
    def notes(golden):
        orders, kept = golden.of_maxouts("order"), {}
        for less in (1, 2):
            each = [how(order, max(1, order.shape[1] - less)) for order in orders]
            kept |= per_layer(f"neurons kept, all but {less}", each, golden)
        return kept

    return notes


def _pruned(weight, bias=None):
    """Weights and biases taken by functions of (array, kept neurons)."""

    def notes(golden):
        params = golden.params(STEPS)
        for name, keep in zip(golden.maxouts, golden.of_maxouts("neurons_kept"), strict=True):
            params[f"{name}.weight"] = weight(params[f"{name}.weight"], keep)
            params[f"{name}.bias"] = (bias or weight)(params[f"{name}.bias"], keep)
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
        return {
            f"mask of {name} at sparsity {s}": mask
            for s in SPARSITIES
            for name, mask in change(golden.weights(), s).items()
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
        "biases of other neurons than the weights": _pruned(take_rows, _first_neurons),
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
            new = make(self.golden)
            if stage == "masked_step" and "sgd_step" not in new:
                continue
            kernels = {**self.kernels, **new}
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
            given = itertools.islice(given, 4 * len(self.golden.params(0)))
        with np.errstate(all="ignore"):
            return all(
                mismatch(name, array, notes[name]) is None
                if name in notes
                else name.startswith(PRUNED_COUNTS)
                for name, array in given
            )

    def in_pruning(self, stage, notes):
        for words, wrong in STAGES[stage].items():
            given = {name: array for name, array in wrong(self.golden).items() if name in notes}
            if given and all(mismatch(name, array, notes[name]) is None for name, array in given.items()):
                return [words]
        counts = [array for name, array in notes.items() if name.startswith(PRUNED_COUNTS)]
        if counts and [c.shape for c in counts] == [c.shape for c in self.golden.of_maxouts("win_counts")]:
            return ["the table of win counts keeps its columns after pruning, as in the authors' code"]
        return []
