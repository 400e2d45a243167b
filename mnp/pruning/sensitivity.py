"""Sensitivity scan: error against the sparsity of one layer at a time, without retraining."""

import math

from mnp.errors import MnpError
from mnp.pruning.surgery import apply_masks, weight_names
from mnp.pruning.weights import magnitude_mask


def sensitivity_scan(net, sparsities, evaluate, names=None):
    """Error of the network with one layer at a time pruned to each sparsity, without retraining.

    Parameters
    ----------
    net : Network
        Unchanged.
    sparsities : iterable of float in [0, 1)
        zeros / all of that layer.
    evaluate : callable
        evaluate(network) -> error, a number. On validation data, not on the test set, if anything is
        chosen by it.
    names : iterable of str, optional
        Full names such as "fc3.weight"; all of `weight_names(net)` if not given.

    Returns
    -------
    rows : list of dict
        layer, sparsity (as given), size, nonzero (remaining weights of this layer), error; in the order
        of the names, and for each in the order of the sparsities.

    Raises
    ------
    MnpError
        For an unknown weight, and as `magnitude_mask`.

    Source: Han et al. 2015, section 4 (figure "pruning sensitivity").
    """
    params, masks = net.params(), net.masks()
    names = weight_names(net) if names is None else list(names)
    for name in names:
        if name not in params:
            raise MnpError(f"no weight {name!r} to scan: there are {', '.join(weight_names(net))}")
    sparsities, rows = list(sparsities), []
    for name in names:
        for sparsity in sparsities:
            mask = magnitude_mask(params[name], sparsity, masks.get(name))
            error = float(evaluate(apply_masks(net, {name: mask})))
            rows.append(
                {
                    "layer": name,
                    "sparsity": float(sparsity),
                    "size": math.prod(mask.shape),
                    "nonzero": int(mask.sum()),
                    "error": error,
                }
            )
    return rows
