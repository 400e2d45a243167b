"""The scripts that get the data, as a user calls them, on small sets and a server on this machine."""

import functools
import gzip
import hashlib
import http.server
import importlib.util
import os
import subprocess
import sys
import tarfile
import threading
import types
from pathlib import Path

import drawn_lfw
import numpy as np
import pytest
from test_data_mnist import idx_bytes, pictures

import mnp.data
from mnp.data import digits, lfw, lfw_archive, mnist

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"
REAL = Path(os.environ.get("MNP_DATA", "no such folder"))


def script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MNP_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve(tmp_path):
    """Serve a folder on this machine; gives the folder and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def one_error(capsys, *parts):
    """What a failed call printed: one line on stderr with these parts, nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    for part in parts:
        assert str(part) in err
    return err


# ---- make_digits


@pytest.fixture
def borrowed_digits(monkeypatch):
    """scikit-learn's table, which is where ours comes from."""
    pixels, labels = digits.read_digits()
    table = types.SimpleNamespace(data=pixels.reshape(-1, 64).astype(float), target=labels)
    sklearn, datasets = types.ModuleType("sklearn"), types.ModuleType("sklearn.datasets")
    datasets.load_digits = lambda: table
    monkeypatch.setitem(sys.modules, "sklearn", sklearn)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    return table


def test_make_digits_writes_what_the_package_ships(borrowed_digits, tmp_path, capsys):
    make_digits = script("make_digits")
    assert make_digits.main(["--to", str(tmp_path / "d.csv.gz")]) == 0
    assert "1797 images" in capsys.readouterr().out
    assert sha256(gzip.decompress((tmp_path / "d.csv.gz").read_bytes())) == digits.TEXT_SHA256
    assert [p.name for p in tmp_path.iterdir()] == ["d.csv.gz"]
    assert make_digits.main(["--check"]) == 0  # the file in the package
    assert "equal to the source" in capsys.readouterr().out


def test_make_digits_check_can_fail(borrowed_digits, tmp_path, capsys):
    borrowed_digits.data[0, 0] += 1
    assert script("make_digits").main(["--check"]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_make_digits_without_its_source(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert script("make_digits").main([]) == 2
    one_error(capsys, "pip install scikit-learn")


# ---- get_mnist


@pytest.fixture
def small_mnist(monkeypatch, serve):
    """Four small files, served packed, that count as MNIST's for this test."""
    folder, address = serve
    arrays = {
        "train_images": pictures(6),
        "train_labels": np.arange(6, dtype=np.uint8),
        "test_images": pictures(3, seed=1),
        "test_labels": np.arange(3, dtype=np.uint8),
    }
    files = {}
    for part, array in arrays.items():
        packed = gzip.compress(idx_bytes(array))
        name = mnist.FILES[part].name
        files[part] = mnist.MnistFile(name, len(packed), sha256(packed), array.shape, sha256(array))
        (folder / f"{name}.gz").write_bytes(packed)
    monkeypatch.setattr(mnist, "FILES", files)
    monkeypatch.setattr(mnist, "MIRRORS", (address + "absent/", address))
    return folder


def test_get_mnist_from_a_mirror(small_mnist, tmp_path, capsys):
    assert script("get_mnist").main(["--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "MNIST is complete" in out and err == ""
    assert len(mnp.data.load("mnist").train_labels) == 6  # found in the cache, where it was put
    assert len(list((tmp_path / "cache" / "mnp" / "mnist").iterdir())) == 4


def test_get_mnist_mends_only_what_is_wrong(small_mnist, tmp_path):
    get_mnist, to = script("get_mnist"), tmp_path / "to"
    assert get_mnist.main(["--quiet", "--to", str(to)]) == 0
    names = sorted(p.name for p in to.iterdir())
    kept, damaged, unpacked = (to / name for name in names[:3])
    damaged.write_bytes(b"half")
    unpacked.with_suffix("").write_bytes(gzip.decompress(unpacked.read_bytes()))
    unpacked.unlink()
    before = kept.stat().st_mtime_ns
    assert get_mnist.main(["--quiet", "--to", str(to)]) == 0
    assert kept.stat().st_mtime_ns == before and damaged.read_bytes() != b"half"
    assert not unpacked.exists()  # the plain file serves


def test_get_mnist_mends_a_damaged_file_beside_a_right_plain_one(small_mnist, tmp_path):
    get_mnist, to = script("get_mnist"), tmp_path / "to"
    assert get_mnist.main(["--quiet", "--to", str(to)]) == 0
    packed = min(to.iterdir())
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.write_bytes(b"half")
    assert get_mnist.main(["--quiet", "--to", str(to), "--from", str(small_mnist)]) == 0
    packed.write_bytes(b"half")
    assert get_mnist.main(["--quiet", "--to", str(to)]) == 0


def test_get_mnist_goes_to_the_data_folder(small_mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "data"))
    assert script("get_mnist").main(["--quiet"]) == 0
    assert len(list((tmp_path / "data" / "mnist").iterdir())) == 4


def test_get_mnist_when_the_mirrors_are_wrong(small_mnist, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mnp.data.download.time.sleep", lambda seconds: None)
    name = "train-labels-idx1-ubyte.gz"
    data = bytearray((small_mnist / name).read_bytes())
    data[-5] ^= 1
    (small_mnist / name).write_bytes(data)
    assert script("get_mnist").main(["--quiet", "--to", str(tmp_path / "to")]) == 2
    one_error(capsys, name, "HTTP 404", "the wrong file: its sha256", "By hand", "--from FOLDER")
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize("packed", [True, False])
def test_get_mnist_from_a_folder(small_mnist, tmp_path, packed, capsys):
    source = tmp_path / "mine" / "mnist"
    source.mkdir(parents=True)
    for path in small_mnist.iterdir():
        if packed:  # by another program, at another level: other bytes, the same numbers
            (source / path.name).write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
        else:
            (source / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert script("get_mnist").main(["--from", str(tmp_path / "mine"), "--to", str(tmp_path / "to")]) == 0
    assert len(mnp.data.load("mnist", tmp_path / "to").test_labels) == 3


def test_get_mnist_from_a_bad_folder(small_mnist, tmp_path, capsys):
    get_mnist, to = script("get_mnist"), ["--to", str(tmp_path / "to")]
    assert get_mnist.main(["--from", str(tmp_path / "absent"), *to]) == 2
    one_error(capsys, "no folder")
    assert get_mnist.main(["--from", str(tmp_path), *to]) == 2
    one_error(capsys, "no train-images-idx3-ubyte.gz and no train-images-idx3-ubyte")
    short = small_mnist / "train-images-idx3-ubyte.gz"
    short.write_bytes(gzip.compress(idx_bytes(pictures(5))))
    assert get_mnist.main(["--from", str(small_mnist), *to]) == 2
    one_error(capsys, short, "5 examples, where MNIST has 6")
    assert not (tmp_path / "to").exists()


def test_get_mnist_interrupted(small_mnist, monkeypatch, capsys):
    get_mnist = script("get_mnist")

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(get_mnist, "download", interrupt)
    assert get_mnist.main([]) == 130
    one_error(capsys, "goes on where it was")


@pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="MNIST is not on this machine")
def test_get_mnist_takes_the_real_files(tmp_path, capsys):
    """As a user types it: a process of its own, in another folder."""
    command = [sys.executable, SCRIPTS / "get_mnist.py", "--from", REAL.resolve(), "--to", tmp_path / "to"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "60000 training images" in done.stdout
    for file in mnist.FILES.values():
        assert sha256((tmp_path / "to" / f"{file.name}.gz").read_bytes()) == file.packed_sha256


# ---- get_lfw


@pytest.fixture
def get_lfw(monkeypatch, tmp_path, serve):
    """The script, for which drawings are the official set; all of it is served, and lies in tmp_path/mine."""
    folder, address = serve
    module = script("get_lfw")
    mine = drawn_lfw.draw_lfw(tmp_path / "mine")
    jpegs = lfw_archive.read_jpegs(mine / "lfw-deepfunneled.tgz")
    module.write_manifest(tmp_path / "manifest.gz", jpegs)
    monkeypatch.setattr(module, "MANIFEST", tmp_path / "manifest.gz")
    listed = {}
    for name in module.LISTS:
        data = (mine / name).read_bytes()
        (folder / name).write_bytes(data)
        listed[name] = address + name, sha256(data)
    monkeypatch.setattr(module, "LISTS", listed)
    monkeypatch.setattr(module, "FIGSHARE", address)
    monkeypatch.setattr(module, "SITE_ARCHIVE", address + "site.tar.gz")
    for variant, number in module.ARCHIVE_IDS.items():
        kind = lfw_archive.VARIANTS[variant]
        path = drawn_lfw.pack(drawn_lfw.drawings(), mine / kind.archive, top=kind.folders[0])
        data = path.read_bytes()
        (folder / number).write_bytes(data)
        monkeypatch.setitem(lfw_archive.VARIANTS, variant, kind._replace(archive_sha256=sha256(data)))
    monkeypatch.setattr("mnp.data.download.time.sleep", lambda seconds: None)
    return module


def site(path, jpegs, extra=()):
    """What the official repository's archive looks like: other folders, other files, a commit in a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = {f"site-2a620cd8/images_deepfunneled/{name}": data for name, data in jpegs.items()}
    members |= {f"site-2a620cd8/images/{name}": b"another alignment" for name in jpegs}
    members |= {"site-2a620cd8/index.html": b"<html>"} | dict(extra)
    return drawn_lfw.pack(members, path, top="")


@pytest.mark.parametrize("variant", ["deepfunneled", "funneled", "original"])
def test_get_lfw_from_a_folder(get_lfw, tmp_path, variant, capsys):
    to = tmp_path / "to"
    assert get_lfw.main(["--variant", variant, "--from", str(tmp_path / "mine"), "--to", str(to)]) == 0
    out, err = capsys.readouterr()
    assert f"LFW ({variant}) is complete" in out and err == ""
    faces = lfw.load(to, variant=variant, size=16, progress=False)
    assert len(faces.images) == 60 and len(faces.pairs("pairs").first) == 80
    assert len(list(to.iterdir())) == 7


@pytest.mark.parametrize("variant", ["funneled", "original"])
def test_get_lfw_from_a_mirror(get_lfw, variant, tmp_path):
    assert get_lfw.main(["--quiet", "--variant", variant]) == 0
    assert len(lfw.load(variant=variant, size=16, progress=False).images) == 60  # found in the cache


def test_get_lfw_from_the_official_site(get_lfw, tmp_path, monkeypatch):
    """The deep-funneled photographs lie there as single files: they are picked out, checked and packed."""
    site(tmp_path / "served" / "site.tar.gz", drawn_lfw.drawings())
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "data"))
    assert get_lfw.main(["--quiet"]) == 0
    to = tmp_path / "data" / "lfw"
    assert sorted(p.name for p in to.iterdir()) == sorted(["lfw-deepfunneled.tgz", *get_lfw.LISTS])
    assert lfw_archive.read_jpegs(to / "lfw-deepfunneled.tgz") == dict(sorted(drawn_lfw.drawings().items()))
    (tmp_path / "served" / "site.tar.gz").unlink()
    assert get_lfw.main(["--quiet"]) == 0  # what is there and right is kept


def test_a_wrong_archive_is_replaced_by_the_right_one(get_lfw, tmp_path):
    to = tmp_path / "to"
    site(tmp_path / "served" / "site.tar.gz", drawn_lfw.drawings())
    drawn_lfw.pack(drawn_lfw.drawings({"Ada": 1}), to / "lfw-deepfunneled.tgz")
    assert get_lfw.main(["--quiet", "--to", str(to)]) == 0
    assert len(lfw_archive.read_jpegs(to / "lfw-deepfunneled.tgz")) == 60


def test_get_lfw_from_single_photographs(get_lfw, tmp_path):
    mine = tmp_path / "mine"
    get_lfw.unpack(mine / "lfw-deepfunneled.tgz", mine / "images_deepfunneled")
    (mine / "lfw-deepfunneled.tgz").unlink()
    targets = [tmp_path / "a", tmp_path / "b"]
    for to in targets:
        assert get_lfw.main(["--from", str(mine), "--to", str(to)]) == 0
    first, second = ((to / "lfw-deepfunneled.tgz").read_bytes() for to in targets)
    assert first == second  # no time stamp, no user's name
    with tarfile.open(targets[0] / "lfw-deepfunneled.tgz") as archive:  # and others can read it
        assert archive.getnames()[0] == "lfw-deepfunneled/Ada_Ash/Ada_Ash_0001.jpg"


def test_unpack(get_lfw, tmp_path, capsys):
    call = ["--from", str(tmp_path / "mine"), "--to", str(tmp_path / "to"), "--unpack"]
    (tmp_path / "to" / "lfw-deepfunneled.part" / "from an interrupted run").mkdir(parents=True)
    assert get_lfw.main(call) == 0
    folder = tmp_path / "to" / "lfw-deepfunneled"
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == drawn_lfw.drawings()
    assert not (tmp_path / "to" / "lfw-deepfunneled.part").exists()
    capsys.readouterr()
    assert get_lfw.main(call) == 2
    assert "is there already" in capsys.readouterr().err


def test_unpack_on_a_full_disk_leaves_nothing(get_lfw, tmp_path, monkeypatch, capsys):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    call = ["--from", str(tmp_path / "mine"), "--to", str(tmp_path / "to"), "--unpack"]
    assert get_lfw.main(call) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not [p for p in (tmp_path / "to").iterdir() if p.is_dir()]


def bad_archive(kind, good):
    jpegs = drawn_lfw.drawings()
    if kind == "truncated":
        return good[: len(good) // 2]
    if kind == "page":
        return b"<!DOCTYPE html><html><title>Redirect</title></html>"
    if kind == "bomb":
        return gzip.compress(bytes(1 << 20))
    if kind == "outside":
        return drawn_lfw.pack({"../../evil.jpg": b"x"} | jpegs, Path("a.tgz")).read_bytes()
    if kind == "link":
        info = tarfile.TarInfo("lfw-deepfunneled/Ada_Ash")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        return drawn_lfw.pack([info], Path("a.tgz")).read_bytes()
    name = "Ada_Ash/Ada_Ash_0002.jpg"
    changed = {
        "missing": {n: d for n, d in jpegs.items() if n != name},
        "more": jpegs | {"Ada_Ash/Ada_Ash_0004.jpg": jpegs[name]},
        "other": jpegs | {name: jpegs[name][:-4] + b"\0\0" + jpegs[name][-2:]},
    }[kind]
    return drawn_lfw.pack(changed, Path("a.tgz")).read_bytes()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "cut short"),
        ("page", "is a web page, not an archive"),
        ("bomb", "no photograph in it"),
        ("outside", "is not one to unpack"),
        ("link", "a link, a device"),
        ("missing", "1 missing (Ada_Ash/Ada_Ash_0002.jpg)"),
        ("more", "1 that LFW does not have (Ada_Ash/Ada_Ash_0004.jpg)"),
        ("other", "1 with another content (Ada_Ash/Ada_Ash_0002.jpg)"),
    ],
)
def test_bad_archives(get_lfw, tmp_path, monkeypatch, capsys, kind, says):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine" / "lfw-deepfunneled.tgz"
    path.write_bytes(bad_archive(kind, path.read_bytes()))
    before = sorted(tmp_path.rglob("*"))
    assert get_lfw.main(["--from", str(tmp_path / "mine"), "--to", str(tmp_path / "to"), "--unpack"]) == 2
    one_error(capsys, path, says)
    new = [p for p in sorted(tmp_path.rglob("*")) if p not in before]
    assert {p.name for p in new} == {
        "to",
        *get_lfw.LISTS,
    }  # the lists were right, and nothing else came


@pytest.mark.parametrize("what", ["list", "archive", "photographs"])
def test_bad_mirrors(get_lfw, tmp_path, capsys, what):
    served, variant = tmp_path / "served", "original" if what == "archive" else "deepfunneled"
    if what == "list":
        (served / "pairs.txt").write_text("10\t300\n")
    elif what == "archive":
        (served / get_lfw.ARCHIVE_IDS["original"]).write_bytes(b"<html>moved</html>")
    else:
        site(served / "site.tar.gz", drawn_lfw.drawings({"Ada_Ash": 3}))
    assert get_lfw.main(["--quiet", "--variant", variant, "--to", str(tmp_path / "to")]) == 2
    one_error(capsys, "the wrong file", "By hand", "--from FOLDER")
    assert not [p for p in (tmp_path / "to").iterdir() if p.suffix in (".tgz", ".gz", ".part")]


def test_get_lfw_from_a_folder_without(get_lfw, tmp_path, capsys):
    for name in ("lfw-deepfunneled.tgz", "lfw.tgz", "pairs.txt"):
        (tmp_path / "mine" / name).unlink()
        variant = "original" if name == "lfw.tgz" else "deepfunneled"
        call = ["--variant", variant, "--from", str(tmp_path / "mine"), "--to", str(tmp_path / "to")]
        assert get_lfw.main(call) == 2
        one_error(capsys, f"no {name}" if name != "lfw-deepfunneled.tgz" else "none of lfw-deepfunneled.tgz")


def test_get_lfw_interrupted(get_lfw, monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(get_lfw, "get_lists", interrupt)
    assert get_lfw.main([]) == 130
    one_error(capsys, "goes on where it was")


def test_the_manifest_is_written_alike_each_time(get_lfw, tmp_path, capsys):
    for name in ("a.gz", "b.gz"):
        call = ["--from", str(tmp_path / "mine"), "--write-manifest", str(tmp_path / name)]
        assert get_lfw.main(call) == 0
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    text = gzip.decompress((tmp_path / "a.gz").read_bytes())
    assert f"content sha256 {sha256(text)}" in capsys.readouterr().out
    assert get_lfw.main(["--write-manifest", str(tmp_path / "c.gz")]) == 2
    one_error(capsys, "--write-manifest needs --from DIR")


def test_the_committed_manifest_is_the_one_that_the_loader_knows():
    path = script("get_lfw").MANIFEST
    text = gzip.decompress(path.read_bytes())
    assert sha256(text) == lfw_archive.VARIANTS["deepfunneled"].content_sha256
    lines = text.decode().splitlines()
    assert len(lines) == 13_232 and not any("Betsy_Coffin" in line for line in lines)
    assert path.stat().st_size < 1 << 20


@pytest.mark.skipif(not (REAL / "lfw").is_dir(), reason="LFW is not on this machine")
def test_the_real_photographs_pass_the_manifest():
    assert len(script("get_lfw").check_manifest(REAL / "lfw" / "lfw-deepfunneled.tgz")) == 13_232


@pytest.mark.parametrize("name", ["get_mnist", "get_lfw"])
def test_help_says_how(name, capsys):
    with pytest.raises(SystemExit) as ended:
        script(name).main(["--help"])
    assert ended.value.code == 0 and f"python data_scripts/{name}.py" in capsys.readouterr().out
