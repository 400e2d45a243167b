"""Imports run one way, as the plan of the house has it; importing the package compiles nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mnp

HOUSE = Path(mnp.__file__).parent
FLOORS = [  # a module imports from its own floor and from those above it in this list
    {"mnp.errors"},
    {"mnp.files", "mnp.tables", "mnp.process"},
    {"mnp.kernels", "mnp.data"},
    {"mnp.nn"},
    {"mnp.pruning"},
    {"mnp.experiments", "mnp.verify"},
    {"mnp.plotting"},
    {"mnp.bench", "mnp.notebooks"},
    {"mnp.cli"},
    {"mnp.__main__"},
]
STRANGERS = {  # who -> whom it never imports, although the floor would allow it
    "mnp.data": ["mnp.kernels"],
    "mnp.kernels": ["mnp.data"],
    "mnp.kernels.textbook": ["mnp.kernels.jitted", "mnp.kernels.tiled", "mnp.kernels.registers", "numba"],
    "mnp.kernels.jitted": ["mnp.kernels.textbook", "mnp.kernels.tiled", "mnp.kernels.registers"],
    "mnp.kernels.tiled": ["mnp.kernels.textbook"],
    "mnp.kernels.registers": ["mnp"],
    "mnp.nn": ["mnp.data"],
    "mnp.pruning.neurons": ["mnp.nn"],
    "mnp.pruning.relevance": ["mnp.nn"],
    "mnp.pruning.weights": ["mnp.nn"],
    "mnp.plotting": ["mnp.nn", "mnp.kernels", "mnp.pruning"],
}
MODULES = {
    ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(HOUSE.rglob("*.py"))
}


def inside(module, room):
    """The room itself, what is in it, and a room_annexe beside it."""
    return module == room or module.startswith((room + ".", room + "_"))


def floor(module):
    return next((i for i, rooms in enumerate(FLOORS) if any(inside(module, room) for room in rooms)), None)


def imported(path):
    """All modules and names that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", [m for m in MODULES if m != "mnp"])
def test_imports_run_one_way(module):
    own = floor(module)
    assert own is not None, f"{module} has no place in FLOORS"
    for target in imported(MODULES[module]):
        if inside(target, "mnp") and floor(target) is not None:
            assert floor(target) <= own, f"{module} imports {target}, which is built upon it"
        for who, whom in STRANGERS.items():
            if inside(module, who):
                assert not any(inside(target, w) for w in whom), f"{module} may not know {target}"


def test_textbook_and_jitted_share_shapes_only():
    for tier in ("textbook", "jitted"):
        rooms = {m for m in MODULES if inside(m, f"mnp.kernels.{tier}")}
        known = {t for m in rooms for t in imported(MODULES[m]) if inside(t, "mnp")}
        outside = {t for t in known if not inside(t, f"mnp.kernels.{tier}") and t != "mnp.kernels"}
        allowed = {"mnp.kernels.shapes", "mnp.kernels.compiling"}
        assert all(any(inside(t, a) for a in allowed) for t in outside), outside


def python(script):
    environment = {**os.environ, "PYTHONPATH": str(HOUSE.parent)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_mnp_is_light():
    script = "import sys, mnp, mnp.kernels; print('numba' in sys.modules, 'matplotlib' in sys.modules)"
    assert python(script) == ["False", "False"]


def test_importing_compiles_nothing():
    """Every module of the package in one process, with a listener on Numba's compiler."""
    quiet = [m for m in MODULES if m != "mnp.__main__"]
    script = f"""
import importlib, numba.core.event as event
with event.install_recorder("numba:compile") as recorder:
    for module in {quiet}:
        importlib.import_module(module)
print(len(recorder.buffer))
"""
    assert python(script) == ["0"]
