"""Apply a decision to a Network and hand back a new, smaller one; the old one is never touched.

counts = collect_win_counts(net, "fc3", batches)           # measure, in evaluation mode
keep = keep_top(rank_neurons(counts), n_keep=3)    # decide, on arrays
net = prune_neurons(net, "fc3", keep)              # operate
"""

import numpy as np

from mnp.errors import MnpError
from mnp.nn import Dense, Dropout, MaxoutDense, ReLU
from mnp.pruning.neurons import check_keep, take_rows
from mnp.pruning.relevance import (
    activation_sums,
    mean_activation,
    random_relevance,
    reversed_counts,
    weight_norm,
)

MEASURES = ("win_counts", "reversed", "random", "weight_norm", "mean_activation", "win_counts_training")


def winners(net, name, x):
    """Run a batch as far as one maxout layer and say which neuron supplied each maximum.

        winner[n, u] = argmax_j z[n, u, j]        in evaluation mode, before any ReLU

    Parameters
    ----------
    net : Network
    name : str
        A MaxoutDense layer of it.
    x : (N, C, H, W) or (N, in) float
        What the network's first layer takes.

    Returns
    -------
    winner : (N, units) int
        Ties: the lowest index. Taken before the ReLU, so a unit whose neurons are all negative still
        has one true winner. (The authors' code counts in training mode behind ReLU and dropout, where
        such a unit is a tie at zero that always goes to neuron 0.)

    Raises
    ------
    MnpError
        If there is no such layer, or it is no maxout layer.
    """
    layer = _maxout(net, name)
    net.forward(x, until=name)
    return layer.cache.winner


def collect_win_counts(net, name, batches, *, training=False, rng=None):
    """Count how often each neuron of a maxout layer wins, over all batches: the paper's relevance.

        counts[u, j] = sum over batches of #{ n : winner[n, u] = j }

    Parameters
    ----------
    net : Network
    name : str
        A MaxoutDense layer of it.
    batches : iterable of x or of (x, labels)
    training : bool
        True counts in training mode, behind ReLU and dropout, as the authors' code does: only to
        compare. Ties at zero then go to the lowest index.
    rng : numpy.random.Generator
        For the dropout, if `training`.

    Returns
    -------
    counts : (units, k) int64
        Every row sums to the number of examples.
    """
    layer = _maxout(net, name)
    counts = np.zeros((layer.units, layer.k), dtype=np.int64)
    for x in _images(batches):
        net.forward(x, training=training, rng=rng, until=name)
        counts += layer.backend.win_counts(layer.cache.winner, layer.k)
    return counts


def measure_relevance(net, name, measure, batches=(), rng=None):
    """Measure the neurons of one maxout layer by any of the measures that are compared.

        win_counts           the paper's: wins in evaluation mode
        reversed             the same, upside down
        random               a draw from rng
        weight_norm          length of the neuron's weights with its bias; no data
        mean_activation      mean of what the neuron offers to the maximum (behind the layer's ReLU)
        win_counts_training  wins behind ReLU and dropout, drawn from rng

    Parameters
    ----------
    net : Network
    name : str
        A MaxoutDense layer of it.
    measure : str
        One of MEASURES, the names above.
    batches : iterable of x or of (x, labels)
    rng : numpy.random.Generator
        Needed by "random" and, if the layer drops out, by "win_counts_training".

    Returns
    -------
    relevance : (units, k) int64 or float64
        Larger means keep: hand it to `rank_neurons`.
    """
    layer = _maxout(net, name)
    if measure == "random":
        if rng is None:
            raise MnpError("the measure 'random' draws numbers: pass rng, a numpy.random.Generator")
        return random_relevance(layer.units, layer.k, rng)
    if measure == "weight_norm":
        return weight_norm(layer.params["weight"], layer.params["bias"])
    if measure == "mean_activation":
        sums, examples = np.zeros((layer.units, layer.k)), 0
        for x in _images(batches):
            net.forward(x, until=name)
            sums += activation_sums(_before_maximum(layer), layer.relu)
            examples += len(x)
        return mean_activation(sums, examples)
    if measure not in MEASURES:
        raise MnpError(f"there is no measure {measure!r}: choose one of {', '.join(MEASURES)}")
    counts = collect_win_counts(net, name, batches, training=measure == "win_counts_training", rng=rng)
    return reversed_counts(counts) if measure == "reversed" else counts


def prune_neurons(net, name, keep):
    """Cut a maxout layer down to the neurons in `keep` and return the smaller network.

        weight (units, k, in) -> (units, n_keep, in),   bias (units, k) -> (units, n_keep)

    With one neuron left there is nothing to choose between: the layer becomes a Dense of `units`
    neurons, followed by "<name>_relu" and "<name>_dropout" if the maxout layer had them inside. Its
    outputs are those of a maxout layer with k = 1.

    Parameters
    ----------
    net : Network
        Untouched; all arrays of the result are its own.
    name : str
        A MaxoutDense layer with k >= 2.
    keep : (units, n_keep) int
        From `keep_top`: ascending in every row.

    Returns
    -------
    net : Network
        Masks of the layer go with the neurons that stay.

    Raises
    ------
    MnpError
        If there is no such layer, it is no maxout layer or has k = 1, or `keep` does not fit it.

    Source: Moya Rueda et al. 2017, iterative neuron pruning, the removal step.
    """
    layer = _maxout(net, name)
    if layer.k == 1:
        raise MnpError(f"layer {name!r} has k=1: no neuron can go without the whole unit; stop pruning here")
    keep = check_keep(keep, layer.units, layer.k)
    n_keep = keep.shape[1]
    common = {"dtype": layer.dtype, "backend": layer.backend}
    if n_keep > 1:
        small = MaxoutDense(
            layer.in_features, layer.units, n_keep, relu=layer.relu, dropout=layer.dropout, **common
        )
        result = [(name, small)]
    else:
        small = Dense(layer.in_features, layer.units, **common)
        result = [(name, small)]
        if layer.relu:
            result.append((f"{name}_relu", ReLU(backend=layer.backend)))
        if layer.dropout > 0:
            result.append((f"{name}_dropout", Dropout(layer.dropout, backend=layer.backend)))
    shapes = {key: array.shape for key, array in small.params.items()}
    for mine, theirs in ((small.params, layer.params), (small.masks, layer.masks)):
        mine.update({key: take_rows(array, keep).reshape(shapes[key]) for key, array in theirs.items()})
    return net.replace(name, result)


def apply_masks(net, masks, allow_regrowth=False):
    """Set the weights that masks remove to zero and return the masked network.

        weight[i] = 0 where mask[i] is False

    Masks live in the network: they are saved with it, and every optimiser step leaves the weights they
    remove, and their velocity, at exactly zero.

    Parameters
    ----------
    net : Network
        Untouched.
    masks : dict of full name ("fc3.weight") -> bool array in the weight's shape, True = kept
        Parameters that are not named keep the mask they have.
    allow_regrowth : bool
        A mask only shrinks, and one that would bring back a weight is refused, unless this is True
        (dynamic network surgery). What returns starts at zero: `SplicingSGD` knows its dense value.

    Returns
    -------
    net : Network

    Raises
    ------
    MnpError
        For a name that is not there, another shape or type, a mask that keeps nothing, and a mask
        that is True where the network's own is False.
    """
    before = net.masks()
    for name, mask in masks.items():
        if mask is None:
            raise MnpError(f"the mask of {name} is None: give a bool array (net.set_masks takes a mask off)")
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
    return masked


def weight_names(net):
    """Name the parameters that weight pruning is about: matrices and filters, no biases.

    Returns
    -------
    names : list of str
        Full names, as in net.params(), in the network's order. (The weight of a batch normalisation, one
        number a channel, is not among them.)
    """
    return [name for name, array in net.params().items() if name.endswith(".weight") and array.ndim >= 2]


def _maxout(net, name):
    layer = net[name]
    if not isinstance(layer, MaxoutDense):
        raise MnpError(
            f"layer {name!r} is a {type(layer).__name__}: only the neurons of a MaxoutDense compete, "
            "prune one of those"
        )
    return layer


def _images(batches):
    for batch in batches:
        yield batch[0] if isinstance(batch, tuple) else batch


def _before_maximum(layer):
    """z (N, units, k) of the layer's last forward; a fused kernel never wrote it, so compute it again."""
    weight, bias = layer.params["weight"], layer.params["bias"]
    z = layer.backend.dense_forward(layer.cache.x, weight.reshape(-1, layer.in_features), bias.reshape(-1))
    return z.reshape(-1, layer.units, layer.k)
