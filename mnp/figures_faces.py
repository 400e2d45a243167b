"""Pictures of face verification: ROC curves, and the pairs that were called wrongly.

Distances and images come in, axes go out. No photograph is drawn into a file here: `draw_roc` writes
curves only, and `pair_row` draws into the axes that a reader's notebook gives it.
"""

from pathlib import Path

from matplotlib.patches import Circle, Ellipse

from mnp.errors import MnpError
from mnp.experiments import verification
from mnp.experiments.registry import PAIRS, SUMMARY
from mnp.experiments.results import describe_round
from mnp.experiments.verification import called_same, pair_labels, read_pairs
from mnp.figures import ARMS, BLACK, new_axes, save
from mnp.files import read_json

GREY = "#bdbdbd"


def roc_curves(curves, ax):
    """Draw the share of same people recognised over the share of different people mistaken for one.

    Parameters
    ----------
    curves : list of dict
        label, distances (P,), same (P,) bool; and called (P,) bool, what was decided, for a dot at the
        operating point.
    ax : matplotlib axes

    Returns
    -------
    ax : the same axes, labelled; the diagonal is where the equal error rate is read off
    """
    for curve, (colour, marker, dash) in zip(curves, ARMS * 3, strict=False):
        r = verification.roc(curve["distances"], curve["same"])
        eer = 100 * verification.equal_error_rate(curve["distances"], curve["same"])
        label = f"{curve['label']} ({eer:.1f} %)"
        ax.step(
            100 * r.false_positive,
            100 * r.true_positive,
            where="post",
            color=colour,
            linestyle=dash,
            label=label,
        )
        same, called = curve["same"], curve["called"]
        at = 100 * called[~same].mean(), 100 * called[same].mean()
        ax.plot(*at, marker=marker, color=colour, markersize=8, linestyle="none")
    ax.plot([0, 100], [100, 0], color=BLACK, linewidth=0.6, linestyle=":")
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    ax.set_xlabel("pairs of two people called the same (%)")
    ax.set_ylabel("pairs of one person called the same (%)")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    title = "equal error rate in brackets"
    ax.legend(frameon=False, loc="lower right", fontsize=8, title=title, title_fontsize=8)
    return ax


def curves_of(rows, path):
    """The curves of a run: unpruned, after the last neuron round, after the last step; see `roc_curves`.

    Parameters
    ----------
    rows : list of row
        Of the run, or its results.
    path : str or Path
        The run's file of pairs. View 2: those of all folds together, each fold's distances over its own
        threshold, which puts the operating point of every fold at 1.
    """
    labels = pair_labels(path)
    if len(labels) != len(rows):
        raise MnpError(f"{path}: is of {len(labels)} steps, the rows are {len(rows)}")
    neurons = [i for i, row in enumerate(rows) if row["kind"] == "neurons"]
    curves = []
    for i in sorted({0, *neurons[-1:], len(rows) - 1}):
        pairs = read_pairs(path, labels[i])
        label = "unpruned" if i == 0 else f"{describe_round(rows[i])}, {rows[i]['nonzero']:,} parameters"
        called = called_same(pairs)
        curves.append({"label": label, "called": called, **{k: pairs[k] for k in ("distances", "same")}})
    return curves


def draw_roc(folder):
    """Draw roc.png of a finished run on faces, see `curves_of`.

    Returns
    -------
    paths : list of Path
        Empty for a run of several seeds, and for one that is not on faces.
    """
    folder = Path(folder)
    summary = read_json(folder / SUMMARY, "a summary")
    rows = summary["rows"]
    if "seeds" in summary or "accuracy" not in rows[0]:
        return []
    figure, ax = new_axes()
    roc_curves(curves_of(rows, folder / PAIRS), ax)
    ax.set_title(f"{summary['recipe']['name']}: verification before and after", loc="left")
    return [save(figure, folder / "roc.png")]


def pair_row(axes, same, images=None):
    """Draw a row of pairs, one under the other; drawn placeholders where there are no photographs.

    Parameters
    ----------
    axes : array of matplotlib axes (2, columns)
    same : (columns,) bool
        What is true of each pair; the title says it beside the wrong answer.
    images : (columns, 2, 3, H, W) uint8, optional
        From the reader's own copy of the data. None draws a plain head for each.
    """
    for column, one in enumerate(same):
        for row in range(2):
            ax = axes[row, column]
            ax.set_axis_off()
            if images is None:
                head(ax, shade=column % 2 if one else (row + column) % 2)
            else:
                ax.imshow(images[column, row].transpose(1, 2, 0))
        axes[0, column].set_title("one person,\ncalled two" if one else "two people,\ncalled one", fontsize=9)
    return axes


def head(ax, shade=0):
    """A placeholder: a head and shoulders in grey, of nobody."""
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_aspect("equal")
    ax.add_patch(Ellipse((0.5, 0.02), 0.8, 0.6, color=GREY, alpha=0.5 + 0.3 * shade))
    ax.add_patch(Circle((0.5, 0.58), 0.24, color=GREY, alpha=0.7 + 0.3 * shade))
    return ax
