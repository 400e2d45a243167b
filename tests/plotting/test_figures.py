"""Figures are labelled, legible without colour, drawn from rows alone, and independent of MPLBACKEND."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from one_line import one_line
from tiny_runs import COMPARE, NEURONS, carry_out

from mnp.plotting import charts, runs, units
from mnp.plotting.faces import plot_roc
from mnp.plotting.style import format_tick, new_figure, shades


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "tiny"
    carry_out(NEURONS, out)
    return out


def rows_of(out):
    return json.loads((out / "summary.json").read_text())["rows"]


def row(step, nonzero, error, before, arm="", parent=None, kind="neurons", k=1):
    about = {"step": step, "kind": kind, "k": k, "arm": arm, "parent": step - 1 if parent is None else parent}
    return about | {"nonzero": nonzero, "error": error, "error_before": before, "reduction": 0.5}


def test_errors_have_a_point_per_round_and_a_hollow_one_before_retraining(folder):
    rows = rows_of(folder)
    _, ax = new_figure()
    runs.draw_errors(rows, ax)
    after, before, _ = ax.get_lines()
    assert list(after.get_xdata()) == [r["nonzero"] for r in rows]
    assert list(after.get_ydata()) == [r["error"] for r in rows]
    assert list(before.get_ydata()) == [r["error_before"] for r in rows[1:]]  # not of the untrained network
    assert before.get_markerfacecolor() == "none"
    assert "%" in ax.get_ylabel() and "parameters" in ax.get_xlabel()
    assert sorted(t.get_text() for t in ax.texts) == ["k = 1", "k = 2", "k = 3"]
    low, high = ax.get_xlim()
    assert low > high  # smaller to the right


def test_a_gradual_removal_has_no_hollow_point():
    _, ax = new_figure()
    rows = [row(0, 1000, 1.0, 90, kind="train"), row(1, 900, 1.1, 2.0), row(2, 90, 1.2, 1.1, kind="gradual")]
    runs.draw_errors(rows, ax)
    after, before, _ = ax.get_lines()
    assert list(after.get_ydata()) == [1.0, 1.1, 1.2] and list(before.get_ydata()) == [2.0]


def test_scales_follow_the_span():
    _, ax = new_figure()
    runs.draw_errors([row(0, 1000, 1.0, 90, kind="train"), row(1, 900, 1.1, 2.0)], ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
    _, ax = new_figure()
    runs.draw_errors([row(0, 10**6, 1.0, 90, kind="train"), row(1, 9000, 1.1, 20)], ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.xaxis.get_major_formatter()(10**6, 0) == "1 M" and format_tick(500) == "500"
    _, ax = new_figure()
    runs.draw_errors([row(0, 1000, 0.0, 90, kind="train"), row(1, 900, 0.0, 20)], ax)
    assert ax.get_yscale() == "linear"  # zero has no logarithm


def test_arms_branch_where_they_came_from_and_differ_in_more_than_colour():
    rows = [
        row(0, 100, 1.0, 90, kind="train"),
        row(1, 80, 1.1, 3.0, "win_counts"),
        row(2, 60, 1.2, 3.0, "win_counts"),
        row(3, 80, 1.5, 9.0, "random", parent=0),
    ]
    assert runs.paths(rows) == {"win_counts": [0, 1, 2], "random": [0, 3]}
    _, ax = new_figure()
    runs.draw_errors(rows, ax)
    first, _, second, *_ = ax.get_lines()
    assert first.get_marker() != second.get_marker() and first.get_linestyle() != second.get_linestyle()
    assert [t.get_text() for t in ax.get_legend().get_texts()][:2] == ["win counts", "random"]


def test_several_seeds_are_thin_lines_and_their_mean_a_thick_one():
    rows = [
        {"seed": seed, **r}
        for seed, e in ((0, 1.0), (1, 2.0))
        for r in (row(0, 100, e, 90, kind="train"), row(1, 80, e + 1, 5))
    ]
    _, ax = new_figure()
    runs.draw_errors(rows, ax)
    widths = [line.get_linewidth() for line in ax.get_lines()]
    assert sorted(widths)[:2] == [0.8, 0.8] and list(ax.get_lines()[2].get_ydata()) == [1.5, 2.5]


def luminance(colour):
    return float(np.dot([0.2126, 0.7152, 0.0722], to_rgb(colour)))


def test_shades_of_wins_fall_in_order_in_a_grey_print():
    for n in (1, 3, 7):
        values = [luminance(shade) for shade in shades(n)]
        assert values == sorted(values) and min(np.diff(values), default=1) > 0.07


def test_win_counts_fill_a_hundred_percent_and_show_what_goes():
    counts = np.array([[6, 3, 1], [5, 0, 5], [2, 2, 6]])
    keep = np.array([[0, 1], [0, 2], [1, 2]])
    _, ax = new_figure()
    runs.draw_win_counts(counts, keep, ax, ranks=2)
    kept1, kept2, removed = (c.get_paths()[0].vertices for c in ax.collections)
    # sorted by loss: unit 1 loses 0 %, unit 0 10 %, unit 2 20 %
    assert kept1[:, 1].max() == 60 and removed[:, 1].max() == pytest.approx(100)
    assert sorted(set(kept1[:, 1])) == [0, 50, 60] and ax.collections[2].get_hatch()
    assert ax.get_title() == "k = 3: 10.0 % of wins lost" and ax.get_xlabel() and kept2[:, 1].max() == 100


def test_a_runs_figures_are_written_and_repeatable(folder):
    written = runs.save_run_figures(folder)
    assert [p.name for p in written] == ["error.png", "win_counts-fc3.png"]
    before = [p.read_bytes() for p in written]
    assert [p.read_bytes() for p in runs.save_run_figures(folder)] == before


def test_figures_of_a_run_with_several_arms(tmp_path):
    carry_out(dataclasses.replace(COMPARE, train=NEURONS.train), tmp_path / "c")
    assert len(runs.save_run_figures(tmp_path / "c")) == 2
    ((layer, rounds),) = runs.rounds_of(tmp_path / "c").items()
    assert layer == "fc3" and [counts.shape[1] for counts, _ in rounds] == [3, 2]


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"rows": 1, "recipe": {"name": "x"}}', '{"rows": [], "recipe": []}']
)
def test_a_damaged_summary_is_one_line(folder, tmp_path, text):
    with one_line("holds no finished run"):
        runs.save_run_figures(tmp_path)
    out = shutil.copytree(folder, tmp_path / "copy")
    (out / "summary.json").write_text(text)
    with one_line(r"summary\.json"):
        runs.save_run_figures(out)


def test_texts_that_would_overlap_are_left_out():
    sizes = (1000, 990, 500, 20, 1)
    rows = [row(i, n, 1 + i / 9, 2.0, kind="neurons" if i else "train", k=9 - i) for i, n in enumerate(sizes)]
    _, ax = new_figure()
    runs.draw_errors([r | {"nonzero": r["nonzero"] + 1000} for r in rows], ax)  # linear: 5 % are too near
    assert sorted(t.get_text() for t in ax.texts) == ["k = 5", "k = 7", "k = 9"]


def test_figures_are_white_and_labelled(folder):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, (4, 3)) + np.array([1, 0, 0])
    t, z = np.linspace(-1, 1, 5), np.stack([np.linspace(-1, 1, 5), np.linspace(1, -1, 5)], axis=1)
    curve = np.array([0, 0.5, 1.0]), np.array([0, 0.8, 1.0])
    images = {"row": (rng.random((2, 4, 4)), ["a", "b"]), "other": (rng.random((1, 4, 4)), None)}
    figures = [
        charts.plot_bars({"a": 1.0, "b": 10.0}, "ms"),
        charts.plot_lines({"a": ([1, 2], [3, 4])}, "x", "y", log="xy"),
        charts.plot_confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2),
        charts.plot_grouped_bars({"a": [1, 2], "b": [2, 3]}, ["p", "q"], "x", "y"),
        charts.plot_images(images),
        units.plot_units(t, {"u": z, "v": z}, before={"v": z[:, 0]}),
        units.plot_regions(t, {"u": rng.random((5, 5, 3))}, points=(rng.random((3, 2)), np.array([0, 1, 1]))),
        units.plot_win_shares(counts, "shares"),
        units.plot_orders({"a": np.argsort(-counts), "b": np.argsort(counts)}, "ranks"),
        runs.plot_runs({"tiny": rows_of(folder), "again": rows_of(folder), "third": rows_of(folder)}),
        plot_roc({"one": {"a": curve, "b": (*curve, (0.2, 0.7))}, "two": {"a": curve}}),
    ]
    for figure in figures:
        assert figure._repr_png_().startswith(b"\x89PNG")
        assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
        for ax in figure.axes:  # a panel may share its neighbour's label, bars and images have names
            if not ax.axison or ax.get_label() == "<colorbar>" or figure is figures[4]:
                continue
            named_bars = any(label.get_text().isalpha() for label in ax.get_yticklabels())
            beside = ax.get_shared_y_axes().joined(ax, figure.axes[0]) and figure.axes[0].get_ylabel()
            assert ax.get_xlabel() or figure.get_supxlabel()
            assert ax.get_ylabel() or named_bars or beside
    confusion = figures[2].axes[0]
    assert (confusion.get_xlabel(), confusion.get_ylabel()) == ("predicted class", "true class")
    assert [text.get_text() for text in confusion.texts] == ["1"]  # the only error
    roc = figures[10].axes[0]
    assert (roc.get_xlabel(), roc.get_ylabel()) == ("false-positive rate (%)", "true-positive rate (%)")


NO_INLINE = """
import importlib.metadata as metadata
found = metadata.entry_points
metadata.entry_points = lambda **what: metadata.EntryPoints(
    entry for entry in found(**what) if not entry.value.startswith("matplotlib_inline")
)
"""  # as in an environment without matplotlib-inline
BACKENDS = ("module://matplotlib_inline.backend_inline", "nonsense")


@pytest.mark.parametrize("backend", BACKENDS)
def test_figures_do_not_depend_on_mplbackend(folder, tmp_path, backend):
    """As in `!mnp run` in a notebook, whose MPLBACKEND names a backend that mnp's environment lacks."""
    out = shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "sitecustomize.py").write_text(NO_INLINE)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": paths}
    environment.pop("DISPLAY", None)
    command = [sys.executable, "-m", "mnp", "figures", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / "error.png").read_bytes() == runs.save_run_figures(folder)[0].read_bytes()
