"""The embedded digits, the rule that enlarges them, the Dataset they come in, and the folders searched."""

import doctest
import gzip
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mnp.data
from mnp.data import dataset, digits, folders
from mnp.errors import MnpError


@pytest.mark.parametrize("module", [mnp.data, dataset, digits, folders], ids=lambda m: m.__name__)
def test_the_examples_in_the_docstrings_hold(module):
    results = doctest.testmod(module, extraglobs={"np": np})
    assert results.failed == 0


def test_digits_are_what_the_docstring_says():
    data = mnp.data.load("digits")
    assert data.train_images.shape == (1437, 1, 28, 28) and data.test_images.shape == (360, 1, 28, 28)
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert images.dtype == np.float32 and labels.dtype == np.int64
        assert images.min() == 0 and images.max() == 1
        assert np.array_equal(np.unique(labels), np.arange(10))
    assert len(np.unique(data.train_images)) == 17


def test_the_packaged_table_is_the_source_s():
    """Known by its checksum, which tests on a machine without scikit-learn can compare too."""
    path = Path(digits.__file__).parent / "files" / digits.FILE
    text = gzip.decompress(path.read_bytes())
    assert (
        hashlib.sha256(text).hexdigest() == "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
    )
    pixels, labels = digits.read_digits()
    assert pixels.dtype == np.uint8 and pixels.shape == (1797, 8, 8)
    assert labels[:10].tolist() == list(range(10))  # the source begins with one of each
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_licence_is_shipped_beside_the_data():
    text = (Path(digits.__file__).parent / "files" / "DIGITS-LICENCE.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text and "Alpaydin" in text


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))
def test_enlarge_by_its_formula(n, h, w, times, border):
    pixels = np.arange(n * h * w).reshape(n, h, w) + 1
    out = digits.enlarge(pixels, times, border)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            a, b = (i - border) // times, (j - border) // times
            inside = 0 <= a < h and 0 <= b < w
            assert np.array_equal(out[:, i, j], pixels[:, a, b] if inside else np.zeros(n))


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[:-20],
        lambda b: b[:200] + bytes([b[200] ^ 8]) + b[201:],
        lambda b: gzip.compress(gzip.decompress(b)[:-3]),
        lambda b: gzip.compress(gzip.decompress(b).replace(b"16", b"17")),
        lambda b: gzip.compress(b"1,2\n3,4\n"),
        lambda b: gzip.compress(b"hello"),
    ],
)
def test_a_damaged_package_file_is_one_line(monkeypatch, tmp_path, damage):
    source = Path(digits.__file__).parent / "files" / digits.FILE
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / digits.FILE).write_bytes(damage(source.read_bytes()))
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    with pytest.raises(MnpError, match=r"digits\.csv\.gz is damaged") as caught:
        digits.load()
    assert "\n" not in str(caught.value)


def test_unknown_names():
    with pytest.raises(MnpError, match=r"unknown data set 'cifar'.*digits, mnist"):
        mnp.data.load("cifar")
    with pytest.raises(MnpError, match=r"mnp\.data\.lfw\.load"):
        mnp.data.load("lfw")
    assert set(mnp.data.SETS) == {"digits", "mnist"}


# ---- Dataset


def tiny(train=6, test=2, **changes):
    arrays = {
        "name": "tiny",
        "train_images": np.arange(train * 4, dtype=np.float32).reshape(train, 1, 2, 2),
        "train_labels": np.arange(train) % 3,
        "test_images": np.zeros((test, 1, 2, 2), np.float32),
        "test_labels": np.zeros(test, np.int64),
        "classes": 3,
    }
    return dataset.Dataset(**(arrays | changes))


@given(st.integers(2, 9), st.data())
def test_split_validation_takes_the_last_and_loses_nothing(train, draw):
    whole = tiny(train)
    n = draw.draw(st.integers(1, train - 1))
    parts = whole.split_validation(n)
    assert len(parts.validation_labels) == n and len(whole.validation_labels) == 0
    assert np.array_equal(np.concatenate([parts.train_images, parts.validation_images]), whole.train_images)
    assert np.array_equal(np.concatenate([parts.train_labels, parts.validation_labels]), whole.train_labels)
    assert parts.test_images is whole.test_images and parts.test_labels is whole.test_labels
    assert f"train {train - n}, validation {n}, test 2" in repr(parts)


@pytest.mark.parametrize("n", [-1, 0, 6, 7])
def test_split_validation_out_of_range(n):
    with pytest.raises(MnpError, match=f"cannot take {n} validation examples from 6"):
        tiny().split_validation(n)


def test_split_validation_only_once():
    with pytest.raises(MnpError, match="2 validation examples were taken already"):
        tiny().split_validation(2).split_validation(1)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_labels": np.zeros(5, np.int64)},
        {"train_images": np.zeros((6, 2, 2), np.float32)},
        {"test_labels": np.array([0, 3])},
        {"test_labels": np.array([0, -1])},
        {"test_labels": np.zeros((2, 1), np.int64)},
    ],
)
def test_arrays_that_do_not_belong_together(changes):
    with pytest.raises(MnpError, match=r"tiny: (train|test)"):
        tiny(**changes)


def test_a_dataset_is_frozen():
    with pytest.raises(AttributeError):
        tiny().classes = 4


# ---- folders

posix = pytest.mark.skipif(sys.platform == "win32", reason="the cache folder's rules differ there")


@pytest.fixture
def no_places(monkeypatch, tmp_path):
    """A machine without any of the variables, whose temporary folder is tmp_path/tmp."""
    for name in ("MNP_DATA", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path


def test_a_named_folder_is_the_only_place(monkeypatch, tmp_path):
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "elsewhere"))
    assert folders.search_folders("mnist", tmp_path) == [tmp_path / "mnist", tmp_path]
    with pytest.raises(MnpError, match="no folder"):
        folders.search_folders("mnist", tmp_path / "absent")


@posix
def test_the_order_of_places(monkeypatch, no_places):
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_places))
    cache = no_places / "mnp"
    assert folders.search_folders("lfw") == [cache / "lfw", cache]
    monkeypatch.setenv("MNP_DATA", "data")
    assert folders.search_folders("lfw") == [Path("data/lfw"), Path("data"), cache / "lfw", cache]


@posix
def test_cache_in_the_home_directory(monkeypatch, no_places):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(no_places))
    monkeypatch.setattr(folders.sys, "platform", "linux")
    assert folders.cache_folder() == no_places / ".cache" / "mnp"
    assert folders.make_cache_folder().stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(folders.sys, "platform", "darwin")
    assert folders.cache_folder() == no_places / "Library" / "Caches" / "mnp"


@posix
def test_cache_without_a_home_directory(monkeypatch, no_places):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(folders.Path, "home", no_home)
    expected = no_places / "tmp" / f"mnp-cache-{os.getuid()}"
    assert folders.cache_folder() == expected
    assert folders.make_cache_folder() == expected and expected.is_dir()


@posix
def test_cache_where_home_cannot_be_written(monkeypatch, no_places):
    monkeypatch.setenv("HOME", str(no_places / "readonly"))
    monkeypatch.setattr(folders.os, "access", lambda path, mode: False)
    assert folders.cache_folder().parent == no_places / "tmp"
    monkeypatch.setenv("HOME", str(no_places / ("x" * 5000)))  # a name that no file-system takes
    assert folders.cache_folder().parent == no_places / "tmp"


@posix
def test_a_cache_folder_of_somebody_else_s_is_refused(monkeypatch, no_places):
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_places))
    owner = os.getuid()
    folders.make_cache_folder()
    monkeypatch.setattr(folders.os, "getuid", lambda: owner + 4242)
    if owner:  # root's folders are trusted
        with pytest.raises(MnpError, match="belongs to another user"):
            folders.make_cache_folder()
    else:
        os.chown(no_places / "mnp", 4243, -1)
        with pytest.raises(MnpError, match="belongs to another user"):
            folders.make_cache_folder()


def test_a_cache_folder_that_cannot_be_made(monkeypatch, no_places):
    (no_places / "mnp").write_text("a file stands in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_places))
    with pytest.raises(MnpError, match="set XDG_CACHE_HOME"):
        folders.make_cache_folder()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    with folders.written_aside(path) as aside:
        aside.write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), folders.written_aside(path) as aside:
        aside.write_text("new")
        raise RuntimeError("killed half-way")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    with (
        pytest.raises(MnpError, match="cannot be written"),
        folders.written_aside(path / "below a file") as aside,
    ):
        aside.write_text("new")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MnpError, match=r"file.*: cannot be written .*make room or rights"):
        folders.make_folder(tmp_path / "file" / "below")
