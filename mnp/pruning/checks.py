"""What the mask functions ask of their arrays, and the exact count behind a sparsity."""

import numpy as np

from mnp.errors import MnpError


def count_zeros(sparsity, size):
    """Turn a sparsity into a number of weights, by exact count.

        zeros = floor(sparsity * size + 1/2)

    Raises MnpError if `sparsity` lies outside [0, 1) or would leave no weight of `size` at all.

    >>> count_zeros(0.29, 100), count_zeros(0.25, 10)
    (29, 3)
    """
    check_sparsity(sparsity)
    zeros = int(np.floor(sparsity * size + 0.5))
    if zeros >= size:
        raise MnpError(f"sparsity {sparsity} would remove all {size} weights: ask for less, one must stay")
    return zeros


def check_sparsity(sparsity, name="sparsity"):
    """Refuse a sparsity outside [0, 1), NaN included.

    >>> check_sparsity(0.5)
    """
    if not 0 <= sparsity < 1:
        raise MnpError(f"{name} {sparsity} is outside [0, 1): it is the share of zeros among all weights")


def check_masks(weights, masks):
    """Return the masks as bool arrays, or say which one does not fit its weight.

    >>> check_masks({"w": np.ones(2)}, {"w": np.array([True, False])})["w"]
    array([ True, False])
    """
    for name in masks:
        if name not in weights:
            raise MnpError(f"there is no weight named {name!r} to mask: there are {', '.join(weights)}")
    checked = {name: np.asarray(mask) for name, mask in masks.items()}
    for name, mask in checked.items():
        if mask.shape != np.shape(weights[name]) or mask.dtype != np.bool_:
            raise MnpError(
                f"mask of {name} is {mask.dtype} {mask.shape}: it must be bool {np.shape(weights[name])}"
            )
    return checked


def check_weight(name, weight):
    """Return `weight` as an array, or refuse it: not float, empty, or holding NaN.

    >>> check_weight("w", [1.0, 2.0])
    array([1., 2.])
    """
    weight = np.asarray(weight)
    if weight.dtype.kind != "f" or weight.size == 0:
        raise MnpError(
            f"{name} is {weight.dtype} {weight.shape}: pass a float array with at least one weight"
        )
    if np.isnan(weight).any():
        raise MnpError(
            f"{name} holds NaN, which has no magnitude: the training before this step has diverged"
        )
    return weight


def check_not_empty(mask, name, cause):
    """Refuse a mask that keeps nothing; `cause` says what asked for it.

    >>> check_not_empty(np.array([False, True]), "w", "sparsity 0.5")
    """
    if not mask.any():
        raise MnpError(f"{cause} would remove every weight of {name}: ask for less, one must stay")
