"""Atomic writes, locks, and the folders where data are looked for."""

import errno
import sys
from pathlib import Path

import pytest

from mnp import files
from mnp.errors import MnpError

posix = pytest.mark.skipif(sys.platform == "win32", reason="the cache folder's rules differ there")


def test_a_named_folder_is_the_only_one(monkeypatch, tmp_path):
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "elsewhere"))
    assert files.data_folders("mnist", tmp_path) == [tmp_path / "mnist", tmp_path]
    with pytest.raises(MnpError, match="no folder"):
        files.data_folders("mnist", tmp_path / "absent")


@posix
def test_order_of_the_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("MNP_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "mnp"
    assert files.data_folders("lfw") == [cache / "lfw", cache]
    monkeypatch.setenv("MNP_DATA", "data")
    assert files.data_folders("lfw") == [Path("data/lfw"), Path("data"), cache / "lfw", cache]


@posix
def test_cache_in_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(files.sys, "platform", "linux")
    assert files.cache_folder() == tmp_path / ".cache" / "mnp"
    monkeypatch.setattr(files.sys, "platform", "darwin")
    assert files.cache_folder() == tmp_path / "Library" / "Caches" / "mnp"


def test_a_write_is_complete_or_nothing(tmp_path):
    path = tmp_path / "file"
    with files.atomic_path(path) as partial:
        partial.write_text("old")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), files.atomic_path(path) as partial:
        partial.write_text("new")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    with pytest.raises(MnpError, match="cannot be written"):
        files.atomic_write(path / "below a file", "new")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MnpError, match=r"file.*: cannot be written .*free disk space or fix permissions"):
        files.make_folder(tmp_path / "file" / "below")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_told_once(monkeypatch, tmp_path, number):
    def acquire(file):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(files, "_acquire", acquire)
    lines = []
    with files.lock_folder(tmp_path, lines.append):
        (tmp_path / "written").write_text("")
    assert len(lines) == 1 and "no locks" in lines[0]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN])
def test_a_lock_that_is_held_is_an_error(monkeypatch, tmp_path, number):
    def acquire(file):
        raise OSError(number, "held")

    monkeypatch.setattr(files, "_acquire", acquire)
    with pytest.raises(MnpError, match="another run"), files.lock_folder(tmp_path):
        pass
