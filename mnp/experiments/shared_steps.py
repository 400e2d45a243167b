"""Steps that two recipes have in common need not be carried out twice: `mnp run RECIPE --from DIR`.

A step's bits depend on the seed, its place on its path, and the sections of the recipe that it and the steps
before it use. Where all of that is equal, another run's checkpoint is this run's checkpoint; to the last
bit if both were made with the same kernels.
"""

from dataclasses import replace
from pathlib import Path

from mnp.errors import MnpError
from mnp.experiments.catalogue import read_experiment
from mnp.experiments.checkpoint import load_checkpoint
from mnp.experiments.folder import CHECKPOINTS
from mnp.experiments.steps import steps_of
from mnp.files import atomic_write


def take_over(run, source):
    """Copy from another run's folder the checkpoints of the steps that it shares with this run.

    Parameters
    ----------
    run : Run
        Not yet carried out; a step that it has already stays as it is.
    source : str or Path
        The folder of a run, or of several seeds, of which that with this run's seed is meant.

    Returns
    -------
    taken : list of str
        The labels of the steps taken over.

    Raises MnpError for a folder that holds no run, or none that shares a finished step.
    """
    source = Path(source)
    if getattr(run.experiment, "of_folds", False):
        raise MnpError(f"--from {source}: is for a run of one network, not for all folds; name a data.fold")
    if (source / f"seed-{run.experiment.seed}").is_dir():
        source = source / f"seed-{run.experiment.seed}"
    other = read_experiment(source)
    taken, there = [], False
    for step in shared_steps(run.experiment, other):
        path = source / CHECKPOINTS / run.path(step).name
        if not path.exists():
            break
        there = True
        if not run.path(step).exists():
            load_checkpoint(path)  # a damaged one is an error here, not a step done twice
            atomic_write(run.path(step), path.read_bytes())
            taken.append(step.label)
    if not there:
        raise MnpError(
            f"--from {source}: has no finished step in common with {run.experiment.name}, seed "
            f"{run.experiment.seed}: data, model, train (and prune) must be equal"
        )
    return taken


def shared_steps(experiment, other):
    """The first steps of an experiment that are the same work, from the same beginning, in another one.

    >>> from mnp.experiments.catalogue import named
    >>> [step.label for step in shared_steps(named("mnist-combined"), named("mnist"))]
    ['00-train-k4', '01-neurons-k3', '02-neurons-k2', '03-neurons-k1']
    >>> shared_steps(named("mnist-combined"), named("mnist-k8"))
    []
    """
    same = ("data", "model", "train", "seed")
    if any(getattr(experiment, name) != getattr(other, name) for name in same):
        return []
    # k to prune to and rankings are written in the steps themselves
    prunes = [replace(e.prune, to_k=None, rankings=("win_counts",)) for e in (experiment, other)]
    shared = []
    for step, theirs in zip(steps_of(experiment), steps_of(other), strict=False):
        if step != theirs or step.kind not in ("train", "neurons"):
            break
        if step.kind == "neurons" and prunes[0] != prunes[1]:
            break
        shared.append(step)
    return shared
