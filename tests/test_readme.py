"""The README's commands exist, and its tables are what the result files say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mnp.cli import COMMANDS
from mnp.experiments.registry import EXPERIMENTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "notebooks/results/tables.py", "--check"], check=False)
    assert done.returncode == 0, "run: python notebooks/results/tables.py"


def test_commands_and_recipes_exist():
    named = re.findall(r"^(?:\S*/)?mnp (\w[\w-]*)(?: (mnist[\w-]*|digits|lfw[\w-]*))?", README, re.M)
    assert named
    for command, recipe in named:
        assert command in COMMANDS
        assert not recipe or recipe in EXPERIMENTS


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()
