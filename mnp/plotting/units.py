"""Figures of maxout units: pieces, regions, win counts, rankings."""

import numpy as np
from matplotlib.colors import ListedColormap

from mnp.plotting.style import BLACK, GREY, LINES, PIECES, RED, label_axes, new_figure, shades


def plot_units(t, units, x="input x", y="output", numbers=None, before=None):
    """Maxout units along a line: the k neurons thin, their maximum thick in the colour of the winner.

    Parameters
    ----------
    t : (N,) float, ascending
    units : {title: z (N, k) float}
        The values of the neurons at t; one panel per unit, on a common scale.
    numbers : list of (k,) int, optional
        For each panel the numbers of the neurons in the unpruned unit; they decide the colours.
    before : {title: (N,) float}, optional
        What a unit's output was before a neuron was removed, as a dotted grey line.
    """
    figure, axes = new_figure(len(units), size=(3.2 * max(2.2, len(units)), 3.5), squeeze=False, sharey=True)
    numbers = numbers or [range(z.shape[1]) for z in units.values()]
    for (title, z), names, ax in zip(units.items(), numbers, axes.flat, strict=True):
        if title in (before or {}):
            ax.plot(t, before[title], color=GREY, linestyle=":", linewidth=3, label="unit before removal")
        winner, top = z.argmax(axis=1), z.max(axis=1)
        for j, number in enumerate(names):
            colour, dash = PIECES[number % len(PIECES)], LINES[number % len(LINES)][2]
            label = f"neuron {number}: wins {100 * np.mean(winner == j):.0f} %"
            ax.plot(t, z[:, j], color=colour, linestyle=dash, linewidth=1.5, label=label)
            won = np.where(winner == j, top, np.nan)
            ax.plot(t, won, color=colour, linewidth=5, alpha=0.55, solid_capstyle="butt")
        ax.plot(t, top, color=BLACK, linewidth=1.2)
        label_axes(ax, x, "" if ax.figure.axes[0] is not ax else y)
        ax.set_title(title, fontsize=10, loc="left")
        ax.legend(frameon=False, fontsize=8)
    tops = np.concatenate([z.max(axis=1) for z in units.values()])
    low, high = tops.min(), tops.max()
    axes[0, 0].set_ylim(low - 0.6 * (high - low), high + 0.45 * (high - low))  # room for the legend
    return figure


def plot_removal(t, z, removed):
    """A unit along a line, z (N, k), beside what it becomes without one of its neurons."""
    names = [j for j in range(z.shape[1]) if j != removed]
    without = f"without neuron {removed}"
    panels = {f"k = {z.shape[1]}": z, without: z[:, names]}
    numbers = [range(z.shape[1]), names]
    return plot_units(t, panels, "t", "z of the unit", numbers, before={without: z.max(axis=1)})


def plot_regions(axis, units, points=None, boundaries=None):
    """Maxout units of two inputs: the plane coloured by the winning neuron, with contours of the output.

    Parameters
    ----------
    axis : (M,) float
        The grid on both inputs.
    units : {title: z (M, M, k)}
        Row index = input 2; one panel per unit.
    points : (features (N, 2), labels (N,)), optional
        Examples of two classes: 0 is drawn as a cross, 1 as a circle.
    boundaries : {title: difference of the two classes' scores (M, M)}, optional
        Their decision boundary, where it is 0, is drawn as a thick line instead of the contours.
    """
    figure, axes = new_figure(len(units), size=(3.1 * max(2.0, len(units)), 3.4), squeeze=False)
    for (title, z), ax in zip(units.items(), axes.flat, strict=True):
        k, winner = z.shape[2], z.argmax(axis=2)
        scale = {"cmap": ListedColormap(PIECES[:k]), "vmin": 0, "vmax": k - 1}
        ax.pcolormesh(axis, axis, winner, alpha=0.55, rasterized=True, **scale)
        if boundaries:
            ax.contour(axis, axis, boundaries[title], levels=[0], colors=BLACK, linewidths=2.5)
        else:
            lines = ax.contour(axis, axis, z.max(axis=2), levels=7, colors=BLACK, linewidths=0.8)
            ax.clabel(lines, fontsize=7)
        for j in np.unique(winner):
            row, column = np.argwhere(winner == j).mean(axis=0).astype(int)
            text = ax.text(axis[column], axis[row], str(j), ha="center", va="center", fontsize=11)
            text.set(weight="bold", bbox={"facecolor": "white", "alpha": 0.8, "pad": 1.5, "linewidth": 0})
        for label, marker in ((0, "x"), (1, "o")) if points else ():
            chosen = points[0][points[1] == label]
            ax.plot(*chosen.T, marker, color=BLACK, markersize=3.5, alpha=0.8, markerfacecolor="none")
        ax.set(aspect="equal", xlabel="input 1", ylabel="input 2")
        ax.set_title(title, fontsize=10, loc="left")
    return figure


def plot_win_shares(counts, title):
    """Share of wins of every neuron: neurons ordered within each unit, units by their largest share."""
    share = 100 * counts / counts.sum(axis=1, keepdims=True)
    ranked = -np.sort(-share, axis=1)
    ranked = ranked[np.lexsort(ranked.T[::-1])[::-1]]
    figure, ax = new_figure(size=(9.4, 2.9))
    image = ax.imshow(ranked.T, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    ax.plot(*np.argwhere(ranked == 0).T, "x", color=RED, markersize=4)
    ax.set_yticks(range(counts.shape[1]), [f"rank {r + 1}" for r in range(counts.shape[1])])
    ax.set_xlabel("unit, sorted by its largest share   (red cross: neuron never wins)")
    ax.set_ylabel("neuron of the unit")
    ax.set_title(title, fontsize=11, loc="left")
    figure.colorbar(image, ax=ax, label="training images won (%)")
    return figure


def plot_orders(orders, title):
    """Rank of every neuron of the first 16 units under several measures: {measure: order (units, k)}."""
    figure, axes = new_figure(len(orders), size=(9.6, 3.4), squeeze=False, sharey=True)
    for (name, order), ax in zip(orders.items(), axes.flat, strict=True):
        rank = np.argsort(order[:16], axis=1)
        k = rank.shape[1]
        colours = ListedColormap([*shades(k)[: k - 1], "white"])
        ax.imshow(rank, cmap=colours, vmin=0, vmax=k - 1, aspect="auto")
        ax.plot(*np.argwhere(rank == k - 1).T[::-1], "x", color=RED, markersize=5)
        ax.set_title(name.replace("_", " "), fontsize=8)
        ax.set_xticks(range(k))
    axes[0, 0].set_ylabel("unit")
    figure.supxlabel("neuron of the unit; dark: most relevant, red cross: least relevant", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure
