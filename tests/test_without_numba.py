"""With NumPy alone: Numba does not import, and all but the compiled backends works."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WARNING = "Numba does not import (hidden by a test): using the textbook backend, at a tenth of the speed\n"


@pytest.fixture
def python(tmp_path):
    """Run Python in an empty folder, where importing Numba fails; returns (status, output, errors)."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("numba", "llvmlite"):
        (hidden / f"{name}.py").write_text("raise ImportError('hidden by a test')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(hidden), str(ROOT)])}

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_run_warns_in_one_line_and_gives_its_results(python, tmp_path):
    small = ["data.train_images=64", "data.test_images=32", "train.epochs=1", "prune.epochs=1"]
    status, out, err = python("-m", "mnp", "run", "digits", "--no-figures", "--out", "here", "--set", *small)
    assert status == 0, err
    assert err.count("Numba") == 1 and WARNING in err
    assert "neurons: 2 -> 1" in out
    assert "numba" not in json.loads((tmp_path / "here/summary.json").read_text())["versions"]


def test_training_pruning_and_sparse_weights(python):
    program = """if True:
        import numpy as np, mnp
        from mnp.kernels import textbook
        data = mnp.load("digits")
        net = mnp.lenet5(2, 4, units=8, k=2, rng=0)
        assert net.backend is textbook
        mnp.fit(net, (data.train_images[:64], data.train_labels[:64]), epochs=1)
        masked = mnp.apply_masks(net, {"fc3.weight": mnp.magnitude_mask(net.params()["fc3.weight"], 0.9)})
        small = mnp.sparse_network(masked)
        x = data.test_images[:8]
        np.testing.assert_allclose(small.forward(x), masked.forward(x), rtol=1e-5, atol=1e-5)
        net = mnp.prune_round(net, "fc3", data.train_images[:64])
        mnp.save_network("net.npz", net)
        assert np.array_equal(mnp.load_network("net.npz").forward(x), net.forward(x))
        print(small)
    """
    status, out, err = python("-c", program)
    assert status == 0 and "SparseDense" in out, err
    assert WARNING in err and err.count("Numba") == 1


def test_a_check_of_kernels(python):
    status, out, err = python("-m", "mnp", "check", "mnp.kernels.textbook", "--only", "win_counts")
    assert status == 0 and "1 passed" in out, err


def test_the_notebooks_import_nothing_that_needs_numba(python):
    program = f"""if True:
        import ast, json
        from pathlib import Path
        pages = sorted(Path({str(ROOT / "notebooks")!r}).glob("0*.ipynb"))
        assert len(pages) == 8
        for page in pages:
            for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
                lines = ast.parse("".join(cell["source"])).body if cell["cell_type"] == "code" else []
                lines = [line for line in lines if isinstance(line, ast.Import | ast.ImportFrom)]
                exec(compile(ast.Module(lines, []), page.name, "exec"))
    """
    pytest.importorskip("IPython")
    status, _, err = python("-c", program)
    assert status == 0, err


@pytest.mark.parametrize("command", [("run", "digits", "--backend", "tiled"), ("bench",)])
def test_what_needs_numba_says_so(python, command):
    status, _, err = python("-m", "mnp", *command)
    assert status == 2
    assert err.startswith("mnp: the backend 'tiled' needs Numba, which does not import (hidden by a test)")
