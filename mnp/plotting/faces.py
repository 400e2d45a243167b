"""Face verification: ROC curves, and accuracy against size."""

import numpy as np

from mnp.errors import MnpError
from mnp.experiments import verification
from mnp.experiments.results import describe_round
from mnp.plotting.style import BLACK, GREY, LINES, label_axes, log_scale, new_figure


def plot_roc(panels):
    """ROC curves, {title: {label: curve}}, one panel per title.

    A curve is (false_positive, true_positive), both (T,) in [0, 1]; and optionally the operating point,
    (x, y) in [0, 1], which is drawn as a marker.
    """
    figure, axes = new_figure(len(panels), size=(4.9 * max(1.2, len(panels)), 4.9), squeeze=False)
    for (title, curves), ax in zip(panels.items(), axes.flat, strict=True):
        for (label, curve), (colour, marker, dash) in zip(curves.items(), LINES * 2, strict=False):
            x, y, *point = (100 * np.asarray(part) for part in curve)
            ax.step(x, y, where="post", color=colour, linestyle=dash, linewidth=1.6, label=label)
            for at in point:
                ax.plot(*at, marker=marker, color=colour, markersize=8, linestyle="none")
        ax.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, label="chance")
        ax.plot([0, 100], [100, 0], color=BLACK, linewidth=0.8, linestyle=":", label="equal error rates")
        ax.set(aspect="equal", xlim=(-1, 101), ylim=(-1, 101))
        label_axes(ax, "false-positive rate (%)", "true-positive rate (%)", title)
        ax.legend(framealpha=0.9, edgecolor="none", fontsize=8, loc="lower right")
    return figure


def roc_of_run(rows, path):
    """The ROC curves of a run: unpruned, after the last round of neuron pruning, after the last round.

    Parameters
    ----------
    rows : list of row
        Of the run, or of its committed results.
    path : str or Path
        The run's file of pairs. View 2: the pairs of all folds, each fold's distances divided by its own
        threshold, so that the operating point of every fold is at 1.

    Returns {label that ends in the equal error rate (EER): (false_positive, true_positive, operating point)}.
    """
    names = verification.pair_labels(path)
    if len(names) != len(rows):
        raise MnpError(f"{path}: has {len(names)} rounds, but there are {len(rows)} rows")
    neurons = [i for i, row in enumerate(rows) if row["kind"] == "neurons"]
    curves = {}
    for i in sorted({0, *neurons[-1:], len(rows) - 1}):
        pairs = verification.read_pairs(path, names[i])
        distances, same, accepted = pairs["distances"], pairs["same"], verification.called_same(pairs)
        label = f"{describe_round(rows[i])}, {rows[i]['nonzero']:,} parameters" if i else "unpruned"
        label += f" (EER {100 * verification.equal_error_rate(distances, same):.1f} %)"
        x, y, _ = verification.roc(distances, same)
        curves[label] = x, y, (accepted[~same].mean(), accepted[same].mean())
    return curves


def plot_accuracy(runs, folds=None, published=(), title=""):
    """Verification accuracy against the number of remaining parameters, +- one standard error.

    Parameters
    ----------
    runs : {label: [(row, accuracy, standard error)] per round}
    folds : {label: rows of all folds}, optional
        Drawn as thin lines.
    published : list of dict with method and accuracy
        Drawn as horizontal lines; those far from the runs are named only.
    """
    figure, ax = new_figure(size=(9.6, 4.6))
    for (name, rounds), (colour, marker, dash) in zip(runs.items(), LINES, strict=False):
        x, y, se = zip(*((row["nonzero"], mean, error) for row, mean, error in rounds), strict=True)
        line = {"linestyle": dash, "color": colour, "capsize": 3, "linewidth": 1.8}
        ax.errorbar(x, y, se, fmt=marker, label=name, **line)
        rows = (folds or {}).get(name, ())
        for fold in {row["fold"] for row in rows}:
            points = [(row["nonzero"], row["accuracy"]) for row in rows if row["fold"] == fold]
            ax.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.3)
    first = next(iter(runs.values()))
    for row, accuracy, se in [first[0], *(r for r in first if r[0]["k"] == 1)]:
        pruned = row["kind"] not in ("train", "neurons")
        text = f"{-100 * row['reduction']:.0f} %" if pruned else f"k = {row['k']}"
        style = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
        ax.annotate(text, (row["nonzero"], accuracy + se), (0, 5), **style)
    log_scale(ax.xaxis)
    sizes = [row["nonzero"] for rounds in runs.values() for row, _, _ in rounds]
    ax.set_xlim(1.3 * max(sizes), min(sizes) / 6)  # fewer to the right, with room for the methods' names
    shown = [row["accuracy"] for rows in (folds or {}).values() for row in rows]
    shown += [mean for rounds in runs.values() for _, mean, _ in rounds]
    low, high = min(shown) - 3, max(shown) + 3
    ax.set_ylim(low, high)
    outside = []
    for line in published:
        text = f"{line['method']}: {line['accuracy']:g}"
        if low < line["accuracy"] < high:
            ax.axhline(line["accuracy"], color=GREY, linewidth=0.9, linestyle=":")
            place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
            ax.annotate(text, (0.995, line["accuracy"]), (0, 2), fontsize=8, **place)
        else:
            outside.append(text)
    if outside:
        text = "not shown: " + "; ".join(outside)
        ax.text(0.995, 0.02, text, transform=ax.transAxes, fontsize=8, ha="right")
    label_axes(ax, "remaining parameters (nonzero), fewer to the right", "accuracy (%)", title)
    ax.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 0.05))
    return figure
