"""Pictures of committed verifications of faces: accuracy over size, ROC, folds, the worst pairs.

Results and their file of pairs in, a figure out. A photograph is drawn only if the reader asks for it, and
from the reader's own copy of LFW: an executed notebook that is passed on shows nobody.
"""

from itertools import zip_longest

import numpy as np

from mnp import figures_faces
from mnp.data import lfw
from mnp.errors import MnpError
from mnp.experiments.verification import pair_labels, read_pairs
from mnp.figures import ARMS
from mnp.notebooks import compared
from mnp.notebooks.plates import GREY, plate, thousands, tidy
from mnp.notebooks.results import missing, path_of, read_results


def faces(results_by_title, published=(), title=""):
    """Verification accuracy over the remaining parameters, +- one standard error, beside published figures.

    Parameters
    ----------
    results_by_title : {title: results of `lfw` or `lfw-view2`}
    published : list of dict, method and accuracy: level lines
    """
    figure, ax = plate(size=(9.6, 4.6))
    sizes = []
    for i, (name, (colour, marker, dash)) in enumerate(zip(results_by_title, ARMS, strict=False)):
        results = results_by_title[name]
        steps = compared.accuracies(results)
        x = [row["nonzero"] for row, _, _ in steps]
        y, se = [accuracy for _, accuracy, _ in steps], [se for _, _, se in steps]
        ax.errorbar(x, y, se, fmt=marker, linestyle=dash, color=colour, capsize=3, linewidth=1.8, label=name)
        folds = {}
        for row in results.get("folds", ()):
            folds.setdefault(row["fold"], []).append((row["nonzero"], row["accuracy"]))
        for fold in folds.values():
            ax.plot(*zip(*fold, strict=True), color=colour, linewidth=0.7, alpha=0.3)
        sizes += x
        for row, accuracy, _ in () if i else steps[:1] + [s for s in steps if s[0]["k"] == 1]:
            pruned = row["kind"] not in ("train", "neurons")
            text = f"{-100 * row['reduction']:.0f} %" if pruned else f"k = {row['k']}"
            below = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
            ax.annotate(text, (row["nonzero"], accuracy), (0, -22), **below)
    ax.set_xscale("log")
    ax.set_xlim(1.3 * max(sizes), min(sizes) / 6)  # fewer to the right, and room for the names there
    published = sorted(published, key=lambda line: line["accuracy"])
    for line, above in zip_longest(published, published[1:]):
        near = above is not None and above["accuracy"] - line["accuracy"] < 2.5
        ax.axhline(line["accuracy"], color=GREY, linewidth=0.9, linestyle=":")
        ax.annotate(
            f"{line['method']}: {line['accuracy']:g}",
            (0.995, line["accuracy"]),
            (0, -10 if near else 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    thousands(ax.xaxis)
    tidy(ax, "remaining parameters (not zero), fewer to the right", "pairs called rightly (%)", title)
    ax.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def roc(names, folder=None):
    """ROC curves of committed runs, one beside the other: unpruned, neurons pruned, all steps done.

    Parameters
    ----------
    names : dict
        title -> name of a recipe on faces, such as "lfw"; each needs NAME.json and NAME-pairs.npz.
    """
    figure, axes = plate(len(names), size=(5.4 * len(names), 4.8), squeeze=False)
    for ax, (title, name) in zip(axes[0], names.items(), strict=True):
        rows = _single(name, folder)["rows"]
        figures_faces.roc_curves(figures_faces.curves_of(rows, path_of(f"{name}-pairs.npz", folder)), ax)
        ax.set_title(title, fontsize=11, loc="left")
        ax.set_aspect("equal")
    return figure


def folds(results, title=""):
    """Accuracy of each of View 2's folds: unpruned, neurons pruned to k = 1, and after the last step.

    Parameters
    ----------
    results : dict of `lfw-view2`, with its folds
    """
    figure, ax = plate(size=(9.0, 3.4))
    steps = results["rows"]
    shown = sorted(
        {0, *(row["step"] for row in steps if row["kind"] == "neurons" and row["k"] == 1), len(steps) - 1}
    )
    for i, (step, (colour, marker, _)) in enumerate(zip(shown, ARMS, strict=False)):
        of_step = [row for row in results["folds"] if row["step"] == step]
        row = steps[step]
        x = np.array([one["fold"] + 1 for one in of_step]) + 0.18 * (i - (len(shown) - 1) / 2)
        removed = f"{'k = 1, ' * (row['kind'] == 'neurons')}{-100 * row['reduction']:.0f} %"
        label = removed if step else "unpruned"
        y = [one["accuracy"] for one in of_step]
        mean = f"{row['accuracy']:.1f} ± {row['accuracy_se']:.1f}"
        ax.plot(x, y, marker, color=colour, markersize=7, label=f"{label}: {mean}")
        ax.axhline(row["accuracy"], color=colour, linewidth=0.8, alpha=0.7)
    ax.set_xticks(sorted({row["fold"] + 1 for row in results["folds"]}))
    tidy(ax, "fold of View 2", "pairs called rightly (%)", title)
    figure.legend(loc="outside lower center", ncols=len(shown), frameon=False, fontsize=9)
    return figure


def worst(name, each=4, photographs=False, data=None, folder=None):
    """The pairs that the last network of a run got most wrong: so many of one person, so many of two.

    Most wrong is furthest behind the threshold. Heads are drawn placeholders, whose shade says only whether
    they are one person's.

    Parameters
    ----------
    name : str
        A recipe of View 1, as committed.
    photographs : bool
        Whether to show the reader's own copy of LFW instead (decoded and cached the first time).
    data : path, optional
        Where that copy is; see `lfw.load`.
    """
    results, path = _single(name, folder), path_of(f"{name}-pairs.npz", folder)
    pairs = read_pairs(path, pair_labels(path)[-1])
    columns = most_wrong(pairs, each)
    images = _photographs(results, pairs, data)[columns] if photographs else None
    figure, axes = plate(len(columns), 2, size=(1.2 * len(columns), 3.0), squeeze=False)
    figures_faces.pair_row(axes, pairs["same"][columns], images)
    return figure


def most_wrong(pairs, each):
    """Rows of the pairs furthest behind the threshold, up to `each` of one person, then of two people.

    >>> pairs = {"distances": np.array([0.9, 0.6, 0.1, 0.4, 0.8]), "threshold": 0.5}
    >>> most_wrong(pairs | {"same": np.array([True, True, True, False, False])}, 2)
    array([0, 1, 3])
    """
    distances, same = pairs["distances"], pairs["same"]
    beyond = np.where(same, distances - pairs["threshold"], pairs["threshold"] - distances)
    of = lambda kind: np.flatnonzero((beyond > 0) & (same == kind))  # noqa: E731
    return np.concatenate([sorted(of(kind), key=lambda row: -beyond[row])[:each] for kind in (True, False)])


def _photographs(results, pairs, data):
    """Both photographs of every pair that was tested, (P, 2, 3, H, W) uint8."""
    recipe = results["recipe"]["data"]
    if recipe["view"] != 1:
        raise MnpError("photographs are shown for the pairs of View 1 only: name a run such as lfw")
    found = lfw.load(data, variant=recipe["variant"], crop=recipe["crop"], size=recipe["size"])
    listed = found.pairs("pairsDevTest")
    if not np.array_equal(listed.same, pairs["same"]):
        raise MnpError(
            "your copy of LFW has other test pairs than the run: fetch it with data_scripts/get_lfw.py"
        )
    return np.stack([found.images[listed.first], found.images[listed.second]], axis=1)


def _single(name, folder):
    """Committed results of one seed: pairs are kept for such only."""
    results = read_results(name, folder)
    if results is None:
        raise MnpError(missing(name))
    if len(results["seeds"]) > 1:
        raise MnpError(f"{name}: has {len(results['seeds'])} seeds; the pairs of one are needed")
    return results
