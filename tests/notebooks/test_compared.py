"""Committed runs beside each other: tables and figures for the pages and the README."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import COMPARE, NEURONS, carry_out

from mnp.experiments.recipes import PruneRecipe, WeightRecipe
from mnp.experiments.results import aggregate
from mnp.experiments.seeds import make_results
from mnp.notebooks import compared, panels, panels_faces

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
RANKING = replace(NEURONS, prune=PruneRecipe(epochs=1, to_k=2, rankings=("win_counts", "reversed", "random")))
RECORD = replace(
    NEURONS,
    weights=WeightRecipe(remaining=(300, 150), schedule="gradual", scope="global", epochs=1, ramp_epochs=1),
)


def written(folder, name, experiment, seeds):
    """What `mnp run NAME --seeds N --results FOLDER` writes, of a run of a second."""
    experiment, rows = replace(experiment, name=name), {}
    for seed in range(seeds):
        rows[seed], _ = carry_out(replace(experiment, seed=seed), folder / f"run-{name}-{seed}")
    results = make_results(rows, experiment, folder / f"run-{name}-0", f"mnp run {name} --seeds {seeds}")
    (folder / f"{name}.json").write_text(json.dumps(results))
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    written(folder, "mnist-compare", COMPARE, 2)
    written(folder, "mnist-ranking", RANKING, 2)
    written(folder, "mnist-record", RECORD, 1)
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


def test_ways_stand_beside_each_other_at_each_size(folder):
    lines = compared.read_results("mnist-compare", folder)["aggregate"]
    sizes = list(compared.sizes_of(lines).values())
    assert [[line["arm"] for line in of_size] for of_size in sizes] == [
        ["neurons", "weights"],
        ["neurons", "weights", "after"],
        ["weights", "after"],
        ["weights", "after"],
    ]
    assert all(len({line["nonzero"] for line in of_size}) == 1 for of_size in sizes)
    head, cells = compared.equal_sizes(lines)
    assert head[2:5] == ("way", "right after, %", "retrained, %") and len(cells) == 9
    assert cells[1][:3] == ("", "", "weights alone") and cells[4][2] == "weights after neurons"
    line = sizes[0][1]
    assert cells[1][3] == f"{line['error_before_mean']:.2f} ± {line['error_before_sd']:.2f}"
    assert cells[1][4] == f"{line['error_mean']:.2f} ± {line['error_sd']:.2f}" and "…" in cells[1][5]


def test_rankings_are_arms_by_name(folder):
    text = compared.say_ways("mnist-ranking", folder)
    for word in ("win counts", "reversed", "random", "repeat: mnp run mnist-ranking --seeds 2", "2 seeds"):
        assert word in text
    assert compared.way({"arm": "win_counts_training"}) == "win counts, training mode"


def test_one_seed_has_no_spread(folder):
    results = json.loads((folder / "mnist-compare.json").read_text())
    one = [row for row in results["rows"] if row["seed"] == 0]
    _, cells = compared.equal_sizes(aggregate([one]))
    assert not any("±" in cell or "…" in cell for line in cells for cell in line)
    assert panels.ways(aggregate([one]))._repr_png_().startswith(b"\x89PNG")


def test_records_count_against_lenet5(folder):
    (first, last) = compared.own_records(folder)
    assert (first["left"], last["left"]) == (300, 150)
    assert last["compression"] == pytest.approx(431_080 / 150) and last["removed"] == "both"
    rows = compared.all_records(folder)
    assert [row["number"] for row in rows] == list(range(1, 16))
    assert [row["compression"] for row in rows] == sorted(row["compression"] for row in rows)
    text = compared.say_records(folder)
    assert "2.87e+03x" not in text and "2,874x" in text
    assert "Dynamic Network Surgery, 2016" in text and "39x in bytes" in text and "1608.04493" in text
    assert text.endswith("repeat: mnp run mnist-record --seeds 1")


def test_runs_that_end_larger_than_lenet5_are_no_compression_of_it():
    own = compared.own_records(RESULTS, names=("mnist", "mnist-combined"))
    assert [round(row["left"]) for row in own] == [133_691, 33_422]  # mnist ends at 440,812
    assert {row["source"] for row in own} == {"mnp run mnist-combined --seeds 5 --results notebooks/results"}


def test_published_figures_are_those_of_their_sources():
    published = compared.published(RESULTS)
    assert published["lenet5_parameters"] == 20 * 26 + 50 * 501 + 500 * 801 + 10 * 501
    assert len(published["mnist"]) == 13 and len(published["lfw"]) == 5
    for row in published["mnist"]:
        assert row["removed"] in panels.MARKS and row["source"].startswith("arXiv ")
        assert row["compression"] > 1 and row["counted"] in ("parameters", "bytes")


def test_faces_have_their_accuracy_and_the_pairs_that_changed(tmp_path):
    head, cells = compared.faces(faces_of())
    assert head[-4:] == ("accuracy, %", "lost", "won", "p")
    assert cells[0][-3:] == ("", "", "") and cells[2][-4:] == ("82.00 ± 1.00", "6", "4", "0.50")
    head, cells = compared.faces(faces_of(seeds=2))  # pairs of one seed only would be no summary
    assert head[-1] == "accuracy, %" and cells[0][-1] == "84.50 ± 1.00"
    (tmp_path / "lfw.json").write_text(json.dumps(faces_of(seeds=2)))
    assert "means over 2 seeds" in compared.say_faces("lfw", tmp_path)
    assert "repeat: mnp run lfw" in compared.say_faces("lfw", tmp_path)


def test_what_is_missing_is_said(tmp_path):
    for told in (compared.say_ways("mnist-compare", tmp_path), compared.say_faces("lfw", tmp_path)):
        assert "is not here yet" in told
    assert compared.own_records(tmp_path) == [] and compared.all_records(tmp_path) == []


def test_panels_are_white_and_labelled(folder):
    lines = compared.read_results("mnist-ranking", folder)["aggregate"]
    drawn = [
        panels.ways(lines, "three"),
        panels.records(compared.all_records(folder)),
        panels.records(compared.all_records(RESULTS)),
        panels_faces.faces(
            {"lfw": faces_of(), "lfw-view2": faces_of(folds=3)}, compared.published(RESULTS)["lfw"]
        ),
        panels_faces.faces({"lfw": faces_of(seeds=2)}),
        panels_faces.folds(faces_of(folds=3), "three"),
    ]
    for figure in drawn:
        assert figure._repr_png_().startswith(b"\x89PNG") and figure.get_facecolor() == (1, 1, 1, 1)
        for ax in figure.axes:
            assert ax.get_xlabel() and "%" in ax.get_ylabel()
    markers = [bar.lines[0].get_marker() for bar in drawn[0].axes[1].containers]
    assert len(set(markers)) == len(markers) == 3  # told apart without colour
    low, high = drawn[3].axes[0].get_xlim()
    assert low > high  # smaller to the right
    labels = [text.get_text() for text in drawn[5].legends[0].get_texts()]
    assert labels == ["unpruned: 84.0 ± 1.0", "k = 1, -56 %: 83.0 ± 1.0", "-90 %: 82.0 ± 1.0"]


def test_the_readmes_tables_take_in_what_is_there(folder, tmp_path):
    spec = importlib.util.spec_from_file_location("tables", RESULTS / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    tables.HERE = tmp_path
    assert tables.mnist_table() == "The full runs have not been recorded yet."
    (tmp_path / "lfw.json").write_text(json.dumps(faces_of()))
    (tmp_path / "vgg16-sizes.json").write_text((RESULTS / "vgg16-sizes.json").read_text())
    assert "| weights | 90 | -90.0 % | -91.0 % | 82.00 ± 1.00 | 6 | 4 | 0.50 |" in tables.vgg_table()
    tables.HERE = folder
    text = tables.mnist_table()
    for name in ("mnist-compare", "mnist-ranking", "mnist-record"):
        assert text.count(f"mnp run {name} --seeds") == 1  # each with its command, and once
    assert "weights after neurons" in text and "reversed" in text and "Sparse variational dropout" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_words_that_would_stand_on_each_other_are_hidden():
    from mnp.notebooks import plates

    figure, ax = plates.plate()
    ax.set_xlim(0, 1)
    for x in (0.0, 0.02, 0.5, 0.97, 1.0):
        ax.annotate(str(x), (x, 0.5))
    plates.thin_out(ax)
    assert [text.get_text() for text in ax.texts if text.get_visible()] == ["0.0", "0.5", "1.0"]
    assert figure.axes == [ax] and np.isfinite(ax.get_xlim()).all()
