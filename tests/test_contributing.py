"""The examples of CONTRIBUTING.md run as they stand there, in less than fifteen lines each."""

import re
import sys
from pathlib import Path

import numpy as np

import mnp
from mnp.nn.network import LAYER_TYPES
from mnp.pruning.surgery import OWN_RANKINGS

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|toml)(?: file=(\S+))?\n(.*?)```", PAGE, re.S)


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    names = {"np": np, "mnp": mnp}
    try:
        for language, file, code in BLOCKS:
            assert len(code.splitlines()) < 15
            if file:
                Path(file).write_text(code)
            else:
                assert language == "python"
                exec(code, names)
        rows = mnp.run("two.toml", "runs/two", figures=False)
    finally:
        LAYER_TYPES.pop("LeakyReLU", None)
        OWN_RANKINGS.pop("taylor", None)
    assert len(BLOCKS) == 7 and rows[-1]["removed"] == "m1 2 -> 1"
    assert {"report.html", "error.png", "history.csv"} <= {path.name for path in Path("runs/noise").iterdir()}
    assert names["rows"][-1]["k"] == 3 and names["net"]["fc3"].k == 2
    assert names["small"]["conv2"].out_channels == 4
    assert "largest" in Path("runs/watched/history.csv").read_text()
