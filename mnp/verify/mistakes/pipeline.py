"""Usual mistakes in pruning a maxout network, as wrong versions of one stage; see `mnp.verify.models`.

Those in the network, the loss and the optimiser are in `mistakes.training`.
"""

import itertools
import types
from functools import partial

import numpy as np

from mnp.kernels import textbook
from mnp.pruning.neurons import take_rows
from mnp.pruning.weights import global_magnitude_masks
from mnp.verify.mistakes import TABLE
from mnp.verify.mistakes.change import outputs_of
from mnp.verify.mistakes.training import KERNELS
from mnp.verify.models import PRUNED_COUNTS, KeepThese, Textbook, mismatch, notes_of
from mnp.verify.network import STEPS


def _counted(change):
    """Wins counted from the neurons' values, changed by a function."""

    def win_counts(side):
        net = side.net(STEPS)
        net.forward(side.golden.counted)
        values = [change(net[name].before_maximum()) for name in side.golden.maxouts]
        return [textbook.win_counts(z.argmax(2), z.shape[2]) for z in values]

    return win_counts


def _in_training(side):
    net = side.net(STEPS)
    net.forward(side.golden.counted, training=True, rng=KeepThese(side.golden.keep_while_counting()))
    return [textbook.win_counts(net[name].cache.winner, net[name].k) for name in side.golden.maxouts]


def _of_winners(mistake):
    """Wins counted by a wrong version of the kernel."""

    def win_counts(side):
        pairs = zip(side.golden.of_maxouts("winner"), side.golden.of_maxouts("win_counts"), strict=True)
        given = (({"winner": w, "k": c.shape[1]}, {"counts": c}) for w, c in pairs)
        return [outputs_of(mistake, *one)["counts"] for one in given]

    return win_counts


def _taken(weight, bias=None):
    """Weights and biases taken by functions of (array, kept neurons)."""

    def prune(side):
        params = side.golden.params(STEPS)
        for name, keep in zip(side.golden.maxouts, side.golden.of_maxouts("neurons_kept"), strict=True):
            params[f"{name}.weight"] = weight(params[f"{name}.weight"], keep)
            params[f"{name}.bias"] = (bias or weight)(params[f"{name}.bias"], keep)
        return params, None, None

    return prune


def _wrong_rows(array, keep):
    small = np.zeros((keep.size, *array.shape[2:]))
    for u, m in np.ndindex(keep.shape):
        small[u + m] = array[u, keep[u, m]]
    return small.reshape(*keep.shape, *array.shape[2:])


def _first_neurons(array, keep):
    return array[:, : keep.shape[1]]


def _largest(values, share):
    """Masks of the largest of each layer's values; `values` and `share` are functions."""

    def masks(side, sparsity):
        found = {}
        for name, weight in side.golden.weights().items():
            mask = np.zeros(weight.size, bool)
            n_kept = share(weight.size, int(np.floor(sparsity * weight.size + 0.5)))
            mask[np.argsort(-values(weight), axis=None, kind="stable")[:n_kept]] = True
            found[name] = mask.reshape(weight.shape)
        return found

    return masks


STAGES = {  # words -> the method of `Textbook`, gone wrong
    "win_counts": {
        "wins counted in training mode, after ReLU and dropout: model.eval() before": _in_training,
        "wins counted after the ReLU, where zeros are ties: take the maximum before it": _counted(
            lambda z: np.maximum(z, 0)
        ),
        **{words: _of_winners(mistake) for words, mistake in TABLE["win_counts"].items()},
    },
    "rank": {
        "ascending: the least relevant neuron first": lambda side, c: np.argsort(c, 1, kind="stable"),
        "ascending sort turned round: of equal counts the last comes first": lambda side, c: np.argsort(
            c, 1, kind="stable"
        )[:, ::-1],
        "ranks instead of indices (an argsort of the argsort)": lambda side, c: np.argsort(
            np.argsort(-c, 1, kind="stable"), 1
        ),
        "neurons ranked over the units, not within each unit": lambda side, c: np.argsort(
            -c, 0, kind="stable"
        ),
    },
    "keep": {
        "the kept neurons are not in ascending order": lambda side, order, n: order[:, :n],
        "the least relevant neurons kept": lambda side, order, n: np.sort(order[:, -n:], 1),
        "the least relevant neurons kept, and not in ascending order": lambda side, order, n: order[:, -n:],
    },
    "prune": {
        "rows of the smaller weight counted as u + m, not u * n_keep + m, as in the authors' code": _taken(
            _wrong_rows
        ),
        "the first neurons kept, whatever `keep` says": _taken(_first_neurons),
        "biases of other neurons than the weights": _taken(take_rows, _first_neurons),
    },
    "masks": {
        "one threshold for all layers instead of one for each": lambda side, s: global_magnitude_masks(
            side.golden.weights(), s
        ),
        "the masks turned round: True means kept": lambda side, s: {
            name: ~mask for name, mask in Textbook(side.golden).masks(s).items()
        },
        "values compared instead of magnitudes": _largest(lambda w: w, lambda size, zeros: size - zeros),
        "sparsity taken as the share that stays": _largest(np.abs, lambda size, zeros: zeros),
    },
}


def wrong_notes(stage, words, golden):
    """What a program with a mistake in pruning gives in its stage, as far as that is known."""
    side = Textbook(golden)
    setattr(side, stage, partial(STAGES[stage][words], side))
    return {name: array for name, array in notes_of(stage, side, golden) if array is not None}


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
            kernels = {**self.kernels, **new}
            if (stage != "masked_step" or "sgd_step" in new) and self.fits(stage, notes, kernels):
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
        for words in STAGES[stage]:
            given = wrong_notes(stage, words, self.golden)
            pairs = [(name, array) for name, array in given.items() if name in notes]
            if pairs and all(mismatch(name, array, notes[name]) is None for name, array in pairs):
                return [words]
        counts = [array for name, array in notes.items() if name.startswith(PRUNED_COUNTS)]
        if counts and [c.shape for c in counts] == [c.shape for c in self.golden.of_maxouts("win_counts")]:
            return ["the table of win counts keeps its columns after pruning, as in the authors' code"]
        return []
