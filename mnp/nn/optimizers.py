"""Stochastic gradient descent with momentum and weight decay, and schedules of the learning rate."""

import math

import numpy as np

from mnp.errors import MnpError
from mnp.nn.base import check_backend
from mnp.nn.layers import ReLU

POLICIES = ("constant", "step", "inv", "cosine")


class SGD:
    """Stochastic gradient descent with momentum, weight decay and masks.

        v = momentum * v + dw + weight_decay * w
        w = w - lr * v
        v = w = 0 where the parameter's mask is False

    This is PyTorch's form; Caffe multiplies the gradient by lr before it joins v, which is the same
    while lr stays the same. A pruned weight and its velocity are exactly zero after every step,
    whatever decay and momentum are.

    Parameters
    ----------
    net : Network
        Its parameters are changed in place; masks are read anew at every step. Pruning and masking
        return a new network with new arrays, which needs a new optimiser.
    momentum, weight_decay : float
        The authors' protocol: 0.9 and 5e-4, the decay on biases too.

    Attributes
    ----------
    iteration : int
        Steps made. A learning-rate schedule is a function of it; set it to resume.
    velocity : dict of full name -> array
        Like net.params(). Save it with the network to resume with the same bits.

    Errors: MnpError for a step without a backward pass since the last one, for a first step from
    weights with which the network cannot learn, and for momentum or weight_decay out of range.

    >>> from mnp.kernels import textbook
    >>> from mnp.nn import Dense, Network
    >>> net = Network([("fc", Dense(1, 1, dtype=np.float64, backend=textbook))])
    >>> optimizer = SGD(net, momentum=0.5, weight_decay=0.0)
    >>> net["fc"].grads = {"weight": np.array([[2.0]]), "bias": np.array([1.0])}
    >>> optimizer.step(lr=0.5)
    >>> optimizer.step(lr=0.5)      # v: 2, then 0.5 * 2 + 2 = 3
    >>> net.params()["fc.weight"].item(), optimizer.velocity["fc.weight"].item()
    (-2.5, 3.0)
    """

    def __init__(self, net, momentum=0.9, weight_decay=5e-4):
        if not (0.0 <= momentum < 1.0 and weight_decay >= 0.0):
            raise MnpError(
                f"momentum is {momentum!r}, weight_decay {weight_decay!r}; "
                "give a momentum in [0, 1) and a weight decay of at least 0"
            )
        check_backend(net.backend, "sgd_step")
        self.net, self.momentum, self.weight_decay = net, float(momentum), float(weight_decay)
        self.velocity = {name: np.zeros_like(array, order="C") for name, array in net.params().items()}
        self.iteration, self._used = 0, None

    def step(self, lr):
        """Update the parameters once, at learning rate lr, with the gradients of the last backward pass."""
        self._step(self.net.params(), self.net.masks(), lr)

    def _step(self, params, masks, lr):
        grads = self.net.grads()
        missing = [name for name in self.velocity if name not in grads]
        if missing:
            raise MnpError(
                f"{type(self).__name__}.step needs gradients ({missing[0]} has none); "
                "run loss_and_grads(net, x, labels) first"
            )
        if self.net.backward_calls and self._used == (self.net, self.net.backward_calls):
            raise MnpError(
                "no backward pass since the last step: run loss_and_grads(net, x, labels) first; "
                "for a network that pruning or masking returned, make a new optimiser"
            )
        if self.iteration == 0:
            check_can_learn(self.net)
        self._used = self.net, self.net.backward_calls
        self.net.backend.sgd_step(
            tuple(params.values()),
            tuple(grads[name] for name in params),
            tuple(self.velocity.values()),
            tuple(masks.get(name) for name in params),
            lr,
            self.momentum,
            self.weight_decay,
        )
        self.iteration += 1

    def bind(self, net):
        """Take gradients from net, which must have this optimiser's arrays (as `with_backend` gives them).

        Raises MnpError for a network with other arrays, such as one that pruning returned.
        """
        check_same_arrays(self.net, net)
        self.net = net

    def load_velocity(self, velocity):
        """Copy a saved velocity into the optimiser's own."""
        copy_arrays(("velocity", velocity, self.velocity))


def copy_arrays(*groups):
    """For each (what, saved, own), copy saved arrays into own ones by name; MnpError if one does not fit.

    Nothing is copied unless everything fits.
    """
    for what, saved, own in groups:
        for name, array in own.items():
            if name not in saved or saved[name].shape != array.shape:
                shape = saved[name].shape if name in saved else "missing"
                raise MnpError(
                    f"saved {what} of {name!r} is {shape}, the network's is {array.shape}; "
                    f"load the {what} that was saved with this network"
                )
    for _, saved, own in groups:
        for name, array in own.items():
            array[...] = saved[name]


def check_same_arrays(mine, net):
    """Raise MnpError unless two networks share all parameters and masks: arrays are compared, not objects."""
    if mine is net:
        return
    for kind in ("params", "masks"):
        ours, theirs = getattr(mine, kind)(), getattr(net, kind)()
        for name in ours | theirs:
            a, b = ours.get(name), theirs.get(name)
            if a is b:
                continue
            if a is None or b is None or a.shape != b.shape or not np.may_share_memory(a, b):
                raise MnpError(
                    f"this optimiser belongs to another network ({name!r} is not the array that it changes): "
                    "pruning and masking return a new network, make a new optimiser for it"
                )


def check_can_learn(net):
    """Raise MnpError if a layer has zero weights with which it would never learn.

    That is so before a ReLU, whose gradient at 0 is 0, and for two such layers one after the other: the
    first passes no signal forward, the second no gradient back. A bias between them helps.
    """
    silent = None  # the last layer with zero weights, while the output is still 0 whatever the images are
    for name, layer in net.layers.items():
        weight, bias = layer.params.get("weight"), layer.params.get("bias")
        zero = weight is not None and weight.ndim >= 2 and not weight.any()
        biased = bias is not None and bias.any()
        stuck = silent is not None and (zero or isinstance(layer, ReLU))
        if stuck or (zero and not biased and getattr(layer, "relu", False)):
            raise MnpError(
                f"layer {(silent or name)!r} has zero weights only and would never learn: "
                "build the network with rng=0 (or another seed), or load weights first"
            )
        if biased:
            silent = None
        elif zero:
            silent = name


def learning_rate(
    policy, base, iteration, total, *, gamma=1e-4, power=0.75, step_size=None, step_factor=0.1, warmup=0
):
    """Learning rate at one iteration, counted from 0.

        constant  base
        step      base * step_factor ** (t // step_size)
        inv       base * (1 + gamma * t) ** -power                   (Caffe's "inv")
        cosine    base * (1 + cos(pi * t / T)) / 2

    with t = iteration - warmup and T = total - warmup. The first `warmup` iterations are a
    linear warm-up: base * (iteration + 1) / warmup.

    Errors: MnpError for an unknown policy, or "step" without a step_size. Sources: Caffe's
    sgd_solver.cpp; Loshchilov and Hutter 2017, arXiv 1608.03983 (cosine, without restarts).

    >>> learning_rate("inv", 0.01, 10_000, 10_000) == 0.01 * 2 ** -0.75
    True
    >>> [learning_rate("step", 1.0, i, 6, step_size=2, step_factor=0.5) for i in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    >>> [learning_rate("constant", 1.0, i, 6, warmup=4) for i in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    if policy not in POLICIES:
        raise MnpError(f"learning-rate policy is {policy!r}; choose {', '.join(POLICIES)}")
    if policy == "step" and (step_size is None or step_size < 1):
        raise MnpError(f'learning-rate policy "step" needs step_size of at least 1, got {step_size!r}')
    if iteration < warmup:
        return base * (iteration + 1) / warmup
    t, duration = iteration - warmup, max(total - warmup, 1)
    if policy == "step":
        return base * step_factor ** (t // step_size)
    if policy == "inv":
        return base * (1.0 + gamma * t) ** -power
    if policy == "cosine":
        return base * 0.5 * (1.0 + math.cos(math.pi * min(t, duration) / duration))
    return base
