"""What each step of a run on faces said of the tested pairs, in one small file: `pairs.npz`.

With it a finished run can be drawn, compared and summed up without its checkpoints: a finished fold of
View 2 is recipe.json, summary.json and pairs.npz, small enough to carry to another machine.

    <label>/distances  (P,) float64, by the recipe's distance     <label>/same  (P,) bool
    <label>/threshold  () float64     label: of a step, such as 00-train-k4; the pairs in their list's order
"""

import numpy as np

from mnp.errors import MnpError
from mnp.experiments import faces
from mnp.experiments.checkpoint import load_checkpoint, save_checkpoint, under
from mnp.experiments.folder import CHECKPOINTS, PAIRS
from mnp.experiments.statistics import paired_interval


def write_pairs(folder, labels):
    """Collect from a run's checkpoints what their networks said of the pairs."""
    arrays = {}
    for label in labels:
        found, meta = load_checkpoint(folder / CHECKPOINTS / f"{label}.npz")
        found = under(found, f"verification/{meta['row']['distance']}")
        arrays |= {f"{label}/{key}": found[key] for key in ("distances", "same", "threshold")}
    save_checkpoint(folder / PAIRS, arrays, {"steps": list(labels)})


def write_pairs_of_folds(folder, folders, labels):
    """The pairs of all folds, one after another; each fold's distances over its threshold, so that 1 decides.

    A threshold of 0 or less cannot scale; then distances are shifted, so that they are right all the same.
    """
    arrays = {}
    for label in labels:
        found = [verified(one, label) for one in folders]
        scaled = [
            f["distances"] / f["threshold"] if f["threshold"] > 0 else f["distances"] - f["threshold"] + 1
            for f in found
        ]
        arrays |= {
            f"{label}/distances": np.concatenate(scaled),
            f"{label}/same": np.concatenate([f["same"] for f in found]),
            f"{label}/called_same": np.concatenate([decided(f) for f in found]),
            f"{label}/threshold": np.float64(1),
        }
    save_checkpoint(folder / PAIRS, arrays, {"steps": list(labels)})


def labels_in(path):
    """The labels of the steps in a file of pairs."""
    steps = load_checkpoint(path)[1].get("steps")
    if not isinstance(steps, list) or not all(isinstance(label, str) for label in steps):
        raise MnpError(f"{path}: does not say which steps it is of")
    return steps


def verified(folder, label):
    """What a step said of its pairs: a dict of distances (P,), same (P,) and threshold ()."""
    return verified_in(folder / PAIRS, label)


def verified_in(path, label):
    """The same from a file of any name."""
    found = under(load_checkpoint(path)[0], label)
    if not {"distances", "same", "threshold"} <= set(found) or len(found["distances"]) != len(found["same"]):
        raise MnpError(f"{path}: has no whole step {label!r}")
    return found


def decided(pairs):
    """Which pairs were called the same, (P,) bool; folds keep what they decided, whatever rounding did."""
    if "called_same" in pairs:
        return pairs["called_same"]
    return faces.decide(pairs["distances"], pairs["threshold"])


def rightly(folder, label):
    """Which tested pairs the network of a step called rightly, (P,) bool."""
    pairs = verified(folder, label)
    return decided(pairs) == pairs["same"]


def against_unpruned(folders, rows, steps, of_folds=None):
    """Each step beside the unpruned network (step 0), on the same pairs.

    Parameters
    ----------
    folders : list of Path
        Run folders: one, or one a fold.
    rows : list of row
    steps : list of Step
    of_folds : list of lists of row, optional
        For View 2: the rows of each fold.

    Returns
    -------
    list of dict, one a step
        step; lost, won: pairs that only the unpruned network, only this one got right; mcnemar_p: McNemar's
        exact test over all pairs; change: accuracy less the unpruned one's, in points; with several folds
        change_se, change_low, change_high: paired over folds, 95 % t-interval; within_one_se: whether the
        accuracy lies at most one standard error of the unpruned accuracy below it.
    """
    right = [np.concatenate([rightly(folder, step.label) for folder in folders]) for step in steps]
    found = []
    for step, row in zip(steps, rows, strict=True):
        lost, won, p = faces.mcnemar(right[0], right[step.index])
        line = {"step": step.index, "lost": lost, "won": won, "mcnemar_p": p}
        line["change"] = row["accuracy"] - rows[0]["accuracy"]
        if of_folds is not None:
            before, after = ([of[i]["accuracy"] for of in of_folds] for i in (0, step.index))
            differences = np.subtract(after, before)
            _, line["change_se"] = faces.mean_and_standard_error(differences)
            _, line["change_low"], line["change_high"] = paired_interval(after, before)
        line["within_one_se"] = bool(line["change"] >= -rows[0]["accuracy_se"])
        found.append(line)
    return found
