"""The embedded digits, the rule that enlarges them, and the Dataset they come in."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line

import mnp.data
from mnp.data import dataset, digits
from mnp.errors import MnpError


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
    assert digits.TEXT_SHA256 == "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
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
        lambda b: b[:-20],
        lambda b: b[:200] + bytes([b[200] ^ 8]) + b[201:],
        lambda b: gzip.compress(gzip.decompress(b).replace(b"16", b"17")),
        lambda b: gzip.compress(b"hello"),
    ],
)
def test_a_damaged_package_file_is_one_line(monkeypatch, tmp_path, damage):
    source = Path(digits.__file__).parent / "files" / digits.FILE
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / digits.FILE).write_bytes(damage(source.read_bytes()))
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    with one_line(r"digits\.csv\.gz is damaged"):
        digits.load()


def test_unknown_names():
    with pytest.raises(MnpError, match=r"unknown data set 'cifar'.*digits, mnist, fashion-mnist"):
        mnp.data.load("cifar")
    with pytest.raises(MnpError, match=r"mnp\.data\.lfw\.load"):
        mnp.data.load("lfw")
    assert set(mnp.data.SETS) == {"digits", "mnist", "fashion-mnist", "kmnist", "emnist-letters"}


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
    with pytest.raises(MnpError, match="already has 2 validation examples"):
        tiny().split_validation(2).split_validation(1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_labels": np.zeros(5, np.int64)}, "train: 6 images, but 5 labels"),
        ({"train_images": np.zeros(6, np.float32)}, r"train: images of shape \(6,\)"),
        ({"train_images": np.zeros((6, 2, 2, 1), np.float32)}, r"use np\.moveaxis\(images, 3, 1\)"),
        ({"train_images": np.zeros((6, 32, 32, 3), np.uint8)}, r"use np\.moveaxis\(images, 3, 1\)"),
        ({"train_images": np.zeros((6, 1, 2, 2), np.int64)}, "images of type int64"),
        ({"train_images": np.full((6, 1, 2, 2), "a")}, "images of type <U1"),
        ({"test_images": np.zeros((2, 1, 3, 2), "f4")}, r"test: images of \(1, 3, 2\), but training has"),
        ({"test_labels": np.array([0, 3])}, "test: labels from 0 to 3; 3 classes allow 0 to 2"),
        ({"test_labels": np.array([0, -1])}, "test: labels from -1 to 0"),
        ({"test_labels": np.zeros((2, 1), np.int64)}, r"labels \(2, 1\) of type int64"),
        ({"test_labels": np.array([0.0, 1.5])}, "type float64"),
    ],
)
def test_arrays_that_are_no_data_set_are_rejected(changes, says):
    with one_line(f"tiny, .*{says}|tiny, {says}"):
        tiny(**changes)


def test_the_checksum_tells_data_sets_apart():
    whole = tiny()
    assert whole.checksum == tiny(name="other name").checksum and len(whole.checksum) == 16
    pixel, label = tiny(), tiny()
    pixel.train_images[0, 0, 0, 0] += 1
    label.test_labels[0] += 1
    others = [pixel, label, tiny(train=5), tiny(test=1), whole.split_validation(2)]
    assert len({data.checksum for data in (whole, *others)}) == 6
    assert whole.split_validation(2).counts == {"train": 4, "validation": 2, "test": 2}
