"""How the tool for framework versions names ties and measures differences; its result file is whole."""

import json

import framework_versions
import numpy as np
import pytest


def test_ties_are_named():
    assert framework_versions.rule([0, 0.5, 0.5, 0]) == "shared"
    assert framework_versions.rule(np.array([[0.0, 1.0, 0.0, 0.0]])) == "first"


def test_difference_is_relative_and_skips_what_is_not_finite():
    assert framework_versions.difference(np.array([2.0, np.inf]), np.array([1.0, 0.0])) == 0.5
    assert framework_versions.difference((np.ones(1), np.ones(1)), (np.ones(1), np.zeros(1))) == 1.0
    assert framework_versions.difference(None, None) == 0.0


def test_the_result_file_has_a_row_for_every_version():
    path = framework_versions.ROOT / "notebooks" / "results" / "framework-versions.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    for (framework, words), row in zip(framework_versions.VERSIONS, rows, strict=True):
        assert row["framework"] == framework
        assert not words or row["version"] == words.split()[0].partition("==")[2]


def test_an_unknown_framework_is_refused():
    with pytest.raises(SystemExit):
        framework_versions.main(["--measure", "caffe"])
