"""`mnp run` as a function: a recipe from beginning to end, with its table, result file and figures."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

from mnp.data import SETS, Dataset, read_own
from mnp.errors import MnpError
from mnp.experiments import runner
from mnp.experiments import seeds as several
from mnp.experiments.config import differences, digest, override
from mnp.experiments.recipes import FacesExperiment
from mnp.experiments.registry import (
    EXPERIMENTS,
    PAIRS,
    RECIPE,
    default_folder,
    get_experiment,
    is_variant,
    read_experiment,
)
from mnp.experiments.results import format_data, format_summary, format_table
from mnp.experiments.seeds import read_seeds
from mnp.files import atomic_write, make_folder, read_json, to_json

REPORT = "report.html"


def run(
    recipe,
    out=None,
    *,
    data=None,
    seed=None,
    seeds=None,
    changes=(),
    jobs=1,
    backend=None,
    source=None,
    results=None,
    figures=True,
    log=print,
    **callbacks,
):
    """Run a recipe in a folder: train, rank, prune and retrain; or resume it.

    Parameters
    ----------
    recipe : str, Path or Experiment
        A name from `mnp list`, the path of a recipe file (.toml, or a run's recipe.json), or an Experiment.
    out : str or Path, optional
        Folder of the run; the default is runs/<name>-<hash of the recipe>.
    data : Dataset, str or Path, optional
        The user's data, or their path (`mnp.data.own`), or the folder of the recipe's own data. The recipe
        then has their name.
    seed : int, optional
        Instead of the recipe's.
    seeds : int or list of int, optional
        Run so many seeds, or these, each in its own folder, and aggregate them.
    changes : list of str
        Changes of the recipe, such as "train.epochs=1".
    jobs : int
        Seeds or folds at the same time, in processes; above 1, a script must do its own work below
        ``if __name__ == "__main__"``.
    backend : str, optional
        "textbook", "jitted" or "tiled".
    source : str or Path, optional
        Folder of another run whose shared rounds are copied.
    results : str or Path, optional
        Folder for a result file.
    figures : bool
        Whether figures and report.html are made.
    log : callable(str)
        Called with a line of text for each event.
    on_epoch : callable (net, round, epoch, result) -> bool, optional
        Called after each epoch, with a Round, the epochs done in it and an EpochResult. True ends the
        training of this round early.
    on_round : callable (net, round, data) -> dict or None, optional
        Called after each round; its {name: float} become further columns of the row.

    Returns
    -------
    rows : list of dict
        One per round, columns as in history.csv; of several seeds each has its `seed`.

    Raises MnpError as `mnp.experiments.runner.run`.
    """
    experiment = recipe if hasattr(recipe, "train") else get_experiment(str(recipe))
    experiment = experiment if seed is None else replace(experiment, seed=seed)
    experiment = override(experiment, *changes) if changes else experiment
    experiment, loaded = with_data(experiment, data, out, log)
    if jobs == 1 or isinstance(data, Dataset):
        data = loaded  # processes load a path themselves, which is cheaper than sending the arrays
    if isinstance(seeds, int):
        seeds = range(experiment.seed, experiment.seed + seeds)
    out = str(out or default_folder(experiment).as_posix()) + ("-seeds" if seeds and not out else "")
    options = {"data": data, "backend": backend, "log": log, "source": source}
    repeat = repeat_command(experiment, changes, seeds, backend, results, recipe)
    if seeds:
        log(f"{experiment.name}, seeds {seeds[0]} to {seeds[-1]}, into {out}")
        made = several.run_seeds(experiment, list(seeds), out, jobs=jobs, command=repeat, **options)
        rows = made["rows"]
        log("\n" + format_table(made["aggregate"]))
        log(format_summary(made))
    else:
        log(f"{experiment.name}, seed {experiment.seed}, into {out}")
        if experiment.has_folds:
            from mnp.experiments.lfw_folds import run_folds

            rows = run_folds(experiment, out, jobs=jobs, **options)
        else:
            rows = runner.run(experiment, out, **options, **callbacks)
        log("\n" + format_table(rows))
        made = several.make_results({experiment.seed: rows}, experiment, out, repeat)
    save_results(experiment, made, results, out, log)
    if figures:
        draw_figures(out, log)
    return rows


def with_data(experiment, data, out, log):
    """Load the user's data; return the experiment with their name, and the data.

    The experiment of a folder that has begun keeps its name: its data are compared by checksum.
    """
    if data is None or isinstance(experiment, FacesExperiment):
        return experiment, data
    if not isinstance(data, Dataset):
        data = read_own(data, experiment.data.name)
    log(f"data: {data!r}, checksum {data.checksum}")
    if out is not None and (Path(out) / RECIPE).exists() and read_experiment(out) == experiment:
        return experiment, data
    return replace(experiment, data=replace(experiment.data, name=data.name)), data


def repeat_command(experiment, changes=(), seeds=None, backend=None, results=None, recipe=None):
    """The command that repeats a result: what decides the bits, and no path of this machine."""
    base = EXPERIMENTS.get(experiment.name, experiment)
    if type(base) is not type(experiment):
        base = experiment
    own = experiment.data.name not in (*SETS, "lfw")
    changes = changes or [
        f"{path}={value}"
        for path, value, _ in differences(experiment, base)
        if "." in path and not (own and path == "data.name")
    ]
    from_file = isinstance(recipe, (str, Path)) and experiment.name not in EXPERIMENTS
    words = ["mnp", "run", Path(recipe).name if from_file else experiment.name]
    words += ["--data", experiment.data.name] if own else []
    words += ["--seed", str(experiment.seed)] if experiment.seed else []
    words += ["--seeds", str(len(seeds))] if seeds else []
    words += ["--backend", backend] if backend else []
    words += ["--set", *changes] if changes else []
    if results and not os.path.isabs(results):
        words += ["--results", str(results)]
    return shlex.join(words)


def save_results(experiment, made, folder, out, log):
    """Say on which data the results are; write FOLDER/<recipe>.json and, of faces, each run's pairs.

    A variant of a named recipe, or a run on an excerpt of the data, has its own name: it must not
    replace the recipe's own results. Nor may fewer seeds replace more.
    """
    name, facts = experiment.name, made.get("data")
    if is_variant(experiment):
        name += f"-{digest(experiment)}"
    if isinstance(facts, dict) and "test_images" in facts:  # faces have several counts, in the summary
        log(format_data(facts))
        if facts["name"] not in SETS:  # not the official files
            name += f"-on-{facts['checksum'][:8]}"
    if not folder:
        return
    make_folder(folder)
    path = Path(folder) / f"{name}.json"
    before = read_json(path, "a result file").get("seeds", []) if path.exists() else []
    if not set(before) <= set(made["seeds"]):
        raise MnpError(
            f"{path}: has seeds {before}, this run {made['seeds']}; not replaced: run all of them "
            "(--seeds), or choose another --results"
        )
    atomic_write(path, to_json(made))
    log(f"results: {path}")
    for part in ("", *(f"seed-{seed}" for seed in made["seeds"])):  # of one run, or of several seeds
        pairs = Path(out, part, PAIRS)
        if pairs.exists():
            path = path.with_name("-".join(filter(None, (name, part, PAIRS))))
            atomic_write(path, pairs.read_bytes())
            log(f"results: {path}")


def draw_figures(folder, log):
    """Draw the figures of a finished run, and write its report; `log` is called with a line for each."""
    from mnp.plotting.runs import save_run_figures

    for path in save_run_figures(folder):
        log(f"figure: {path}")
    write_report([folder], Path(folder) / REPORT, log)


def write_report(folders, out, log=print):
    """Write one page about a finished run, or about several side by side."""
    from mnp.plotting.report import make_report
    from mnp.plotting.runs import run_figures

    runs = []
    for folder in folders:
        summary, figures = run_figures(folder)
        command = summary.get("command") or repeat_command(
            read_experiment(folder), seeds=read_seeds(folder), recipe=RECIPE
        )
        runs.append({"summary": summary, "figures": figures, "command": command, "folder": Path(folder)})
    names = dict.fromkeys(run["summary"]["recipe"]["name"] for run in runs)
    atomic_write(out, make_report(", ".join(names), runs))
    log(f"report: {out}")
