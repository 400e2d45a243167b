"""One recipe with several seeds, one after another or side by side, and what they say together.

out/recipe.json, seeds.json     the recipe (with the first seed), and the seeds
out/seed-S/                     an ordinary run folder for each
out/summary.json                recipe, command, seeds, versions, rows, aggregate
"""

from dataclasses import replace
from pathlib import Path

from mnp.errors import MnpError
from mnp.experiments.folder import RECIPE, SEEDS, SUMMARY
from mnp.experiments.run import check_run_folder, default_folder, run
from mnp.experiments.side_by_side import side_by_side
from mnp.experiments.statistics import aggregate
from mnp.experiments.typed import to_dict
from mnp.files import atomic_write, lock_folder, make_folder, read_json, remove_partial_files, to_json


def run_seeds(
    experiment, seeds, out, *, jobs=1, command="", data_folder=None, backend=None, log=print, source=None
):
    """Carry out a recipe for every seed, each in a folder of its own below `out`.

    Parameters
    ----------
    experiment : Experiment
    seeds : list of int
    out : str or Path
    jobs : int
        How many run at the same time; above 1 each is a process of its own that writes seed-S/log.txt.
    command : str
        Written into the results: how to repeat them.
    data_folder, backend, say, source
        As in `run`; kernels by name.

    Returns
    -------
    results : dict
        recipe, command, seeds, versions, kernels, threads, cpu, rows (of all seeds, each with its seed)
        and aggregate (`statistics.aggregate`); of faces also data and, for a single seed, against_unpruned
        and folds.
    """
    out = Path(out)
    experiments = {seed: replace(experiment, seed=seed) for seed in seeds}
    check_run_folder(out, experiment, several=True)
    make_folder(out)
    with lock_folder(out, log):
        remove_partial_files(out)
        check_run_folder(out, experiment, several=True)
        atomic_write(out / SEEDS, to_json({"seeds": list(seeds)}))
        atomic_write(out / RECIPE, to_json(to_dict(experiment)))
        if jobs > 1:
            runs = {f"seed {seed}": (one, out / folder_of(seed)) for seed, one in experiments.items()}
            side_by_side(runs, jobs, data_folder=data_folder, backend=backend, log=log, source=source)
        rows = {}
        for seed, one in experiments.items():
            if jobs == 1:
                log(f"seed {seed} ({seeds.index(seed) + 1} of {len(seeds)})")
            folder = out / folder_of(seed)
            rows[seed] = run(one, folder, data_folder=data_folder, backend=backend, log=log, source=source)
        results = results_of(rows, experiment, folder, command)
        atomic_write(out / SUMMARY, to_json(results))
    return results


def results_of(rows, experiment, folder, command):
    """The form in which results are kept: see `run_seeds`.

    Parameters
    ----------
    rows : dict of seed -> list of row
    experiment : Experiment
    folder : str or Path
        Of one of the runs: its summary says which versions, kernels and threads it had.
    command : str
    """
    summary = read_json(Path(folder) / SUMMARY, "a summary")
    # Pairs and folds are one run's; with several seeds they stand in each seed's own summary.
    more = ("data", "against_unpruned", "folds") if len(rows) == 1 else ("data",)
    return {
        "recipe": to_dict(experiment),
        "command": command,
        "seeds": list(rows),
        **{name: summary.get(name) for name in ("versions", "kernels", "threads", "cpu")},
        "rows": [{"seed": seed, **row} for seed, of_seed in rows.items() for row in of_seed],
        "aggregate": aggregate(list(rows.values())),
        **{name: summary[name] for name in more if name in summary},
    }


def folder_of(seed):
    return f"seed-{seed}"


def default_seeds_folder(experiment):
    """runs/<name>-<hash of the recipe>-seeds."""
    folder = default_folder(experiment)
    return folder.with_name(f"{folder.name}-seeds")


def read_seeds(out):
    """The seeds of a folder of several, or None if it is a single run's."""
    path = Path(out) / SEEDS
    if not path.exists():
        return None
    seeds = read_json(path, "a list of seeds").get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
        raise MnpError(f"{path}: is not a list of seeds")
    return seeds


def summary_line(results):
    """The outcome in one sentence: unpruned against the last step."""
    first, last = results["aggregate"][0], results["aggregate"][-1]
    text = (
        f"{len(results['seeds'])} seeds: unpruned {first['error_mean']:.3f} %, last step "
        f"{last['error_mean']:.3f} % with {last['nonzero']:,.0f} parameters"
    )
    if last["change_low"] is None:
        return text
    interval = f"95 % interval {last['change_low']:+.3f} to {last['change_high']:+.3f}"
    return f"{text}; change {last['change']:+.3f} points, paired {interval}"
