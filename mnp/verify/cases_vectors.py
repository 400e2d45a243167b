"""Cases for the kernels of vectors: dense, maxout, ReLU, dropout, loss, win counts, the SGD step.

Each function yields (note, arguments by name in the order of the interface).
"""

import numpy as np

from mnp.verify.inputs import LAYOUTS, backward_cases


def dense_forward(draw):
    """Square weights among them: a transposed one has the right shape there."""
    for note, n, i, o in (
        ("batch of one", 1, 4, 3),
        ("more in than out", 5, 7, 2),
        ("more out than in", 3, 2, 6),
        ("square weight", 2, 4, 4),
        ("everything square", 3, 3, 3),
        ("one in, one out", 2, 1, 1),
    ):
        yield note, {"x": draw.grid(n, i), "weight": draw.grid(o, i), "bias": draw.grid(o)}
    yield "random numbers", {"x": draw.normal(6, 33), "weight": draw.normal(5, 33), "bias": draw.normal(5)}
    x, weight = draw.normal(3, 5, scale=1e12), draw.normal(4, 5, scale=1e6)
    yield "large magnitudes", {"x": x, "weight": weight, "bias": draw.normal(4)}
    for note in LAYOUTS:
        yield note, {"x": draw.grid(4, 6), "weight": draw.grid(5, 6), "bias": draw.grid(5)}


def dense_backward(draw):
    """The forward cases, each with a dy, and one without dx."""
    yield from backward_cases("dense_backward", dense_forward(draw), draw)
    a = {"dy": draw.grid(3, 2), "x": draw.grid(3, 4), "weight": draw.grid(2, 4)}
    yield "need_dx=False", {**a, "need_dx": False}


def maxout_forward(draw):
    """Ties, values below zero, and NaN, of which the first in a unit wins."""
    yield "random numbers", {"z": draw.normal(5, 4, 3)}
    yield "batch of one", {"z": draw.normal(1, 3, 4)}
    yield "k = 1", {"z": draw.normal(4, 3, 1)}
    yield "one unit, k = 2", {"z": draw.normal(4, 1, 2)}
    yield "ties", {"z": draw.ties(9, 4, 4)}
    yield "all neurons equal", {"z": np.full((3, 2, 4), -1.5, draw.dtype)}
    yield "all negative", {"z": -1 - np.abs(draw.normal(4, 3, 3))}
    yield "as many units as neurons", {"z": draw.normal(3, 4, 4)}
    yield "large magnitudes", {"z": draw.normal(4, 3, 3, scale=1e30)}
    yield "minus infinity everywhere", {"z": np.full((2, 2, 3), -np.inf, draw.dtype)}
    for note in LAYOUTS:
        yield note, {"z": draw.grid(6, 4, 4)}
    z = draw.grid(3, 2, 4)
    z[0, 0, 2] = z[1, 1, 0] = z[2, 0, 1] = z[2, 0, 3] = np.nan
    yield "NaN in a unit", {"z": z}


def relu_forward(draw):
    """Exact zeros, and NaN, which stays."""
    yield "features", {"x": draw.normal(3, 5)}
    yield "feature maps", {"x": draw.normal(2, 3, 4, 5)}
    yield "batch of one", {"x": draw.normal(1, 4)}
    yield "exact zeros", {"x": draw.ties(4, 6)}
    yield "negative zero", {"x": np.array([[-0.0, 0.0, -1.0, 1.0]], draw.dtype)}
    yield "large magnitudes", {"x": draw.normal(3, 4, scale=1e30)}
    for note in LAYOUTS:
        yield note, {"x": draw.grid(4, 2, 4)}
    yield "NaN and infinities", {"x": np.array([[np.nan, 1, -1], [np.inf, -np.inf, 0]], draw.dtype)}


def _dropout_inputs(draw):
    for note, shape, p in (
        ("p = 0.5", (4, 6), 0.5),
        ("p = 0.25", (3, 8), 0.25),
        ("p = 0.8, feature maps", (2, 3, 4, 5), 0.8),
        ("p = 0, nothing dropped", (3, 4), 0.0),
        ("batch of one", (1, 5), 0.5),
        ("p = 0.75, units and neurons", (3, 4, 4), 0.75),
    ):
        yield note, draw.grid(*shape), draw.keep(p, *shape), p
    yield "everything dropped", draw.grid(2, 4), np.zeros((2, 4), bool), 0.5
    yield "large magnitudes", draw.normal(2, 4, scale=1e30), np.ones((2, 4), bool), 0.5
    for note in LAYOUTS:
        yield note, draw.grid(4, 3, 4), draw.keep(0.5, 4, 3, 4), 0.5


def dropout_forward(draw):
    """Several p, since p = 0.5 alone cannot tell p from 1 - p."""
    for note, x, keep, p in _dropout_inputs(draw):
        yield note, {"x": x, "keep": keep, "p": p}


def dropout_backward(draw):
    """The forward cases, with dy for x."""
    for note, dy, keep, p in _dropout_inputs(draw):
        yield note, {"dy": dy, "keep": keep, "p": p}


def softmax_cross_entropy(draw):
    """Scores that overflow without the row's maximum taken off, several batch sizes, other label types."""
    for note, n, c in (
        ("ten classes", 5, 10),
        ("batch of one", 1, 4),
        ("two classes", 7, 2),
        ("square", 4, 4),
    ):
        yield note, {"logits": draw.normal(n, c), "labels": draw.winner(c, n)}
    yield "one class", {"logits": draw.grid(3, 1), "labels": np.zeros(3, np.int64)}
    yield "equal scores", {"logits": np.full((2, 3), 0.5, draw.dtype), "labels": np.array([2, 0])}
    yield "large magnitudes", {"logits": draw.normal(4, 5, scale=1e4), "labels": draw.winner(5, 4)}
    yield "labels of type int32", {"logits": draw.normal(4, 3), "labels": draw.winner(3, 4).astype(np.int32)}
    yield "labels of type uint8", {"logits": draw.normal(4, 3), "labels": draw.winner(3, 4).astype(np.uint8)}
    for note in LAYOUTS:
        yield note, {"logits": draw.grid(4, 6), "labels": draw.winner(6, 4)}


def win_counts(draw):
    """Neurons that never won, the last one among them; winners of any integer type."""
    for note, n, units, k in (
        ("k = 4", 20, 5, 4),
        ("batch of one", 1, 3, 4),
        ("k = 1", 6, 2, 1),
        ("more units than examples", 2, 7, 3),
        ("square", 4, 4, 4),
        ("more than 255 wins", 700, 2, 2),
    ):
        yield note, {"winner": draw.winner(k, n, units), "k": k}
    yield "the last neurons never win", {"winner": draw.winner(2, 9, 3), "k": 5}
    yield "one neuron always wins", {"winner": np.full((8, 2), 2), "k": 3}
    for kind in (np.int32, np.uint8):
        yield f"winner of type {np.dtype(kind).name}", {"winner": draw.winner(4, 300, 3).astype(kind), "k": 4}
    for note in LAYOUTS:
        yield note, {"winner": draw.winner(3, 8, 5), "k": 3}


def sgd_step(draw):
    """Plain steps, momentum, decay, and masks over weights that were not zero."""
    shapes = (2, 3), (4,), (2, 2, 3)
    for note, lr, momentum, weight_decay, masked in (
        ("plain", 0.5, 0.0, 0.0, False),
        ("momentum", 0.25, 0.75, 0.0, False),
        ("weight decay", 0.25, 0.0, 0.5, False),
        ("momentum and weight decay", 0.125, 0.5, 0.25, False),
        ("masked", 0.125, 0.5, 0.25, True),
        ("the usual settings", 0.01, 0.9, 5e-4, True),
    ):
        weights, grads, velocities = (tuple(draw.grid(*s) for s in shapes) for _ in range(3))
        masks = tuple(draw.keep(0.5, *s) if masked and i != 1 else None for i, s in enumerate(shapes))
        step = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        yield note, {"weights": weights, "grads": grads, "velocities": velocities, "masks": masks, **step}
    for note in LAYOUTS:  # a copy that is changed instead of the array itself would show here
        arrays = {name: (draw.grid(3, 4),) for name in ("weights", "grads", "velocities")}
        step = {"lr": 0.5, "momentum": 0.5, "weight_decay": 0.25}
        yield note, {**arrays, "masks": (draw.keep(0.5, 3, 4),), **step}


def dense_maxout_forward(draw):
    """The fused unit, with and without ReLU and dropout before the maximum (which makes ties at zero)."""
    for note, n, i, units, k, relu, p in (
        ("plain", 3, 5, 4, 4, False, 0.0),
        ("batch of one, ReLU", 1, 4, 3, 2, True, 0.0),
        ("ReLU, dropout 0.5", 6, 5, 3, 4, True, 0.5),
        ("dropout 0.75", 5, 3, 2, 3, False, 0.75),
        ("k = 1", 4, 6, 5, 1, True, 0.25),
        ("17 units", 9, 7, 17, 4, True, 0.5),
    ):
        keep = draw.keep(p, n, units, k) if p else None
        a = {"x": draw.grid(n, i), "weight": draw.grid(units, k, i), "bias": draw.grid(units, k)}
        yield note, {**a, "relu": relu, "keep": keep, "p": p}
    a = {"x": draw.ties(6, 2), "weight": draw.ties(4, 4, 2), "bias": np.zeros((4, 4), draw.dtype)}
    yield "ties", {**a, "relu": False, "keep": None, "p": 0.0}
    for note in LAYOUTS:
        a = {"x": draw.grid(4, 6), "weight": draw.grid(3, 4, 6), "bias": draw.grid(3, 4)}
        yield note, {**a, "relu": True, "keep": draw.keep(0.5, 4, 3, 4), "p": 0.5}
