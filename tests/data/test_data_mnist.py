"""The idx reader on damaged and hostile files, and the rules of MNIST and Fashion-MNIST.

No test downloads anything: small files are made on the spot. What needs the real ones looks at $MNP_DATA.
"""

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from one_line import one_line
from small_mnist import idx_bytes, pictures, write_set

import mnp.data
from mnp.data import idx, mnist
from mnp.errors import MnpError

REAL = Path(os.environ.get("MNP_DATA", "no such folder"))


def real(name):
    """Skip a test on machines without the real files."""
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"{name} is not in $MNP_DATA")


# ---- reading


def test_a_file_worked_by_hand(tmp_path):
    # two images of 1x3: zero zero, type 8, 3 dimensions, 2, 1, 3, then six bytes row by row
    path = tmp_path / "by-hand"
    path.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60]))
    assert idx.read_idx(path, ndim=3).tolist() == [[[10, 20, 30]], [[40, 50, 60]]]


GOOD = idx_bytes(np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with nothing"),
        (b"\x01" + GOOD[1:], "begins with 01 00 08 03"),
        (idx_bytes(pictures(1), code=0x0D), "0x0d"),
        (idx_bytes(np.zeros(4, np.uint8)), r"1 dimensions, where images \(3\) are expected"),
        (GOOD[:9], "cut short within its header"),
        (GOOD[:-1], "24 bytes of data, but only 23"),
        (GOOD + b"x", "more than 24"),
        (idx_bytes(pictures(1), shape=(2**32 - 1,) * 3), "bytes; 1 to 268435456 are allowed"),
        (idx_bytes(pictures(1), shape=(1 << 28, 1, 1)), "but only 784"),
        (idx_bytes(pictures(1), shape=((1 << 28) + 1, 1, 1)), "are allowed"),
        (idx_bytes(pictures(1), shape=(0, 28, 28)), "announces 0 bytes"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_false_headers_are_rejected(tmp_path, data, says, packed):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(data) if packed else data)
    with one_line(says, path):
        idx.read_idx(path, ndim=3)


def test_every_cut_and_every_flipped_bit_of_a_packed_file_is_found(tmp_path):
    """gzip's own checksum sees what the idx header cannot. Free are its time stamp, system and level, and
    the bits after the last code: those change nothing that is read."""
    data, path = gzip.compress(GOOD, mtime=0), tmp_path / "images.gz"
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(MnpError):
            idx.read_idx(path, ndim=3)
    expected = idx.read_idx(_write(path, data), ndim=3)
    harmless = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert np.array_equal(idx.read_idx(_write(path, flipped), ndim=3), expected)
        except MnpError as error:
            assert "\n" not in str(error)
        else:
            harmless += 1
    assert harmless <= 8 * 7 + 7


def _write(path, data):
    path.write_bytes(data)
    return path


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    """64 MiB of zeros in 64 KB: the header announces 784 bytes, so about 784 bytes are unpacked."""
    bomb = gzip.compress(idx_bytes(np.zeros(0, np.uint8), shape=(1, 28, 28)) + bytes(1 << 26))
    assert len(bomb) < 100_000
    path = _write(tmp_path / "bomb.gz", bomb)
    tracemalloc.start()
    with pytest.raises(MnpError, match="more than 784 follow"):
        idx.read_idx(path, ndim=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_web_page_is_named(tmp_path):
    path = _write(tmp_path / "images.gz", b"<!DOCTYPE html><html>")
    with one_line("a web page, not the file", path):
        idx.read_idx(path, ndim=3)


def test_not_a_file(tmp_path):
    with pytest.raises(MnpError, match=r"No such file|Is a directory|Permission denied"):
        idx.read_idx(tmp_path / "absent", ndim=3)
    with pytest.raises(MnpError, match=r"No such file|Is a directory|Permission denied"):
        idx.read_idx(tmp_path, ndim=3)


# ---- MNIST


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("inside", ["", "mnist"])
def test_load_a_small_set(tmp_path, packed, inside):
    write_set(tmp_path / inside, packed=packed)
    data = mnp.data.load("mnist", tmp_path)
    assert data.train_images.shape == (5, 1, 28, 28) and data.train_images.dtype == np.float32
    assert data.test_labels.tolist() == [0, 1, 2] and data.test_labels.dtype == np.int64
    assert np.array_equal(data.train_images[:, 0], (pictures(5) / 255).astype(np.float32))
    assert data.classes == 10 and data.name == "mnist (unofficial: 5 + 3 images)"


def test_the_scale_s_ends_are_exact(tmp_path):
    black_to_white = np.resize(np.arange(256, dtype=np.uint8), (1, 28, 28))
    write_set(tmp_path, train_images=idx_bytes(black_to_white), train_labels=idx_bytes(np.zeros(1, np.uint8)))
    images = mnist.load(tmp_path).train_images
    assert images.min() == 0 and images.max() == 1


def test_found_through_the_environment(tmp_path, monkeypatch):
    write_set(tmp_path / "data" / "mnist", train=4)
    write_set(tmp_path / "cache" / "mnp" / "mnist", train=7)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "data"))
    assert len(mnist.load().train_labels) == 4
    monkeypatch.setenv("MNP_DATA", str(tmp_path))  # nothing there: on to the cache
    assert len(mnist.load().train_labels) == 7
    monkeypatch.delenv("MNP_DATA")
    assert len(mnist.load().train_labels) == 7


def test_nothing_found_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "data"))
    places, names = (tmp_path / "data", tmp_path / "cache"), [name for name, _ in mnist.FILES.values()]
    with one_line("`mnp fetch mnist`.* --data", *places, *names):
        mnist.load()


def test_one_missing_file_is_named_and_not_taken_from_elsewhere(tmp_path, monkeypatch):
    write_set(tmp_path / "data" / "mnist")
    write_set(tmp_path / "cache" / "mnp" / "mnist")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with one_line("t10k-labels-idx1-ubyte missing", tmp_path / "data" / "mnist"):
        mnist.load()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_labels": np.zeros(4, np.uint8)}, "train: 5 images, but 4 labels"),
        (
            {"test_labels": np.array([9, 10, 200], np.uint8)},
            "test: labels from 9 to 200; 10 classes allow 0 to 9",
        ),
        ({"test_images": np.zeros((3, 8, 8), np.uint8)}, "images of 8x8; those of mnist are 28x28"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, changes, says):
    write_set(tmp_path, **{part: idx_bytes(array) for part, array in changes.items()})
    with one_line(says, tmp_path):
        mnist.load(tmp_path)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("-idx", ".idx"),  # 7-Zip, WinRAR
        lambda name: f"archive/{name.replace('-idx', '.idx')}",  # Kaggle
        lambda name: f"{name.removesuffix('.gz')}/{name}",  # Kaggle, too: a folder for each file
        "MNIST/raw/{}",  # torchvision
        str.upper,
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_names_that_other_programs_give_the_files(tmp_path, rename, packed):
    write_set(tmp_path, rename=rename, packed=packed)
    assert mnist.load(tmp_path).counts == {"train": 5, "validation": 0, "test": 3}


def test_a_packed_file_is_read_before_a_plain_one(tmp_path):
    write_set(tmp_path, train=4, test=1, packed=False, rename=lambda name: name.replace("-idx", ".idx"))
    write_set(tmp_path)
    assert mnist.load(tmp_path).counts["train"] == 5


@pytest.mark.parametrize("name", ["emnist-letters-{}", "kmnist_{}", "copy of {}"])
def test_other_names_are_listed_beside_those_that_are_wanted(tmp_path, name):
    write_set(tmp_path, rename=name)
    wanted = "wanted: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images"
    with one_line("no mnist files in", name.format("train-labels-idx1-ubyte.gz"), wanted):
        mnist.load(tmp_path)


def test_other_data_of_the_official_size_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(
        mnist,
        "FILES",
        {part: (name, (3, *shape[1:])) for part, (name, shape) in mnist.FILES.items()},
    )
    write_set(tmp_path, train=3, test=3)
    with one_line("not its checksum", tmp_path):
        mnist.load(tmp_path)


@real("mnist")
def test_the_real_mnist():
    data = mnp.data.load("mnist", REAL)
    assert data.name == "mnist" and data.checksum == "2453f4273f4eaa9d"
    assert data.counts == {"train": 60000, "validation": 0, "test": 10000}
    assert data.train_images.shape == (60000, 1, 28, 28) and data.test_images.shape == (10000, 1, 28, 28)
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(data.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert abs(float(data.train_images.mean(dtype=np.float64)) - 0.1307) < 1e-4
    assert len(data.split_validation(10_000).validation_labels) == 10_000


@real("fashion-mnist")
def test_the_real_fashion_mnist(tmp_path):
    data = mnp.data.load("fashion-mnist", REAL)
    assert data.name == "fashion-mnist" and data.classes == 10 and data.checksum == "fda90fb8fc6915c6"
    assert np.bincount(data.train_labels).tolist() == [6000] * 10
    assert abs(float(data.train_images.mean(dtype=np.float64)) - 0.2860) < 1e-4


@real("fashion-mnist")
@real("mnist")
def test_one_set_under_the_other_s_name_is_told_apart(tmp_path):
    for name, other in (("mnist", "fashion-mnist"), ("fashion-mnist", "mnist")):
        with pytest.raises(
            MnpError, match=f"is a file of {other}, not of {name}; load it by the name {other}"
        ):
            mnp.data.load(name, REAL / other)
