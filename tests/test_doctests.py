"""Every example in every docstring is run."""

import doctest
import importlib
import pkgutil

import pytest

import mnp
from mnp.nn.network import LAYER_TYPES
from mnp.pruning.surgery import OWN_RANKINGS

MODULES = [m.name for m in pkgutil.walk_packages(mnp.__path__, "mnp.") if "__main__" not in m.name]
MODULES = [name for name in MODULES if not name.startswith("mnp.verify.mistakes.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.startswith("mnp"):
            raise
        pytest.skip(str(error))  # an extra that is not installed
    before = [(registered, dict(registered)) for registered in (LAYER_TYPES, OWN_RANKINGS)]
    failed, _ = doctest.testmod(module)
    for registered, own in before:  # some examples register a layer or a ranking
        for key in registered.keys() - own.keys():
            del registered[key]
    assert failed == 0
