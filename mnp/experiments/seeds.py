"""One experiment with several seeds, one after another or in parallel, and their results together.

out/recipe.json, seeds.json     the recipe (with the first seed), and the seeds
out/seed-S/                     an ordinary run folder for each
out/summary.json                recipe, command, seeds, versions, rows, aggregate
"""

from dataclasses import replace
from pathlib import Path

from mnp.errors import MnpError
from mnp.experiments.config import to_dict
from mnp.experiments.parallel import run_in_processes
from mnp.experiments.registry import RECIPE, SEEDS, SUMMARY, open_run_folder
from mnp.experiments.results import aggregate
from mnp.experiments.runner import run
from mnp.files import atomic_write, read_json, to_json


def run_seeds(experiment, seeds, out, *, jobs=1, command="", log=print, **options):
    """Run an experiment for every seed, each in its own folder below `out`.

    Parameters
    ----------
    experiment : Experiment
    seeds : list of int
    out : str or Path
    jobs : int
        How many run at the same time; above 1 each is a separate process that writes seed-S/log.txt.
    command : str
        Written into the results: how to repeat them.
    log, data, backend, source
        As in `run`; the backend by name.

    Returns
    -------
    results : dict
        As `make_results` returns it.
    """
    out = Path(out)
    runs = {seed: (replace(experiment, seed=seed), out / f"seed-{seed}") for seed in seeds}
    with open_run_folder(out, experiment, log, several=True):
        atomic_write(out / SEEDS, to_json({"seeds": list(seeds)}))
        atomic_write(out / RECIPE, to_json(to_dict(experiment)))
        run_one = run
        if experiment.has_folds:
            from mnp.experiments.lfw_folds import run_folds as run_one  # loads Pillow and the LFW reader
        if jobs > 1:
            run_in_processes(run_one, {f"seed {s}": r for s, r in runs.items()}, jobs, log=log, **options)
        rows = {}
        for seed, (one, folder) in runs.items():
            if jobs == 1:
                log(f"seed {seed} ({seeds.index(seed) + 1} of {len(seeds)})")
            rows[seed] = run_one(one, folder, log=log, **options)
        check_one_data_set(folder for _, folder in runs.values())
        results = make_results(rows, experiment, folder, command)
        atomic_write(out / SUMMARY, to_json(results))
    return results


def check_one_data_set(folders):
    """Check that the summaries of some runs are of the same data."""
    first = None
    for folder in folders:
        facts = read_json(folder / SUMMARY, "a summary").get("data")
        # The folds of one set of photographs have different images; what they share has a checksum too.
        digest = facts.get("content_sha256", facts.get("checksum")) if isinstance(facts, dict) else None
        if digest is None:  # mnp 0.1 did not record it
            continue
        first = first or (folder, digest)
        if digest != first[1]:
            raise MnpError(f"{folder}: was run on other data than {first[0]}; remove one of them, then rerun")


def make_results(rows, experiment, folder, command):
    """The results of one or several seeds, as result files have them.

    Parameters
    ----------
    rows : dict of seed -> list of row
    experiment : Experiment
    folder : str or Path
        Of one of the runs: its summary says versions, backend, threads, processor and data.
    command : str

    Returns
    -------
    results : dict
        recipe, command, seeds, versions, kernels, threads, cpu, data, rows (of all seeds, each with its
        seed) and aggregate (`results.aggregate`); for a single seed of faces against_unpruned and folds.
    """
    summary = read_json(Path(folder) / SUMMARY, "a summary")
    # Pairs and folds belong to one run; of several seeds they are in each seed's own summary.
    optional = ("data", "against_unpruned", "folds") if len(rows) == 1 else ("data",)
    return {
        "recipe": to_dict(experiment),
        "command": command,
        "seeds": list(rows),
        **{name: summary.get(name) for name in ("versions", "kernels", "threads", "cpu")},
        "rows": [{"seed": seed, **row} for seed, of_seed in rows.items() for row in of_seed],
        "aggregate": aggregate(list(rows.values())),
        **{name: summary[name] for name in optional if name in summary},
    }


def read_seeds(out):
    """The seeds of a folder of several, or None if it is a single run's."""
    path = Path(out) / SEEDS
    if not path.exists():
        return None
    seeds = read_json(path, "a list of seeds").get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
        raise MnpError(f"{path}: is not a list of seeds")
    return seeds
