"""The walk-through notebooks: rules that hold as they stand, and (marker `notebooks`) that they run whole.

The default run reads the committed files; `python -m pytest -m notebooks tests/notebooks` executes every
notebook on the embedded data, each exercise once as it stands and once with the page's answer, and fails on
whatever a reader would stumble over.
"""

import ast
import base64
import io
import json
import pdb
import re
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from mnp.experiments.registry import get_experiment
from mnp.kernels import jitted, textbook
from mnp.nn import Dense, Network
from mnp.notebooks import helpers, synthetic_faces
from mnp.notebooks.__main__ import prepare
from mnp.notebooks.sliders import WIDGET, SliderFigure
from mnp.plotting.style import new_figure

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
SLOW = 60  # seconds, also on a busy machine: a cell that takes longer must say how long it takes
ANSWER = re.compile(r"<details><summary>Answer</summary>.*?```python\n(.*?)\n```.*?</details>", re.S)
PAPERS = "arxiv.org/abs/1707.06838", "arxiv.org/abs/1302.4389"  # the paper, and maxout's own
IMPORT = re.compile(r"(import|from) |\s+\w[\w, ]*\)?$")  # a line of an import, which tells nothing
MACHINE = re.compile(r"/(?:root|home|work|tmp|Users|usr|opt|var)/|\\Users\\|site-packages|ipykernel_\d+")
TROUBLE = re.compile(
    r"Traceback \(most recent call last\)|\b\w*Warning\b:|\bWARNING\b|^\*\*\* \w+Error|^mnp\.errors\.|\x1b",
    re.M,
)  # the last three: a debugger session that went wrong, or in colours


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
        if "@mnp.register_" in text:  # the reader's own ranking or layer: to define it is the point
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
                assert node.end_lineno - node.lineno + 1 <= FUNCTION_LINES, text
    assert source(notebook["cells"][0]).startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_shapes_and_shows_source(name):
    cells = code(read(name))
    first = "".join("".join(told(cell)) for cell in cells[:1])
    assert re.search(r"^conv\w+ .*\d+ x \d+ x \d+", first, re.M)
    assert any("source_without_docstring(" in source(cell) for cell in cells)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"04_relevance", "05_neuron_pruning"}))
def test_new_gradients_are_checked(name):
    everything = "\n".join(source(cell) for cell in code(read(name)))
    assert "gradient_errors(" in everything or "numerical_gradient(" in everything


@pytest.mark.parametrize("name", NAMES)
def test_has_a_head_and_an_end(name):
    pages = [source(cell) for cell in read(name)["cells"] if cell["cell_type"] == "markdown"]
    for word in ("Prerequisites", "Time", "In the paper", PAPERS[0], "(glossary.md)"):
        assert word in pages[0]
    *_, summary = pages[-1].partition("## Summary\n")
    assert summary.count("\n- ") == 3 and "**Next" in summary


def test_links_lead_somewhere():
    cells = [cell for name in NAMES for cell in read(name)["cells"] if cell["cell_type"] == "markdown"]
    pages = [page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md")]
    text = "\n".join([*map(source, cells), *pages])
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (FOLDER / link).exists(), link
    assert PAPERS[1] in text


@pytest.mark.parametrize("name", NAMES)
def test_is_a_page_to_work_on(name):
    notebook = read(name)
    text = "\n".join(source(cell) for cell in notebook["cells"])
    assert text.count("**Predict, then run.**") >= 2
    exercises = [cell for cell in code(notebook) if "exercise" in cell["metadata"].get("tags", ())]
    answers = ANSWER.findall(text)
    assert len(exercises) == len(answers) >= 1
    for cell, answer in zip(exercises, answers, strict=True):
        assert '"right"' in answer or "check_answer(" in answer
        assert answer != source(cell)  # not solved yet
        assert any("not yet" in text for text in told(cell))


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


def test_pages_4_and_5_begin_with_the_same_network():
    printed = {name: "\n".join("\n".join(told(cell)) for cell in code(read(name))) for name in NAMES[3:5]}
    (trained,) = re.findall(r"trained: test error ([\d.]+) %", printed["04_relevance"])
    (first,) = re.findall(r"k = 4: 69,866 parameters, test error ([\d.]+) %", printed["05_neuron_pruning"])
    assert trained == first


# --- what the notebooks call ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "yours, verdict", [(None, "not yet"), (..., "not yet"), ([[1, 2]], "not yet"), ([1, 2.0000001], "right")]
)
def test_an_answer_is_shown_beside_the_expected_one_once_it_is_there(yours, verdict, capsys):
    helpers.check_answer(yours, np.array([1.0, 2.0]))
    text = capsys.readouterr().out
    assert verdict in text and ("expected: [1. 2.]" in text) == isinstance(yours, list)


def test_masks_are_shown_as_numbers_and_of_a_large_answer_its_beginning(capsys):
    helpers.check_answer([1, 0], np.array([True, False]))
    assert capsys.readouterr().out == "yours:    [1 0]\nexpected: [1 0]\nright\n"
    helpers.check_answer(np.zeros(40), np.ones(40))
    assert "(40,), beginning with [1. 1. 1. 1. 1. 1.]" in capsys.readouterr().out


def test_a_figure_with_sliders_is_redrawn_and_is_a_figure_without_ipywidgets(monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    drawn = []

    def draw(k, slope):
        drawn.append((k, slope))
        figure, ax = new_figure(size=(1, 1))
        ax.plot([0, k], [0, slope])
        return figure

    made = []
    for name in ("IntSlider", "FloatSlider"):
        kind = getattr(ipywidgets, name)
        monkeypatch.setattr(
            ipywidgets, name, lambda kind=kind, **options: made.append(kind(**options)) or made[-1]
        )
    figure = SliderFigure(draw, k=(2, 1, 4, 1), slope=(0.5, -1.0, 1.0, 0.1))
    bundle = figure._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG") and WIDGET in bundle
    made[0].value = 3
    assert drawn == [(2, 0.5), (3, 0.5)]
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(figure._repr_mimebundle_()) == {"text/plain", "image/png"}


def test_a_page_is_prepared_for_readers_without_a_kernel_and_for_slides():
    nbformat = pytest.importorskip("nbformat")
    data = {"image/png": "AA==", WIDGET: {"model_id": "1"}}
    figure = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)])
    new = nbformat.v4.new_markdown_cell
    page = nbformat.v4.new_notebook(cells=[new("# 1"), new("text"), figure, new("**What to see.**")])
    prepare(page)
    assert set(figure.outputs[0].data) == {"image/png"}
    kinds = [cell.metadata.slideshow.slide_type for cell in page.cells]
    assert kinds == ["slide", "skip", "slide", "notes"]


def test_a_wrong_gradient_is_found():
    net = Network([("fc", Dense(2, 2, rng=np.random.default_rng(0), dtype=np.float64, backend=textbook))])
    errors = helpers.gradient_errors(net, np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([0, 1]))
    assert set(errors) == {"fc.weight", "fc.bias"}
    assert "the gradients agree" in helpers.format_gradient_errors(errors)
    assert "THE GRADIENTS DIFFER" in helpers.format_gradient_errors(errors | {"other": 0.5})
    net["fc"].backward = lambda *arguments, **options: None  # the gradients of the first pass stay
    wrong = helpers.gradient_errors(net, np.array([[3.0, 2.0], [0.5, 1.0]]), np.array([1, 1]))
    assert max(wrong.values()) > 0.01


def test_the_debugger_steps_through_a_kernel():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    text = helpers.debug_session(["n", "p x.shape"], jitted.maxpool2d_forward, x, 2, 2)
    assert text.startswith("> mnp/kernels/jitted/") and text.endswith("(Pdb) p x.shape\n(1, 1, 4, 4)")
    text = helpers.debug_session(["r"], textbook.relu_forward, x)  # more commands than the function has lines
    assert "Return" in text


def test_the_debugger_prints_the_same_in_a_kernel_that_replaces_pdb(monkeypatch):
    class Coloured(pdb.Pdb):
        def print_stack_entry(self, *arguments):
            self.message("\x1b[32mcolours\x1b[0m")

    x = np.arange(4.0).reshape(2, 2)
    expected = helpers.debug_session(["n", "p x.shape"], textbook.relu_forward, x)
    monkeypatch.setattr(pdb, "Pdb", Coloured)
    assert helpers.debug_session(["n", "p x.shape"], textbook.relu_forward, x) == expected
    assert "(Pdb) p x.shape\n(2, 2)" in expected and "\x1b" not in expected


def test_synthetic_faces_keep_their_people_apart():
    data = synthetic_faces.make_faces(train=(3, 2), threshold=(2, 2), test=(3, 2))
    assert data.train_images.shape == (6, 3, 32, 32) and data.classes == 3
    assert not data.people["train"] & data.people["test"] and len(data.images) == 10
    person = np.arange(10) // 2
    for pairs in (data.threshold_pairs, data.test_pairs):
        assert 0 < pairs.same.sum() < len(pairs.same) and (pairs.first != pairs.second).all()
        assert np.array_equal(person[pairs.first] == person[pairs.second], pairs.same)
    assert set(data.threshold_pairs.first) <= set(range(4)) and set(data.test_pairs.first) <= set(
        range(4, 10)
    )


def test_the_recipes_that_pages_name_exist():
    pages = "\n".join(source(cell) for name in NAMES for cell in code(read(name)))
    recipes = re.findall(r'get_experiment\("([^"]+)"\)', pages)
    assert recipes
    for recipe in recipes:
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
    answers = iter(ANSWER.findall("\n".join(cell.source for cell in notebook.cells)))
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cells.append(cell)
        if "exercise" in cell.metadata.get("tags", ()):
            cells.append(nbformat.v4.new_code_cell(next(answers), metadata={"tags": ["answer"]}))
    notebook.cells = cells
    resources = {"metadata": {"path": str(FOLDER)}}
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources)
    client.execute()
    assert not trouble(notebook)
    for cell in code(notebook):
        if "answer" in cell.metadata.get("tags", ()):
            assert any(re.search(r"^right$", text, re.M) for text in told(cell)), cell.source
        names = ("iopub.execute_input", "shell.execute_reply")
        start, end = (datetime.fromisoformat(cell.metadata.execution[name]) for name in names)
        slow = (end - start).total_seconds() > SLOW
        assert not slow or re.search(r"^# About \d+ seconds", cell.source, re.M), cell.source
