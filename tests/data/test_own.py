"""Data of one's own: .npz, idx files under many names, folders of images; and what they are called."""

import gzip
import hashlib

import numpy as np
import pytest
from one_line import one_line
from small_mnist import idx_bytes, pictures, write_set

import mnp
from mnp.data import mnist, own, read_own
from mnp.errors import MnpError

RNG = np.random.default_rng(0)
ARRAYS = {
    "train_images": RNG.integers(0, 256, (6, 3, 5, 4), dtype=np.uint8),
    "train_labels": np.arange(6) % 3,
    "test_images": RNG.integers(0, 256, (3, 3, 5, 4), dtype=np.uint8),
    "test_labels": np.arange(3),
}


# ---- any arrays


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (np.zeros((4, 7), np.float64), (7,)),
        (np.zeros((4, 5, 6), bool), (1, 5, 6)),
        (np.zeros((4, 2, 5, 6), np.float16), (2, 5, 6)),
    ],
)
def test_a_data_set_of_any_arrays(images, shape):
    data = mnp.Dataset(images, [0.0, 1.0, 2.0, 1.0], images[:2], np.array([1, 0], np.uint8), name="mine")
    assert data.image_shape == shape and data.classes == 3 and data.train_images.dtype == np.float32
    assert data.train_labels.dtype == np.int64 and repr(data).startswith("Dataset('mine', train 4, ")


def test_a_class_that_training_lacks_is_rejected():
    images = np.zeros((2, 4), np.float32)
    with pytest.raises(MnpError, match="test: labels from 2 to 5; 2 classes allow 0 to 1"):
        mnp.Dataset(images, [0, 1], images, [2, 5])
    with pytest.raises(MnpError, match="takes the arrays first"):
        mnp.Dataset("mine", images, [0, 1], images, [0, 1])


# ---- .npz


@pytest.mark.parametrize("keras", [False, True])
def test_an_npz_file(tmp_path, keras):
    names = dict(zip(ARRAYS, ("x_train", "y_train", "x_test", "y_test") if keras else ARRAYS, strict=True))
    np.savez(tmp_path / "mine.npz", **{names[part]: array for part, array in ARRAYS.items()})
    data = mnp.load(tmp_path / "mine.npz")
    assert data.name == "mine" and data.checksum == mnp.Dataset(**ARRAYS).checksum


def test_what_is_no_such_npz_is_one_line(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **{name: ARRAYS[name] for name in list(ARRAYS)[:3]}, extra=np.zeros(1))
    with one_line(r"has no test_labels; it has train_images, .*extra"):
        read_own(path)
    for content in (b"", b"PK\3\4 no archive", path.read_bytes()[:-30]):
        path.write_bytes(content)
        with one_line(r"mine\.npz: cannot be read as \.npz"):
            read_own(path)
    np.savez(path, **ARRAYS | {"train_labels": np.array([{}] * 6)})  # would need pickle
    with pytest.raises(MnpError, match="cannot be read"):
        read_own(path)


# ---- idx files


@pytest.mark.parametrize(
    "rename",
    [
        "raw/deeper/{}",
        lambda name: f"My {name.replace('t10k', 'TEST').replace('-idx3-ubyte', '')}",
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_four_idx_files_under_names_that_say_what_they_are(tmp_path, rename, packed):
    write_set(tmp_path / "clothes", rename=rename, packed=packed)
    data = read_own(tmp_path / "clothes", "digits")
    assert data.name == "clothes" and data.counts == {"train": 5, "validation": 0, "test": 3}
    assert np.array_equal(data.train_images[:, 0], (pictures(5) / 255).astype(np.float32))


def test_the_checksum_decides_what_is_mnist(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "mnist")
    assert read_own(folder, "mnist").name == "mnist-own"
    arrays = {
        part: mnist.read_idx(path, 3 if "images" in part else 1)
        for part, path in own.find_idx_files(folder).items()
    }
    digests = {part: hashlib.sha256(array).hexdigest() for part, array in arrays.items()}
    monkeypatch.setitem(mnist.SHA256, "fashion-mnist", digests)
    assert read_own(folder, "mnist").name == "fashion-mnist"


def test_emnist_letters_are_turned_upright_and_counted_from_zero(tmp_path):
    labels = idx_bytes(np.array([1, 2, 3, 26, 1], np.uint8))
    write_set(
        tmp_path,
        rename="emnist-letters-{}",
        train_labels=labels,
        test_labels=idx_bytes(np.array([5, 1, 2], np.uint8)),
    )
    data = read_own(tmp_path)
    assert (
        data.name == "emnist-letters"
        and data.train_labels.tolist() == [0, 1, 2, 25, 0]
        and data.classes == 26
    )
    assert np.array_equal(data.train_images[:, 0], (pictures(5) / 255).astype(np.float32).transpose(0, 2, 1))


def test_incomplete_and_doubled_sets_are_one_line(tmp_path):
    write_set(tmp_path)
    (tmp_path / "other-train-images-idx3-ubyte").write_bytes(b"")
    with one_line("both look like train_images: give a folder"):
        read_own(tmp_path)
    for path in tmp_path.glob("*train-images*"):
        path.unlink()
    with one_line("train-images-idx3-ubyte missing beside"):
        read_own(tmp_path)
    with pytest.raises(MnpError, match="no file or folder"):
        read_own(tmp_path / "absent")


# ---- folders of images


def write_images(folder, counts, colour=True, size=(6, 5)):
    image = pytest.importorskip("PIL.Image")
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            array = np.full((*size, 3) if colour else size, 10 * i, np.uint8)
            image.fromarray(array).save(folder / name / f"{i}.png")


@pytest.mark.parametrize("colour", [True, False])
def test_class_folders_with_and_without_a_split(tmp_path, colour):
    write_images(tmp_path / "a/train", {"cat": 3, "dog": 2}, colour)
    write_images(tmp_path / "a/test", {"dog": 1}, colour)
    data = read_own(tmp_path / "a")
    assert data.image_shape == (3 if colour else 1, 6, 5) and data.train_labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test_labels.tolist() == [1] and data.name == "a"
    write_images(tmp_path / "b", {"cat": 10, "dog": 4}, colour)
    data = read_own(tmp_path / "b")
    assert data.counts == {"train": 12, "validation": 0, "test": 2} and data.test_labels.tolist() == [0, 0]
    assert np.allclose(data.test_images[:, 0, 0, 0] * 255, [40, 90])  # the fifth and the tenth


def test_bad_images_are_one_line(tmp_path):
    with pytest.raises(MnpError, match="no data were found in it"):
        read_own(tmp_path)
    write_images(tmp_path / "a", {"cat": 6, "dog": 6})
    write_images(tmp_path / "b", {"elk": 6}, size=(6, 7))
    (tmp_path / "b" / "elk").rename(tmp_path / "a" / "elk")
    with one_line(r"0\.png: is 6x7, but 0\.png is 6x5: give one size"):
        read_own(tmp_path / "a")
    (tmp_path / "a" / "cat" / "0.png").write_bytes(gzip.compress(b"x"))
    with one_line("cannot be decoded"):
        read_own(tmp_path / "a")
