"""Execute the notebooks in place: `python -m mnp.notebooks [NAME ...]`, from the repository's root.

A NAME is the beginning of a file name, such as 05; without one all are executed. A notebook is written only
if it ran to its end.
"""

import os
import sys
from pathlib import Path

from mnp.errors import MnpError
from mnp.files import atomic_write
from mnp.notebooks.sliders import WIDGET


def execute(path):
    """Execute one notebook and write it with its outputs, without metadata of this machine."""
    try:
        import nbclient
        import nbformat
    except ImportError:
        raise MnpError('this needs nbclient and nbformat: pip install "mnp[notebooks]"') from None
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    options = {"timeout": 900, "kernel_name": "python3", "record_timing": False, "coalesce_streams": True}
    nbclient.NotebookClient(notebook, resources=resources, **options).execute()
    prepare(notebook)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    atomic_write(path, nbformat.writes(notebook) + "\n")


def prepare(notebook):
    """Leave the figure of each widget alone, and mark what `jupyter nbconvert --to slides` shows.

    A slide is the page's first cell or a figure; what to see in it becomes the speaker's notes.
    """
    after_figure = False
    for number, cell in enumerate(notebook.cells):
        outputs = cell.get("outputs", ())
        for output in outputs:
            output.get("data", {}).pop(WIDGET, None)
        figure = any("image/png" in output.get("data", {}) for output in outputs)
        kind = "slide" if figure or number == 0 else "notes" if after_figure else "skip"
        cell.metadata.slideshow, after_figure = {"slide_type": kind}, figure


def main(names):
    paths = sorted(path for name in names or "0" for path in Path("notebooks").glob(f"{name}*.ipynb"))
    if not paths:
        print(f"mnp.notebooks: no notebook in notebooks/ begins with {' or '.join(names)}", file=sys.stderr)
        return 2
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    for path in paths:
        print(path.name, flush=True)
        execute(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
