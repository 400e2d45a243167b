"""Keeps students' code out of the kernel in which nbgrader counts points.

nbgrader executes the submitted notebook, and the kernel that runs the student's cells also decides
whether the graded cells pass. Here the answer is a .py file, so the notebook is only the form: its
cells are replaced by the locked cells of the course's own notebook, and files that the course did not
hand out are removed from the copy that is executed. The answer itself is then judged by grade.py, in
a locked process. This also repairs a notebook whose nbgrader metadata an editor has lost.
"""

from pathlib import Path

import nbformat
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_locked

GRADER = Path(__file__).resolve().parent
COURSE = GRADER.parent


class OwnCellsOnly(NbGraderPreprocessor):
    """First step of sanitising: nothing of the submission but the answer file takes part in grading."""

    def preprocess(self, nb, resources):
        """Replace the cells, and clear the folder that the kernel will start in."""
        told = resources["nbgrader"]
        handed_out = COURSE / "source" / told["assignment"]
        own = nbformat.read(handed_out / f"{told['notebook']}.ipynb", as_version=4)
        # Unlocked code cells would import the student's file into the kernel: they stay away.
        nb.cells = [cell for cell in own.cells if cell.cell_type == "markdown" or is_locked(cell)]
        nb.metadata = own.metadata
        with Gradebook(told["db_url"]) as gradebook:
            for told_cell in (cell.metadata.nbgrader for cell in nb.cells if is_locked(cell)):
                where = (told_cell["grade_id"], told["notebook"], told["assignment"])
                told_cell["checksum"] = gradebook.find_source_cell(*where).checksum
        clear_folder(told["student"], told["assignment"], handed_out)
        return nb, resources


def clear_folder(student, assignment, handed_out):
    """Remove from the executed copy what the course did not hand out, and an answer that was a link."""
    executed = COURSE / "autograded" / student / assignment
    for path in sorted(executed.rglob("*"), reverse=True):
        name = path.relative_to(executed)
        strange = not (handed_out / name).exists() and path.suffix != ".ipynb"
        if strange or (COURSE / "submitted" / student / assignment / name).is_symlink():
            path.chmod(0o755)
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
