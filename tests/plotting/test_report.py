"""report.html: complete, of one file, and the same for the same run."""

import dataclasses
import json
import shutil
from html.parser import HTMLParser

import pytest
from tiny_runs import NEURONS, carry_out

from mnp import cli
from mnp.errors import MnpError
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
    # fc3: 4 units of 3 neurons with 32 inputs, then of 1
    assert "fc3396132" in "".join(page.text.split()).replace(",", "") and "66.7 %" in page.text
    assert "prefers-color-scheme: dark" in text and "#000000" not in text


def test_the_same_run_gives_the_same_page(finished, tmp_path):
    out = tmp_path / "again.html"
    assert cli.main(["report", str(finished), "--out", str(out)]) == 0
    assert out.read_bytes() == (finished / "report.html").read_bytes()


def test_several_runs_side_by_side(finished, tmp_path, capsys, monkeypatch):
    other = shutil.copytree(finished, tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", str(finished), str(other)]) == 0
    page = Page((tmp_path / "report.html").read_text())
    assert page.tags.count("svg") == 4 and page.tags.count("section") == 2 and str(other) in page.text
    with pytest.raises(MnpError, match="holds no finished run"):
        write_report([tmp_path], tmp_path / "no.html", print)
