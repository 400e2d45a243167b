"""notebooks/maxout_pruning.py, the whole method in one file, computes what the package computes."""

import ast
import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tolerances import TEXTBOOK, assert_close

import mnp.data
from mnp.kernels import textbook
from mnp.nn import Conv2d, Dense, Flatten, MaxoutDense, MaxPool2d, Network, ReLU, loss_and_grads
from mnp.pruning import keep_top, prune_neurons, rank_neurons

PATH = Path(__file__).parents[1] / "notebooks" / "maxout_pruning.py"
SOURCE = PATH.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def one_file():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # importing the file sets it
        spec = importlib.util.spec_from_file_location("maxout_pruning", PATH)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def networks(one_file, k=4):
    """The file's network and the package's, with the same float64 parameters."""
    params = {
        name: draw(*w.shape, seed=seed) / np.sqrt(w[0].size)
        for seed, (name, w) in enumerate(one_file.new_network(np.random.default_rng(0), k).items())
    }
    options = {"dtype": np.float64, "backend": textbook}
    net = Network(
        [
            ("conv1", Conv2d(1, 8, 3, padding=1, **options)),
            ("pool1", MaxPool2d(2, backend=textbook)),
            ("conv2", Conv2d(8, 16, 3, padding=1, **options)),
            ("pool2", MaxPool2d(2, backend=textbook)),
            ("flatten", Flatten(backend=textbook)),
            ("fc3", MaxoutDense(64, 64, k, **options)),
            ("fc3_relu", ReLU(backend=textbook)),
            ("fc4", Dense(64, 10, **options)),
        ]
    )
    net.load_state_dict(params)
    return params, net


def test_it_is_one_file_of_at_most_220_lines_that_needs_numpy_only():
    modules = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            modules |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.partition(".")[0])
    assert modules - sys.stdlib_module_names == {"numpy"}
    assert len(SOURCE.splitlines()) <= 220


def test_functions_have_the_names_and_arguments_of_the_textbook(one_file):
    shared = [name for name in textbook.__all__ if hasattr(one_file, name)]
    assert len(shared) == 12
    for name in shared:
        ours, theirs = inspect.signature(getattr(one_file, name)), inspect.signature(getattr(textbook, name))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_mnp_check_accepts_the_file():
    run = subprocess.run([sys.executable, "-m", "mnp", "check", PATH], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "12 passed" in run.stdout


@pytest.mark.parametrize("k", [4, 1])
def test_its_network_has_the_outputs_and_gradients_of_the_packages(one_file, k):
    params, net = networks(one_file, k)
    images, labels = draw(12, 1, 8, 8), np.arange(12) % 10
    arrays = one_file.forward(params, images)
    assert_close(arrays.logits, net.forward(images), TEXTBOOK["float64"])
    loss, dlogits = one_file.softmax_cross_entropy(arrays.logits, labels)
    assert_close(loss, loss_and_grads(net, images, labels)[0], TEXTBOOK["float64"])
    grads = one_file.backward(params, arrays, dlogits)
    assert grads.keys() == params.keys()
    for name, expected in net.grads().items():
        assert_close(grads[name], expected, 1e-13, name)  # a chain of seven layers


def test_its_network_is_pruned_as_the_package_prunes_it(one_file):
    params, net = networks(one_file)
    images = draw(40, 1, 8, 8)  # so few that many counts are equal
    net.forward(images)
    counts = textbook.win_counts(net["fc3"].cache.winner, 4)
    assert_close(one_file.win_counts(one_file.forward(params, images).winner3, 4), counts, 0)
    for n_keep in (3, 2, 1):
        order = one_file.rank_neurons(counts)
        assert_close(order, rank_neurons(counts), 0)
        keep = one_file.keep_top(order, n_keep)
        assert_close(keep, keep_top(rank_neurons(counts), n_keep), 0)
        ours, theirs = one_file.prune_neurons(params, keep), prune_neurons(net, "fc3", keep)
        assert sum(w.size for w in ours.values()) == theirs.count_params()
        logits = one_file.forward(ours, images).logits
        assert_close(logits, theirs.forward(images), TEXTBOOK["float64"])


def test_equal_counts_are_ranked_and_kept_by_the_lowest_index(one_file):
    counts = np.array([[5, 9, 5], [0, 0, 0], [1, 2, 2]])
    order = one_file.rank_neurons(counts)
    assert order.tolist() == [[1, 0, 2], [0, 1, 2], [1, 2, 0]] == rank_neurons(counts).tolist()
    assert one_file.keep_top(order, 2).tolist() == [[0, 1], [0, 1], [1, 2]]


def test_its_data_are_the_packages(one_file):
    images, labels, test_images, test_labels = one_file.load_digits()
    data = mnp.data.load("digits")  # every pixel repeated 3x3, in a frame of 2
    np.testing.assert_array_equal(images, data.train_images[:, :, 2:-2:3, 2:-2:3])
    np.testing.assert_array_equal(test_images, data.test_images[:, :, 2:-2:3, 2:-2:3])
    np.testing.assert_array_equal(labels, data.train_labels)
    np.testing.assert_array_equal(test_labels, data.test_labels)
    assert images.dtype == np.float32


def test_run_alone_it_ends_in_a_table_at_k_1(tmp_path):
    # From an empty folder and without PYTHONPATH, as in a clone in which nothing is installed but NumPy.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, PATH], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 0, run.stderr
    head, *rows = run.stdout.splitlines()
    assert head.startswith("k  parameters")
    table = [row.replace(",", "").split() for row in rows]
    assert [int(row[0]) for row in table] == [4, 3, 2, 1]
    assert [int(row[1]) for row in table] == [18538, 14378, 10218, 6058]
    before, after = float(table[-1][2]), float(table[-1][3])
    assert 2 < after < 10 and after < before + 3 < 60
