"""Run an experiment: train, then prune and retrain round by round; one row and one checkpoint per round.

    out/recipe.json                 the experiment; a folder of another one is rejected
    out/history.csv, summary.json   the rows so far; the rows and all that is needed to repeat them
    out/checkpoints/NN-kind-kK.npz  the network after a round, with its masks, its row, the win counts
    out/checkpoints/progress.npz    inside a round: the state after its last complete epoch

Everything random comes from generators of the round, so a run that was interrupted anywhere resumes from its
files and gives bit-identical results.
"""

import contextlib
import dataclasses
import functools
import operator
import time
from pathlib import Path

import numpy as np

from mnp.checkpoint import load_checkpoint, save_checkpoint, with_prefix
from mnp.data.dataset import checksum
from mnp.errors import MnpError
from mnp.experiments.classification import Classification
from mnp.experiments.config import to_dict
from mnp.experiments.recipes import FacesExperiment, plan_rounds
from mnp.experiments.registry import CHECKPOINTS, HISTORY, RECIPE, SUMMARY, open_run_folder
from mnp.experiments.results import check_row, size_columns, to_csv
from mnp.experiments.reuse import reuse_checkpoints
from mnp.files import atomic_write, make_folder, to_json
from mnp.kernels import textbook
from mnp.nn import SGD, Maxout, Network, learning_rate, loss_and_grads, train_epoch
from mnp.nn.base import backend_name
from mnp.nn.checkpoint import network_entries, network_from
from mnp.process import import_function
from mnp.pruning.neurons import keep_top, wins_lost
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import apply_masks, collect_win_counts, measure_relevance, prune_neurons


def run(
    experiment,
    out,
    *,
    data=None,
    backend=None,
    log=print,
    source=None,
    task=None,
    on_epoch=None,
    on_round=None,
):
    """Run an experiment in a folder, or resume it; finished rounds are not repeated.

    Parameters
    ----------
    experiment : Experiment
        Not one of several folds (`lfw_folds.run_folds` runs those).
    out : str or Path
        New, empty, or the folder of this same experiment; it is locked meanwhile.
    data, backend, log, source, on_epoch, on_round
        As in `mnp.run`.
    task : Classification or LfwTask, optional
        What is loaded, built and evaluated; the default is the experiment's own.

    Returns
    -------
    rows : list of dict
        As in history.csv; columns in `results.COLUMNS`.

    Raises MnpError for a folder that holds something else or is in use, for data that are missing, do
    not fit the recipe or are not those of the finished rounds, for a loss that is not finite, and for a
    write that fails; no existing file is harmed.
    """
    out = Path(out)
    with open_run_folder(out, experiment, log):
        runner = Runner(experiment, out, task or task_of(experiment, data), backend, log)
        runner.on_epoch, runner.on_round = on_epoch, on_round
        # A round is finished if its checkpoint is there and sound; only the others are run.
        finished = [runner.read_finished(round) for round in runner.plan]
        complete = all(finished) and all((out / name).exists() for name in runner.task.final_files)
        if not all(finished) or data is not None:  # a named folder must fit finished rounds, too
            # All that can be wrong with data and recipe is found here, not after hours of training.
            runner.prepare(finished)
        if not all(finished) and source is not None:
            for label in reuse_checkpoints(experiment, out, source, runner.data_facts["checksum"]):
                log(f"{label}: copied from {source}")
            finished = [runner.read_finished(round) for round in runner.plan]
        for round, meta in zip(runner.plan, finished, strict=True):
            if meta is None:
                log(f"round {round.index} of {len(runner.plan) - 1}: {round.label}")
                state = runner.resume(round) or runner.start(round)
                state.began = runner.warm_up(state.net)  # compiling is not part of the round's seconds
                # progress.npz has this error already; a round that starts here needs it for its row.
                if state.error_before is None:
                    state.untrained = runner.task.evaluate(state.net, runner.data)
                    state.error_before = state.untrained[0]["error"]
                runner.train(round, state)
                # From here on the round is finished; a table that lags behind is written again.
                meta = runner.finish(round, state)
                atomic_write(out / HISTORY, to_csv([*runner.rows, meta["row"]]))
            runner.rows.append(meta["row"])
        if not complete:
            atomic_write(out / HISTORY, to_csv(runner.rows))
            runner.write_summary(meta)
        runner.progress_path.unlink(missing_ok=True)
        return runner.rows


def task_of(experiment, data=None):
    """The task of an experiment: image classification, or face verification."""
    if isinstance(experiment, FacesExperiment):
        from mnp.experiments.lfw_task import LfwTask  # loads Pillow and the LFW reader

        return LfwTask(experiment, data)
    return Classification(experiment, data)


@dataclasses.dataclass
class RoundState:
    """All that the rest of a round depends on; `progress.npz` holds it after each epoch."""

    net: Network
    optimizer: object
    rng: np.random.Generator
    epoch: int = 0  # epochs done
    stopped: bool = False  # by `on_epoch`
    error_before: float | None = None
    train_loss: float | None = None
    wins_lost: float | None = None  # share of all wins that the removed neurons had
    seconds: float = 0.0  # spent before `began`
    began: float = 0.0
    arrays: dict = dataclasses.field(default_factory=dict)  # what the ranking saw, for the figures
    untrained: tuple | None = None  # the evaluation before the first epoch

    def seconds_spent(self):
        return self.seconds + time.perf_counter() - self.began


# fields of a RoundState that progress.npz has in its JSON
PROGRESS = ("error_before", "train_loss", "wins_lost")


class Runner:
    """What the rounds of a run share, and the parts of a round: start or resume, train, finish."""

    def __init__(self, experiment, out, task, backend, log):
        self.experiment, self.out, self.task, self.backend, self.log = experiment, out, task, backend, log
        self.plan, self.rows = plan_rounds(experiment), []
        self.data = self.data_facts = None  # loaded by `prepare`, if a round is left to do
        self.unpruned = None  # architecture of the unpruned network
        self.per_epoch = 0  # iterations
        self.progress_path = out / CHECKPOINTS / "progress.npz"
        self.on_epoch = self.on_round = None

    # --- before the first round ---------------------------------------------------------------------

    def prepare(self, finished):
        """Load the data; check now what would otherwise fail after hours; write the recipe."""
        e = self.experiment
        self.data = self.task.load_data()
        self.data_facts = self.task.describe_data(self.data)
        self.check_same_data(finished)
        self.per_epoch = len(self.data.train_labels) // e.train.batch_size
        if self.per_epoch == 0:
            raise MnpError(
                f"train.batch_size = {e.train.batch_size} is more than the "
                f"{len(self.data.train_labels)} training images; make it smaller"
            )
        net = self.task.build_network(self.data, None, self.backend)
        self.backend, self.unpruned = net.backend, net.architecture()
        if any(round.kind == "neurons" for round in self.plan):
            field = "prune.schedule" if e.prune.schedule else "prune.layers"
            for name, ks in e.ladders().items():
                if not isinstance(net[name], Maxout):
                    raise MnpError(f"{field}: {name!r} is not a maxout layer")
                if net[name].k != ks[0]:
                    raise MnpError(f"{field}: {name} begins with k = {ks[0]}, but has {net[name].k}")
        # The size of a round that must match another one is not known yet.
        for round in self.plan:
            if round.reduction is not None or round.remaining is not None:
                self.check_weights_round(round)
        make_folder(self.out / CHECKPOINTS)
        atomic_write(self.out / RECIPE, to_json(to_dict(e)))

    def check_same_data(self, finished):
        """Reject data other than those of the rounds that are finished, or of the one that was begun."""
        metas = [meta for meta in finished if meta]
        if self.progress_path.exists():
            with contextlib.suppress(MnpError):  # a damaged one is reported by `resume`
                metas.append(load_checkpoint(self.progress_path)[1])
        for meta in metas:
            before = meta.get("data")  # mnp 0.1 did not record it
            if isinstance(before, dict) and before.get("checksum") != self.data_facts["checksum"]:
                counts = [
                    f"{facts.get('train_images')} training and {facts.get('test_images')} test images, "
                    f"checksum {facts.get('checksum')}"
                    for facts in (before, self.data_facts)
                ]
                raise MnpError(
                    f"{self.out}: was begun with other data ({counts[0]}) than these ({counts[1]}); "
                    "give the same --data, or choose another --out"
                )

    def check_weights_round(self, round):
        """Reject a round of weight pruning that would empty a layer of the network that it will find."""
        from mnp.experiments.gradual import check_target

        # By then the neurons of its maxout layers are pruned; zeros stand for weights, only sizes count.
        ks = dict(round.ks) or dict.fromkeys(self.experiment.ladders(), round.k)
        entries = [
            entry | {"k": ks[entry["name"]]} if "k" in entry and entry["name"] in ks else entry
            for entry in self.unpruned
        ]
        check_target(Network.from_architecture(entries, backend=self.backend), self.target(round))

    # --- a round: its beginning ----------------------------------------------------------------------

    def start(self, round):
        """Load the parent's network, remove what this round removes, make a new optimiser."""
        began, rng = time.perf_counter(), self.generator(round)
        if round.parent < 0:
            net = self.task.build_network(self.data, rng, self.backend, round.k)
            for name, k in round.ks:  # with a schedule, the small control has the first k of new neurons
                if k < net[name].k:
                    net = prune_neurons(net, name, np.tile(np.arange(k), (net[name].units, 1)))
        elif round.kind == "rewind":
            net = self.rewind(round, rng)
        else:
            arrays, meta = load_checkpoint(self.checkpoint_path(self.plan[round.parent]))
            net = network_from(arrays, meta, self.backend)
        arrays, lost = {}, None
        if round.kind == "neurons":
            net, arrays, lost = self.remove_neurons(net, round)
        elif round.kind == "weights":
            from mnp.experiments.gradual import masks_for

            net = apply_masks(net, masks_for(net, self.target(round)))
        section = self.section(round)
        if getattr(section, "dropout", None) is not None:  # the training's is that of the model
            net = with_dropout(net, section.dropout)
        optimizer = self.new_optimizer(round, net)
        seconds = time.perf_counter() - began
        return RoundState(net, optimizer, rng, wins_lost=lost, seconds=seconds, arrays=arrays)

    def rewind(self, round, rng):
        """The neurons that are left in the round's parent, with the weights that they began with."""
        net, removals = self.task.build_network(self.data, rng, self.backend), []
        parent = self.plan[round.parent]
        while parent.kind == "neurons":
            removals.append(with_prefix(load_checkpoint(self.checkpoint_path(parent))[0], "keep"))
            parent = self.plan[parent.parent]
        for keeps in reversed(removals):
            for name, keep in keeps.items():
                net = prune_neurons(net, name, keep)
        return net

    def remove_neurons(self, net, round):
        """Remove from every unit of every maxout layer the neuron that the ranking puts last.

        Returns (pruned network, {"counts/<layer>": ..., "keep/<layer>": ...}, share of all wins lost).
        """
        rank_net, images, labels = self.task.ranking_inputs(net, self.data)
        # A separate generator: what a ranking draws must not change the batches of the training.
        rng = self.generator(round, ranking=True)
        arrays, keeps, wins, lost = {}, {}, 0, 0
        for name, n_keep in round.ks or [(name, round.k) for name in self.experiment.prune.layers]:
            if n_keep >= getattr(net[name], "k", 1):
                continue  # its schedule has ended
            counts = relevance = collect_win_counts(rank_net, name, images)
            if round.ranking != "win_counts":
                relevance = measure_relevance(rank_net, name, round.ranking, images, rng, labels=labels)
            keeps[name] = keep_top(rank_neurons(relevance), n_keep=n_keep)
            arrays |= {f"counts/{name}": counts, f"keep/{name}": keeps[name]}
            wins, lost = wins + int(counts.sum()), lost + int(wins_lost(counts, keeps[name]).sum())
        # All layers are ranked on the network as it was, before any of them is pruned.
        for name, keep in keeps.items():
            net = prune_neurons(net, name, keep)
        return net, arrays, lost / wins

    def target(self, round):
        """What a round of weight pruning must reach."""
        from mnp.experiments.gradual import Target
        from mnp.pruning.sizes import count_sizes

        remaining = round.remaining
        if round.match is not None:
            remaining = self.rows[round.match]["params"]
        elif round.reduction is not None:
            # A millionth of a parameter more: 0.2 of 600 is 120, in binary fractions too.
            unpruned = count_sizes(self.unpruned, self.data.image_shape).params
            remaining = int((1 - round.reduction) * unpruned + 1e-6)
        return Target(remaining, self.experiment.weights.scope, self.experiment.weights.floors)

    def new_optimizer(self, round, net):
        """The optimiser of a round: SGD from rest, or the one that prunes while it trains."""
        t, w = self.experiment.train, self.experiment.weights
        decay = t.weight_decay
        # None in the weights section: as in the training.
        if round.kind in ("weights", "gradual") and w.weight_decay is not None:
            decay = w.weight_decay
        if round.kind != "gradual":
            return SGD(net, t.momentum, decay)
        from mnp.experiments.gradual import GradualPruning

        return GradualPruning(net, self.target(round), self.ramp(round), w.every, w.splice, t.momentum, decay)

    def warm_up(self, net):
        """Make one training step on a copy, so that every kernel is compiled; return the time after it."""
        if net.backend is textbook:
            return time.perf_counter()
        from mnp.kernels.compiling import notify_compilation

        # A whole batch, because which kernels run may depend on the sizes.
        net, batch = net.copy(), self.experiment.train.batch_size
        x, y = self.data.train_images[:batch], self.data.train_labels[:batch]
        with notify_compilation(self.log):
            net.forward(x)
            loss_and_grads(net, x, y, np.random.default_rng(0))
            SGD(net).step(0.0)
        return time.perf_counter()

    def generator(self, round, ranking=False):
        """The generator of a round, from the seed and the round's depth: arms see the same batches."""
        key = (round.depth, 1) if ranking else (round.depth,)
        sequence = np.random.SeedSequence(self.experiment.seed, spawn_key=key)
        return np.random.Generator(np.random.PCG64(sequence))

    # --- a round: training and end --------------------------------------------------------------------

    def train(self, round, state):
        """Train for the epochs that are left; save the state after each."""
        from mnp.nn.progress import Progress

        epochs_left = 0 if state.stopped else round.epochs - state.epoch
        if epochs_left <= 0:
            return

        with Progress(epochs_left * self.per_epoch, round.label, epoch=self.per_epoch) as progress:
            for _ in range(epochs_left):
                result = train_epoch(
                    state.net,
                    state.optimizer,
                    self.data.train_images,
                    self.data.train_labels,
                    batch_size=self.experiment.train.batch_size,
                    rng=state.rng,
                    lr=functools.partial(self.learning_rate, round),
                    augment=self.task.augment,
                    progress=progress,
                )
                # A kill during the save leaves the state of the epoch before: that epoch is repeated.
                state.epoch += 1
                state.train_loss = float(result.loss)
                if self.on_epoch is not None:
                    state.stopped = bool(self.on_epoch(state.net, round, state.epoch, result))
                self.save_progress(round, state)
                if state.stopped:
                    self.log(f"stopped after epoch {state.epoch} of {round.epochs}")
                    break

    def section(self, round):
        """The part of the recipe that a round's learning rate comes from."""
        e = self.experiment
        sections = dict.fromkeys(("train", "rewind"), e.train)
        sections |= dict.fromkeys(("neurons", "continue"), e.prune)
        if round.kind == "continue" and round.depth > e.neuron_rounds:  # beside a weights round
            return e.weights
        return sections.get(round.kind, e.weights)

    def ramp(self, round):
        """Iterations over which a gradual round's masks grow; 0 for any other round."""
        return self.experiment.weights.ramp_epochs * self.per_epoch if round.kind == "gradual" else 0

    def learning_rate(self, round, iteration):
        """The learning rate of an iteration, by the section's policy, which starts after the ramp."""
        t, section, ramp = self.experiment.train, self.section(round), self.ramp(round)
        # The rate is held while a gradual round's masks grow; then the policy has the rest of the epochs.
        total = round.epochs * self.per_epoch
        warmup = min(self.task.warmup, total // 4) if round.kind == "train" else 0
        if iteration < warmup:
            return section.lr * (iteration + 1) / warmup
        if ":" in section.policy:
            return float(import_function(section.policy, "policy")(section.lr, iteration, total))
        return learning_rate(
            section.policy,
            section.lr,
            max(0, iteration - ramp),
            max(1, total - ramp),
            gamma=t.gamma,
            power=t.power,
            step_size=t.step_epochs * self.per_epoch or None,
        )

    def finish(self, round, state):
        """Evaluate, make the row, write the round's checkpoint; return the checkpoint's JSON."""
        unchanged = state.untrained if state.epoch == 0 else None  # a round of no epochs is evaluated once
        columns, verification = unchanged or self.task.evaluate(state.net, self.data)
        row = {
            "step": round.index,
            "kind": round.kind,
            "k": round.k,
            **size_columns(state.net, self.unpruned, self.data.image_shape),
            "error_before": state.error_before,
            **columns,
            "seconds": float(f"{state.seconds_spent():.3f}"),
            **{name: getattr(round, name) for name in ("arm", "ranking", "parent", "epochs", "removed")},
            "wins_lost": state.wins_lost,
            "train_loss": state.train_loss,
        }
        row = {name: row[name] for name in self.task.columns}
        if self.on_round is not None:
            extra = self.on_round(state.net, round, self.data) or {}
            row |= {name: float(value) for name, value in extra.items() if name not in row}
        arrays, architecture = network_entries(state.net)
        meta = {
            "row": row,
            "rng": state.rng.bit_generator.state,
            "velocity_sha256": checksum(state.optimizer.velocity.values()),
            "kernels": backend_name(state.net.backend),
            "data": self.data_facts,
            **architecture,
        }
        save_checkpoint(self.checkpoint_path(round), arrays | state.arrays | verification, meta)
        return meta

    def write_summary(self, meta):
        """Write summary.json, and what else the task leaves in the end."""
        facts = self.data_facts or meta.get("data") or self.task.describe_data(self.task.load_data())
        summary = make_summary(self.experiment, self.rows, meta["kernels"]) | {"data": facts}
        summary |= self.task.final_results(self.out, self.rows, self.plan)
        atomic_write(self.out / SUMMARY, to_json(summary))

    # --- files ----------------------------------------------------------------------------------------

    def checkpoint_path(self, round):
        return self.out / CHECKPOINTS / f"{round.label}.npz"

    def read_finished(self, round):
        """Return what the checkpoint of a round says, or None if it does not exist or is damaged."""
        path = self.checkpoint_path(round)
        if not path.exists():
            return None
        try:
            meta = load_checkpoint(path)[1]
        except MnpError as error:
            self.log(f"{error}; that round is repeated")
            return None
        try:
            check_row(meta.get("row"), self.task.columns, round)
            if not isinstance(meta.get("kernels"), str):
                raise MnpError("does not say which backend")
        except MnpError as error:
            self.log(f"{path}: {error}; that round is repeated")
            return None
        return meta

    def save_progress(self, round, state):
        """Save all that the next epoch depends on."""
        arrays, architecture = network_entries(state.net)
        arrays |= {f"velocity/{name}": v for name, v in state.optimizer.velocity.items()}
        arrays |= {f"found/{name}": a for name, a in state.arrays.items()}
        meta = {
            "step": round.index,
            "rng": state.rng.bit_generator.state,
            "data": self.data_facts,
            "epoch": state.epoch,
            "stopped": state.stopped,
            **{name: getattr(state, name) for name in PROGRESS},
            "seconds": state.seconds_spent(),
            **architecture,
        }
        if round.kind == "gradual":
            arrays |= {f"dense/{name}": a for name, a in state.optimizer.dense.items()}
            meta |= {"iteration": state.optimizer.iteration, "start": state.optimizer.start}
        save_checkpoint(self.progress_path, arrays, meta)

    def resume(self, round):
        """Return the state in progress.npz if it belongs to this round and can be used, else None."""
        if not self.progress_path.exists():
            return None
        try:
            arrays, meta = load_checkpoint(self.progress_path)
            if meta["step"] != round.index:
                return None
            state = self.restore(round, arrays, meta)
        except Exception as error:  # damaged, or of another version: whatever using its values meets
            reason = error if isinstance(error, MnpError) else f"{type(error).__name__}: {error}"
            self.log(f"{self.progress_path}: cannot be used ({reason}); the round starts again")
            return None
        self.log(f"resuming after epoch {state.epoch} of {round.epochs}")
        return state

    def restore(self, round, arrays, meta):
        """Make the state that `save_progress` wrote."""
        # A new optimiser first, as at the start of the round; then what it had learned until the save.
        net = network_from(arrays, meta, self.backend)
        optimizer, rng = self.new_optimizer(round, net), self.generator(round)
        rng.bit_generator.state = meta["rng"]
        velocity, dense = with_prefix(arrays, "velocity"), with_prefix(arrays, "dense")
        if not all(np.isfinite(array.astype(net.dtype)).all() for array in (velocity | dense).values()):
            raise MnpError("it holds NaN or infinity")
        if not 0 <= meta["epoch"] <= round.epochs:
            raise MnpError(f"it is of epoch {meta['epoch']}")
        if round.kind == "gradual":
            optimizer.load(operator.index(meta["iteration"]), int(meta["start"]), velocity, dense)
        else:
            optimizer.load_velocity(velocity)
            optimizer.iteration = meta["epoch"] * self.per_epoch  # the schedule continues there
        numbers = {name: None if meta[name] is None else float(meta[name]) for name in PROGRESS}
        numbers |= {"epoch": operator.index(meta["epoch"]), "seconds": float(meta["seconds"])}
        numbers["stopped"] = bool(meta.get("stopped"))  # mnp 0.2 does not write it
        return RoundState(net, optimizer, rng, **numbers, arrays=with_prefix(arrays, "found"))


def make_summary(experiment, rows, backend):
    """The rows of a run and all that is needed to repeat them."""
    from mnp.experiments import environment

    return {
        "name": experiment.name,
        "recipe": to_dict(experiment),
        "seed": experiment.seed,
        "versions": environment.versions(),
        "kernels": backend,
        "threads": environment.threads(),
        "cpu": environment.cpu(),
        "rows": rows,
    }


def with_dropout(net, p):
    """The same network (arrays copied) with another probability of dropout in training."""
    key = {"Dropout": "p", "MaxoutDense": "dropout"}
    architecture = [
        entry | {key[entry["type"]]: p} if entry["type"] in key else entry for entry in net.architecture()
    ]
    return Network.from_architecture(architecture, net.state_dict(), net.masks(), net.backend)
