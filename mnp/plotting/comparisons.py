"""Committed results side by side: methods at equal size, and published results for LeNet-5."""

from itertools import product

import numpy as np
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from mnp.plotting.style import (
    BLACK,
    BLUE,
    GREY,
    LINES,
    arm_label,
    label_axes,
    legend_below,
    log_scale,
    new_figure,
)

REMOVED = {  # what a method removes: marker, legend
    "weights": ("s", "weights removed"),
    "neurons": ("o", "neurons or filters removed"),
    "both": ("D", "neurons, then weights"),
}


def plot_arms(sizes, unpruned, title):
    """Test error of every pruning method at every size, before and after retraining, +- one sd over seeds.

    `sizes` is what `mnp.notebooks.results.lines_by_size` gives, `unpruned` the error of the unpruned network.
    """
    figure, axes = new_figure(2, size=(9.6, 4.4))
    names = list(dict.fromkeys(line["label"] for lines in sizes.values() for line in lines))
    panels = {"error_before": "before retraining", "error": "after retraining"}
    for ax, (field, part) in zip(axes, panels.items(), strict=True):
        low, high = [], []
        for i, (name, (colour, marker, _)) in enumerate(zip(names, LINES, strict=False)):
            of_arm = [(x, line) for x, lines in enumerate(sizes.values()) for line in lines]
            of_arm = [(x, line) for x, line in of_arm if line["label"] == name]
            x = np.array([x for x, _ in of_arm]) + (i - (len(names) - 1) / 2) * 0.7 / len(names)
            y = np.array([line[f"{field}_mean"] for _, line in of_arm])
            sd = np.array([line[f"{field}_sd"] or 0 for _, line in of_arm])
            style = {"color": colour, "markersize": 6, "capsize": 2, "linewidth": 1.2}
            ax.errorbar(x, y, sd, fmt=marker, label=name, **style)
            low, high = [*low, *(y - sd)], [*high, *(y + sd)]
        for x in range(1, len(sizes)):
            ax.axvline(x - 0.5, color=GREY, linewidth=0.6, alpha=0.6)
        ax.axhline(unpruned, color=BLACK, linestyle=":", linewidth=1, label="unpruned")
        if min(low) > 0 and max(high) > 8 * min(low):
            log_scale(ax.yaxis)
        labels = [f"{lines[0]['nonzero']:,.0f}\n-{size:.1f} %" for size, lines in sizes.items()]
        ax.set_xticks(range(len(sizes)), labels, fontsize=8)
        label_axes(ax, "remaining parameters, and the reduction", "test error (%)", part)
        ax.grid(visible=False, axis="x")
    legend_below(figure, axes[0])
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def plot_rankings(panels):
    """Test error of every ranking over the neurons that are left per unit, +- one sd over seeds.

    `panels` is {title: aggregate} of runs with an arm for each ranking.
    """
    figure, axes = new_figure(len(panels), size=(9.6, 4.4), sharey=True, squeeze=False)
    for ax, (title, aggregate) in zip(axes.flat, panels.items(), strict=True):
        root, *lines = aggregate
        arms = dict.fromkeys(line["arm"] for line in lines)
        for arm, (colour, marker, dash) in zip(arms, LINES * 2, strict=False):
            path = [root, *(line for line in lines if line["arm"] == arm)]
            k, y = (np.array([line[name] for line in path]) for name in ("k", "error_mean"))
            sd = np.array([line["error_sd"] or 0 for line in path])
            style = {"color": colour, "linestyle": dash, "linewidth": 1.4, "markersize": 5}
            ax.plot(k, y, marker=marker, label=arm_label(arm), **style)
            ax.fill_between(k, np.maximum(y - sd, 0.8 * y), y + sd, color=colour, alpha=0.12)
        log_scale(ax.yaxis)
        ax.invert_xaxis()
        ax.set_xticks(range(1, root["k"] + 1))
        label_axes(ax, "neurons per unit", "test error (%)", title)
    legend_below(figure, axes.flat[0])
    return figure


def plot_arm_errors(errors, title):
    """Test error of several arms, a dot per seed and the mean +- one sd: {arm: its errors}."""
    figure, ax = new_figure(size=(9.0, 0.42 * len(errors) + 1.2))
    for y, values in enumerate(errors.values()):
        ax.plot(values, [y] * len(values), "o", color=BLUE, alpha=0.45, markersize=6, linewidth=0)
        sd = np.std(values, ddof=1) if len(values) > 1 else 0
        style = {"color": BLACK, "markersize": 16, "capsize": 3, "linewidth": 1.4}
        ax.errorbar(np.mean(values), y, xerr=sd, fmt="|", **style)
    ax.set_yticks(range(len(errors)), [arm_label(arm) for arm in errors])
    ax.invert_yaxis()
    label_axes(ax, "test error (%): dots are seeds, lines are mean and standard deviation", "", title)
    return figure


def plot_records(records, title):
    """Test error over compression and over multiply-adds: published results hollow, this project's filled.

    Each point of `mnp.notebooks.results.all_records` has the name of its method, and +- one sd over seeds.
    """
    records = [record for record in records if record["after"] is not None]
    figure, axes = new_figure(2, size=(12.6, 5.0), sharey=True)
    panels = {
        "compression": "compression: 431,080 (LeNet-5) / remaining parameters",
        "macs": "multiply-adds for one image, of the remaining weights",
    }
    for ax, (field, label) in zip(axes, panels.items(), strict=True):
        for record in (r for r in records if r[field] is not None):
            own = "recipe" in record
            style = {"color": BLUE if own else BLACK, "markerfacecolor": BLUE if own else "white"}
            marker, place = REMOVED[record["removed"]][0], (record[field], record["after"])
            ax.errorbar(*place, record["sd"] or 0, fmt=marker, markersize=8, capsize=2, **style)
        log_scale(ax.xaxis)
        ax.margins(x=0.12, y=0.25)
        label_axes(ax, label, "test error (%)", "")
    axes[1].invert_xaxis()  # smaller networks to the right, as on the left
    for marker, label in REMOVED.values():
        axes[0].plot([], [], marker, color=BLACK, markerfacecolor="white", label=label)
    axes[0].plot([], [], "s", color=BLUE, label="filled: this project, mean over seeds")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    legend_below(figure, axes[0])
    figure.draw_without_rendering()
    for ax, field in zip(axes, panels, strict=True):
        named = [(r[field], r["after"], r["method"].removeprefix("mnp, ")) for r in records]
        label_points(ax, [point for point in named if point[0] is not None])
    return figure


def label_points(ax, points):
    """Write a text beside each point (x, y, text), where nothing stands yet; none where there is no room."""
    size = np.array([9, 6])  # of a marker, with room to its sides
    places = ax.transData.transform([point[:2] for point in points])
    taken = [Bbox.from_extents(*(place - size), *(place + size)) for place in places]
    heights = sorted(range(-60, 61, 12), key=abs)
    for x, y, text in points:
        for dy, side in product(heights, (1, -1)):
            arrow = {"arrowprops": {"arrowstyle": "-", "color": GREY, "linewidth": 0.6}}
            look = {"textcoords": "offset points", "fontsize": 8, "va": "center", "in_layout": False}
            align = "left" if side > 0 else "right"
            label = ax.annotate(text, (x, y), (10 * side, dy), ha=align, **look, **(arrow if dy else {}))
            label.get_window_extent()  # finds its position
            box = Text.get_window_extent(label)
            inside = ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            label.remove()
        else:
            continue
        taken.append(box)
