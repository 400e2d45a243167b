"""A few hundred mutated files through each reader; `python tests/fuzz.py` sends 20,000."""

import fuzz
import pytest

from mnp.errors import MnpError

READERS = fuzz.readers()


@pytest.mark.parametrize("name", READERS)
def test_the_seeds_are_read(name, tmp_path):
    """Else every mutation would be refused, and the fuzzer would show nothing."""
    for seed in READERS[name].seeds:
        (tmp_path / "file").write_bytes(seed)
        if len(seed) < 10_000 or name != "idx.gz":
            assert READERS[name].sound(READERS[name].read(tmp_path / "file"))
        else:
            with pytest.raises(MnpError):
                READERS[name].read(tmp_path / "file")


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
