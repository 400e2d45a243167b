"""General charts: images, bars, lines, confusion matrices. Each function returns its figure."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from mnp.plotting.style import BLACK, BLUE, GREY, LINES, ORANGE, RED, SKY, label_axes, log_scale, new_figure


def plot_images(groups, size=None, symmetric=()):
    """Rows of grey images: {label of the row: (images (n, H, W), titles or None)}.

    The grey scale of a row runs from its smallest value (black) to its largest (white); of a row named in
    `symmetric` from -m to m, m being its largest magnitude, so that zero is middle grey.
    """
    columns = max(len(images) for images, _ in groups.values())
    figure, axes = new_figure(columns, len(groups), size or (9.0, 1.25 * len(groups) + 0.4), squeeze=False)
    for (label, (images, titles)), row in zip(groups.items(), axes, strict=True):
        low, high = float(np.min(images)), float(np.max(images))
        if label in symmetric:
            low, high = -max(-low, high), max(-low, high)
        for ax, image, title in zip(row, images, titles or [""] * len(images), strict=False):
            ax.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=9)
        for ax in row[len(images) :]:
            ax.set_axis_off()
        row[0].set_ylabel(label, fontsize=9)
    return figure


def plot_masks(masks):
    """Masks {title: (rows, columns) bool}, black where True, with the share of every row and column."""
    shape = {"width_ratios": [5, 1] * len(masks), "height_ratios": [1, 5]}
    figure, axes = new_figure(2 * len(masks), 2, (9.6, 3.7), **shape)
    for i, (title, mask) in enumerate(masks.items()):
        (top, corner), (ax, right) = axes[:, 2 * i : 2 * i + 2]
        ax.imshow(~mask, cmap="gray", aspect="auto", interpolation="nearest")
        ax.set(xticks=[], yticks=[], xlabel="input", ylabel="neuron" if i == 0 else "")
        of_inputs, of_neurons = 100 * mask.mean(axis=0), 100 * mask.mean(axis=1)
        top.fill_between(np.arange(mask.shape[1]), of_inputs, color=BLUE, step="mid")
        right.fill_betweenx(np.arange(mask.shape[0]), of_neurons, color=BLUE, step="mid")
        highest = max(of_inputs.max(), of_neurons.max())
        ticks = [0, round(highest)]
        top.set(xlim=(0, mask.shape[1]), ylim=(0, highest), xticks=[], yticks=ticks)
        right.set(ylim=(mask.shape[0], 0), xlim=(0, highest), yticks=[], xticks=ticks)
        top.set_title(title, fontsize=9, loc="left")
        corner.set_axis_off()
        for one in (top, right):
            one.tick_params(labelsize=7)
    axes[0, 0].set_ylabel("kept (%)", fontsize=8)
    return figure


def plot_bars(values, x, log=True, form="{:.3g}"):
    """Horizontal bars of {name: value}, with the value at each end; of a difference of 0, "exact"."""
    figure, ax = new_figure(size=(9.0, 0.42 * len(values) + 1.1))
    bars = ax.barh(list(values), list(values.values()), color=SKY, edgecolor=BLACK, linewidth=0.8)
    texts = [" " + (form.format(value) if value else "exact") for value in values.values()]
    ax.bar_label(bars, texts, fontsize=9)
    ax.invert_yaxis()
    if log:
        log_scale(ax.xaxis)
    ax.margins(x=0.15)
    label_axes(ax, x, "")
    ax.grid(visible=False, axis="y")
    return figure


def plot_grouped_bars(series, groups, x, y):
    """Bars side by side: {label: one value per group}, told apart by colour and hatching."""
    figure, ax = new_figure()
    width = 0.8 / len(series)
    styles = ((SKY, ""), ("white", "///"), (ORANGE, "..."), (BLUE, "xx"), (GREY, "\\\\"), (RED, "oo"))
    for i, ((label, values), (colour, hatch)) in enumerate(zip(series.items(), styles, strict=False)):
        places = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        line = {"edgecolor": BLACK, "linewidth": 0.7, "hatch": hatch}
        ax.bar(places, values, width, label=label, color=colour, **line)
    ax.set_xticks(range(len(groups)), groups)
    ax.yaxis.set_major_formatter("{x:,g}")
    label_axes(ax, x, y)
    ax.grid(visible=False, axis="x")
    ax.legend(frameon=False, fontsize=9, ncols=len(series), loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def plot_lines(series, x, y, log="", ax=None):
    """Lines of {label: (x values, y values)} in a new figure or in `ax`; `log` names axes, such as "xy"."""
    ax = new_figure()[1] if ax is None else ax
    for (label, (xs, ys)), (colour, marker, dash) in zip(series.items(), LINES * 3, strict=False):
        ax.plot(xs, ys, color=colour, linestyle=dash, linewidth=1.8, marker=marker, markersize=5, label=label)
    for name in log:
        log_scale(getattr(ax, f"{name}axis"))
    if "x" not in log and all(np.asarray(xs).dtype.kind == "i" for xs, _ in series.values()):
        ax.xaxis.get_major_locator().set_params(integer=True)
    label_axes(ax, x, y, legend=len(series) > 1)
    return ax.figure


def plot_confusion(labels, predicted, classes):
    """Confusion matrix without its diagonal: only the errors are counted."""
    errors = np.zeros((classes, classes), dtype=int)
    np.add.at(errors, (labels, predicted), labels != predicted)
    figure, ax = new_figure(size=(5.4, 4.6))
    image = ax.imshow(errors, cmap="Greys", vmin=0, vmax=max(1, errors.max()))
    for i, j in np.argwhere(errors):
        colour = "white" if errors[i, j] > errors.max() / 2 else BLACK
        ax.text(j, i, errors[i, j], ha="center", va="center", color=colour)
    ax.set(xticks=range(classes), yticks=range(classes), xlabel="predicted class", ylabel="true class")
    figure.colorbar(image, ax=ax, label="images", ticks=MaxNLocator(5, integer=True))
    return figure
