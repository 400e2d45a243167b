"""Carry out an experiment: train, rank, prune, retrain; one row and one checkpoint a step.

    out/recipe.json                 the experiment; a folder of another one is refused
    out/history.csv, summary.json   the rows so far; the rows and all that is needed to repeat them
    out/checkpoints/NN-kind-kK.npz  the network after a step, with its masks, its row, the win counts
    out/checkpoints/progress.npz    inside a step: the state after its last whole epoch

Everything random comes from generators of the step, so a run that was interrupted anywhere goes on from its
files and ends with the bits of one that was not.
"""

from pathlib import Path

import numpy as np

from mnp.errors import MnpError
from mnp.experiments import machine
from mnp.experiments.build import build, load_data
from mnp.experiments.catalogue import read_experiment
from mnp.experiments.checkpoint import load_checkpoint
from mnp.experiments.faces_recipes import FacesExperiment
from mnp.experiments.folder import CHECKPOINTS, HISTORY, PAIRS, RECIPE, SEEDS, SUMMARY
from mnp.experiments.gradual import Target, check_target
from mnp.experiments.rows import check_row, to_csv
from mnp.experiments.shared_steps import take_over
from mnp.experiments.stage import Stage
from mnp.experiments.steps import steps_of
from mnp.experiments.typed import digest, to_dict
from mnp.files import LOCK, PARTIAL, atomic_write, lock_folder, make_folder, remove_partial_files, to_json
from mnp.nn import MaxoutDense, Network
from mnp.pruning.sizes import count_sizes

OURS = {PAIRS, RECIPE, SUMMARY, HISTORY, CHECKPOINTS, SEEDS, LOCK}


def run(experiment, out, *, data_folder=None, backend=None, log=print, faces=None, source=None, jobs=1):
    """Carry out an experiment in a folder, or what is left of it; steps that are finished stay.

    Parameters
    ----------
    experiment : Experiment
    out : str or Path
        New, empty, or the folder of this same experiment; it is locked meanwhile.
    data_folder : str or Path, optional
        Where the data are looked for first.
    backend : module or str, optional
        The default is the fastest that fits.
    say : callable(str)
        Receives a line where there is something to tell.
    faces : lfw.Faces, optional
        Photographs that were loaded before, for a recipe of faces.
    source : str or Path, optional
        Folder of another run, whose steps that are the same work are taken over (`shared_steps`).
    jobs : int
        For an experiment of several folds: how many of them at the same time, each in a process; same bits.

    Returns
    -------
    rows : list of dict
        As in history.csv; columns in `rows.FIELDS`.

    Raises MnpError for a folder that holds something else or is in use, for data that are missing or do
    not fit the recipe, for a loss that is not finite, and for a disk that refuses; nothing that was there
    is harmed.
    """
    out = Path(out)
    check_run_folder(out, experiment)
    make_folder(out / CHECKPOINTS)
    with lock_folder(out, log):
        remove_partial_files(out, out / CHECKPOINTS)
        check_run_folder(out, experiment)
        if not (out / RECIPE).exists():
            atomic_write(out / RECIPE, to_json(to_dict(experiment)))
        runner = runner_of(experiment)(experiment, out, data_folder, backend, log)
        runner.faces, runner.jobs = faces, jobs
        if source is not None:
            for label in take_over(runner, source):
                log(f"{label}: taken over from {source}")
        return runner.carry_out()


def runner_of(experiment):
    """The class that carries out an experiment: `Run`, or what its second task makes of it."""
    if isinstance(experiment, FacesExperiment):
        from mnp.experiments.faces_run import FacesRun, FoldsRun  # they build on this module

        return FoldsRun if experiment.of_folds else FacesRun
    return Run


def check_run_folder(out, experiment, several=False):
    """Refuse a folder that is not new, empty, or this experiment's own (with one seed, or with several)."""
    if out.exists() and not out.is_dir():
        raise MnpError(f"{out}: is not a folder; choose another --out")
    if (out / RECIPE).exists():
        found = read_experiment(out)
        if found != experiment:
            raise MnpError(
                f"{out}: holds the recipe {found.name} ({digest(found)}), not {experiment.name} "
                f"({digest(experiment)}); choose another --out"
            )
        if (out / (CHECKPOINTS if several else SEEDS)).exists():
            kinds = ("a run of one seed", "runs of several seeds")
            raise MnpError(f"{out}: holds {kinds[not several]}, not {kinds[several]}; choose another --out")
    elif out.exists():
        names = {path.name for path in out.iterdir() if path.suffix != PARTIAL}
        if names - OURS:
            raise MnpError(
                f"{out}: is not empty and holds no run ({min(names - OURS)}); choose another --out"
            )


def default_folder(experiment):
    """runs/<name>-<hash of the recipe>: another seed or another --set is another folder.

    >>> from mnp.experiments.catalogue import named
    >>> default_folder(named("mnist")).parent
    PosixPath('runs')
    """
    return Path("runs") / f"{experiment.name}-{digest(experiment)}"


def check_meta(meta, fields, step, path):
    """Refuse what a checkpoint says of a step unless it can be this step's."""
    try:
        check_row(meta.get("row"), fields, step)
        if not isinstance(meta.get("kernels"), str):
            raise MnpError("does not say which kernels")
    except MnpError as error:
        raise MnpError(f"{path}: {error}") from None


class Run:
    """What the steps of a run share."""

    stage, at_the_end = Stage, (SUMMARY,)

    def __init__(self, experiment, out, data_folder, backend, log):
        self.experiment, self.out, self.backend, self.log = experiment, out, backend, log
        self.data_folder, self.data, self.first = data_folder, None, None
        self.steps, self.rows = steps_of(experiment), []

    def carry_out(self):
        finished = [self.finished(step) for step in self.steps]
        whole = all(finished) and all((self.out / name).exists() for name in self.at_the_end)
        if not all(finished):
            self.prepare()
        for step, meta in zip(self.steps, finished, strict=True):
            if meta is None:
                self.log(f"step {step.index} of {len(self.steps) - 1}: {step.label}")
                meta = self.stage(self, step).carry_out()
                atomic_write(self.out / HISTORY, to_csv([*self.rows, meta["row"]]))
            self.rows.append(meta["row"])
        if not whole:
            atomic_write(self.out / HISTORY, to_csv(self.rows))
            self.summarise(meta["kernels"])
        self.progress.unlink(missing_ok=True)
        return self.rows

    def prepare(self):
        """Load the data, and refuse now what would otherwise fail after hours."""
        self.data = self.load()
        net = self.network(None)
        self.backend = net.backend
        self.first = net.architecture()
        if any(step.kind == "neurons" for step in self.steps):
            for name in self.experiment.prune.layers:
                if not isinstance(net[name], MaxoutDense):
                    raise MnpError(f"prune.layers: {name!r} is no maxout layer, its neurons do not compete")
        for step in self.steps:
            if step.reduction is not None or step.remaining is not None:
                self.check_round(step)

    def check_round(self, step):
        """Refuse a round of weight pruning that would empty the network as the step will find it."""
        w, layers = self.experiment.weights, self.experiment.prune.layers
        entries = [e | {"k": step.k} if e["name"] in layers else e for e in self.first]
        net = Network.from_architecture(entries, backend=self.backend)
        check_target(net, Target(self.remaining_after(step.reduction, step.remaining), w.scope, w.floors))

    def load(self):
        """The data of the recipe."""
        return load_data(self.experiment.data, self.data_folder)

    def network(self, rng):
        """The network that the recipe begins with; its weights drawn from rng, or zeros for None."""
        return build(self.experiment.model, self.data, rng, self.backend)

    def remaining_after(self, reduction=None, remaining=None):
        """How many parameters a weights round leaves; a reduction is counted against the unpruned network."""
        if remaining is not None:
            return remaining
        # a millionth of a parameter on top: 0.2 of 600 is 120, also in binary
        return int((1 - reduction) * count_sizes(self.first, self.data.image_shape).params + 1e-6)

    @property
    def progress(self):
        return self.out / CHECKPOINTS / "progress.npz"

    def path(self, step):
        return self.out / CHECKPOINTS / f"{step.label}.npz"

    def finished(self, step):
        """What the checkpoint of a step says, if it is there and whole, else None."""
        if not self.path(step).exists():
            return None
        try:
            meta = load_checkpoint(self.path(step))[1]
            check_meta(meta, self.stage.fields, step, self.path(step))
            return meta
        except MnpError as error:
            self.log(f"{error}; that step is done again from the one before it")
            return None

    def generator(self, step, what="training"):
        """A step's source of random numbers, by the seed and the step's place on its path: one for its
        training, and one for its ranking, so that arms of different rankings see the same batches."""
        key = (step.depth,) if what == "training" else (step.depth, 1)
        sequence = np.random.SeedSequence(self.experiment.seed, spawn_key=key)
        return np.random.Generator(np.random.PCG64(sequence))

    def more(self):
        """What else belongs into the summary."""
        return {}

    def summarise(self, backend):
        e = self.experiment
        summary = {
            "name": e.name,
            "recipe": to_dict(e),
            "seed": e.seed,
            "versions": machine.versions(),
            "kernels": backend,
            "threads": machine.threads(),
            "cpu": machine.cpu(),
            "rows": self.rows,
            **self.more(),
        }
        atomic_write(self.out / SUMMARY, to_json(summary))
