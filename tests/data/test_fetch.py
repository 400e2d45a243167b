"""`mnp fetch` and the scripts that get the data, on small sets and a server on this machine."""

import functools
import gzip
import hashlib
import http.server
import os
import runpy
import subprocess
import sys
import tarfile
import threading
import types
import zipfile
from pathlib import Path

import drawn_lfw
import numpy as np
import pytest
from one_line import refused
from small_mnist import idx_bytes, pictures, write_set

import mnp.data
from mnp.cli import main
from mnp.data import digits, fetch, lfw, lfw_archive, mnist
from mnp.errors import MnpError

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"
REAL = Path(os.environ.get("MNP_DATA", "no such folder"))


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MNP_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("mnp.data.download.time.sleep", lambda seconds: None)


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


def run(*arguments):
    """`mnp fetch` with these arguments, without progress bars; the exit status."""
    return main(["fetch", *map(str, arguments), "--quiet"])


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def rejects(capsys):
    """`rejects(ARGUMENTS, *parts)`: `mnp fetch ARGUMENTS` fails in one line with these parts."""
    return lambda arguments, *parts: refused(capsys, ["fetch", *arguments, "--quiet"], *parts)


# ---- make_digits


def test_make_digits_writes_what_the_package_ships(monkeypatch, tmp_path, capsys):
    """The package's own table stands for scikit-learn's, which is where it comes from."""
    pixels, labels = digits.read_digits()
    table = types.SimpleNamespace(data=pixels.reshape(-1, 64).astype(float), target=labels)
    module = types.SimpleNamespace(load_digits=lambda: table)
    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", module)
    make_digits = runpy.run_path(str(SCRIPTS / "make_digits.py"))["main"]
    monkeypatch.setitem(make_digits.__globals__, "TARGET", tmp_path / "d.csv.gz")
    assert make_digits([]) == 0 and "1797 images" in capsys.readouterr().out
    assert sha256(gzip.decompress((tmp_path / "d.csv.gz").read_bytes())) == digits.TEXT_SHA256
    assert make_digits(["--check"]) == 0 and "the source equals the file" in capsys.readouterr().out
    table.data[0, 0] += 1
    assert make_digits(["--check"]) == 1 and "DIFFERS" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert make_digits([]) == 2 and "pip install scikit-learn" in capsys.readouterr().err


# ---- MNIST and Fashion-MNIST


@pytest.fixture
def small_mnist(monkeypatch, serve):
    """Four small files, served packed, that are the official ones for this test; gives their folder."""
    folder, address = serve
    arrays = {
        "train_images": pictures(6),
        "train_labels": np.arange(6, dtype=np.uint8),
        "test_images": pictures(3, seed=1),
        "test_labels": np.arange(3, dtype=np.uint8),
    }
    for part, array in arrays.items():
        (folder / f"{mnist.FILES[part][0]}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    files = {part: (name, arrays[part].shape) for part, (name, _) in mnist.FILES.items()}
    known = {part: sha256(array) for part, array in arrays.items()}
    monkeypatch.setattr(mnist, "FILES", files)
    for name in ("mnist", "fashion-mnist"):
        monkeypatch.setitem(fetch.MIRRORS, name, (address + "absent/", address))
        monkeypatch.setitem(mnist.SHA256, name, known if name == "mnist" else dict.fromkeys(known, "0"))
    return folder


def test_fetch_mnist_from_a_mirror(small_mnist, tmp_path, capsys):
    assert run("mnist") == 0
    out, err = capsys.readouterr()
    assert "mnist is complete" in out and err == ""
    data = mnp.data.load("mnist")  # found in the cache, where it was put
    assert data.name == "mnist" and data.counts["train"] == 6
    assert len(list((tmp_path / "cache" / "mnp" / "mnist").iterdir())) == 4


def test_another_set_is_rejected(small_mnist, rejects):
    rejects(["fashion-mnist"], "is a file of mnist, not of fashion-mnist")


def test_the_function_returns_the_folder_and_tells_the_log(small_mnist, tmp_path):
    lines = []
    assert fetch.fetch("mnist", tmp_path / "to", lines.append, progress=False) == tmp_path / "to"
    assert len(lines) == 1 and str(tmp_path / "to") in lines[0]
    with pytest.raises(
        MnpError, match="unknown data set 'cifar': choose one of mnist, fashion-mnist, kmnist, "
    ):
        fetch.fetch("cifar")


def test_fetch_replaces_only_what_is_wrong(small_mnist, tmp_path):
    to = tmp_path / "to"
    assert run("mnist", "--to", to) == 0
    names = sorted(p.name for p in to.iterdir())
    kept, damaged, unpacked = (to / name for name in names[:3])
    damaged.write_bytes(b"half")
    unpacked.with_suffix("").write_bytes(gzip.decompress(unpacked.read_bytes()))
    unpacked.unlink()
    before = kept.stat().st_mtime_ns
    assert run("mnist", "--to", to) == 0
    assert kept.stat().st_mtime_ns == before and damaged.read_bytes() != b"half"
    assert not unpacked.exists()  # the plain file is enough


def test_fetch_replaces_a_damaged_file_beside_a_right_plain_one(small_mnist, tmp_path, capsys, rejects):
    to, plain = tmp_path / "to", tmp_path / "plain"
    plain.mkdir()
    for path in small_mnist.iterdir():
        (plain / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert run("mnist", "--to", to, "--from", plain) == 0
    capsys.readouterr()
    packed = to / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(b"half")
    rejects(["mnist", "--to", to, "--from", plain], packed)  # it would be read before the plain file
    assert run("mnist", "--to", to) == 0
    assert packed.read_bytes() == (small_mnist / packed.name).read_bytes()


def test_fetch_when_the_mirrors_are_wrong(small_mnist, tmp_path, rejects):
    name = "train-labels-idx1-ubyte.gz"
    data = bytearray((small_mnist / name).read_bytes())
    data[-5] ^= 1
    (small_mnist / name).write_bytes(data)
    parts = name, "the wrong file: ", "By hand", "`mnp fetch mnist --from FOLDER`"
    rejects(["mnist", "--to", tmp_path / "to"], *parts)
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize(
    "rename",
    ["mnist/{}.gz", lambda name: name.replace("-idx", ".idx")],
    ids=["packed", "WinRAR"],
)
def test_fetch_from_a_folder(small_mnist, tmp_path, rename):
    for path in small_mnist.iterdir():
        mine = tmp_path / "mine" / (rename(path.stem) if callable(rename) else rename.format(path.stem))
        mine.parent.mkdir(parents=True, exist_ok=True)
        data = gzip.decompress(path.read_bytes())  # packed by another program: other bytes, the same numbers
        mine.write_bytes(gzip.compress(data, 1) if mine.suffix == ".gz" else data)
    assert run("mnist", "--from", tmp_path / "mine", "--to", tmp_path / "to") == 0
    assert mnp.data.load("mnist", tmp_path / "to").name == "mnist"


def test_fetch_from_a_bad_folder(small_mnist, tmp_path, rejects):
    to = ["--to", tmp_path / "to"]
    rejects(["mnist", "--from", tmp_path / "absent", *to], "no folder")
    rejects(["mnist", "--from", tmp_path, *to], "no mnist files in", "wanted: train-images-idx3-ubyte")
    short = small_mnist / "train-images-idx3-ubyte.gz"
    short.write_bytes(gzip.compress(idx_bytes(pictures(5))))
    rejects(["mnist", "--from", small_mnist, *to], short, "5 examples, where mnist has 6")
    assert not (tmp_path / "to").exists()


def test_fetch_kmnist_from_its_site_and_from_a_folder(serve, tmp_path, monkeypatch, rejects):
    folder, address = serve
    write_set(folder)
    known = {part: sha256((folder / f"{name}.gz").read_bytes()) for part, (name, _) in mnist.FILES.items()}
    monkeypatch.setitem(fetch.MIRRORS, "kmnist", (address,))
    rejects(["kmnist", "--to", tmp_path / "wrong"], "the wrong file", "`mnp fetch kmnist --from FOLDER`")
    monkeypatch.setitem(mnist.PACKED_SHA256, "kmnist", known)
    assert run("kmnist") == 0 and mnp.data.load("kmnist").name == "kmnist"
    assert run("kmnist", "--from", folder, "--to", tmp_path / "to") == 0
    assert mnp.data.load("kmnist", tmp_path / "to").name == "kmnist"
    write_set(tmp_path / "cache" / "mnp" / "kmnist", train=4)
    write_set(tmp_path / "cache" / "mnp" / "other")  # another set beside it is not looked at
    assert mnp.data.load("kmnist").name == "kmnist (unofficial: 4 + 3 images)"


def test_fetch_emnist_letters_out_of_the_archive_of_all_sets(serve, tmp_path, monkeypatch):
    folder, address = serve
    names = {"train": (5, [1, 2, 26, 3, 4]), "test": (2, [1, 5])}
    with zipfile.ZipFile(folder / "gzip.zip", "w") as packed:
        for half, (n, labels) in names.items():
            for what, array in (("images-idx3", pictures(n)), ("labels-idx1", np.array(labels, np.uint8))):
                for kind in ("letters", "digits"):
                    name = f"gzip/emnist-{kind}-{half}-{what}-ubyte.gz"
                    packed.writestr(name, gzip.compress(idx_bytes(array)))
    monkeypatch.setattr(fetch, "EMNIST_ARCHIVE", (address + "absent.zip", address + "gzip.zip"))
    monkeypatch.setattr(fetch, "EMNIST_SHA256", sha256((folder / "gzip.zip").read_bytes()))
    assert run("emnist-letters") == 0 and run("emnist-letters") == 0
    assert len(list((tmp_path / "cache/mnp/emnist-letters").iterdir())) == 4
    data = mnp.data.load("emnist-letters")
    assert data.train_labels.tolist() == [0, 1, 25, 2, 3] and data.name == "emnist-letters"
    assert run("emnist-letters", "--from", folder, "--to", tmp_path / "to") == 0
    assert mnp.data.load("emnist-letters", tmp_path / "to").checksum == data.checksum


def test_fetch_interrupted(monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "download", interrupt)
    assert run("mnist") == 130 and capsys.readouterr().err == "mnp: interrupted\n"


@pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="mnist is not in $MNP_DATA")
def test_the_scripts_take_the_real_files(tmp_path):
    """As a user types it: a separate process, in another folder, without an installed package."""
    command = [sys.executable, SCRIPTS / "get_mnist.py", "--from", REAL.resolve(), "--to", tmp_path / "to"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "mnist is complete" in done.stdout
    assert mnp.data.load("mnist", tmp_path / "to").name == "mnist"


# ---- LFW


@pytest.fixture
def small_lfw(monkeypatch, tmp_path, serve):
    """Drawings that are the official set for this test: all of it is served, and lies in the folder given."""
    folder, address = serve
    mine = drawn_lfw.draw_lfw(tmp_path / "mine")
    known = lfw_archive.VARIANTS["deepfunneled"]._replace(content_sha256=content(drawn_lfw.drawings()))
    monkeypatch.setitem(lfw_archive.VARIANTS, "deepfunneled", known)
    for name, (number, _) in fetch.LISTS.items():
        data = (mine / name).read_bytes()
        (folder / (number or name)).write_bytes(data)
        monkeypatch.setitem(fetch.LISTS, name, (number, sha256(data)))
    monkeypatch.setattr(fetch, "FIGSHARE", address)
    monkeypatch.setattr(fetch, "RAW", address)
    monkeypatch.setattr(fetch, "SITE_ARCHIVE", address + "site.tar.gz")
    for variant, number in fetch.ARCHIVES.items():
        kind = lfw_archive.VARIANTS[variant]
        data = drawn_lfw.pack(drawn_lfw.drawings(), mine / kind.archive, top=kind.folders[0]).read_bytes()
        (folder / number).write_bytes(data)
        monkeypatch.setitem(lfw_archive.VARIANTS, variant, kind._replace(archive_sha256=sha256(data)))
    return mine


def content(jpegs):
    return lfw_archive.content_sha256(dict(sorted(jpegs.items())))


def site(path, jpegs, extra=()):
    """What the official repository's archive looks like: other folders, other files, a commit in a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = {f"site-2a620cd8/images_deepfunneled/{name}": data for name, data in jpegs.items()}
    members |= {f"site-2a620cd8/images/{name}": b"another alignment" for name in jpegs}
    members |= {"site-2a620cd8/index.html": b"<html>"} | dict(extra)
    return drawn_lfw.pack(members, path, top="")


@pytest.mark.parametrize("variant", ["deepfunneled", "funneled", "original"])
def test_fetch_lfw_from_a_folder(small_lfw, tmp_path, variant, capsys):
    to = tmp_path / "to"
    assert run("lfw", "--variant", variant, "--from", small_lfw, "--to", to) == 0
    out, err = capsys.readouterr()
    assert "lfw is complete" in out and err == ""
    faces = lfw.load(to, variant=variant, size=16, progress=False)
    assert len(faces.images) == 60 and len(faces.pairs("pairs").first) == 80
    assert len(list(to.iterdir())) == 7


@pytest.mark.parametrize("variant", ["funneled", "original"])
def test_fetch_lfw_from_a_mirror(small_lfw, variant):
    assert run("lfw", "--variant", variant) == 0
    assert len(lfw.load(variant=variant, size=16, progress=False).images) == 60  # found in the cache


def test_fetch_lfw_from_the_official_site(small_lfw, tmp_path, monkeypatch):
    """The deep-funneled photographs lie there as single files: they are picked out, checked and packed."""
    site(tmp_path / "served" / "site.tar.gz", drawn_lfw.drawings())
    monkeypatch.setenv("MNP_DATA", str(tmp_path / "data"))
    assert run("lfw") == 0
    to = tmp_path / "data" / "lfw"
    assert sorted(p.name for p in to.iterdir()) == sorted(["lfw-deepfunneled.tgz", *fetch.LISTS])
    assert lfw_archive.read_jpegs(to / "lfw-deepfunneled.tgz") == dict(sorted(drawn_lfw.drawings().items()))
    drawn_lfw.pack(drawn_lfw.drawings({"Ada": 1}), to / "lfw-deepfunneled.tgz")
    assert run("lfw") == 0  # a wrong archive is replaced
    assert len(lfw_archive.read_jpegs(to / "lfw-deepfunneled.tgz")) == 60
    (tmp_path / "served" / "site.tar.gz").unlink()
    assert run("lfw") == 0  # what is there and right is kept


@pytest.mark.parametrize("inside", ["images_deepfunneled", "lfw-deepfunneled/lfw-deepfunneled"])
def test_fetch_lfw_from_single_photographs(small_lfw, tmp_path, inside):
    (small_lfw / "lfw-deepfunneled.tgz").unlink()
    for name, data in drawn_lfw.drawings().items():
        path = small_lfw / inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    targets = [tmp_path / "a", tmp_path / "b"]
    for to in targets:
        assert run("lfw", "--from", small_lfw, "--to", to) == 0
    first, second = ((to / "lfw-deepfunneled.tgz").read_bytes() for to in targets)
    assert first == second  # no time stamp, no user's name
    with tarfile.open(targets[0] / "lfw-deepfunneled.tgz") as archive:  # and others can read it
        assert archive.getnames()[0] == "lfw-deepfunneled/Ada_Ash/Ada_Ash_0001.jpg"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "cannot be read as an archive"),
        ("missing", "its 59 photographs are not the 13,232 official ones"),
        ("other", "its 60 photographs are not"),
    ],
)
def test_bad_archives(small_lfw, tmp_path, rejects, kind, says):
    path, jpegs, name = small_lfw / "lfw-deepfunneled.tgz", drawn_lfw.drawings(), "Ada_Ash/Ada_Ash_0002.jpg"
    good = jpegs.pop(name)
    if kind == "other":
        jpegs[name] = good[:-4] + b"\0\0" + good[-2:]
    drawn_lfw.pack(jpegs, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    before = sorted(tmp_path.rglob("*"))
    rejects(["lfw", "--from", small_lfw, "--to", tmp_path / "to"], path, says)
    new = [p.name for p in sorted(tmp_path.rglob("*")) if p not in before]
    assert set(new) == {"to", *fetch.LISTS}  # the lists were right, and nothing else was written


@pytest.mark.parametrize("what", ["list", "archive", "photographs"])
def test_bad_mirrors(small_lfw, tmp_path, rejects, what):
    served, variant = tmp_path / "served", "original" if what == "archive" else "deepfunneled"
    if what == "list":
        (served / fetch.LISTS["pairs.txt"][0]).write_text("10\t300\n")
    elif what == "archive":
        (served / fetch.ARCHIVES["original"]).write_bytes(b"<html>moved</html>")
    else:
        site(served / "site.tar.gz", drawn_lfw.drawings({"Ada_Ash": 3}))
    words = ["lfw", "--variant", variant, "--to", tmp_path / "to"]
    rejects(words, "the wrong file", "By hand", "--from FOLDER")
    assert not [p for p in (tmp_path / "to").iterdir() if p.suffix != ".txt"]


def test_fetch_lfw_from_a_folder_without_a_file(small_lfw, tmp_path, rejects):
    for name in ("lfw-deepfunneled.tgz", "lfw.tgz", "pairs.txt"):
        (small_lfw / name).unlink()
        variant = "original" if name == "lfw.tgz" else "deepfunneled"
        words = ["lfw", "--variant", variant, "--from", small_lfw, "--to", tmp_path / "to"]
        rejects(words, f"no {name}", small_lfw)


def test_the_committed_manifest_is_that_of_the_official_photographs():
    text = gzip.decompress((SCRIPTS / "lfw-deepfunneled.sha256.gz").read_bytes())
    assert sha256(text) == lfw_archive.VARIANTS["deepfunneled"].content_sha256
    lines = text.decode().splitlines()
    assert len(lines) == 13_232 and not any("Betsy_Coffin" in line for line in lines)


@pytest.mark.parametrize("name", ["get_mnist", "get_fashion_mnist", "get_lfw"])
def test_the_scripts_show_the_options(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 0 and "mnp fetch" in capsys.readouterr().out
