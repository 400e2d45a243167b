"""Pictures of committed runs beside each other: ways at equal size, and records. Rows in, figure out."""

import numpy as np
from matplotlib.ticker import FuncFormatter

from mnp.figures import ARMS, BLACK
from mnp.notebooks import compared
from mnp.notebooks.plates import GREY, decades, plate, tidy

BEFORE, AFTER = "right after the removal, not retrained", "retrained"


def ways(aggregate, title=""):
    """Every way of pruning at every size, before and after retraining: means, and +- one sd of the seeds.

    Parameters
    ----------
    aggregate : list of lines of a recipe with several arms (`mnist-compare`, `mnist-ranking`)
    """
    figure, axes = plate(2, size=(9.6, 4.4))
    sizes = compared.sizes_of(aggregate)
    names = list(dict.fromkeys(line["arm"] for line in aggregate if line["arm"]))
    for ax, part, field in zip(axes, (BEFORE, AFTER), ("error_before", "error"), strict=True):
        low, high = [], []
        for i, (name, (colour, marker, _)) in enumerate(zip(names, ARMS, strict=False)):
            at = [
                (s, line) for s, lines in enumerate(sizes.values()) for line in lines if line["arm"] == name
            ]
            x = np.array([s for s, _ in at]) + (i - (len(names) - 1) / 2) * 0.7 / len(names)
            y = np.array([line[f"{field}_mean"] for _, line in at])
            sd = np.array([line[f"{field}_sd"] or 0 for _, line in at])
            label = compared.way(at[0][1])
            ax.errorbar(
                x, y, sd, fmt=marker, color=colour, markersize=6, capsize=2, linewidth=1.2, label=label
            )
            low, high = [*low, *(y - sd)], [*high, *(y + sd)]
        for s in range(1, len(sizes)):
            ax.axvline(s - 0.5, color=GREY, linewidth=0.6, alpha=0.6)
        ax.axhline(aggregate[0]["error_mean"], color=BLACK, linestyle=":", linewidth=1, label="unpruned")
        if min(low) > 0 and max(high) > 8 * min(low):
            ax.set_yscale("log")
            decades(ax.yaxis)
        labels = [f"{lines[0]['nonzero']:,.0f}\n-{size:.1f} %" for size, lines in sizes.items()]
        ax.set_xticks(range(len(sizes)), labels, fontsize=8)
        tidy(ax, "remaining parameters, and the reduction", "test error (%)", part)
        ax.grid(visible=False, axis="x")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


MARKS = {"weights": "s", "neurons": "o", "both": "D"}


def records(rows, title=""):
    """Test error over compression: published ones hollow, this project's filled, with +- one sd of the seeds.

    Parameters
    ----------
    rows : list of dict, `compared.all_records`
        The number stands beside each point; those without an error are only in the table.
    """
    figure, ax = plate(size=(9.6, 4.4))
    drawn = [row for row in rows if row["after"] is not None]
    for i, row in enumerate(drawn):
        own = "recipe" in row
        ax.errorbar(
            row["compression"],
            row["after"],
            row["sd"] or 0,
            fmt=MARKS[row["removed"]],
            color=ARMS[0][0] if own else BLACK,
            markerfacecolor=ARMS[0][0] if own else "white",
            markersize=8,
            capsize=2,
        )
        ax.annotate(
            str(row["number"]),
            (row["compression"], row["after"]),
            (7, 6) if i % 2 else (7, -14),  # neighbours by turns above and below
            textcoords="offset points",
            fontsize=9,
            weight="bold" if own else None,
        )
    for removed, mark in MARKS.items():
        of = {
            "weights": "weights removed",
            "neurons": "neurons or filters removed",
            "both": "neurons, then weights",
        }
        ax.plot([], [], mark, color=BLACK, markerfacecolor="white", label=of[removed])
    ax.plot([], [], "s", color=ARMS[0][0], label="filled: this project, mean of its seeds")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}x"))
    ax.xaxis.set_minor_formatter(lambda x, _: f"{x:g}x" if f"{x:.0e}"[0] in "25" else "")
    ax.margins(x=0.06, y=0.15)
    tidy(ax, "compression: LeNet-5's 431,080 parameters over those left", "test error (%)", title)
    ax.legend(frameon=False, fontsize=8, loc="best")
    return figure
