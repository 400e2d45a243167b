"""Figures: labelled, told apart without colour, and drawn from rows alone."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from tiny_runs import COMPARE, NEURONS, carry_out

from mnp import figures
from mnp.errors import MnpError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "tiny"
    carry_out(NEURONS, out)
    return out


def rows_of(out):
    return json.loads((out / "summary.json").read_text())["rows"]


def row(step, nonzero, error, before, arm="", parent=None, kind="neurons", k=1):
    parent = step - 1 if parent is None else parent
    return {
        "step": step,
        "kind": kind,
        "k": k,
        "nonzero": nonzero,
        "error": error,
        "error_before": before,
        "arm": arm,
        "parent": parent,
        "reduction": 0.5,
    }


def test_error_has_a_point_a_step_and_a_hollow_one_before_retraining(folder):
    rows = rows_of(folder)
    _, ax = figures.new_axes()
    assert figures.error_against_parameters(rows, ax) is ax
    after, before, _ = ax.get_lines()
    assert list(after.get_xdata()) == [r["nonzero"] for r in rows]
    assert list(after.get_ydata()) == [r["error"] for r in rows]
    assert list(before.get_ydata()) == [r["error_before"] for r in rows[1:]]  # not of the untrained network
    assert before.get_markerfacecolor() == "white"
    assert "%" in ax.get_ylabel() and "parameters" in ax.get_xlabel()
    assert [t.get_text() for t in ax.texts] == ["k = 3", "k = 2", "k = 1"]
    low, high = ax.get_xlim()
    assert low > high  # smaller to the right


def test_a_gradual_removal_has_no_moment_right_after_it():
    _, ax = figures.new_axes()
    rows = [row(0, 1000, 1.0, 90, kind="train"), row(1, 900, 1.1, 2.0), row(2, 90, 1.2, 1.1, kind="gradual")]
    figures.error_against_parameters(rows, ax)
    after, before, _ = ax.get_lines()
    assert list(after.get_ydata()) == [1.0, 1.1, 1.2] and list(before.get_ydata()) == [2.0]


def test_scales_follow_the_span():
    _, ax = figures.new_axes()
    figures.error_against_parameters([row(0, 1000, 1.0, 90, kind="train"), row(1, 900, 1.1, 2.0)], ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
    _, ax = figures.new_axes()
    figures.error_against_parameters([row(0, 10**6, 1.0, 90, kind="train"), row(1, 9000, 1.1, 20)], ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (
        ax.xaxis.get_major_formatter()(10**6, 0) == "1 M" and ax.xaxis.get_major_formatter()(500, 0) == "500"
    )
    _, ax = figures.new_axes()
    figures.error_against_parameters([row(0, 1000, 0.0, 90, kind="train"), row(1, 900, 0.0, 20)], ax)
    assert ax.get_yscale() == "linear"  # zero has no logarithm


def test_arms_branch_where_they_came_from_and_differ_in_more_than_colour():
    rows = [
        row(0, 100, 1.0, 90, kind="train"),
        row(1, 80, 1.1, 3.0, "win_counts"),
        row(2, 60, 1.2, 3.0, "win_counts"),
        row(3, 80, 1.5, 9.0, "random", parent=0),
    ]
    assert figures.paths(rows) == {"win_counts": [0, 1, 2], "random": [0, 3]}
    _, ax = figures.new_axes()
    figures.error_against_parameters(rows, ax, before=False)
    first, second = ax.get_lines()
    assert first.get_marker() != second.get_marker() and first.get_linestyle() != second.get_linestyle()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["win_counts", "random"]


def test_several_seeds_are_thin_lines_and_their_mean_a_thick_one():
    rows = [
        {"seed": seed, **r}
        for seed, e in ((0, 1.0), (1, 2.0))
        for r in (row(0, 100, e, 90, kind="train"), row(1, 80, e + 1, 5))
    ]
    _, ax = figures.new_axes()
    figures.error_against_parameters(rows, ax)
    widths = [line.get_linewidth() for line in ax.get_lines()]
    assert sorted(widths)[:2] == [0.8, 0.8] and list(ax.get_lines()[2].get_ydata()) == [1.5, 2.5]


def luminance(colour):
    return float(np.dot([0.2126, 0.7152, 0.0722], to_rgb(colour)))


def test_shades_of_wins_fall_in_order_in_a_grey_print():
    for n in (1, 3, 7):
        values = [luminance(shade) for shade in figures.shades(n)]
        assert values == sorted(values) and min(np.diff(values), default=1) > 0.07


def test_win_counts_fill_a_hundred_percent_and_show_what_goes():
    counts = np.array([[6, 3, 1], [5, 0, 5], [2, 2, 6]])
    keep = np.array([[0, 1], [0, 2], [1, 2]])
    _, ax = figures.new_axes()
    figures.win_counts(counts, keep, ax)
    kept1, kept2, removed = (c.get_paths()[0].vertices for c in ax.collections)
    # sorted by loss: unit 1 loses 0 %, unit 0 10 %, unit 2 20 %
    assert kept1[:, 1].max() == 60 and removed[:, 1].max() == pytest.approx(100)
    assert sorted(set(kept1[:, 1])) == [0, 50, 60] and ax.collections[2].get_hatch()
    assert ax.get_title() == "k = 3: 10.0 % of wins go" and ax.get_xlabel() and kept2[:, 1].max() == 100


def test_sensitivity_draws_a_line_a_layer():
    rows = [
        {"layer": f"{name}.weight", "sparsity": s, "error": e}
        for name in ("conv1", "fc3")
        for s, e in ((0.5, 1.0), (0.9, 4.0))
    ]
    _, ax = figures.new_axes()
    figures.sensitivity(rows, ax)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["conv1", "fc3"]
    assert list(ax.get_lines()[0].get_xdata()) == [50, 90] and "%" in ax.get_xlabel()


def test_draw_run_writes_and_repeats_its_figures(folder):
    written = figures.draw_run(folder)
    assert [p.name for p in written] == ["error.png", "win_counts-fc3.png"]
    before = [p.read_bytes() for p in written]
    assert [p.read_bytes() for p in figures.draw_run(folder)] == before


def test_draw_run_of_several_arms(tmp_path):
    carry_out(dataclasses.replace(COMPARE, train=NEURONS.train), tmp_path / "c")
    assert len(figures.draw_run(tmp_path / "c")) == 2
    ((layer, rounds),) = figures.rounds_of(tmp_path / "c").items()
    assert layer == "fc3" and [counts.shape[1] for counts, _ in rounds] == [3, 2]


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"rows": 1, "recipe": {"name": "x"}}', '{"rows": [], "recipe": []}']
)
def test_a_damaged_summary_is_one_line(folder, tmp_path, text):
    out = shutil.copytree(folder, tmp_path / "copy")
    (out / "summary.json").write_text(text)
    with pytest.raises(MnpError, match=r"summary\.json") as caught:
        figures.draw_run(out)
    assert "\n" not in str(caught.value)


def test_seven_rounds_fit_on_a_slide():
    rng = np.random.default_rng(0)
    rounds = [(rng.integers(1, 9, (6, k)), np.tile(np.arange(k - 1), (6, 1))) for k in range(8, 1, -1)]
    figure = figures.draw_rounds(rounds)
    assert len([ax for ax in figure.axes if ax.axison]) == 7 and len(figure.legends[0].get_texts()) == 8


def test_a_folder_without_a_finished_run(tmp_path):
    with pytest.raises(MnpError, match="holds no finished run"):
        figures.draw_run(tmp_path)
