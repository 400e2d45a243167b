"""One step of a run: what is removed, the training after it, and the state that survives a kill."""

import hashlib
import time

import numpy as np

from mnp.errors import MnpError
from mnp.experiments import machine
from mnp.experiments.build import with_dropout
from mnp.experiments.checkpoint import (
    load_checkpoint,
    network_entries,
    network_from,
    save_checkpoint,
    under,
)
from mnp.experiments.gradual import GradualPruning, Target, masks_for
from mnp.experiments.rows import FIELDS, sizes_row
from mnp.experiments.typed import is_of, show, spell
from mnp.kernels import textbook
from mnp.nn import SGD, Progress, evaluate, learning_rate, loss_and_grads, train_epoch
from mnp.nn.base import backend_name
from mnp.pruning.neurons import keep_top, wins_lost
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import apply_masks, collect_win_counts, measure_relevance, prune_neurons

# What progress.npz says beside the network; the generator's state and a gradual step's are checked apart.
NUMBERS = {"epoch": int, "seconds": float, "error_before": float}
PROGRESS = NUMBERS | {"train_loss": float | None, "wins_lost": float | None}


class Stage:
    """Carries out one step of a `Run`.

    Attributes
    ----------
    net, optimizer, rng : the state of the training, with `epoch`, the number of epochs done
    found : dict of name -> array
        What the ranking saw, for the pictures: counts/<layer> (units, k) and keep/<layer>.
    fields, augment : the columns of its row, and what is done to the images of a batch (None: nothing)
    """

    fields, augment = FIELDS, None

    def __init__(self, run, step):
        self.run, self.step = run, step
        self.experiment, self.data = run.experiment, run.data
        sections = {"train": "train", "neurons": "prune", "weights": "weights", "gradual": "weights"}
        self.section = getattr(self.experiment, sections[step.kind])
        self.rng = run.generator(step)
        self.epoch, self.train_loss, self.found, self.lost = 0, None, {}, None
        self.seconds_before, self.began = 0.0, time.perf_counter()
        self.per_epoch = len(self.data.train_labels) // self.experiment.train.batch_size
        if self.per_epoch == 0:
            raise MnpError(
                f"train.batch_size = {self.experiment.train.batch_size} is more than the "
                f"{len(self.data.train_labels)} training images; make it smaller"
            )

    def carry_out(self):
        """Do the step, or the rest of it; return what its checkpoint says of it, the row among it."""
        if not self.resume():
            self.begin()
        self.train()
        return self.finish()

    # --- removal --------------------------------------------------------------------------------------

    def begin(self):
        """Take the network of the step before, remove what this step removes, measure the error."""
        step, run = self.step, self.run
        if step.parent < 0:
            self.net = run.network(self.rng)
        else:
            arrays, meta = load_checkpoint(run.path(run.steps[step.parent]))
            self.net = network_from(arrays, meta, run.backend)
        self.warm_up()
        if step.kind == "neurons":
            self.remove_neurons()
        elif step.kind == "weights":
            w = self.experiment.weights
            target = Target(self.remaining(), w.scope, w.floors)
            self.net = apply_masks(self.net, masks_for(self.net, target))
        if step.kind in ("weights", "gradual") and self.section.dropout is not None:
            self.net = with_dropout(self.net, self.section.dropout)
        self.optimizer = self.new_optimizer()
        self.error_before = self.measure()["error"]

    def remove_neurons(self):
        """In every unit of every maxout layer, the one neuron that the ranking puts last."""
        net, images = self.ranked()
        ranking, keeps, wins, lost = self.step.ranking, {}, 0, 0
        rng = self.run.generator(self.step, "ranking")  # what it draws changes none of the training's batches
        for name in self.experiment.prune.layers:
            counts = collect_win_counts(net, name, images)
            relevance = counts
            if ranking != "win_counts":
                relevance = measure_relevance(net, name, ranking, images, rng)
            keeps[name] = keep_top(rank_neurons(relevance), n_keep=self.step.k)
            self.found |= {f"counts/{name}": counts, f"keep/{name}": keeps[name]}
            wins, lost = wins + int(counts.sum()), lost + int(wins_lost(counts, keeps[name]).sum())
        for name, keep in keeps.items():
            self.net = prune_neurons(self.net, name, keep)
        self.lost = lost / wins

    def ranked(self):
        """The network whose neurons are ranked, and the images for it."""
        return self.net, self.data.train_images

    def remaining(self):
        """How many parameters a weights step leaves."""
        if self.step.match is not None:
            return self.run.rows[self.step.match]["params"]
        return self.run.remaining_after(self.step.reduction, self.step.remaining)

    def new_optimizer(self):
        t, w = self.experiment.train, self.experiment.weights
        decay = None if self.step.kind in ("train", "neurons") else w.weight_decay
        decay = t.weight_decay if decay is None else decay
        if self.step.kind != "gradual":
            return SGD(self.net, t.momentum, decay)
        target = Target(self.remaining(), w.scope, w.floors)
        return GradualPruning(self.net, target, self.ramp, w.every, w.splice, t.momentum, decay)

    def warm_up(self):
        """One training step on a copy, thrown away: from here on every kernel is compiled."""
        net, batch = self.net.copy(), self.experiment.train.batch_size
        if net.backend is textbook:
            return
        x, y = self.data.train_images[:batch], self.data.train_labels[:batch]
        with machine.announced(self.run.log):
            loss_and_grads(net, x, y, np.random.default_rng(0))
            SGD(net).step(0.0)
            net.forward(x)
        self.began = time.perf_counter()  # compiling is no part of the step's seconds

    # --- training -------------------------------------------------------------------------------------

    def train(self):
        """The epochs that are still to be done, the state saved after each."""
        left = self.step.epochs - self.epoch
        if left <= 0:
            return
        with Progress(left * self.per_epoch, self.step.label, epoch=self.per_epoch) as progress:
            for _ in range(left):
                result = train_epoch(
                    self.net,
                    self.optimizer,
                    self.data.train_images,
                    self.data.train_labels,
                    batch_size=self.experiment.train.batch_size,
                    rng=self.rng,
                    lr=self.learning_rate,
                    augment=self.augment,
                    progress=progress,
                )
                self.epoch += 1
                self.train_loss = float(result.loss)
                self.save_progress()

    @property
    def ramp(self):
        """Iterations over which a gradual step's masks grow; 0 for any other step."""
        return self.section.ramp_epochs * self.per_epoch if self.step.kind == "gradual" else 0

    def learning_rate(self, iteration):
        """By the section's policy, whose clock starts after the ramp."""
        t = self.experiment.train
        return learning_rate(
            self.section.policy,
            self.section.lr,
            max(0, iteration - self.ramp),
            max(1, self.step.epochs * self.per_epoch - self.ramp),
            gamma=t.gamma,
            power=t.power,
            step_size=t.step_epochs * self.per_epoch or None,
        )

    def measure(self):
        """The columns of the row that say how good the network is now."""
        data = self.data
        loss, error = self.error_on(data.test_images, data.test_labels)
        held_out = None
        if len(data.validation_labels):
            held_out = self.error_on(data.validation_images, data.validation_labels)[1]
        return {"error": error, "test_loss": loss, "validation_error": held_out}

    def error_on(self, images, labels):
        """Loss and error in %, in evaluation mode."""
        loss, error = evaluate(self.net, images, labels)
        return float(loss), float(error)

    @property
    def seconds(self):
        return self.seconds_before + time.perf_counter() - self.began

    # --- files ----------------------------------------------------------------------------------------

    def finish(self):
        """Measure, make the row, and write the step's checkpoint."""
        step = self.step
        row = {
            "step": step.index,
            "kind": step.kind,
            "k": step.k,
            **sizes_row(self.net, self.run.first, self.data.image_shape),
            "error_before": self.error_before,
            **self.measure(),
            "seconds": round(self.seconds, 3),
            "arm": step.arm,
            "ranking": step.ranking,
            "parent": step.parent,
            "wins_lost": self.lost,
            "epochs": step.epochs,
            "train_loss": self.train_loss,
        }
        arrays, architecture = network_entries(self.net)
        meta = {
            "row": {name: row[name] for name in self.fields},
            "rng": self.rng.bit_generator.state,
            "velocity_sha256": digest_of(self.optimizer.velocity),
            "kernels": backend_name(self.net.backend),
            **architecture,
        }
        save_checkpoint(self.run.path(step), arrays | self.found, meta)
        return meta

    def save_progress(self):
        """All that the next epoch depends on."""
        arrays, architecture = network_entries(self.net)
        arrays |= {f"velocity/{name}": v for name, v in self.optimizer.velocity.items()}
        arrays |= {f"found/{name}": a for name, a in self.found.items()}
        meta = {
            "step": self.step.index,
            "epoch": self.epoch,
            "rng": self.rng.bit_generator.state,
            "error_before": self.error_before,
            "train_loss": self.train_loss,
            "wins_lost": self.lost,
            "seconds": self.seconds,
            **architecture,
        }
        if isinstance(self.optimizer, GradualPruning):
            arrays |= {f"dense/{name}": a for name, a in self.optimizer.dense.items()}
            meta |= {"iteration": self.optimizer.iteration, "start": self.optimizer.start}
        save_checkpoint(self.run.progress, arrays, meta)

    def resume(self):
        """Go on from progress.npz if it belongs to this step; say so. False: begin from the step before."""
        path = self.run.progress
        if not path.exists():
            return False
        try:
            arrays, meta = load_checkpoint(path)
            if meta.get("step") != self.step.index:
                return False
            self.restore(arrays, meta)
        except MnpError as error:
            self.run.log(f"{error}; the step begins anew")
            self.rng = self.run.generator(self.step)
            return False
        self.warm_up()
        self.run.log(f"going on after epoch {self.epoch} of {self.step.epochs}")
        return True

    def restore(self, arrays, meta):
        """Take over what `save_progress` wrote; MnpError for anything that it cannot have written."""
        for name, hint in PROGRESS.items():
            if name not in meta or not is_of(meta[name], hint):
                raise MnpError(f"progress.npz says {name} = {show(meta.get(name))}, not {spell(hint)}")
        if not 0 <= meta["epoch"] <= self.step.epochs or meta["seconds"] < 0:
            raise MnpError(f"progress.npz says epoch {meta['epoch']} of {self.step.epochs}")
        self.net = network_from(arrays, meta, self.run.backend)
        self.optimizer = self.new_optimizer()
        velocity, dense = under(arrays, "velocity"), under(arrays, "dense")
        for name, array in (velocity | dense).items():
            if array.dtype.kind != "f" or not np.isfinite(array.astype(self.net.dtype)).all():
                raise MnpError(f"progress.npz has NaN, infinity or no numbers for {name!r}")
        try:
            self.rng.bit_generator.state = meta.get("rng")
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise MnpError(f"progress.npz has no state of the generator ({type(error).__name__})") from None
        if isinstance(self.optimizer, GradualPruning):
            counts = [meta.get("iteration"), meta.get("start")]
            if not all(is_of(n, int) and n >= 0 for n in counts):
                raise MnpError("progress.npz does not say how far the pruning is")
            self.optimizer.load(*counts, velocity, dense)
        else:
            self.optimizer.load_velocity(velocity)
            self.optimizer.iteration = meta["epoch"] * self.per_epoch
        self.epoch, self.error_before = meta["epoch"], meta["error_before"]
        self.train_loss, self.lost = meta["train_loss"], meta["wins_lost"]
        self.seconds_before, self.found = meta["seconds"], under(arrays, "found")


def digest_of(arrays):
    """SHA-256 over arrays in order: equal digests, equal bits."""
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
