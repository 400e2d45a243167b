"""Experiments as data: frozen dataclasses, and the named ones in one dict.

A recipe says everything that decides the bits of a run: data, model, training, pruning and the seed.
How it is executed (kernels, threads, folders) is not part of it. `steps.py` unfolds a recipe into the
list of steps that `run.py` works through.
"""

import string
from dataclasses import dataclass, field

from mnp.errors import MnpError
from mnp.experiments.typed import check_types, show

RANKINGS = ("win_counts", "reversed", "random", "weight_norm", "mean_activation", "win_counts_training")
POLICIES = ("constant", "step", "inv", "cosine")
WIDEST = 1 << 20  # neurons or filters of a layer: more is a slip of the finger


@dataclass(frozen=True)
class DataRecipe:
    """Which examples. The last `validation` training images are held out; 0 as a limit means all."""

    name: str = "mnist"
    validation: int = 0
    train_images: int = 0
    test_images: int = 0


@dataclass(frozen=True)
class ModelRecipe:
    """LeNet-5 with `neurons` in its wide dense layer, k of them to a maxout unit."""

    conv1: int = 20
    conv2: int = 50
    neurons: int = 2048
    k: int = 4
    relu: bool = True
    dropout: float = 0.5
    init: str = "caffe"


@dataclass(frozen=True)
class TrainRecipe:
    """The first training. Later stages share batch, momentum, decay and the shape of the policies.

    Every stage starts its iterations, and its momentum, at 0. `gamma` and `power` belong to the policy inv,
    `step_epochs` to the policy step, which divides the rate by ten after each so many epochs.
    """

    epochs: int = 5
    batch_size: int = 64
    lr: float = 0.01
    policy: str = "inv"
    gamma: float = 1e-4
    power: float = 0.75
    step_epochs: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4


@dataclass(frozen=True)
class PruneRecipe:
    """Neuron pruning: remove one neuron a unit, retrain, until `to_k` are left. None = no neuron pruning.

    Each ranking is an arm of its own, from the same trained network and over the same batches.
    """

    to_k: int | None = 1
    epochs: int = 5
    lr: float = 0.01
    policy: str = "inv"
    rankings: tuple[str, ...] = ("win_counts",)
    layers: tuple[str, ...] = ("fc3",)


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

    reductions: tuple[float, ...] = ()
    remaining: tuple[int, ...] = ()
    schedule: str = "iterative"
    scope: str = "layer"
    floors: tuple[tuple[str, float], ...] = ()
    epochs: int = 5
    ramp_epochs: int = 0
    every: int = 100
    splice: bool = False
    lr: float = 0.01
    policy: str = "inv"
    dropout: float | None = None
    weight_decay: float | None = None

    @property
    def rounds(self):
        """What each round must reach, in the words of a `Step`."""
        return [{"reduction": r} for r in self.reductions] or [{"remaining": n} for n in self.remaining]


@dataclass(frozen=True)
class Experiment:
    """One recipe.

    plan  "sequence": train, then neurons (an arm for each ranking), then weights.
          "compare": neurons alone, weights alone, and weights after neurons, at equal numbers of remaining
          parameters and of training iterations (see `steps.steps_of`).
    """

    name: str
    about: str = ""
    plan: str = "sequence"
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)
    prune: PruneRecipe = field(default_factory=PruneRecipe)
    weights: WeightRecipe = field(default_factory=WeightRecipe)
    seed: int = 0

    def __post_init__(self):
        check(self)


# --- checks -------------------------------------------------------------------------------------------


def check(e):
    """Refuse a recipe that cannot run, with one line that names section and field."""

    def demand(ok, where, what):
        if not ok:
            raise MnpError(f"recipe {show(e.name)[1:-1]}: {where} {what}")

    check_types(e)
    d, m = e.data, e.model
    demand(e.plan in ("sequence", "compare"), "plan", f"is {e.plan!r}: give sequence or compare")
    for name in ("validation", "train_images", "test_images"):
        demand(getattr(d, name) >= 0, f"data.{name}", "is negative: give 0 or more")
    for name in ("conv1", "conv2", "neurons", "k"):
        value = getattr(m, name)
        demand(1 <= value <= WIDEST, f"model.{name}", f"is {value}: give 1 to {WIDEST}")
    demand(m.neurons % m.k == 0, "model.k", f"= {m.k} does not divide model.neurons = {m.neurons}")
    demand(0 <= m.dropout < 1, "model.dropout", f"is {m.dropout}: give a number in [0, 1)")
    demand(m.init in ("caffe", "he"), "model.init", f"is {m.init!r}: give caffe or he")
    check_stages(e, demand)


def check_stages(e, demand):
    """The part of `check` that is about seed, training and pruning, whatever the model and the data."""
    m, t, p, w = e.model, e.train, e.prune, e.weights
    named = e.name and set(e.name) <= set(string.ascii_letters + string.digits + "-_.") and e.name[0] != "."
    demand(named, "name", "must be of letters, digits, - and _: it names a folder")
    demand(e.seed >= 0, "seed", f"is {e.seed}: give 0 or more")
    for where, epochs in (("train", t.epochs), ("prune", p.epochs), ("weights", w.epochs)):
        demand(epochs >= 0, f"{where}.epochs", f"is {epochs}: give 0 or more")
    demand(t.batch_size >= 1, "train.batch_size", f"is {t.batch_size}: a batch needs at least one image")
    for where, section in (("train", t), ("prune", p), ("weights", w)):
        demand(section.lr > 0, f"{where}.lr", "must be above 0")
        demand(section.policy in POLICIES, f"{where}.policy", f"is not one of {', '.join(POLICIES)}")
        demand(
            section.policy != "step" or t.step_epochs >= 1,
            f"{where}.policy",
            "step needs train.step_epochs of 1 or more",
        )
    demand(t.gamma >= 0 and t.power >= 0, "train.gamma and train.power", "must be 0 or more")
    demand(0 <= t.momentum < 1, "train.momentum", f"is {t.momentum}: give a number in [0, 1)")
    demand(t.weight_decay >= 0, "train.weight_decay", "must be 0 or more")
    demand(p.to_k is None or 1 <= p.to_k <= m.k, "prune.to_k", f"= {p.to_k} is not in 1..{m.k} (model.k)")
    demand(
        bool(p.rankings) and set(p.rankings) <= set(RANKINGS),
        "prune.rankings",
        f"has a name that is not one of {', '.join(RANKINGS)}",
    )
    demand(len(set(p.rankings)) == len(p.rankings), "prune.rankings", "names one twice")
    demand(
        len(p.rankings) == 1 or not w.rounds,
        "weights.reductions and weights.remaining",
        "must be empty when several rankings are compared",
    )
    demand(bool(p.layers), "prune.layers", "is empty: name a maxout layer, such as fc3")
    demand(
        w.schedule in ("iterative", "gradual"),
        "weights.schedule",
        f"is {w.schedule!r}: give iterative or gradual",
    )
    demand(w.scope in ("layer", "global"), "weights.scope", f"is {w.scope!r}: give layer or global")
    demand(all(0 <= r < 1 for r in w.reductions), "weights.reductions", "must lie in [0, 1)")
    demand(list(w.reductions) == sorted(w.reductions), "weights.reductions", "must not fall")
    demand(all(n >= 1 for n in w.remaining), "weights.remaining", "must be 1 or more")
    demand(list(w.remaining) == sorted(w.remaining, reverse=True), "weights.remaining", "must not grow")
    demand(not (w.reductions and w.remaining), "weights", "has reductions and remaining: give one of them")
    demand(w.dropout is None or 0 <= w.dropout < 1, "weights.dropout", "must lie in [0, 1)")
    demand(w.weight_decay is None or w.weight_decay >= 0, "weights.weight_decay", "must be 0 or more")
    demand(all(0 <= s <= 1 for _, s in w.floors), "weights.floors", "must lie in [0, 1]")
    demand(w.every >= 1, "weights.every", "must be 1 or more")
    demand(
        0 <= w.ramp_epochs <= w.epochs, "weights.ramp_epochs", f"must lie in 0..{w.epochs} (weights.epochs)"
    )
    demand(not w.splice or w.schedule == "gradual", "weights.splice", "needs weights.schedule=gradual")
    if e.plan == "compare":
        demand(p.to_k is not None and p.to_k < m.k, "plan compare", "needs a prune.to_k below model.k")
        demand(p.epochs == w.epochs, "plan compare", "needs prune.epochs equal to weights.epochs")
        demand(len(p.rankings) == 1, "plan compare", "takes one ranking")


# --- the named ones -----------------------------------------------------------------------------------

AUTHORS = ModelRecipe(conv1=20, conv2=52, neurons=256, k=4)
WIDE = ModelRecipe(conv1=20, conv2=50, neurons=2048, k=4)
WIDER = ModelRecipe(conv1=20, conv2=52, neurons=2048, k=8)

EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment(
            "digits",
            "the embedded 8x8 digits, a small maxout LeNet, three rounds to k = 1: under a minute",
            data=DataRecipe("digits"),
            model=ModelRecipe(conv1=8, conv2=16, neurons=256, k=4, dropout=0.25),
            train=TrainRecipe(epochs=20, batch_size=32),
            prune=PruneRecipe(epochs=10),
        ),
        Experiment(
            "mnist-caffe",
            "the authors' published network and protocol: 20-52-256, k = 4, 5 epochs a stage",
            model=AUTHORS,
        ),
        Experiment(
            "mnist",
            "20-50-2048, k = 4: the paper's -74 % of all parameters by neuron pruning",
            model=WIDE,
        ),
        Experiment(
            "mnist-k8",
            "20-52-2048, k = 8: seven rounds, -86 % by neuron pruning alone",
            model=WIDER,
        ),
        Experiment(
            "mnist-weights",
            "weight pruning alone, per layer by magnitude, in rounds",
            model=WIDE,
            prune=PruneRecipe(to_k=None),
            weights=WeightRecipe(reductions=(0.74, 0.92, 0.98), policy="cosine"),
        ),
        Experiment(
            "mnist-combined",
            "neurons to k = 1, then weights to -92 % of all parameters and beyond",
            model=WIDE,
            weights=WeightRecipe(reductions=(0.92, 0.98), policy="cosine"),
        ),
        Experiment(
            "mnist-compare",
            "neurons alone, weights alone, weights after neurons: equal sizes, equal iterations",
            plan="compare",
            model=AUTHORS,
            weights=WeightRecipe(reductions=(0.92, 0.98)),
        ),
        Experiment(
            "mnist-ranking",
            "six rankings of the neurons, each from the same trained network",
            model=AUTHORS,
            prune=PruneRecipe(rankings=RANKINGS, epochs=2),
        ),
        Experiment(
            "mnist-record",
            "mnist-k8, then as few weights as it can do with: LeNet-5's 431,080 by 110 and by 280",
            model=WIDER,
            weights=WeightRecipe(
                remaining=(3900, 1540),
                schedule="gradual",
                scope="global",
                epochs=40,
                ramp_epochs=20,
                lr=0.03,
                policy="cosine",
                dropout=0.0,
            ),
        ),
    )
}
