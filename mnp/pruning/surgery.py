"""Pruning applied to a Network: a new, smaller network is returned, the old one is unchanged.

counts = collect_win_counts(net, "fc3", images)    # measure, in evaluation mode
keep = keep_top(rank_neurons(counts), n_keep=3)    # decide, on arrays
net = prune_neurons(net, "fc3", keep)              # apply

prune_round does all three.
"""

import numpy as np

from mnp.errors import MnpError
from mnp.kernels.shapes import check_finite
from mnp.nn import Maxout, output_gradient
from mnp.nn.base import as_generator, check_backend
from mnp.nn.training import batches, check_images
from mnp.process import import_function
from mnp.pruning.neurons import check_keep, keep_top, take_rows
from mnp.pruning.relevance import (
    activation_sums,
    margin_sums,
    mean_activation,
    random_relevance,
    rank_neurons,
    reversed_counts,
    weight_norm,
)

MEASURES = (
    *("win_counts", "reversed", "random", "weight_norm", "mean_activation", "win_counts_training"),
    *("margin", "first_order"),
)


OWN_RANKINGS = {}  # name -> function, filled by `register_ranking`


def register_ranking(function):
    """Decorator: register a ranking function, so that recipes and `measure_relevance` can name it.

    The function takes (net, layer, images, labels, rng), where layer is the name of a maxout layer of the
    network, and returns the relevance (units, k) of its neurons, larger for neurons to keep.

    >>> @register_ranking
    ... def by_bias(net, layer, images, labels, rng):
    ...     return net[layer].params["bias"]
    >>> from mnp.nn import mlp
    >>> net = mlp((2,), k=2, image_size=2, rng=0)
    >>> net["fc1"].params["bias"][:] = [[1, 2], [4, 3]]
    >>> measure_relevance(net, "fc1", "by_bias").tolist()
    [[1.0, 2.0], [4.0, 3.0]]
    """
    name = function.__name__
    if name in MEASURES:
        raise MnpError(f"{name!r} is the name of a ranking of mnp: give the function another name")
    OWN_RANKINGS[name] = function
    return function


def winners(net, name, x):
    """Index of the neuron that supplied each maximum of one maxout layer, for one batch.

        winner[n, u] = argmax_j z[n, u, j]        in evaluation mode, before any ReLU

    Parameters
    ----------
    net : Network
    name : str
        A maxout layer of it.
    x : (N, C, H, W) or (N, in) float
        What the network's first layer takes.

    Returns
    -------
    winner : (N, units) int
        Of a MaxoutConv2d (N*OH*OW, units), one row for each pixel. Ties: the lowest index. Taken before
        the ReLU, so a unit whose neurons are all negative still has one true winner. (The authors' code
        counts in training mode after ReLU and dropout, where such a unit is a tie at zero that always
        goes to neuron 0.)

    Raises
    ------
    MnpError
        If there is no such layer, or it is not a maxout layer.
    """
    layer = _maxout(net, name)
    net.forward(x, until=name)
    return layer.cache.winner


def collect_win_counts(net, name, images, batch_size=1000, *, training=False, rng=None):
    """Count how often each neuron of a maxout layer wins, over a data set: the paper's relevance.

        counts[u, j] = #{ n : winner[n, u] = j }

    Parameters
    ----------
    net : Network
    name : str
        A maxout layer of it.
    images : (N, C, H, W) or (N, in) float
        What the network's first layer takes: the training images.
    batch_size : int
        Images per forward pass; the counts do not depend on it.
    training : bool
        True counts in training mode, after ReLU and dropout, as the authors' code does: only to
        compare. Ties at zero then go to the lowest index.
    rng : numpy.random.Generator or seed
        For the dropout, if `training`.

    Returns
    -------
    counts : (units, k) int64
        Every row sums to N (of a MaxoutConv2d to N*OH*OW: every pixel counts). Counts of two data sets add.

    Raises
    ------
    MnpError
        If there is no such layer, it is not a maxout layer, or the images are not one array, are empty,
        or make an output NaN or infinite.
    """
    layer = _maxout(net, name)
    check_backend(layer.backend, "win_counts")
    counts = np.zeros((layer.units, layer.k), dtype=np.int64)
    rng = as_generator(rng)
    for _ in _forward_batches(net, name, images, batch_size, training, rng):
        counts += layer.backend.win_counts(layer.cache.winner, layer.k)
    return counts


def measure_relevance(net, name, measure, images=None, rng=None, batch_size=1000, labels=None):
    """Relevance of the neurons of one maxout layer, by one of several measures.

        win_counts           the paper's: wins in evaluation mode
        reversed             win counts, negated
        random               random numbers from rng
        weight_norm          norm of the neuron's weights and bias; no images needed
        mean_activation      mean of the neuron's value before the maximum (after the layer's ReLU)
        win_counts_training  wins after ReLU and dropout, drawn from rng
        margin               what the unit's outputs lose in all without the neuron
        first_order          the same, each weighted by the loss's gradient at that output

    Parameters
    ----------
    net : Network
    name : str
        A maxout layer of it.
    measure : str or function
        One of MEASURES, the names above; or a user-defined ranking: a function as `register_ranking` takes,
        the name of a registered one, or "module:function".
    images, batch_size
        As in `collect_win_counts`.
    rng : numpy.random.Generator or seed
        Needed by "random" and, if the layer has dropout, by "win_counts_training".
    labels : (N,) int64
        Needed by "first_order".

    Returns
    -------
    relevance : (units, k) int64 or float64
        Larger means keep: pass it to `rank_neurons`. A neuron that is masked out has the lowest value.
    """
    layer = _maxout(net, name)
    relevance = _measured(net, name, layer, measure, images, rng, batch_size, labels)
    out = layer.masked_out()
    if out is not None:
        relevance[out] = np.iinfo(np.int64).min if relevance.dtype.kind == "i" else -np.inf
    return relevance


def _measured(net, name, layer, measure, images, rng, batch_size, labels):
    own = measure if callable(measure) else OWN_RANKINGS.get(measure)
    if own is None and ":" in measure:
        own = import_function(measure, "ranking")
    if own is not None:
        relevance = np.array(own(net, name, images, labels, as_generator(rng)))
        if relevance.shape != (layer.units, layer.k) or relevance.dtype.kind not in "iuf":
            raise MnpError(
                f"ranking {getattr(own, '__name__', own)} returned {relevance.dtype} {relevance.shape}; "
                f"layer {name!r} needs one number for each neuron, ({layer.units}, {layer.k})"
            )
        return relevance if relevance.dtype.kind == "f" else relevance.astype(np.int64)
    relu = getattr(layer, "relu", False)
    if measure == "random":
        return random_relevance(layer.units, layer.k, as_generator(rng))
    if measure == "weight_norm":
        return weight_norm(layer.params["weight"].reshape(layer.units, layer.k, -1), layer.params["bias"])
    if measure == "mean_activation":
        sums, rows = np.zeros((layer.units, layer.k)), 0
        for _ in _forward_batches(net, name, images, batch_size):
            sums += activation_sums(layer.before_maximum(), relu)
            rows += len(layer.cache.winner)
        return mean_activation(sums, rows)
    if measure in ("margin", "first_order"):
        if measure == "first_order" and (labels is None or len(labels) != len(images)):
            raise MnpError('measure "first_order" needs labels, one for each image')
        sums, dy, out = np.zeros((layer.units, layer.k)), None, layer.masked_out()
        for start in _forward_batches(net, name, images, batch_size):
            z = layer.before_maximum()
            if out is not None:
                z[:, out] = z.min()  # below every neuron that takes part
            if measure == "first_order":
                dy = layer.rows(output_gradient(net, name, layer.cache.y, labels[start : start + batch_size]))
            sums += margin_sums(z, relu, dy)
        return sums
    if measure not in MEASURES:
        raise MnpError(f"unknown measure {measure!r}: choose one of {', '.join((*MEASURES, *OWN_RANKINGS))}")
    training = measure == "win_counts_training"
    counts = collect_win_counts(net, name, images, batch_size, training=training, rng=rng)
    return reversed_counts(counts) if measure == "reversed" else counts


def prune_round(net, name, images, n_keep=None, measure="win_counts", rng=None, batch_size=1000, labels=None):
    """One pruning round of a maxout layer: measure the neurons, rank them, keep the best n_keep per unit.

    Parameters
    ----------
    net : Network
        Unchanged.
    name : str
        A maxout layer with k >= 2 (`net.maxout_layers()` lists them).
    images : (N, C, H, W) float
        The training images.
    n_keep : int, optional
        Neurons per unit that stay; None removes one, as the paper does.
    measure, rng, batch_size, labels
        As in `measure_relevance`.

    Returns
    -------
    net : Network
        To be retrained with a new optimiser (`fit` makes one).

    >>> from mnp.nn import mlp
    >>> net = mlp((4,), k=3, image_size=2, rng=0)
    >>> prune_round(net, "fc1", np.ones((5, 1, 2, 2), np.float32))["fc1"].k
    2
    """
    layer = _maxout(net, name)
    order = rank_neurons(measure_relevance(net, name, measure, images, rng, batch_size, labels))
    return prune_neurons(net, name, keep_top(order, layer.k - 1 if n_keep is None else n_keep))


def prune_neurons(net, name, keep):
    """Remove all neurons of a maxout layer but those in `keep`; return the smaller network.

        weight (units, k, ...) -> (units, n_keep, ...),   bias (units, k) -> (units, n_keep)

    With one neuron per unit there is no maximum to take: the layer becomes a Dense of `units` neurons,
    followed by "<name>_relu" and "<name>_dropout" if the maxout layer had them inside, or a Conv2d of
    `units` filters. Its outputs are those of a maxout layer with k = 1.

    Parameters
    ----------
    net : Network
        Unchanged; the result shares no array with it.
    name : str
        A maxout layer with k >= 2.
    keep : (units, n_keep) int
        From `keep_top`: ascending in every row.

    Returns
    -------
    net : Network
        The masks of the neurons that stay are kept.

    Raises
    ------
    MnpError
        If there is no such layer, it is not a maxout layer or has k = 1, `keep` does not fit it, or a unit
        would keep only neurons that are masked out.

    Source: Moya Rueda et al. 2017, iterative neuron pruning, the removal step.
    """
    layer = _maxout(net, name)
    if layer.k == 1:
        raise MnpError(f"layer {name!r} has k=1: its only neuron cannot be removed; stop pruning here")
    keep = check_keep(keep, layer.units, layer.k)
    out = layer.masked_out()
    if out is not None and take_rows(out, keep).all(axis=1).any():
        unit = int(take_rows(out, keep).all(axis=1).argmax())
        raise MnpError(f"unit {unit} of layer {name!r} would keep only masked-out neurons; keep another one")
    result = layer.with_neurons(keep.shape[1], name)
    small = result[0][1]
    shapes = {key: array.shape for key, array in small.params.items()}
    for mine, theirs in ((small.params, layer.params), (small.masks, layer.masks)):
        mine.update({key: take_rows(array, keep).reshape(shapes[key]) for key, array in theirs.items()})
    return net.replace(name, result)


def apply_masks(net, masks, allow_regrowth=False):
    """Set the weights that masks remove to zero; return the masked network.

        weight[i] = 0 where mask[i] is False

    Masks are part of the network: they are saved with it, and every optimiser step leaves the weights
    they remove, and their velocity, at exactly zero.

    Parameters
    ----------
    net : Network
        Unchanged.
    masks : dict of full name ("fc3.weight") -> bool array in the weight's shape, True = kept
        Parameters that are not named keep the mask they have. A mask of a maxout layer's weight that
        removes whole neurons and nothing else, while the bias is not named, masks their biases too: so
        they are out and cannot win. (Where a mask of single weights happens to empty a neuron, or a unit
        has no weights left, the bias stays as a constant in the maximum.)
    allow_regrowth : bool
        False: masks only shrink, and one that would bring back a weight is rejected. True: weights may
        return (dynamic network surgery). They start at zero: `SplicingSGD` knows their dense values.

    Returns
    -------
    net : Network

    Raises
    ------
    MnpError
        For an unknown name, another shape or type, a mask that keeps nothing, masks that leave a maxout
        unit no neuron, and a mask that is True where the network's own is False.
    """
    before = net.masks()
    for name, mask in masks.items():
        if mask is None:
            raise MnpError(f"the mask of {name} is None: give a bool array (net.set_masks removes a mask)")
        mask = np.asarray(mask)
        if mask.dtype != np.bool_:
            continue  # set_masks will say so
        if not mask.any():
            raise MnpError(f"the mask of {name} keeps nothing: a layer needs at least one weight")
        if allow_regrowth or name not in before or mask.shape != before[name].shape:
            continue
        back = int(np.count_nonzero(mask & ~before[name]))
        if back:
            raise MnpError(
                f"the mask of {name} would bring back {back} pruned weights: masks only shrink, "
                "combine it with the earlier mask (or pass allow_regrowth=True, for splicing)"
            )
    masked = net.copy()
    masked.set_masks(masks)
    for name, layer in masked.layers.items():
        weight, bias = f"{name}.weight", f"{name}.bias"
        if isinstance(layer, Maxout) and weight in masks and bias not in masks:
            mask = layer.masks["weight"]
            kept = mask.reshape(layer.units, layer.k, -1).any(axis=2)
            # the mask that removes whole neurons only
            whole = before.get(weight, True) & kept.reshape(kept.shape + (1,) * (mask.ndim - 2))
            kept |= ~kept.any(axis=1, keepdims=True)  # a unit without any weights left is its constants
            if not kept.all() and (mask == whole).all():
                masked.set_masks({bias: layer.masks.get("bias", True) & kept})
    return masked


def weight_names(net):
    """Names of the parameters that weight pruning applies to: matrices and filters, no biases.

    Returns
    -------
    names : list of str
        Full names, as in net.params(), in the network's order. (The weight of a batch normalisation, one
        number per channel, is not among them.)
    """
    return [name for name, array in net.params().items() if name.endswith(".weight") and array.ndim >= 2]


def _maxout(net, name):
    layer = net[name]
    if not isinstance(layer, Maxout):
        raise MnpError(
            f"layer {name!r} is a {type(layer).__name__}: neuron pruning needs a maxout layer; "
            f"this network has {', '.join(net.maxout_layers()) or 'none'}"
        )
    return layer


def _forward_batches(net, name, images, batch_size, training=False, rng=None):
    """Run images up to a layer, batch by batch; yields after each, and checks the layer's output."""
    images = check_images(images, net)
    for start, x in batches(images, batch_size):
        with np.errstate(over="ignore", invalid="ignore"):
            net.forward(x, training=training, rng=rng, until=name)
        if not np.isfinite(net[name].cache.y).all():
            check_finite(x, f"images from {start} on" if start else "images")
            raise MnpError(
                f"the output of layer {name!r} holds NaN or infinity and cannot be ranked: train again with "
                "a lower learning rate"
            )
        yield start
