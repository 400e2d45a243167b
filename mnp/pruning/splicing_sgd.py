"""The optimiser of dynamic network surgery: it trains dense values beside the masks."""

import numpy as np

from mnp.errors import MnpError


class SplicingSGD:
    """Step the dense values with the gradient of the masked network, then lay the masks on again.

        v     = momentum * v + dL/d(dense * mask) + weight_decay * dense
        dense = dense - lr * v
        param = dense where the mask is True, 0 where it is False

    The gradient of the product is used as if it were the gradient of `dense` itself, also where the
    mask is False: so a pruned weight goes on learning, unheard, and may come back with `set_masks`.
    Elsewhere in this package a pruned weight stays exactly zero; here only what the network computes
    with does.

    Parameters
    ----------
    net : Network
        Its parameters are changed in place; after every step they are masked exactly.
    momentum, weight_decay : float
        As in `SGD`.

    Attributes
    ----------
    dense : dict of full name -> array
        Begins as a copy of net.params(); read it to choose new masks.
    velocity : dict of full name -> array
        Save both, and the masks, to go on with the same bits.

    Source: Guo et al. 2016, equation 2.

    >>> from mnp.kernels import textbook
    >>> from mnp.nn import Dense, Network
    >>> net = Network([("fc", Dense(2, 1, dtype=np.float64, backend=textbook))])
    >>> net["fc"].params["weight"][:] = [[1.0, 2.0]]
    >>> optimizer = SplicingSGD(net, momentum=0.0, weight_decay=0.0)
    >>> optimizer.set_masks({"fc.weight": np.array([[False, True]])})
    >>> net["fc"].grads = {"weight": np.array([[-1.0, -1.0]]), "bias": np.zeros(1)}
    >>> optimizer.step(lr=1.0)
    >>> net["fc"].params["weight"], optimizer.dense["fc.weight"]
    (array([[0., 3.]]), array([[2., 3.]]))
    >>> optimizer.set_masks({"fc.weight": np.array([[True, True]])})
    >>> net["fc"].params["weight"]
    array([[2., 3.]])
    """

    def __init__(self, net, momentum=0.9, weight_decay=5e-4):
        if not (0.0 <= momentum < 1.0 and weight_decay >= 0.0):
            raise MnpError(
                f"momentum is {momentum!r}, weight_decay {weight_decay!r}; "
                "give a momentum in [0, 1) and a weight decay of at least 0"
            )
        self.net, self.momentum, self.weight_decay = net, float(momentum), float(weight_decay)
        self.dense = {name: array.copy() for name, array in net.params().items()}
        self.velocity = {name: np.zeros_like(array) for name, array in self.dense.items()}

    def step(self, lr):
        """Apply one step at learning rate lr with the gradients of the last backward."""
        grads = self.net.grads()
        missing = [name for name in self.dense if name not in grads]
        if missing:
            raise MnpError(f"SplicingSGD.step needs the gradient of {missing[0]}; run loss_and_grads first")
        self.net.backend.sgd_step(
            tuple(self.dense.values()),
            tuple(grads[name] for name in self.dense),
            tuple(self.velocity.values()),
            (None,) * len(self.dense),
            lr,
            self.momentum,
            self.weight_decay,
        )
        self._show()

    def set_masks(self, masks):
        """Give the network new masks, in place; a weight that returns has its dense value again."""
        self.net.set_masks(masks)
        self._show()

    def load(self, dense, velocity):
        """Copy saved dense values and velocities in, so that training goes on where it was."""
        for kind, saved, own in (("dense value", dense, self.dense), ("velocity", velocity, self.velocity)):
            for name, array in own.items():
                if name not in saved or saved[name].shape != array.shape:
                    found = saved[name].shape if name in saved else "missing"
                    raise MnpError(f"saved {kind} of {name!r} is {found}, the network's is {array.shape}")
        for name in self.dense:
            self.dense[name][...] = dense[name]
            self.velocity[name][...] = velocity[name]
        self._show()

    def _show(self):
        """Write dense * mask into the network (as a choice, not a product: no -0.0, no NaN left over)."""
        masks = self.net.masks()
        for name, param in self.net.params().items():
            dense = self.dense[name]
            param[...] = np.where(masks[name], dense, 0) if name in masks else dense
