"""Figures for the page: arrays or rows in, a figure out that draws itself under its cell.

The ground is white and opaque, so a dark page changes nothing. Lines differ in marker and dash as well as
in colour (Okabe and Ito), areas in lightness or hatching: a grey print says the same.
"""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mnp import figures_bench
from mnp.figures import ARMS, BLACK, BLUE, ORANGE, RED, SKY, error_against_parameters, sensitivity

GREY = "#8c8c8c"


class Plate(Figure):
    """A figure that a notebook shows when it is the last line of a cell; no window system, no pyplot."""

    def _repr_png_(self):
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=100, facecolor="white", metadata={"Software": None})
        return image.getvalue()


def plate(columns=1, rows=1, size=(9.0, 3.6), **more):
    """A white figure and its axes, as `figures.new_axes`.

    >>> figure, ax = plate()
    >>> figure.get_facecolor()
    (1.0, 1.0, 1.0, 1.0)
    """
    figure = Plate(figsize=size, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, **more)


def tidy(ax, x, y, title="", legend=False):
    """Labels, a light grid, no box."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=11, loc="left")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(frameon=False, fontsize=9)
    return ax


def decades(axis):
    """Plain numbers on a logarithmic axis, and between the decades only at 2 and 5."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")


def thousands(axis):
    """10 k, 2 M on a logarithmic axis; between the decades at 2 and 5, or at none if there are many."""
    plain = lambda x: f"{x / 1e6:g} M" if x >= 1e6 else f"{x / 1e3:g} k" if x >= 1e3 else f"{x:g}"  # noqa: E731
    low, high = sorted(axis.get_view_interval())
    between = "25" if high < 300 * low else ""
    axis.set_major_formatter(lambda x, _: plain(x))
    axis.set_minor_formatter(lambda x, _: plain(x) if f"{x:.0e}"[0] in between else "")


def images(groups, size=None, symmetric=()):
    """Draw rows of images: {label of the row: (images (n, H, W), titles or None)}.

    A row named in `symmetric` runs from -largest to +largest, zero in the middle grey; every other from its
    smallest value (black) to its largest (white).
    """
    columns = max(len(stack) for stack, _ in groups.values())
    figure, axes = plate(columns, len(groups), size or (9.0, 1.25 * len(groups) + 0.7), squeeze=False)
    for (label, (stack, titles)), line in zip(groups.items(), axes, strict=True):
        low, high = (float(np.min(stack)), float(np.max(stack))) if len(stack) else (0, 1)
        if label in symmetric:
            high = max(-low, high)
            low = -high
        for i, ax in enumerate(line):
            if i >= len(stack):
                ax.set_axis_off()
                continue
            ax.imshow(stack[i], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            if titles is not None:
                ax.set_title(titles[i], fontsize=9)
        line[0].set_ylabel(label, fontsize=9)
    figure.supxlabel("column (pixels, left to right); rows of pixels run downwards", fontsize=9)
    return figure


def bars(values, unit, title="", what="", log=True, form="{:.3g}"):
    """Draw named values as horizontal bars, the number at each end."""
    figure, ax = plate(size=(9.0, 0.42 * len(values) + 1.1))
    names, numbers = list(values), list(values.values())
    drawn = ax.barh(names, numbers, color=SKY, edgecolor=BLACK, linewidth=0.8)
    ax.bar_label(drawn, [" " + form.format(n) for n in numbers], fontsize=9)
    ax.invert_yaxis()
    if log:
        ax.set_xscale("log")
        if min(numbers) > 1e-4:
            decades(ax.xaxis)
    ax.margins(x=0.15)
    tidy(ax, unit, what, title)
    ax.grid(visible=False, axis="y")
    return figure


def lines(series, x, y, title="", log="", points=True, ax=None):
    """Draw {label: (x, y)} as lines told apart by colour, marker and dash; `log` names axes, such as "xy"."""
    figure = None
    if ax is None:
        figure, ax = plate()
    for (label, (xs, ys)), (colour, marker, dash) in zip(series.items(), ARMS * 3, strict=False):
        style = {"marker": marker, "markersize": 5} if points else {}
        ax.plot(xs, ys, color=colour, linestyle=dash, linewidth=1.8, label=label, **style)
    for name, axis, values in (
        ("x", ax.xaxis, [v[0] for v in series.values()]),
        ("y", ax.yaxis, [v[1] for v in series.values()]),
    ):
        if name in log:
            axis.axes.set(**{f"{name}scale": "log"})
            if np.max(values) < 1e5 and np.min(values) > 1e-4:
                decades(axis)
    tidy(ax, x, y, title, legend=len(series) > 1)
    return figure if figure is not None else ax


def benchmark(report):
    """What `mnp bench --json` wrote, drawn: the peers' times over ours, and cost as the work grows."""
    figure, (left, right) = plate(2, size=(9.6, 7.2), width_ratios=(3, 2))
    figures_bench.ratios(report["rows"], left, size=8)
    figures_bench.growth(report["rows"], right)
    return figure


def training(history, title=""):
    """Two panels over the epochs: the loss, and the error on both sets; rows as notebook 03 collects them."""
    figure, axes = plate(2)
    epochs = [row["epoch"] for row in history]
    loss = {
        f"{part} set": (epochs, [row[f"{part}_loss"] for row in history]) for part in ("training", "test")
    }
    error = {
        f"{part} set": (epochs, [row[f"{part}_error"] for row in history]) for part in ("training", "test")
    }
    lines(loss, "epoch", "cross-entropy (nats per image)", title, log="y", ax=axes[0])
    lines(error, "epoch", "wrong images (%)", "", log="y", ax=axes[1])
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def confusion(labels, said, classes, title=""):
    """Count who is taken for whom: rows the truth, columns the answer; right answers are left out."""
    table = np.zeros((classes, classes), dtype=int)
    np.add.at(table, (labels, said), 1)
    wrong = table - np.diag(np.diag(table))
    figure, ax = plate(size=(5.4, 4.6))
    shown = ax.imshow(wrong, cmap="Greys", vmin=0, vmax=max(1, wrong.max()))
    for i, j in zip(*np.nonzero(wrong), strict=True):
        ax.text(
            j,
            i,
            wrong[i, j],
            ha="center",
            va="center",
            color="white" if wrong[i, j] > wrong.max() / 2 else "black",
        )
    ax.set_xticks(range(classes))
    ax.set_yticks(range(classes))
    ax.set_xlabel("digit that the network says")
    ax.set_ylabel("digit that it is")
    ax.set_title(title, fontsize=11, loc="left")
    figure.colorbar(shown, ax=ax, label="images", ticks=MaxNLocator(5, integer=True))
    return figure


def runs(rows_by_title):
    """Test error against remaining parameters, a panel a run (`figures.error_against_parameters`)."""
    columns = min(2, len(rows_by_title))
    lines_ = -(-len(rows_by_title) // columns)
    figure, axes = plate(columns, lines_, (9.6, 3.9 * lines_), squeeze=False)
    for ax in axes.flat[len(rows_by_title) :]:
        ax.set_axis_off()
    for (title, rows), ax in zip(rows_by_title.items(), axes.flat, strict=False):
        error_against_parameters(rows, ax)
        if ax.get_xscale() == "log":
            thousands(ax.xaxis)
        else:
            ax.xaxis.get_major_locator().set_params(nbins=6)
        ax.set_title(title, loc="left", fontsize=11)
        if ax.get_legend() is not None:
            ax.legend(frameon=False, fontsize=8)
        thin_out(ax)
    return figure


def thin_out(ax, apart=0.09):
    """Hide words along a line that would stand on each other; the first and the last ones stay.

    apart : float, as a share of the panel's width
    """
    at = [ax.transAxes.inverted().transform(ax.transData.transform(text.xy))[0] for text in ax.texts]
    shown = at[:1]
    for place, text in list(zip(at, ax.texts, strict=True))[:0:-1]:  # the smallest networks first
        text.set_visible(all(abs(place - other) >= apart for other in shown))
        shown += [place] * text.get_visible()


def sensitivities(rows_by_title):
    """The sensitivity scan of one network or of several, a panel each."""
    figure, axes = plate(len(rows_by_title), size=(9.6, 3.9), squeeze=False, sharey=True)
    for (title, rows), ax in zip(rows_by_title.items(), axes.flat, strict=True):
        sensitivity(rows, ax)
        ax.set_title(title, loc="left", fontsize=11)
    return figure


def grouped(groups, labels, x, y, title="", log=False):
    """Bars side by side: {label: values}, a place a group; hatched as well as coloured."""
    figure, ax = plate()
    width, hatches = 0.8 / len(groups), ("", "///", "...", "xx", "\\\\", "oo")
    places = np.arange(len(labels))
    colours = (SKY, "white", ORANGE, BLUE, GREY, RED)
    for i, (label, values) in enumerate(groups.items()):
        at = places + (i - (len(groups) - 1) / 2) * width
        ax.bar(
            at,
            values,
            width,
            label=label,
            color=colours[i % 6],
            edgecolor=BLACK,
            linewidth=0.7,
            hatch=hatches[i % 6],
        )
    ax.set_xticks(places, labels)
    if log:
        ax.set_yscale("log")
        if max(map(max, groups.values())) < 1e5:
            decades(ax.yaxis)
        else:
            ax.yaxis.set_minor_formatter(lambda x, _: "")
    tidy(ax, x, y, title, legend=True)
    ax.grid(visible=False, axis="x")
    return figure


def roc_curves(curves, title=""):
    """Draw {label: (false_positive, true_positive)}; the diagonals are a coin, and equal errors."""
    figure, ax = plate(size=(5.6, 4.8))
    for (label, (false, true)), (colour, _, dash) in zip(curves.items(), ARMS * 2, strict=False):
        ax.plot(100 * false, 100 * true, color=colour, linestyle=dash, linewidth=1.8, label=label)
    ax.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, label="a coin")
    ax.plot([0, 100], [100, 0], color=BLACK, linewidth=0.8, linestyle=":", label="equal errors")
    ax.set_aspect("equal")
    tidy(ax, "pairs of two people called same (%)", "pairs of one person called same (%)", title, legend=True)
    return figure


def histogram(groups, x, y, title="", at=None, bins=30):
    """Overlaid outlines of {label: values}; `at` marks a threshold."""
    figure, ax = plate()
    edges = np.histogram_bin_edges(np.concatenate(list(groups.values())), bins)
    for (label, values), (colour, hatch) in zip(groups.items(), ((BLUE, "///"), (ORANGE, "")), strict=False):
        ax.hist(
            values,
            edges,
            histtype="stepfilled",
            alpha=0.5,
            facecolor=colour,
            edgecolor=BLACK,
            hatch=hatch,
            label=label,
        )
    if at is not None:
        ax.axvline(at, color=RED, linestyle="--", linewidth=1.8, label="threshold")
    ax.yaxis.get_major_locator().set_params(integer=True)  # counts
    tidy(ax, x, y, title, legend=True)
    return figure
