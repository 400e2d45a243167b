"""`mnp check`: what it says of right, wrong, partial and ill-behaved modules."""

import inspect
import re
import types

import numpy as np
import pytest
from candidates import verdicts, write
from one_line import refused

from mnp.cli import main
from mnp.errors import MnpError
from mnp.kernels import FUSED, KERNELS, textbook
from mnp.verify import conformance, network, reference, stub

# --- good candidates -----------------------------------------------------------------------------------


def test_textbook_passes_whole_with_other_numbers():
    found = verdicts("mnp.kernels.textbook", seed=11)
    assert {found[name].status for name in KERNELS} == {"passed"}
    assert {found[name].status for name in FUSED} == {"not implemented"}


def test_any_integer_type_is_a_winner_but_counts_are_int64():
    module = types.SimpleNamespace(
        win_counts=lambda winner, k: textbook.win_counts(winner, k).astype(np.int32),
        maxout_forward=lambda z: (z.max(2), z.argmax(2).astype(np.uint8)),
    )
    counts, maxout = conformance.check_module(module, only=["win_counts", "maxout_forward"])
    assert (counts.status, maxout.status) == ("failed", "passed")
    assert "counts is of type int32, expected int64" in counts.lines


def test_network_round_is_repeatable_and_judged():
    notes = network.pruning_round(textbook)
    assert notes["win_counts", None].sum() == 64 * 8
    assert notes["neurons_kept", None].shape == (8, 3)
    assert ("after_step/fc3.weight", 9) in notes and ("masked_logits", None) in notes
    assert network.judge_round(notes).status == "passed"
    notes["win_counts", None] = notes["win_counts", None] + 1
    verdict = network.judge_round(notes)
    assert verdict.status == "failed" and "win_counts[0, 0]: expected" in verdict.lines[0]


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
        ("conv2d_forward", "its arguments are (x, weight), expected (x, weight, bias, stride, padding)"),
        ("dense_forward", "y is of type float64, expected float32, as the inputs are"),
        ("maxout_forward", "returned a numpy.ndarray; expected 2: y, winner"),
        ("maxout_backward", "dz is a list; expected a NumPy array"),
        ("relu_forward", "changed its input x: compute into a new array"),
        ("relu_backward", "did not return within 4 s"),
        ("dropout_forward", "raised SystemExit: enough (theirs.py, line 35)"),
        ("dropout_backward", "ended the process (exit status 3)"),
        ("softmax_cross_entropy", "loss is a float; expected a NumPy scalar of the inputs' type"),
        ("win_counts", "raised ZeroDivisionError: division by zero (theirs.py, line 45)"),
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
    assert ill_behaved["avgpool2d_backward"].status == "not implemented"
    assert "1 of 1 cases wrong, 18 not run" in str(ill_behaved["relu_backward"])
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
    assert "case 0: batch of one, float64" in said
    assert 'mnp.verify.cases.generate("dense_forward", seed=0)[n].args' in said
    assert "inputs: x (1, 4) float64, weight (3, 4) float64, bias (3,) float64" in said
    assert re.search(r"y\[0, \d\]: expected -?[\d.]+, got -?[\d.]+ \(\d of 3 elements differ\)", said)
    assert "looks like: bias forgotten" in said
    assert re.search(r"relu_forward +passed", said)
    assert "1 passed, 1 failed, 22 not implemented" in said
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
    assert "first difference: gradient/conv1.weight of step 1[0, 0, 0, 0]: expected" in said
    assert "1 of 20 plain kernels are its own, the others the textbook's" in said


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_of_this_name\n", "does not import: ModuleNotFoundError"),
        ("def broken(:\n", "does not import: SyntaxError"),
        ("raise SystemExit(5)\n", "does not import: SystemExit: 5"),
        ("\nx = 1 / 0\n", "does not import: ZeroDivisionError: division by zero (theirs.py, line 2)"),
        ("import os; os._exit(4)\n", "does not import: ended the process (exit status 4)"),
        ("while True: pass\n", "does not import: did not return within 1 s"),
    ],
)
def test_a_module_that_does_not_import_is_one_line_and_status_2(tmp_path, capsys, source, says):
    where = write(tmp_path, source)
    refused(capsys, ["check", where, "--seconds", "1"], says)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nowhere.py"], "no such file"),
        (["mnp.no_such_module"], "does not import"),
        (["mnp.kernels.textbook", "--only", "zzz"], "choose from conv2d_forward, conv2d_backward, maxpool2d"),
        (["mnp.kernels.textbook", "--only", "ReLU"], "choose from relu_forward, relu_backward\n"),
        (["mnp.kernels.textbook", "--only", "dense_forwards"], "interface: choose from dense_forward, "),
        (["mnp.kernels.textbook", "--seconds", "0"], "give a positive number of seconds"),
    ],
)
def test_mistakes_on_the_command_line(capsys, argv, says):
    refused(capsys, ["check", *argv], says)


# --- the stub ------------------------------------------------------------------------------------------


def test_stub_is_judged_as_not_offered_until_it_is_filled_in(tmp_path, capsys):
    path = tmp_path / "mine.py"
    assert main(["stub", "nonsense", "--out", str(path)]) == 2 and not path.exists()
    assert main(["stub", "--out", str(path)]) == 0
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "(it still raises NotImplementedError)" in said and "implements none of the kernels" in said
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
        assert inspect.getdoc(space[name]) == inspect.getdoc(getattr(original, "func", original))
        with pytest.raises(NotImplementedError, match=name):
            space[name](*[None] * len(inspect.signature(original).parameters))
    with pytest.raises(MnpError, match="not a kernel of the interface"):
        stub.stub_source(["nonsense"])
