"""Dynamic network surgery (splicing): masks under which a pruned weight may return.

The dense values are kept and trained beside the mask. The network computes with weight * mask, but
the gradient with respect to that product updates every dense value, also where the mask is False. So a
weight that was pruned by mistake can grow until it is restored: it is *spliced*.

Source: Guo, Yao and Chen 2016, *Dynamic Network Surgery for Efficient DNNs*, sections 3.2 and 3.3.
"""

import numpy as np

from mnp.errors import MnpError
from mnp.pruning.checks import check_masks, check_not_empty, check_weight, count_zeros


def splice_mask(weight, mask, lower, upper):
    """Mask with hysteresis: prune below one threshold, restore above another, else leave unchanged.

        new[i] = False    if |weight[i]| < lower
                 mask[i]  if lower <= |weight[i]| < upper
                 True     if upper <= |weight[i]|

    Parameters
    ----------
    weight : array of any shape, float
        The dense values, beside the mask: where the mask is False they are not zero.
    mask : bool, shape of weight
    lower, upper : float, 0 <= lower <= upper
        The gap between them keeps weights near the threshold from switching on and off.

    Returns
    -------
    mask : bool, shape of weight
        May be True where it was False, unlike all other masks. Within the gap each weight keeps its state.

    Raises
    ------
    MnpError
        If the thresholds are not ordered, the mask has another shape, or no weight would stay.

    Source: Guo et al. 2016, equation 3.

    >>> splice_mask(np.array([0.1, 1.0, 1.0, -3.0]), np.array([True, True, False, False]), 0.9, 1.1)
    array([False,  True, False,  True])
    """
    if not 0 <= lower <= upper:
        raise MnpError(f"splicing thresholds lower={lower}, upper={upper}: need 0 <= lower <= upper")
    weight = check_weight("weight", weight)
    mask = check_masks({"weight": weight}, {"weight": mask})["weight"]
    size = np.abs(weight)
    new = (size >= upper) | (mask & (size >= lower))
    check_not_empty(new, "weight", f"threshold {lower}")
    return new


def splice_thresholds(weight, sparsity, margin=0.1):
    """Thresholds around the smallest magnitude that a given sparsity would keep.

        t = the smallest magnitude that magnitude_mask(weight, sparsity) keeps
        lower, upper = (1 - margin) * t, (1 + margin) * t

    Parameters
    ----------
    weight : array of any shape, float
        The dense values.
    sparsity : float in [0, 1)
    margin : float in [0, 1)
        Half the width of the gap; the authors' code uses 0.1.

    Returns
    -------
    lower, upper : float
        With margin 0 and no ties at the threshold, `splice_mask` gives `magnitude_mask`.

    >>> splice_thresholds(np.array([4.0, -3.0, 2.0, 1.0]), sparsity=0.5, margin=0.0)
    (3.0, 3.0)
    """
    weight = check_weight("weight", weight)
    zeros = count_zeros(sparsity, weight.size)
    edge = float(np.partition(np.abs(weight).ravel(), zeros)[zeros])
    return _around(edge, margin)


def splice_thresholds_std(weight, factor, margin=0.1):
    """Thresholds from the mean and standard deviation of the magnitudes: the rule of Guo et al.

        t = max(0, mean(|weight|) + factor * std(|weight|))
        lower, upper = (1 - margin) * t, (1 + margin) * t

    Parameters
    ----------
    weight : array of any shape, float
        The dense values, usually those before pruning began.
    factor : float
        May be negative: the lower, the more weights stay.
    margin : float in [0, 1)

    Returns
    -------
    lower, upper : float

    Source: Guo et al. 2016, section 3.3, and the constants 0.9 and 1.1 of the published code.

    >>> splice_thresholds_std(np.array([1.0, -3.0]), factor=1.0, margin=0.0)
    (3.0, 3.0)
    """
    size = np.abs(check_weight("weight", weight))
    edge = max(0.0, float(size.mean(dtype=np.float64) + factor * size.std(dtype=np.float64)))
    return _around(edge, margin)


def _around(edge, margin):
    if not 0 <= margin < 1:
        raise MnpError(f"margin {margin} is outside [0, 1): it is half the gap between the two thresholds")
    return (1 - margin) * edge, (1 + margin) * edge
