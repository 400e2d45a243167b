"""nbgrader's configuration for this course. Lies in the course folder, next to grader/."""

import json
import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here / "grader"))

from nbgrader.preprocessors import (  # noqa: E402
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    OverwriteCells,
    OverwriteKernelspec,
)
from nbgrader_cells import OwnCellsOnly  # noqa: E402

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(here)
c.CourseDirectory.course_id = "maxout-neuron-pruning"
# The students' own files are the one thing that is not overwritten from source/.
c.Autograde.exclude_overwriting = json.loads((here / "grader" / "own_files.json").read_text("utf-8"))
c.Autograde.sanitize_preprocessors = [
    OwnCellsOnly,
    ClearOutput,
    DeduplicateIds,
    OverwriteKernelspec,
    OverwriteCells,
    CheckCellMetadata,
]
c.Execute.timeout = 120
# Tells course_check.run to judge the file in a locked process, with the hidden seed.
os.environ["ASSIGNMENT_GRADER"] = str(here / "grader")
