"""Figure of a benchmark: speed relative to other frameworks, and cost against the amount of work."""

import re

from mnp.plotting.style import BLUE, GREEN, LINES, ORANGE, RED, label_axes, log_scale, new_figure

BASELINES = (  # of the faster ones: ratio in a row, legend, colour, hatching
    ("ratio_default", "PyTorch, default", BLUE, ""),
    ("ratio_best", "PyTorch, best", ORANGE, "//"),
    ("ratio_onnxruntime", "ONNX Runtime", GREEN, ".."),
    ("ratio_openvino", "OpenVINO", RED, "xx"),
)

MARKERS = "os^DvPX<>*"  # of the kernels on a roofline


def plot_benchmark(report):
    """Draw a report of `mnp bench`, the dict that it writes as JSON; `--only sizes` has its own figure."""
    if all("macs" in row for row in report["rows"]):
        return plot_sizes(report["rows"])
    figure, (left, right) = new_figure(2, size=(9.6, 9.0), width_ratios=(3, 2))
    draw_ratios(report["rows"], left)
    draw_scaling(report["rows"], right)
    model, threads, load = report["machine"]["model"], report["threads"], report["load"]
    figure.suptitle(f"{model}, {threads} threads, load {load}", fontsize=9)
    return figure


def plot_sizes(rows):
    """Draw parameters, multiply-adds and the time of inference of networks: rows of `scaling.sizes`."""
    names = list(dict.fromkeys(row["case"].rpartition(", ")[2] for row in rows))
    figure, axes = new_figure(3, size=(9.6, 3.8))
    times = {batch: [row["mnp_ms"] for row in rows if row["batch"] == batch] for batch in (1, 64)}
    first = rows[: len(names)]
    panels = {
        "parameters": {"": [row["params"] for row in first]},
        "multiply-adds for one image": {"": [row["macs"] for row in first]},
        "time of inference (ms)": {f"{n} image{'s' * (n > 1)}": ms for n, ms in times.items()},
    }
    for ax, (label, lines) in zip(axes, panels.items(), strict=True):
        for (name, values), colour, marker in zip(lines.items(), (BLUE, ORANGE), "os", strict=False):
            ax.plot(values, marker, color=colour, label=name)
        log_scale(ax.yaxis)
        ax.set_xticks(range(len(names)), names, rotation=60, fontsize=8)
        label_axes(ax, "", label)
    axes[2].legend(frameon=False, fontsize=8)
    return figure


def plot_roofline(report):
    """Draw a report of `mnp bench --roofline`: each kernel before and after its tile, below the roof."""
    figure, ax = new_figure(size=(9.0, 5.4))
    peak, bandwidth, rows = report["peak_gflops"], report["bandwidth_gbs"], report["rows"]
    ends = [min(row["intensity"] for row in rows) / 2, max(row["intensity"] for row in rows) * 2]
    x = sorted([*ends, peak / bandwidth])
    roof = f"{peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s"
    ax.plot(x, [min(peak, bandwidth * value) for value in x], color="black", label=f"roof: {roof}")
    for row, (colour, *_), marker in zip(rows, LINES * 2, MARKERS, strict=False):
        at, speeds = [row["intensity"]] * 2, [row["plain_gflops"], row["tiled_gflops"]]
        ax.plot(at, speeds, color=colour, linestyle=":", linewidth=1)
        ax.plot(at[:1], speeds[:1], color=colour, marker=marker, markerfacecolor="white", linestyle="")
        ax.plot(at[1:], speeds[1:], color=colour, marker=marker, linestyle="", label=row["kernel"])
    log_scale(ax.xaxis)
    log_scale(ax.yaxis)
    label_axes(
        ax, "arithmetic intensity (operations per byte)", "GFLOP/s (hollow: plain loop, filled: tiled)"
    )
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"{report['machine']['model']}, {report['threads']} threads", fontsize=9)
    return figure


def draw_ratios(rows, ax):
    """Draw the baselines' times over ours as bars; right of the line at 1, we are faster.

    Captured networks with many images, which take as long as `forward`, are left out.
    """
    rows = [row for row in rows if any(row.get(field) for field, *_ in BASELINES)]
    rows = [row for row in rows if row["batch"] == 1 or "captured" not in row["kernels"]]
    shown = [baseline for baseline in BASELINES if any(row.get(baseline[0]) for row in rows)]
    height = 0.8 / max(1, len(shown))
    for i, (field, label, colour, hatch) in enumerate(shown):
        shift = (i - (len(shown) - 1) / 2) * height
        bars = [(y + shift, row[field]) for y, row in enumerate(rows) if row.get(field)]
        y, values = zip(*bars, strict=True)
        drawn = ax.barh(y, values, height, color=colour, hatch=hatch, edgecolor="white", label=label)
        ax.bar_label(drawn, fmt="%.1f", padding=1, fontsize=6)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [case_name(row) for row in rows], fontsize=8)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    label_axes(ax, "baseline time / mnp time", "case, batch size")
    ax.grid(visible=False)
    if shown:
        ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)


def case_name(row):
    """Name, batch size and backend of a case.

    >>> case_name({"case": "LeNet training step", "batch": 64, "kernels": "jitted"})
    'LeNet training step, 64 (jitted)'
    """
    backend = "" if row["kernels"] == "tiled" else f" ({row['kernels']})"
    return f"{row['case']}, {row['batch']:,}{backend}"


def draw_scaling(rows, ax):
    """Draw the time of a training step against batch size and layer width; dotted: proportional."""
    cases = (
        (r"growth with the batch()", "batch size", BLUE, "o"),
        (r"growth with the width, ([\d,]+) neurons", "neurons of fc3", RED, "s"),
    )
    for pattern, label, colour, marker in cases:
        points = []
        for row in rows:
            if match := re.fullmatch(pattern, row["case"]):
                points.append((int(match[1].replace(",", "") or row["batch"]), row["mnp_ms"]))
        if points:
            x, y = zip(*points, strict=True)
            ax.plot(x, y, color=colour, marker=marker, label=label)
            ax.plot(x, [y[-1] * value / x[-1] for value in x], color=colour, linestyle=":", linewidth=1)
    log_scale(ax.xaxis)
    log_scale(ax.yaxis)
    ax.tick_params(axis="x", which="both", rotation=60)
    label_axes(ax, "batch size, or neurons of fc3", "time of a training step (ms); dotted: proportional")
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0))
