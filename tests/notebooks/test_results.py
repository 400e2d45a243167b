"""Tables and figures of the committed results, for the notebooks and the README."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from one_line import one_line
from tiny_runs import COMPARE, NEURONS, carry_out

from mnp.experiments.recipes import PruneRecipe, WeightRecipe
from mnp.experiments.results import aggregate
from mnp.experiments.seeds import make_results
from mnp.notebooks import results
from mnp.plotting.comparisons import plot_arm_errors, plot_arms, plot_rankings, plot_records
from mnp.plotting.faces import plot_accuracy

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
RANKING = replace(NEURONS, prune=PruneRecipe(epochs=1, to_k=2, rankings=("win_counts", "reversed", "random")))
CONTROLS = replace(
    NEURONS,
    plan="controls",
    prune=PruneRecipe(epochs=1, rankings=("win_counts", "random")),
    weights=WeightRecipe(),
)
RECORD = replace(
    NEURONS,
    weights=WeightRecipe(remaining=(300, 150), schedule="gradual", scope="global", epochs=1, ramp_epochs=1),
)


def written(folder, name, experiment, seeds):
    """What `mnp run NAME --seeds N --results FOLDER` writes, of a run of a second."""
    experiment, rows = replace(experiment, name=name), {}
    for seed in range(seeds):
        rows[seed], _ = carry_out(replace(experiment, seed=seed), folder / f"run-{name}-{seed}")
    found = make_results(rows, experiment, folder / f"run-{name}-0", f"mnp run {name} --seeds {seeds}")
    (folder / f"{name}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    written(folder, "mnist-compare", COMPARE, 2)
    written(folder, "mnist-ranking", RANKING, 2)
    written(folder, "mnist-record", RECORD, 1)
    written(folder, "mnist-caffe-controls", CONTROLS, 2)
    (folder / "published.json").write_text((RESULTS / "published.json").read_text())
    return folder


def faces_of(seeds=1, folds=0):
    """Results in the form of `lfw` or `lfw-view2`, of three steps."""
    kinds = (("train", 4, 900), ("neurons", 1, 400), ("weights", 1, 90))
    rows = [
        {
            "seed": seed,
            "step": i,
            "kind": kind,
            "k": k,
            "arm": "",
            "nonzero": nonzero,
            "reduction": 1 - nonzero / 900,
            "reduction_without_maxout": 1 - nonzero / 1000,
            "accuracy": 84.0 - i + seed,
            "accuracy_se": 1.0,
        }
        for seed in range(seeds)
        for i, (kind, k, nonzero) in enumerate(kinds)
    ]
    told = {"recipe": {"about": "drawn"}, "seeds": list(range(seeds)), "rows": rows, "command": "mnp run lfw"}
    told["against_unpruned"] = [{"lost": 3 * i, "won": 2 * i, "mcnemar_p": 0.5} for i in range(3)]
    if folds:
        told["folds"] = [{"fold": f, **row} for f in range(folds) for row in rows]
    return told


def test_methods_are_listed_by_size_in_the_order_in_which_they_ran(folder):
    lines = results.read_results("mnist-compare", folder)["aggregate"]
    sizes = list(results.lines_by_size(lines).values())
    arms = ["neurons", "weights"], ["neurons", "weights", "after"], ["weights", "after"], ["weights", "after"]
    assert tuple([line["arm"] for line in of_size] for of_size in sizes) == arms
    assert all(len({line["nonzero"] for line in of_size}) == 1 for of_size in sizes)
    header, rows = results.arms_table(lines)
    assert header[2:5] == ("method", "before retraining, %", "after retraining, %") and len(rows) == 9
    assert rows[1][:3] == ("", "", "weights alone") and rows[4][2] == "weights after neurons"
    line = sizes[0][1]
    assert rows[1][3] == f"{line['error_before_mean']:.2f} ± {line['error_before_sd']:.2f}"
    assert rows[1][4] == f"{line['error_mean']:.2f} ± {line['error_sd']:.2f}" and "…" in rows[1][5]


def test_rankings_are_arms_by_name(folder):
    text = results.format_results("mnist-ranking", folder)
    for word in ("win counts", "reversed", "random", "repeat: mnp run mnist-ranking --seeds 2", "2 seeds"):
        assert word in text


def test_arms_are_compared_at_their_end_or_at_one_k(folder):
    found = results.read_results("mnist-caffe-controls", folder)
    ends = results.ends_of_arms(found)
    assert list(ends) == ["unpruned", "win_counts", "random", "small", "rewound"]
    assert [rows[0]["k"] for rows in ends.values()] == [3, 1, 1, 1, 1]
    assert {row["epochs"] for rows in ends.values() for row in rows} == {1}
    assert set(results.ends_of_arms(found, k=2)) == {"win_counts", "random"}
    errors = results.errors_of_arms(found)
    assert errors["small"] == [row["error"] for row in ends["small"]] and len(errors["small"]) == 2
    assert plot_arm_errors(errors, "five arms")._repr_png_().startswith(b"\x89PNG")


def test_a_difference_is_told_with_what_its_interval_shows():
    def told(first, second):
        rows = [
            {"arm": arm, "step": i, "k": 1, "seed": seed, "error": error, "nonzero": 10}
            for i, (arm, errors) in enumerate({"unpruned": first, "random": second}.items())
            for seed, error in enumerate(errors)
        ]
        return results.describe_difference({"rows": rows}, "unpruned", "random")

    better = (
        "**nothing removed 1.10 ± 0.10 %, random 2.10 ± 0.10 %; difference -1.00 (-1.00 … -1.00) points: "
    )
    assert told([1.0, 1.1, 1.2], [2.0, 2.1, 2.2]) == f"{better}nothing removed has the lower error.**"
    assert "random has the lower error" in told([3.0, 3.1, 3.3], [2.0, 2.1, 2.2])
    assert "no difference is shown" in told([1.0, 2.1, 3.0], [2.0, 1.1, 3.2])
    assert "one seed, so no interval" in told([1.0], [2.0])


def test_one_seed_has_no_spread(folder):
    rows = json.loads((folder / "mnist-compare.json").read_text())["rows"]
    one = aggregate([[row for row in rows if row["seed"] == 0]])
    _, cells = results.arms_table(one)
    assert not any("±" in cell or "…" in cell for line in cells for cell in line)
    assert plot_arms(results.lines_by_size(one), 1.0, "one")._repr_png_().startswith(b"\x89PNG")


def test_a_recipe_without_arms_has_its_rounds(folder):
    text = results.format_results("mnist-record", folder)
    assert "error after" in text and "1 seed; no interval" in text
    one = json.loads((folder / "mnist-record.json").read_text())
    (folder / "two.json").write_text(json.dumps(one | {"seeds": [0, 1]}))
    text = results.format_results("two", folder)
    assert "change" in text and text.count("2 seeds") == 1


def test_controls_are_compared_with_nothing_removed(folder):
    found = results.read_results("mnist-caffe-controls", folder)
    header, cells = results.paired_table(found, "unpruned")
    assert [cell[0] for cell in cells][:2] == ["nothing removed", "win counts"] and cells[0][-1] == ""
    assert header[-1] == "difference from nothing removed"
    ends = {(row["seed"], row["arm"]): row["error"] for row in found["rows"]}  # the last round of each arm
    for arm, cell in zip(("win_counts", "random", "small", "rewound"), cells[1:], strict=True):
        changes = [ends[seed, arm] - ends[seed, "unpruned"] for seed in (0, 1)]
        assert cell[-1].startswith(f"{sum(changes) / 2:+.2f} (")


def test_rounds_are_compared_with_those_trained_as_long(folder):
    found = results.read_results("mnist-caffe-controls", folder)
    _, cells = results.rounds_table(found, "win_counts", "unpruned")
    errors = {arm: {} for arm in ("win_counts", "unpruned")}
    for row in found["rows"]:
        if row["arm"] in errors:
            errors[row["arm"]].setdefault(row["step"], []).append(row["error"])
    pairs = list(zip(*(of_arm.values() for of_arm in errors.values()), strict=True))
    assert len(cells) == len(pairs) >= 2
    for cell, (pruned, other) in zip(cells, pairs, strict=True):
        assert cell[-1].startswith(f"{np.mean(pruned) - np.mean(other):+.2f} (")


def test_records_count_against_lenet5(folder):
    names = ("mnist-record",)
    (first, last) = results.own_records(folder, names)
    assert (first["left"], last["left"]) == (300, 150)
    assert last["compression"] == pytest.approx(431_080 / 150) and last["removed"] == "both"
    biases = 2 + 2 + 12 // 3 + 10
    assert last["weights_compression"] == pytest.approx(430_500 / (150 - biases))
    of_last = [
        r["nonzero_macs"] for r in results.read_results(*names, folder)["rows"] if r["kind"] != "neurons"
    ]
    assert min(of_last) <= last["macs"] <= max(of_last)
    records = results.all_records(folder, names)
    macs = {record["method"]: record["macs"] for record in records}
    assert (
        macs["L0-sep"] == 9 * 25 * 24**2 + 9 * 18 * 25 * 8**2 + 65 * 25 + 250 and macs["Han et al."] is None
    )
    assert len(records) == 19
    assert [record["compression"] for record in records] == sorted(r["compression"] for r in records)
    text = results.format_text(*results.records_table(records))
    assert "2.87e+03x" not in text and "2,874x" in text
    assert "Dynamic Network Surgery, 2016" in text and "39x in bytes" in text and "1608.04493" in text


def test_runs_that_end_larger_than_lenet5_are_no_compression_of_it():
    own = results.own_records(RESULTS, names=("mnist", "mnist-combined"))
    assert [round(record["left"]) for record in own] == [133_691, 33_422]  # mnist ends at 440,812
    commands = {record["source"] for record in own}
    assert commands == {"mnp run mnist-combined --seeds 5 --results notebooks/results"}


def test_faces_have_their_accuracy_and_the_pairs_that_changed(tmp_path):
    header, rows = results.faces_table(faces_of())
    assert header[-4:] == ("accuracy, %", "lost", "won", "p")
    assert rows[0][-3:] == ("", "", "") and rows[2][-4:] == ("82.00 ± 1.00", "6", "4", "0.50")
    header, rows = results.faces_table(faces_of(seeds=2))  # the pairs of one seed would be no summary
    assert header[-1] == "accuracy, %" and rows[0][-1] == "84.50 ± 1.00"
    (tmp_path / "lfw.json").write_text(json.dumps(faces_of(seeds=2)))
    text = results.format_results("lfw", tmp_path)
    assert "2 seeds; standard error" in text and "repeat: mnp run lfw" in text


def test_a_missing_or_damaged_file_is_one_line(tmp_path):
    for text in (None, "{", "[1, 2]"):
        if text is not None:
            (tmp_path / "mnist.json").write_text(text)
        with one_line(r"mnist\.json"):
            results.format_results("mnist", tmp_path)


def test_comparison_figures_are_white_and_labelled(folder):
    lines = results.read_results("mnist-ranking", folder)["aggregate"]
    faces = {"lfw": results.accuracies(faces_of()), "lfw-view2": results.accuracies(faces_of(folds=3))}
    published = results.read_results("published", RESULTS)["lfw"]
    figures = [
        plot_arms(results.lines_by_size(lines), lines[0]["error_mean"], "three"),
        plot_records(results.all_records(folder, ("mnist-record",)), "records"),
        plot_records(results.all_records(RESULTS), "records"),
        plot_accuracy(faces, {"lfw-view2": faces_of(folds=3)["folds"]}, published),
        plot_accuracy({"lfw": results.accuracies(faces_of(seeds=2))}),
        plot_rankings({"not retrained": lines, "retrained": lines}),
    ]
    for figure in figures:
        assert figure._repr_png_().startswith(b"\x89PNG") and figure.get_facecolor() == (1, 1, 1, 1)
        for ax in figure.axes:
            assert ax.get_xlabel() and "%" in ax.get_ylabel()
    header, rows = results.rankings_table(lines)
    assert header == ("k", "win counts", "reversed", "random") and [row[0] for row in rows] == ["2"]
    markers = [bar.lines[0].get_marker() for bar in figures[0].axes[1].containers]
    assert len(set(markers)) == len(markers) == 3  # told apart without colour
    low, high = figures[3].axes[0].get_xlim()
    assert low > high  # smaller to the right
    assert len(figures[3].axes[0].lines) > 3 + len(published)  # the folds are thin lines


def test_sums_of_distances_repeat_each_networks_accuracy(monkeypatch):
    monkeypatch.chdir(RESULTS.parents[1])
    header, rows = results.sums_table("lfw-controls")
    stored = [row for row in results.read_results("lfw-controls")["rows"] if row["arm"] in ("", "win_counts")]
    for seed, column in ((0, 1), (1, 2), (2, 3)):
        alone = [f"{row['accuracy']:.2f}" for row in stored if row["seed"] == seed]
        assert header[column] == f"seed {seed}" and [row[column] for row in rows] == alone
    assert all(max(row[1:4]) < row[5] for row in rows)  # of these networks the sum is better than each
    names = ("lfw-crop-96", "lfw-controls", "lfw-crop-160")
    _, rows = results.crops_table()
    for column, name in enumerate(names, 1):
        first = [row for row in results.read_results(name)["rows"] if row["step"] == 0]
        assert [row[column] for row in rows[:3]] == [f"{row['accuracy']:.2f}" for row in first]
    assert all(float(row[5]) > max(map(float, row[1:4])) for row in rows[:3])
