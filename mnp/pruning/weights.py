"""Which single weights stay: masks and schedules. Arrays in, masks out; no layer is known here.

A *mask* is a bool array in the shape of its weight, True = kept. *sparsity* is zeros / all: a share
of **all** weights of the array, never of those that an earlier step left over. Counts are exact:

    zeros = floor(sparsity * size + 1/2)

Ties in magnitude: the weight with the lowest flat index (C order) comes first, so it stays longest.

In every function but `splice_mask` a mask given as input can only shrink. The same weights under
growing sparsities therefore give nested masks.
"""

import numpy as np

from mnp.errors import MnpError
from mnp.pruning.checks import check_masks, check_not_empty, check_sparsity, check_weight, count_zeros
from mnp.pruning.splicing import splice_mask, splice_thresholds, splice_thresholds_std

__all__ = [
    "cubic_schedule",
    "global_magnitude_masks",
    "iterative_schedule",
    "magnitude_mask",
    "splice_mask",
    "splice_thresholds",
    "splice_thresholds_std",
    "std_threshold_mask",
]


def magnitude_mask(weight, sparsity, mask=None):
    """Keep the largest weights of one array and mask the rest, by exact count.

        mask[i] = True for the size - zeros(sparsity) largest |weight[i]|

    Parameters
    ----------
    weight : array of any shape, float
    sparsity : float in [0, 1)
        zeros / all after the step, not of what an earlier step left.
    mask : bool, shape of weight, optional
        An earlier mask. What it removed stays removed, whatever value stands there; if it is already
        sparser than asked, it comes back unchanged.

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
    """Keep the largest weights of several arrays ranked together, by exact count over all of them.

    Every array lies behind the one before it in one long vector; the rule is `magnitude_mask`'s.
    Layers of small weights lose more than others.

    Parameters
    ----------
    weights : dict name -> float array
    sparsity : float in [0, 1)
        zeros / all, over all arrays together.
    masks : dict name -> bool array, optional
        Earlier masks; a name that is missing has nothing pruned yet. They only shrink.

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


def std_threshold_mask(weight, factor, mask=None):
    """Keep the weights that reach a multiple of the array's own standard deviation: Han's rule.

        mask[i] = |weight[i]| >= factor * std(weight)

    Parameters
    ----------
    weight : array of any shape, float
    factor : float >= 0
        Han's quality parameter; 0 keeps everything.
    mask : bool, shape of weight, optional
        An earlier mask: it only shrinks, and the standard deviation (around the mean, divided by the
        count) is taken over what it left.

    Returns
    -------
    mask : bool, shape of weight
        The count follows from the threshold here; equal magnitudes share one fate.

    Raises
    ------
    MnpError
        If no weight would stay, the factor is negative, or as in `magnitude_mask`.

    Source: Han et al. 2015, section 3; the threshold compares magnitudes.

    >>> std_threshold_mask(np.array([3.0, -3.0, 1.0, -1.0]), factor=1.0)   # std = sqrt(5)
    array([ True,  True, False, False])
    """
    if not factor >= 0:
        raise MnpError(f"factor {factor}: a threshold is a multiple >= 0 of the standard deviation")
    weight = check_weight("weight", weight)
    before = check_masks({"weight": weight}, {} if mask is None else {"weight": mask}).get("weight")
    before = np.ones(weight.shape, dtype=bool) if before is None else before
    check_not_empty(before, "weight", "the mask passed in")
    after = before & (np.abs(weight) >= factor * weight[before].std(dtype=np.float64))
    check_not_empty(after, "weight", f"factor {factor}")
    return after


def iterative_schedule(final, steps, initial=0.0):
    """List the sparsities of a prune-and-retrain loop in which every step removes the same share.

        sparsity[i] = 1 - (1 - initial) * ((1 - final) / (1 - initial)) ** (i / steps),  i = 1..steps

    Parameters
    ----------
    final, initial : float in [0, 1)
        Sparsity after the last step and before the first; initial <= final.
    steps : int >= 1

    Returns
    -------
    sparsities : list of float, length steps
        Never falling; the last one is exactly `final`.

    Source: Han et al. 2015, iterative pruning; the constant share is this project's choice.

    >>> [round(s, 4) for s in iterative_schedule(0.875, steps=3)]
    [0.5, 0.75, 0.875]
    """
    _check_ends(initial, final)
    if steps < 1:
        raise MnpError(f"a schedule of {steps} steps: it needs at least one")
    left = (1 - final) / (1 - initial)
    return [1 - (1 - initial) * left ** (i / steps) for i in range(1, steps)] + [float(final)]


def cubic_schedule(step, begin, end, initial, final):
    """Give the sparsity at one step of gradual pruning: fast at first, slow towards the end.

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
        Never falling in `step`.

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
