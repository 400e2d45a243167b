"""Make a masked network physically smaller: remove units and filters without outgoing weights."""

import numpy as np

from mnp.errors import MnpError
from mnp.nn import BatchNorm2d, Conv2d, Flatten, Maxout, MaxoutConv2d, Network
from mnp.nn.network import LAYER_TYPES

# Constructor arguments for the number of outputs and of inputs of a layer with weights.
OUTPUTS, INPUTS = ("out_channels", "out_features", "units"), ("in_channels", "in_features")


def remove_dead_units(net):
    """Remove every unit and filter all of whose outgoing weights are zero.

        unit u of a layer is removed if weight_next[r, u] = 0 for all rows r that stay

    From the last layer, whose outputs all stay, to the first: a unit is removed with its own weights,
    after which others before it may have no outgoing weight left. Before a Flatten, a filter is removed
    if that holds for all its pixels. A layer keeps at least one unit.

    Parameters
    ----------
    net : Network
        Unchanged. It needs no masks: what counts is which weights are zero.

    Returns
    -------
    net : Network
        Smaller arrays, the same outputs (to rounding, as sums get shorter; for finite inputs). Masks
        and running statistics shrink with the layers.

    Raises MnpError for a layer of another type, such as a sparse one.

    >>> from mnp.kernels import textbook
    >>> from mnp.nn import Dense
    >>> net = Network([("a", Dense(2, 3, backend=textbook)), ("b", Dense(3, 1, backend=textbook))])
    >>> net["b"].params["weight"][:] = [[5, 0, 7]]
    >>> small = remove_dead_units(net)
    >>> small["a"].params["weight"].shape, small["b"].params["weight"]
    ((2, 2), array([[5., 7.]], dtype=float32))
    """
    return keep_outputs(net, _decide(net))


def keep_outputs(net, rows):
    """The network with some outputs of its layers only, and without the weights that read the others.

    rows: dict of layer -> indices of the outputs that stay; other layers keep all of them.
    """
    layers, kept, width = [], None, 0  # kept: indices of the previous layer's outputs that stay, None = all
    for name, layer in net.layers.items():
        if has_weights(layer):
            inputs = layer.params["weight"].shape[_input_axis(layer)]
            if kept is not None and inputs > width:  # a Flatten between: all pixels of a channel
                pixels = inputs // width
                kept = (kept[:, None] * pixels + np.arange(pixels)).ravel()
            stay, width = rows.get(name), len(layer.params["weight"])
            if stay is None and kept is None:
                layer = layer.copy()
            else:
                layer = _smaller(layer, np.arange(width) if stay is None else stay, kept)
            kept = stay
        elif isinstance(layer, BatchNorm2d) and kept is not None:
            layer = _like(layer, {"channels": len(kept)}, lambda array, kept=kept: array[kept])
        else:
            layer = layer.copy()
        layers.append((name, layer))
    return Network(layers)


def _decide(net):
    """Dict of layer -> indices of the outputs that stay."""
    layers, rows = list(net.layers.items()), {}
    alive = None  # bool, one entry per output of the current layer; None = all
    for at in range(len(layers) - 1, -1, -1):
        name, layer = layers[at]
        if type(layer).__name__ not in LAYER_TYPES:
            raise MnpError(f"layer {name!r} is a {type(layer).__name__}: remove units before converting it")
        if _input_axis(layer):
            weight = layer.params["weight"]
            stay = np.arange(len(weight)) if alive is None else np.flatnonzero(alive)
            rows[name] = stay if len(stay) else np.zeros(1, dtype=np.int64)
            others = tuple(i for i in range(weight.ndim) if i != _input_axis(layer))
            alive = (weight[rows[name]] != 0).any(axis=others)
        elif isinstance(layer, Flatten) and alive is not None:
            before = [other for _, other in layers[:at] if _input_axis(other)]
            if not before:
                break  # nothing but the image is before it
            if not isinstance(before[-1], Conv2d | MaxoutConv2d):
                continue  # its input is flat already
            alive = alive.reshape(len(before[-1].params["weight"]), -1).any(axis=1)
    return rows


def has_weights(layer):
    """Whether a layer has a matrix or filters, which batch normalisation has not."""
    return _input_axis(layer) > 0


def _input_axis(layer):
    """Axis of the inputs in the weight of a layer with weights; 0 for other layers."""
    weight = layer.params.get("weight")
    return 0 if weight is None or weight.ndim < 2 else layer.params["bias"].ndim


def _smaller(layer, rows, columns):
    outputs, inputs = (next(name for name in names if hasattr(layer, name)) for names in (OUTPUTS, INPUTS))
    before, axis = layer.params["weight"], _input_axis(layer)
    columns = np.arange(before.shape[axis]) if columns is None else columns

    def part(array):
        array = array[rows]
        return array.take(columns, axis=axis) if array.ndim == before.ndim else array

    small = _like(layer, {outputs: len(rows), inputs: len(columns)}, part)
    if isinstance(layer, Maxout) and small.masks.keys() >= {"weight", "bias"}:
        # A neuron that lost its last unmasked weight stays a constant, unless it was masked out before.
        out = layer.masked_out()
        emptied = ~small.masks["weight"].reshape(*small.masks["bias"].shape, -1).any(axis=2)
        small.masks["bias"] |= emptied if out is None else emptied & ~out[rows]
    return small


def _like(layer, changed, part):
    """Layer of the same type with some constructor arguments changed and a part of every array."""
    new = type(layer)(**(layer.config() | changed), backend=layer.backend)
    for kind in ("params", "buffers", "masks"):
        arrays = getattr(layer, kind).items()
        getattr(new, kind).update({key: np.ascontiguousarray(part(array)) for key, array in arrays})
    return new
