"""The walk-through notebooks: rules that hold as they stand, and (marker `notebooks`) that they run whole.

The default run reads the committed files; `python -m pytest -m notebooks tests/notebooks` executes every
notebook on the embedded data and fails on whatever a reader would stumble over.
"""

import ast
import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mnp.errors import MnpError
from mnp.experiments.registry import get_experiment
from mnp.kernels import textbook
from mnp.notebooks import defects, drawn, lessons, plates, results, units

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = (
    "01_layers_by_hand",
    "02_maxout_units",
    "03_train_lenet5",
    "04_relevance",
    "05_neuron_pruning",
    "06_weight_pruning",
    "07_vgg_on_faces",
    "08_verify_your_version",
)
CELLS, LINES, FUNCTION_LINES = 30, 12, 2
IMPORT = re.compile(r"(import|from) |\s+\w[\w, ]*\)?$")  # a line of an import, which tells nothing
MACHINE = re.compile(r"/(?:root|home|work|tmp|Users|usr|opt|var)/|\\Users\\|site-packages|ipykernel_\d+")
TROUBLE = re.compile(
    r"Traceback \(most recent call last\)|\b\w*Warning\b:|\bWARNING\b|^\*\*\* \w+Error|^mnp\.errors\.", re.M
)  # the last two: a debugger session that went wrong


def read(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def told(cell):
    """Every text that a reader sees below a cell."""
    for output in cell["outputs"]:
        yield "".join(output.get("text", ""))
        yield "".join(output.get("data", {}).get("text/plain", ""))
        yield "\n".join(output.get("traceback", ()))


def trouble(notebook):
    """What a reader would stumble over in the outputs, as a list of sentences."""
    found = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        for output in cell["outputs"]:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                found.append(f"cell {number}: {output.get('evalue') or output.get('text')}")
        for text in told(cell):
            found += [f"cell {number} says {match.group()}" for match in TROUBLE.finditer(text)]
            found += [f"cell {number} names a path: {match.group()}" for match in MACHINE.finditer(text)]
    return found


def test_all_eight_are_here_and_no_other():
    assert tuple(sorted(path.stem for path in FOLDER.glob("*.ipynb"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_few_and_short(name):
    notebook = read(name)
    assert len(notebook["cells"]) <= CELLS
    for cell in code(notebook):
        text = source(cell)
        told_lines = [line for line in text.splitlines() if line.strip() and not IMPORT.match(line)]
        assert len(told_lines) <= LINES, text
        assert max(map(len, text.splitlines())) <= 125, text  # what a page of JupyterLab shows
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
                assert node.end_lineno - node.lineno + 1 <= FUNCTION_LINES, text
    assert source(notebook["cells"][0]).startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_shapes_and_shows_textbook_and_gradient_check(name):
    cells = code(read(name))
    first = "".join("".join(told(cell)) for cell in cells[:1])
    assert re.search(r"image +\d+ x \d+ x \d+ .*numbers\n.*conv", first)
    everything = "\n".join(map(source, cells))
    assert "lessons.body(" in everything
    assert "gradient_table(" in everything or "numerical_gradient(" in everything


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_there_and_clean(name):
    notebook = read(name)
    counts = [cell["execution_count"] for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))  # run once, from top to bottom
    assert sum(bool(cell["outputs"]) for cell in code(notebook)) >= 0.7 * len(counts)
    assert not trouble(notebook)
    for cell in notebook["cells"]:
        assert not MACHINE.search(source(cell)), source(cell)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_opaque_and_says_what_to_see(name):
    cells, figures = read(name)["cells"], 0
    matplotlib = pytest.importorskip("matplotlib.image")
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        for output in cell.get("outputs", ()):
            png = output.get("data", {}).get("image/png")
            if png is None:
                continue
            figures += 1
            assert after is not None and "**What to see.**" in source(after), source(cell)
            picture = matplotlib.imread(io.BytesIO(base64.b64decode("".join(png))), format="png")
            assert picture.ndim == 3 and (picture[..., 3:] == 1).all()
            assert (picture[0, 0, :3] == 1).all()  # white, whatever the page's theme
    assert figures >= 2


# --- what the notebooks call ----------------------------------------------------------------------------


def test_results_are_read_or_said_to_be_missing(tmp_path):
    assert results.read_results("mnist", tmp_path) is None
    assert "mnist.json is not here yet" in results.say_results("mnist", tmp_path)
    assert results.rows_of("mnist", "digits", folder=tmp_path) == {}
    assert results.aggregate_of("mnist", tmp_path) == []
    for text in ("{", "[1, 2]"):
        (tmp_path / "mnist.json").write_text(text)
        with pytest.raises(MnpError, match=r"mnist\.json"):
            results.read_results("mnist", tmp_path)


def test_results_of_faces_show_accuracy_with_its_standard_error(tmp_path):
    row = {"step": 0, "kind": "train", "k": 4, "arm": "", "nonzero": 1234, "reduction_without_maxout": 0.5}
    row |= {"accuracy": 81.25, "accuracy_se": 0.77, "eer": 19.5, "error": 18.75, "error_before": 50.0}
    told = {"recipe": {"about": "drawn"}, "seeds": [0], "rows": [row], "command": "mnp run lfw"}
    (tmp_path / "lfw.json").write_text(json.dumps(told))
    text = results.say_results("lfw", tmp_path)
    assert "81.25 %" in text and "0.77" in text and "19.50 %" in text and "standard error" in text
    assert "no interval" not in text and max(map(len, text.splitlines())) <= 110


@pytest.fixture(scope="module")
def finished():
    from tiny_runs import NEURONS

    return lessons.run_here(NEURONS, backend="textbook")


def test_a_run_in_passing_leaves_nothing_and_says_nothing(finished, capfd):
    assert [row["k"] for row in finished.rows] == [3, 2, 1]
    assert [set(step["counts"]) for step in finished.found] == [set(), {"fc3"}, {"fc3"}]
    assert [net["fc3"].params["bias"].shape for net in finished.nets] == [(4, 3), (4, 2), (4,)]
    assert capfd.readouterr().err == ""


def test_walks_are_the_networks_own_values(finished):
    images = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    t = np.array([0.0, 0.5, 1.0])
    walk = lessons.walks(finished.nets[0], "fc3", images, t)
    assert walk.won.shape == (3, 3, 4, 3) and np.allclose(walk.won.sum(axis=3), 1)
    top = np.maximum(walk.z(0, 2, 1).max(axis=1), 0)  # behind the layer's ReLU
    assert np.allclose(top[[0, 2]], finished.nets[0]["fc3"].cache.y[[0, 2], 1], atol=1e-5)


def test_a_wrong_gradient_is_found(finished):
    net = type(finished.nets[0])([("fc", _dense())])
    x, labels = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([0, 1])
    good = lessons.gradient_table(net, x, labels)
    assert "agrees" in lessons.say_gradients(good)
    assert "DOES NOT AGREE" in lessons.say_gradients([*good, ("other", 1, 0.5)])


def _dense():
    from mnp.nn import Dense

    return Dense(2, 2, rng=np.random.default_rng(0), dtype=np.float64, backend=textbook)


def test_the_debugger_steps_into_an_uncompiled_kernel():
    setup = "import numpy as np; from mnp.kernels import jitted; x = np.arange(16.0).reshape(1, 1, 4, 4)"
    text = lessons.step_through(setup, "jitted.maxpool2d_forward, x, 2, 2", ["n", "p x.shape"])
    assert text.startswith("> mnp/kernels/jitted/") and "(1, 1, 4, 4)" in text
    with pytest.raises(MnpError, match="debugger"):
        lessons.step_through("raise SystemExit", "print", ["n", "n", "n"])


def test_defects_do_what_they_are_known_for(finished):
    keep = np.array([[1, 2]] * 4)
    assert (finished.nets[0]["fc3"].params["weight"] != 0).any(axis=2).all()
    wrong = defects.with_wrong_rows(finished.nets[0], "fc3", finished.nets[1], keep)
    empty = (wrong["fc3"].params["weight"] == 0).all(axis=2)
    assert empty.sum() == 3  # 8 rows, of which 4 + 2 - 1 are written
    assert defects.keep_by_old_table(np.array([[9, 1, 2]]), columns=4).tolist() == [[0, 1]]


def test_drawn_heads_keep_their_people_apart():
    data = drawn.drawn_faces(people=3, each=2, test_people=4, test_each=2, size=16)
    assert data.train_images.shape == (6, 3, 16, 16) and data.classes == 3
    assert not data.people["train"] & data.people["test"]
    for pairs in (data.chosen_by, data.tested):
        assert 0 < pairs.same.sum() < len(pairs.same) and (pairs.first != pairs.second).all()
    assert not set(data.chosen_by.first) & set(data.tested.first)


def test_plates_are_white_and_labelled(finished):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, (4, 3)) + np.array([1, 0, 0])
    history = [
        {"epoch": e, **{f"{p}_{w}": 1 / e for p in ("training", "test") for w in ("loss", "error")}}
        for e in (1, 2)
    ]
    drawn_ones = [
        plates.bars({"a": 1.0, "b": 10.0}, "ms"),
        plates.lines({"a": ([1, 2], [3, 4])}, "x", "y", log="xy"),
        plates.training(history),
        plates.benchmark(json.loads((FOLDER / "results" / "bench.json").read_text(encoding="utf-8"))),
        plates.confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2),
        plates.runs({"tiny": finished.rows}),
        plates.grouped({"a": [1, 2], "b": [2, 3]}, ["p", "q"], "x", "y", log=True),
        plates.roc_curves({"a": (np.array([0, 1.0]), np.array([0, 1.0]))}),
        plates.histogram({"a": rng.random(9), "b": rng.random(9)}, "x", "y", at=0.5),
        units.units_on_a_line(np.linspace(-1, 1, 5), {"v": np.stack([np.linspace(-1, 1, 5)] * 2, 1)}),
        units.shares(counts),
        units.rounds(finished.found, "fc3"),
        units.masks({"m": rng.random((3, 4)) > 0.5}),
    ]
    for figure in drawn_ones:
        assert figure._repr_png_().startswith(b"\x89PNG")
        assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
        for ax in figure.axes:  # a panel may share its neighbour's label, a bar may carry its name
            named_bars = any(label.get_text().isalpha() for label in ax.get_yticklabels())
            assert ax.get_xlabel() or figure.get_supxlabel() or ax.get_label() == "<colorbar>"
            first = figure.axes[0]
            beside = ax is not first and ax.get_shared_y_axes().joined(ax, first) and first.get_ylabel()
            assert ax.get_ylabel() or named_bars or beside


def test_the_recipes_that_pages_name_exist():
    for name in NAMES:
        for text in map(source, code(read(name))):
            for recipe in re.findall(r'named\("([^"]+)"\)', text):
                get_experiment(recipe)


# --- running them whole -----------------------------------------------------------------------------------


@pytest.mark.notebooks
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_runs_whole_without_a_word_of_trouble(name, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    root = str(FOLDER.parent)
    if (FOLDER.parent / "mnp").is_dir():
        monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.setenv("MNP_DATA", "")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    assert not trouble(notebook)
