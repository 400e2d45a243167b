"""The command line: what it prints, its exit status, and one line for every mistake."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from fresh_python import python_path, run_python
from one_line import refused
from small_mnist import write_set

from mnp import cli
from mnp.experiments.registry import EXPERIMENTS

SMALL = [
    *("model.conv1=2", "model.conv2=2", "model.neurons=12", "model.k=3"),
    *("data.train_images=80", "data.test_images=40"),
    *("train.epochs=1", "train.batch_size=20", "prune.epochs=1"),
]
RUN = ["run", "digits", "--backend", "textbook"]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Default folders land in the test's own; subprocesses find the package from there."""
    monkeypatch.setenv("PYTHONPATH", python_path())
    for name in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(name, "1")  # put back what `run` sets
    monkeypatch.chdir(tmp_path)


def mnp(capsys, *words):
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


# --- what works ---------------------------------------------------------------------------------------


def test_help_is_instant_nothing_is_imported():
    code = """
        import sys, mnp.cli as m
        try: m.main(["--help"])
        finally: print(sorted({"numpy", "numba"} & set(sys.modules)))"""
    done = run_python(code)
    assert done.stdout.endswith("[]\n") and "figures" in done.stdout and "python -m" not in done.stdout


def test_every_command_has_its_own_help(capsys):
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as caught:
            cli.main([command, "--help"])
        assert caught.value.code == 0 and f"mnp {command}" in capsys.readouterr().out


def test_list_names_every_recipe(capsys):
    status, out, _ = mnp(capsys, "list")
    assert status == 0
    for e in EXPERIMENTS.values():
        assert e.name in out and e.about in out


def test_run_writes_everything_and_a_second_time_nothing(capsys, tmp_path):
    status, out, err = mnp(capsys, *RUN, "--set", *SMALL)
    (folder,) = (tmp_path / "runs").iterdir()
    assert status == 0 and folder.name.startswith("digits-") and f"into runs/{folder.name}" in out
    assert err.count("epoch 1/1, loss ") == 3 and "\r" not in err  # a log file gets whole lines
    names = {p.name for p in folder.iterdir()} - {".lock"}
    figures = {"error.png", "win_counts-fc3.png", "report.html"}
    assert names == {"recipe.json", "history.csv", "summary.json", "checkpoints"} | figures
    table = out[out.index("round  operation") : out.index("data: ")].splitlines()
    assert [line.split()[0] for line in table[:4]] == ["round", "0", "1", "2"]
    assert "error before" in table[0] and "neurons: 2 -> 1" in table[3] and table[3].count("%") == 4
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    status, again, err = mnp(capsys, "run", "--resume", "--out", folder, "--no-figures")
    assert status == 0 and again.splitlines()[2:-1] == table and err == ""
    before.pop(folder / ".lock")
    assert {p: p.read_bytes() for p in before} == before


def variant(folder):
    """The result file of a digits recipe that `--set` has changed; it must not be named digits.json."""
    (path,) = folder.glob("*.json")
    assert re.fullmatch(r"digits-[0-9a-f]{8}\.json", path.name)
    return path


def test_results_of_several_seeds(capsys, tmp_path):
    words = [*RUN, "--seeds", 2, "--seed", 7, "--out", "o", "--results", "res", "--no-figures"]
    status, out, _ = mnp(capsys, *words, "--set", *SMALL)
    results = json.loads(variant(tmp_path / "res").read_text())
    assert status == 0 and "2 seeds: unpruned" in out and "paired 95 % interval" in out
    assert set(results) >= {"recipe", "command", "seeds", "versions", "rows", "aggregate"}
    assert results["seeds"] == [7, 8] and len(results["rows"]) == 6 and len(results["aggregate"]) == 3
    assert results["command"].startswith("mnp run digits --seed 7 --seeds 2 --backend textbook --set ")
    assert str(tmp_path) not in json.dumps(results)
    # the same folder, with one more seed: what is finished is not repeated
    status, out, _ = mnp(capsys, "run", "--resume", "--out", "o", "--no-figures")
    assert status == 0 and "round 0" not in out


def test_results_of_one_seed(capsys, tmp_path):
    status, _, _ = mnp(capsys, *RUN, "--results", tmp_path / "res", "--no-figures", "--set", *SMALL)
    results = json.loads(variant(tmp_path / "res").read_text())
    assert status == 0 and results["aggregate"][0]["change_low"] is None
    assert "--results" not in results["command"]  # an absolute path is this machine's own affair
    # a file of more seeds stays
    path = variant(tmp_path / "res")
    path.write_text(json.dumps(results | {"seeds": [0, 1, 2]}))
    status, _, err = mnp(capsys, *RUN, "--results", tmp_path / "res", "--no-figures", "--set", *SMALL)
    assert status == 2 and "has seeds [0, 1, 2], this run [0]" in err
    assert json.loads(path.read_text())["seeds"] == [0, 1, 2]


def test_figures_are_drawn_again(capsys, tmp_path):
    mnp(capsys, *RUN, "--out", "o", "--no-figures", "--set", *SMALL)
    assert not list((tmp_path / "o").glob("*.png"))
    status, out, _ = mnp(capsys, "figures", "o")
    assert status == 0 and out.split() == ["o/error.png", "o/win_counts-fc3.png", "o/report.html"]
    assert (tmp_path / "o" / "error.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_kernels_give_one_result_for_any_number_of_threads(tmp_path):
    """In processes: the number of threads is chosen before Numba is imported."""
    found = []
    for threads in ("1", "2"):
        words = [sys.executable, "-m", "mnp", "run", "digits", "--threads", threads, "--out", threads]
        done = subprocess.run([*words, "--no-figures", "--set", *SMALL], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        summary = json.loads((tmp_path / threads / "summary.json").read_text())
        assert summary["threads"] == {"numba": int(threads), "blas": 1}
        lines = (tmp_path / threads / "history.csv").read_text().splitlines()
        found.append([[v for i, v in enumerate(line.split(",")) if i != 11] for line in lines])
    assert found[0] == found[1] and found[0][0][10:12] == ["error", "reduction_without_maxout"]


@pytest.mark.posix
def test_an_interrupt_says_how_to_resume_and_exits_130(tmp_path):
    words = [sys.executable, "-m", "mnp", *RUN, "--out", "an out", "--set", *SMALL, "train.epochs=500"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "an out" / "checkpoints" / "progress.npz").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err
    same = shlex.join([*RUN, "--out", "an out", "--set", *SMALL, "train.epochs=500"])
    assert err.strip().splitlines()[-1] == f"mnp: interrupted; the same command resumes it: mnp {same}"


@pytest.mark.posix
@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize(
    ("words", "reader", "status"),
    [
        ([*RUN, "--out", "o", "--set", *SMALL], "| head -1", 141),
        ([*RUN, "--out", "o", "--set", *SMALL], "2>&1 | head -1", 141),
        ([*RUN, "--out", "o", "--set", *SMALL], "> /dev/full", 2),
        (["run", "nothing"], "> /dev/full 2>&1", 2),
    ],
)
def test_what_nobody_reads_any_more_is_no_success(words, reader, status, buffering):
    if "/dev/full" in reader and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    command = shlex.join([sys.executable, "-m", "mnp", *words])
    words = ["bash", "-c", f"{command} {reader}; exit ${{PIPESTATUS[0]}}"]
    environment = {**os.environ, "PYTHONUNBUFFERED": buffering}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == status
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("words", "only"),
    [
        (["--only", "relu_forward", "mine.py"], ["relu_forward"]),
        (["--only", "relu_forward,win_counts", "mine.py", "--seed", "1"], ["relu_forward", "win_counts"]),
        (["--seed", "1", "--only", "win_counts", "mine.py", "--network"], ["win_counts"]),
    ],
)
def test_check_takes_options_before_its_operand(monkeypatch, words, only):
    from mnp.verify import conformance

    calls = []
    monkeypatch.setattr(conformance, "check", lambda module, only, *_: calls.append((module, only)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["check", *words])
    assert calls == [("mine.py", only)]


def test_every_command_takes_options_before_its_operand(capsys, tmp_path):
    run = ["run", "--no-figures", "--backend", "textbook", "--out", "o", "--set", *SMALL, "digits"]
    assert mnp(capsys, *run)[0] == 0
    checkpoint = "o/checkpoints/00-train-k3.npz"
    status, out, _ = mnp(capsys, "export", "--to", "safetensors", "--out", "x.safetensors", checkpoint)
    assert status == 0 and "wrote x.safetensors" in out
    assert mnp(capsys, "stub", "--out", "s.py", "relu_forward", "win_counts")[0] == 0
    assert "def win_counts" in (tmp_path / "s.py").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--help"], "COMMAND"),
        (["list"], "digits"),
        (["check", "--only", "win_counts", "mnp.kernels.textbook"], "1 passed"),
        (["stub", "relu_forward"], "y = max(x, 0)"),
        ([*RUN, "--no-figures", "--set", *SMALL], "error after"),
    ],
    ids=["help", "list", "check", "stub", "run"],
)
def test_commands_work_without_docstrings_and_assertions(words, says):
    done = subprocess.run([sys.executable, "-OO", "-m", "mnp", *words], capture_output=True, text=True)
    assert done.returncode == 0 and says in done.stdout, done.stderr


def test_weight_pruning_without_maxout(capsys):
    """The plain baseline, and two recipes with a dense layer where prune.layers expects maxout."""
    for changes in (
        ["model.k=1", "model.neurons=4", "prune.to_k=none"],
        ["model.k=1", "model.neurons=4", "prune.to_k=1"],
        ["prune.to_k=none", "prune.layers=fc4"],
    ):
        words = ["weights.reductions=0.5", "weights.epochs=0", *changes]
        status, out, _ = mnp(capsys, *RUN, "--no-figures", "--set", *SMALL, *words)
        assert status == 0 and "-50." in out


def test_results_on_an_excerpt_are_named_and_marked(capsys, tmp_path):
    """60 images under MNIST's names are not MNIST, whatever the recipe says."""
    write_set(tmp_path / "data", train=40, test=20)
    small = ["train.epochs=0", "prune.epochs=0", "train.batch_size=20", "model.neurons=8"]
    words = ["run", "mnist-caffe", "--data", "data", "--backend", "textbook", "--results", "res"]
    status, out, _ = mnp(capsys, *words, "--no-figures", "--set", *small)
    assert status == 0
    assert "data: data, 40 training and 20 test images of (1, 28, 28), 10 classes; checksum " in out
    (path,) = (tmp_path / "res").iterdir()
    assert re.fullmatch(r"mnist-caffe-[0-9a-f]{8}-on-[0-9a-f]{8}\.json", path.name)
    facts = json.loads(path.read_text())["data"]
    assert facts["train_images"] == 40 and len(facts["checksum"]) == 16


# --- what does not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "required: COMMAND"),
        (["rnu"], "invalid choice: 'rnu'"),
        (["list", "--loud"], "unrecognized arguments: --loud"),
        (["run"], "name a RECIPE"),
        (["run", "mnist-cafe"], "did you mean mnist-caffe"),
        (["run", "digits", "--set", "train.epoch=1"], "did you mean epochs"),
        (["run", "digits", "--seed", "-1"], "--seed: -1: give 0 or more"),
        (["run", "digits", "--seed", "x"], "--seed: invalid whole number value: 'x'"),
        (["run", "digits", "--backend", "fast"], "invalid choice: 'fast'"),
        (["run", "--resume"], "--resume --out DIR"),
        (["run", "--resume", "--out", "nowhere"], "nowhere: holds no run"),
        (["run", "--resume", "--out", "nowhere", "--seed", "1"], "need a RECIPE"),
        (["run", "mnist", "--data", "nowhere"], "nowhere"),
        (["figures", "nowhere"], "nowhere: holds no finished run"),
    ],
)
def test_mistakes_are_one_line_with_exit_status_2(capsys, tmp_path, words, says):
    refused(capsys, words, says)
    assert {p.name for p in tmp_path.iterdir()} <= {"runs"}  # an --out that was never begun is not made


def fail_with(monkeypatch, error):
    """Let `mnp list` raise an error."""

    def fail(_):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "list", (fail, *cli.COMMANDS["list"][1:]))


def test_a_bug_is_not_hidden(monkeypatch):
    fail_with(monkeypatch, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["list"])


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/some/place"), MemoryError("too big")]
)
def test_what_the_system_rejects_is_one_line(monkeypatch, capsys, error):
    fail_with(monkeypatch, error)
    assert cli.main(["list"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("mnp: ") and message.count("\n") == 1
