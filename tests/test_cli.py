"""The command line: what it prints, its exit status, and one line for every mistake."""

import gzip
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import time

import pytest

import mnp.__main__ as cli
from mnp.experiments.recipes import EXPERIMENTS

SMALL = [
    *("model.conv1=2", "model.conv2=2", "model.neurons=12", "model.k=3"),
    *("data.train_images=80", "data.test_images=40"),
    *("train.epochs=1", "train.batch_size=20", "prune.epochs=1"),
]
RUN = ["run", "digits", "--backend", "textbook"]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Default folders land in the test's own; subprocesses find the package from there."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(p) for p in sys.path if p))
    for name in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(name, "1")  # put back what `run` sets
    monkeypatch.chdir(tmp_path)


def mnp(capsys, *words):
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys, *words):
    """The one line that a mistake gets."""
    status, _, err = mnp(capsys, *words)
    line = err.strip().splitlines()[-1]
    assert status == 2 and line.startswith("mnp: ") and "Traceback" not in err
    return line


# --- what works ---------------------------------------------------------------------------------------


def test_help_is_instant_nothing_is_imported():
    code = """if True:
        import sys, mnp.__main__ as m
        try: m.main(["--help"])
        finally: print(sorted({"numpy", "numba"} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n") and "figures" in done.stdout and "python -m" not in done.stdout


def test_every_command_has_its_own_help(capsys):
    for command, (module, text) in cli.COMMANDS.items():
        if cli.importlib.util.find_spec(module):
            with pytest.raises(SystemExit) as caught:
                cli.main([command, "--help"])
            assert caught.value.code == 0 and f"mnp {command}" in capsys.readouterr().out, text


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
    assert names == {
        "recipe.json",
        "history.csv",
        "summary.json",
        "checkpoints",
        "error.png",
        "win_counts-fc3.png",
    }
    table = out[out.index("step  done") : out.index("figure: ")].splitlines()
    assert [line.split()[0] for line in table[:4]] == ["step", "0", "1", "2"]
    assert "error before" in table[0] and "neurons: 2 -> 1" in table[3] and table[3].count("%") == 4
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    status, again, err = mnp(capsys, "run", "--resume", "--out", folder, "--no-figures")
    assert status == 0 and again.splitlines()[2:] == table and err == ""
    before.pop(folder / ".lock")
    assert {p: p.read_bytes() for p in before} == before


def test_results_of_several_seeds(capsys, tmp_path):
    words = [
        *RUN,
        "--seeds",
        2,
        "--seed",
        7,
        "--out",
        "o",
        "--results",
        "res",
        "--no-figures",
        "--set",
        *SMALL,
    ]
    status, out, _ = mnp(capsys, *words)
    results = json.loads((tmp_path / "res" / "digits.json").read_text())
    assert status == 0 and "2 seeds: unpruned" in out and "paired 95 % interval" in out
    assert set(results) >= {"recipe", "command", "seeds", "versions", "rows", "aggregate"}
    assert results["seeds"] == [7, 8] and len(results["rows"]) == 6 and len(results["aggregate"]) == 3
    assert results["command"].startswith("mnp run digits --seed 7 --seeds 2 --backend textbook --set ")
    assert str(tmp_path) not in json.dumps(results)
    # the same folder, with one more seed: what is finished is not repeated
    status, out, _ = mnp(capsys, "run", "--resume", "--out", "o", "--no-figures")
    assert status == 0 and "step 0" not in out


def test_results_of_one_seed(capsys, tmp_path):
    status, _, _ = mnp(capsys, *RUN, "--results", tmp_path / "res", "--no-figures", "--set", *SMALL)
    results = json.loads((tmp_path / "res" / "digits.json").read_text())
    assert status == 0 and results["aggregate"][0]["change_low"] is None
    assert "--results" not in results["command"]  # an absolute path is this machine's own affair


def test_figures_are_drawn_again(capsys, tmp_path):
    mnp(capsys, *RUN, "--out", "o", "--no-figures", "--set", *SMALL)
    assert not list((tmp_path / "o").glob("*.png"))
    status, out, _ = mnp(capsys, "figures", "o")
    assert status == 0 and out.split() == ["o/error.png", "o/win_counts-fc3.png"]
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


def test_an_interrupt_tells_how_to_go_on_and_exits_130(tmp_path):
    words = [sys.executable, "-m", "mnp", *RUN, "--out", "an out", "--set", *SMALL, "train.epochs=500"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "an out" / "checkpoints" / "progress.npz").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err
    assert err.strip().splitlines()[-1] == (
        "mnp: interrupted; go on with: mnp run --resume --out 'an out' --backend textbook"
    )


def test_a_reader_that_goes_away_is_no_error():
    words = f"{shlex.quote(sys.executable)} -m mnp list | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


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
        (["run", "digits", "--set", "model.k=3"], "does not divide"),
        (["run", "digits", "--set", "epochs"], "section.field=value"),
        (["run", "digits", "--seed", "-1"], "seed is -1"),
        (["run", "digits", "--seed", "x"], "--seed"),
        (["run", "digits", "--seeds", "0"], "--seeds is 0: give 1 or more"),
        (["run", "digits", "--jobs", "0"], "--jobs is 0"),
        (["run", "digits", "--threads", "0"], "--threads is 0"),
        (["run", "digits", "--backend", "fast"], "invalid choice: 'fast'"),
        (["run", "--resume"], "--resume --out DIR"),
        (["run", "--resume", "--out", "nowhere"], "nowhere: holds no run"),
        (["run", "--resume", "--out", "nowhere", "--seed", "1"], "belong to a RECIPE"),
        (["run", "mnist", "--data", "nowhere"], "nowhere"),
        (["run", "digits", "--backend", "textbook", "--set", "prune.to_k=0"], "prune.to_k"),
        (["figures", "nowhere"], "nowhere: holds no finished run"),
    ],
)
def test_mistakes_are_one_line_with_exit_status_2(capsys, tmp_path, words, says):
    assert says in refused(capsys, *words)
    assert {p.name for p in tmp_path.iterdir()} <= {"runs"}  # an --out that was never begun is not made


def test_a_folder_of_another_recipe(capsys, tmp_path):
    mnp(capsys, *RUN, "--out", "o", "--no-figures", "--set", *SMALL)
    before = {p: p.read_bytes() for p in (tmp_path / "o").rglob("*") if p.is_file()}
    assert "holds the recipe digits" in refused(capsys, *RUN, "--out", "o")
    assert {p: p.read_bytes() for p in before} == before


def test_a_loss_that_is_not_finite(capsys):
    line = refused(capsys, *RUN, "--set", *SMALL, "train.lr=1e30")
    assert "loss became" in line and "layer" in line and "iteration" in line


def test_a_k_1_network_is_not_pruned_once_more(capsys):
    assert "k" in refused(capsys, *RUN, "--set", *SMALL, "model.k=1", "prune.to_k=0")


TRAIN = "train-images-idx3-ubyte.gz"


def idx(shape, data):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + data


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: f.pop("train-labels-idx1-ubyte.gz"), "train-labels-idx1-ubyte"),
        (
            lambda f: f.update({"train-images-idx3-ubyte.gz": f["train-images-idx3-ubyte.gz"][:-9]}),
            "train-images",
        ),
        (lambda f: f.update({"train-images-idx3-ubyte.gz": b"<html>"}), "train-images"),
        (lambda f: f.update({"train-labels-idx1-ubyte.gz": gzip.compress(idx([3], b"\0\1\2"))}), "labels"),
        (lambda f: f.update({"t10k-labels-idx1-ubyte.gz": gzip.compress(idx([2], b"\0\x0b"))}), "label"),
    ],
)
def test_broken_mnist_files(capsys, tmp_path, damage, says):
    files = {}
    for half in ("train", "t10k"):
        files[f"{half}-images-idx3-ubyte.gz"] = gzip.compress(idx([2, 28, 28], bytes(2 * 784)))
        files[f"{half}-labels-idx1-ubyte.gz"] = gzip.compress(idx([2], b"\0\1"))
    damage(files)
    (tmp_path / "data").mkdir()
    for name, data in files.items():
        (tmp_path / "data" / name).write_bytes(data)
    assert says in refused(capsys, "run", "mnist", "--backend", "textbook", "--data", "data", "--out", "o")


def test_a_bug_is_not_hidden(monkeypatch):
    from mnp.commands import list as list_command

    def fail(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(list_command, "main", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["list"])


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/some/place"), MemoryError("too big")]
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, error):
    from mnp.commands import list as list_command

    def fail(_):
        raise error

    monkeypatch.setattr(list_command, "main", fail)
    assert cli.main(["list"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mnp: ") and said.count("\n") == 1
