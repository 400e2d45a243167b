"""The committed results of the full runs: read, or said to be missing; never typed by hand."""

import json
from pathlib import Path

from mnp.errors import MnpError
from mnp.experiments.results import format_seeds_table, format_summary, format_table

FOLDERS = ("results", "notebooks/results")  # seen from notebooks/, and from the repository's root


def read_results(name, folder=None):
    """Read what `mnp run NAME --seeds N --results notebooks/results` left behind.

    Parameters
    ----------
    name : str
        A recipe's name, or "bench".
    folder : str or Path, optional
        Where to look. The default is notebooks/results, seen from there or from the root.

    Returns
    -------
    results : dict or None
        recipe, command, seeds, versions, rows, aggregate; None if there is no such file.

    Raises MnpError for a file that is no such results.

    >>> read_results("no-such-recipe") is None
    True
    """
    path = path_of(f"{name}.json", folder)
    if path is None:
        return None
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise MnpError(f"{path.name}: is not JSON; write it again with `mnp run`") from None
    if not isinstance(results, dict):
        raise MnpError(f"{path.name}: holds no results; write it again with `mnp run`")
    return results


def path_of(file, folder=None):
    """Where a committed file of results is, seen from here; None if there is none.

    >>> path_of("no-such-file.npz") is None
    True
    """
    places = FOLDERS if folder is None else (folder,)
    return next((path for place in places if (path := Path(place) / file).exists()), None)


NARROW = ("round", "operation", "parameters", "reduction", "no maxout", "error before", "error after")
NARROW_OF_FACES = (*NARROW[:3], "no maxout", "accuracy", "standard error", "equal error")
NARROW_OF_SEEDS = (
    "operation",
    "parameters",
    "no maxout",
    "error before",
    "error after",
    "sd",
    "change",
    "from",
    "to",
)


def table(rows):
    """The table of a run, as wide as a page and without the seconds; faces have their accuracy instead."""
    if "accuracy" in rows[0]:
        return format_table(rows, NARROW_OF_FACES)
    return format_table(rows, NARROW)


def missing(name):
    """The sentence that stands where a result would be.

    >>> missing("mnist")[:46]
    'notebooks/results/mnist.json is not here yet: '
    """
    seeds = "" if name.startswith("lfw") else " --seeds 5"
    return (
        f"notebooks/results/{name}.json is not here yet: "
        f"`mnp run {name}{seeds} --results notebooks/results` writes it."
    )


def say_results(name, folder=None):
    """The committed table of a recipe as text: means over seeds, paired intervals, how to repeat it."""
    results = read_results(name, folder)
    if results is None:
        return missing(name)
    lines = [f"{name}: {results['recipe'].get('about', '')}", ""]
    if len(results["seeds"]) > 1:
        lines += [
            format_seeds_table(results["aggregate"], NARROW_OF_SEEDS),
            "",
            format_summary(results),
        ]
    else:
        spread = "no interval can be given"
        if "accuracy" in results["rows"][0]:
            spread = "the standard error is over View 1's pairs, or View 2's ten folds"
        lines += [table(results["rows"]), "", f"one seed: {spread}"]
    return "\n".join([*lines, *origin(results)])


def origin(results):
    """How results are repeated, and what they were made with: the two lines below a table."""
    versions = ", ".join(f"{key} {value}" for key, value in results.get("versions", {}).items())
    return [f"repeat: {results['command']}", f"made with: {versions}"]


def rows_of(*names, folder=None):
    """{title: rows} of the recipes whose results are here; those that are not are left out."""
    found = {name: read_results(name, folder) for name in names}
    return {
        f"{name}, {len(r['seeds'])} seed{'s' * (len(r['seeds']) > 1)}": r["rows"]
        for name, r in found.items()
        if r is not None
    }


def aggregate_of(name, folder=None):
    """The aggregate of a recipe, a line a step; an empty list if its results are not here."""
    results = read_results(name, folder)
    return [] if results is None else results["aggregate"]
