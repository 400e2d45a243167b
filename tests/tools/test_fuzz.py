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


def crashes(path):
    raise IndexError("as a careless reader would")


def writes_beside(path):
    (path.parent / "beside").write_text("")


def writes_elsewhere(path):
    (path.parent.parent / "elsewhere").write_text("")


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (crashes, "IndexError"),
        (lambda path: 0, "not sound"),
        (writes_beside, "files written"),
        (writes_elsewhere, "did what no reader may: open"),
        (lambda path: pickle.loads(pickle.dumps(print)), "did what no reader may: pickle.find_class"),
        (lambda path: subprocess.run([sys.executable, "-c", ""]), "did what no reader may: subprocess.Popen"),
    ],
)
def test_the_fuzzer_notices(tmp_path, monkeypatch, read, told):
    monkeypatch.setattr(fuzz.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "in").mkdir()
    troubles = fuzz.fuzz("bad", fuzz.Reader([b"seed"], read, bool), 1, tmp_path / "in")[3]
    assert told in "\n".join(troubles) and (tmp_path / "fuzz-bad-0").is_file()


def test_the_fuzzers_command_prints_a_line_for_each_reader(capsys):
    assert fuzz.main(["--count", "2", "pairs"]) == 0 and "2 files" in capsys.readouterr().out


def test_a_case_is_the_same_every_time():
    again = fuzz.readers()
    for name, reader in READERS.items():
        assert [fuzz.case(reader, i) for i in range(8)] == [fuzz.case(again[name], i) for i in range(8)]


def test_most_lies_have_checksums_that_fit():
    """Else every lie would end at a checksum: of each kind of file some lies must get behind it."""
    for name in ("npz", "checkpoint", "sparse", "step", "progress"):
        whole = 0
        for number in range(1, 21, 2):
            with contextlib.suppress(zipfile.BadZipFile):
                archive = zipfile.ZipFile(io.BytesIO(fuzz.case(READERS[name], number)))
                whole += archive.testzip() is None
        assert whole >= 5
