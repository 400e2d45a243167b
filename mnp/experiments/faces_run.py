"""Carry out an experiment on faces: the steps of `run`, judged by verification; and View 2's ten folds.

out/pairs.npz    what each step said of the tested pairs (`faces_pairs`)
out/fold-F/      an ordinary run folder for each fold (View 2); finished, it needs no checkpoints any more
out/summary.json rows over all folds: accuracy with its standard error, tests against the unpruned network
"""

from dataclasses import replace
from types import ModuleType

import numpy as np

from mnp.data import lfw
from mnp.errors import MnpError
from mnp.experiments import faces
from mnp.experiments.faces_data import load_faces
from mnp.experiments.faces_pairs import (
    against_unpruned,
    verified,
    write_pairs,
    write_pairs_of_folds,
)
from mnp.experiments.faces_recipes import FOLDS
from mnp.experiments.folder import HISTORY, PAIRS, SUMMARY
from mnp.experiments.rows import FACE_FIELDS, WHOLE, check_row, to_csv
from mnp.experiments.run import Run, check_run_folder, run
from mnp.experiments.side_by_side import side_by_side
from mnp.experiments.stage import Stage
from mnp.files import atomic_write, read_json
from mnp.nn import Dense, Network, fold_batchnorm, units_of, vgg16
from mnp.nn.augment import standard_augmentation
from mnp.nn.base import backend_name

LAST_LAYER = 0.1  # scale of fc8's first weights
BATCH = 100  # images at once where nothing is learned: a batch's activations stay in a few hundred MiB


def features_of(net, images):
    """What the network makes of a face: the input of its last dense layer, image plus mirror image.

        feature[n] = f(x[n]) + f(mirror(x[n])),   f: the network up to fc7, its ReLU included

    Parameters
    ----------
    net : Network
    images : (N, C, H, W) float

    Returns
    -------
    features : (N, D) float, in evaluation mode, batch normalisation folded into the convolutions
    """
    net = fold_batchnorm(net)
    names = list(net.layers)
    last = max(i for i, layer in enumerate(net.layers.values()) if isinstance(layer, Dense))
    if last == 0:
        raise MnpError("the network has a single layer: there is no feature before it")
    parts = []
    for start in range(0, len(images), BATCH):
        x = images[start : start + BATCH]
        mirrored = np.ascontiguousarray(x[:, :, :, ::-1])
        parts.append(net.forward(x, until=names[last - 1]) + net.forward(mirrored, until=names[last - 1]))
    return np.concatenate(parts)


def verify(features, data, name):
    """Judge features: the threshold from the training pairs, everything else from the tested ones.

    Parameters
    ----------
    features : (M, D) float, of data.images
    data : FacesData
    name : str, a distance

    Returns
    -------
    found : dict
        threshold, accuracy, accuracy_se (binomial, from the pairs of this one test) and eer in %, and
        the arrays distances (P,), same (P,) of the tested pairs.
    """
    of = {}
    for kind, pairs in (("chosen_by", data.chosen_by), ("tested", data.tested)):
        of[kind] = faces.distance(name, features[pairs.first], features[pairs.second])
    threshold = faces.choose_threshold(of["chosen_by"], data.chosen_by.same)
    same = data.tested.same
    share = faces.accuracy(of["tested"], same, threshold)
    return {
        "threshold": threshold,
        "accuracy": 100 * share,
        "accuracy_se": 100 * faces.binomial_standard_error(share, len(same)),
        "eer": 100 * faces.equal_error_rate(of["tested"], same),
        "distances": of["tested"],
        "same": same,
    }


class FacesStage(Stage):
    """A step whose row is a verification, and whose images are mirrored, shifted and zoomed."""

    fields = FACE_FIELDS

    def __init__(self, run, step):
        super().__init__(run, step)
        self.augment = standard_augmentation(self.experiment.train.shift, self.experiment.train.zoom)

    def learning_rate(self, iteration):
        total = self.step.epochs * self.per_epoch
        warmup = min(self.experiment.train.warmup, total // 4) if self.step.kind == "train" else 0
        if iteration < warmup:
            return self.section.lr * (iteration + 1) / warmup
        return super().learning_rate(iteration)

    def ranked(self):
        """The layers behind the convolutions, and what these make of the images: computed once for both."""
        net = fold_batchnorm(self.net)
        images = self.data.train_images
        batches = [net.forward(images[i : i + BATCH], until="flatten") for i in range(0, len(images), BATCH)]
        names = list(self.net.layers)
        head = names[names.index("flatten") + 1 :]
        return Network([(name, self.net[name]) for name in head]), np.concatenate(batches)

    def measure(self):
        """Distances of all three kinds; the recipe's own decides the row, and its pairs are kept."""
        features = features_of(self.net, self.data.images)
        name = self.experiment.data.distance
        found = {other: verify(features, self.data, other) for other in faces.DISTANCES}
        for other, result in found.items():
            self.found |= {f"verification/{other}/{key}": np.asarray(value) for key, value in result.items()}
        row = {key: found[name][key] for key in ("accuracy", "accuracy_se", "eer", "threshold")}
        return row | {
            "error": 100 - row["accuracy"],
            "distance": name,
            "test_loss": None,
            "validation_error": None,
        }


class FacesRun(Run):
    """What the steps of a run on faces share."""

    stage, at_the_end = FacesStage, (SUMMARY, PAIRS)
    faces = None  # photographs that were loaded before

    def load(self):
        return load_faces(self.experiment.data, self.data_folder, self.faces)

    def network(self, rng):
        m = self.experiment.model
        net = vgg16(
            m.width,
            self.data.image_shape[1],
            units_of(m.neurons, m.k),
            m.k,
            self.data.classes,
            batchnorm=m.batchnorm,
            relu=m.relu,
            dropout=m.dropout,
            rng=rng,
            init=m.init,
            backend=self.backend,
        )
        # A thousand classes: small logits at first, or the first steps only unlearn the random ones.
        net["fc8"].params["weight"] *= np.float32(LAST_LAYER)
        return net

    def more(self):
        """The counts of the data, and each step against the unpruned network on the same pairs."""
        write_pairs(self.out, [step.label for step in self.steps])
        facts = (self.data or self.load()).facts
        return {"data": facts, "against_unpruned": against_unpruned([self.out], self.rows, self.steps)}


class FoldsRun(Run):
    """View 2: a run for each fold, in a folder of its own; a row is the mean over the folds."""

    faces, jobs = None, 1

    def carry_out(self):
        e, d = self.experiment, self.experiment.data
        folds = [replace(e, data=replace(d, fold=fold)) for fold in range(FOLDS)]
        folders = [self.out / f"fold-{fold}" for fold in range(FOLDS)]
        of_folds = [self.recorded(*fold) for fold in zip(folds, folders, strict=True)]
        left = [fold for fold, rows in enumerate(of_folds) if rows is None]
        if left:  # for one process after another; those side by side find the decoded images in the cache
            self.faces = lfw.load(self.data_folder, variant=d.variant, crop=d.crop, size=d.size)
        # Processes get them by name.
        backend = backend_name(self.backend) if isinstance(self.backend, ModuleType) else self.backend
        how = {"data_folder": self.data_folder, "backend": backend, "log": self.log}
        if self.jobs > 1 and left:
            side_by_side({f"fold {fold}": (folds[fold], folders[fold]) for fold in left}, self.jobs, **how)
        for fold in left:
            self.log(f"fold {fold} of 0 to {FOLDS - 1}")
            of_folds[fold] = run(folds[fold], folders[fold], faces=self.faces, **how)
        write_pairs_of_folds(self.out, folders, [step.label for step in self.steps])
        self.rows = [over_folds(list(of_step)) for of_step in zip(*of_folds, strict=True)]
        self.of_folds, self.folders = of_folds, folders
        atomic_write(self.out / HISTORY, to_csv(self.rows))
        self.summarise(read_json(folders[0] / SUMMARY, "a summary")["kernels"])
        return self.rows

    def recorded(self, experiment, folder):
        """The rows of a fold that is finished, by its summary and its pairs; else None."""
        if not ((folder / SUMMARY).exists() and (folder / PAIRS).exists()):
            return None
        check_run_folder(folder, experiment)
        rows = read_json(folder / SUMMARY, "a summary").get("rows")
        try:
            for step, row in zip(self.steps, rows, strict=True):
                check_row(row, FACE_FIELDS, step)
                verified(folder, step.label)
        except (MnpError, TypeError, ValueError) as error:
            self.log(f"{folder}: {error}; that fold is looked at again")
            (folder / PAIRS).unlink(missing_ok=True)  # its checkpoints give a new one
            return None
        return rows

    def more(self):
        return {
            "data": [read_json(folder / SUMMARY, "a summary")["data"] for folder in self.folders],
            "against_unpruned": against_unpruned(self.folders, self.rows, self.steps, self.of_folds),
            "folds": [{"fold": fold, **row} for fold, rows in enumerate(self.of_folds) for row in rows],
        }


SUMS = ("seconds",)
SAME = ("step", "kind", "k", "arm", "ranking", "parent", "epochs", "distance")


def over_folds(rows):
    """One row for a step of all folds.

    Means, sizes rounded to whole numbers (the folds have different people, so different last layers);
    `seconds` is a sum; accuracy_se is the standard error over folds, sd / sqrt(10).
    """
    row = {}
    for name in FACE_FIELDS:
        values = [one[name] for one in rows]
        if name in SAME or any(value is None for value in values):
            row[name] = values[0] if name in SAME else None
        elif name in SUMS:
            row[name] = round(sum(values), 3)
        else:
            mean, _ = faces.mean_and_standard_error(values)
            row[name] = round(mean) if name in WHOLE else mean
    _, row["accuracy_se"] = faces.mean_and_standard_error([one["accuracy"] for one in rows])
    return row
