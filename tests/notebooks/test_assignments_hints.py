"""What a student is told: a slip that explains all of his outputs or none, the call, arguments by name."""

import inspect
import types
from functools import partial

import numpy as np
import pytest
from hand_ins import WORTH, full, hints, judged, markers, tool, typical  # noqa: F401

make, checking = tool("make"), tool("checking")
answers, reference = tool("answers"), tool("reference")
STEMS = [source.stem for source in make.sources()]
HIDDEN = (1, 4711, 987_654_321)
SEEDS = (checking.PUBLIC_SEED, *HIDDEN)


def right_functions(stem):
    module = make.load(stem)
    return {name: getattr(module, name) for name in checking.OUTPUTS if hasattr(module, name)}


@pytest.mark.parametrize("stem", STEMS)
def test_every_known_slip_costs_points_and_is_named_alone_and_never_mistaken(stem):
    module, right = make.load(stem), right_functions(stem)
    worth = WORTH[stem.split("_")[0]]
    for seed in SEEDS:
        assert judged(module, types.SimpleNamespace(**right), seed) == (worth, {})
        for function, slips in module.MISTAKES.items():
            for slip, text in slips:
                slipped = types.SimpleNamespace(**right | {function: partial(slip, right[function])})
                points, messages = judged(module, slipped, seed)
                assert worth / 4 < points < worth, slip.__name__
                named = [hints(message) for message in messages.values()]
                assert [text] in named, (slip.__name__, seed)
                assert all(text in words for words in named if words), (slip.__name__, seed)
                assert all(message.startswith(function) for message in messages.values()), slip.__name__


# As students write them, not as MISTAKES does: (task, code, what the hint says, checks in which it stands).
SLIPS = {
    "velocity rebound": (
        "task5",
        """def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    for w, g, v, mask in zip(weights, grads, velocities, masks):
        v = momentum * v + g + weight_decay * w
        if mask is not None:
            v[~mask] = 0
        w -= lr * v
        if mask is not None:
            w[~mask] = 0
""",
        "the velocities are as before",
        {"test_step_without_masks", "test_step_with_masks"},
    ),
    "masks joined by &": (
        "task5",
        """def magnitude_mask(weight, sparsity, mask=None):
    zeros = int(np.floor(sparsity * weight.size + 0.5))
    new = np.zeros(weight.size, dtype=bool)
    new[np.argsort(-np.abs(weight).ravel(), kind="stable")[: weight.size - zeros]] = True
    new = new.reshape(weight.shape)
    return new if mask is None else new & mask
""",
        "joined by &",
        {"test_mask_after_mask"},
    ),
    "weight[:, keep] in the network": (
        "task5",
        """def prune_neurons(net, name, keep):
    new = dict(net)
    new[name + ".weight"], new[name + ".bias"] = net[name + ".weight"][:, keep], net[name + ".bias"][:, keep]
    return new
""",
        "weight[:, keep] is used",
        {"test_prune_values", "test_prune_leaves_the_old_network"},
    ),
    "dz[:, :, winner] = dy": (
        "task3",
        """def maxout_backward(dy, winner, k):
    dz = np.zeros((*dy.shape, k), dtype=dy.dtype)
    dz[:, :, winner] = dy
    return dz
""",
        "dz[:, :, winner] = ... is used",
        {"test_backward_by_hand", "test_backward_values", "test_inputs_and_dtype"},
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_the_usual_numpy_slips_are_named_with_hidden_seeds_too(slip):
    task, code, told, where = SLIPS[slip]
    source = next(source for source in make.sources() if source.task == task)
    text = f"{full(source)}\n\n{code}"
    for seed in SEEDS:
        _, messages = judged(make.load(source.stem), as_module(text), seed, text)
        named = {check: hints(message) for check, message in messages.items() if hints(message)}
        assert set(named) == where
        assert all(len(words) == 1 and told in words[0] for words in named.values())


def outputs(**wrong):
    """conv2d_backward's outputs: right ones are 0, 1, 2; a slip gives other numbers for some."""
    right = {"dx": np.full(3, 0.0), "dweight": np.full(3, 1.0), "dbias": np.full(3, 2.0)}
    return tuple((right | {name: np.full(3, float(value)) for name, value in wrong.items()}).values())


def hint_for(yours, *slips, parts=None):
    with pytest.raises(checking.WrongError) as caught:
        checking.compare("conv2d_backward", yours, outputs(), list(slips), parts)
    return hints(str(caught.value))


def test_a_hint_explains_all_wrong_outputs_or_is_not_given():
    both, only_dx, only_db = outputs(dweight=5, dbias=6), outputs(dx=7), outputs(dbias=6)
    assert hint_for(both, ("both", both)) == ["both"]
    # It gives one of two wrong outputs: nothing is known about the other.
    assert hint_for(outputs(dx=7, dweight=8), ("dx", only_dx)) == []
    # It would make another output wrong, which is right here.
    assert hint_for(only_db, ("both", both)) == []
    # Also when the check looks at one output only: another wrong one must be explained all the same.
    assert hint_for(outputs(dx=7, dweight=8), ("dx", only_dx), parts=("dx",)) == []
    # Two slips with outputs of their own explain them together; two that fit alike are both given.
    assert hint_for(outputs(dx=7, dbias=6), ("dx", only_dx), ("db", only_db)) == ["dx", "db"]
    assert hint_for(only_dx, ("one", only_dx), ("two", only_dx), ("one", only_dx)) == ["one", "two"]


def test_small_inputs_are_printed_and_large_ones_described():
    stem = "task3_maxout"
    slipped = types.SimpleNamespace(**right_functions(stem) | {"maxout_forward": lambda z: (z[:, :, 0], 0)})
    _, messages = judged(make.load(stem), slipped, checking.PUBLIC_SEED)
    assert "Called with:\n  z = [[[1.0, 3.0, 2.0], [" in messages["test_forward_by_hand"]
    assert "  z = an array of shape (" in messages["test_forward_values"]
    told = checking.call_shown("sgd_step", ((np.ones(24), np.ones(25)), (), (), (None,), 0.5), {})
    assert "  weights[0] = [1., 1.," in told and "  weights[1] = an array of shape (25,)" in told
    assert "  lr = 0.5" in told and "  masks = (None,)" in told
    told = checking.call_shown("prune_neurons", ({"fc3.bias": np.ones((1, 2))}, "fc3"), {})
    assert told == 'Called with:\n  net["fc3.bias"] = [[1., 1.]]\n  name = fc3'


def test_a_changed_argument_is_named():
    for stem, function, slip, check, told in [
        ("task5_pruning", "magnitude_mask", _zeroed, "test_mask_after_mask", "weight"),
        ("task4_relevance", "rank_neurons", _sorted, "test_inputs_are_left_alone", "relevance"),
        ("task1_convolution", "conv2d_backward", _spoils_x, "test_backward_without_dx_and_inputs", "x"),
    ]:
        right, module = right_functions(stem), make.load(stem)
        _, messages = judged(module, types.SimpleNamespace(**right | {function: slip}), checking.PUBLIC_SEED)
        assert f"{function} changes its argument {told}." in messages[check]


def _zeroed(weight, sparsity, mask=None):
    kept = right_functions("task5_pruning")["magnitude_mask"](weight, sparsity, mask)
    weight[~kept] = 0
    return kept


def _sorted(relevance):
    order = right_functions("task4_relevance")["rank_neurons"](relevance)
    relevance.sort(axis=1)
    return order


def _spoils_x(dy, x, *others, **more):
    result = right_functions("task1_convolution")["conv2d_backward"](dy, x, *others, **more)
    x *= 0
    return result


def test_arguments_have_the_names_of_the_functions():
    for stem in STEMS:
        for name, function in right_functions(stem).items():
            assert tuple(inspect.signature(function).parameters) == checking.ARGUMENTS[name]


def as_module(text):
    module = types.ModuleType("answer")
    exec(text, vars(module))
    return module


CALLERS = {
    # (task, what the file ends with): the function that is wrong, those that call it and are right
    "task5": (
        "def take_neurons(weight, bias, keep): return weight[:, keep], bias[:, keep]\n",
        {"test_take_by_hand", "test_take_values"},
        {"prune_neurons"},
    ),
    "task1": (  # dweight as a convolution of x with dy
        "right = conv2d_backward\n"
        "def conv2d_forward(x, weight, bias, stride, padding): raise ValueError\n"
        "def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):\n"
        "    conv2d_forward(x[:1], weight, np.zeros(len(weight)), stride, padding)\n"
        "    return right(dy, x, weight, stride, padding, need_dx)\n",
        {
            "test_forward_by_hand",
            "test_forward_channels_filters_and_bias",
            "test_forward_stride",
            "test_forward_padding",
            "test_forward_keeps_inputs_and_dtype",
        },
        {"conv2d_backward"},
    ),
    "task4": (
        "def rank_neurons(relevance): return np.argsort(relevance, axis=1)\n"
        "def keep_top(order, n_keep):\n"
        "    return np.sort(np.take_along_axis(order, rank_neurons(np.arange(0, -order.size, -1)"
        ".reshape(order.shape)), axis=1)[:, :n_keep], axis=1)\n",
        {"test_rank_by_hand", "test_rank_values", "test_rank_ties", "test_inputs_are_left_alone"},
        {"keep_top"},
    ),
}


@pytest.mark.parametrize("task", CALLERS)
def test_a_slip_is_not_charged_again_in_the_function_that_calls_it(task):
    ending, lost, carried = CALLERS[task]
    source = next(source for source in make.sources() if source.task == task)
    module, text = make.load(source.stem), f"{full(source)}\n\n{ending}"
    failed, given_back = set(), set()
    for name, _, check in make.checks_of(module):
        answer = answers.LocalAnswer(as_module(text), "answer.py", text)
        ask = checking.Ask(answer, reference.Reference(module), checking.Draws(4711, name))
        try:
            check(ask)
        except (AssertionError, ValueError):
            failed.add(name)
        given_back |= set(ask.carried)
    assert failed == lost and given_back == carried


def test_a_function_that_is_wrong_itself_is_helped_by_no_right_ones():
    source = make.sources()[4]
    ending = (
        "def prune_neurons(net, name, keep):\n"
        "    weight, bias = take_neurons(net[name + '.weight'], net[name + '.bias'], keep)\n"
        "    return {name + '.weight': weight, name + '.bias': bias}\n"
    )
    text = f"{typical(source)}\n\n{ending}"
    _, messages = judged(make.load(source.stem), as_module(text), 4711, text)
    assert {"test_prune_values", "test_prune_to_dense"} <= set(messages)
