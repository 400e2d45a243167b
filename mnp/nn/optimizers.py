"""Stochastic gradient descent with momentum and weight decay, and how its learning rate changes."""

import math

import numpy as np

from mnp.errors import MnpError

POLICIES = ("constant", "step", "inv", "cosine")


class SGD:
    """Move every parameter of a network against its gradient, with momentum and weight decay.

        v = momentum * v + dw + weight_decay * w
        w = w - lr * v
        v = w = 0 where the parameter's mask is False

    This is PyTorch's form; Caffe multiplies the gradient by lr before it joins v, which is the same
    while lr stays the same. A pruned weight and its velocity are exactly zero after every step,
    whatever decay and momentum say.

    Parameters
    ----------
    net : Network
        Its parameters are changed in place; masks are read anew at every step.
    momentum, weight_decay : float
        The authors' protocol: 0.9 and 5e-4, the decay on biases too.

    Attributes
    ----------
    velocity : dict of full name -> array
        Like net.params(). Save it with the network to go on with the same bits.

    Errors: MnpError for a step before any backward, and for momentum or weight_decay out of range.

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
        self.net, self.momentum, self.weight_decay = net, float(momentum), float(weight_decay)
        self.velocity = {name: np.zeros_like(array, order="C") for name, array in net.params().items()}
        self._slots = [(layer, key) for layer in net.layers.values() for key in layer.params]

    def step(self, lr):
        """Apply one step at learning rate lr with the gradients of the last backward."""
        slots = self._slots
        try:
            grads = tuple(layer.grads[key] for layer, key in slots)
        except KeyError:
            raise MnpError("SGD.step needs gradients; run loss_and_grads(net, x, labels) first") from None
        self.net.backend.sgd_step(
            tuple(layer.params[key] for layer, key in slots),
            grads,
            tuple(self.velocity.values()),
            tuple(layer.masks.get(key) for layer, key in slots),
            lr,
            self.momentum,
            self.weight_decay,
        )

    def load_velocity(self, velocity):
        """Copy a saved velocity in, so that training goes on where it was."""
        for name, own in self.velocity.items():
            if name not in velocity or velocity[name].shape != own.shape:
                found = velocity[name].shape if name in velocity else "missing"
                raise MnpError(
                    f"saved velocity of {name!r} is {found}, the network's is {own.shape}; "
                    "load the velocity that was saved with this network"
                )
        for name, own in self.velocity.items():
            own[...] = velocity[name]


def learning_rate(
    policy, base, iteration, total, *, gamma=1e-4, power=0.75, step_size=None, step_factor=0.1, warmup=0
):
    """The learning rate at one iteration, counted from 0.

        constant  base
        step      base * step_factor ** (t // step_size)
        inv       base * (1 + gamma * t) ** -power                   (Caffe's "inv")
        cosine    base * (1 + cos(pi * t / T)) / 2

    with t = iteration - warmup and T = total - warmup. During the first `warmup` iterations the rate
    climbs in a straight line: base * (iteration + 1) / warmup.

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
    t, whole_way = iteration - warmup, max(total - warmup, 1)
    if policy == "step":
        return base * step_factor ** (t // step_size)
    if policy == "inv":
        return base * (1.0 + gamma * t) ** -power
    if policy == "cosine":
        return base * 0.5 * (1.0 + math.cos(math.pi * min(t, whole_way) / whole_way))
    return base
