"""Rows in, axes out: the pictures of a run. Nothing here knows a network.

Colours are those of Okabe and Ito, told apart by colour-blind readers; lines differ in marker and dash as
well, and areas in lightness, so that a grey print says the same.
"""

import io
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from mnp.errors import MnpError
from mnp.experiments.checkpoint import load_checkpoint, with_prefix
from mnp.experiments.registry import CHECKPOINTS, SUMMARY
from mnp.files import atomic_write, read_json

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
ARMS = (
    (BLUE, "o", "-"),
    (RED, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", ":"),
    (ORANGE, "v", "-"),
    (BLACK, "P", "--"),
)
INCHES = (9.6, 5.4)


def new_axes(columns=1, rows=1, **more):
    """A figure of slide shape and its axes; it needs no window system.

    >>> figure, ax = new_axes()
    >>> ax.get_xlabel()
    ''
    """
    figure = Figure(figsize=INCHES, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, **more)


def error_against_parameters(rows, ax, before=True):
    """Draw the test error of every step over its number of remaining parameters; small networks are right.

    Parameters
    ----------
    rows : list of dict
        Rows of one run, or of several seeds (then with a `seed`): thin lines for the seeds, thick ones for
        their mean.
    ax : matplotlib axes
    before : bool
        Also the error right after each removal, before retraining, as a hollow marker.

    Returns
    -------
    ax : the same axes, labelled
    """
    seeds = sorted({row.get("seed", 0) for row in rows})
    of_seed = {seed: [row for row in rows if row.get("seed", 0) == seed] for seed in seeds}
    mean = [averaged(of_step) for of_step in zip(*of_seed.values(), strict=True)]
    arms = paths(mean)
    for (name, path), style in zip(arms.items(), ARMS * 3, strict=False):
        if len(seeds) > 1:
            for one in of_seed.values():
                sizes = [mean[i]["nonzero"] for i in path]
                ax.plot(sizes, [one[i]["error"] for i in path], color=style[0], alpha=0.25, linewidth=0.8)
        draw_arm(ax, [mean[i] for i in path], name or "after training", style, before)
    if before:
        ax.plot(
            [], [], "o", color=ARMS[0][0], markerfacecolor="white", label="after removal, before retraining"
        )
    if len(arms) == 1:
        annotate(ax, mean)
    shape_axes(ax, mean, before)
    return ax


def draw_arm(ax, rows, label, style, before):
    """One line, and a hollow marker above or below each removal (none where it went gradually)."""
    colour, marker, dash = style
    x, y = [row["nonzero"] for row in rows], [row["error"] for row in rows]
    ax.plot(x, y, color=colour, marker=marker, linestyle=dash, linewidth=2, markersize=7, label=label)
    removals = [row for row in rows[1:] if row["kind"] != "gradual"]
    if before and removals:
        x, y, error = ([row[name] for row in removals] for name in ("nonzero", "error", "error_before"))
        ax.vlines(x, y, error, color=colour, linewidth=1, linestyle=":")
        hollow = {"linestyle": "none", "markersize": 7, "markerfacecolor": "white"}
        ax.plot(x, error, color=colour, marker=marker, **hollow)


def averaged(of_step):
    """One row for a step of several seeds, with the mean errors."""
    row = dict(of_step[0])
    for name in ("error", "error_before", "nonzero"):
        row[name] = sum(r[name] for r in of_step) / len(of_step)
    return row


def paths(rows):
    """For each arm the indices of its rows, with the one that it branches from in front."""
    found = {}
    for i, row in enumerate(rows):
        if row["arm"] or not any(r["arm"] for r in rows):
            arm = found.setdefault(row["arm"], [])
            if not arm and row["parent"] >= 0:
                arm.append(row["parent"])
            arm.append(i)
    return found


def annotate(ax, rows):
    """k, or the reduction by weight pruning, at each point, on the side where its hollow marker is not."""
    for row in rows:
        text = (
            f"k = {row['k']}" if row["kind"] in ("train", "neurons") else f"{-100 * row['reduction']:.1f} %"
        )
        above = row["parent"] >= 0 and (row["kind"] == "gradual" or row["error_before"] < row["error"])
        ax.annotate(
            text,
            (row["nonzero"], row["error"]),
            (0, 9 if above else -18),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )


def shape_axes(ax, rows, before):
    """Labels, and a logarithmic scale where the values span more than their digits can show."""
    errors = [row["error"] for row in rows] + [
        row["error_before"] for row in rows if before and row["parent"] >= 0
    ]
    if min(errors) > 0 and max(errors) > 5 * min(errors):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")
    ax.margins(x=0.08, y=0.15)  # room for the annotations
    sizes = [row["nonzero"] for row in rows]
    if max(sizes) > 8 * min(sizes):
        ax.set_xscale("log")
    ax.xaxis.set_major_formatter(
        lambda x, _: f"{x / 1e6:g} M" if x >= 1e6 else f"{x / 1e3:g} k" if x >= 1e3 else f"{x:g}"
    )
    ax.invert_xaxis()
    ax.set_xlabel("remaining parameters (not zero), fewer to the right")
    ax.set_ylabel("test error (%)")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left")


def win_counts(counts, keep, ax, ranks=None):
    """Draw how the wins of every unit share out among its neurons, and what the removal takes away.

    One column a unit, the kept neurons from below in the order of their wins, the removed ones hatched on
    top; units sorted by what they lose.

    Parameters
    ----------
    counts : (units, k) int, before the removal
    keep : (units, n_keep) int, the neurons that stay
    ax : matplotlib axes
    ranks : int, optional
        Shades to go round; n_keep if None. The same for several rounds gives a rank one shade in all.
    """
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    kept = np.zeros(counts.shape, dtype=bool)
    np.put_along_axis(kept, keep, True, axis=1)
    removed = np.sort(np.where(kept, -1, shares), axis=1)[:, keep.shape[1] :]
    kept = -np.sort(-np.where(kept, shares, -1), axis=1)[:, : keep.shape[1]]
    order = np.argsort(removed.sum(axis=1), kind="stable")
    layers = np.column_stack([kept, removed.sum(axis=1)])[order]
    x, bottom = np.arange(len(layers) + 1), np.zeros(len(layers) + 1)
    n = keep.shape[1]
    for j in range(n + 1):
        top = bottom + np.append(layers[:, j], layers[-1, j])
        shade = shades(ranks or n)[j] if j < n else "white"
        hatch = {"hatch": "////", "edgecolor": RED, "linewidth": 0} if j == n else {"linewidth": 0}
        label = f"kept, rank {j + 1}" if j < n else "removed"
        ax.fill_between(x, bottom, top, step="post", facecolor=shade, label=label, **hatch)
        bottom = top
    ax.set_xlim(0, len(layers))
    ax.set_ylim(0, 100)
    ax.set_xlabel("unit, by the wins it loses")
    ax.set_title(f"k = {counts.shape[1]}: {removed.sum() / len(layers):.1f} % of wins go", fontsize=11)
    return ax


def shades(n):
    """n blues from dark (the most relevant) to light, also in grey.

    >>> len(shades(3))
    3
    """
    return [colormaps["Blues_r"](x) for x in np.linspace(0, 0.75, n)]


def sensitivity(rows, ax):
    """Draw the error over the sparsity of one layer at a time (`pruning.sensitivity_scan`'s rows)."""
    names = list(dict.fromkeys(row["layer"] for row in rows))
    for name, (colour, marker, dash) in zip(names, ARMS * 3, strict=False):
        of_layer = [row for row in rows if row["layer"] == name]
        x, y = [100 * row["sparsity"] for row in of_layer], [row["error"] for row in of_layer]
        ax.plot(x, y, color=colour, marker=marker, linestyle=dash, label=name.removesuffix(".weight"))
    ax.set_xlabel("sparsity of this layer alone, no retraining (%)")
    ax.set_ylabel("error (%)")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return ax


# --- a whole run --------------------------------------------------------------------------------------


def draw_run(folder):
    """Draw the figures of a run folder, or of one of several seeds, into it.

    Returns
    -------
    paths : list of Path
        error.png; and for each maxout layer whose neurons were pruned (in the first seed, the first arm)
        win_counts-<layer>.png.

    Raises MnpError if the folder holds no finished run.
    """
    folder = Path(folder)
    if not (folder / SUMMARY).exists():
        raise MnpError(f"{folder}: holds no finished run (there is no {SUMMARY})")
    summary = read_json(folder / SUMMARY, "a summary")
    try:
        rows, name = summary["rows"], summary["recipe"]["name"]
        figure, ax = new_axes()
        error_against_parameters(rows, ax)
        ax.set_title(f"{name}: test error against size", loc="left")
        written = [save(figure, folder / "error.png")]
        one = folder / f"seed-{summary['seeds'][0]}" if "seeds" in summary else folder
        for layer, rounds in rounds_of(one).items():
            figure = draw_rounds(rounds)
            figure.suptitle(f"{name}: who wins in the units of {layer}, before each removal", fontsize=13)
            written.append(save(figure, folder / f"win_counts-{layer}.png"))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise MnpError(f"{folder / SUMMARY}: is not the summary of a run ({error!r})") from None
    return written


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


def draw_rounds(rounds):
    """One panel a round, at most four side by side."""
    columns = min(len(rounds), 4)
    figure, axes = new_axes(columns, -(-len(rounds) // columns), sharey=True, squeeze=False)
    for ax in axes.flat[len(rounds) :]:
        ax.set_axis_off()
    for (counts, keep), ax in zip(rounds, axes.flat, strict=False):
        win_counts(counts, keep, ax, ranks=rounds[0][1].shape[1])
    for ax in axes[:, 0]:
        ax.set_ylabel("training images won (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
    return figure


def save(figure, path):
    """Write a figure as PNG, whole or not at all."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150, metadata={"Software": None})
    atomic_write(path, image.getvalue())
    return path
