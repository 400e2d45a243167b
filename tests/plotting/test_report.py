"""report.html: complete, of one file, and the same for the same run."""

import dataclasses
import json
import shutil
from html.parser import HTMLParser

import pytest
from tiny_runs import NEURONS, carry_out

from mnp import cli
from mnp.errors import MnpError
from mnp.plotting.report import control_table, layer_sizes
from mnp.runs import draw_figures, write_report


class Page(HTMLParser):
    """Collects text, tags and addresses; every tag that is opened must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.tags, self.addresses = [], "", [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k.endswith(("href", "src")) and not v.startswith("#")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    carry_out(dataclasses.replace(NEURONS, about="small & <fast>"), folder)
    draw_figures(folder, lambda line: None)
    return folder


def test_a_page_says_what_was_run_and_needs_nothing_else(finished):
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert page.addresses == [] and page.tags.count("svg") == 2 and "<script" not in text
    for part in ("tiny: small & <fast>", "checksum ", "mnp run recipe.json", "textbook", "neurons: 2 -> 1"):
        assert part in page.text
    summary = json.loads((finished / "summary.json").read_text())
    assert f"{summary['rows'][-1]['error']:.2f} %" in page.text
    # fc3: 4 units of 3 neurons with 32 inputs, then of 1: weights and biases; multiply-adds
    assert ("fc3", "396", "132", "66.7 %", "384", "128", "66.7 %") in layer_sizes(finished, summary)
    assert "fc339613266.7%38412866.7%" in "".join(page.text.split())
    assert "nothing removed" not in page.text
    assert "prefers-color-scheme: dark" in text and "#000000" not in text


def test_the_same_run_gives_the_same_page(finished, tmp_path):
    out = tmp_path / "again.html"
    assert cli.main(["report", str(finished), "--out", str(out)]) == 0
    assert out.read_bytes() == (finished / "report.html").read_bytes()


def test_rounds_are_compared_with_the_network_trained_as_long():
    """Two seeds; round 2 has the depth of 1, and the small network is compared with the first round."""
    rounds = [("train", "", -1), ("continue", "unpruned", 0), ("neurons", "win_counts", 0)]
    rounds += [("train", "small", -1), ("continue", "small", 3)]
    errors = {0: (5.0, 3.0, 3.5, 6.0, 4.0), 1: (6.0, 4.0, 4.1, 8.0, 4.0)}
    rows = [
        {
            "seed": seed,
            "step": i,
            "kind": kind,
            "arm": arm,
            "parent": parent,
            "k": 1,
            "nonzero": 9,
            "error": e,
        }
        for seed, of_seed in errors.items()
        for i, ((kind, arm, parent), e) in enumerate(zip(rounds, of_seed, strict=True))
    ]
    header, *lines = control_table(rows)
    assert header[-2:] == ("from", "to")
    assert [line[:6] for line in lines] == [
        ("2", "neurons: 2 -> 1 (win_counts)", "9", "3.80 %", "3.50 %", "+0.30"),
        ("3", "train (small)", "9", "7.00 %", "5.50 %", "+1.50"),
        ("4", "train on (small)", "9", "4.00 %", "3.50 %", "+0.50"),
    ]
    assert lines[0][6:] == ("-2.24", "+2.84")  # 0.3 -+ 12.706 * sd(0.5, 0.1) / sqrt(2)
    assert control_table(rows[:5])[0][-1] == "difference"  # one seed has no interval
    assert len(control_table(rows[:1])) == 1


def test_several_runs_side_by_side(finished, tmp_path, capsys, monkeypatch):
    other = shutil.copytree(finished, tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", str(finished), str(other)]) == 0
    page = Page((tmp_path / "report.html").read_text())
    assert page.tags.count("svg") == 4 and page.tags.count("section") == 2
    assert page.text.count(str(other)) == 2  # in the table of the runs, and above its own section
    with pytest.raises(MnpError, match="holds no finished run"):
        write_report([tmp_path], tmp_path / "no.html", print)
