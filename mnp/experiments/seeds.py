"""One recipe with several seeds, one after another or side by side, and what they say together.

    out/recipe.json, seeds.json     the recipe (with the first seed), and the seeds
    out/seed-S/                     an ordinary run folder for each
    out/summary.json                recipe, command, seeds, versions, rows, aggregate

Side by side means a process each: `mnp run --resume --out out/seed-S`, which anybody can call by hand as
well. No kernel's result depends on its number of threads, so neither `jobs` nor the threads that a process
gets change a bit of the results.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from mnp.errors import MnpError
from mnp.experiments.folder import locked, make_folder, read_json, sweep, to_json, write_whole
from mnp.experiments.run import RECIPE, SEEDS, SUMMARY, default_folder, refuse_strange, run
from mnp.experiments.statistics import aggregate
from mnp.experiments.typed import to_dict

LOG = "log.txt"


def run_seeds(
    experiment, seeds, out, *, jobs=1, command="", data_folder=None, kernels=None, say=print, source=None
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
    data_folder, kernels, say, source
        As in `run`; kernels by name.

    Returns
    -------
    results : dict
        recipe, command, seeds, versions, kernels, threads, cpu, rows (of all seeds, each with its seed)
        and aggregate (`statistics.aggregate`).
    """
    out = Path(out)
    experiments = {seed: replace(experiment, seed=seed) for seed in seeds}
    refuse_strange(out, experiment, several=True)
    make_folder(out)
    with locked(out):
        sweep(out)
        refuse_strange(out, experiment, several=True)
        write_whole(out / SEEDS, to_json({"seeds": list(seeds)}))
        write_whole(out / RECIPE, to_json(to_dict(experiment)))
        if jobs > 1:
            side_by_side(experiments, out, jobs, data_folder, kernels, say, source)
        rows = {}
        for seed, one in experiments.items():
            if jobs == 1:
                say(f"seed {seed} ({seeds.index(seed) + 1} of {len(seeds)})")
            folder = out / folder_of(seed)
            rows[seed] = run(one, folder, data_folder=data_folder, kernels=kernels, say=say, source=source)
        results = results_of(rows, experiment, folder, command)
        write_whole(out / SUMMARY, to_json(results))
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
    return {
        "recipe": to_dict(experiment),
        "command": command,
        "seeds": list(rows),
        **{name: summary.get(name) for name in ("versions", "kernels", "threads", "cpu")},
        "rows": [{"seed": seed, **row} for seed, of_seed in rows.items() for row in of_seed],
        "aggregate": aggregate(list(rows.values())),
        **{name: summary[name] for name in ("data", "against_unpruned", "folds") if name in summary},
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


def side_by_side(experiments, out, jobs, data_folder, kernels, say, source=None):
    """Run every seed in a process of its own, `jobs` at a time; return when all have ended well.

    The processors are shared out evenly, unless NUMBA_NUM_THREADS says how many threads each gets.
    """
    threads = os.environ.get("NUMBA_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // jobs))
    waiting, running = list(experiments.items()), {}
    say(f"{len(waiting)} seeds, {jobs} at a time, {threads} thread(s) each; they write {out}/seed-*/{LOG}")
    failed = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                seed, experiment = waiting.pop(0)
                running[seed] = start(
                    experiment, out / folder_of(seed), threads, data_folder, kernels, source
                )
            ended = [seed for seed, process in running.items() if process.poll() is not None]
            for seed in ended:
                if running.pop(seed).returncode:
                    failed.append(f"seed {seed}: {last_line(out / folder_of(seed) / LOG)}")
                    waiting.clear()
                else:
                    say(f"seed {seed} is done")
            if not ended:
                time.sleep(0.2)
    finally:  # after Ctrl-C too: nothing is left running behind
        for process in running.values():
            process.send_signal(signal.SIGINT)
        for process in running.values():
            process.wait()
    if failed:
        raise MnpError("; ".join(failed))


def start(experiment, folder, threads, data_folder, kernels, source=None):
    """One seed as a process; its output goes to a file in its folder."""
    refuse_strange(folder, experiment)
    make_folder(folder)
    if not (folder / RECIPE).exists():
        write_whole(folder / RECIPE, to_json(to_dict(experiment)))
    words = [sys.executable, "-m", "mnp", "run", "--resume", "--out", str(folder), "--no-figures"]
    words += ["--data", str(data_folder)] if data_folder else []
    words += ["--kernels", kernels] if kernels else []
    words += ["--from", str(source)] if source else []
    environment = {**os.environ, "NUMBA_NUM_THREADS": threads}
    try:
        with open(folder / LOG, "w", encoding="utf-8") as log:
            return subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
    except OSError as error:
        raise MnpError(f"{folder / LOG}: cannot be written ({error.strerror or error})") from None


def last_line(path):
    """The last line of a log: where a run says what was wrong."""
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("mnp: ") if lines else "ended without a word"


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
