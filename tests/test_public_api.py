"""`import mnp`: what a program needs is there, and nothing is imported before it is used."""

import re

import pytest
from fresh_python import run_python

import mnp


def python(script):
    """Its words; on one thread for other processes' sake: so short a program."""
    return run_python(script, NUMBA_NUM_THREADS="1").stdout.split()


def test_the_program_on_the_first_page_of_help_runs():
    program = re.search(r"\n\n((?:    .*\n|\n)+)", mnp.__doc__).group(1)
    assert "prune_round" in program
    shorter = re.sub(r"epochs=\d+", "epochs=1", re.sub("(?m)^    ", "", program))
    lines = python(shorter)
    assert lines[::3] == ["3", "2", "1"] and lines[1::3] == ["53418", "36970", "20522"]
    assert all(0 <= float(error) < 95 for error in lines[2::3])


def test_every_name_is_there_and_in_help_and_dir():
    for name in mnp.__all__:
        assert getattr(mnp, name) is not None
        assert name in dir(mnp)
        assert name in mnp.__doc__ or name == "__version__"
    assert issubclass(mnp.MnpError, ValueError)


def test_subpackages_are_attributes():
    names = "mnp.nn.Dense, mnp.pruning.keep_top, mnp.kernels.textbook.win_counts, mnp.data.load"
    assert python(f"import mnp; print(len([{names}]))") == ["4"]
    assert {"nn", "pruning", "kernels", "data"} <= set(dir(mnp))


def test_an_unknown_name_is_an_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match=r"no attribute 'lenet6'.*lenet5"):
        mnp.lenet6  # noqa: B018
    assert not hasattr(mnp, "_private") and not hasattr(mnp, "__main__x")


def test_import_mnp_imports_neither_numpy_nor_a_subpackage():
    script = "import sys, mnp; print([m for m in sys.modules if m.startswith(('mnp', 'numpy', 'numba'))])"
    assert python(script) == ["['mnp.errors',", "'mnp']"]
