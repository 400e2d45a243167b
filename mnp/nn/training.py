"""One epoch of training, evaluation, and what the reader sees meanwhile."""

import sys
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mnp.errors import MnpError
from mnp.nn.losses import loss_and_grads


class EpochResult(NamedTuple):
    loss: float  # mean over the iterations, each before its step
    error_percent: float  # of the training examples seen, as they were seen (with dropout)
    iterations: int  # how many steps were made
    seconds: float


def train_epoch(
    net,
    optimizer,
    images,
    labels,
    *,
    batch_size,
    rng,
    lr,
    first_iteration=0,
    augment=None,
    progress=None,
):
    """Show every example once, in a fresh random order, and make a step after each batch.

    Only full batches are used: the len(images) % batch_size examples at the end of the order sit this
    epoch out, as a step on a few examples would weigh each of them more. (The order is new in every
    epoch, so none is left out for long.)

    Parameters
    ----------
    net, optimizer : Network, SGD
        Changed in place.
    images : (N, C, H, W) of the network's dtype; labels : (N,) int64
    batch_size : int
        Examples a step; at most N.
    rng : numpy Generator
        Draws the order, then for each batch the augmentation and the dropout. Save its
        `bit_generator.state` between epochs to go on with the same bits.
    lr : callable
        iteration -> learning rate; see `optimizers.learning_rate`.
    first_iteration : int
        The number of this epoch's first iteration, counted from the start of the training.
    augment : callable, optional
        (images of a batch, rng) -> images of the same shape; it gets a copy and may change it.
    progress : callable, optional
        Called as progress(iteration, loss, wrong, batch) after every step; `Progress` is one.

    Returns
    -------
    EpochResult(loss, error_percent, iterations, seconds)

    Errors: MnpError for images and labels of different length or wrong kind, a batch larger than the
    data, and a loss that is not finite: the message names the iteration and the first layer at fault,
    and the step is not made.
    """
    check_examples(images, labels, net)
    iterations = len(images) // batch_size if batch_size >= 1 else 0
    if iterations == 0:
        raise MnpError(
            f"batch_size is {batch_size}, the training set has {len(images)} examples; "
            f"give 1 to {len(images)}"
        )
    started = time.perf_counter()
    order = rng.permutation(len(images))
    loss_sum, wrong_sum = 0.0, 0
    # A diverging network overflows before its loss is seen to be infinite: one error is enough.
    with np.errstate(over="ignore", invalid="ignore"):
        for number in range(iterations):
            chosen = order[number * batch_size : (number + 1) * batch_size]
            x, y = images[chosen], labels[chosen]
            if augment is not None:
                x = augment(x, rng)
            iteration = first_iteration + number
            loss, logits = loss_and_grads(net, x, y, rng)
            if not np.isfinite(loss):
                _stop(net, x, loss, f"at iteration {iteration}")
            optimizer.step(lr(iteration))
            wrong = int(np.count_nonzero(logits.argmax(axis=1) != y))
            loss_sum += float(loss)
            wrong_sum += wrong
            if progress is not None:
                progress(iteration, float(loss), wrong, batch_size)
    seconds = time.perf_counter() - started
    return EpochResult(
        loss_sum / iterations, 100.0 * wrong_sum / (iterations * batch_size), iterations, seconds
    )


def evaluate(net, images, labels, batch_size=1000):
    """Return (loss, error_percent) of a network over a data set, in evaluation mode.

    The loss is the mean over all examples; a last, smaller batch_size counts by its size. An example is
    wrong where the largest logit (the lowest index in a tie) is not its label's.

    Errors: as `train_epoch`.
    """
    check_examples(images, labels, net)
    if batch_size < 1:
        raise MnpError(f"batch_size is {batch_size}; give 1 or more")
    loss_sum, wrong = 0.0, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(images), batch_size):
            x, y = images[start : start + batch_size], labels[start : start + batch_size]
            logits = net.forward(x)
            loss, _ = net.backend.softmax_cross_entropy(logits, y)
            if not np.isfinite(loss):
                _stop(net, x, loss, f"in evaluation, examples {start} to {start + len(x) - 1}")
            loss_sum += float(loss) * len(x)
            wrong += int(np.count_nonzero(logits.argmax(axis=1) != y))
    return loss_sum / len(images), 100.0 * wrong / len(images)


def check_finite(images, what="images"):
    """Refuse images with NaN or infinity in them: once for a data set, not for every batch.

    >>> check_finite(np.array([[[[1.0]]], [[[np.nan]]]]))
    Traceback (most recent call last):
        ...
    mnp.errors.MnpError: images: example 1 holds nan; repair or leave it out before training
    """
    # A sum is NaN or infinite if any of its terms is, and needs no array of its own.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(images.sum(dtype=np.float64)):
            return
    for number, image in enumerate(images):
        if not np.isfinite(image).all():
            value = image[~np.isfinite(image)].flat[0]
            raise MnpError(f"{what}: example {number} holds {value}; repair or leave it out before training")


def check_examples(images, labels, net):
    """Refuse examples that the network cannot be trained or judged on; cheap enough for every epoch."""
    if len(images) == 0:
        raise MnpError("there are no examples: give at least one image and its label")
    if len(images) != len(labels):
        raise MnpError(f"{len(images)} images and {len(labels)} labels; give one label for every image")
    if images.dtype != net.dtype:
        raise MnpError(
            f"images are {images.dtype}, the network is {net.dtype}; convert with images.astype(...)"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise MnpError(f"labels are {labels.dtype} of shape {labels.shape}; give whole numbers of shape (N,)")
    low, high, classes = int(labels.min()), int(labels.max()), net.classes
    if classes is not None and not 0 <= low <= high < classes:
        raise MnpError(
            f"labels run from {low} to {high}, the network has {classes} classes: 0 to {classes - 1}"
        )


def first_nonfinite(net, x):
    """Say where the first NaN or infinity is, from the images to the logits; "" if there is none."""
    if not np.isfinite(x).all():
        return "the input images hold NaN or infinity"
    for name, y in net.layer_outputs(x):
        for key, array in (net[name].params | net[name].buffers).items():
            if not np.isfinite(array).all():
                return f"the {key} of layer {name!r} holds NaN or infinity"
        if not np.isfinite(y).all():
            return f"the output of layer {name!r} holds NaN or infinity"
    return ""


def _stop(net, x, loss, where):
    # Checked in evaluation mode: dropout can hide a neuron, not add one.
    found = first_nonfinite(net, x) or f"the logits of layer {list(net.layers)[-1]!r} are too large for it"
    raise MnpError(
        f"the loss became {float(loss)} {where}: {found}; lower the learning rate or repair the data"
    )


class Progress:
    """Show training as it goes: a bar on a terminal, a line an epoch in a log file.

    Parameters
    ----------
    total : int
        Iterations of the whole training.
    label : str
        What is being trained, in front of the bar.
    epoch : int
        Iterations of one epoch: how often a log file gets a line.
    stream : file, optional
        sys.stderr if None. A bar is drawn only where it is a terminal.

    Use it as train_epoch's `progress`; close it, or use it in a `with`.

    >>> with Progress(4, "lenet5", epoch=2, stream=sys.stdout) as progress:
    ...     for i in range(4):
    ...         progress(i, 0.5, 1, 10)             # doctest: +ELLIPSIS
    lenet5: epoch 1/2, loss 0.5000, error 10.00 %, ... left
    lenet5: epoch 2/2, loss 0.5000, error 10.00 %, ... left
    """

    def __init__(self, total, label="", *, epoch=1, stream=None):
        self.total, self.label, self.epoch = total, label, max(epoch, 1)
        self.stream = sys.stderr if stream is None else stream
        self.started = self._shown = time.perf_counter()
        self.done = 0
        self._begin_epoch()
        terminal = getattr(self.stream, "isatty", lambda: False)()
        self.bar = tqdm(total=total, desc=label, file=self.stream, leave=False) if terminal else None

    def _begin_epoch(self):
        self.steps, self.loss_sum, self.wrong, self.seen = 0, 0.0, 0, 0

    def __call__(self, iteration, loss, wrong, batch):
        self.done += 1
        self.steps += 1
        self.loss_sum += loss
        self.wrong += wrong
        self.seen += batch
        if self.bar is not None:
            now = time.perf_counter()
            if now - self._shown > 0.2 or self.done == self.total:
                self._shown, self.bar.n = now, self.done
                self.bar.set_postfix_str(self._figures())
        if self.steps == self.epoch or self.done == self.total:
            if self.bar is None:
                epochs = -(-self.total // self.epoch)
                number = -(-self.done // self.epoch)
                print(
                    f"{self.label}: epoch {number}/{epochs}, {self._figures()}, {self._left()} left",
                    file=self.stream,
                    flush=True,
                )
            self._begin_epoch()

    def _figures(self):
        return f"loss {self.loss_sum / self.steps:.4f}, error {100.0 * self.wrong / self.seen:.2f} %"

    def _left(self):
        spent = time.perf_counter() - self.started
        return tqdm.format_interval(spent / self.done * (self.total - self.done))

    def close(self):
        """Take the bar away; a log file keeps its lines."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
