"""Experiments as data: frozen dataclasses that say everything that decides the bits of a run.

That is data, model, training, pruning and the seed; not how a run is executed (backend, threads, folders).
`plan_rounds` lists the rounds of an experiment, `registry` has the named ones, `runner` runs them.
"""

import itertools
import json
import re
import string
from dataclasses import dataclass, field

from mnp.errors import MnpError
from mnp.experiments.config import (
    above_zero,
    added,
    at_least,
    below_one,
    between,
    check_fields,
    choice,
    is_own,
    short_repr,
)

RANKINGS = (
    *("win_counts", "reversed", "random", "weight_norm", "mean_activation", "win_counts_training"),
    *("margin", "first_order"),
)
POLICIES = ("constant", "step", "inv", "cosine")
INITS = ("caffe", "he")
VARIANTS = ("deepfunneled", "funneled", "original")  # of LFW's photographs
DISTANCES = ("cosine", "euclidean", "bray_curtis")
FOLDS = 10  # of LFW's View 2
MAX_WIDTH = 1 << 20  # neurons or filters of a layer; more is a typing error


@dataclass(frozen=True)
class DataRecipe:
    """Which examples. The last `validation` training images are held out; 0 as a limit means all."""

    name: str = "mnist"
    validation: int = at_least(0, 0)
    train_images: int = at_least(0, 0)
    test_images: int = at_least(0, 0)


@dataclass(frozen=True)
class ModelRecipe:
    """LeNet-5 with `neurons` in its wide dense layer, k of them to a maxout unit.

    conv1 and conv2 count filters; with conv_k above 1, units of conv_k filters each.
    """

    conv1: int = between(1, MAX_WIDTH, 20)
    conv2: int = between(1, MAX_WIDTH, 50)
    neurons: int = between(1, MAX_WIDTH, 2048)
    k: int = between(1, MAX_WIDTH, 4)
    relu: bool = True
    dropout: float = below_one(0.5)
    init: str = choice(INITS, "caffe")
    conv_k: int = added(between(1, MAX_WIDTH, 1))


@dataclass(frozen=True)
class TrainRecipe:
    """The training of round 0. Later rounds share batch size, momentum, decay and the policies' shape.

    Every round starts its iterations, and its momentum, at 0. `gamma` and `power` belong to the policy inv,
    `step_epochs` to the policy step, which divides the learning rate by ten after each so many epochs.

    policy  also "module:function" of (lr, iteration, total iterations of the round) -> learning rate.
    augment  "module:function" of (images of a batch, rng) -> images of the same shape.
    """

    epochs: int = at_least(0, 5)
    batch_size: int = at_least(1, 64)
    lr: float = above_zero(0.01)
    policy: str = choice(POLICIES, "inv", is_own)
    gamma: float = at_least(0, 1e-4)
    power: float = at_least(0, 0.75)
    step_epochs: int = at_least(0, 0)
    momentum: float = below_one(0.9)
    weight_decay: float = at_least(0, 5e-4)
    augment: str = added(field(default=""))


def is_own_ranking(name):
    """Whether a ranking is the user's: "module:function", or a name that was registered."""
    from mnp.pruning.surgery import OWN_RANKINGS  # only for a name that is not one of RANKINGS

    return name in OWN_RANKINGS or is_own(name)


@dataclass(frozen=True)
class PruneRecipe:
    """Neuron pruning: remove one neuron per unit, retrain, until `to_k` are left. None = no neuron pruning.

    Each ranking is a separate arm, from the same trained network and over the same batches.

    schedule  for each layer from which to which k, and by how many neurons per round: "m1: 6 -> 1 by 2" (the
              last round removes what is left). It replaces `to_k` and `layers`.
    dropout   while retraining; None keeps the model's. A layer of fewer neurons needs less regularisation.
    """

    to_k: int | None = 1
    epochs: int = at_least(0, 5)
    lr: float = above_zero(0.01)
    policy: str = choice(POLICIES, "inv", is_own)
    rankings: tuple[str, ...] = choice(RANKINGS, ("win_counts",), is_own_ranking)
    layers: tuple[str, ...] = ("fc3",)
    schedule: tuple[str, ...] = added(field(default=()))
    dropout: float | None = added(below_one(None))


@dataclass(frozen=True)
class WeightRecipe:
    """Weight pruning: a round for each of `reductions` or `remaining`, then retraining for `epochs`.

    A reduction is the share of all parameters that is gone after the round, counted against the unpruned
    maxout network that the run began with: 0.92 leaves 8 % of it. `remaining` says the same as a number
    of parameters other than zero, biases included; a recipe gives one or the other.

    schedule  "iterative": the mask at once, then retrain.
              "gradual": the mask grows along a cubic curve over the first `ramp_epochs` of `epochs`,
              every `every` iterations; the learning rate is held until then, its policy begins after.
    scope     "layer": the same kept share in every layer, except where `floors` keeps more.
              "global": the smallest magnitudes of the whole network.
    floors    least kept share of a layer's weights, as ("conv1", 0.25) pairs; scope "layer" only.
    splice    pruned weights may return while the ramp lasts (dense values are kept beside the mask).
    dropout, weight_decay
              for these rounds; None keeps the model's and the training's. A network of few weights is
              short of capacity, not of regularisation.
    """

    reductions: tuple[float, ...] = below_one(())
    remaining: tuple[int, ...] = at_least(1, ())
    schedule: str = choice(("iterative", "gradual"), "iterative")
    scope: str = choice(("layer", "global"), "layer")
    floors: tuple[tuple[str, float], ...] = ()
    epochs: int = at_least(0, 5)
    ramp_epochs: int = 0
    every: int = at_least(1, 100)
    splice: bool = False
    lr: float = above_zero(0.01)
    policy: str = choice(POLICIES, "inv", is_own)
    dropout: float | None = below_one(None)
    weight_decay: float | None = at_least(0, None)

    @property
    def targets(self):
        """What each round must reach, as keyword arguments of a `Round`."""
        return [{"reduction": r} for r in self.reductions] or [{"remaining": n} for n in self.remaining]


@dataclass(frozen=True)
class Experiment:
    """Image classification with LeNet-5.

    plan  "sequence": train, then neurons (an arm for each ranking), then weights.
          "compare": neurons alone, weights alone, and weights after neurons, at equal numbers of remaining
          parameters and of training iterations (see `plan_rounds`).
          "controls": what pruning is compared with, at equal numbers of iterations (see `plan_rounds`).
    """

    name: str
    about: str = field(default="", compare=False)  # but in the name of the default folder: leave it as it is
    plan: str = choice(("sequence", "compare", "controls"), "sequence")
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)
    prune: PruneRecipe = field(default_factory=PruneRecipe)
    weights: WeightRecipe = field(default_factory=WeightRecipe)
    seed: int = at_least(0, 0)

    def __post_init__(self):
        try:
            check_fields(self)
            self.check()
        except MnpError as error:
            raise MnpError(f"recipe {short_repr(self.name)[1:-1]}: {error}") from None

    def check(self):
        """Check the rules that involve several fields; MnpError names section and field."""
        t, p, w = self.train, self.prune, self.weights
        safe = set(string.ascii_letters + string.digits + "-_.")
        require(
            self.name and set(self.name) <= safe and self.name[0] != ".",
            "name must be of letters, digits, - and _: it names a folder",
        )
        for section, policy in (("train", t.policy), ("prune", p.policy), ("weights", w.policy)):
            require(
                policy != "step" or t.step_epochs >= 1,
                f"{section}.policy = step needs a train.step_epochs of at least 1",
            )
        require(p.rankings, f"prune.rankings is empty: give some of {', '.join(RANKINGS)}")
        arms = [arm_of(ranking) for ranking in p.rankings]
        require(len(set(arms)) == len(arms), "prune.rankings names a ranking twice: remove one")
        require(
            len(p.rankings) == 1 or not w.targets,
            "weights.reductions and weights.remaining must be empty when several rankings are compared",
        )
        require(p.layers, "prune.layers is empty: name a maxout layer, such as fc3")
        require(list(w.reductions) == sorted(w.reductions), "weights.reductions must not fall")
        require(list(w.remaining) == sorted(w.remaining, reverse=True), "weights.remaining must not grow")
        require(not (w.reductions and w.remaining), "weights has reductions and remaining: give one of them")
        require(all(0 <= share <= 1 for _, share in w.floors), "weights.floors must lie in [0, 1]")
        require(
            0 <= w.ramp_epochs <= w.epochs,
            f"weights.ramp_epochs = {w.ramp_epochs} is not in 0..{w.epochs} (weights.epochs)",
        )
        require(not w.splice or w.schedule == "gradual", "weights.splice needs weights.schedule=gradual")
        self.check_model()
        if self.plan == "compare":
            require(p.epochs == w.epochs, "plan compare needs prune.epochs equal to weights.epochs")
            require(len(p.rankings) == 1, "plan compare takes one ranking")

    def check_model(self):
        """Check the rules of neuron pruning for a model whose k is known."""
        m, p = self.model, self.prune
        require(m.neurons % m.k == 0, f"model.k = {m.k} does not divide model.neurons = {m.neurons}")
        require(p.to_k is None or 1 <= p.to_k <= m.k, f"prune.to_k = {p.to_k} is not in 1..{m.k} (model.k)")
        require(not p.schedule, "prune.schedule needs a model.builder: use prune.to_k and prune.layers here")
        if self.plan != "sequence":
            require(p.to_k is not None and p.to_k < m.k, f"plan {self.plan} needs a prune.to_k below model.k")

    def ladders(self):
        """The neurons per unit of each pruned layer, before the first round and after each one."""
        to_k = self.model.k if self.prune.to_k is None else self.prune.to_k
        return {layer: list(range(self.model.k, to_k - 1, -1)) for layer in self.prune.layers}

    @property
    def neuron_rounds(self):
        """Number of rounds of neuron pruning in each arm that has them."""
        return max(map(len, self.ladders().values()), default=1) - 1

    @property
    def has_folds(self):
        """Whether this stands for several runs, one per fold."""
        return False


def require(condition, message):
    if not condition:
        raise MnpError(message)


def arm_of(ranking):
    """The name of a ranking in tables and files: that of the function, without its module.

    >>> arm_of("my.rankings:taylor"), arm_of("win_counts")
    ('taylor', 'win_counts')
    """
    return ranking.rpartition(":")[2]


# --- a user-defined network -----------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnModel:
    """A user-defined network: a function that builds it, and its arguments.

    builder    "lenet5", "mlp" or "vgg16" of mnp, or "module:function" of (data, rng, backend, **arguments)
               that returns a Network; data is the Dataset, rng None asks for zero weights.
    arguments  for example {units = [32, 16], k = 4}
    """

    builder: str = choice(("lenet5", "mlp", "vgg16"), "mlp", is_own)
    arguments: dict = field(default_factory=dict)

    def __post_init__(self):
        try:  # as they come back from recipe.json: lists for tuples
            object.__setattr__(self, "arguments", json.loads(json.dumps(self.arguments)))
        except TypeError as error:
            raise MnpError(
                f"model.arguments: use numbers, strings, booleans, lists and tables only ({error})"
            ) from None


@dataclass(frozen=True)
class OwnExperiment(Experiment):
    """Image classification with a user-defined network; `prune.schedule` says what is removed.

    The plans "compare" and "controls" need a schedule, too.
    """

    model: OwnModel = field(default_factory=OwnModel)

    def check_model(self):
        require(
            self.ladders() or self.plan == "sequence",
            f"plan {self.plan} needs a prune.schedule, such as 'fc1: 4 -> 1'",
        )

    def ladders(self):
        ladders = {}
        for text in self.prune.schedule:
            match = _STEP.fullmatch(text)
            require(match, f"prune.schedule = {short_repr(text)}: write it as 'fc1: 4 -> 1 by 1'")
            layer, first, last, by = match[1], int(match[2]), int(match[3]), int(match[4] or 1)
            require(
                1 <= last < first and by >= 1 and layer not in ladders,
                f"prune.schedule = {short_repr(text)}: k must fall, to 1 at least, once for each layer",
            )
            ladders[layer] = [*range(first, last, -by), last]
        return ladders


_STEP = re.compile(r"\s*([^\s:.]+)\s*:\s*(\d{1,6})\s*->\s*(\d{1,6})(?:\s+by\s+(\d{1,6}))?\s*")


# --- face verification --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FacesRecipe:
    """Which photographs of LFW, and who is trained on.

    view      1: train on the DevTrain people, test on pairsDevTest. 2: for each of ten folds, train on
              the people of the nine others and test on its 600 pairs.
    fold      View 2: a single fold, 0 to 9; none = all ten, one after another.
    crop, size  side of the central square of the 250x250 photograph, and of the image it is reduced to.
    least     people with fewer images are not trained on: one image says nothing about sameness.
    held_out  so many of the training people with the fewest images (`least` or one more) are kept from
              the network, because distances between images it was trained on are too small: the
              threshold is chosen on them, and on pairs of people with a single image.
    distance  "bray_curtis" (the paper cites it), "cosine" or "euclidean", between features of an image plus
              its mirror image.
    """

    variant: str = choice(VARIANTS, "deepfunneled")
    view: int = between(1, 2, 1)
    fold: int | None = between(0, FOLDS - 1, None)
    crop: int = 128
    size: int = 64
    least: int = at_least(1, 2)
    held_out: int = at_least(1, 150)
    distance: str = choice(DISTANCES, "bray_curtis")

    @property
    def name(self):
        return "lfw"


@dataclass(frozen=True)
class VggRecipe:
    """VGG16 at a share of its width, with `neurons` in fc6 and in fc7, k of them to a maxout unit."""

    width: float = 0.25
    neurons: int = between(1, MAX_WIDTH, 1024)
    k: int = between(1, MAX_WIDTH, 4)
    relu: bool = True
    dropout: float = below_one(0.0)
    batchnorm: bool = True
    init: str = choice(INITS, "he")


@dataclass(frozen=True)
class FacesTrainRecipe(TrainRecipe):
    """As TrainRecipe; linear warm-up over `warmup` iterations of the first training (a quarter at most).

    Images are flipped, shifted by up to `shift` pixels and zoomed by up to the share `zoom`, both ways. That
    and the decay keep the network from memorising its few thousand images. Both were chosen on
    View 1 (its test pairs included, one seed each), which the protocol intends for that; View 2 gives the
    figure. So was the number of epochs: as many as twenty minutes allow. At 24, one seed each, other rates
    and crops, dropout, and no ReLU (`--set`) changed too little, or for the worse.
    """

    epochs: int = at_least(0, 44)
    batch_size: int = at_least(1, 32)
    lr: float = above_zero(0.05)
    policy: str = choice(POLICIES, "cosine", is_own)
    warmup: int = at_least(0, 300)
    shift: int = at_least(0, 4)
    zoom: float = below_one(0.125)
    weight_decay: float = at_least(0, 1e-3)


@dataclass(frozen=True)
class FacesExperiment(Experiment):
    """Face verification with VGG16: trained as a classifier; every row is a verification."""

    data: FacesRecipe = field(default_factory=FacesRecipe)
    model: VggRecipe = field(default_factory=VggRecipe)
    train: FacesTrainRecipe = field(default_factory=FacesTrainRecipe)

    def check(self):
        d, width = self.data, self.model.width
        require(d.fold is None or d.view == 2, "data.fold is for View 2 only: leave it at none")
        require(32 <= d.size <= d.crop <= 250, "data.size and data.crop need 32 <= size <= crop <= 250")
        require(
            0 < width <= 16 and 64 * width % 1 == 0,
            f"model.width = {width} must be a multiple of 1/64, at most 16",
        )
        require(self.plan != "compare", "plan compare is not for faces: use sequence or controls")
        require(not self.train.augment, "train.augment must be empty for faces: they have shift and zoom")
        super().check()

    @property
    def has_folds(self):
        return self.data.view == 2 and self.data.fold is None


# --- the rounds of an experiment ---------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """One row of a run: remove something (round 0: nothing), train, measure.

    index   position in the run; the row's `step`.
    kind    "train" (from scratch), "neurons", "weights", "gradual", "continue" (nothing is removed), or
            "rewind" (the neurons that are left in the parent, set back to their first weights).
    parent  index of the round whose network this one begins with (-1 for the first).
    depth   number of rounds before it on its own path; it numbers the random stream, so that arms that
            branch from one network see the same batches.
    k       neurons per unit after the round.
    reduction  target of a weights round, against the unpruned network, or None.
    remaining  the same as a number of parameters, or None.
    match   index of the neurons round whose number of parameters this weights round must reach, or None.
    ks      with a schedule, (layer, neurons per unit after the round) of each layer; k is the largest.
    removed what a round with a schedule removes, in words.
    """

    index: int
    kind: str
    arm: str
    parent: int
    depth: int
    k: int
    epochs: int
    ranking: str = ""
    reduction: float | None = None
    remaining: int | None = None
    match: int | None = None
    ks: tuple[tuple[str, int], ...] = ()
    removed: str = ""

    @property
    def label(self):
        """Name of the round's files: index, arm, kind and k.

        >>> Round(2, "neurons", "random", parent=1, depth=2, k=2, epochs=5).label
        '02-random-neurons-k2'
        """
        return "-".join([f"{self.index:02d}", *([self.arm] if self.arm else []), self.kind, f"k{self.k}"])


def plan_rounds(experiment):
    """List the rounds of an experiment, in the order in which they run.

    "sequence": one training; for each ranking the rounds k -> k - 1 down to `to_k`; a weights round for
    each reduction after the last of them.

    "compare", with three neuron rounds (k = 4) as the example and P(k) the parameters then left:

        neurons        k=3      k=2      k=1
        weights        P(3)     P(2)     P(1)     reductions[0]  reductions[1] ...
        after          -        -        P(1) from the network with k=2
                                                  reductions[0] from the network with k=1 ...

    so every column is one size and one number of training iterations, and each arm that can reach the
    size has a row there.

    "controls", with k = 4 and the ranking win_counts as the example:

        unpruned    train k=4    continue k=4    continue k=4    continue k=4
        win_counts               neurons k=3     neurons k=2     neurons k=1
        small       train k=1    continue k=1    continue k=1    continue k=1
        rewound     rewind k=1   continue k=1    continue k=1    continue k=1

    The first round is shared by the first two arms; each column has one number of epochs and one schedule,
    and all arms see the same batches. "small" is trained from scratch. (After pruning to one neuron per
    unit, the same structure with new weights is that network, so this is also the re-initialised control.)
    With weights rounds the last two arms, which have no such network, are left out.

    Returns
    -------
    list of Round
        A round's parent always comes before it.

    >>> from mnp.experiments.registry import get_experiment
    >>> [r.label for r in plan_rounds(get_experiment("mnist-caffe"))]
    ['00-train-k4', '01-neurons-k3', '02-neurons-k2', '03-neurons-k1']
    """
    e, plan = experiment, []
    weights_kind = "gradual" if e.weights.schedule == "gradual" else "weights"

    def add(kind, arm, parent, k, epochs, **options):
        depth = plan[parent].depth + 1 if parent >= 0 and kind != "rewind" else 0
        if parent >= 0:
            options.setdefault("ks", plan[parent].ks)
        plan.append(Round(len(plan), kind, arm, parent, depth, k, epochs, **options))
        return len(plan) - 1

    def add_neurons(arm, ranking, parent):
        indices = [parent]
        for before, after in itertools.pairwise(steps):
            options = {"ranking": ranking}
            if e.prune.schedule:
                moved = [f"{name} {before[name]} -> {k}" for name, k in after.items() if before[name] > k]
                options |= {"ks": ks_of(after), "removed": ", ".join(moved)}
            indices.append(add("neurons", arm, indices[-1], max(after.values()), e.prune.epochs, **options))
        return indices

    def add_weights(arm, parent):
        for target in e.weights.targets:
            parent = add(weights_kind, arm, parent, plan[parent].k, e.weights.epochs, **target)

    def add_continued(arm, parent, rounds=e.neuron_rounds, epochs=e.prune.epochs):
        for _ in range(rounds):
            parent = add("continue", arm, parent, plan[parent].k, epochs)
        return parent

    ladders = e.ladders()
    # One dict of layer -> k for each round; a layer that has reached its last k stays there.
    steps = [
        {name: ks[min(i, len(ks) - 1)] for name, ks in ladders.items()} for i in range(e.neuron_rounds + 1)
    ]
    first, to_k = max(steps[0].values(), default=1), max(steps[-1].values(), default=1)
    ks_of = lambda step: tuple(step.items()) if e.prune.schedule else ()  # noqa: E731
    root = last = add("train", "", -1, first, e.train.epochs, ks=ks_of(steps[0]))
    if e.plan == "compare":
        neurons = add_neurons("neurons", e.prune.rankings[0], root)
        for match in neurons[1:]:
            last = add(weights_kind, "weights", last, first, e.weights.epochs, match=match)
        add_weights("weights", last)
        k = plan[neurons[-2]].k
        add(weights_kind, "after", neurons[-2], k, e.weights.epochs, match=neurons[-1])
        add_weights("after", neurons[-1])
    elif e.plan == "controls":
        unpruned = add_continued("unpruned", root)
        pruned = [add_neurons(arm_of(ranking), ranking, root)[-1] for ranking in e.prune.rankings]
        if e.weights.targets:
            add_weights(plan[pruned[0]].arm, pruned[0])
            add_continued("unpruned", unpruned, len(e.weights.targets), e.weights.epochs)
        else:
            add_continued("small", add("train", "small", -1, to_k, e.train.epochs, ks=ks_of(steps[-1])))
            add_continued("rewound", add("rewind", "rewound", pruned[0], to_k, e.train.epochs))
    else:
        several = len(e.prune.rankings) > 1
        for ranking in e.prune.rankings:
            last = add_neurons(arm_of(ranking) if several else "", ranking, root)[-1]
        add_weights(plan[last].arm, last)
    return plan
