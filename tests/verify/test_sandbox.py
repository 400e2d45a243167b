"""Behind `mnp check`: the generated cases, the child process that answers them, the judge's rules."""

import io
import sys
import types

import numpy as np
import pytest
from candidates import write

from mnp.kernels import FUSED, KERNELS
from mnp.verify import candidate, cases, conformance, judge, network, reference, sandbox
from mnp.verify.candidate import Answer

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
def test_every_kind_of_case_is_met(kernel):
    """Strides of every sort for all; sizes, ties and difference quotients where there can be any."""
    notes = " / ".join(case.note for case in cases.generate(kernel) if case.dtype == "float32")
    kinds = ["Fortran order", "strided input", "negative strides"]
    if kernel != "sgd_step":
        kinds.append("batch of one")
    if kernel not in ("sgd_step", "win_counts") and kernel not in FUSED:
        kinds.append("large magnitudes")
    if "2d" in kernel and "norm" not in kernel:
        kinds.append("odd sizes")
    if kernel.startswith("conv"):
        kinds += ["stride 2", "padding 1"]
    if "max" in kernel and "softmax" not in kernel:
        kinds.append("ties")
    if kernel in ("maxpool2d_forward", "maxout_forward", "relu_forward"):
        kinds.append("NaN")
    assert [kind for kind in kinds if kind not in notes] == []


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
    assert sandbox.unflatten(*answers[0]).outputs == {"y": "an int"}
    assert "no such file" in served({**job, "where": "nowhere.py"})[0][0]["error"]


def test_a_child_serves_the_network_round_or_what_stopped_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    ((header, arrays),) = served({"where": "mnp.kernels.textbook", "network": True, "seed": 0})
    assert header["used"] == "all 20 plain kernels are its own"
    assert network.judge_round(dict(zip(header["names"], arrays, strict=True))).status == "passed"
    where = write(tmp_path, "def relu_forward(x):\n    raise OSError('no more')\n")
    ((header, _),) = served({"where": where, "network": True, "seed": 0})
    assert header == {"error": "raised OSError: no more (theirs.py, line 2)"}


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
    "sgd_step": (lambda *a: 5, "returned an int; it works in place and returns None"),
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


class SlowChild:
    """Answers three cases, and then no more."""

    def __init__(self):
        self.left = 3

    def next(self, deadline):
        self.left -= 1
        if self.left < 0:
            raise TimeoutError
        return sandbox.flatten(Answer({"y": np.zeros(1)}))


def test_a_limit_may_be_endless():
    (verdict,) = conformance.check("mnp.kernels.textbook", only=["relu_forward"], seconds=float("inf"))
    assert verdict.status == "passed"


def test_a_kernel_that_is_too_slow_says_how_far_it_came():
    answers, stopped = sandbox._one_kernel(SlowChild(), "relu_forward", 0, 7.0)
    assert stopped and len(answers) == 4
    says = "did not return within 7 s, with 3 of 20 cases done: --seconds gives more"
    assert answers[-1].problem == says


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
