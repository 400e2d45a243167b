"""Copy the rounds that two experiments share instead of repeating them: `mnp run RECIPE --from DIR`.

A round's bits depend on the seed, its depth, and the sections of the recipe that it and the rounds before it
use. Where all of that is equal, another run's checkpoint is this run's checkpoint; to the last bit if both
ran on the same backend.
"""

from dataclasses import replace
from pathlib import Path

from mnp.checkpoint import load_checkpoint
from mnp.errors import MnpError
from mnp.experiments.recipes import plan_rounds
from mnp.experiments.registry import CHECKPOINTS, read_experiment
from mnp.files import atomic_write


def reuse_checkpoints(experiment, out, source, data_checksum):
    """Copy the checkpoints of shared rounds into the folder of a run; return the labels of these rounds.

    Parameters
    ----------
    experiment : Experiment
    out : Path
        Its folder; a round that it has already stays as it is.
    source : str or Path
        The folder of a run, or of several seeds, of which the one with this run's seed is taken.
    data_checksum : str
        Checksum of this run's data.

    Raises MnpError for a folder that holds no run, none that shares a finished round, or one of other data.
    """
    source = Path(source)
    if (source / f"seed-{experiment.seed}").is_dir():
        source = source / f"seed-{experiment.seed}"
    copied, exists = [], False
    for round in shared_rounds(experiment, read_experiment(source)):
        path, target = (folder / CHECKPOINTS / f"{round.label}.npz" for folder in (source, out))
        if not path.exists():
            break
        exists = True
        if not target.exists():
            facts = load_checkpoint(path)[1].get("data")  # a damaged file is an error, not a round to repeat
            if isinstance(facts, dict) and facts.get("checksum") != data_checksum:
                raise MnpError(f"--from {source}: was run on other data than these; give the same --data")
            atomic_write(target, path.read_bytes())
            copied.append(round.label)
    if not exists:
        raise MnpError(
            f"--from {source}: has no finished round in common with {experiment.name}, seed "
            f"{experiment.seed}: data, model, train (and prune) must be equal"
        )
    return copied


def shared_rounds(experiment, other):
    """The first rounds of an experiment that are the same work, from the same beginning, in another one.

    >>> from mnp.experiments.registry import get_experiment
    >>> combined = get_experiment("mnist-combined")
    >>> [round.label for round in shared_rounds(combined, get_experiment("mnist"))]
    ['00-train-k4', '01-neurons-k3', '02-neurons-k2', '03-neurons-k1']
    >>> shared_rounds(combined, get_experiment("mnist-k8"))
    []
    """
    same = ("data", "model", "train", "seed")
    if any(getattr(experiment, name) != getattr(other, name) for name in same):
        return []
    # to_k and the rankings show in the rounds themselves
    prunes = [replace(e.prune, to_k=None, rankings=("win_counts",)) for e in (experiment, other)]
    shared = []
    for round, theirs in zip(plan_rounds(experiment), plan_rounds(other), strict=False):
        if round != theirs or round.kind not in ("train", "neurons", "continue"):
            break
        if round.kind != "train" and (prunes[0] != prunes[1] or round.depth > experiment.neuron_rounds):
            break
        shared.append(round)
    return shared
