"""Pictures of maxout units: their pieces, their regions, their winners, what a removal leaves."""

import numpy as np
from matplotlib.colors import ListedColormap

from mnp.figures import ARMS, BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, YELLOW, draw_rounds, shades
from mnp.notebooks.plates import GREY, Plate, plate, tidy

PIECES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, GREY)  # dark and light by turns


def one_unit(t, z, ax, x="input x", y="value", numbers=None, earlier=None):
    """Draw one unit over a line: its k neurons thin, their maximum thick in the colour of the winner.

    Parameters
    ----------
    t : (N,) float, ascending: the place on the line
    z : (N, k) float: the neurons' values there
    numbers : (k,) int, optional: the neurons' numbers before anything was removed; they decide the colours
    earlier : (N,) float, optional: what the unit was before, dotted in grey
    """
    k = z.shape[1]
    if earlier is not None:
        ax.plot(t, earlier, color=GREY, linestyle=":", linewidth=3, label="the unit before")
    winner = z.argmax(axis=1)
    for j, number in enumerate(range(k) if numbers is None else numbers):
        colour, dash = PIECES[number % len(PIECES)], ARMS[number % len(ARMS)][2]
        won = 100 * np.mean(winner == j)
        ax.plot(
            t,
            z[:, j],
            color=colour,
            linestyle=dash,
            linewidth=1.5,
            label=f"neuron {number}: wins {won:.0f} %",
        )
        ax.plot(
            t,
            np.where(winner == j, z.max(axis=1), np.nan),
            color=colour,
            linewidth=5,
            alpha=0.55,
            solid_capstyle="butt",
        )
    ax.plot(t, z.max(axis=1), color=BLACK, linewidth=1.2)
    tidy(ax, x, y)
    ax.legend(frameon=False, fontsize=8)
    return ax


def units_on_a_line(t, panels, x="input x", y="value", numbers=None, earlier=None, share=True):
    """A panel a unit: {title: z (N, k)}; `share`: the same scale for all; `earlier`: {title: what it was}."""
    figure, axes = plate(len(panels), size=(3.2 * max(2.2, len(panels)), 3.5), squeeze=False, sharey=share)
    for i, ((title, z), ax) in enumerate(zip(panels.items(), axes.flat, strict=True)):
        one_unit(
            t,
            z,
            ax,
            x,
            y if ax is axes.flat[0] else "",
            None if numbers is None else numbers[i],
            (earlier or {}).get(title),
        )
        ax.set_title(title, fontsize=10, loc="left")
    for z, ax in zip(panels.values(), axes.flat, strict=True):
        tops = [other.max(axis=1) for other in (panels.values() if share else [z])]
        low, high = min(map(np.min, tops)), max(map(np.max, tops))
        ax.set_ylim(low - 0.6 * (high - low), high + 0.45 * (high - low))
    return figure


def regions(axis, panels, x="input 1", y="input 2", points=None):
    """A panel a unit of two inputs: the plane coloured by the winning neuron, contours of the maximum.

    Parameters
    ----------
    axis : (M,) float, the grid on both inputs
    panels : {title: z (M, M, k)}, row index = input 2
    points : (features (N, 2), labels (N,)), optional: two classes, drawn as circles and crosses
    """
    figure, axes = plate(len(panels), size=(3.1 * max(2.0, len(panels)), 3.4), squeeze=False)
    for (title, z), ax in zip(panels.items(), axes.flat, strict=True):
        k = z.shape[2]
        ax.pcolormesh(
            axis,
            axis,
            z.argmax(axis=2),
            cmap=ListedColormap(PIECES[:k]),
            vmin=0,
            vmax=k - 1,
            alpha=0.55,
            rasterized=True,
        )
        drawn = ax.contour(axis, axis, z.max(axis=2), levels=7, colors=BLACK, linewidths=0.8)
        ax.clabel(drawn, fontsize=7)
        for j in range(k):
            where = np.argwhere(z.argmax(axis=2) == j)
            if len(where):
                i2, i1 = where.mean(axis=0).astype(int)
                ax.text(axis[i1], axis[i2], str(j), ha="center", va="center", weight="bold", fontsize=11)
        if points is not None:
            for label, marker in ((0, "x"), (1, "o")):
                chosen = points[0][points[1] == label]
                ax.plot(*chosen.T, marker, color=BLACK, markersize=3.5, alpha=0.8, markerfacecolor="none")
        ax.set_aspect("equal")
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.set_title(title, fontsize=10, loc="left")
    return figure


def shares(counts, title=""):
    """All units at once: the share of wins of every neuron, sorted within its unit and across the units."""
    share = 100 * counts / counts.sum(axis=1, keepdims=True)
    ranked = -np.sort(-share, axis=1)
    ranked = ranked[np.lexsort(ranked.T[::-1])[::-1]]
    figure, ax = plate(size=(9.4, 2.9))
    shown = ax.imshow(ranked.T, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    for u, rank in np.argwhere(ranked == 0):
        ax.plot(u, rank, "x", color=RED, markersize=4)
    ax.set_yticks(range(counts.shape[1]), [f"rank {r + 1}" for r in range(counts.shape[1])])
    ax.set_xlabel("unit, the most one-sided first   (red cross: this neuron never wins)")
    ax.set_ylabel("neuron of the unit")
    ax.set_title(title, fontsize=11, loc="left")
    figure.colorbar(shown, ax=ax, label="training images won (%)")
    return figure


def rankings(relevance, unit_count=16, title=""):
    """The rank of every neuron of the first units under several measures: {measure: order (units, k)}."""
    figure, axes = plate(len(relevance), size=(9.6, 3.4), squeeze=False, sharey=True)
    for (name, order), ax in zip(relevance.items(), axes.flat, strict=True):
        rank = np.argsort(order[:unit_count], axis=1)
        k = rank.shape[1]
        ax.imshow(
            rank, cmap=ListedColormap([*shades(k)[: k - 1], "white"]), vmin=0, vmax=k - 1, aspect="auto"
        )
        for u, j in np.argwhere(rank == k - 1):
            ax.plot(j, u, "x", color=RED, markersize=5)
        ax.set_title(name.replace("_", " "), fontsize=8)
        ax.set_xticks(range(k))
    axes[0, 0].set_ylabel("unit")
    figure.supxlabel("neuron j of the unit; dark is relevant, a red cross goes first", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def rounds(found, layer):
    """Who wins in the units of a layer before each removal: steps of `lessons.run_here`."""
    seen = [(step["counts"][layer], step["keep"][layer]) for step in found if step["counts"]]
    figure = draw_rounds(seen)
    figure.__class__ = Plate  # the same figure; now it shows itself
    figure.set_size_inches(9.6, 4.0)
    return figure


def masks(panels, title="", size=(9.6, 3.6)):
    """Which weights of a matrix are left: {title: mask (rows, columns)}, black = kept."""
    figure, axes = plate(len(panels), size=size, squeeze=False)
    for (name, mask), ax in zip(panels.items(), axes.flat, strict=True):
        ax.imshow(~mask, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set_title(f"{name}: {100 * mask.mean():.1f} % kept", fontsize=10, loc="left")
        ax.set_xlabel("input")
        ax.set_ylabel("neuron")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure
