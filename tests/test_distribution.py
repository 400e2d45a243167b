"""The distributions: what is in them, and that the wheel, which is built from the sdist, works."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[1]


def run(*words, **how):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of the two files, built from a copy of the tree."""
    for module in ("build", "setuptools", "twine"):
        pytest.importorskip(module)
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        copy(ROOT / name, tree)
    for name in ("mnp", "tests"):
        copytree(ROOT / name, tree / name, ignore=ignore_patterns("__pycache__"))
    run("-m", "build", "--no-isolation", tree)
    return tree / "dist"


def test_the_files_in_the_distributions(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        source = {name.partition("/")[2] for name in sdist.getnames()}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        installed = set(wheel.namelist())
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mnp").rglob("*.py")}
    data = {"mnp/data/files/digits.csv.gz", "mnp/data/files/DIGITS-LICENCE.txt"}
    assert package | data <= source & installed
    assert {"LICENSE", "README.md", "CITATION.cff", "CHANGELOG.md", "pyproject.toml"} <= source
    assert any(name.endswith("licenses/LICENSE") for name in installed)
    assert all(name.startswith(("mnp/", "mnp-")) for name in installed)
    assert not any(name.startswith(("tests", "notebooks", "build")) for name in source)


def test_the_metadata_are_accepted(built):
    assert run("-m", "twine", "check", "--strict", *built.iterdir()).count("PASSED") == 2


def test_the_installed_wheel_works(built, tmp_path):
    wheel = next(built.glob("*.whl"))
    run("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel)
    code = "import sys; sys.path.insert(0, 'site'); import mnp; print(len(mnp.load('digits').test_labels))"
    assert run("-c", code, cwd=tmp_path) == "360\n"
