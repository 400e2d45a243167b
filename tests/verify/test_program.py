"""`mnp check --command`: programs in other languages, and what goes wrong with them."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from candidates import verdicts, write
from one_line import refused

from mnp.cli import main
from mnp.errors import MnpError
from mnp.verify import conformance, program, stub
from mnp.verify.candidate import load_module

pytest.importorskip("safetensors")

GOLDEN = Path(__file__).parents[1] / "golden"
FIVE = ("conv2d_forward", "conv2d_backward", "maxout_forward", "maxout_backward", "win_counts")
COMPILERS = {
    "c": ["cc", "-o", "{out}", "{file}", "-lm"],
    "rust": ["rustc", "--edition=2021", "-o", "{out}", "{file}"],
}


def build(folder, language, source):
    """Compile a program; the words that start it."""
    file, out = folder / stub.LANGUAGES[language][0], folder / "kernels"
    file.write_text(source, encoding="utf-8")
    tool = "node" if language == "javascript" else COMPILERS[language][0]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if language == "javascript":
        return f"node {file}"
    words = [word.format(out=out, file=file) for word in COMPILERS[language]]
    subprocess.run(words, check=True, capture_output=True)
    return str(out)


def judged(command, only=None):
    """Verdicts in this process: kernel -> verdict."""
    return {v.kernel: v for v in conformance.check_module(load_module(program.PREFIX + command), only)}


# --- the examples and their skeletons ------------------------------------------------------------------


@pytest.mark.parametrize("language", stub.LANGUAGES)
def test_an_example_passes_and_its_skeleton_is_not_implemented(tmp_path, language):
    command = build(tmp_path, language, stub.program_source(language, example=True))
    found = verdicts(program.PREFIX + command)
    passed = {name for name, v in found.items() if v.status == "passed"}
    assert passed >= set(FIVE)
    assert {v.status for name, v in found.items() if name not in passed} == {"not implemented"}
    if language != "rust":  # those of C and JavaScript read the golden vectors as well
        done = subprocess.run(
            [*command.split(), "golden", str(GOLDEN)], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{5 * len(passed)} golden cases, 0 outputs differ\n"
    command = build(tmp_path, language, stub.program_source(language))
    assert {v.status for v in judged(command).values()} == {"not implemented"}


def test_the_command_line_writes_and_checks_them(tmp_path, capsys):
    out = tmp_path / "kernels.js"
    assert main(["stub", "--language", "javascript", "--example", "--out", str(out)]) == 0
    assert main(["stub", "--language", "rust"]) == 0
    assert "false // yours to write" in capsys.readouterr().out
    if shutil.which("node"):
        assert main(["check", "--command", f"node {out}", "--only", "win_counts", "--network"]) == 0
        assert "5 of 20 plain kernels are its own" in capsys.readouterr().out
    for argv in (
        ["stub", "relu_forward", "--language", "c"],
        ["stub", "--example"],
        ["check", "mine.py", "--command", "./mine"],
        ["check", "--command", ""],
        ["check", "--command", "./nowhere"],
        ["check", "--command", "false"],
    ):
        refused(capsys, argv)


# --- mistakes: the seeded mutants of tests/mutants, in C ----------------------------------------------------

FLIPPED = "AT4(weight, f, c, KH - 1 - i, KW - 1 - j)"
CUT = "if (h < 0 || h >= H || w < 0 || w >= W) continue;"
MUTANTS = {  # name: (kernel, {text: what stands there instead}, words of the guess)
    "01_padding_off_by_one": (
        "conv2d_forward",
        {"- padding": "- padding + (padding > 0)"},
        "padding off by one",
    ),
    "02_flipped_kernel": ("conv2d_forward", {"AT4(weight, f, c, i, j)": FLIPPED}, "flipped kernel"),
    "03_conv_bias_per_channel": ("conv2d_forward", {"= bias.data[f]": "= bias.data[f] * x.shape[1]"}, "bias"),
    "04_flipped_kernel_in_dx": ("conv2d_backward", {"AT4(weight, f, c, i, j)": FLIPPED}, "kernel in dx"),
    "06_conv_dbias_mean": (
        "conv2d_backward",
        {"dbias.data[f] += d": "dbias.data[f] += d / (x.shape[0] * dy.shape[2] * dy.shape[3])"},
        "a mean where a sum is agreed",
    ),
    "07_padding_not_cut_off": (
        "conv2d_backward",
        {
            "AT4(dx, n, c, h, w) += d * AT4(weight, f, c, i, j);": "",
            CUT: "if (h + padding < H && w + padding < W)"
            f" AT4(dx, n, c, h + padding, w + padding) += d * AT4(weight, f, c, i, j); {CUT}",
        },
        "padding not cut off",
    ),
    "08_pool_last_index_ties": ("maxpool2d_forward", {"value > best": "value >= best"}, "wrong tie rule"),
    "09_winner_column_major": (
        "maxpool2d_forward",
        {"oh * stride + i, ow * stride + j": "oh * stride + j, ow * stride + i"},
        "column-major",
    ),
    "15_maxout_last_index_ties": ("maxout_forward", {"value > best": "value >= best"}, "wrong tie rule"),
    "16_maxout_gradient_shared": (
        "maxout_backward",
        {
            "AT3(dz, n, u, (long)AT2(winner, n, u)) = AT2(dy, n, u);": "for (long j = 0; j < dz.shape[2]; "
            "j++) AT3(dz, n, u, j) = AT2(dy, n, u) / dz.shape[2];"
        },
        "shared",
    ),
    "22_count_table_too_narrow": (
        "win_counts",
        {
            'Array counts = zeros(2, winner.shape[1], (long)number("k")': "long k = 0; "
            "for (long i = 0; i < size(winner); i++) if (winner.data[i] >= k) k = winner.data[i] + 1; "
            "Array counts = zeros(2, winner.shape[1], k"
        },
        "last neurons are missing",
    ),
    "nan_lost": ("maxout_forward", {" || (isnan(value) && !isnan(best))": ""}, "NaN lost unless"),
    "float_sum": ("conv2d_forward", {"double sum": "float sum"}, "right to single precision only"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_in_c_is_caught_and_named(tmp_path, name):
    kernel, changes, words = MUTANTS[name]
    head, start, rest = stub.program_source("c", example=True).partition(f"static int {kernel}(void)")
    body, end, tail = rest.partition("\n}")
    for old, new in changes.items():
        assert old in body, "the example has changed under this mutant"
        body = body.replace(old, new)
    verdict = judged(build(tmp_path, "c", head + start + body + end + tail), [kernel])[kernel]
    assert verdict.status == "failed" and verdict.wrong > 0
    assert words in verdict.looks_like[0]


# --- programs that behave badly ----------------------------------------------------------------------------

SERVER = """
import json, os, sys, time

for line in sys.stdin:
    asked = json.loads(line)
    if asked["kernel"] == "list":
        print("relu_forward dense_forward sgd_step win_counts nonsense", flush=True)
        continue
    {body}
"""
READ = """import numpy as np
a = dict(np.load(asked["npz"]))
def save(**arrays):
    np.savez(asked["outputs"].replace("safetensors", "npz"), **arrays)
"""


def python_program(tmp_path, body):
    where = write(tmp_path, SERVER.format(body=body.replace("\n", "\n    ")), "program.py")
    return f"{sys.executable} {where}"


def test_a_program_may_end_after_each_answer_and_write_npz(tmp_path):
    body = READ + "save(y=np.maximum(a['x'], a['x'].dtype.type(0)))\nprint('ok')\nbreak"
    module = load_module(program.PREFIX + python_program(tmp_path, body))
    for x in (np.float32([[-1.0, 2.0]]), np.float64([[3.0]])):
        assert np.array_equal(module.relu_forward(x), np.maximum(x, 0))


def test_weights_are_changed_in_place(tmp_path):
    body = READ + "save(**{n: a[n] + 1 for n in a if n[0] in 'wv'})\nprint('ok', flush=True)"
    module = load_module(program.PREFIX + python_program(tmp_path, body))
    weights, velocities = (np.zeros(2), np.zeros((1, 2))), (np.ones(2), np.ones((1, 2)))
    assert module.sgd_step(weights, weights, velocities, (None, None), 0.1, 0.9, 0.0) is None
    assert weights[0].tolist() == [1, 1] and velocities[1].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("print('what is this', flush=True)", "says: what is this"),
        ("print('ok', flush=True)", "answered ok, but wrote no outputs.safetensors"),
        ("sys.exit(7)", "ended the process (exit status 7)"),
        ("os.kill(os.getpid(), 11)", "ended the process (SIGSEGV: Segmentation fault)"),
        ("raise ValueError('of theirs')", "ValueError: of theirs"),
        ("time.sleep(60)", "did not return within 2 s"),
        (
            "open(asked['outputs'], 'w').write('x'); print('ok', flush=True)",
            "is not a complete safetensors file",
        ),
        (READ + "save(); print('ok', flush=True)", "y is None; expected a NumPy array"),
    ],
)
def test_each_fault_is_one_line(tmp_path, body, says):
    verdict = verdicts(program.PREFIX + python_program(tmp_path, body), only=["relu_forward"], seconds=2.0)
    lines = verdict["relu_forward"].lines
    assert any(says in line for line in lines), lines
    assert all("\n" not in line for line in lines)


def test_a_program_without_a_list_is_refused():
    with pytest.raises(
        MnpError, match=r'does not answer {"kernel": "list"}: ended the process \(exit status 1\)'
    ):
        load_module(program.PREFIX + "false")
