"""The promise of every mistake: an MnpError of one line, and of `mnp` exit status 2 and that line."""

from contextlib import contextmanager

import pytest

from mnp.cli import main
from mnp.errors import MnpError


@contextmanager
def one_line(match=None, *parts):
    """What is done within ends in an MnpError of one line that fits the pattern and holds all parts."""
    with pytest.raises(MnpError, match=match) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def refused(capsys, words, *parts):
    """`mnp WORDS` ends with status 2, nothing on stdout and one line on stderr that holds all parts."""
    capsys.readouterr()  # what was said before
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("mnp: ") and err.count("\n") == 1
    for part in parts:
        assert str(part) in err
