"""A few hundred mutated files through each reader; `python tests/tools/fuzz.py` sends 20,000."""

import contextlib
import io
import pickle
import subprocess
import sys
import zipfile

import fuzz
import pytest

from mnp.errors import MnpError

READERS = fuzz.readers()


@pytest.mark.parametrize("name", READERS)
def test_the_seeds_are_read(name, tmp_path):
    """Else every mutation would be refused, and the fuzzer would show nothing."""
    if name in ("safetensors", "state"):
        pytest.importorskip("safetensors")
    for seed in READERS[name].seeds:
        path = tmp_path / READERS[name].name
        path.write_bytes(seed)
        if len(seed) < 10_000 or name != "idx.gz":
            assert READERS[name].sound(READERS[name].read(path))
        else:
            with pytest.raises(MnpError):
                READERS[name].read(path)


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_refused_or_read(name, tmp_path):
    refused, read, _, troubles = fuzz.fuzz(name, READERS[name], 300, tmp_path)
    assert not troubles and refused > 100 and refused + read == 300


def test_the_fuzzer_notices(tmp_path, capsys, monkeypatch):
    def crashes(path):
        raise IndexError("as a careless reader would")

    monkeypatch.setattr(fuzz.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "in").mkdir()
    troubles = fuzz.fuzz("bad", fuzz.Reader([b"seed"], crashes, bool), 3, tmp_path / "in")[3]
    assert len(troubles) == 3 and "IndexError" in troubles[0] and (tmp_path / "fuzz-bad-0").is_file()
    unsound = fuzz.fuzz("bad", fuzz.Reader([b"seed"], lambda p: 0, bool), 1, tmp_path / "in")[3]
    assert "not sound" in unsound[0]

    def writes(path):
        (path.parent / "outside").write_text("")
        return 1

    assert "files written" in fuzz.fuzz("bad", fuzz.Reader([b"seed"], writes, bool), 1, tmp_path / "in")[3][0]
    assert fuzz.main(["--count", "2", "pairs"]) == 0 and "2 files" in capsys.readouterr().out


def test_a_case_is_the_same_every_time():
    again = fuzz.readers()
    for name, reader in READERS.items():
        assert [fuzz.case(reader, i) for i in range(8)] == [fuzz.case(again[name], i) for i in range(8)]


def test_the_fuzzer_notices_pickles_programs_and_writing(tmp_path):
    def unpickles(path):
        return pickle.loads(pickle.dumps(print))

    def starts(path):
        return subprocess.run([sys.executable, "-c", ""]) and 1

    def writes(path):
        (path.parent.parent / "outside").write_text("")
        return 1

    (tmp_path / "in").mkdir()
    for read, event in ((unpickles, "pickle.find_class"), (starts, "subprocess.Popen"), (writes, "outside")):
        trouble = fuzz.fuzz("bad", fuzz.Reader([b"seed"], read, bool), 1, tmp_path / "in")[3][0]
        assert "did what no reader may" in trouble and event in trouble


def test_most_lies_have_checksums_that_fit():
    """Else every lie would end at a checksum: of each kind of file some lies must get behind it."""
    for name in ("npz", "checkpoint", "sparse", "step", "progress"):
        whole = 0
        for number in range(1, 21, 2):
            with contextlib.suppress(zipfile.BadZipFile):
                archive = zipfile.ZipFile(io.BytesIO(fuzz.case(READERS[name], number)))
                whole += archive.testzip() is None
        assert whole >= 5
