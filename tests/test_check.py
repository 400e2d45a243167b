"""`mnp check`: what it says of right, wrong, partial and ill-behaved modules."""

import inspect
import io
import re
import sys
import textwrap
import types

import numpy as np
import pytest

from mnp.__main__ import main
from mnp.errors import MnpError
from mnp.kernels import FUSED, KERNELS, textbook
from mnp.verify import candidate, cases, conformance, judge, network, reference, sandbox, stub
from mnp.verify.candidate import Answer


def write(tmp_path, source, name="theirs.py"):
    path = tmp_path / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return str(path)


def verdicts(where, **how):
    return {v.kernel: v for v in conformance.check(where, **how)}


# --- the cases -----------------------------------------------------------------------------------------


def test_every_agreed_name_has_cases_in_both_types():
    assert list(reference.OUTPUTS) == [*KERNELS, *FUSED]
    total = 0
    for kernel in reference.OUTPUTS:
        drawn = cases.generate(kernel)
        assert {case.dtype for case in drawn} == {"float64", "float32"}
        assert len({str(case) for case in drawn}) == len(drawn), "two cases have one name"
        total += len(drawn)
    assert total >= 400


@pytest.mark.parametrize("kernel", list(reference.OUTPUTS))
def test_cases_repeat_with_the_seed_and_only_then(kernel):
    one, same, other = (cases.generate(kernel, seed) for seed in (3, 3, 4))
    assert all(
        judge.compare(a, a.expected(), b.expected()) is None
        for a, b in zip(one, same, strict=True)
        if a.dtype == "float64" and not a.difference_of
    )
    texts = [repr([c.args for c in drawn]) for drawn in (one, other)]
    assert texts[0] != texts[1]
    assert repr([c.args for c in same]) == texts[0]


def test_difference_quotients_agree_with_the_textbook_gradients():
    found = 0
    for kernel in reference.OUTPUTS:
        for case in cases.generate(kernel, seed=5):
            if case.difference_of:
                found += 1
                answer = Answer(reference.call(kernel, case.args))
                assert judge.compare(case, case.expected(), answer.outputs) is None, case
    assert found == 8  # every backward kernel but dropout's and SGD, and the loss


def test_layouts_are_what_their_names_say():
    drawn = {case.note: case.args["x"] for case in cases.generate("dense_forward") if case.dtype == "float32"}
    assert drawn["Fortran order"].flags.f_contiguous
    assert not drawn["strided input"].flags.c_contiguous and drawn["strided input"].strides[-1] == 8
    assert drawn["negative strides"].strides[0] < 0
    for x in drawn.values():
        copy = candidate.copy_keeping_layout(x)
        assert copy.strides == x.strides and np.array_equal(copy, x) and not np.shares_memory(copy, x)


# --- good candidates -----------------------------------------------------------------------------------


def test_textbook_passes_whole_with_other_numbers():
    found = verdicts("mnp.kernels.textbook", seed=11)
    assert {found[name].status for name in KERNELS} == {"passed"}
    assert {found[name].status for name in FUSED} == {"not offered"}


@pytest.mark.parametrize("kernel", ["maxout_forward", "win_counts"])
def test_any_integer_type_is_a_winner_but_counts_are_int64(tmp_path, kernel):
    where = write(
        tmp_path,
        """
        import numpy as np
        from mnp.kernels import textbook

        def maxout_forward(z):
            y, winner = textbook.maxout_forward(z)
            return y, winner.astype(np.uint8)

        def win_counts(winner, k):
            return textbook.win_counts(winner, k).astype(np.int32)
        """,
    )
    verdict = verdicts(where, only=[kernel])[kernel]
    assert verdict.status == ("passed" if kernel == "maxout_forward" else "failed")
    if kernel == "win_counts":
        assert "counts is of type int32, expected int64" in verdict.lines


def test_network_round_is_repeatable_and_judged():
    notes = network.pruning_round(textbook)
    assert set(notes) >= {"win counts", "neurons kept", "fc3.weight after step 4 after pruning"}
    assert notes["win counts"].sum() == 256 * 6
    assert notes["neurons kept"].shape == (6, 2)
    assert network.judge_round(notes).status == "passed"
    notes["win counts"] = notes["win counts"] + 1
    verdict = network.judge_round(notes)
    assert verdict.status == "failed" and "win counts[0, 0]: expected" in verdict.lines[0]


# --- bad candidates ------------------------------------------------------------------------------------

ILL_BEHAVED = """
    import os, sys, time
    import numpy as np
    from mnp.kernels import textbook

    print("hello" * 1000)
    HELPER = 3

    def conv2d_forward(x, weight):
        return x

    def maxpool2d_forward(x, size, stride):
        print("x" * 1_000_000)
        print("x" * 1_000_000, file=sys.stderr)
        return textbook.maxpool2d_forward(x, size, stride)

    def dense_forward(x, weight, bias):
        return x.astype(np.float64) @ weight.astype(np.float64).T + bias

    def maxout_forward(z):
        return z.max(axis=2)

    def maxout_backward(dy, winner, k):
        return textbook.maxout_backward(dy, winner, k).tolist()

    def relu_forward(x):
        np.maximum(x, 0, out=x)
        return x.copy()

    def relu_backward(dy, y):
        while True:
            time.sleep(0.01)

    def dropout_forward(x, keep, p):
        sys.exit("enough")

    def dropout_backward(dy, keep, p):
        os._exit(3)

    def softmax_cross_entropy(logits, labels):
        loss, dlogits = textbook.softmax_cross_entropy(logits, labels)
        return float(loss), dlogits

    def win_counts(winner, k):
        return 1 / 0

    def avgpool2d_forward(x, size, stride):
        return textbook.avgpool2d_forward(x, size, stride)[:, :, :1]

    def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
        grads[0][...] = 0

    avgpool2d_backward = 7
"""


@pytest.fixture(scope="module")
def ill_behaved(tmp_path_factory):
    where = write(tmp_path_factory.mktemp("candidate"), ILL_BEHAVED)
    return verdicts(where, seconds=4.0)


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ("conv2d_forward", "its arguments are (x, weight), agreed are (x, weight, bias, stride, padding)"),
        ("dense_forward", "y is of type float64, expected float32, as the inputs are"),
        ("maxout_forward", "returned a numpy.ndarray; agreed are 2: y, winner"),
        ("maxout_backward", "dz is a list; a NumPy array is agreed"),
        ("relu_forward", "changed its input x: compute into a new array"),
        ("relu_backward", "did not return within 4 s"),
        ("dropout_forward", "raised SystemExit: enough"),
        ("dropout_backward", "ended the process (exit status 3)"),
        ("softmax_cross_entropy", "loss is a float; a NumPy array is agreed"),
        ("win_counts", "raised ZeroDivisionError: division by zero"),
        ("avgpool2d_forward", "y has shape (2, 2, 1, 3), expected (2, 2, 2, 3)"),
        ("sgd_step", "changed its input grads: compute into a new array"),
    ],
)
def test_each_fault_is_one_line_and_the_rest_is_judged(ill_behaved, kernel, says):
    verdict = ill_behaved[kernel]
    assert verdict.status == "failed"
    assert says in verdict.lines
    assert all("\n" not in line for line in verdict.lines)


def test_printing_harms_nobody_and_what_is_not_callable_is_not_offered(ill_behaved):
    assert ill_behaved["maxpool2d_forward"].status == "passed"
    assert ill_behaved["avgpool2d_backward"].status == "not offered"
    assert list(ill_behaved) == list(reference.OUTPUTS), "verdicts come in the agreed order"


def test_first_mismatch_is_told_with_shapes_element_expected_and_got(tmp_path, capsys):
    where = write(
        tmp_path,
        """
        import numpy as np

        def dense_forward(x, weight, bias):
            return x @ weight.T

        def relu_forward(x):
            return np.maximum(x, x.dtype.type(0))
        """,
    )
    assert main(["check", where]) == 1
    said = capsys.readouterr().out
    assert "case: batch of one, float64" in said
    assert "inputs: x (1, 4) float64, weight (3, 4) float64, bias (3,) float64" in said
    assert re.search(r"y\[0, \d\]: expected -?[\d.]+, got -?[\d.]+ \(\d of 3 elements differ\)", said)
    assert "looks like: bias forgotten" in said
    assert re.search(r"relu_forward +passed", said)
    assert "1 passed, 1 failed, 22 not offered" in said
    assert main(["check", where, "--only", "relu_forward"]) == 0


def test_network_option_names_the_first_difference(tmp_path, capsys):
    where = write(
        tmp_path,
        """
        from mnp.kernels import textbook

        def maxout_backward(dy, winner, k):
            return textbook.maxout_backward(dy, winner, k) * 0.5
        """,
    )
    assert main(["check", where, "--only", "win_counts", "--network"]) == 1
    said = capsys.readouterr().out
    assert "first difference: gradient of conv1.weight in step 1 before pruning[0, 0, 0, 0]: expected" in said
    assert "1 of 20 plain kernels are its own, the others the textbook's" in said


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_of_this_name\n", "does not import: ModuleNotFoundError"),
        ("def broken(:\n", "does not import: SyntaxError"),
        ("raise SystemExit(5)\n", "does not import: SystemExit: 5"),
        ("import os; os._exit(4)\n", "does not import: it ended its process with status 4"),
        ("while True: pass\n", "does not import: no answer within 1 s"),
    ],
)
def test_a_module_that_does_not_import_is_one_line_and_status_2(tmp_path, capsys, source, says):
    where = write(tmp_path, source)
    assert main(["check", where, "--seconds", "1"]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nowhere.py"], "no such file"),
        (["mnp.no_such_module"], "does not import"),
        (["mnp.kernels.textbook", "--only", "conv3d"], "'conv3d' is not an agreed kernel name"),
        (["mnp.kernels.textbook", "--seconds", "0"], "give a positive number of seconds"),
        (["mnp.kernels.textbook", "--seed", "-1"], "--seed -1"),
    ],
)
def test_mistakes_on_the_command_line(capsys, argv, says):
    assert main(["check", *argv]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


# --- the child's side, in this process -------------------------------------------------------------------


def served(job):
    """The messages of a child, without the child."""
    channel = io.BytesIO()
    sandbox.serve(job, channel)
    channel.seek(0)
    frames = []
    while (frame := sandbox.read_frame(channel)) is not None:
        frames.append(frame)
    assert frames.pop(0)[0] == {"started": True}
    return frames


def test_a_child_serves_what_is_offered_in_the_order_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    where = write(
        tmp_path, "def relu_forward(x):\n    return 3\ndef win_counts(winner, k): raise NotImplementedError\n"
    )
    job = {"where": where, "names": ["win_counts", "dense_forward", "relu_forward"], "seed": 0}
    offered, stub_answer, *answers = served(job)
    assert offered[0] == {"offered": ["win_counts", "relu_forward"]}
    assert sandbox.unflatten(*stub_answer).problem == "NotImplementedError"
    assert len(answers) == len(cases.generate("relu_forward"))
    assert sandbox.unflatten(*answers[0]).outputs == {"y": "a int"}
    assert "no such file" in served({**job, "where": "nowhere.py"})[0][0]["error"]


def test_a_child_serves_the_network_round_or_what_stopped_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    ((header, arrays),) = served({"where": "mnp.kernels.textbook", "network": True, "seed": 0})
    assert header["used"] == "all 20 plain kernels are its own"
    assert network.judge_round(dict(zip(header["names"], arrays, strict=True))).status == "passed"
    where = write(tmp_path, "def relu_forward(x):\n    raise OSError('no more')\n")
    ((header, _),) = served({"where": where, "network": True, "seed": 0})
    assert header == {"error": "raised OSError: no more"}


FAULTS = {
    "relu_forward": (lambda x: (_ for _ in ()).throw(SystemExit(2)), "raised SystemExit: 2"),
    "relu_backward": (lambda dy: dy, "its arguments are (dy), agreed are (dy, y)"),
    "dense_forward": (
        lambda x, weight, bias: np.array([None]),
        "y is an array of object; a NumPy array is agreed",
    ),
    "maxout_forward": (lambda z: (z, z, z), "returned 3 values; agreed are 2: y, winner"),
    "maxpool2d_forward": (lambda x, size, stride: x, "returned a numpy.ndarray; agreed are 2: y, winner"),
    "dropout_forward": (
        lambda x, keep, p: np.copyto(keep, ~keep),
        "changed its input keep: compute into a new array",
    ),
    "sgd_step": (lambda *a: 5, "returned a int; it works in place and returns None"),
    "win_counts": (max, "raised ValueError: The truth value of an array"),
    "dense_backward": (
        lambda dy, x, weight, need_dx=True: (dy @ weight, dy.T @ x, dy.sum(0)),
        "dx is not None although need_dx=False",
    ),
}


@pytest.mark.parametrize("kernel", list(FAULTS))
def test_faults_are_told_in_this_process_too(kernel):
    function, says = FAULTS[kernel]
    (verdict,) = conformance.check_module(types.SimpleNamespace(**{kernel: function}), only=[kernel])
    assert verdict.status == "failed"
    assert any(says in line for line in verdict.lines), verdict.lines


# --- the judge's own rules -----------------------------------------------------------------------------


def test_nan_must_meet_nan_and_infinity_the_same():
    want = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert judge.close(want, want.copy(), 0.0).all()
    assert judge.close(want, np.array([0.0, -np.inf, np.nan, 1.0]), 1.0).tolist() == [
        False,
        False,
        False,
        True,
    ]


def test_tolerance_is_relative_to_the_largest_magnitude():
    assert judge.close(np.array([1e6, 0.0]), np.array([1e6, 1e-5]), 1e-10).all()
    assert not judge.close(np.array([1.0, 0.0]), np.array([1.0, 1e-5]), 1e-10).all()


def test_messages_go_through_the_pipe_unchanged():
    answer = Answer({"y": np.arange(6, dtype=np.float32).reshape(2, 3), "dx": None, "z": "a list"}, "")
    got = sandbox.unflatten(*sandbox.read_frame(io.BytesIO(sandbox.pack(*sandbox.flatten(answer)))))
    assert got.outputs["dx"] is None and got.outputs["z"] == "a list"
    assert np.array_equal(got.outputs["y"], answer.outputs["y"])
    tuples = Answer({"weights": (np.zeros(2), np.zeros((0, 3)))})
    got = sandbox.unflatten(*sandbox.read_frame(io.BytesIO(sandbox.pack(*sandbox.flatten(tuples)))))
    assert [a.shape for a in got.outputs["weights"]] == [(2,), (0, 3)]


@pytest.mark.parametrize(
    "data",
    [
        b"short",
        (1 << 40).to_bytes(8, "little") * 2,
        (4).to_bytes(8, "little") + (0).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + (0).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + (0).to_bytes(8, "little") + b"{'a}",
    ],
)
def test_a_channel_that_somebody_else_wrote_into_has_ended(data):
    assert sandbox.read_frame(io.BytesIO(data)) is None


# --- the stub ------------------------------------------------------------------------------------------


def test_stub_is_judged_as_not_offered_until_it_is_filled_in(tmp_path, capsys):
    path = tmp_path / "mine.py"
    assert main(["stub", "--out", str(path)]) == 0
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "(it still raises NotImplementedError)" in said and "offers none of the agreed names" in said
    text = path.read_text(encoding="utf-8")
    left = 'raise NotImplementedError("relu_forward is yours to write")'
    path.write_text(text.replace(left, "return np.maximum(x, x.dtype.type(0))"), encoding="utf-8")
    assert main(["check", str(path)]) == 0
    assert main(["stub", "--out", str(path)]) == 2, "a stub never overwrites"
    assert path.read_text(encoding="utf-8") != text


def test_stub_has_the_agreed_signatures_and_docstrings():
    space = {}
    exec(stub.stub_source([*KERNELS, *FUSED]), space)
    for name in reference.OUTPUTS:
        original = reference.function(name)
        assert inspect.signature(space[name]) == inspect.signature(original)
        assert inspect.getdoc(space[name]) == inspect.getdoc(original)
        with pytest.raises(NotImplementedError, match=name):
            space[name](*[None] * len(inspect.signature(original).parameters))
    with pytest.raises(MnpError, match="not an agreed kernel name"):
        stub.stub_source(["nonsense"])


def test_stub_goes_to_the_screen_by_default(capsys):
    assert main(["stub", "win_counts"]) == 0
    assert "def win_counts(winner, k):" in capsys.readouterr().out
