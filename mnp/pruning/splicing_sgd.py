"""The optimiser of dynamic network surgery: it trains dense values beside the masks."""

import numpy as np

from mnp.errors import MnpError
from mnp.nn.optimizers import SGD, copy_arrays


class SplicingSGD(SGD):
    """Step the dense values with the gradient of the masked network, then apply the masks again.

        v     = momentum * v + dL/d(dense * mask) + weight_decay * dense
        dense = dense - lr * v
        param = dense where the mask is True, 0 where it is False

    The gradient with respect to the product is used as if it were the gradient with respect to `dense`,
    also where the mask is False: so a pruned weight keeps changing without any effect, and may return
    with `set_masks`. Everywhere else in this package a pruned weight stays exactly zero; here that holds
    only for what the network computes with.

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
    iteration, velocity
        As in `SGD`. Save dense, velocity and the masks to resume with the same bits.

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
        super().__init__(net, momentum, weight_decay)
        self.dense = {name: array.copy() for name, array in net.params().items()}

    def step(self, lr):
        """Update the parameters once, at learning rate lr, with the gradients of the last backward pass."""
        self._step(self.dense, {}, lr)
        self._apply_masks()

    def bind(self, net):
        """As `SGD.bind`; MnpError also if the network was changed by others, as a step would undo that."""
        super().bind(net)
        for name, param in net.params().items():
            if not np.array_equal(param, self._masked(name), equal_nan=True):
                raise MnpError(
                    f"{name!r} was changed outside this optimiser, which holds its dense values: "
                    "make a new SplicingSGD"
                )

    def set_masks(self, masks):
        """Set new masks in the network, in place; a weight that returns has its dense value again."""
        self.net.set_masks(masks)
        self._apply_masks()

    def load(self, dense, velocity):
        """Copy saved dense values and velocities into the optimiser's own."""
        copy_arrays(("dense value", dense, self.dense), ("velocity", velocity, self.velocity))
        self._apply_masks()

    def _masked(self, name):
        """dense * mask, as a choice, not a product: no -0.0, no NaN left over."""
        mask = self.net.masks().get(name)
        return self.dense[name] if mask is None else np.where(mask, self.dense[name], 0)

    def _apply_masks(self):
        for name, param in self.net.params().items():
            param[...] = self._masked(name)
