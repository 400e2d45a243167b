"""LFW's archive, lists, pairs and folds, on drawings in the official layout; the real ones if there."""

import gzip
import hashlib
import io
import os
import tarfile
import time
import tracemalloc
from pathlib import Path

import drawn_lfw
import numpy as np
import pytest
from one_line import one_line
from PIL import Image

from mnp.data import lfw, lfw_archive, lfw_images, lfw_protocol, sources
from mnp.errors import MnpError

REAL = Path(os.environ.get("MNP_DATA", "no such folder")) / "lfw"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="LFW is not on this machine: $MNP_DATA does not lead to it"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn_lfw.draw_lfw(tmp_path_factory.mktemp("lfw"))


def quiet(folder, **options):
    return lfw.load(folder, **({"crop": 128, "size": 32, "progress": False} | options))


def jpegs(count=2):
    return dict(sorted(drawn_lfw.drawings({"Ada_Ash": count}).items()))


# ---- archives


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "top",
    [
        "lfw-deepfunneled",
        "",
        ".",
        "home/me/" * 20 + "lfw",
        "Zoë/lfw",
        "..",
        "/etc",
        "../../..",
        "C:\\windows",
    ],
)
def test_archives_of_other_programs_give_the_same(tmp_path, form, top):
    """Packed again by GNU tar, with long names, by others, and with folders that are not looked at."""
    if form == tarfile.USTAR_FORMAT and len(top) > 100:
        top = top[:90]
    path = drawn_lfw.pack({"Ada_Ash": None} | jpegs(), tmp_path / "a.tgz", top, form)
    assert lfw_archive.read_jpegs(path) == jpegs()


@pytest.mark.parametrize("name", ["lfw-deepfunneled.tgz", "lfw-deepfunneled.tar.gz", "lfw-deepfunneled.tar"])
def test_names_of_archives(tmp_path, name):
    path = drawn_lfw.pack(jpegs(), tmp_path / name)
    if name.endswith(".tar"):
        path.write_bytes(gzip.decompress(path.read_bytes()))
    assert list(quiet(tmp_path).photographs) == list(jpegs())


def special(name, kind=tarfile.REGTYPE, size=0, **attributes):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside", "a/../../b", "C:\\windows", "Person\x1b", "a//b"]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_other_members_are_skipped_and_nothing_is_written(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    members = [
        special(name, kind, linkname="/etc/passwd"),
        special(f"{name}.jpg", kind, linkname="/etc/passwd"),
    ]
    members = members if kind != tarfile.REGTYPE else members[:1]
    path = drawn_lfw.pack(members, tmp_path / "a.tgz")
    with pytest.raises(MnpError, match="no photograph in it"):
        lfw_archive.read_jpegs(path)
    assert list(tmp_path.iterdir()) == [path]


def test_limits_of_an_archive(tmp_path, monkeypatch):
    path = drawn_lfw.pack(jpegs() | {"notes": bytes(50_000)}, tmp_path / "a.tgz")
    assert lfw_archive.read_jpegs(path, total_limit=100_000) == jpegs()
    with pytest.raises(MnpError, match="more than 50000 bytes"):
        lfw_archive.read_jpegs(path, total_limit=50_000)
    raw = gzip.decompress(path.read_bytes())  # what follows the end of the archive counts as well
    path.write_bytes(gzip.compress(raw + bytes(1 << 20)))
    with pytest.raises(MnpError, match="more than 100000 bytes"):
        lfw_archive.read_jpegs(path, total_limit=100_000)
    assert lfw_archive.read_jpegs(path) == jpegs()
    monkeypatch.setattr(lfw_archive, "MEMBER_LIMIT", 2)
    with pytest.raises(MnpError, match="or 2 files"):
        lfw_archive.read_jpegs(path)


def test_every_cut_is_found(tmp_path):
    """The archive cut anywhere, and a whole gzip file around a tar file that is cut."""
    members = {"a/b_0001.jpg": b"x" * 700, "Ada/Ada_0001.jpg": b"y" * 600}
    data = drawn_lfw.pack(members, tmp_path / "a.tgz").read_bytes()
    raw = gzip.decompress(data)
    cut = tmp_path / "cut.tgz"
    end = 512 * (1 + 2 + 1 + 2)  # two headers, each with two blocks
    cuts = [data[:n] for n in range(len(data))] + [gzip.compress(raw[:n]) for n in range(0, end + 1, 128)]
    for piece in cuts:
        cut.write_bytes(piece)
        with one_line(r"cannot be read as an archive|is not a name of LFW's", cut):
            lfw_archive.read_jpegs(cut)


@pytest.mark.parametrize("place", [0, 100, 130, 150, 156, 345])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, place):
    raw = bytearray(gzip.decompress(drawn_lfw.pack(jpegs(), tmp_path / "a.tgz").read_bytes()))
    second = raw.index(b"lfw-deepfunneled", 100)
    raw[second + place] ^= 1
    (tmp_path / "a.tgz").write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(MnpError, match="a damaged header, or no end"):
        lfw_archive.read_jpegs(tmp_path / "a.tgz")


def sealed(header):
    """A header of 512 bytes with the checksum that fits."""
    header = bytearray(header)
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
    return bytes(header)


def hostile(kind):
    """The content of a tar file that means harm, up to its end."""
    large = 1 << 25
    if kind in ("x", "g", "L", "K"):  # an extended header or a long name that is meant to fill the memory
        return special("a", kind.encode(), large).tobuf() + bytes(large)
    if kind == "chain":
        return special("a", b"L", 512).tobuf() * 100_000
    if kind == "sparse":
        return special("Ada/Ada_0001.jpg", tarfile.GNUTYPE_SPARSE, 1 << 40).tobuf()
    header = bytearray(special("a/Ada_Ash/Ada_Ash_0001.jpg").tobuf())
    if kind == "negative":
        header[124:136] = b"\xff" * 10 + b"\xf0\x00"  # -4096
    if kind == "huge":
        header[124:136] = b"\x80" + b"\xff" * 11
    if kind == "records":
        records = b"30 path=../../../Ada_0001.jpg\n" + b"20 size=99999999999\n"
        return special("x", b"x", len(records)).tobuf() + records.ljust(512, b"\0") + bytes(header)
    return sealed(header)


@pytest.mark.parametrize("kind", ["x", "g", "L", "K", "chain", "sparse", "negative", "huge", "records"])
def test_hostile_archives_end_soon_in_one_line_and_little_memory(tmp_path, kind):
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(hostile(kind) + bytes(1024), 1))
    tracemalloc.start()
    begun = time.perf_counter()
    with one_line("cannot be read as an archive", path):
        lfw_archive.read_jpegs(path)
    seconds, peak = time.perf_counter() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5 and peak < 8 << 20


def test_other_things_than_archives(tmp_path):
    page = tmp_path / "lfw.tgz"
    page.write_bytes(b"<!DOCTYPE html><html><head><title>Moved</title></head></html>")
    with one_line("a web page, not the file", page):
        lfw_archive.read_jpegs(page)
    for content in (b"", b"hello", gzip.compress(b"hello" * 200), gzip.compress(bytes(10_240))):
        page.write_bytes(content)
        with pytest.raises(MnpError, match=r"cannot be read as an archive|no photograph"):
            lfw_archive.read_jpegs(page)
    with pytest.raises(MnpError, match=r"cannot be read as an archive \(No such file"):
        lfw_archive.read_jpegs(tmp_path / "absent.tgz")
    with pytest.raises(MnpError, match="cannot be read"):
        sources.fingerprint(tmp_path / "absent.tgz")


# ---- the lists


def written(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode("latin-1"))
    return path


def test_pairs_read_by_hand(tmp_path):
    path = written(
        tmp_path, "2\t1\nAda_Ash\t1\t2\nAda_Ash\t1\tBen_Elm\t3\nCleo\t4\t1\nCleo\t1\tJean-Luc_P\t1\n"
    )
    pairs, folds = lfw_protocol.read_pairs(path)
    assert folds == [0, 0, 1, 1]
    assert pairs[0] == ("Ada_Ash", 1, "Ada_Ash", 2) and pairs[0].same
    assert pairs[3] == ("Cleo", 1, "Jean-Luc_P", 1) and not pairs[3].same


GOOD_PAIRS = "2\nA\t1\t2\nB\t1\t3\nA\t1\tB\t1\nA\t2\tB\t2\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: '', where the number of pairs"),
        ("2\nA\t1\t2\n", "line 1: 1 x 4 pairs announced, but 1 lines follow"),
        (GOOD_PAIRS + "A\t3\tB\t3\n", "line 1: 1 x 4 pairs announced, but 5 lines follow"),
        (GOOD_PAIRS.replace("A\t1\t2", "A\t1\tA\t2"), "line 2: 'A.t1.tA.t2', where a matched pair"),
        (GOOD_PAIRS.replace("A\t1\tB\t1", "A\t1\t2"), "line 4: 'A.t1.t2', where a mismatched pair"),
        (GOOD_PAIRS.replace("A\t1\t2", "A 1 2"), "line 2: 'A 1 2', where a matched pair .*separated by tabs"),
        (GOOD_PAIRS.replace("A\t1\t2", "A\t0\t2"), "line 2: 'A.t0.t2'"),
        (GOOD_PAIRS.replace("A\t1\t2", "../A\t1\t2"), "line 2: '../A.t1.t2'"),
        (GOOD_PAIRS.replace("A\t1\t2", "A\t2\t2"), "line 2: an image paired with itself"),
        (GOOD_PAIRS.replace("A\t1\tB\t1", "A\t1\tA\t2"), "line 4: 'A.t1.tA.t2', where a mismatched pair"),
        (GOOD_PAIRS.replace("B\t1\t3", "A\t2\t1"), "line 3: a repeated pair"),
        (GOOD_PAIRS.replace("2\n", "11\t2\n", 1), "line 1: '11.t2'"),
        (GOOD_PAIRS + "\xe9", "plain ASCII"),
        ("1" * (1 << 21), "too long"),
    ],
)
def test_bad_pairs(tmp_path, text, says):
    path = written(tmp_path, text)
    with one_line(says, path, "mnp fetch lfw"):
        lfw_protocol.read_pairs(path)


def test_lists_written_on_windows_and_without_a_last_line_end(tmp_path):
    expected = lfw_protocol.read_pairs(written(tmp_path, GOOD_PAIRS))
    assert lfw_protocol.read_pairs(written(tmp_path, GOOD_PAIRS.replace("\n", "\r\n"))) == expected
    assert lfw_protocol.read_pairs(written(tmp_path, GOOD_PAIRS.rstrip())) == expected


def test_people_read_by_hand(tmp_path):
    assert lfw_protocol.read_people(written(tmp_path, "2\nA\t1\nB\t20\n")) == ({"A": 1, "B": 20},)
    folds = lfw_protocol.read_people(written(tmp_path, "2\n1\nA\t1\n2\nB\t2\nC\t3\n"))
    assert folds == ({"A": 1}, {"B": 2, "C": 3})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: '', where the number of people or folds"),
        ("2\nA\t1\n", "line 2: the file ends where a person"),
        ("1\nA\t1\nB\t1\n", "line 3: more lines than announced"),
        ("1\nA\t-3\n", "line 2: 'A.t-3'"),
        ("2\n1\nA\t1\n1\nA\t1\n", "line 5: A is there twice"),
        ("2\n1\nA\t1\n", "the file ends where the number of people"),
    ],
)
def test_bad_people(tmp_path, text, says):
    path = written(tmp_path, text)
    with one_line(says, path):
        lfw_protocol.read_people(path)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(MnpError, match=r"cannot be read .*mnp fetch lfw"):
        lfw_protocol.read_people(tmp_path / "absent.txt")


def test_pairs_are_compared_with_the_people(tmp_path):
    pairs = lfw_protocol.read_pairs(written(tmp_path, "2\t1\nA\t1\t2\nA\t1\tB\t1\nC\t1\t2\nC\t1\tD\t1\n"))
    good = ({"A": 2, "B": 1}, {"C": 2, "D": 1})
    lfw_protocol.check_people(*pairs, good, "pairs.txt")
    with pytest.raises(MnpError, match=r"pairs\.txt: image 1 of D is in a pair of fold 2, but not"):
        lfw_protocol.check_people(*pairs, ({"A": 2, "B": 1, "D": 1}, {"C": 2}), "pairs.txt")
    with pytest.raises(MnpError, match="image 1 of C is in a pair of fold 2, but not"):
        lfw_protocol.check_people(*pairs, good[:1], "pairs.txt")
    with pytest.raises(MnpError, match="image 2 of A is in a pair of fold 1, but not"):
        lfw_protocol.check_people(*pairs, ({"A": 1, "B": 1}, good[1]), "pairs.txt")


# ---- the photographs


def test_names_of_photographs():
    assert lfw_archive.photograph("any/where/A_B/A_B_0012.jpg") == "A_B/A_B_0012.jpg"
    for other in (
        "A_B_0012.jpg",
        "A_B/A_B_0000.jpg",
        "A_B/A_B_012.jpg",
        "A_B/A_C_0001.jpg",
        "A_B/A_B_0001.png",
    ):
        assert lfw_archive.photograph(other) is None


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def test_the_crop_is_the_middle_and_the_order_is_red_green_blue():
    pixels = np.zeros((250, 250, 3), np.uint8)
    pixels[61:189, 61:189] = (250, 128, 3)  # exactly the middle 128x128
    image = lfw_images.decode_one(jpeg(pixels, quality=100, subsampling=0), crop=128, size=128)
    assert image.shape == (3, 128, 128) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - np.array([250, 128, 3])[:, None, None]).max() <= 4
    wider = lfw_images.decode_one(jpeg(pixels, quality=100, subsampling=0), crop=130, size=130)
    assert wider[0, 0].max() < 20 and wider[0, :, -1].max() < 20 and wider[0, 1:-1, 1:-1].min() > 230


def test_halving_a_ramp_keeps_the_ramp():
    ramp = np.repeat(np.arange(250, dtype=np.uint8)[None, :, None], 250, axis=0).repeat(3, axis=2)
    image = lfw_images.decode_one(jpeg(ramp, quality=100, subsampling=0), crop=128, size=64)
    middles = 61 + 2 * np.arange(64) + 0.5
    assert np.abs(image[0, 30, 1:-1] - middles[1:-1]).max() <= 1.5


def test_a_grey_jpeg_is_taken_as_colours():
    image = lfw_images.decode_one(jpeg(np.full((250, 250), 77, np.uint8)), crop=250, size=10)
    assert image.shape == (3, 10, 10) and np.all(image == 77)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda b: b[:-1], "cut short"),
        (lambda b: b[: len(b) // 2], "cut short"),
        (lambda b: b"", "cut short"),
        (lambda b: b"\xff\xd9", "cannot be decoded"),
        (lambda b: b"GIF89a" + b[6:], "cannot be decoded"),
        (lambda b: jpeg(np.zeros((64, 250, 3), np.uint8)), "250x64, where"),
    ],
)
def test_damaged_jpegs(damage, says):
    with pytest.raises(MnpError, match=says):
        lfw_images.decode_one(damage(drawn_lfw.drawing(0, 1)), crop=128, size=64)


@pytest.mark.parametrize(("crop", "size"), [(251, 64), (64, 65), (0, 0), (128, 0), (128, -1)])
def test_crops_that_cannot_be(folder, crop, size):
    with pytest.raises(MnpError, match=f"a crop of {crop} at size {size}"):
        quiet(folder, crop=crop, size=size)


def test_load_is_right_and_the_second_time_from_the_cache(folder, tmp_path, monkeypatch):
    beside = sorted(folder.iterdir())
    faces = quiet(folder)
    assert sorted(folder.iterdir()) == beside
    assert faces.images.shape == (60, 3, 32, 32) and faces.images.dtype == np.uint8
    assert not faces.images.flags.writeable and not faces.official and faces.variant == "deepfunneled"
    assert repr(faces) == "Faces('deepfunneled', 60 images of 20 people, (3, 32, 32))"
    for i, (name, data) in enumerate(drawn_lfw.drawings().items()):
        assert faces.photographs[i] == name
        assert np.array_equal(faces.images[i], lfw_images.decode_one(data, 128, 32))
    assert sorted(p.suffix for p in (tmp_path / "cache" / "mnp").iterdir()) == [".json", ".npy"]
    monkeypatch.setattr(lfw_images, "read_jpegs", lambda source: pytest.fail("decoded twice"))
    again = quiet(folder)
    assert np.array_equal(again.images, faces.images) and again.photographs == faces.photographs


def test_one_thread_and_three_give_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(lfw_images.os, "cpu_count", lambda: 1)
    one = quiet(folder).images.copy()
    monkeypatch.setattr(lfw_images.os, "cpu_count", lambda: 3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert np.array_equal(quiet(folder).images, one)


def test_another_crop_or_another_archive_gets_another_array(folder, tmp_path):
    a = quiet(folder)
    b = quiet(folder, crop=200)
    assert not np.array_equal(a.images, b.images)
    other = drawn_lfw.drawings()
    other["Ada_Ash/Ada_Ash_0001.jpg"] = drawn_lfw.drawing(77, 1)
    drawn_lfw.pack(other, tmp_path / "lfw-deepfunneled.tgz")
    c = quiet(tmp_path)
    assert c.content_sha256 != a.content_sha256 == b.content_sha256
    assert not np.array_equal(c.images[0], a.images[0]) and np.array_equal(c.images[1:], a.images[1:])


def object_array():
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".npy", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        (".npy", lambda data: data[:-1]),
        (".npy", lambda data: object_array()),  # a pickle is not opened
        (".json", lambda data: data[:-5]),
        (".json", lambda data: b"[1, 2]"),
        (".json", None),
    ],
)
def test_a_damaged_cache_is_made_again(folder, tmp_path, suffix, damage):
    expected = quiet(folder).images.copy()
    (array_path,) = (tmp_path / "cache" / "mnp").glob("*.npy")
    whole, path = array_path.read_bytes(), array_path.with_suffix(suffix)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(quiet(folder).images, expected)
    assert array_path.read_bytes() == whole


def test_a_full_disk_is_one_line_and_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lfw_images.np, "save", full)
    with one_line(r"cannot be written \(No space left on device\)"):
        quiet(folder)
    assert [p.suffix for p in (tmp_path / "cache" / "mnp").iterdir()] == [".json"]


@pytest.mark.parametrize(
    "inside",
    [
        "lfw/lfw-deepfunneled",
        "lfw-deepfunneled",
        "lfw-deepfunneled/lfw-deepfunneled",  # Kaggle
        "archive/lfw-deepfunneled/lfw-deepfunneled",
        "lfw-py/lfw-deepfunneled",  # torchvision
        "images_deepfunneled",
    ],
)
def test_an_unpacked_folder_gives_the_same(folder, tmp_path, inside):
    for name, data in drawn_lfw.drawings().items():
        path = tmp_path / inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (path.parent / "._hidden.jpg").write_bytes(b"what macOS leaves behind")
    archive, unpacked = quiet(folder), quiet(tmp_path)
    assert unpacked.photographs == archive.photographs
    assert unpacked.content_sha256 == archive.content_sha256
    assert np.array_equal(unpacked.images, archive.images)


def test_what_was_found_instead_is_listed(tmp_path):
    for name in ("archive.zip", "lfw_allnames.csv"):
        (tmp_path / name).write_bytes(b"")
    with one_line(
        r"which hold archive\.zip, lfw_allnames\.csv",
        "wanted: that archive, or its folder lfw-deepfunneled with a folder per person",
    ):
        quiet(tmp_path)


def test_an_official_archive_is_known_by_its_checksum(tmp_path, monkeypatch):
    path = drawn_lfw.pack(drawn_lfw.drawings({"Ada_Ash": 1}), tmp_path / "lfw.tgz", top="lfw")
    assert not quiet(tmp_path, variant="original").official
    known = lfw_archive.VARIANTS["original"]._replace(
        archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(lfw_archive.VARIANTS, "original", known)
    assert quiet(tmp_path, variant="original").official


def test_nothing_found_and_wrong_names(tmp_path, monkeypatch):
    with pytest.raises(MnpError, match=r"no lfw-deepfunneled\.tgz in .*mnp fetch lfw --variant deepfunneled"):
        quiet(tmp_path)
    with pytest.raises(MnpError, match="unknown variant 'frontal' of LFW: choose one of deepfunneled"):
        quiet(tmp_path, variant="frontal")
    (tmp_path / "lfw").mkdir()  # an empty folder of that name is not the unpacked original
    with pytest.raises(MnpError, match=r"no lfw\.tgz"):
        quiet(tmp_path, variant="original")


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"notes.txt": b"x"}, "no photograph in it"),
        ({"Ada_Ash/Ada_Ash_1.jpg": b"x"}, "is not a name of LFW's"),
        ({"Ada_Ash/Ada_Ash_0001.jpg": b"x" * ((1 << 20) + 1)}, "is too long for a photograph"),
        ({"Ada_Ash/Ada_Ash_0001.jpg": b"x", "other/Ada_Ash/Ada_Ash_0001.jpg": b"x"}, "is there twice"),
        (jpegs() | {"Ada_Ash/Ada_Ash_0002.jpg": b"\xff\xd8 cut"}, r"Ada_Ash_0002\.jpg: cut short"),
    ],
    ids=["none", "name", "long", "twice", "cut"],
)
def test_bad_archives(tmp_path, members, says):
    path = drawn_lfw.pack(members, tmp_path / "lfw-deepfunneled.tgz")
    with one_line(says, path):
        quiet(tmp_path)
    assert not list((tmp_path / "cache" / "mnp").iterdir())


def test_a_long_file_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(lfw_archive, "IMAGE_LIMIT", 100)
    path = tmp_path / "lfw-deepfunneled" / "A" / "A_0001.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(101))
    with pytest.raises(MnpError, match=r"A_0001\.jpg is too long for a photograph"):
        quiet(tmp_path)


@pytest.mark.posix
def test_what_cannot_be_read_in_a_folder(tmp_path):
    path = tmp_path / "lfw-deepfunneled" / "A" / "A_0001.jpg"
    path.mkdir(parents=True)  # a folder of that name
    with pytest.raises(MnpError, match=r"A_0001\.jpg: cannot be read"):
        quiet(tmp_path)
    path.rmdir()
    path.with_name("A_0002.jpg").write_bytes(drawn_lfw.drawing(0, 1))
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(MnpError, match="lfw-deepfunneled: cannot be read"):
        quiet(tmp_path)


# ---- Faces


def test_pairs_become_rows(folder):
    faces = quiet(folder)
    for which, count, folds in (("pairsDevTrain", 60, 1), ("pairsDevTest", 40, 1), ("pairs", 80, 10)):
        pairs = faces.pairs(which)
        assert len(pairs.first) == count and pairs.left_out == ()
        assert np.array_equal(np.unique(pairs.fold), np.arange(folds))
        person = np.array([name.split("/")[0] for name in faces.photographs])
        assert np.array_equal(person[pairs.first] == person[pairs.second], pairs.same)
        assert pairs.first.dtype == np.int64 and pairs.same.dtype == bool and pairs.same.sum() == count // 2
    first = lfw_protocol.read_pairs(folder / "pairs.txt")[0][0]
    assert faces.photographs[faces.pairs("pairs").second[0]].endswith(
        f"{first.name}_{first.other_number:04d}.jpg"
    )


def test_training_rows_and_labels(tmp_path):
    drawn_lfw.pack(drawn_lfw.drawings({"Ada": 3, "Ben": 1, "Cleo": 2}), tmp_path / "lfw-deepfunneled.tgz")
    faces = quiet(tmp_path)
    rows, labels = faces.training_rows(("Cleo", "Ada", "Ben"), least=2)
    assert rows.tolist() == [0, 1, 2, 4, 5] and labels.tolist() == [0, 0, 0, 1, 1]
    assert rows.dtype == labels.dtype == np.int64
    assert faces.rows_of("Cleo") == (4, 5) and faces.rows_of("Zoe") == ()
    assert [faces.person(row) for row in rows] == ["Ada"] * 3 + ["Cleo"] * 2
    with pytest.raises(MnpError, match="none of 2 people has 4 or more images"):
        faces.training_rows(("Ada", "Ben"), least=4)
    with pytest.raises(MnpError, match=r"Zoe/Zoe_0001\.jpg is missing"):
        faces.training_rows(("Ada", "Zoe"))


def with_lists(tmp_path, drawn, **changes):
    drawn_lfw.pack(drawn_lfw.drawings(drawn), tmp_path / "lfw-deepfunneled.tgz")
    for name, text in (drawn_lfw.lists() | changes).items():
        (tmp_path / f"{name}.txt").write_text(text)
    return quiet(tmp_path)


@pytest.mark.parametrize("in_the_archive", [False, True])
def test_the_withdrawn_person_is_left_out_and_counted(tmp_path, in_the_archive):
    people = drawn_lfw.PEOPLE | ({"Betsy_Coffin": 1} if in_the_archive else {})
    ends = f"{drawn_lfw.VIEW1_TEST[0]}\t2"
    text = "1\nEve_Elm\t1\t2\n" + f"Betsy_Coffin\t1\t{ends}\n"
    names = drawn_lfw.lists()["peopleDevTest"].replace("8\n", "9\nBetsy_Coffin\t1\n", 1)
    faces = with_lists(tmp_path, people, pairsDevTest=text, peopleDevTest=names)
    assert "Betsy_Coffin" not in faces.people
    pairs = faces.pairs("pairsDevTest")
    assert len(pairs.first) == 1 and len(pairs.left_out) == 1 and pairs.left_out[0].name == "Betsy_Coffin"
    assert "Betsy_Coffin" not in faces.people_of("peopleDevTest")[0]


def test_an_image_too_few_or_too_many_is_named(tmp_path):
    faces = with_lists(tmp_path, drawn_lfw.PEOPLE | {"Ada_Ash": 1, "Eve_Elm": 4})
    with one_line(r"Ada_Ash/Ada_Ash_0002\.jpg is missing"):
        faces.pairs("pairsDevTrain")
    with one_line(r"announces 3 images of Ada_Ash, but .* numbers \[1\]"):
        faces.people_of("peopleDevTrain")
    with pytest.raises(MnpError, match=r"announces 3 images of Eve_Elm, but .* numbers \[1, 2, 3, 4\]"):
        faces.people_of("peopleDevTest")


def test_lists_that_are_not_there_or_have_no_such_name(folder, tmp_path):
    drawn_lfw.pack(drawn_lfw.drawings({"Ada": 1}), tmp_path / "lfw-deepfunneled.tgz")
    with pytest.raises(MnpError, match=r"no pairs\.txt in .*mnp fetch lfw"):
        quiet(tmp_path).pairs("pairs")
    with pytest.raises(MnpError, match="unknown list of pairs 'view2'"):
        quiet(folder).pairs("view2")
    with pytest.raises(MnpError, match=r"pairs\.txt, line 1"):
        quiet(folder).people_of("pairs")


def test_progress_goes_to_stderr(folder, capsys):
    quiet(folder, progress=True)
    captured = capsys.readouterr()
    assert "decoding" in captured.err and captured.out == ""


# ---- the real ones


@real
def test_the_real_lists():
    counts = {}
    for which, people in lfw_protocol.PEOPLE_FOR.items():
        pairs, fold_of = lfw_protocol.read_pairs(REAL / f"{which}.txt")
        folds = lfw_protocol.read_people(REAL / f"{people}.txt")
        lfw_protocol.check_people(pairs, fold_of, folds, which)
        withdrawn = [p for p in pairs if lfw_protocol.WITHDRAWN & {p.name, p.other_name}]
        counts[which] = len(pairs), len(folds), sum(map(len, folds)), len(withdrawn)
    assert counts == {
        "pairsDevTrain": (2200, 1, 4038, 0),
        "pairsDevTest": (1000, 1, 1711, 1),
        "pairs": (6000, 10, 5749, 0),
    }


@real
def test_the_real_photographs():
    """Read and checked by content, and a few of them decoded; decoding all takes some ten seconds."""
    jpegs = lfw_archive.read_jpegs(REAL / "lfw-deepfunneled.tgz")
    assert len(jpegs) == 13_232
    assert lfw_archive.content_sha256(jpegs) == lfw_archive.VARIANTS["deepfunneled"].content_sha256
    people = {name.split("/")[0] for name in jpegs}
    listed = set().union(*lfw_protocol.read_people(REAL / "people.txt"))
    assert listed - people == lfw_protocol.WITHDRAWN and not people - listed
    for name in list(jpegs)[::2000]:
        assert lfw_images.decode_one(jpegs[name], 128, 64).std() > 10
