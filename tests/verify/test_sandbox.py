"""Behind `mnp check`: the generated cases, the child process that answers them, the judge's rules."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from candidates import verdicts, write

import mnp
from mnp.errors import MnpError
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
    one, same, other = (repr([c.args for c in cases.generate(kernel, seed)]) for seed in (3, 3, 4))
    assert one == same != other


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


def test_a_child_serves_the_network_round_or_what_stopped_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    ((notes, remark),) = sandbox.serve("mnp.kernels.textbook", 0)
    assert remark == "all 20 plain kernels are its own"
    assert network.judge_round(notes).status == "passed"
    where = write(tmp_path, "def relu_forward(x):\n    raise OSError('no more')\n")
    assert list(sandbox.serve(where, 0)) == ["raised OSError: no more (theirs.py, line 2)"]


FAULTS = {
    "dense_forward": (
        lambda x, weight, bias: np.array([None]),
        "y is an array of object; expected a NumPy array",
    ),
    "maxout_forward": (lambda z: (z, z, z), "returned 3 values; expected 2: y, winner"),
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

    def next(self, seconds, deadline):
        self.left -= 1
        if self.left < 0:
            raise TimeoutError(f"did not return within {seconds:g} s")
        return Answer({"y": np.zeros(1)})


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
    assert judge.close(want, np.array([0.0, -np.inf, np.nan, 1.0]), 1.0).tolist() == [False] * 3 + [True]


def test_tolerance_is_relative_to_the_largest_magnitude():
    assert judge.close(np.array([1e6, 0.0]), np.array([1e6, 1e-5]), 1e-10).all()
    assert not judge.close(np.array([1.0, 0.0]), np.array([1.0, 1e-5]), 1e-10).all()


# --- what lies beside a candidate ----------------------------------------------------------------------

RIGHT = """
import numpy as np

def relu_forward(x):
    return np.maximum(x, 0)
"""
OWN_RANDOM = """
import random
import numpy as np
from random import randint, two
import helper

def relu_forward(x):
    import queue
    assert two() == helper.two() == 2 and random.randint(1, 1) == randint(1, 1)
    return np.maximum(x, 0)
"""
NAMES = ("random", "numpy", "queue", "pickle", "secrets", "inspect", "json", "statistics")


@pytest.fixture(params=["its own names", "a helper called random"])
def beside(request, tmp_path):
    """A folder with a right candidate beside files that have the names of other modules."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text('"""Mine."""\n', encoding="utf-8")
    (tmp_path / "random.py").write_text("def two():\n    return 2\n", encoding="utf-8")
    (tmp_path / "helper.py").write_text("from random import two\n", encoding="utf-8")
    write(tmp_path, RIGHT if request.param == "its own names" else OWN_RANDOM, "mine.py")
    return tmp_path


@pytest.mark.parametrize(
    ("start", "where"),
    [("-m", "mine.py"), ("function", "mine"), ("PYTHONPATH", "{folder}/mine.py")],
)
def test_files_beside_a_candidate_hide_nothing_from_the_judge(beside, start, where):
    where, root = where.format(folder=beside), str(Path(mnp.__file__).parents[1])
    command = [sys.executable, "-m", "mnp", "check", where, "--only", "relu_forward"]
    if start != "-m":
        call = "from mnp.__main__ import main; sys.exit(main())"
        command[1:3] = ["-P", "-c", f"import sys; {call}"]
    path = os.pathsep.join(["", root] if start == "PYTHONPATH" else [root])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=beside, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 passed, 0 failed" in done.stdout, done.stdout + done.stderr


def test_a_neighbour_that_does_not_import_is_named(tmp_path):
    write(tmp_path, "x = 1 / 0\n", "random.py")
    where = write(tmp_path, "import numpy\nimport random\n")
    with pytest.raises(MnpError, match=r"ZeroDivisionError: division by zero \(theirs.py, line 2\)"):
        verdicts(where)
    write(tmp_path, "", "random.py")
    where = write(tmp_path, "from random import nothing\n")
    with pytest.raises(MnpError, match=rf"cannot import name 'nothing' from 'random' \({tmp_path}/random.py"):
        verdicts(where)


def test_a_candidate_sees_no_arguments_but_its_file(tmp_path):
    source = "import sys\nassert sys.argv[0].endswith('theirs.py') and not sys.argv[1:]"
    where = write(tmp_path, source + "\n" + RIGHT)
    assert verdicts(where, only=["relu_forward"])["relu_forward"].status == "passed"


@pytest.mark.posix
@pytest.mark.parametrize("how", ["sub/../theirs.py", "link.py", "theirs"])
def test_the_line_of_an_import_error_is_told_however_the_path_is_typed(tmp_path, monkeypatch, how):
    write(tmp_path, "\n\nx = 1 / 0\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.py").symlink_to(tmp_path / "theirs.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MnpError, match=r"division by zero \(theirs.py, line 3\)"):
        verdicts(how)
