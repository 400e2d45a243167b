"""Seeded mutants of the textbook: `mnp check` must catch every one, and name nearly all rightly.

Each patch in tests/mutants changes one thing in the textbook (`patch -p1` would apply it too). Its
first lines say which kernel is judged and what words the first guess must hold.
"""

import types
from pathlib import Path

import numpy as np
import pytest

from mnp.kernels import textbook
from mnp.verify import conformance
from mnp.verify.mistakes import TABLE
from mnp.verify.mistakes.training import wrong_kernel

ROOT = Path(__file__).parents[2]
PATCHES = sorted((ROOT / "tests" / "mutants").glob("*.patch"))


def apply(patch):
    """Give the header fields, the file, and its text with the one hunk applied, wherever its lines stand."""
    head, _, hunk = patch.partition("\n@@")
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    file = ROOT / head.splitlines()[-1].removeprefix("+++ b/").split("\t")[0]
    lines = hunk.splitlines(keepends=True)[1:]
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    source = file.read_text(encoding="utf-8")
    assert source.count(before) == 1, f"the textbook has changed under this mutant: draw it anew\n{before}"
    return fields, file, source.replace(before, after)


def judge(path):
    """Judge one mutant in this process."""
    fields, file, source = apply(path.read_text(encoding="utf-8"))
    module = types.ModuleType("mutant")
    exec(compile(source, str(file), "exec"), module.__dict__)
    return fields, conformance.check_module(module, only=[fields["kernel"]])[0]


@pytest.fixture(scope="module")
def verdicts():
    return {path.stem: judge(path) for path in PATCHES}


def test_there_are_at_least_twenty():
    assert len(PATCHES) >= 20


@pytest.mark.parametrize("name", [path.stem for path in PATCHES])
def test_is_caught(verdicts, name):
    fields, verdict = verdicts[name]
    assert verdict.status == "failed", f"{fields['kernel']} was mutated and passed"
    assert verdict.wrong > 0
    assert any("expected" in line or "raised" in line or "has shape" in line for line in verdict.lines)


def test_are_named_rightly(verdicts):
    """Rightly: the first guess holds the words that the patch's header asks for."""
    named = {name for name, (f, v) in verdicts.items() if v.looks_like and f["named"] in v.looks_like[0]}
    print(
        f"\n{len(verdicts)} mutants caught, {len(named)} named rightly; not: {sorted(set(verdicts) - named)}"
    )
    assert len(named) >= 0.75 * len(verdicts)
    assert len(named) >= 20


def test_the_textbook_itself_passes_and_nothing_is_guessed():
    verdicts = conformance.check_module(textbook)
    assert all(v.status == "passed" and not v.looks_like for v in verdicts if "_max" not in v.kernel)
    assert sum(v.cases for v in verdicts) >= 400


@pytest.mark.parametrize("kernel", list(TABLE))
def test_every_mistake_of_the_table_is_caught_and_recognised(kernel):
    """Each is wrong somewhere in the cases, and is among the guesses."""
    unnamed = []
    for words, mistake in TABLE[kernel].items():
        module = types.SimpleNamespace(**{kernel: wrong_kernel(kernel, mistake)})
        with np.errstate(all="ignore"):
            (verdict,) = conformance.check_module(module, only=[kernel])
        assert verdict.status == "failed", f"{words}: no case shows it"
        if not any(words in guess for guess in verdict.looks_like):
            unnamed.append((words, verdict.looks_like))
    assert unnamed == []
