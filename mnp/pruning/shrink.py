"""Make a masked network physically smaller where its zeros allow it: units that nobody listens to go."""

import numpy as np

from mnp.errors import MnpError
from mnp.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxoutDense,
    MaxPool2d,
    Network,
    ReLU,
)

# What a layer calls the number of its outputs and of its inputs, and the axis of its weight for these.
_NAMES = {
    Conv2d: ("out_channels", "in_channels", 1),
    Dense: ("out_features", "in_features", 1),
    MaxoutDense: ("units", "in_features", 2),
}
_ONE_TO_ONE = (Flatten, BatchNorm2d, ReLU, Dropout, MaxPool2d, AvgPool2d)  # each output from one channel


def remove_dead_units(net):
    """Remove every unit and filter whose outputs the next layer multiplies by zeros only.

        unit u of a layer goes if weight_next[r, u] = 0 for all rows r that stay themselves

    From the last layer, whose outputs all count, to the first: a unit that goes takes its own weights
    along, which may silence others before it. Behind a flattening, a filter goes if all its pixels are
    unheard. A layer keeps one unit at least.

    Parameters
    ----------
    net : Network
        Untouched. Masks need not be there: what counts is which weights are zero.

    Returns
    -------
    net : Network
        Smaller arrays, the same outputs (to rounding, as sums get shorter; for finite inputs). Masks
        and running statistics shrink with the layers.

    Raises MnpError for a layer of another kind, such as a sparse one.

    >>> from mnp.kernels import textbook
    >>> net = Network([("a", Dense(2, 3, backend=textbook)), ("b", Dense(3, 1, backend=textbook))])
    >>> net["b"].params["weight"][:] = [[5, 0, 7]]
    >>> small = remove_dead_units(net)
    >>> small["a"].params["weight"].shape, small["b"].params["weight"]
    ((2, 2), array([[5., 7.]], dtype=float32))
    """
    rows, pixels = _decide(net)
    layers, kept = [], None  # kept: which outputs of the layer before are still there, None = all
    for name, layer in net.layers.items():
        if name in rows:
            layer = _smaller(layer, rows[name], kept)
            kept = rows[name]
        elif isinstance(layer, BatchNorm2d) and kept is not None:
            layer = _like(layer, {"channels": len(kept)}, lambda array, kept=kept: array[kept])
        else:
            layer = layer.copy()
            if name in pixels and kept is not None:
                kept = (kept[:, None] * pixels[name] + np.arange(pixels[name])).ravel()
        layers.append((name, layer))
    return Network(layers)


def _decide(net):
    """From the last layer to the first: {layer: outputs that stay}, {flattening: pixels to a channel}."""
    layers, rows, pixels = list(net.layers.items()), {}, {}
    heard = None  # bool, an entry for each output of the layer at hand; None = all
    for at in range(len(layers) - 1, -1, -1):
        name, layer = layers[at]
        if type(layer) in _NAMES:
            weight, axis = layer.params["weight"], _NAMES[type(layer)][2]
            stay = np.arange(len(weight)) if heard is None else np.flatnonzero(heard)
            rows[name] = stay if len(stay) else np.zeros(1, dtype=np.int64)
            others = tuple(i for i in range(weight.ndim) if i != axis)
            heard = (weight[rows[name]] != 0).any(axis=others)
        elif isinstance(layer, Flatten) and heard is not None:
            before = [other for _, other in layers[:at] if type(other) in _NAMES]
            if not before:
                break  # only the image itself lies before it
            if not isinstance(before[-1], Conv2d):
                continue  # flat already
            channels = before[-1].out_channels
            pixels[name] = heard.size // channels
            heard = heard.reshape(channels, -1).any(axis=1)
        elif not isinstance(layer, _ONE_TO_ONE):
            raise MnpError(f"layer {name!r} is a {type(layer).__name__}: drop units before it is made so")
    return rows, pixels


def _smaller(layer, rows, columns):
    outputs, inputs, axis = _NAMES[type(layer)]
    before = layer.params["weight"]
    columns = np.arange(before.shape[axis]) if columns is None else columns

    def part(array):
        array = array[rows]
        return array.take(columns, axis=axis) if array.ndim == before.ndim else array

    return _like(layer, {outputs: len(rows), inputs: len(columns)}, part)


def _like(layer, changed, part):
    """A layer of the same kind with some constructor arguments changed and a part of every array."""
    new = type(layer)(**(layer.config() | changed), backend=layer.backend)
    for kind in ("params", "buffers", "masks"):
        arrays = getattr(layer, kind).items()
        getattr(new, kind).update({key: np.ascontiguousarray(part(array)) for key, array in arrays})
    return new
