"""Run the walk-through notebooks in place: `python -m mnp.notebooks [NAME ...]`, from the repository's root.

A NAME is the beginning of a file name, such as 05; without one all are run. Outputs are written only if a
notebook ran to its end, so that a failing one keeps what it had.
"""

import os
import sys
from pathlib import Path

from mnp.errors import MnpError
from mnp.files import atomic_write

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def refresh(path):
    """Execute one notebook and write it back, with its outputs and without traces of the machine."""
    try:
        import nbclient
        import nbformat
    except ImportError:
        raise MnpError('this needs nbclient and nbformat: pip install "mnp[notebooks]"') from None
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources=resources, record_timing=False
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(KERNEL)
    atomic_write(path, nbformat.writes(notebook) + "\n")


def main(names):
    """Refresh the notebooks whose names begin so; the exit status comes back."""
    folder = Path("notebooks")
    paths = [
        path for path in sorted(folder.glob("[0-9]*.ipynb")) if path.name.startswith(tuple(names or "0"))
    ]
    if not paths:
        print(f"mnp.notebooks: no notebook in {folder}/ begins with {' or '.join(names)}", file=sys.stderr)
        return 2
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    for path in paths:
        print(path.name, flush=True)
        refresh(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
