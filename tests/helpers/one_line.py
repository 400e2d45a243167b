"""The promise of every mistake: an MnpError of one line."""

from contextlib import contextmanager

import pytest

from mnp.errors import MnpError


@contextmanager
def one_line(match=None, *parts):
    """What is done within ends in an MnpError of one line that fits the pattern and holds all parts."""
    with pytest.raises(MnpError, match=match) as caught:
        yield caught
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
