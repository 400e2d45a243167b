"""View 2 of LFW: a run for each of its ten folds, in its own folder; a row is the mean over the folds.

out/fold-F/      an ordinary run folder for each fold; finished, it no longer needs its checkpoints
out/summary.json rows over all folds: accuracy with its standard error, tests against the unpruned network
"""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from mnp.checkpoint import save_checkpoint
from mnp.data import lfw
from mnp.errors import MnpError
from mnp.experiments.config import to_dict
from mnp.experiments.lfw_task import LfwTask
from mnp.experiments.parallel import run_in_processes
from mnp.experiments.recipes import FOLDS, plan_rounds
from mnp.experiments.registry import HISTORY, PAIRS, RECIPE, SUMMARY, check_run_folder, open_run_folder
from mnp.experiments.results import FACE_COLUMNS, check_row, mean_sd_se, to_csv
from mnp.experiments.runner import make_summary, run
from mnp.experiments.verification import against_unpruned, called_same, read_pairs
from mnp.files import atomic_write, read_json, to_json
from mnp.nn.base import backend_name

SAME_IN_ALL_FOLDS = ("step", "kind", "k", "arm", "ranking", "parent", "epochs", "distance")


def run_folds(experiment, out, *, data=None, backend=None, log=print, source=None, jobs=1):
    """Run all ten folds of an experiment, or those that are left; return the rows over the folds.

    Parameters as in `runner.run`; above 1 `jobs` is the number of folds at the same time, in processes.
    """
    if source is not None:
        raise MnpError(f"--from {source}: is for a run of one network, not for all folds; name a data.fold")
    out, recipe, plan = Path(out), experiment.data, plan_rounds(experiment)
    labels = [round.label for round in plan]
    experiments = [replace(experiment, data=replace(recipe, fold=fold)) for fold in range(FOLDS)]
    folders = [out / f"fold-{fold}" for fold in range(FOLDS)]
    with open_run_folder(out, experiment, log):
        finished = [read_fold(*fold, plan, log) for fold in zip(experiments, folders, strict=True)]
        left = [fold for fold, rows in enumerate(finished) if rows is None]
        if left:
            # Loaded once for all folds; processes then find the decoded images in the cache.
            photographs = lfw.load(data, variant=recipe.variant, crop=recipe.crop, size=recipe.size)
        atomic_write(out / RECIPE, to_json(to_dict(experiment)))
        backend = backend_name(backend) if isinstance(backend, ModuleType) else backend
        options = {"data": data, "backend": backend, "log": log}
        if jobs > 1 and left:
            run_in_processes(run, {f"fold {f}": (experiments[f], folders[f]) for f in left}, jobs, **options)
        for fold in left:
            log(f"fold {fold} of 0 to {FOLDS - 1}")
            task = LfwTask(experiments[fold], data, photographs)
            finished[fold] = run(experiments[fold], folders[fold], task=task, **options)
        write_pairs_of_folds(out, folders, labels)
        rows = [average_folds(of_round) for of_round in zip(*finished, strict=True)]
        atomic_write(out / HISTORY, to_csv(rows))
        summaries = [read_json(folder / SUMMARY, "a summary") for folder in folders]
        summary = {
            **make_summary(experiment, rows, summaries[0]["kernels"]),
            "data": [one["data"] for one in summaries],
            "against_unpruned": against_unpruned(folders, rows, labels, finished),
            "folds": [{"fold": fold, **row} for fold, of_fold in enumerate(finished) for row in of_fold],
        }
        atomic_write(out / SUMMARY, to_json(summary))
        return rows


def read_fold(experiment, folder, plan, log):
    """The rows of a fold that is finished, from its summary and its pairs; else None."""
    if not ((folder / SUMMARY).exists() and (folder / PAIRS).exists()):
        return None
    check_run_folder(folder, experiment)
    rows = read_json(folder / SUMMARY, "a summary").get("rows")
    try:
        for round, row in zip(plan, rows, strict=True):
            check_row(row, FACE_COLUMNS, round)
            read_pairs(folder / PAIRS, round.label)
    except (MnpError, TypeError, ValueError) as error:
        log(f"{folder}: {error}; that fold is checked again")
        (folder / PAIRS).unlink(missing_ok=True)  # its checkpoints give a new one
        return None
    return rows


def write_pairs_of_folds(out, folders, labels):
    """Write the pairs of all folds; each fold's distances over its own threshold, so that 1 decides.

    A threshold of 0 or less cannot scale; then distances are shifted, which decides the same.
    """
    arrays = {}
    for label in labels:
        folds = [read_pairs(folder / PAIRS, label) for folder in folders]
        scaled = [
            p["distances"] / p["threshold"] if p["threshold"] > 0 else p["distances"] - p["threshold"] + 1
            for p in folds
        ]
        arrays |= {
            f"{label}/distances": np.concatenate(scaled),
            f"{label}/same": np.concatenate([p["same"] for p in folds]),
            f"{label}/called_same": np.concatenate([called_same(p) for p in folds]),
            f"{label}/threshold": np.float64(1),
        }
    save_checkpoint(out / PAIRS, arrays, {"steps": labels})


def average_folds(rows):
    """One row for a round of all folds.

    Means, sizes rounded to whole numbers (the folds have different people, so different last layers);
    `seconds` is a sum; accuracy_se is the standard error over folds, sd / sqrt(10).
    """
    row = {}
    for name, kind in FACE_COLUMNS.items():
        values = [one[name] for one in rows]
        if name in SAME_IN_ALL_FOLDS:
            row[name] = values[0]
        elif None in values:
            row[name] = None
        elif name == "seconds":
            row[name] = round(sum(values), 3)
        else:
            mean, _, _ = mean_sd_se(values)
            row[name] = round(mean) if kind is int else mean
    row["accuracy_se"] = mean_sd_se([one["accuracy"] for one in rows])[2]
    return row
