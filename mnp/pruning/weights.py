"""Weight pruning: masks by magnitude, and schedules. Arrays in, masks out; layers are not known here.

A *mask* is a bool array in the shape of its weight, True = kept. *sparsity* is zeros / all: a share
of **all** weights of the array, never of those that an earlier step left over. Counts are exact:

    zeros = floor(sparsity * size + 1/2)

Ties in magnitude: the weight with the lowest flat index (C order) comes first, so it stays longest.

A mask given as input can only shrink (but see `splicing`). The same weights under growing sparsities
therefore give nested masks.
"""

import numpy as np

from mnp.errors import MnpError
from mnp.pruning.checks import check_masks, check_not_empty, check_sparsity, check_weight, count_zeros


def magnitude_mask(weight, sparsity, mask=None):
    """Mask of the weights of one array with the largest magnitudes, by exact count.

        mask[i] = True for the size - zeros(sparsity) largest |weight[i]|

    Parameters
    ----------
    weight : array of any shape, float
    sparsity : float in [0, 1)
        zeros / all afterwards: a share of all weights, not of those that an earlier mask left.
    mask : bool, shape of weight, optional
        An earlier mask. What it removed stays removed, whatever its value; if it is already sparser than
        requested, it is returned unchanged.

    Returns
    -------
    mask : bool, shape of weight
        Exactly floor(sparsity * size + 1/2) are False (or as many as before, if those were more).
        Ties in magnitude: the lowest flat index is kept first.

    Raises
    ------
    MnpError
        Sparsity outside [0, 1), or so high that no weight would stay; NaN; a mask of another shape.

    Source: Han et al. 2015, *Learning both Weights and Connections*; selection by count.

    >>> magnitude_mask(np.array([0.5, -2.0, 0.5, 1.0]), sparsity=0.5)
    array([False,  True, False,  True])
    >>> magnitude_mask(np.array([0.5, -2.0, 0.5, 1.0]), sparsity=0.25)
    array([ True,  True, False,  True])
    """
    return global_magnitude_masks({"weight": weight}, sparsity, None if mask is None else {"weight": mask})[
        "weight"
    ]


def global_magnitude_masks(weights, sparsity, masks=None):
    """Masks of several arrays ranked together by magnitude, by exact count over all of them.

    The arrays are concatenated to one vector; the rule is that of `magnitude_mask`. Layers with small
    weights lose more than others.

    Parameters
    ----------
    weights : dict name -> float array
    sparsity : float in [0, 1)
        zeros / all, over all arrays together.
    masks : dict name -> bool array, optional
        Earlier masks; an array without one is not pruned yet. They only shrink.

    Returns
    -------
    masks : dict name -> bool array
        The names of `weights`, in their order. Ties: the array named first, then the lowest flat index.

    Raises
    ------
    MnpError
        As `magnitude_mask`; also if one of the arrays would lose its last weight (the message says
        which), or if `masks` names an array that is not in `weights`.

    >>> masks = global_magnitude_masks({"a": np.array([1.0, 2.0]), "b": np.array([[3.0], [0.5]])}, 0.5)
    >>> masks["a"], masks["b"].ravel()
    (array([False,  True]), array([ True, False]))
    """
    if not weights:
        raise MnpError("no weights to prune: name at least one array")
    weights = {name: check_weight(name, w) for name, w in weights.items()}
    masks = check_masks(weights, masks or {})
    magnitudes = np.concatenate([np.abs(w).ravel() for w in weights.values()])
    # A weight that is already masked ranks behind every other: no magnitude is below 0.
    for name, part in _parts(weights):
        if name in masks:
            magnitudes[part][~masks[name].ravel()] = -1
    n_keep = magnitudes.size - count_zeros(sparsity, magnitudes.size)
    n_keep = min(n_keep, int(np.count_nonzero(magnitudes >= 0)))
    kept = np.zeros(magnitudes.size, dtype=bool)
    kept[np.argsort(-magnitudes, kind="stable")[:n_keep]] = True
    result = {name: kept[part].reshape(weights[name].shape) for name, part in _parts(weights)}
    for name, mask in result.items():
        check_not_empty(mask, name, f"sparsity {sparsity}")
    return result


def iterative_schedule(final, steps, initial=0.0):
    """Sparsities of a prune-and-retrain loop in which every round removes the same share.

        sparsity[i] = 1 - (1 - initial) * ((1 - final) / (1 - initial)) ** (i / steps),  i = 1..steps

    Parameters
    ----------
    final, initial : float in [0, 1)
        Sparsity after the last round and before the first; initial <= final.
    steps : int >= 1

    Returns
    -------
    sparsities : list of float, length steps
        Non-decreasing; the last one is exactly `final`.

    Source: Han et al. 2015, iterative pruning; the constant share is this project's choice.

    >>> [round(s, 4) for s in iterative_schedule(0.875, steps=3)]
    [0.5, 0.75, 0.875]
    """
    _check_ends(initial, final)
    if steps < 1:
        raise MnpError(f"steps is {steps}; give at least 1")
    left = (1 - final) / (1 - initial)
    return [1 - (1 - initial) * left ** (i / steps) for i in range(1, steps)] + [float(final)]


def cubic_schedule(step, begin, end, initial, final):
    """Sparsity at one step of gradual pruning: fast at first, slow towards the end.

        s(t) = final + (initial - final) * (1 - (t - begin) / (end - begin)) ** 3

    Parameters
    ----------
    step, begin, end : int or float, begin < end
        Before `begin` the result is `initial`, from `end` on it is exactly `final`.
    initial, final : float in [0, 1)
        initial <= final.

    Returns
    -------
    sparsity : float
        Non-decreasing in `step`.

    Source: Zhu and Gupta 2017, *To prune, or not to prune*, equation 1.

    >>> [cubic_schedule(t, begin=0, end=4, initial=0.0, final=0.64) for t in (0, 2, 4, 9)]
    [0.0, 0.56, 0.64, 0.64]
    """
    _check_ends(initial, final)
    if not begin < end:
        raise MnpError(f"schedule from step {begin} to step {end}: it must begin before it ends")
    if step >= end:
        return float(final)
    to_go = min(1.0, 1 - (step - begin) / (end - begin))
    return float(final + (initial - final) * to_go**3)


def _check_ends(initial, final):
    check_sparsity(initial, "initial sparsity")
    check_sparsity(final, "final sparsity")
    if initial > final:
        raise MnpError(
            f"schedule from sparsity {initial} down to {final}: masks only shrink, so it must rise"
        )


def _parts(weights):
    start = 0
    for name, w in weights.items():
        yield name, slice(start, start + w.size)
        start += w.size
