"""Machine code kept on disk: found again, replaced where damaged, done without where nothing can be kept."""

import errno
import importlib.util
import os

import numba
import numpy as np
import pytest
from numba.core import caching

from mnp.kernels import compiling
from mnp.kernels.compiling import CacheFiles, notify_compilation

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")

SOURCE = """
from mnp.kernels.compiling import compiled

STEP = {step}

@compiled()
def add_step(x, y):
    for i in range(x.size):
        y[i] = x[i] + STEP
"""


class Program:
    """A program with one loop, started as often as one likes; it counts how often the loop is compiled."""

    def __init__(self, folder):
        self.source, self.cache = folder / "loop.py", folder / "cache"
        self.write(step=1)

    def write(self, step):
        self.source.write_text(SOURCE.format(step=step))

    def start(self, step=1, dtype=np.float32):
        spec = importlib.util.spec_from_file_location("loop", self.source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        lines, x = [], np.arange(3, dtype=dtype)
        y = np.empty_like(x)
        with notify_compilation(lines.append):
            module.add_step(x, y)
        np.testing.assert_array_equal(y, x + step)
        return len(lines)

    def file(self, suffix):
        (path,) = self.cache.rglob("*" + suffix)
        return path


@pytest.fixture
def program(tmp_path, monkeypatch):
    made = Program(tmp_path)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(made.cache))
    return made


def test_code_is_compiled_once_for_a_type_and_found_by_the_next_process(program):
    assert [program.start(), program.start()] == [1, 0]
    assert [program.start(dtype=np.float64), program.start(dtype=np.float64), program.start()] == [1, 0, 0]


DAMAGES = {
    "cut short": lambda content: content[:10],
    "zeros in the middle": lambda content: content[:300] + bytes(len(content) - 400) + content[-100:],
    "one bit": lambda content: content[:900] + bytes([content[900] ^ 16]) + content[901:],
}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_anew_and_replaced(program, suffix, damage):
    program.start()
    path = program.file(suffix)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    program.start()
    assert program.start() == 0


def test_code_of_another_loop_under_this_ones_name_is_not_run(program):
    """As after two processes that wrote one index at the same time."""
    program.start()
    path = program.file(".nbc")
    path.write_bytes(CacheFiles("", "", 0)._dump((("another key", 0), "another loop")))
    assert [program.start(), program.start()] == [1, 0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_means_compiling_every_time(program, monkeypatch, number):
    def full(self, path):
        raise OSError(number, os.strerror(number), path)

    with monkeypatch.context() as patch:
        patch.setattr(CacheFiles, "_open_for_write", full)
        assert [program.start(), program.start()] == [1, 1]
    assert not list(program.cache.rglob("*.nb*"))
    assert [program.start(), program.start()] == [1, 0]


def test_a_disk_that_fills_up_between_the_index_and_the_code_leaves_no_old_code(program, monkeypatch):
    program.start()
    program.write(step=2)  # the same loop with another number: its bytecode is the same

    def full(self, name, data):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(CacheFiles, "_save_data", full)
        assert program.start(step=2) == 1
    assert [program.start(step=2), program.start(step=2)] == [1, 0]


def test_where_no_folder_can_be_written_it_is_compiled_every_time(program, monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert [program.start(), program.start()] == [1, 1]


def test_a_compilation_is_told_once_and_only_inside_the_block(program):
    lines = []
    with notify_compilation(lines.append):
        assert program.start() == 1
        program.start(dtype=np.float64)
    assert len(lines) == 1 and "compiling" in lines[0]
    with notify_compilation(lines.append):
        program.start()
    program.write(step=3)
    program.start(step=3)
    assert len(lines) == 1 and not compiling._listeners
