"""Training and evaluation loops, and the checks of their examples."""

import contextlib
import numbers
import sys
import time
from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.nn.base import as_array, as_generator, check_backend, check_int
from mnp.nn.losses import loss_and_grads
from mnp.nn.optimizers import SGD


class EpochResult(NamedTuple):
    loss: float  # mean over the iterations, each before its step
    error_percent: float  # of the training examples, each when it was seen (with dropout)
    iterations: int  # steps made
    seconds: float


class Evaluation(NamedTuple):
    loss: float  # mean over all examples
    error_percent: float


def fit(
    net,
    data,
    *,
    epochs,
    lr=0.01,
    batch_size=32,
    momentum=0.9,
    weight_decay=5e-4,
    rng=0,
    augment=None,
    progress=True,
    optimizer=None,
):
    """Train a network in place, by SGD with momentum, for some epochs.

    Parameters
    ----------
    net : Network
    data : Dataset, or (images, labels)
        Of a Dataset, the training images and labels are used.
    epochs : int
    lr : float, or callable iteration -> float
        Such as ``lambda i: learning_rate("inv", 0.01, i, total)``; the iterations of all epochs count.
    batch_size, momentum, weight_decay : int, float, float
    rng : numpy Generator or seed
        Draws the order of the examples, the augmentation and the dropout.
    augment : callable, optional
        As in `train_epoch`.
    progress : bool or callable
        True shows a bar, or in a log file one line per epoch, on sys.stderr; a callable is called as by
        `train_epoch`.
    optimizer : SGD, optional
        To continue with its velocity and iteration; momentum and weight_decay are then its own.

    Returns
    -------
    results : list of EpochResult

    Errors: as `train_epoch`.

    >>> from mnp.nn import Dense, Network
    >>> net = Network([("fc", Dense(1, 2, backend="textbook"))])
    >>> x, labels = np.array([[-1], [1], [-2], [2]], np.float32), np.array([0, 1, 0, 1])
    >>> results = fit(net, (x, labels), epochs=5, lr=0.5, batch_size=2, progress=False)
    >>> results[-1].loss < results[0].loss, evaluate(net, x, labels).error_percent
    (True, 0.0)
    """
    images, labels = _training_arrays(data)
    epochs, rng = check_int("epochs", epochs, minimum=0), as_generator(rng)
    if optimizer is None:
        optimizer = SGD(net, momentum, weight_decay)
    per_epoch = len(images) // check_int("batch_size", batch_size)
    with contextlib.ExitStack() as stack:
        if progress is True:
            from mnp.nn.progress import Progress

            stack.enter_context(_announce_compilation())
            progress = stack.enter_context(Progress(epochs * per_epoch, "training", epoch=per_epoch))
        return [
            train_epoch(
                net,
                optimizer,
                images,
                labels,
                batch_size=batch_size,
                rng=rng,
                lr=lr,
                augment=augment,
                progress=progress or None,
            )
            for _ in range(epochs)
        ]


def _announce_compilation():
    """Context manager: says on sys.stderr, once, that kernels are compiled, if they are."""
    compiling = sys.modules.get("mnp.kernels.compiling")
    if compiling is None:  # this backend does not compile
        return contextlib.nullcontext()
    return compiling.notify_compilation(lambda line: print(line, file=sys.stderr, flush=True))


def _training_arrays(data):
    if hasattr(data, "train_images") and hasattr(data, "train_labels"):
        data = data.train_images, data.train_labels
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise MnpError(f"data is a {type(data).__name__}; give a Dataset or a pair (images, labels)")
    return as_array(data[0], "images"), as_array(data[1], "labels")


def train_epoch(net, optimizer, images, labels, *, batch_size, rng, lr, augment=None, progress=None):
    """Train for one epoch: every example once, in a new random order, a step after each batch.

    The last incomplete batch is dropped (as PyTorch's `drop_last=True`).

    Parameters
    ----------
    net, optimizer : Network, SGD
        Changed in place. The optimiser must have been made for this network, or for one that shares its
        arrays through another backend.
    images : (N, C, H, W) of the network's dtype; labels : (N,) int64
    batch_size : int
        Examples per step; at most N.
    rng : numpy Generator or seed
        Draws the order, then for each batch the augmentation and the dropout. Save its
        `bit_generator.state` between epochs to resume with the same bits.
    lr : float, or callable iteration -> float
        The iteration is `optimizer.iteration`: it continues across epochs. See `learning_rate`.
    augment : callable, optional
        (images of a batch, rng) -> images of the same shape; it gets a copy and may change it.
    progress : callable, optional
        Called as progress(iteration, loss, wrong, batch_size) after every step; `Progress` is one.

    Returns
    -------
    EpochResult(loss, error_percent, iterations, seconds)

    Errors: MnpError for images and labels of different length or wrong kind, a batch larger than the
    data, an optimiser of another network, zero weights that cannot learn, and a loss that is not finite:
    the message names the iteration and the first layer at fault, and the step is not made.
    """
    images, labels = check_examples(images, labels, net)
    iterations = len(images) // batch_size if batch_size >= 1 else 0
    if iterations == 0:
        raise MnpError(
            f"batch_size is {batch_size}, the training set has {len(images)} examples; "
            f"give 1 to {len(images)}"
        )
    optimizer.bind(net)
    rng, schedule = as_generator(rng), _schedule(lr)
    if rng is None:
        raise MnpError("training draws random numbers: pass rng, a numpy.random.Generator or a seed")
    started = time.perf_counter()
    order = rng.permutation(len(images))
    loss_sum, wrong_sum = 0.0, 0
    # A diverging network overflows before its loss becomes infinite: one error is enough.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, iterations * batch_size, batch_size):
            batch = order[start : start + batch_size]
            x, y = images[batch], labels[batch]
            if augment is not None:
                x = augment(x, rng)
            iteration = optimizer.iteration
            loss, logits = loss_and_grads(net, x, y, rng)
            if not np.isfinite(loss):
                _raise_not_finite(net, x, loss, f"at iteration {iteration}")
            optimizer.step(schedule(iteration))
            wrong = int(np.count_nonzero(logits.argmax(axis=1) != y))
            loss_sum += loss
            wrong_sum += wrong
            if progress is not None:
                progress(iteration, loss, wrong, batch_size)
    seconds = time.perf_counter() - started
    error_percent = 100.0 * wrong_sum / (iterations * batch_size)
    return EpochResult(loss_sum / iterations, error_percent, iterations, seconds)


def _schedule(lr):
    """The function iteration -> learning rate of a number or a callable."""
    if callable(lr):
        return lr
    if not isinstance(lr, numbers.Real) or not 0 <= lr < np.inf:
        raise MnpError(f"lr is {lr!r}; give a number of at least 0, or a function of the iteration")
    return lambda iteration: lr


def evaluate(net, images, labels, batch_size=1000):
    """Loss and error of a network over a data set, in evaluation mode.

    The loss is the mean over all examples; a smaller last batch counts by its size. An example is
    wrong if its largest logit (the lowest index in a tie) is not its label's.

    Returns
    -------
    Evaluation(loss, error_percent), two floats

    Errors: as `train_epoch`.
    """
    images, labels = check_examples(images, labels, net)
    check_backend(net.backend, "softmax_cross_entropy")
    loss_sum, wrong = 0.0, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for start, x in batches(images, batch_size):
            y = labels[start : start + len(x)]
            logits = net.forward(x)
            loss, _ = net.backend.softmax_cross_entropy(logits, y)
            if not np.isfinite(loss):
                _raise_not_finite(net, x, loss, f"in evaluation, examples {start} to {start + len(x) - 1}")
            loss_sum += float(loss) * len(x)
            wrong += int(np.count_nonzero(logits.argmax(axis=1) != y))
    return Evaluation(loss_sum / len(images), 100.0 * wrong / len(images))


def batches(images, batch_size):
    """Yield (start, images[start : start + batch_size]) over a data set.

    >>> [(start, len(x)) for start, x in batches(np.zeros((5, 2)), 2)]
    [(0, 2), (2, 2), (4, 1)]
    """
    if batch_size < 1:
        raise MnpError(f"batch_size is {batch_size}; give 1 or more")
    for start in range(0, len(images), batch_size):
        yield start, images[start : start + batch_size]


def check_images(images, net):
    """Return images in native byte order, or raise MnpError: no array, empty, or of another dtype."""
    images = as_array(images, "images")
    if images.ndim == 0 or len(images) == 0:
        raise MnpError("there are no examples: give at least one image")
    if images.dtype != net.dtype:
        raise MnpError(
            f"images are {images.dtype}, the network is {net.dtype}; use images.astype(np.{net.dtype})"
        )
    return images


def check_examples(images, labels, net):
    """Return images and labels in native byte order, or raise MnpError if they do not fit the network."""
    images, labels = check_images(images, net), as_array(labels, "labels")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise MnpError(f"labels are {labels.dtype} of shape {labels.shape}; give whole numbers of shape (N,)")
    if len(images) != len(labels):
        raise MnpError(f"{len(images)} images and {len(labels)} labels; give one label for every image")
    low, high, classes = int(labels.min()), int(labels.max()), net.classes
    if classes is not None and not 0 <= low <= high < classes:
        raise MnpError(
            f"labels run from {low} to {high}, the network has {classes} classes: 0 to {classes - 1}"
        )
    return images, labels


def first_nonfinite(net, x):
    """Where the first NaN or infinity is, from the images to the logits, as text; "" if there is none."""
    if not np.isfinite(x).all():
        return "the input images hold NaN or infinity"
    for name, y in net.layer_outputs(x):
        for key, array in (net[name].params | net[name].buffers).items():
            if not np.isfinite(array).all():
                return f"the {key} of layer {name!r} holds NaN or infinity"
        if not np.isfinite(y).all():
            return f"the output of layer {name!r} holds NaN or infinity"
    return ""


def _raise_not_finite(net, x, loss, where):
    # In evaluation mode: dropout can hide a neuron, not add one.
    cause = first_nonfinite(net, x) or f"the logits of layer {list(net)[-1]!r} are too large for it"
    raise MnpError(
        f"the loss became {float(loss)} {where}: {cause}; lower the learning rate or repair the data"
    )
