"""Check a whole model in PyTorch against the golden pipeline, stage by stage.

    mnp check --model mine.py:model

`model()` returns an `nn.Module` of the network that `network.SETTINGS` describes: images (N, 1, 16, 16) in,
logits (N, 10) out. Its parameters are found by shape and order, or are named by `NAMES` in the same file:
{"fc3.weight": "maxout.linear.weight", ...}. A maxout weight may be (units, k, in) or (units * k, in). The
judge decides which neurons dropout keeps: it replaces `torch.nn.functional.dropout`, which `nn.Dropout`
calls, or passes `keep` (N, units, k) to a `forward` that has an argument of this name.

Functions beside it are optional, and those that are there are used:

    loss(logits, labels)                            default: torch.nn.functional.cross_entropy
    optimizer(model)                                default: torch.optim.SGD with the numbers of SETTINGS
    train_step(model, optimizer, images, labels)    default: zero_grad, loss, backward, step
    win_counts(model, images)                       (units, k)
    rank(counts)                                    (units, k), the most relevant neuron first
    keep(order, n_keep)                             (units, n_keep), ascending
    prune(model, keep)                              the smaller model
    masks(model, sparsity)                          {weight's name: bool tensor, True = kept}
    masked_step(model, optimizer, masks)            the step after a backward pass; removed weights stay zero

Everything is in float64. Every stage begins from the golden arrays, so a mistake shows where it is made.
"""

import numpy as np

from mnp.kernels import textbook
from mnp.nn import SGD, loss_and_grads
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import collect_win_counts, prune_neurons
from mnp.pruning.weights import magnitude_mask
from mnp.verify import network
from mnp.verify.judge import Verdict, compare_arrays
from mnp.verify.network import STEPS, TOLERANCE, K

MAXOUT = "fc3"
PRUNED_COUNTS = "win counts of the pruned network"
LOOKED_AT = (0, STEPS - 1)  # training steps whose logits and gradients are compared
SPARSITIES = (0.5, 0.3)
TIED_COUNTS = np.array([[5, 9, 5, 9], [0, 0, 0, 0], [1, 2, 3, 4], [4, 3, 2, 1]])


class Golden:
    """The golden arrays, as a model begins from them."""

    def __init__(self, seed=0):
        self.notes = network.pruning_round(textbook, seed)
        self.names = [key.removeprefix("initial/") for key, _ in self.notes if key.startswith("initial/")]
        self.counts, self.order, self.keep = (
            self.notes[key, None] for key in ("win_counts", "order", "neurons_kept")
        )
        self.counted = self.notes["counted_images", None].astype(np.float64)

    def params(self, step):
        """Parameters before a training step; at STEPS those after the last one."""
        keys = [
            (f"after_step/{name}", step - 1) if step else (f"initial/{name}", None) for name in self.names
        ]
        return {name: self.notes[key].astype(np.float64) for name, key in zip(self.names, keys, strict=True)}

    def batch(self, step):
        """Images, labels, and the neurons that dropout keeps."""
        images, labels = self.notes["images", None][step], self.notes["labels", None][step]
        return images.astype(np.float64), labels, self.notes["keep", step]

    def keep_while_counting(self):
        """Neurons that dropout keeps where wins are counted in training mode."""
        return np.random.default_rng(0).random((len(self.counted), network.UNITS, K)) >= network.DROPOUT

    def masks(self):
        """Masks of half the weights, for `masked_step`."""
        return {n: magnitude_mask(w, 0.5) for n, w in self.params(STEPS).items() if n.endswith("weight")}

    def any_gradients(self, step):
        rng = np.random.default_rng(step)
        return {name: rng.standard_normal(array.shape) for name, array in self.params(0).items()}


def notes_of(stage, side, golden):
    """Run a stage on one side, Textbook or torch_model.Model; yield (name, array) of what is compared."""
    if stage == "forward":
        for step in LOOKED_AT:
            yield f"logits of step {step + 1}", side.logits(step)
        yield "logits in evaluation mode", side.evaluation_logits()
    elif stage == "loss":
        for step in range(STEPS):
            yield f"loss of step {step + 1}", side.loss(golden.notes["logits", step], golden.batch(step)[1])
    elif stage == "gradients":
        for step in LOOKED_AT:
            for name, array in side.gradients(step).items():
                yield f"gradient of {name} in step {step + 1}", array
    elif stage == "training":
        for step, params in enumerate(side.training()):
            for name, array in params.items():
                yield f"{name} after step {step + 1}", array
    elif stage == "win_counts":
        yield "win counts", side.win_counts()
    elif stage == "rank":
        yield "order", side.rank(golden.counts)
        yield "order of counts with ties", side.rank(TIED_COUNTS)
    elif stage == "keep":
        for n_keep in (K - 1, 2):
            yield f"neurons kept, {n_keep} of {K}", side.keep(golden.order, n_keep)
    elif stage == "prune":
        params, logits, counts = side.prune()
        for name, array in params.items():
            yield f"{name} of the pruned network", array
        yield "logits of the pruned network", logits
        if counts is not None:
            yield PRUNED_COUNTS, counts
    elif stage == "masks":
        for sparsity in SPARSITIES:
            for name, mask in side.masks(sparsity).items():
                yield f"mask of {name} at sparsity {sparsity}", mask
    else:
        for step, params in enumerate(side.masked_steps()):
            for name, array in params.items():
                yield f"{name} after masked step {step + 1}", array


OPTIONAL = ("win_counts", "rank", "keep", "prune", "masks", "masked_step")
STAGES = ("forward", "loss", "gradients", "training", *OPTIONAL)


class KeepThese(np.random.Generator):
    """A generator from which dropout draws what it is to keep."""

    def __init__(self, keep):
        super().__init__(np.random.PCG64(0))
        self.keep = keep

    def random(self, *shape, **dtype):
        return self.keep.astype(np.float32)


class Textbook:
    """The right side; with kernels that are wrong, what their mistake would give."""

    def __init__(self, golden, backend=textbook):
        self.golden, self.backend = golden, backend

    def net(self, step):
        net = network.small_lenet(self.backend)
        for name, array in self.golden.params(step).items():
            net.params()[name][...] = array
        return net

    def logits(self, step):
        images, _, keep = self.golden.batch(step)
        return self.net(step).forward(images, training=True, rng=KeepThese(keep))

    def evaluation_logits(self):
        return self.net(STEPS).forward(self.golden.counted)

    def loss(self, logits, labels):
        return self.backend.softmax_cross_entropy(logits, labels)[0]

    def gradients(self, step):
        images, labels, keep = self.golden.batch(step)
        net = self.net(step)
        loss_and_grads(net, images, labels, KeepThese(keep))
        return net.grads()

    def training(self):
        net = self.net(0)
        optimizer = SGD(net, network.MOMENTUM, network.WEIGHT_DECAY)
        for step in range(STEPS):
            images, labels, keep = self.golden.batch(step)
            loss_and_grads(net, images, labels, KeepThese(keep))
            optimizer.step(network.LR)
            yield net.params()

    def win_counts(self):
        return collect_win_counts(self.net(STEPS), MAXOUT, self.golden.counted)

    def rank(self, counts):
        return rank_neurons(counts)

    def keep(self, order, n_keep):
        return keep_top(order, n_keep)

    def prune(self):
        net = prune_neurons(self.net(STEPS), MAXOUT, self.golden.keep)
        counts = collect_win_counts(net, MAXOUT, self.golden.counted)
        return net.params(), net.forward(self.golden.counted), counts

    def masks(self, sparsity):
        weights = {n: w for n, w in self.golden.params(STEPS).items() if n.endswith("weight")}
        return {name: magnitude_mask(weight, sparsity) for name, weight in weights.items()}

    def masked_steps(self):
        masks = self.golden.masks()
        params = {name: a * masks.get(name, 1) for name, a in self.golden.params(STEPS).items()}
        velocities = tuple(np.zeros_like(array) for array in params.values())
        for step in (0, 1):
            gradients = tuple(self.golden.any_gradients(step).values())
            numbers = network.LR, network.MOMENTUM, network.WEIGHT_DECAY
            each = tuple(masks.get(name) for name in params)
            self.backend.sgd_step(tuple(params.values()), gradients, velocities, each, *numbers)
            yield params


def judge_model(measured, golden, guess):
    """Judge what `torch_model.measure` gives; yields a Verdict for each stage, named after it.

    `guess` is a `mistakes.pipeline.Guesses`, asked where something is wrong.
    """
    counts_are_right = True
    for stage, notes, problem in measured:
        if notes is None:
            yield Verdict(stage, "not implemented")
            continue
        if not counts_are_right:  # told already
            notes.pop(PRUNED_COUNTS, None)
        right = notes_of(stage, Textbook(golden), golden)
        lines = [mismatch(name, array, notes[name]) for name, array in right if name in notes]
        wrong = [line for line in lines if line]
        if not wrong and not problem:
            yield Verdict(stage, "passed", len(lines))
            continue
        counts_are_right &= stage != "win_counts"
        told = [*(f"first difference: {line}" for line in wrong[:1]), *([problem] if problem else [])]
        named = guess(stage, notes) if wrong else []
        yield Verdict(stage, "failed", len(lines), len(wrong), lines=told, looks_like=named)


def mismatch(name, expected, got):
    """The first difference of two arrays in one line, None if there is none.

    Numbers may be of any type; whole numbers where integers are expected.
    """
    expected = np.asarray(expected)
    if expected.dtype.kind == "i" and got.dtype.kind == "f" and (got == np.round(got)).all():
        got = got.astype(np.int64)
    elif expected.dtype.kind == "b" and got.dtype.kind in "iuf" and np.isin(got, (0, 1)).all():
        got = got.astype(bool)
    return compare_arrays(name, expected, got, got.dtype, TOLERANCE)
