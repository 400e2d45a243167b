"""Check a whole model in PyTorch or JAX against the golden pipeline, stage by stage.

    mnp check --model mine.py:model
    mnp check --model mine.py:model --golden DIR

The network is that of the golden vectors in DIR, which `mnp vectors --checkpoint FILE --out DIR` writes of
any network with maxout layers; or the small LeNet of `network.SETTINGS`, images (N, 1, 16, 16) in, logits
(N, 10) out. `model()` returns, in PyTorch, an `nn.Module`; in JAX, (params, forward): a tree of arrays and a
function forward(params, images, keep) that returns the logits.

Parameters are found by shape and order, or are named by `NAMES` in the same file: {"fc3.weight":
"maxout.linear.weight", ...}, in JAX the keys of the tree joined by dots. A maxout weight may be
(units, k, in) or (units * k, in).

The judge decides which neurons dropout keeps. `keep` (N, units, k) is True where a neuron's value stays; it
is None in evaluation, and a list where several layers drop neurons. JAX's forward gets it. In PyTorch a
`forward` that has an argument of this name does, and the judge replaces `torch.nn.functional.dropout`, which
`nn.Dropout` calls.

Functions beside it are optional, and those that are there are used. For PyTorch:

    loss(logits, labels)                            default: torch.nn.functional.cross_entropy
    optimizer(model)                                default: torch.optim.SGD with the numbers of SETTINGS
    train_step(model, optimizer, images, labels)    default: zero_grad, loss, backward, step
    win_counts(model, images)                       (units, k)
    rank(counts)                                    (units, k), the most relevant neuron first
    keep(order, n_keep)                             (units, n_keep), ascending
    prune(model, keep)                              the smaller model
    masks(model, sparsity)                          {weight's name: bool array, True = kept}
    masked_step(model, optimizer, masks)            the step after a backward pass; removed weights stay zero

For JAX `params` stands for `model`, and the steps return (params, state):

    optimizer(params)                               the first state; default: velocities of zero
    update(params, state, grads)                    default: SGD with the numbers of SETTINGS
    train_step(params, state, images, labels, keep) default: the loss's gradients, update
    masked_step(params, state, grads, masks)

With several maxout layers win_counts returns a list in their order, and prune gets one. Everything is in
float64. Every stage begins from the golden arrays, so a mistake shows where it is made.
"""

import numpy as np

from mnp.kernels import textbook
from mnp.nn import SGD, loss_and_grads
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import collect_win_counts, prune_neurons
from mnp.pruning.weights import magnitude_mask
from mnp.verify.golden import read_pipeline
from mnp.verify.judge import Verdict, compare_arrays
from mnp.verify.network import (
    LR,
    MOMENTUM,
    STEPS,
    TOLERANCE,
    WEIGHT_DECAY,
    droppers,
    golden_arrays,
    in_float64,
    key_of,
    small_lenet,
)

PRUNED_COUNTS = "win counts of the pruned network"
LOOKED_AT = (0, STEPS - 1)  # training steps whose logits and gradients are compared
SPARSITIES = (0.5, 0.3)
TIED_COUNTS = np.array([[5, 9, 5, 9], [0, 0, 0, 0], [1, 2, 3, 4], [4, 3, 2, 1]])


class Golden:
    """The golden arrays, as a model begins from them: of a seed, or read from a folder."""

    def __init__(self, source=0):
        if isinstance(source, int):
            self.arrays, _ = golden_arrays(source)
            self.architecture = small_lenet(textbook).architecture()
        else:
            self.arrays, self.architecture = read_pipeline(source)
        net = self.net(0)
        self.maxouts, self.droppers, self.classes = net.maxout_layers(), droppers(net), net.classes
        self.counted = self.arrays["counted_images"].astype(np.float64)

    def net(self, step, backend=textbook):
        """The network before a training step."""
        return in_float64(self.architecture, self.params(step), backend)

    def params(self, step):
        """Parameters before a training step; at STEPS those after the last one."""
        names = [key.removeprefix("initial/") for key in self.arrays if key.startswith("initial/")]
        if step:
            return {name: self.arrays[f"after_step/{name}"][step - 1] for name in names}
        return {name: self.arrays[f"initial/{name}"].astype(np.float64) for name in names}

    def weights(self):
        """The trained arrays that are masked."""
        return {name: a for name, a in self.params(STEPS).items() if name.endswith("weight")}

    def batch(self, step):
        """Images, labels, and the neurons that each dropout keeps."""
        images, labels = self.arrays["images"][step], self.arrays["labels"][step]
        keeps = [self.arrays[key_of("keep", name, self.droppers)][step] for name in self.droppers]
        return images.astype(np.float64), labels, keeps

    def of_maxouts(self, what):
        """An array of each maxout layer: win_counts, order or neurons_kept."""
        return [self.arrays[key_of(what, name, self.maxouts)] for name in self.maxouts]

    def keep_while_counting(self, pruned=False):
        """Neurons that dropout keeps where wins are counted in training mode."""
        rng, keeps = np.random.default_rng(0), self.batch(0)[2]
        keeps = [rng.random((len(self.counted), *keep.shape[1:])) >= 0.5 for keep in keeps]
        return [keep[:, :, :-1] if pruned and keep.ndim == 3 else keep for keep in keeps]

    def grouped(self, name, array):
        """An array of a maxout layer as (units, neurons, ...); any other as it is."""
        layer = name.partition(".")[0]
        units = len(self.arrays[f"initial/{name}"])
        if layer not in self.maxouts or array.size % units:
            return array
        return array.reshape(units, -1, *self.arrays[f"initial/{name}"].shape[2:])

    def masks(self):
        """Masks of half the weights, for `masked_step`."""
        return {name: magnitude_mask(weight, 0.5) for name, weight in self.weights().items()}

    def any_gradients(self, step):
        rng = np.random.default_rng(step)
        return {name: rng.standard_normal(array.shape) for name, array in self.params(0).items()}


def per_layer(what, arrays, golden):
    """Name what one maxout layer after the other gave."""
    one = len(golden.maxouts) == 1
    return [(what if one else f"{what} of {name}", a) for name, a in zip(golden.maxouts, arrays, strict=True)]


def notes_of(stage, side, golden):
    """Run a stage on one side, Textbook or user_models.Model; yield (name, array) of what is compared."""
    if stage == "forward":
        for step in LOOKED_AT:
            yield f"logits of step {step + 1}", side.logits(step)
        yield "logits in evaluation mode", side.evaluation_logits()
    elif stage == "loss":
        for step in range(STEPS):
            yield f"loss of step {step + 1}", side.loss(golden.arrays["logits"][step], golden.batch(step)[1])
    elif stage == "gradients":
        for step in LOOKED_AT:
            for name, array in side.gradients(step).items():
                yield f"gradient of {name} in step {step + 1}", array
    elif stage == "training":
        for step, params in enumerate(side.training()):
            for name, array in params.items():
                yield f"{name} after step {step + 1}", array
    elif stage == "win_counts":
        yield from per_layer("win counts", side.win_counts(), golden)
    elif stage == "rank":
        orders = [side.rank(counts) for counts in golden.of_maxouts("win_counts")]
        yield from per_layer("order", orders, golden)
        yield "order of counts with ties", side.rank(TIED_COUNTS)
    elif stage == "keep":
        for less in (1, 2):
            kept = [side.keep(order, max(1, order.shape[1] - less)) for order in golden.of_maxouts("order")]
            yield from per_layer(f"neurons kept, all but {less}", kept, golden)
    elif stage == "prune":
        params, logits, counts = side.prune()
        for name, array in params.items():
            yield f"{name} of the pruned network", array
        yield "logits of the pruned network", logits
        if counts is not None:
            yield from per_layer(PRUNED_COUNTS, counts, golden)
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
    """A generator from which one dropout after the other draws what it is to keep."""

    def __init__(self, keeps):
        super().__init__(np.random.PCG64(0))
        self.keeps = iter(keeps)

    def random(self, *shape, **dtype):
        return next(self.keeps).astype(np.float32)


class Textbook:
    """The right side; with kernels that are wrong, what their mistake would give."""

    rank, keep = staticmethod(rank_neurons), staticmethod(keep_top)

    def __init__(self, golden, backend=textbook):
        self.golden, self.backend = golden, backend

    def net(self, step):
        return self.golden.net(step, self.backend)

    def logits(self, step):
        images, _, keeps = self.golden.batch(step)
        return self.net(step).forward(images, training=True, rng=KeepThese(keeps))

    def evaluation_logits(self):
        return self.net(STEPS).forward(self.golden.counted)

    def loss(self, logits, labels):
        return self.backend.softmax_cross_entropy(logits, labels)[0]

    def gradients(self, step, net=None):
        images, labels, keeps = self.golden.batch(step)
        net = self.net(step) if net is None else net
        loss_and_grads(net, images, labels, KeepThese(keeps))
        return net.grads()

    def training(self):
        net = self.net(0)
        optimizer = SGD(net, MOMENTUM, WEIGHT_DECAY)
        for step in range(STEPS):
            self.gradients(step, net)
            optimizer.step(LR)
            yield net.params()

    def win_counts(self):
        net = self.net(STEPS)
        return [collect_win_counts(net, name, self.golden.counted) for name in self.golden.maxouts]

    def prune(self):
        net = self.net(STEPS)
        for name, keep in zip(self.golden.maxouts, self.golden.of_maxouts("neurons_kept"), strict=True):
            net = prune_neurons(net, name, keep)
        params = {name: self.golden.grouped(name, array) for name, array in net.params().items()}
        counts = [
            collect_win_counts(net, name, self.golden.counted)
            if name in net.maxout_layers()
            else trained.sum(axis=1, keepdims=True)  # the only neuron of a unit always wins
            for name, trained in zip(self.golden.maxouts, self.golden.of_maxouts("win_counts"), strict=True)
        ]
        return params, net.forward(self.golden.counted), counts

    def masks(self, sparsity):
        return {name: magnitude_mask(weight, sparsity) for name, weight in self.golden.weights().items()}

    def masked_steps(self):
        masks = self.golden.masks()
        params = {name: a * masks.get(name, 1) for name, a in self.golden.params(STEPS).items()}
        velocities = tuple(np.zeros_like(array) for array in params.values())
        for step in (0, 1):
            gradients = tuple(self.golden.any_gradients(step).values())
            numbers = LR, MOMENTUM, WEIGHT_DECAY
            each = tuple(masks.get(name) for name in params)
            self.backend.sgd_step(tuple(params.values()), gradients, velocities, each, *numbers)
            yield params


def judge_model(measured, golden, guess):
    """Judge what `user_models.measure` gives; yields a Verdict for each stage, named after it.

    `guess` is a `mistakes.pipeline.Guesses`, asked where something is wrong.
    """
    counts_are_right = True
    for stage, notes, problem in measured:
        if notes is None:
            yield Verdict(stage, "not implemented")
            continue
        if not counts_are_right:  # told already
            notes = {name: array for name, array in notes.items() if not name.startswith(PRUNED_COUNTS)}
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
