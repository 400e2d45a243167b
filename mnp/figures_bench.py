"""The picture of a benchmark: how far ahead of its peers, and cost against the amount of work."""

from mnp.errors import MnpError
from mnp.figures import BLUE, GREEN, ORANGE, RED, new_axes, save
from mnp.files import read_json

PEERS = (
    ("ratio_default", "PyTorch, default", BLUE, ""),
    ("ratio_best", "PyTorch, its best", ORANGE, "//"),
    ("ratio_onnxruntime", "ONNX Runtime", GREEN, ".."),
)


def ratios(rows, ax, size=7):
    """Draw bars of the peers' times over ours; right of the line at 1, we are faster.

    rows : list of dict, `bench.cases.FIELDS`
        Left out are those without any ratio, and recorded ones of many images, which take as long unrecorded.
    size : float, of the cases' names in points
    """
    rows = [row for row in rows if any(row[field] for field, *_ in PEERS)]
    rows = [row for row in rows if row["batch"] == 1 or "recorded" not in row["kernels"]]
    high = 0.8 / len(PEERS)
    for i, (field, label, colour, hatch) in enumerate(PEERS):
        bars = [(y, row[field]) for y, row in enumerate(rows) if row[field]]
        places = [y + (i - 1) * high for y, _ in bars]
        values = [value for _, value in bars]
        ax.barh(places, values, high, color=colour, hatch=hatch, edgecolor="white", label=label)
        for place, value in zip(places, values, strict=True):
            ax.text(value + 0.05, place, f"{value:.1f}", va="center", fontsize=size - 1)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [name(row) for row in rows], fontsize=size)
    ax.invert_yaxis()
    ax.set_xlabel("their time / ours")
    ax.set_ylabel("what, images at a time")
    ax.margins(x=0.12)
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(PEERS))
    return ax


def name(row):
    """A case in a few words.

    >>> name({"case": "LeNet training step", "batch": 64, "kernels": "jitted"})
    'LeNet training step, 64 (jitted)'
    """
    tier = "" if row["kernels"] == "tiled" else f" ({row['kernels']})"
    return f"{row['case']}, {row['batch']:,}{tier}"


def growth(rows, ax):
    """Draw the time of a training step against the batch and against the width; dotted: in proportion."""
    batches = [(row["batch"], row["mnp_ms"]) for row in rows if row["case"] == "growth with the batch"]
    widths = [
        (int(row["case"].split()[-2].replace(",", "")), row["mnp_ms"])
        for row in rows
        if row["case"].startswith("growth with the width")
    ]
    for points, label, colour, marker in (
        (batches, "images in the batch", BLUE, "o"),
        (widths, "neurons of fc3", RED, "s"),
    ):
        if points:
            x, y = zip(*points, strict=True)
            ax.plot(x, y, color=colour, marker=marker, label=label)
            ax.plot(x, [y[-1] * value / x[-1] for value in x], color=colour, linestyle=":", linewidth=1)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("how many of them")
    ax.set_ylabel("a training step (ms); dotted: in proportion")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0))
    return ax


def draw_bench(report, path):
    """Draw a report of `mnp bench` (a dict, or its file) into a PNG.

    Raises MnpError for a file that is none.
    """
    where = "this report" if isinstance(report, dict) else report
    report = report if isinstance(report, dict) else read_json(report, "a benchmark")
    try:
        figure, (left, right) = new_axes(2, width_ratios=(3, 2))
        ratios(report["rows"], left)
        growth(report["rows"], right)
        model, threads = report["machine"]["model"], report["threads"]
    except (KeyError, TypeError, ValueError) as error:
        raise MnpError(f"{where}: is not what `mnp bench --json` writes ({error!r})") from None
    figure.suptitle(f"{model}, {threads} threads, load {report['load']}", fontsize=9)
    return save(figure, path)
