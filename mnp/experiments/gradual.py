"""Weight pruning inside a run: weights kept per layer, and masks that follow a schedule."""

from typing import NamedTuple

import numpy as np

from mnp.errors import MnpError
from mnp.nn import SGD
from mnp.pruning.splicing import splice_mask, splice_thresholds
from mnp.pruning.splicing_sgd import SplicingSGD
from mnp.pruning.surgery import weight_names
from mnp.pruning.weights import cubic_schedule, global_magnitude_masks, magnitude_mask


def prunable(net):
    """The parameters that weight pruning may remove: weights of convolutions and dense layers, no biases."""
    params = net.params()
    return {name: params[name] for name in weight_names(net)}


def kept_counts(net, remaining, floors=()):
    """Number of weights to keep per layer: the same share everywhere, except where a floor keeps more.

        kept[l] = min(size[l], max(1, ceil(floor[l] * size[l]), floor(d * size[l])))
                  with d such that the total fits

    What rounding leaves over goes to the largest layer that has room, so the total is exact.

    Parameters
    ----------
    net : Network
        Its biases are never pruned and count among the remaining ones.
    remaining : int
        Number of nonzero parameters to reach.
    floors : pairs (layer name, least kept share)

    Returns
    -------
    kept : dict of parameter name -> int, 1 or more

    Raises MnpError for a floor of a layer that does not exist, and when `remaining` would empty a layer or
    cannot hold the floors.
    """
    sizes = {name: weight.size for name, weight in prunable(net).items()}
    least = dict.fromkeys(sizes, 1)
    for layer, kept_share in floors:
        if f"{layer}.weight" not in sizes:
            names = ", ".join(name.removesuffix(".weight") for name in sizes)
            raise MnpError(f"weights.floors: there is no layer {layer!r} with weights; there are {names}")
        least[f"{layer}.weight"] = max(1, int(np.ceil(kept_share * sizes[f"{layer}.weight"])))
    unpruned = net.count_params() - sum(sizes.values())
    budget = min(remaining, net.count_params()) - unpruned
    if budget < sum(least.values()):
        raise MnpError(
            f"{remaining} remaining parameters would empty a layer: {unpruned} are biases, and the weights "
            f"need {sum(least.values())} (weights.floors, one a layer at least); ask for a smaller reduction"
        )

    def shared_out(d):
        return {name: min(size, max(least[name], int(d * size))) for name, size in sizes.items()}

    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:  # the largest d that fits, to the last bit
        low, high = (middle, high) if sum(shared_out(middle).values()) <= budget else (low, middle)
    kept = shared_out(1.0) if sum(sizes.values()) <= budget else shared_out(low)
    for name in sorted(sizes, key=sizes.get, reverse=True):
        kept[name] += min(sizes[name] - kept[name], budget - sum(kept.values()))
    return kept


def sparsity_of(kept, size):
    """zeros / all for an exact number of kept weights.

    >>> sparsity_of(3, 4)
    0.25
    """
    return (size - kept) / size


class Target(NamedTuple):
    """What weight pruning must reach: parameters other than zero, and how the layers share them."""

    remaining: int
    scope: str = "layer"  # or "global"
    floors: tuple = ()  # pairs (layer name, least kept share); scope "layer" only


def global_count(net, target):
    """Number of weights that scope "global" keeps; MnpError if none would be left."""
    size = sum(weight.size for weight in prunable(net).values())
    kept = min(size, target.remaining - (net.count_params() - size))
    if kept < 1:
        raise MnpError(
            f"{target.remaining} remaining parameters are fewer than the biases; ask for a smaller reduction"
        )
    return kept


def check_target(net, target):
    """Raise MnpError for a target that a network of these sizes cannot reach, whatever its weights are."""
    if target.scope == "global":
        global_count(net, target)
    else:
        kept_counts(net, target.remaining, target.floors)


def masks_for(net, target, weights=None, masks=None):
    """Masks that leave `target.remaining` parameters.

    scope "layer" follows `kept_counts`, by magnitude within each layer; "global" ranks all weights together.

    Parameters
    ----------
    net : Network
    target : Target
    weights : dict of parameter name -> array, optional
        Ranked instead of the network's own, such as the dense values kept for splicing.
    masks : dict of parameter name -> bool array, optional
        Masks within which the new ones lie; None takes the network's, {} lets every weight return.
    """
    weights = prunable(net) if weights is None else weights
    masks = net.masks() if masks is None else masks
    masks = {name: mask for name, mask in masks.items() if name in weights}
    if target.scope == "global":
        size = sum(weight.size for weight in weights.values())
        return global_magnitude_masks(weights, sparsity_of(global_count(net, target), size), masks)
    kept = kept_counts(net, target.remaining, target.floors)
    return {
        name: magnitude_mask(weight, sparsity_of(kept[name], weight.size), masks.get(name))
        for name, weight in weights.items()
    }


class GradualPruning:
    """An optimiser that prunes while it trains: every few steps the masks follow the cubic schedule.

        remaining(t) = (1 - cubic_schedule(t, 0, ramp, 0, s)) * start,    s = 1 - target.remaining / start

    With `splice`, SplicingSGD trains while the ramp lasts and pruned weights may return. At its end the
    masks are set by exact count from the dense values and kept; plain SGD continues, so that what is pruned
    then stays exactly zero, its velocity too.

    Parameters
    ----------
    net : Network
    target : Target
        Reached when the ramp ends.
    ramp, every : int
        Iterations; ramp = 0 sets the final masks at once.
    splice : bool
    momentum, weight_decay : float

    Attributes
    ----------
    iteration : int
        Steps made.
    start : int
        Parameters other than zero before the first step.
    velocity, dense : dict of name -> array
        Of the optimiser now at work; dense is empty when it is plain SGD. With iteration, start and the
        network all that a checkpoint needs.
    """

    def __init__(self, net, target, ramp, every, splice=False, momentum=0.9, weight_decay=5e-4):
        self.net, self.target, self.ramp, self.every = net, target, ramp, every
        self.settings = {"momentum": momentum, "weight_decay": weight_decay}
        self.iteration = 0
        weights, masks = prunable(net), net.masks()
        self.start = net.count_params() - sum(int(np.count_nonzero(~mask)) for mask in masks.values())
        net.set_masks({name: np.ones(w.shape, bool) for name, w in weights.items() if name not in masks})
        self.optimizer = (SplicingSGD if splice and ramp else SGD)(net, **self.settings)
        check_target(net, target)  # now, not after the ramp
        if ramp == 0:
            self.set_masks()

    @property
    def velocity(self):
        return self.optimizer.velocity

    @property
    def dense(self):
        return getattr(self.optimizer, "dense", {})

    def load(self, iteration, start, velocity, dense):
        """Restore the state of a checkpoint; the network has its arrays and masks already."""
        self.iteration, self.start = iteration, start
        if dense:
            self.optimizer.load(dense, velocity)
        else:
            self.optimizer = SGD(self.net, **self.settings)
            self.optimizer.load_velocity(velocity)

    def bind(self, net):
        """As `SGD.bind`."""
        self.optimizer.bind(net)
        self.net = net

    def step(self, lr):
        """Make one step of the optimiser; then new masks, if they are due."""
        self.optimizer.step(lr)
        self.iteration += 1
        if self.iteration == self.ramp or (self.iteration < self.ramp and self.iteration % self.every == 0):
            self.set_masks()

    def remaining(self):
        """Number of parameters that the schedule leaves at this iteration."""
        final = min(self.target.remaining, self.start)
        if self.iteration >= self.ramp:
            return final
        gone = cubic_schedule(self.iteration, 0, self.ramp, 0.0, sparsity_of(final, self.start))
        return max(final, round((1 - gone) * self.start))

    def set_masks(self):
        """Set masks that leave the schedule's number of parameters at this iteration."""
        target = self.target._replace(remaining=self.remaining())
        if not self.dense:
            masks = masks_for(self.net, target)
            self.net.set_masks(masks)
            for name, mask in masks.items():
                self.velocity[name][~mask] = 0
            return
        dense = {name: self.dense[name] for name in prunable(self.net)}
        masks = masks_for(self.net, target, dense, {})
        if self.iteration < self.ramp:
            now = self.net.masks()
            for name, mask in masks.items():
                thresholds = splice_thresholds(dense[name], sparsity_of(int(mask.sum()), mask.size))
                masks[name] = splice_mask(dense[name], now[name], *thresholds)
        self.optimizer.set_masks(masks)
        if self.iteration >= self.ramp:
            velocity = self.velocity
            self.optimizer = SGD(self.net, **self.settings)
            self.optimizer.load_velocity(velocity)
            for name, mask in masks.items():
                self.velocity[name][~mask] = 0
