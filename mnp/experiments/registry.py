"""The named experiments, and the folder of a run: what it holds, which experiment it belongs to."""

import contextlib
import tomllib
from dataclasses import replace
from pathlib import Path

from mnp.errors import MnpError
from mnp.experiments.config import differences, digest, from_dict, suggest
from mnp.experiments.recipes import (
    RANKINGS,
    DataRecipe,
    Experiment,
    FacesExperiment,
    FacesRecipe,
    FacesTrainRecipe,
    ModelRecipe,
    OwnExperiment,
    PruneRecipe,
    TrainRecipe,
    WeightRecipe,
)
from mnp.files import LOCK, PARTIAL, lock_folder, make_folder, read_json, remove_partial_files

# --- files in the folder of a run -----------------------------------------------------------------------

RECIPE, SUMMARY, HISTORY, CHECKPOINTS = "recipe.json", "summary.json", "history.csv", "checkpoints"
SEEDS = "seeds.json"  # only in a folder of several seeds
PAIRS = "pairs.npz"  # only in that of face verification
LOG = "log.txt"  # of a run in a separate process

# --- the named experiments -----------------------------------------------------------------------------

AUTHORS = ModelRecipe(conv1=20, conv2=52, neurons=256, k=4)
AUTHORS_K8 = ModelRecipe(conv1=20, conv2=52, neurons=512, k=8)
WIDE = ModelRecipe(conv1=20, conv2=50, neurons=2048, k=4)
WIDER = ModelRecipe(conv1=20, conv2=52, neurons=2048, k=8)

FACES_PRUNE = PruneRecipe(epochs=2, lr=0.01, policy="cosine", layers=("fc6", "fc7"))
FACES_WEIGHTS = WeightRecipe(
    reductions=(0.8, 0.95),
    floors=(("conv1_1", 0.5), ("conv1_2", 0.5), ("conv2_1", 0.5)),  # 7,344 weights that all others need
    epochs=3,
    lr=0.01,
    policy="cosine",
)

# Chosen for 4-8-24 on the last 10,000 training images, one seed: without augmentation these networks have
# seven times the loss on new images that they have on the training images.
TINY_TRAIN = TrainRecipe(
    epochs=10, lr=0.03, policy="cosine", weight_decay=1e-3, augment="mnp.nn.augment:shift_by_one"
)
TINY_PRUNE = PruneRecipe(epochs=10, lr=0.03, policy="cosine", layers=("conv1", "conv2", "fc3"))
TINY = {  # name: filters, filters, units
    "mnist-tiny-50": (6, 10, 40),
    "mnist-tiny-100": (4, 8, 24),
    "mnist-tiny-200": (3, 6, 15),
}

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
            "fashion-caffe",
            "Fashion-MNIST with the authors' network and protocol",
            data=DataRecipe("fashion-mnist"),
            model=AUTHORS,
        ),
        Experiment(
            "fashion",
            "Fashion-MNIST with the network of the recipe mnist",
            data=DataRecipe("fashion-mnist"),
            model=WIDE,
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
            prune=PruneRecipe(rankings=RANKINGS[:6], epochs=2),
        ),
        Experiment(
            "mnist-caffe-controls",
            "mnist-caffe beside its controls: nothing removed, random, small from scratch, rewound",
            plan="controls",
            model=AUTHORS,
            prune=PruneRecipe(rankings=("win_counts", "random")),
        ),
        Experiment(
            "mnist-controls",
            "mnist beside the same controls",
            plan="controls",
            model=WIDE,
            prune=PruneRecipe(rankings=("win_counts", "random")),
        ),
        Experiment(
            "mnist-caffe-retrained",
            "mnist-caffe and controls, retrained with a higher cosine learning rate and without dropout",
            plan="controls",
            model=AUTHORS,
            prune=PruneRecipe(lr=0.03, policy="cosine", dropout=0.0),
        ),
        Experiment(
            "mnist-retrained",
            "mnist and controls, retrained in the same way",
            plan="controls",
            model=WIDE,
            prune=PruneRecipe(lr=0.03, policy="cosine", dropout=0.0),
        ),
        *(
            Experiment(
                name + ending,
                f"maxout in every layer, pruned to {'-'.join(map(str, widths))}{end}; the same from scratch",
                plan="controls",
                model=ModelRecipe(*widths[:2], neurons=4 * widths[2], k=4, conv_k=4, dropout=0.0),
                train=TINY_TRAIN,
                prune=replace(TINY_PRUNE, to_k=to_k),
            )
            for to_k, ending, end in ((1, "", ""), (2, "-k2", " with k = 2"))
            for name, widths in TINY.items()
        ),
        Experiment(
            "mnist-combined-controls",
            "mnist-combined beside a network that nothing is removed from, trained for as long",
            plan="controls",
            model=WIDE,
            weights=WeightRecipe(reductions=(0.92, 0.98), policy="cosine"),
        ),
        Experiment(
            "fashion-caffe-controls",
            "mnist-caffe-controls on Fashion-MNIST",
            plan="controls",
            data=DataRecipe("fashion-mnist"),
            model=AUTHORS,
            prune=PruneRecipe(rankings=("win_counts", "random")),
        ),
        Experiment(
            "mnist-relevance",
            "eight rankings without retraining, k = 8 to 1, each from the same trained network",
            model=AUTHORS_K8,
            prune=PruneRecipe(rankings=RANKINGS, epochs=0),
        ),
        Experiment(
            "mnist-relevance-retrained",
            "mnist-relevance with one epoch of retraining after each removal",
            model=AUTHORS_K8,
            prune=PruneRecipe(rankings=RANKINGS, epochs=1),
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
        Experiment(
            "mnist-tiny-record",
            "mnist-tiny-100 to k = 2, then few weights: LeNet-5's 431,080 by 111, by 280 and by 500",
            model=ModelRecipe(4, 8, neurons=4 * 24, k=4, conv_k=4, dropout=0.0),
            train=TINY_TRAIN,
            prune=replace(TINY_PRUNE, to_k=2),
            weights=WeightRecipe(
                remaining=(3884, 1540, 862),
                schedule="gradual",
                scope="global",
                epochs=20,
                ramp_epochs=10,
                lr=0.03,
                policy="cosine",
                weight_decay=1e-4,
            ),
        ),
        FacesExperiment(
            "lfw",
            "View 1 of LFW: a quarter-width VGG16, fc6 and fc7 from k = 4 to 1, then weights",
            prune=FACES_PRUNE,
            weights=FACES_WEIGHTS,
        ),
        FacesExperiment(
            "lfw-controls",
            "lfw beside a network that nothing is removed from, trained for as long",
            plan="controls",
            prune=FACES_PRUNE,
            weights=FACES_WEIGHTS,
        ),
        FacesExperiment(
            "lfw-view2",
            "View 2 of LFW: the same for each of its ten folds; resumable fold by fold",
            data=FacesRecipe(view=2),
            train=FacesTrainRecipe(epochs=32),  # ten folds in two and a half hours
            prune=replace(FACES_PRUNE, epochs=1),
            weights=replace(FACES_WEIGHTS, epochs=2),
        ),
        *(
            FacesExperiment(
                f"lfw-crop-{crop}",
                f"the first training of lfw on the middle {crop} x {crop} pixels: one of three crops",
                data=FacesRecipe(crop=crop),
                prune=PruneRecipe(to_k=None),
            )
            for crop in (96, 160)
        ),
    )
}


def get_experiment(name):
    """Return the named experiment, or that of a recipe file (its name ends in .toml or .json).

    Raises MnpError with the names that resemble an unknown one.

    >>> get_experiment("digit")
    Traceback (most recent call last):
    mnp.errors.MnpError: no recipe 'digit': did you mean digits? (`mnp list` shows all)
    """
    if Path(name).suffix in (".toml", ".json"):
        return read_recipe_file(name)
    if name not in EXPERIMENTS:
        raise MnpError(f"no recipe {name!r}{suggest(name, EXPERIMENTS)} (`mnp list` shows all)")
    return EXPERIMENTS[name]


def is_variant(experiment):
    """Whether an experiment differs from the named one of its name in more than the seed."""
    named = EXPERIMENTS.get(experiment.name)
    return named is not None and replace(experiment, seed=named.seed) != named


# --- the experiment of a folder --------------------------------------------------------------------------


def experiment_from(values, complete=True):
    """Make an experiment from what `to_dict` returned, or from a recipe file, which need not be complete.

    Only the data of faces have a `variant`, and only a user-defined model has a `builder`.
    """
    data, model = (values[name] if isinstance(values.get(name), dict) else {} for name in ("data", "model"))
    kind = FacesExperiment if "variant" in data else OwnExperiment if "builder" in model else Experiment
    return from_dict(kind, values, complete=complete)


def read_recipe_file(path):
    """Read an experiment from a TOML file, or from the recipe.json of a run.

    Fields that a TOML file leaves out have the defaults of `recipes`; its name is the file's, if it has none.
    """
    path = Path(path)
    if path.suffix == ".json":
        values = read_json(path, "a recipe")
    else:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValueError as error:  # TOML and UTF-8
            raise MnpError(f"{path}: is not valid TOML ({error})") from None
        values.setdefault("name", path.stem)
    try:
        return experiment_from(values, complete=path.suffix == ".json")
    except MnpError as error:
        raise MnpError(f"{path}: {error}") from None


def read_experiment(out):
    """Read the experiment of a run's folder."""
    path = Path(out) / RECIPE
    if not path.exists():
        raise MnpError(f"{out}: holds no run (there is no {RECIPE})")
    return read_recipe_file(path)


def default_folder(experiment):
    """The default folder of a run: runs/<name>-<digest of the recipe>.

    >>> default_folder(get_experiment("mnist")).parent.name
    'runs'
    """
    return Path("runs") / f"{experiment.name}-{digest(experiment)}"


def check_run_folder(out, experiment, several=False):
    """Check that a folder is new, empty, or this experiment's own (of one seed, or of several seeds).

    A recipe in the folder counts only if there is also a result: a run that failed before it saved
    anything does not claim its folder.
    """
    if out.exists() and not out.is_dir():
        raise MnpError(f"{out}: is not a folder; choose another --out")
    if (out / RECIPE).exists():
        if not has_results(out):
            return
        other = read_experiment(out)
        if other != experiment:
            raise MnpError(f"{out}: holds {describe_other(other, experiment)}; choose another --out")
        if (out / (CHECKPOINTS if several else SEEDS)).exists():
            kinds = ("a run of one seed", "runs of several seeds")
            raise MnpError(f"{out}: holds {kinds[not several]}, not {kinds[several]}; choose another --out")
    elif out.exists():
        ours = {PAIRS, RECIPE, SUMMARY, HISTORY, CHECKPOINTS, SEEDS, LOG, LOCK}
        strange = {path.name for path in out.iterdir() if path.suffix != PARTIAL} - ours
        if strange:
            raise MnpError(f"{out}: is not empty and holds no run ({min(strange)}); choose another --out")


def has_results(out):
    """Whether a run, or one of its seeds or folds, has saved a checkpoint or a summary."""
    names = (SUMMARY, f"{CHECKPOINTS}/*.npz")
    return any(True for name in names for place in ("", "*/") for _ in out.glob(place + name))


def describe_other(other, experiment):
    """Say in which fields the experiment of a folder differs from the one that is asked for."""
    if type(other) is not type(experiment) or other.name != experiment.name:
        return f"the recipe {other.name}, not {experiment.name}"
    changes = [
        f"{path} = {old or 'empty'}, not {new or 'empty'}"
        for path, old, new in differences(other, experiment)
    ]
    more = f" (and {len(changes) - 3} more fields)" if len(changes) > 3 else ""
    return f"the recipe {other.name} with {'; '.join(changes[:3])}{more}"


@contextlib.contextmanager
def open_run_folder(out, experiment, log, several=False):
    """Context manager: make an experiment's folder, or check that it is its own, and hold its lock."""
    check_run_folder(out, experiment, several)
    make_folder(out)
    with lock_folder(out, log):
        remove_partial_files(out, out / CHECKPOINTS)
        check_run_folder(out, experiment, several)  # again, now that no other process writes
        yield
