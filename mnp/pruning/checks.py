"""Argument checks of the mask functions, and the exact number of zeros for a sparsity."""

import numpy as np

from mnp.errors import MnpError


def count_zeros(sparsity, size):
    """Exact number of zero weights for a sparsity.

        zeros = floor(sparsity * size + 1/2)

    Raises MnpError if `sparsity` lies outside [0, 1) or would leave no weight of `size` at all.

    >>> count_zeros(0.29, 100), count_zeros(0.25, 10)
    (29, 3)
    """
    check_sparsity(sparsity)
    zeros = int(np.floor(sparsity * size + 0.5))
    if zeros >= size:
        raise MnpError(f"sparsity {sparsity} would remove all {size} weights: lower it, one must stay")
    return zeros


def check_sparsity(sparsity, name="sparsity"):
    """Raise MnpError for a sparsity outside [0, 1), or NaN.

    >>> check_sparsity(0.5)
    """
    if not 0 <= sparsity < 1:
        raise MnpError(f"{name} {sparsity} is outside [0, 1): it is the share of zeros among all weights")


def check_masks(weights, masks):
    """Return the masks as bool arrays; MnpError for one that does not fit its weight.

    >>> check_masks({"w": np.ones(2)}, {"w": np.array([True, False])})["w"]
    array([ True, False])
    """
    for name in masks:
        if name not in weights:
            raise MnpError(f"no weight {name!r} to mask: there are {', '.join(weights)}")
    checked = {name: np.asarray(mask) for name, mask in masks.items()}
    for name, mask in checked.items():
        if mask.shape != np.shape(weights[name]) or mask.dtype != np.bool_:
            raise MnpError(
                f"mask of {name} is {mask.dtype} {mask.shape}: it must be bool {np.shape(weights[name])}"
            )
    return checked


def check_weight(name, weight):
    """Return `weight` as an array; MnpError if it is not float, is empty, or holds NaN.

    >>> check_weight("w", [1.0, 2.0])
    array([1., 2.])
    """
    weight = np.asarray(weight)
    if weight.dtype.kind != "f" or weight.size == 0:
        raise MnpError(
            f"{name} is {weight.dtype} {weight.shape}: pass a float array with at least one weight"
        )
    if np.isnan(weight).any():
        raise MnpError(f"{name} holds NaN, which has no magnitude: the training before it has diverged")
    return weight


def check_not_empty(mask, name, cause):
    """Raise MnpError for a mask that keeps nothing; `cause` is what led to it.

    >>> check_not_empty(np.array([False, True]), "w", "sparsity 0.5")
    """
    if not mask.any():
        raise MnpError(f"{cause} would remove every weight of {name}: lower it, one must stay")
