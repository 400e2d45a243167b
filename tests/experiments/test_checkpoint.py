"""Checkpoints and the files of a folder: complete or not there, and damaged ones rejected in one line."""

import hashlib
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from fresh_python import run_python
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_line import one_line

from mnp import files
from mnp.checkpoint import load_checkpoint, save_checkpoint
from mnp.errors import MnpError
from mnp.files import lock_folder, read_json, remove_partial_files, to_json
from mnp.nn import Network, ReLU, lenet5
from mnp.nn.checkpoint import load_network, network_entries, save_network
from mnp.pruning import apply_masks, magnitude_mask
from mnp.sparse import sparse_network

ARRAYS = {
    "state/a": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # Fortran-ordered
    "masks/a": np.array([[True, False]]),
    "counts": np.array([-(2**62), 3]),
    "scalar": np.array(1.5),
    "big_endian": np.arange(3).astype(">f4"),
    "little_endian": np.arange(3).astype("<i8"),
    "empty": np.zeros((0, 4), np.float64),
}
META = {"row": {"error": 0.1, "none": None}, "rng": np.random.PCG64(1).state, "text": "k=4, 5 °"}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "c.npz", ARRAYS, META)
    return tmp_path / "c.npz"


def archive(entries, compression=zipfile.ZIP_STORED):
    """A zip of (name, bytes)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in entries:
            made.writestr(name, data)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def meta_entry(**more):
    text = json.dumps({"format": "mnp checkpoint", "version": 1, **more})
    return "meta.json.npy", npy(np.frombuffer(text.encode(), np.uint8))


# --- round trips --------------------------------------------------------------------------------------


def test_arrays_and_meta_come_back_bit_for_bit(path):
    arrays, meta = load_checkpoint(path)
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype.newbyteorder("=") and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable and arrays[name].flags.c_contiguous
    assert {name: meta[name] for name in META} == META
    rng = np.random.Generator(np.random.PCG64())
    rng.bit_generator.state = meta["rng"]
    assert rng.random() == np.random.Generator(np.random.PCG64(1)).random()


def test_numpy_opens_it_and_equal_content_gives_equal_bytes(path, tmp_path):
    with np.load(path, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["state/a"], ARRAYS["state/a"])
    save_checkpoint(tmp_path / "d.npz", ARRAYS, META)
    assert (tmp_path / "d.npz").read_bytes() == path.read_bytes()


def test_a_file_of_mnp_0_1_is_read(tmp_path):
    """Its version is 1, and its zip ends with a comment: a SHA-256."""
    data = bytearray(archive([("state/a.npy", npy(ARRAYS["state/a"].copy("C"))), meta_entry(row=3)]))
    data[-2:] = struct.pack("<H", 64)
    (tmp_path / "old.npz").write_bytes(data + hashlib.sha256(data).hexdigest().encode())
    arrays, meta = load_checkpoint(tmp_path / "old.npz")
    np.testing.assert_array_equal(arrays["state/a"], ARRAYS["state/a"])
    assert meta["version"] == 1 and meta["row"] == 3


def test_objects_are_rejected_when_writing(tmp_path):
    with pytest.raises(MnpError, match="dtype object"):
        save_checkpoint(tmp_path / "o.npz", {"o": np.array([{}])}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("k", [3, 1])
def test_networks_keep_weights_masks_and_layers(tmp_path, k):
    net = lenet5(2, 3, 4, k, rng=1, backend="textbook")
    mask = np.arange(net.params()["fc3.weight"].size).reshape(net.params()["fc3.weight"].shape) % 3 > 0
    net.set_masks({"fc3.weight": mask})
    save_network(tmp_path / "n.npz", net, note="hello")
    again = load_network(tmp_path / "n.npz", backend="textbook")
    assert again.architecture() == net.architecture()
    assert load_checkpoint(tmp_path / "n.npz")[1]["note"] == "hello"
    x = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    np.testing.assert_array_equal(again.forward(x), net.forward(x))
    np.testing.assert_array_equal(again.masks()["fc3.weight"], mask)


# --- damage -------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_or_a_cut_is_reported_or_changes_nothing(path, data):
    """A zip has some bytes, such as the date of an entry, that mean nothing here."""
    good = path.read_bytes()
    bad = bytearray(good)
    if data.draw(st.booleans()):
        bad = bad[: data.draw(st.integers(0, len(good) - 1))]
    else:
        bad[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = path.with_name("broken.npz")
    broken.write_bytes(bad)
    try:
        arrays, meta = load_checkpoint(broken)
    except MnpError as error:
        assert re.match(r".*broken\.npz: is damaged", str(error)) and "\n" not in str(error)
    else:
        expected, expected_meta = load_checkpoint(path)
        assert meta == expected_meta and list(arrays) == list(expected)
        assert all(arrays[name].tobytes() == expected[name].tobytes() for name in arrays)


def giant_header(count):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count},), }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("pickle-was-read",))


@pytest.mark.parametrize(
    "entries",
    [
        [("w.npy", giant_header(2**62)), meta_entry()],
        [("w.npy", npy(np.array([Bomb()], dtype=object))), meta_entry()],
        [("w.npy", pickle.dumps(Bomb())), meta_entry()],
        [("w.npy", npy(np.array(["text"]))), meta_entry()],
        [("w.txt", b"x"), meta_entry()],
        [("w.npy", npy(np.ones(1)))],  # no meta
        [("meta.json.npy", npy(np.frombuffer(b"[" * 100_000, np.uint8)))],
        [meta_entry(format="other")],
        [],
    ],
)
def test_hostile_entries_are_one_line(tmp_path, monkeypatch, entries):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.npz").write_bytes(archive(entries))
    with one_line("damaged or no checkpoint of mnp"):
        load_checkpoint(tmp_path / "h.npz")
    assert not (tmp_path / "pickle-was-read").exists()


def test_compressed_bombs_are_not_unpacked(tmp_path):
    bomb = archive([("w.npy", bytes(50_000_000)), meta_entry()], zipfile.ZIP_DEFLATED)
    (tmp_path / "b.npz").write_bytes(bomb)
    with pytest.raises(MnpError, match="more bytes than the file has"):
        load_checkpoint(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("version", "says"), [(7, "version 7; this program reads 1 and 2"), ("1\n2", "version")]
)
def test_a_version_of_the_future_is_rejected_by_its_number(tmp_path, version, says):
    (tmp_path / "v.npz").write_bytes(archive([meta_entry(version=version)]))
    with one_line(says):
        load_checkpoint(tmp_path / "v.npz")


def test_missing_file_and_giant_file(tmp_path):
    with pytest.raises(MnpError, match="cannot be read"):
        load_checkpoint(tmp_path / "none.npz")
    with open(tmp_path / "giant.npz", "wb") as file:
        file.truncate(1 << 40)  # sparse: no byte of it exists
    with pytest.raises(MnpError, match="too large"):
        load_checkpoint(tmp_path / "giant.npz")


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[3].update(in_features=10**9) or a,
        lambda a: a[0].update(out_channels=-1) or a,
        lambda a: a[0].update(dtype="object") or a,
        lambda a: a[0].update(type="Shell") or a,
        lambda a: a[0].pop("name") and a,
        lambda a: [*a, a[-1]],
        lambda a: None,
    ],
)
def test_an_architecture_that_does_not_fit_its_arrays(tmp_path, change):
    arrays, meta = network_entries(lenet5(1, 1, 2, 2, rng=0, backend="textbook"))
    architecture = json.loads(json.dumps(meta["architecture"]))
    save_checkpoint(tmp_path / "a.npz", arrays, {"architecture": change(architecture)})
    with one_line(r"a\.npz"):
        load_network(tmp_path / "a.npz", backend="textbook")


def test_a_mask_of_another_shape(tmp_path):
    arrays, meta = network_entries(lenet5(1, 1, 2, 2, rng=0, backend="textbook"))
    save_checkpoint(tmp_path / "m.npz", {**arrays, "masks/fc4.weight": np.ones(3, bool)}, meta)
    with pytest.raises(MnpError, match=r"m\.npz.*mask"):
        load_network(tmp_path / "m.npz", backend="textbook")


# --- writing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file(path, monkeypatch, call):
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, refuse)
    with pytest.raises(MnpError, match=r"No space left on device.*intact"):
        save_checkpoint(path, {"w": np.ones(3)}, {})
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_real_limit_on_the_size_of_files(tmp_path):
    pytest.importorskip("resource")
    code = """
        import resource, sys
        from mnp.files import atomic_write
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        atomic_write(sys.argv[1], b"new" * 1000)"""
    (tmp_path / "f").write_bytes(b"old" * 10)
    done = run_python(code, tmp_path / "f", check=False)
    assert "MnpError" in done.stderr and "intact" in done.stderr
    assert (tmp_path / "f").read_bytes() == b"old" * 10 and len(list(tmp_path.iterdir())) == 1


def test_sweep_takes_only_what_a_killed_write_left(tmp_path):
    for name in ("checkpoints/a.npz.writing", "b.writing", "c.npz", "seed-1/checkpoints/d.npz.writing"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_partial_files(tmp_path, tmp_path / "checkpoints")
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["c.npz", "d.npz.writing"]


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_read_json_refuses_in_one_line(tmp_path, text):
    (tmp_path / "r.json").write_bytes(text)
    with pytest.raises(MnpError, match=r"r\.json: is not a recipe"):
        read_json(tmp_path / "r.json", "a recipe")


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": float("nan")})


# --- the lock -----------------------------------------------------------------------------------------

HOLDER = """if True:
    import sys, time
    from mnp.files import lock_folder
    with lock_folder(sys.argv[1]):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_second_owner_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MnpError, match=f"process {holder.pid}"), lock_folder(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with lock_folder(tmp_path):
        assert (tmp_path / files.LOCK).read_text() == f"{os.getpid()}\n"
        with pytest.raises(MnpError, match="another run"), lock_folder(tmp_path):
            pass
    with lock_folder(tmp_path):
        pass


def test_a_lock_where_nothing_can_be_written(tmp_path):
    with pytest.raises(MnpError, match="choose another folder"), lock_folder(tmp_path / "missing"):
        pass


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_network_of_nan_or_infinity_is_refused(tmp_path, value):
    """1e300 is finite in the file's float64 and no longer in the network's float32."""
    arrays, meta = network_entries(lenet5(conv1=2, conv2=2, units=3, k=2))
    arrays["state/fc4.bias"] = np.full(10, value)
    save_checkpoint(tmp_path / "n.npz", arrays, meta)
    with pytest.raises(MnpError, match=r"n.npz: 'fc4.bias' holds NaN or infinity"):
        load_network(tmp_path / "n.npz")


def test_a_network_that_could_not_be_read_back_is_not_saved(tmp_path):
    class LeakyReLU(ReLU):
        """A user's own layer."""

    net = lenet5(2, 2, 4, 2, rng=0, backend="textbook")
    masked = apply_masks(net, {"fc3.weight": magnitude_mask(net.params()["fc3.weight"], 0.9)})
    for unreadable in (sparse_network(masked), Network([("act", LeakyReLU(backend="textbook"))])):
        with pytest.raises(MnpError, match="which a checkpoint cannot express"):
            save_network(tmp_path / "net.npz", unreadable)
    assert not list(tmp_path.iterdir())
