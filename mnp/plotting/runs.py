"""Test error against size, win counts per round, and the figures of a run folder."""

from pathlib import Path

import numpy as np

from mnp.checkpoint import load_checkpoint, with_prefix
from mnp.errors import MnpError
from mnp.experiments.registry import CHECKPOINTS, PAIRS, SUMMARY
from mnp.files import read_json
from mnp.plotting import style
from mnp.plotting.faces import plot_roc, roc_of_run
from mnp.plotting.style import (
    arm_label,
    format_tick,
    label_axes,
    legend_below,
    log_scale,
    new_figure,
    save_png,
)


def new_grid(panels, columns, height, **options):
    """A figure of panels, so many in a line; `height` is a function of the number of lines."""
    columns = min(columns, panels)
    lines = -(-panels // columns)
    figure, axes = new_figure(columns, lines, (9.6, height(lines)), squeeze=False, **options)
    for ax in axes.flat[panels:]:
        ax.set_axis_off()
    return figure, axes


def plot_runs(runs):
    """Test error against the number of remaining parameters: {title: rows}, one panel per run."""
    figure, axes = new_grid(len(runs), 2, lambda lines: max(4.8, 3.9 * lines))
    for (title, rows), ax in zip(runs.items(), axes.flat, strict=False):
        draw_errors(rows, ax)
        ax.set_title(title, loc="left", fontsize=11)
    return figure


def draw_errors(rows, ax):
    """Draw the test error of every round over its number of remaining parameters; fewer are to the right.

    The rows are those of one run, or of several seeds: thin lines for the seeds, thick ones for their mean.
    """
    seeds = {}
    for row in rows:
        seeds.setdefault(row.get("seed", 0), []).append(row)
    mean = [average(of_round) for of_round in zip(*seeds.values(), strict=True)]
    arms = paths(mean)
    for (name, path), (colour, marker, dash) in zip(arms.items(), style.LINES * 3, strict=False):
        x, y = zip(*((mean[i]["nonzero"], mean[i]["error"]) for i in path), strict=True)
        for one in seeds.values() if len(seeds) > 1 else ():
            ax.plot(x, [one[i]["error"] for i in path], color=colour, alpha=0.25, linewidth=0.8)
        label = arm_label(name) or "after training"
        line = {"color": colour, "marker": marker, "markersize": 7}
        ax.plot(x, y, linestyle=dash, linewidth=2, label=label, **line)
        removals = [mean[i] for i in path[1:] if mean[i]["kind"] != "gradual"]
        if removals:
            x, y, before = ([row[name] for row in removals] for name in ("nonzero", "error", "error_before"))
            ax.vlines(x, y, before, color=colour, linewidth=1, linestyle=":")
            ax.plot(x, before, linestyle="none", markerfacecolor="none", **line | {"markersize": 11})
    hollow = {"color": style.BLUE, "markerfacecolor": "none", "markersize": 9}
    ax.plot([], [], "o", label="after removal, before retraining", **hollow)
    scale_axes(ax, mean)
    label_axes(ax, "remaining parameters (nonzero), fewer to the right", "test error (%)")
    ax.legend(frameon=False, fontsize=9)
    if len(arms) == 1:
        annotate(ax, mean)


def average(of_round):
    """The row of a round over several seeds: that of the first seed, with the mean errors."""
    means = {name: np.mean([row[name] for row in of_round]) for name in ("error", "error_before", "nonzero")}
    return of_round[0] | means


def paths(rows):
    """For each arm the indices of its rows, beginning with the row that it branches from."""
    arms = {}
    for i, row in enumerate(rows):
        if row["arm"] or not any(r["arm"] for r in rows):
            start = [row["parent"]] if row["parent"] >= 0 and row["kind"] != "rewind" else []
            arms.setdefault(row["arm"], start).append(i)
    return arms


def scale_axes(ax, rows):
    """Logarithmic scales where the values span a wide range, and the x axis reversed."""
    errors = [row["error"] for row in rows]
    errors += [row["error_before"] for row in rows if row["kind"] not in ("train", "rewind")]
    if min(errors) > 0 and max(errors) > 5 * min(errors):
        log_scale(ax.yaxis)
    sizes = [row["nonzero"] for row in rows]
    if max(sizes) > 8 * min(sizes):
        log_scale(ax.xaxis)
    else:
        ax.xaxis.set_major_formatter(format_tick)
        ax.xaxis.get_major_locator().set_params(nbins=6)
    ax.margins(x=0.08, y=0.15)  # room for the annotations
    ax.invert_xaxis()


def annotate(ax, rows):
    """Write k, or the reduction by weight pruning, at the points, where there is room for it.

    The first row comes first, then the others from the smallest network upwards; a text that would stand
    closer than 9 % of the width to one before it is left out.
    """
    shown = []
    for row in rows[:1] + rows[:0:-1]:
        point = row["nonzero"], row["error"]
        place = ax.transAxes.inverted().transform(ax.transData.transform(point))[0]
        if any(abs(place - other) < 0.09 for other in shown):
            continue
        shown.append(place)
        weights = row["kind"] not in ("train", "neurons")
        text = f"{-100 * row['reduction']:.1f} %" if weights else f"k = {row['k']}"
        # On the side of the point where its hollow marker is not.
        above = row["parent"] >= 0 and (row["kind"] == "gradual" or row["error_before"] < row["error"])
        offset = (0, 9 if above else -18)
        ax.annotate(text, point, offset, textcoords="offset points", ha="center", fontsize=9)


def plot_rounds(rounds):
    """Win counts before each removal: [(counts, keep)] of the rounds of a layer, see `draw_win_counts`."""
    figure, axes = new_grid(len(rounds), 4, lambda lines: 1.6 + 2.6 * lines, sharey=True)
    for (counts, keep), ax in zip(rounds, axes.flat, strict=False):
        draw_win_counts(counts, keep, ax, ranks=rounds[0][1].shape[1])
    for ax in axes[:, 0]:
        ax.set_ylabel("training images won (%)")
    legend_below(figure, axes[0, 0])
    return figure


def draw_win_counts(counts, keep, ax, ranks):
    """Draw how the wins of every unit are divided among its neurons, and which are removed.

    One column per unit: the kept neurons from below, ordered by their wins, the removed ones hatched on
    top. Units are sorted by the wins that they lose. `ranks` is the number of shades, one for all rounds.
    """
    n_keep = keep.shape[1]
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    kept = -np.sort(-np.take_along_axis(shares, keep, axis=1), axis=1)
    removed = 100 - kept.sum(axis=1)
    heights = np.column_stack([kept, removed])[np.argsort(removed, kind="stable")]
    tops = np.cumsum(np.vstack([heights, heights[-1]]), axis=1)  # step="post" needs the last unit twice
    bottom = np.zeros(len(tops))
    for j, top in enumerate(tops.T):
        if j < n_keep:
            look = {"facecolor": style.shades(ranks)[j], "label": f"kept, rank {j + 1}"}
        else:
            look = {"facecolor": "white", "hatch": "////", "edgecolor": style.RED, "label": "removed"}
        ax.fill_between(np.arange(len(tops)), bottom, top, step="post", linewidth=0, **look)
        bottom = top
    ax.set(xlim=(0, len(counts)), ylim=(0, 100), xlabel="unit, sorted by wins lost")
    ax.set_title(f"k = {counts.shape[1]}: {removed.mean():.1f} % of wins lost", fontsize=11)


# --- a run folder -------------------------------------------------------------------------------------


def run_figures(folder):
    """What summary.json of a finished run holds, of one seed or several, and its figures by file name.

    error.png; win_counts-<layer>.png for each maxout layer whose neurons were pruned (in the first seed and
    the first arm); roc.png for a single run of face verification.

    Raises MnpError if the folder holds no finished run.
    """
    folder = Path(folder)
    if not (folder / SUMMARY).exists():
        raise MnpError(f"{folder}: holds no finished run (there is no {SUMMARY})")
    summary = read_json(folder / SUMMARY, "a summary")
    try:
        rows, name = summary["rows"], summary["recipe"]["name"]
        figures = {"error.png": plot_runs({f"{name}: test error against size": rows})}
        first = folder / f"seed-{summary['seeds'][0]}" if "seeds" in summary else folder
        for layer, rounds in rounds_of(first).items():
            figure = figures[f"win_counts-{layer}.png"] = plot_rounds(rounds)
            figure.suptitle(f"{name}: wins per unit of {layer}, before each removal", fontsize=13)
        if "seeds" not in summary and "accuracy" in rows[0]:
            curves = roc_of_run(rows, folder / PAIRS)
            figures["roc.png"] = plot_roc({f"{name}: verification before and after pruning": curves})
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise MnpError(f"{folder / SUMMARY}: is not the summary of a run ({error!r})") from None
    return summary, figures


def save_run_figures(folder):
    """Draw the figures of a finished run into its folder; return their paths."""
    return [save_png(figure, Path(folder) / file) for file, figure in run_figures(folder)[1].items()]


def rounds_of(folder):
    """{layer: [(counts, keep) of each round]} from the checkpoints of a run's first arm."""
    rounds, arm = {}, None
    for path in sorted((folder / CHECKPOINTS).glob("[0-9]*.npz")):
        arrays, meta = load_checkpoint(path)
        if meta["row"]["kind"] == "neurons":
            arm = meta["row"]["arm"] if arm is None else arm
            if meta["row"]["arm"] == arm:
                for layer, counts in with_prefix(arrays, "counts").items():
                    rounds.setdefault(layer, []).append((counts, arrays[f"keep/{layer}"]))
    return rounds
