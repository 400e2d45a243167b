"""Committed results side by side: methods at equal size, and published results for LeNet-5."""

import numpy as np

from mnp.plotting.style import BLACK, BLUE, GREY, LINES, arm_label, label_axes, log_scale, new_figure

REMOVED = {  # what a method removes: marker, legend
    "weights": ("s", "weights removed"),
    "neurons": ("o", "neurons or filters removed"),
    "both": ("D", "neurons, then weights"),
}


def plot_arms(sizes, unpruned, title):
    """Test error of every pruning method at every size, before and after retraining, +- one sd over seeds.

    Parameters
    ----------
    sizes : {reduction in %: lines}
        As `mnp.notebooks.results.lines_by_size` gives them.
    unpruned : float
        Test error of the unpruned network.
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
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def plot_rankings(panels):
    """Test error of every ranking over the neurons that are left per unit, +- one sd over seeds.

    Parameters
    ----------
    panels : {title: aggregate}
        Of runs with an arm for each ranking, as `mnp.experiments.results.aggregate` gives them.
    """
    figure, axes = new_figure(len(panels), size=(9.6, 4.4), sharey=True, squeeze=False)
    for ax, (title, aggregate) in zip(axes.flat, panels.items(), strict=True):
        root, *lines = aggregate
        for arm, (colour, marker, dash) in zip(
            dict.fromkeys(line["arm"] for line in lines), LINES * 2, strict=False
        ):
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
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def plot_records(records, title):
    """Test error over compression: published results hollow, this project's filled, +- one sd over seeds.

    Parameters
    ----------
    records : list of dict, `mnp.notebooks.results.all_records`
        The number of a record stands beside its point; those without an error are left out.
    """
    figure, ax = new_figure(size=(9.6, 4.4))
    drawn = [record for record in records if record["after"] is not None]
    for i, record in enumerate(drawn):
        own = "recipe" in record
        point = record["compression"], record["after"]
        colour, face = (BLUE, BLUE) if own else (BLACK, "white")
        style = {"color": colour, "markerfacecolor": face, "markersize": 8, "capsize": 2}
        ax.errorbar(*point, record["sd"] or 0, fmt=REMOVED[record["removed"]][0], **style)
        offset = (7, 6) if i % 2 else (7, -14)  # neighbours alternate between above and below
        text = {"textcoords": "offset points", "fontsize": 9, "weight": "bold" if own else None}
        ax.annotate(str(record["number"]), point, offset, **text)
    for marker, label in REMOVED.values():
        ax.plot([], [], marker, color=BLACK, markerfacecolor="white", label=label)
    ax.plot([], [], "s", color=BLUE, label="filled: this project, mean over seeds")
    log_scale(ax.xaxis)
    ax.margins(x=0.06, y=0.15)
    label_axes(ax, "compression: 431,080 (LeNet-5) / remaining parameters", "test error (%)", title)
    ax.legend(frameon=False, fontsize=8, loc="best")
    return figure
