"""Ranked removal of plain filters and dense neurons: what neuron pruning of maxout units is compared with.

relevance = filter_relevance(net, "conv2", "weight_norm")     # one number for each filter
net = prune_filters(net, "conv2", keep_filters(relevance, 30))
"""

import numpy as np

from mnp.errors import MnpError
from mnp.nn import BatchNorm2d, Conv2d, Dense, ReLU, output_gradient
from mnp.nn.training import batches, check_examples, check_images
from mnp.pruning.shrink import has_weights, keep_outputs

FILTER_MEASURES = ("weight_norm", "mean_activation", "first_order")


def filter_relevance(net, name, measure, images=None, labels=None, batch_size=1000):
    """Relevance of the filters of a convolution, or of the neurons of a dense layer.

        weight_norm      sqrt(sum of the squares of the filter's weights and its bias); needs no images
        mean_activation  mean of y[n, f] over the examples (and pixels)
        first_order      mean over the examples of |sum over pixels of y[n, f] * dloss[n] / dy[n, f]|

    y is the output of the layer, or that of a batch normalisation and a ReLU directly behind it.

    Parameters
    ----------
    net : Network
    name : str
        A Conv2d or Dense layer of it.
    measure : str
        One of FILTER_MEASURES, the names above.
    images : (N, C, H, W) or (N, in) float
    labels : (N,) int64
        Needed by "first_order".

    Returns
    -------
    relevance : (F,) float64
        Larger means keep.

    Sources: Li et al. 2017, arXiv 1608.08710 (norms of filters, there the sum of magnitudes); Molchanov et
    al. 2017, arXiv 1611.06440, equation 8 (first order).

    >>> from mnp.nn import Network
    >>> net = Network([("a", Dense(2, 2, backend="textbook")), ("b", Dense(2, 1, backend="textbook"))])
    >>> net["a"].params["weight"][:] = [[3, 4], [0, 1]]
    >>> filter_relevance(net, "a", "weight_norm").tolist()
    [5.0, 1.0]
    """
    layer = _plain(net, name)
    if measure not in FILTER_MEASURES:
        raise MnpError(f"unknown measure {measure!r}: choose one of {', '.join(FILTER_MEASURES)}")
    if measure == "weight_norm":
        rows = np.column_stack(
            [layer.params["weight"].reshape(len(layer.params["bias"]), -1), layer.params["bias"]]
        )
        return np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))
    if measure == "first_order":
        if labels is None:
            raise MnpError('measure "first_order" needs labels, one for each image')
        images, labels = check_examples(images, labels, net)
    else:
        images = check_images(images, net)
    names = list(net.layers)
    at = names.index(name)
    while isinstance(net[names[min(at + 1, len(names) - 1)]], BatchNorm2d | ReLU) and at + 1 < len(names):
        at += 1
    total = np.zeros(len(layer.params["bias"]))
    for start, x in batches(images, batch_size):
        y = net.forward(x, until=names[at])
        pixels = tuple(range(2, y.ndim))
        if measure == "mean_activation":
            total += y.mean(axis=pixels, dtype=np.float64).sum(axis=0)
        else:
            dy = output_gradient(net, names[at], y, labels[start : start + len(x)])
            total += abs((y * dy).sum(axis=pixels, dtype=np.float64)).sum(axis=0)
    return total / len(images)


def keep_filters(relevance, n_keep):
    """The indices of the `n_keep` most relevant filters, ascending; of equal ones the lowest indices.

    >>> keep_filters(np.array([1.0, 3.0, 2.0, 3.0]), 2).tolist(), keep_filters(np.zeros(3), 2).tolist()
    ([1, 3], [0, 1])
    """
    relevance = np.asarray(relevance)
    if relevance.ndim != 1 or not 1 <= n_keep <= len(relevance) or np.isnan(relevance).any():
        raise MnpError(f"relevance of shape {relevance.shape}, n_keep {n_keep}: give 1 to F of (F,) numbers")
    return np.sort(np.argsort(-relevance.astype(np.float64), kind="stable")[:n_keep])


def prune_filters(net, name, keep):
    """Remove all filters of a convolution, or neurons of a dense layer, but those in `keep`.

    The weights behind it that read them go, too, and their part of a batch normalisation between.

    Parameters
    ----------
    net : Network
        Unchanged; the result shares no array with it.
    name : str
        A Conv2d or Dense layer of it, not the last layer with weights.
    keep : (n_keep,) int
        From `keep_filters`: ascending.

    Returns
    -------
    net : Network
        Its outputs are those of `net` with the removed filters' outgoing weights set to zero.

    Raises MnpError for another layer, and for indices that do not fit it.

    >>> from mnp.nn import lenet5
    >>> prune_filters(lenet5(), "conv2", [0, 3, 4])["fc3"].in_features
    48
    """
    layer, keep = _plain(net, name), np.asarray(keep)
    size = len(layer.params["bias"])
    if [other for other in net if has_weights(net[other])][-1] == name:
        raise MnpError(f"layer {name!r} is the last one: its outputs are the classes")
    ascending = keep.ndim == 1 and keep.dtype.kind in "iu" and len(keep) and (np.diff(keep) > 0).all()
    if not ascending or keep[0] < 0 or keep[-1] >= size:
        raise MnpError(f"keep of layer {name!r}: give ascending indices from 0 to {size - 1}")
    return keep_outputs(net, {name: keep})


def _plain(net, name):
    layer = net[name]
    if not isinstance(layer, Conv2d | Dense):
        raise MnpError(f"layer {name!r} is a {type(layer).__name__}; filters are those of Conv2d and Dense")
    return layer
