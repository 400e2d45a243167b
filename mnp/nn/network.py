"""Named layers in order: forward, backward, and everything that is saved."""

from types import MappingProxyType

import numpy as np

from mnp.errors import MnpError
from mnp.nn.base import Layer, backend_name
from mnp.nn.batchnorm import BatchNorm2d
from mnp.nn.fused import plan
from mnp.nn.layers import AvgPool2d, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU
from mnp.nn.maxout import MaxoutDense

LAYER_TYPES = {
    layer.__name__: layer
    for layer in (Conv2d, MaxPool2d, AvgPool2d, ReLU, Dropout, Flatten, Dense, MaxoutDense, BatchNorm2d)
}


class Network:
    """Run named layers one after another; its arrays are addressed as "layer.name".

    Parameters
    ----------
    layers : list of (name, Layer)
        Names are unique and without a dot: net["fc3"] is the layer, "fc3.weight" its array.

    Where the kernels offer a fused pair (convolution with max pooling, dense with maxout), forward
    and backward use it; results and caches are those of the single layers.

    Errors: MnpError for an empty list, a name or a layer twice, a dot in a name, an empty batch; whatever
    a layer refuses is reported with the layer's name in front.

    >>> from mnp.kernels import textbook
    >>> net = Network([("fc", Dense(3, 2, backend=textbook))])
    >>> net["fc"].params["weight"][:] = [[1, 0, 0], [0, 1, 1]]
    >>> net.forward(np.array([[1, 2, 3]], np.float32))
    array([[1., 5.]], dtype=float32)
    >>> list(net.params())
    ['fc.weight', 'fc.bias']
    """

    def __init__(self, layers):
        layers = list(layers)
        if not layers:
            raise MnpError("a network needs at least one layer; give a list of (name, layer)")
        for name, layer in layers:
            if not isinstance(name, str) or not name or "." in name:
                raise MnpError(f"layer name {name!r}: give a string without a dot, such as 'conv1'")
            if not isinstance(layer, Layer):
                raise MnpError(f"layer {name!r} is a {type(layer).__name__}; give a Layer object")
        if len(dict(layers)) < len(layers):
            names = [name for name, _ in layers]
            twice = next(name for name in names if names.count(name) > 1)
            raise MnpError(f"layer name {twice!r} is used twice; every layer needs a name of its own")
        if len({id(layer) for _, layer in layers}) < len(layers):
            raise MnpError("a layer object is used twice, but it remembers one forward only: make two layers")
        self.layers = MappingProxyType(dict(layers))
        self._steps = plan(layers)
        self._learned = [(layer, key) for _, layer in layers for key in layer.params]

    def __getitem__(self, name):
        try:
            return self.layers[name]
        except KeyError:
            raise MnpError(f"no layer {name!r} in this network; it has {', '.join(self.layers)}") from None

    def __repr__(self):
        inside = ", ".join(f"({name!r}, {layer!r})" for name, layer in self.layers.items())
        return f"Network([{inside}])"

    @property
    def backend(self):
        """The kernel module of the last layer, which also computes the loss."""
        return next(reversed(self.layers.values())).backend

    @property
    def dtype(self):
        """The dtype of the parameters, or float32 if there are none."""
        return next((layer.params[key].dtype for layer, key in self._learned), np.dtype(np.float32))

    # Running it.

    def forward(self, x, training=False, rng=None, until=None):
        """Return the last layer's output for a batch x: the logits.

        rng is the generator that dropout draws from; only training needs it. `until` names an earlier
        layer to stop at: its output is returned, and layers after it are not run.
        """
        if len(x) == 0:
            raise MnpError(f"empty batch: x has shape {x.shape}; give at least one example")
        steps = self._steps if until is None else self._steps_until(until)
        for name, step in steps:
            try:
                x = step.forward(x, training, rng)
            except MnpError as error:
                raise type(error)(f"layer {name!r}: {error}") from None
        return x

    def backward(self, dlogits, need_dx=False):
        """Walk back from the last layer, filling every layer's grads; return dx of the images if needed."""
        dy, first = dlogits, self._steps[0][1]
        for name, step in reversed(self._steps):
            try:
                dy = step.backward(dy, need_dx or step is not first)
            except MnpError as error:
                raise type(error)(f"layer {name!r}: {error}") from None
        return dy

    def layer_outputs(self, x, training=False, rng=None):
        """Yield (name, output) layer by layer, nothing fused: the way of a batch through the network.

        >>> from mnp.kernels import textbook
        >>> net = Network([("flatten", Flatten(backend=textbook)), ("fc", Dense(4, 2, backend=textbook))])
        >>> [(name, y.shape) for name, y in net.layer_outputs(np.zeros((1, 1, 2, 2), np.float32))]
        [('flatten', (1, 4)), ('fc', (1, 2))]
        """
        for name, layer in self.layers.items():
            x = layer.forward(x, training, rng)
            yield name, x

    def _steps_until(self, until):
        layers, last = list(self.layers.items()), self[until]
        return plan(layers[: [layer for _, layer in layers].index(last) + 1])

    # Its arrays, under their full names.

    def params(self):
        """The learned arrays themselves (not copies), in order: {"conv1.weight": array, ...}."""
        return self._named("params")

    def grads(self):
        """The gradients of the last backward, named as the parameters."""
        return self._named("grads")

    def buffers(self):
        """What is saved but not learned: the running statistics of batch normalisation."""
        return self._named("buffers")

    def masks(self):
        """The masks of the pruned parameters (True = kept); a parameter that is not there is not pruned."""
        return self._named("masks")

    def _named(self, kind):
        return {
            f"{name}.{key}": array
            for name, layer in self.layers.items()
            for key, array in getattr(layer, kind).items()
        }

    def set_masks(self, masks):
        """Lay masks on named parameters and set what they prune to zero, in place.

        masks: dict of full name -> bool array of the parameter's shape, True = kept; None takes the
        mask off again. Names that are not mentioned keep the mask they have.
        """
        for name, mask in masks.items():
            layer, key, weight = self._find(name)
            if mask is None:
                layer.masks.pop(key, None)
                continue
            mask = np.asarray(mask)
            if mask.dtype != np.bool_ or mask.shape != weight.shape:
                raise MnpError(
                    f"mask of {name!r} is {mask.dtype} {mask.shape}; it must be bool {weight.shape}"
                )
            layer.masks[key] = np.array(mask, order="C")
            weight[~mask] = 0

    def _find(self, name):
        layer_name, _, key = name.partition(".")
        layer = self.layers.get(layer_name)
        if layer is None or key not in layer.params:
            raise MnpError(f"no parameter {name!r} in this network; it has {', '.join(self.params())}")
        return layer, key, layer.params[key]

    def state_dict(self):
        """Parameters and buffers under PyTorch's names (the arrays themselves); masks are separate."""
        return self.params() | self.buffers()

    def load_state_dict(self, state, strict=True):
        """Copy arrays into the network's own, by name. strict=False skips names missing on either side.

        Errors: MnpError for names missing or unknown (strict), and for another shape. Nothing is
        copied unless everything fits.
        """
        own = self.state_dict()
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if strict and (missing or unknown):
            raise MnpError(
                f"the state does not fit the network: missing {missing or 'nothing'}, "
                f"unknown {unknown or 'nothing'}; load it into the network it was saved from"
            )
        shared = {name: np.asarray(state[name]) for name in own if name in state}
        for name, array in shared.items():
            if array.shape != own[name].shape or array.dtype.kind not in "fiu":
                flat = array.size == own[name].size and array.ndim < own[name].ndim  # a maxout layer's
                hint = ": mnp.verify.export.from_state_dict takes PyTorch's shapes" if flat else ""
                raise MnpError(
                    f"{name!r} is {array.dtype} {array.shape} in the state and "
                    f"{own[name].dtype} {own[name].shape} in the network{hint}"
                )
        with np.errstate(over="ignore"):  # of float64 into float32; check_finite finds it
            for name, array in shared.items():
                own[name][...] = array

    def check_finite(self):
        """Refuse a network that holds NaN or infinity, and name the array: for arrays from a file."""
        for name, array in self.state_dict().items():
            if not np.isfinite(array).all():
                raise MnpError(f"{name!r} holds NaN or infinity: nothing can be computed with it")

    # What it is.

    def architecture(self):
        """The layers as a list that JSON can hold: [{"name": ..., "type": ..., **constructor arguments}]."""
        return [
            {"name": name, "type": type(layer).__name__, **layer.config()}
            for name, layer in self.layers.items()
        ]

    @classmethod
    def from_architecture(cls, architecture, state=None, masks=None, backend=None):
        """Build a network from `architecture()`; zero weights unless `state` brings them.

        >>> from mnp.kernels import textbook
        >>> net = Network([("fc", Dense(3, 2, backend=textbook))])
        >>> Network.from_architecture(net.architecture(), backend=textbook)["fc"].output_shape((3,))
        (2,)
        """
        layers = []
        for number, entry in enumerate(architecture):
            try:
                arguments = dict(entry)
                name, type_name = arguments.pop("name"), arguments.pop("type")
                layers.append((name, LAYER_TYPES[type_name](**arguments, backend=backend)))
            except MnpError as error:
                raise MnpError(f"architecture entry {number} {entry!r}: {error}") from None
            except (KeyError, TypeError, ValueError) as error:
                raise MnpError(
                    f"architecture entry {number} {entry!r} describes no layer ({error}); "
                    f"give name, type ({', '.join(LAYER_TYPES)}) and the constructor's arguments"
                ) from None
        net = cls(layers)
        if state is not None:
            net.load_state_dict(state)
        if masks:
            net.set_masks(masks)
        return net

    def with_backend(self, backend):
        """The same network on other kernels (a module or a tier's name), sharing its arrays and masks."""
        return Network([(name, layer.with_backend(backend)) for name, layer in self.layers.items()])

    def copy(self):
        """A network of its own, every array copied; caches and gradients are left behind."""
        return Network([(name, layer.copy()) for name, layer in self.layers.items()])

    def replace(self, name, layers):
        """A new network with layer `name` replaced by a list of (name, layer); the others are copies."""
        self[name]
        changed = []
        for old_name, layer in self.layers.items():
            changed += list(layers) if old_name == name else [(old_name, layer.copy())]
        return Network(changed)

    def count_params(self):
        """How many numbers are learned: pruned ones count too, running statistics do not."""
        return sum(layer.params[key].size for layer, key in self._learned)

    @property
    def classes(self):
        """How many logits the network gives: the width of its last dense layer; None if it has none."""
        for layer in reversed(self.layers.values()):
            if isinstance(layer, (Dense, MaxoutDense)):
                return layer.out_features if isinstance(layer, Dense) else layer.units
        return None

    def output_shapes(self, input_shape):
        """{layer name: shape of one example's output}, from the shape of one image (C, H, W)."""
        shapes, shape = {}, tuple(input_shape)
        for name, layer in self.layers.items():
            try:
                shape = shapes[name] = layer.output_shape(shape)
            except MnpError as error:
                raise type(error)(f"layer {name!r}: {error}") from None
        return shapes

    def summary(self, input_shape):
        """A text table for one image's shape: name, layer, shape of its output, parameters."""
        rows = [("name", "layer", "output", "parameters")]
        for name, shape in self.output_shapes(input_shape).items():
            layer = self.layers[name]
            size = sum(array.size for array in layer.params.values())
            rows.append((name, repr(layer), " x ".join(map(str, shape)), f"{size:,}"))
        rows.append(("", f"kernels: {backend_name(self.backend)}", "total", f"{self.count_params():,}"))
        wide = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = (
            f"{row[0]:<{wide[0]}}  {row[1]:<{wide[1]}}  {row[2]:>{wide[2]}}  {row[3]:>{wide[3]}}"
            for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)
