"""The README's program runs, its commands exist, and its tables are what the result files say."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mnp.experiments.registry import experiment_from
from mnp.plotting.comparisons import REMOVED

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "notebooks" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/README.md", "notebooks/results/README.md")
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
LINKS = [(name, link) for name, text in PAGES.items() for link in re.findall(r"\]\((?!http)([^)#]+)\)", text)]


def block(marker, language):
    return re.search(rf"<!-- {marker} -->\n```{language}\n(.*?)```", README, re.S)[1]


def mnp(*words):
    run = subprocess.run([sys.executable, "-m", "mnp", *words], capture_output=True, text=True, check=True)
    return run.stdout


@pytest.mark.timeout(900)  # all kernels of a LeNet are compiled, if no test before did it
def test_the_program_prints_what_the_readme_shows(tmp_path):
    program = block("program", "python")
    assert len(program.splitlines()) <= 20
    env = os.environ | {"NUMBA_NUM_THREADS": "1"}  # what a busy machine can promise
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    lines, shown = run.stdout.splitlines(), block("output of the program", "text").splitlines()
    number = re.compile(r"[\d.]+(?= %)")  # the error: it depends on the CPU's rounding; the rest does not
    assert [number.sub("", line) for line in lines] == [number.sub("", line) for line in shown]
    for line, expected in zip(lines, shown, strict=True):
        assert float(number.search(line)[0]) == pytest.approx(float(number.search(expected)[0]), abs=1.5)


def test_it_fits_on_160_lines():
    assert len(README.splitlines()) <= 160


def test_the_tables_of_both_readmes_are_up_to_date():
    done = subprocess.run([sys.executable, RESULTS / "tables.py", "--check"], check=False)
    assert done.returncode == 0, "run: python notebooks/results/tables.py"


def test_every_result_file_is_shown_with_its_command():
    text = PAGES["notebooks/results/README.md"]
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")}
    for name in results.keys() - {"published", "bench-amd", "bench-intel", "bench-avx2"}:
        assert text.count(results[name]["command"]) >= 1, name


def test_a_control_is_of_the_same_training():
    spec = importlib.util.spec_from_file_location("tables", RESULTS / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.control("lfw", "unpruned", 3) == ""  # there is none
    for recipe, name in tables.CONTROLS.items():
        control, pruned = (
            json.loads((RESULTS / f"{n}.json").read_text(encoding="utf-8")) for n in (name, recipe)
        )
        first, second = (experiment_from(results["recipe"]) for results in (control, pruned))
        assert (first.train, first.model, first.data) == (second.train, second.model, second.data)
        unpruned = [row for row in control["rows"] if row["arm"] == "unpruned"]
        assert {row["nonzero"] for row in unpruned} == {pruned["rows"][0]["nonzero"]}  # nothing was removed
        last = [row["error"] for row in unpruned if row["step"] == unpruned[-1]["step"]]
        rounds = len({row["step"] for row in unpruned})
        assert tables.control(recipe, "unpruned", rounds).startswith(f"{sum(last) / len(last):.2f} ")


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    for text in PAGES.values():
        for lines in re.findall(r"(?:^\|.*\n)+", text, re.M):
            assert len({line.count("|") for line in lines.splitlines()}) == 1, lines


def test_commands_and_recipes_exist():
    commands, recipes = mnp("--help").split(), mnp("list").split()
    named = re.findall(
        r"(?:^|`)(?:\S*/)?mnp (\w[\w-]*)(?: (mnist[\w-]*|digits|lfw[\w-]*))?", "\n".join(PAGES.values()), re.M
    )
    assert len(named) > 20
    for command, recipe in named:
        assert command in commands
        assert not recipe or command == "fetch" or recipe in recipes


@pytest.mark.parametrize(("page", "link"), sorted(set(LINKS)))
def test_links_lead_somewhere(page, link):
    assert (ROOT / page).parent.joinpath(link).exists()


def test_files_and_folders_that_are_named_exist():
    names = set(re.findall(r"\b(?:mnp|tests|notebooks|data_scripts)/[\w./-]*\w", "\n".join(PAGES.values())))
    tools = ("fuzz", "mutate", "covered", "fresh_machines")
    old = {f"tests/{name}.py" for name in tools}  # in recorded commands
    assert len(names) > 30
    assert [name for name in sorted(names - old) if not (ROOT / name).exists()] == []


def test_what_is_published_says_what_it_counts():
    published = json.loads((RESULTS / "published.json").read_text(encoding="utf-8"))
    assert published["lenet5_parameters"] == 20 * 26 + 50 * 501 + 500 * 801 + 10 * 501
    assert published["lenet5_weights"] == published["lenet5_parameters"] - (20 + 50 + 500 + 10)
    assert len(published["mnist"]) >= 13 and len(published["lfw"]) == 5
    for row in published["mnist"]:
        assert row["compression"] > 1 and row["counted"] in ("parameters", "bytes")
        assert row["source"].startswith("arXiv ") and row["removed"] in REMOVED
        assert row["runs"] in ("single run", "not stated", "not verified")
        if row["widths"] is None:
            assert row["biases"] in ("not stated", "not verified")


@pytest.mark.parametrize("method", ["Structured Bayesian", "L0", "L0-sep", "GNJ", "GHS"])
def test_biases_are_counted_as_the_published_widths_tell(method):
    published = json.loads((RESULTS / "published.json").read_text(encoding="utf-8"))
    (row,) = [row for row in published["mnist"] if re.search(rf"{method}(?!-)", row["method"])]
    conv1, conv2, flat, dense = map(int, row["widths"].split("-"))
    weights = 25 * conv1 + 25 * conv1 * conv2 + flat * dense + 10 * dense
    biases = conv1 + conv2 + dense + 10
    base = published["lenet5_parameters"]
    ratios = {"without": (base - 580) / weights, "with": base / (weights + biases)}  # LeNet-5 has 580 biases
    places = 1 if row["compression"] < 20 else 0
    agree = [word for word, ratio in ratios.items() if abs(ratio - row["compression"]) < 0.6 * 10**-places]
    if method == "Structured Bayesian":
        assert [round(ratio, 1) for ratio in ratios.values()] == [5.1, 5.1]
    elif method == "GNJ":
        assert not agree and row["biases"] == "neither gives 108"
    else:
        assert agree[0] == row["biases"] == "without"
