"""Verification on arrays, the task's three groups of people, and whole runs on drawings in LFW's layout."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import drawn_lfw
import numpy as np
import pytest
from fresh_python import python_path
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line
from tiny_runs import assert_same_bits, carry_out, interrupt_at, without_seconds

from mnp.data import lfw
from mnp.errors import MnpError
from mnp.experiments import lfw_data, lfw_task, verification
from mnp.experiments.config import digest, override
from mnp.experiments.lfw_data import check_apart, load_faces
from mnp.experiments.lfw_folds import run_folds
from mnp.experiments.recipes import (
    FacesExperiment,
    FacesRecipe,
    FacesTrainRecipe,
    PruneRecipe,
    VggRecipe,
    WeightRecipe,
    plan_rounds,
)
from mnp.experiments.registry import get_experiment, read_experiment
from mnp.experiments.results import FACE_COLUMNS
from mnp.kernels import textbook
from mnp.nn import augment, vgg16
from mnp.nn.checkpoint import load_network

TINY = FacesExperiment(  # takes seconds: VGG16 at 1/64 of its width, 32x32 images
    "tiny-faces",
    data=FacesRecipe(size=32, crop=160, held_out=4),
    model=VggRecipe(width=1 / 64, neurons=16, k=2, dropout=0.1),
    train=FacesTrainRecipe(epochs=2, batch_size=8, warmup=2, shift=1),
    prune=PruneRecipe(epochs=1, layers=("fc6", "fc7")),
    weights=WeightRecipe(reductions=(0.3,), epochs=1),
)
UNTRAINED = dataclasses.replace(
    TINY,
    name="tiny-folds",
    data=FacesRecipe(view=2, size=32, crop=160, held_out=4),
    train=dataclasses.replace(TINY.train, epochs=0),
    prune=PruneRecipe(epochs=0, layers=("fc6", "fc7")),
    weights=WeightRecipe(),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield drawn_lfw.draw_lfw(tmp_path_factory.mktemp("lfw"))
    patch.undo()


@pytest.fixture(scope="module")
def photographs(folder):
    return lfw.load(folder, crop=160, size=32, progress=False)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    rows, said = carry_out(TINY, out, data=folder)
    return out, rows, said


# --- arrays -------------------------------------------------------------------------------------------

pairs_of_anything = st.lists(
    st.tuples(st.integers(0, 6).map(float), st.booleans()), min_size=2, max_size=40
).filter(lambda pairs: len({same for _, same in pairs}) == 2)


@given(pairs_of_anything)
@settings(max_examples=80, deadline=None)
def test_the_threshold_is_as_good_as_every_other_one(pairs):
    d, same = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])

    def score(t):
        called = verification.decide(d, t)
        return called[same].mean() + (~called[~same]).mean()

    best = max(score(t) for t in [*np.unique(d), np.inf])
    assert score(verification.choose_threshold(d, same)) == pytest.approx(best)


@given(pairs_of_anything)
@settings(max_examples=80, deadline=None)
def test_roc_rises_from_nobody_to_everybody_and_every_step_is_a_threshold(pairs):
    d, same = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    r = verification.roc(d, same)
    assert (r.false_positive[0], r.true_positive[0]) == (0, 0)
    assert (r.false_positive[-1], r.true_positive[-1]) == (1, 1)
    for false, true, t in zip(*r, strict=True):
        assert true == pytest.approx((d[same] <= t).mean()) and false == pytest.approx((d[~same] <= t).mean())
    assert 0 <= verification.equal_error_rate(d, same) <= 1
    flipped = verification.equal_error_rate(-d, same)  # calling everything the other way round
    assert verification.equal_error_rate(d, same) == pytest.approx(1 - flipped)


def test_distances_against_their_formulas():
    rng = np.random.default_rng(0)
    a, b = rng.random((5, 7)), rng.random((5, 7))
    for p in range(5):
        dot = sum(a[p] * b[p]) / math.sqrt(sum(a[p] ** 2) * sum(b[p] ** 2))
        assert verification.cosine(a, b)[p] == pytest.approx(1 - dot)
        assert verification.euclidean(a, b)[p] == pytest.approx(math.dist(a[p], b[p]))
        assert verification.bray_curtis(a, b)[p] == pytest.approx(
            sum(abs(a[p] - b[p])) / sum(abs(a[p] + b[p]))
        )
    for function in verification.DISTANCES.values():
        assert function(a, a) == pytest.approx(np.zeros(5), abs=1e-7) and function(a, b).min() > 0
        assert np.array_equal(function(a, b), function(b, a))


def test_features_of_nothing_have_a_distance():
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert verification.cosine(zero, one)[0] == 1 and verification.bray_curtis(zero, zero)[0] == 0
    assert verification.bray_curtis(one, -one)[0] == np.inf
    assert not verification.decide(verification.bray_curtis(one, -one), 5.0)[0]


def test_thresholds_by_hand():
    """Pairs that nothing tells apart, perfect ones with a widest gap, and rare ones beside many others."""
    d, same = np.ones(4), np.array([True, False, True, False])
    assert verification.equal_error_rate(d, same) == 0.5
    assert verification.accuracy(d, same, verification.choose_threshold(d, same)) == 0.5
    d, same = np.array([0.0, 0.1, 0.9, 1.0]), np.array([True, True, False, False])
    assert verification.equal_error_rate(d, same) == 0 and verification.accuracy(d, same, 0.5) == 1
    assert verification.choose_threshold(d, same) == pytest.approx(0.5)
    d, same = np.array([0.1, 0.4, 0.3, *[0.9] * 50]), np.array([True, True, *[False] * 51])
    assert verification.choose_threshold(d, same) == pytest.approx(0.65)


@given(st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_mcnemar_is_the_two_sided_test_of_a_fair_coin(b, c):
    stats = pytest.importorskip("scipy.stats")
    before = np.array([True] * b + [False] * c + [True, False])
    after = np.array([False] * b + [True] * c + [True, False])
    found = verification.mcnemar(before, after)
    assert found[:2] == (b, c)
    assert found[2] == pytest.approx(stats.binomtest(b, b + c).pvalue if b + c else 1.0)


IMAGE = np.zeros((1, 1, 2, 2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: verification.cosine(np.ones((2, 3)), np.ones((3, 2))), "are no pairs"),
        (lambda: verification.roc(np.ones(3), np.ones(3, bool)), "one kind is missing"),
        (lambda: verification.roc(np.array([1.0, np.nan]), np.array([True, False])), "pair 1 is nan"),
        (lambda: verification.accuracy(np.ones(3), np.ones(2, bool), 0.5), "bool per pair"),
        (lambda: verification.accuracy(np.ones(2), np.ones(2), 0.5), "bool per pair"),
        (lambda: verification.mcnemar(np.ones(2, bool), np.ones(3, bool)), "McNemar compares"),
        (lambda: augment.random_shift(IMAGE, np.random.default_rng(0), -1), "give 0 or more"),
        (lambda: augment.random_zoom(IMAGE, np.random.default_rng(0), 1.0), r"number in \[0, 1\)"),
    ],
)
def test_mistakes_are_told(wrong, words):
    with one_line(words):
        wrong()


# --- augmentation -------------------------------------------------------------------------------------


def test_every_image_is_standard_augmentation_on_its_own():
    x = np.random.default_rng(0).random((40, 2, 6, 7)).astype(np.float32)
    before, seen = x.copy(), set()
    y = augment.standard_augmentation(2)(x, np.random.default_rng(1))
    assert y.shape == x.shape and y.dtype == x.dtype and np.array_equal(x, before)
    for image, new in zip(x, y, strict=True):
        found = [
            (turned, a, b)
            for turned in (0, 1)
            for a in range(-2, 3)
            for b in range(-2, 3)
            if np.array_equal(
                np.pad(image[:, :, ::-1] if turned else image, ((0, 0), (2, 2), (2, 2)), "edge")[
                    :, 2 + a : 8 + a, 2 + b : 9 + b
                ],
                new,
            )
        ]
        assert len(found) == 1
        seen.update(found)
    assert {turned for turned, _, _ in seen} == {0, 1} and len(seen) > 20
    assert np.array_equal(augment.random_shift(x, np.random.default_rng(0), 0), x)


def test_zoom_is_linear_interpolation_about_the_middle():
    x = np.random.default_rng(0).random((5, 2, 9, 6))
    before = x.copy()
    y = augment.random_zoom(x, np.random.default_rng(1), 0.3)
    assert y.shape == x.shape and np.array_equal(x, before)
    for image, new, s in zip(x, y, np.random.default_rng(1).uniform(0.7, 1.3, 5), strict=True):
        down, right = ((np.arange(n) - (n - 1) / 2) / s + (n - 1) / 2 for n in (9, 6))  # np.interp clips
        wanted = [
            [
                np.interp(right, range(6), line)
                for line in np.array([np.interp(down, range(9), c) for c in p.T]).T
            ]
            for p in image
        ]
        assert new == pytest.approx(np.array(wanted), abs=1e-12)
    small = x.astype(np.float32)
    assert augment.random_zoom(small, np.random.default_rng(1), 0.3).dtype == np.float32
    assert augment.random_zoom(small, np.random.default_rng(1), 0.0) == pytest.approx(small, abs=1e-6)
    one = np.ones((2, 1, 1, 1), np.float32)  # a single pixel has no neighbour
    assert np.array_equal(augment.random_zoom(one, np.random.default_rng(0), 0.5), one)


# --- who is trained on, and who is tested -------------------------------------------------------------


@pytest.mark.parametrize("fold", [None, *range(10)])
def test_nobody_who_is_tested_is_ever_trained_on(photographs, fold):
    recipe = FacesRecipe(view=1 if fold is None else 2, fold=fold, held_out=4, size=32)
    data = load_faces(recipe, photographs=photographs)
    groups = [data.people[kind] for kind in ("train", "threshold", "test")]
    assert all(groups) and sum(map(len, groups)) == len(frozenset.union(*groups))
    if fold is None:
        tested = photographs.people_of("peopleDevTest")[0]
        assert data.facts["test_pairs"] == 40
    else:
        tested = photographs.people_of("people")[fold]
        assert data.facts["test_pairs"] == 8
    assert groups[2] <= set(tested) and not (groups[0] | groups[1]) & set(tested)
    # and the images themselves: no row of a training image is a row of a pair
    train = {image.tobytes() for image in data.train_images}
    assert not train & {data.images[row].tobytes() for row in np.unique(data.test_pairs.first)}
    assert data.classes == len(groups[0]) == data.facts["train_people"]
    assert data.threshold_pairs.same.any() and not data.threshold_pairs.same.all()


def test_pairs_keep_the_order_of_the_list(photographs):
    listed = photographs.pairs("pairsDevTest")
    data = load_faces(FacesRecipe(held_out=4, size=32), photographs=photographs)
    assert np.array_equal(data.test_pairs.same, listed.same)
    shown = lfw_data.standardised(photographs.images[listed.first])
    assert np.array_equal(data.images[data.test_pairs.first], shown)


def test_a_person_in_two_groups_is_refused(photographs):
    data = load_faces(FacesRecipe(held_out=4, size=32), photographs=photographs)
    mixed = data.people | {"test": data.people["test"] | {min(data.people["train"])}}
    with pytest.raises(MnpError, match=f"{min(data.people['train'])} is in the groups train and test"):
        dataclasses.replace(data, people=mixed)
    with pytest.raises(MnpError, match="Ada is in the groups threshold and test"):
        check_apart({"train": set(), "threshold": {"Ada"}, "test": {"Ada"}})


def test_too_few_people_to_hold_out(photographs):
    with pytest.raises(MnpError, match=r"data\.held_out = 150, but only 12"):
        load_faces(FacesRecipe(size=32), photographs=photographs)
    with pytest.raises(MnpError, match="View 2 has ten folds"):
        load_faces(FacesRecipe(size=32, view=2), photographs=photographs)


def test_an_image_of_one_colour_is_no_division_by_zero():
    flat = lfw_data.standardised(np.full((1, 3, 4, 4), 77, np.uint8))
    assert np.abs(flat).max() < 1e-3
    x = lfw_data.standardised(np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8))
    assert x.dtype == np.float32 and x.mean(axis=(1, 2, 3)) == pytest.approx(0, abs=1e-5)
    assert x.std(axis=(1, 2, 3)) == pytest.approx(1, abs=1e-4)


# --- recipes ------------------------------------------------------------------------------------------


def test_the_recipe_removes_what_the_issue_asks_for():
    """61 % of the network without maxout by neurons alone, with as few people as a fold or View 1 has."""
    m = get_experiment("lfw").model
    units = m.neurons // m.k
    for people in (1034, 1343):
        before = vgg16(m.width, 64, m.neurons, 1, people, batchnorm=True, maxout=False).count_params()
        after = vgg16(m.width, 64, units, 1, people, batchnorm=True).count_params()
        assert (before - after) / before >= 0.61


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.variant=blurred", "data.variant = blurred must be one of deepfunneled"),
        ("data.view=3", "data.view = 3 must be from 1 to 2"),
        ("data.fold=3", "data.fold is for View 2 only"),
        ("data.crop=300", "32 <= size <= crop"),
        ("data.held_out=0", "data.held_out = 0 must be at least 1"),
        ("model.width=0.3", "multiple of 1/64"),
        ("model.neurons=1023", "does not divide"),
        ("train.warmup=-1", "must be at least 0"),
    ],
)
def test_recipes_that_cannot_run(change, words):
    with one_line(words):
        override(get_experiment("lfw"), change)


def test_a_single_fold_must_be_one_of_ten():
    with pytest.raises(MnpError, match="from 0 to 9"):
        override(get_experiment("lfw-view2"), "data.fold=10")
    assert get_experiment("lfw-view2").has_folds and not get_experiment("lfw").has_folds
    with pytest.raises(MnpError, match="plan compare is not for faces"):
        dataclasses.replace(TINY, plan="compare")


# --- whole runs ---------------------------------------------------------------------------------------


def test_a_run_tells_accuracy_and_sizes(finished):
    out, rows, _ = finished
    assert [row["kind"] for row in rows] == ["train", "neurons", "weights"]
    for row in rows:
        assert list(row) == list(FACE_COLUMNS) and row["error"] == pytest.approx(100 - row["accuracy"])
        assert 0 <= row["accuracy"] <= 100 and 0 <= row["eer"] <= 100 and row["distance"] == "bray_curtis"
        assert row["accuracy_se"] == pytest.approx(math.sqrt(row["accuracy"] * row["error"] / 40))
    assert rows[1]["params"] < rows[0]["params"] and rows[2]["nonzero"] < rows[1]["nonzero"]
    table = list(csv.DictReader((out / "history.csv").open()))
    assert [float(line["accuracy"]) for line in table] == [row["accuracy"] for row in rows]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["data"]["variant"] == "deepfunneled" and summary["data"]["official_photographs"] is False
    assert summary["rows"] == rows and summary["against_unpruned"][0]["mcnemar_p"] == 1


def test_the_row_can_be_had_again_from_the_checkpoint(finished, folder, photographs):
    out, rows, _ = finished
    data = load_faces(TINY.data, photographs=photographs)
    for step, row in zip(plan_rounds(TINY), rows, strict=True):
        net = load_network(out / "checkpoints" / f"{step.label}.npz", textbook)
        found = lfw_task.verify(lfw_task.features_of(net, data.images), data, "bray_curtis")
        assert found["accuracy"] == row["accuracy"] and found["threshold"] == row["threshold"]
        kept = verification.read_pairs(out / "pairs.npz", step.label)
        assert np.array_equal(kept["distances"], found["distances"]) and kept["threshold"] == row["threshold"]


def test_features_are_image_plus_mirror_behind_fc7(photographs):
    net = vgg16(1 / 64, 32, 4, 2, 5, batchnorm=True, rng=0, backend=textbook)
    x = lfw_data.standardised(photographs.images[:3])
    both = lfw_task.features_of(net, x)
    plain = net.forward(x, until="fc7") + net.forward(np.ascontiguousarray(x[..., ::-1]), until="fc7")
    assert both.shape == (3, 4) and both == pytest.approx(plain, abs=1e-4)
    assert lfw_task.features_of(net, x[..., ::-1]) == pytest.approx(both, abs=1e-4)
    net = vgg16(1 / 64, 32, 4, 1, 5, rng=0, backend=textbook)  # fc7, fc7_relu, fc7_dropout
    assert lfw_task.features_of(net, x).min() >= 0


def test_counts_of_the_ranking_are_those_of_the_whole_network(finished, photographs):
    from mnp.checkpoint import load_checkpoint
    from mnp.pruning import collect_win_counts

    out, _, _ = finished
    data = load_faces(TINY.data, photographs=photographs)
    net = load_network(out / "checkpoints" / "00-train-k2.npz", textbook)
    arrays, _ = load_checkpoint(out / "checkpoints" / "01-neurons-k1.npz")
    for name in ("fc6", "fc7"):
        counts = collect_win_counts(net, name, data.train_images)
        assert np.abs(counts - arrays[f"counts/{name}"]).max() <= 1  # rounding of the folded convolutions


def test_an_interrupted_run_ends_with_the_same_bits(finished, folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        carry_out(TINY, out, data=folder, on_epoch=interrupt_at(0, 2))
    rows, said = carry_out(TINY, out, data=folder)
    assert any("resuming after epoch" in line for line in said)
    assert without_seconds(rows) == without_seconds(finished[1])
    assert_same_bits(out, finished[0])


def test_view_2_goes_fold_by_fold_and_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    out, said = tmp_path / "out", []

    def stop_at_fold_2(line):
        said.append(line)
        if line.startswith("fold 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_folds(UNTRAINED, out, data=folder, backend="textbook", log=stop_at_fold_2)
    assert sorted(p.name for p in out.glob("fold-*")) == ["fold-0", "fold-1"]
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("fold-*/checkpoints/*.npz")}
    rows, said = carry_out(UNTRAINED, out, data=folder)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert not any(line.startswith("round") for line in said[: said.index("fold 2 of 0 to 9")])
    assert len(list(out.glob("fold-*/summary.json"))) == 10

    summary = json.loads((out / "summary.json").read_text())
    of_folds = [[r for r in summary["folds"] if r["fold"] == fold] for fold in range(10)]
    assert len(summary["data"]) == 10 and [row["kind"] for row in rows] == ["train", "neurons"]
    for step, row in enumerate(rows):
        assert list(row) == list(FACE_COLUMNS)
        accuracies = [one[step]["accuracy"] for one in of_folds]
        assert row["accuracy"] == pytest.approx(np.mean(accuracies))
        assert row["accuracy_se"] == pytest.approx(np.std(accuracies, ddof=1) / math.sqrt(10))
    last = summary["against_unpruned"][-1]
    assert last["change"] == pytest.approx(rows[-1]["accuracy"] - rows[0]["accuracy"])
    assert last["lost"] - last["won"] == round(-last["change"] * 80 / 100)  # pairs of all folds
    assert last["change_low"] <= last["change"] <= last["change_high"]
    assert read_experiment(out) == UNTRAINED
    assert read_experiment(out / "fold-3").data.fold == 3

    again, said = carry_out(UNTRAINED, out, data=folder)
    assert again == rows and not any(line.startswith("round") for line in said)

    for fold in ("fold-4", "fold-7"):  # done again side by side, in processes: the same bits
        (out / fold).rename(tmp_path / fold)
    monkeypatch.setenv("PYTHONPATH", python_path())
    again = run_folds(UNTRAINED, out, data=folder, backend="textbook", log=said.append, jobs=2)
    assert without_seconds(again) == without_seconds(rows) and {"fold 4 is done", "fold 7 is done"} <= {*said}
    assert_same_bits(out / "fold-7", tmp_path / "fold-7")

    for path in out.glob("fold-*/checkpoints/*.npz"):  # a finished fold needs them no longer
        path.unlink()
    again, said = carry_out(UNTRAINED, out, data=tmp_path / "no data")
    assert without_seconds(again) == without_seconds(rows)
    pairs = verification.read_pairs(out / "pairs.npz", "01-neurons-k1")
    decided = verification.called_same(pairs) == pairs["same"]
    assert 100 * decided.mean() == pytest.approx(rows[1]["accuracy"]) and len(decided) == 80
    broken = out / "fold-3" / "pairs.npz"
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(
        MnpError, match="name the one with the lfw files"
    ):  # that fold's checkpoints are gone, so are the data
        carry_out(UNTRAINED, out, data=tmp_path / "no data")


def test_a_layer_that_is_no_maxout_layer(folder, tmp_path):
    wrong = dataclasses.replace(TINY, prune=PruneRecipe(layers=("fc8",)))
    with pytest.raises(MnpError, match="'fc8' is not a maxout layer"):
        carry_out(wrong, tmp_path / "out", data=folder)
    plain = dataclasses.replace(TINY, model=VggRecipe(width=1 / 64, neurons=8, k=1))
    assert [s.kind for s in plan_rounds(plain)] == ["train", "weights"]


# --- the full-size table, and pictures ----------------------------------------------------------------


def test_the_committed_table_is_current(capsys, tmp_path, monkeypatch):
    from mnp.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["sizes", "--results", "notebooks/results"]) == 0
    assert "-61.8 %" in capsys.readouterr().out
    committed = Path(__file__).parents[2] / "notebooks" / "results" / "vgg16-sizes.json"
    made = tmp_path / "notebooks" / "results" / "vgg16-sizes.json"
    assert json.loads(made.read_text()) == json.loads(committed.read_text())


def test_the_command_line_runs_it_and_writes_results(folder, tmp_path, capsys, monkeypatch):
    from mnp.cli import main
    from mnp.plotting.faces import roc_of_run

    monkeypatch.chdir(tmp_path)
    settings = ["data.size=32", "data.crop=160", "data.held_out=4", "model.width=0.015625", "model.neurons=8"]
    settings += ["model.k=2", "train.epochs=1", "train.batch_size=8", "prune.epochs=0", "weights.reductions="]
    words = ["run", "lfw", "--data", str(folder), "--backend", "textbook", "--results", "results"]
    assert main([*words, "--set", *settings]) == 0
    said = capsys.readouterr().out
    assert "accuracy  standard error  equal error" in said and said.count("figure: ") == 4
    (roc,) = (tmp_path / "runs").glob("*/roc.png")
    assert roc.read_bytes().startswith(b"\x89PNG") and roc.with_name("error.png").exists()
    for written in (tmp_path / "results").iterdir():  # a variant has its own name
        kind = written.name.removeprefix(f"lfw-{digest(override(get_experiment('lfw'), *settings))}")
        written.rename(written.with_name(f"lfw{kind}"))
    results = json.loads((tmp_path / "results" / "lfw.json").read_text())
    assert results["command"].startswith("mnp run lfw --backend textbook --set data.size=32")
    assert [row["seed"] for row in results["rows"]] == [0, 0] and "accuracy_se" in results["rows"][0]
    assert results["data"]["test_pairs"] == 40 and len(results["against_unpruned"]) == 2
    assert str(folder) not in json.dumps(results)
    path = tmp_path / "results" / "lfw-pairs.npz"
    curves = roc_of_run(results["rows"], path)
    names = [label.partition(" (EER")[0] for label in curves]
    assert names == ["unpruned", "neurons: 2 -> 1, 3,912 parameters"]
    pairs = verification.read_pairs(path, "01-neurons-k1")
    accepted, same = verification.called_same(pairs), pairs["same"]
    _, (x, y, point) = curves.values()
    assert point == (accepted[~same].mean(), accepted[same].mean()) and (x[-1], y[-1]) == (1, 1)
    with pytest.raises(MnpError, match="has 2 rounds"):
        roc_of_run(results["rows"][:1], path)
    assert main([*words, "--seeds", "2", "--no-figures", "--set", *settings]) == 0
    pairs = {path.name[-16:] for path in (tmp_path / "results").glob("*seed*")}
    assert pairs == {"seed-0-pairs.npz", "seed-1-pairs.npz"}
    assert main(["list"]) == 0 and "lfw-view2" in capsys.readouterr().out
