"""Style shared by all figures: colours, axes, logarithmic scales, names of arms, PNG files.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. Lines differ in marker and
dash as well, areas in lightness or hatching, so that they can be told apart in a grey print.
"""

import io

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from mnp.files import atomic_write

BLACK, ORANGE, SKY, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, RED, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
GREY = "#8c8c8c"
LINES = (  # colour, marker, dash
    (BLUE, "o", "-"),
    (RED, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", ":"),
    (ORANGE, "v", "-"),
    (BLACK, "P", "--"),
    (SKY, "X", "-."),
    (GREY, "<", ":"),
)
PIECES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, GREY)  # neighbours differ in lightness


class NotebookFigure(Figure):
    """A figure that a notebook shows as PNG if it is the last value of a cell, whatever its backend."""

    def _repr_png_(self):
        return png(self, dpi=100)


def new_figure(columns=1, rows=1, size=(9.0, 3.6), **options):
    """A white figure and its axes; `options` are those of `Figure.subplots`.

    >>> figure, ax = new_figure()
    >>> figure.get_facecolor()
    (1.0, 1.0, 1.0, 1.0)
    """
    figure = NotebookFigure(figsize=size, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, **options)


def label_axes(ax, x, y, title="", legend=False):
    """Set labels and title, draw a light grid and no box."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=11, loc="left")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(frameon=False, fontsize=9)


def legend_below(figure, ax):
    """Put the legend of one of its axes below a figure."""
    names = ax.get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=min(len(names[1]), 4), frameon=False, fontsize=9)


def format_tick(x, _position=None):
    """A number beside an axis.

    >>> [format_tick(x) for x in (0.02, 500, 20_000, 3e6, 1e-9)]
    ['0.02', '500', '20 k', '3 M', '$10^{-9}$']
    """
    if 0 < x < 1e-4 or x >= 1e10:
        return f"$10^{{{np.log10(x):.0f}}}$"
    return f"{x / 1e6:,g} M" if x >= 1e6 else f"{x / 1e3:g} k" if x >= 1e4 else f"{x:,g}"


def log_scale(axis):
    """Make an axis logarithmic, with numbers at the decades, and at 2 and 5 between few decades."""

    def format_minor(x, _position):
        low, high = sorted(axis.get_view_interval())
        return format_tick(x) if f"{x:.0e}"[0] in "25" and high < 300 * low else ""

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(format_tick)
    axis.set_minor_formatter(format_minor)


def arm_label(arm):
    """The name of an arm of an experiment for a reader.

    >>> arm_label("after"), arm_label("win_counts")
    ('weights after neurons', 'win counts')
    """
    names = {"neurons": "neurons alone", "weights": "weights alone", "after": "weights after neurons"}
    names |= {"win_counts_training": "win counts, training mode", "unpruned": "nothing removed"}
    names |= {"small": "small, from scratch", "rewound": "pruned, rewound to first weights"}
    return names.get(arm, arm.replace("_", " "))


def shades(n):
    """n blues from dark (the most relevant) to light, also in a grey print.

    >>> len(shades(3))
    3
    """
    return [colormaps["Blues_r"](x) for x in np.linspace(0, 0.75, n)]


def png(figure, dpi=150):
    """The figure as the bytes of a PNG file, the same for the same figure."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    return image.getvalue()


def save_png(figure, path):
    """Write a figure as PNG and return the path."""
    atomic_write(path, png(figure))
    return path
