"""Recipes: the named ones, what is rejected, and the rounds of an experiment."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line

from mnp.data import lfw
from mnp.errors import MnpError
from mnp.experiments.config import differences, digest, from_dict, override, to_dict, to_toml
from mnp.experiments.recipes import (
    RANKINGS,
    VARIANTS,
    Experiment,
    ModelRecipe,
    PruneRecipe,
    TrainRecipe,
    WeightRecipe,
    plan_rounds,
)
from mnp.experiments.registry import EXPERIMENTS, default_folder, experiment_from, get_experiment, is_variant
from mnp.nn import lenet5, units_of

DIGITS = get_experiment("digits")


def parameters(name, k, maxout=True):
    m = get_experiment(name).model
    units = units_of(m.neurons, m.k)
    return lenet5(m.conv1, m.conv2, units, k, maxout=maxout, backend="textbook").count_params()


def test_named_recipes_have_the_sizes_that_they_promise():
    assert [parameters("mnist-caffe", k) for k in (4, 3, 2, 1)] == [240470, 187158, 133846, 80534]
    assert (parameters("mnist", 4), parameters("mnist", 1)) == (1671148, 440812)
    assert parameters("mnist", 4, maxout=False) == 1686508
    assert 1 - parameters("mnist-k8", 1) / parameters("mnist-k8", 8, maxout=False) > 0.86


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_recipe_survives_its_files(tmp_path, name):
    e = get_experiment(name)
    assert e.name == name and e.about
    (tmp_path / "r.json").write_text(json.dumps(to_dict(e)))
    (tmp_path / "r.toml").write_text(to_toml(e), encoding="utf-8")
    for file in ("r.json", "r.toml"):
        again = get_experiment(str(tmp_path / file))
        assert again == e and digest(again) == digest(e)


def test_the_folder_is_named_by_name_and_hash_and_every_field_counts():
    folder = default_folder(DIGITS)
    assert folder.parts == ("runs", f"digits-{digest(DIGITS)}")
    others = [
        dataclasses.replace(DIGITS, seed=1),
        override(DIGITS, "train.epochs=1"),
        override(DIGITS, "weights.floors=conv1:0.5"),
    ]
    assert len({digest(e) for e in [DIGITS, *others]}) == 4
    # 1 and 1.0 are one recipe
    one, float_one = (dataclasses.replace(DIGITS, train=TrainRecipe(lr=x)) for x in (1, 1.0))
    assert digest(one) == digest(float_one)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("train.epochs=1", 1),
        ("train.lr=1e-3", 0.001),
        ("train.policy = cosine ", "cosine"),
        ("model.relu=False", False),
        ("prune.to_k=none", None),
        ("prune.to_k=2", 2),
        ("prune.rankings=random, reversed", ("random", "reversed")),
        ("weights.reductions=0.9,0.95", (0.9, 0.95)),
        ("weights.reductions=", ()),
        ("weights.floors=conv1:0.25,fc4:1", (("conv1", 0.25), ("fc4", 1.0))),
    ],
)
def test_override_reads_every_type(assignment, value):
    section, field = assignment.partition("=")[0].strip().split(".")
    changed = override(DIGITS, assignment)
    assert getattr(getattr(changed, section), field) == value
    assert get_experiment("digits") == DIGITS  # the original is untouched


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("train.epoch=1", "no field train.epoch: did you mean epochs"),
        ("trian.epochs=1", "no section trian: did you mean train?"),
        ("train.qqq=1", "choose one of epochs, batch_size, lr"),
        ("train=1", "section.field=value"),
        ("train.epochs=1.5", "'1.5' is not a whole number"),
        ("train.lr=nan", "'nan' is not a number"),
        ("model.relu=yes", "'yes' is not true or false"),
        ("prune.to_k=x", "'x' is not a whole number or none"),
        ("weights.floors=conv1", "a list of name:number pairs"),
        ("weights.reductions=0.5,x", "a list of numbers"),
        ("train.wd=0", "did you mean weight_decay?"),
        ("train.epochs=99999999999999999999", "is not a whole number"),
        ("model.neurons=4000000000000", "model.neurons = 4000000000000 must be from 1 to 1048576"),
        ("model.k=3", "model.k = 3 does not divide model.neurons = 256"),
        ("train.epochs=-1", "train.epochs = -1 must be at least 0"),
        ("model.dropout=1", "[0, 1)"),
        ("train.lr=0", "above 0"),
        ("train.policy=linear", "constant, step, inv, cosine"),
        ("train.policy=step", "train.step_epochs"),
        ("prune.to_k=5", "is not in 1..4"),
        ("prune.rankings=wins", "win_counts, reversed"),
        ("prune.rankings=random,random", "twice"),
        ("prune.rankings=", "prune.rankings"),
        ("prune.layers=", "prune.layers"),
        ("weights.reductions=0.5,1.0", "[0, 1)"),
        ("weights.reductions=0.9,0.5", "must not fall"),
        ("weights.floors=conv1:2", "[0, 1]"),
        ("weights.remaining=0", "at least 1"),
        ("weights.remaining=100,200", "must not grow"),
        ("weights.ramp_epochs=9", "0..5"),
        ("weights.splice=true", "gradual"),
    ],
)
def test_override_refuses_in_one_line(assignment, words):
    with one_line(None, words):
        override(DIGITS, assignment)


def test_changes_are_judged_together_and_can_be_told_again():
    changes = ["model.k=3", "model.neurons=255", "prune.to_k=none", "model.relu=false"]
    changes += ["weights.reductions=0.5,0.9", "weights.floors=conv1:0.5,fc4:1.0", "prune.rankings=random"]
    for texts in (changes, changes[::-1]):
        changed = override(DIGITS, *texts)
        assert sorted(f"{path}={value}" for path, value, _ in differences(changed, DIGITS)) == sorted(changes)
    assert differences(DIGITS, DIGITS) == []


@given(st.text(max_size=40) | st.from_regex(r"(train|model|weights)\.[a-z_]{1,9}=.{0,12}", fullmatch=True))
@settings(max_examples=50, deadline=None)
def test_override_of_any_text_is_a_recipe_or_one_line(text):
    try:
        assert isinstance(override(DIGITS, text), Experiment)
    except MnpError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: d.pop("train"), "train is missing"),
        (lambda d: d["train"].pop("epochs"), "train.epochs is missing"),
        (lambda d: d["train"].update(epochs="5"), "train.epochs = '5' is not a whole number"),
        (lambda d: d.update(train=[]), "where a section is expected"),
        (lambda d: d["prune"].update(rankings="win_counts"), "is not a list of names"),
        (lambda d: d["weights"].update(floors=[["conv1"]]), "pairs"),
        (lambda d: d.update(seed=-1), "seed"),
    ],
)
def test_a_damaged_recipe_is_told_in_one_line(damage, words):
    values = to_dict(DIGITS)
    damage(values)
    with one_line(words.replace("(", r"\(")):
        from_dict(Experiment, values)


# --- rounds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_rounds_are_numbered_and_follow_their_parents(name):
    plan = plan_rounds(get_experiment(name))
    assert [s.index for s in plan] == list(range(len(plan)))
    assert plan[0].kind == "train" and plan[0].parent == -1
    for s in plan[1:]:
        if s.kind in ("train", "rewind"):  # from first weights again
            assert s.depth == 0 and s.k == get_experiment(name).prune.to_k
            continue
        assert 0 <= s.parent < s.index and s.depth == plan[s.parent].depth + 1
        assert s.k == plan[s.parent].k - (s.kind == "neurons")
    assert len({s.label for s in plan}) == len(plan)


def test_controls_of_weight_pruning_train_on_for_as_long():
    plan = plan_rounds(get_experiment("lfw-controls"))
    arms = {arm: [s.epochs for s in plan if s.arm == arm] for arm in ("unpruned", "win_counts")}
    assert list(arms) == list(dict.fromkeys(s.arm for s in plan if s.arm))  # no others
    assert arms["unpruned"] == arms["win_counts"] == [2, 2, 2, 3, 3]


def test_neuron_rounds_then_weight_rounds():
    plan = plan_rounds(get_experiment("mnist-combined"))
    assert [s.kind for s in plan] == ["train"] + ["neurons"] * 3 + ["weights"] * 2
    assert [s.k for s in plan] == [4, 3, 2, 1, 1, 1]
    assert [s.reduction for s in plan[4:]] == list(get_experiment("mnist-combined").weights.reductions)


def test_sizes_are_given_as_reductions_or_as_numbers_not_both():
    e = override(override(DIGITS, "weights.remaining=900,300"), "prune.to_k=none")
    assert [(s.kind, s.remaining, s.reduction) for s in plan_rounds(e)[1:]] == [
        ("weights", 900, None),
        ("weights", 300, None),
    ]
    with pytest.raises(MnpError, match="give one of them"):
        override(e, "weights.reductions=0.5")


def test_rankings_are_arms_of_one_trained_network_over_the_same_batches():
    plan = plan_rounds(get_experiment("mnist-ranking"))
    firsts = [s for s in plan if s.parent == 0]
    assert [s.ranking for s in firsts] == list(RANKINGS[:6])
    for arm in RANKINGS[:6]:
        assert [(s.k, s.depth) for s in plan if s.arm == arm] == [(3, 1), (2, 2), (1, 3)]


def test_a_field_that_was_added_later_changes_no_digest_and_may_be_missing():
    plain = get_experiment("mnist-caffe")
    values = to_dict(plain)
    assert "conv_k" not in values["model"] and from_dict(Experiment, values) == plain
    assert default_folder(plain).name == "mnist-caffe-ebe3949e"
    wide = override(plain, "model.conv_k=4")
    assert from_dict(Experiment, to_dict(wide)) == wide and default_folder(wide) != default_folder(plain)


def test_controls_have_equal_numbers_of_epochs_and_schedules():
    plan = plan_rounds(get_experiment("mnist-caffe-controls"))
    root, *rest = plan
    arms = {arm: [s for s in rest if s.arm == arm] for arm in dict.fromkeys(s.arm for s in rest)}
    assert list(arms) == ["unpruned", "win_counts", "random", "small", "rewound"]
    for arm, rounds in arms.items():
        path = rounds if arm in ("small", "rewound") else [root, *rounds]
        assert [s.depth for s in path] == [0, 1, 2, 3]
        assert [s.epochs for s in path] == [5, 5, 5, 5]
    assert {s.k for s in arms["unpruned"]} == {4} and {s.k for s in arms["small"]} == {1}
    assert plan[arms["rewound"][0].parent] == arms["win_counts"][-1]


def test_compare_has_equal_sizes_after_equal_iterations():
    e = get_experiment("mnist-compare")
    plan = plan_rounds(e)
    # (what fixes the size, how many rounds of training come before it), arm by arm
    found = {
        arm: {
            (s.index if s.kind == "neurons" else s.match or s.reduction, s.depth)
            for s in plan
            if s.arm == arm
        }
        for arm in ("neurons", "weights", "after")
    }
    assert found["neurons"] < found["weights"] and found["after"] < found["weights"]
    assert (3, 3) in found["neurons"] & found["after"]  # all three arms meet where k = 1
    assert len(found["weights"] & found["after"]) == 1 + len(e.weights.reductions)
    assert len({s.epochs for s in plan}) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prune": PruneRecipe(to_k=None)}, "to_k below model.k"),
        ({"plan": "controls", "prune": PruneRecipe(to_k=None)}, "to_k below model.k"),
        ({"weights": WeightRecipe(epochs=3)}, "equal"),
        ({"prune": PruneRecipe(rankings=("random", "reversed"))}, "one ranking"),
        ({"model": ModelRecipe(neurons=10, k=1)}, "to_k below model.k"),
    ],
)
def test_plans_refuse_what_they_cannot_compare(changes, words):
    with pytest.raises(MnpError, match=words):
        Experiment("x", **{"plan": "compare"} | changes)


@pytest.mark.parametrize("name", ["", "a\nb", "../up", ".hidden", "two words", "é"])
def test_a_name_that_is_no_folder_is_refused_on_one_line(name):
    with one_line("name must be of letters"):
        Experiment(name)


def test_a_whole_number_is_a_width():
    values = json.loads(json.dumps(to_dict(get_experiment("lfw"))))
    values["model"]["width"] = 1
    assert experiment_from(values).model.width == 1
    values["model"]["width"] = 0.3
    with pytest.raises(MnpError, match=r"model.width = 0.3 must be a multiple of 1/64, at most 16"):
        experiment_from(values)


def test_the_names_of_fields_in_mnp_0_1_are_still_read():
    values = to_dict(DIGITS)
    for section in ("train", "prune", "weights"):
        values[section]["learning_rate"] = values[section].pop("lr")
    values["train"]["batch"] = values["train"].pop("batch_size")
    assert from_dict(Experiment, values) == DIGITS
    assert override(DIGITS, "train.batch=7", "train.learning_rate=0.5").train == dataclasses.replace(
        DIGITS.train, batch_size=7, lr=0.5
    )
    assert default_folder(DIGITS).name == "digits-3089c69a"  # as mnp 0.1 named it


def test_variants_differ_from_the_named_recipe_in_more_than_the_seed():
    assert not is_variant(DIGITS) and not is_variant(dataclasses.replace(DIGITS, seed=3))
    assert is_variant(override(DIGITS, "train.epochs=1"))
    assert not is_variant(dataclasses.replace(DIGITS, name="my-own"))


def test_the_variants_of_lfw_are_those_of_the_reader():
    assert set(VARIANTS) == set(lfw.VARIANTS)
