"""Imports run one way, and no two files import each other; importing the package compiles nothing."""

import ast
from pathlib import Path

import pytest
from fresh_python import run_python

import mnp

PACKAGE = Path(mnp.__file__).parent
LAYERS = [  # a module imports from its own layer and from those before it
    {"mnp.errors"},
    {"mnp.files", "mnp.tables", "mnp.process", "mnp.checkpoint"},
    {"mnp.kernels", "mnp.data"},
    {"mnp.nn"},
    {"mnp.pruning"},
    {"mnp.sparse"},
    {"mnp.experiments", "mnp.verify"},
    {"mnp.plotting"},
    {"mnp.bench", "mnp.notebooks"},
    {"mnp.runs"},
    {"mnp.cli"},
    {"mnp.__main__"},
]
ARRAYS_ONLY = ["mnp.nn", "mnp.pruning.surgery", "mnp.pruning.sizes"]
FORBIDDEN = {  # module or package -> what it must not import, although the layers would allow it
    "mnp.data": ["mnp.kernels"],
    "mnp.kernels": ["mnp.data"],
    "mnp.kernels.textbook": ["mnp.kernels.jitted", "mnp.kernels.tiled", "mnp.kernels.registers", "numba"],
    "mnp.kernels.jitted": ["mnp.kernels.textbook", "mnp.kernels.tiled", "mnp.kernels.registers"],
    "mnp.kernels.tiled": ["mnp.kernels.textbook"],
    "mnp.kernels.registers": ["mnp"],
    "mnp.nn": ["mnp.data"],
    "mnp.pruning": ["mnp.data"],
    "mnp.sparse": ["mnp.data"],
    "mnp.pruning.checks": ARRAYS_ONLY,
    "mnp.pruning.neurons": ARRAYS_ONLY,
    "mnp.pruning.relevance": ARRAYS_ONLY,
    "mnp.pruning.weights": ARRAYS_ONLY,
    "mnp.pruning.splicing": ARRAYS_ONLY,
    "mnp.plotting": ["mnp.nn", "mnp.kernels", "mnp.pruning"],
}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def inside(module, package):
    return module == package or module.startswith(package + ".")


def layer_of(module):
    return next((i for i, group in enumerate(LAYERS) if any(inside(module, p) for p in group)), None)


def imported(path):
    """All modules and names that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", [m for m in MODULES if m != "mnp"])
def test_imports_run_one_way(module):
    own = layer_of(module)
    assert own is not None, f"{module} is in no layer of LAYERS"
    for target in imported(MODULES[module]):
        if inside(target, "mnp") and layer_of(target) is not None:
            assert layer_of(target) <= own, f"{module} imports {target}, which belongs to a later layer"
        for who, whom in FORBIDDEN.items():
            if inside(module, who):
                assert not any(inside(target, w) for w in whom), f"{module} must not import {target}"


def dependencies(module):
    """Modules whose files a file imports from: `from package import module` means that module."""
    targets = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            targets.update(names & MODULES.keys() or {node.module})
    # The file of a package lists the names of its modules: a module that imports one through it is no circle.
    return {t for t in targets if t in MODULES and t != "mnp" and not inside(module, t)}


def circle(graph):
    """One circle in a graph as a list of modules, or None."""
    state, path = {}, []  # of a module: "open" while it is on the path, "done" afterwards

    def visit(module):
        state[module] = "open"
        path.append(module)
        for target in sorted(graph[module]):
            if state.get(target) == "open":
                return [*path[path.index(target) :], target]
            if target not in state and (result := visit(target)):
                return result
        path.pop()
        state[module] = "done"
        return None

    for module in sorted(graph):
        if module not in state and (result := visit(module)):
            return result
    return None


def test_no_two_files_import_each_other():
    """Over any number of files, and imports inside functions included."""
    graph = {module: dependencies(module) for module in MODULES if module != "mnp"}
    modules = circle(graph)
    assert modules is None, "imports in a circle: " + " -> ".join(modules)


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"a"}}) == ["a", "b", "c", "d", "a"]


def test_textbook_and_jitted_import_only_shapes_and_the_compiler_settings():
    for backend in ("textbook", "jitted"):
        modules = {m for m in MODULES if inside(m, f"mnp.kernels.{backend}")}
        targets = {t for m in modules for t in imported(MODULES[m]) if inside(t, "mnp")}
        outside = {t for t in targets if not inside(t, f"mnp.kernels.{backend}") and t != "mnp.kernels"}
        allowed = {"mnp.kernels.shapes", "mnp.kernels.compiling", "mnp.kernels.threads", "mnp.errors"}
        assert all(any(inside(t, a) for a in allowed) for t in outside), outside


def test_import_mnp_is_light():
    script = "import sys, mnp, mnp.kernels; print('numba' in sys.modules, 'matplotlib' in sys.modules)"
    assert run_python(script).stdout == "False False\n"


def test_importing_compiles_nothing():
    """Every module of the package in one process, with a listener on Numba's compiler."""
    modules = [m for m in MODULES if m != "mnp.__main__"]
    script = f"""
import importlib, numba.core.event as event
with event.install_recorder("numba:compile") as recorder:
    for module in {modules}:
        importlib.import_module(module)
print(len(recorder.buffer))
"""
    assert run_python(script).stdout == "0\n"
