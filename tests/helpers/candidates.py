"""Modules of kernels as somebody else might hand them in, for the tests of `mnp check`."""

import textwrap

from mnp.verify import conformance


def write(tmp_path, source, name="theirs.py"):
    """Write a candidate's file; its path as a str."""
    path = tmp_path / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return str(path)


def verdicts(where, **how):
    """Judge a candidate: kernel -> verdict."""
    return {v.kernel: v for v in conformance.check(where, **how)}
