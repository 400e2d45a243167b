"""A network: named layers in order, their forward and backward pass, and their arrays by name."""

from types import MappingProxyType

import numpy as np

from mnp.errors import MnpError
from mnp.nn.base import Layer, as_array, as_generator, backend_name, check_kernels
from mnp.nn.fused import fuse
from mnp.nn.layers import AvgPool2d, BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU
from mnp.nn.maxout import Maxout, MaxoutConv2d, MaxoutDense
from mnp.tables import text_table

LAYER_TYPES = {
    layer.__name__: layer
    for layer in (
        *(Conv2d, MaxPool2d, AvgPool2d, ReLU, Dropout, Flatten, Dense),
        *(MaxoutDense, MaxoutConv2d, BatchNorm2d),
    )
}


def register_layer(layer_class):
    """Decorator: register a layer class, so that networks with it can be saved, loaded and exported.

    The class is a subclass of `Layer` that keeps its constructor's arguments as attributes; `macs` says
    what it costs. For ONNX it has a method onnx_nodes that returns a list of (operator, names of its arrays,
    name of an inner result or "", attributes).

    >>> @register_layer
    ... class LeakyReLU(Layer):
    ...     def __init__(self, slope=0.1, backend=None):
    ...         super().__init__(backend)
    ...         self.slope = slope
    ...
    ...     def forward(self, x, training=False, rng=None):
    ...         self.cache = np.where(x > 0, x.dtype.type(1), x.dtype.type(self.slope))
    ...         return x * self.cache
    ...
    ...     def backward(self, dy, need_dx=True):
    ...         return dy * self.cache
    ...
    ...     def onnx_nodes(self):
    ...         return [("LeakyRelu", (), "", {"alpha": self.slope})]
    >>> Network.from_architecture(Network([("leaky", LeakyReLU(0.2))]).architecture())["leaky"].slope
    0.2
    """
    name = layer_class.__name__
    if not issubclass(layer_class, Layer):
        raise MnpError(f"{name} is not a subclass of mnp.nn.Layer")
    if LAYER_TYPES.get(name, layer_class).__module__ != layer_class.__module__:
        raise MnpError(f"{name} is the name of another layer type: choose another one")
    LAYER_TYPES[name] = layer_class
    return layer_class


class Network:
    """Named layers that run one after another; its arrays are addressed as "layer.name".

    Parameters
    ----------
    layers : list of (name, Layer)
        Names are unique and without a dot: net["fc3"] is the layer, "fc3.weight" its array.

    net(x) is net.forward(x). Iteration, `in` and len() are those of the layer names, as for a dict.

    Where the backend has a fused kernel for a pair of layers (convolution with max pooling, dense with
    maxout), forward and backward use it; results and caches are those of the single layers.

    Errors: MnpError for an empty list, a name or a layer twice, a dot in a name, an empty batch, a kernel
    that the backend lacks; an error of a layer is reported with the layer's name in front.

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
        for pair in layers:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise MnpError(
                    f"{pair!r} is not a named layer; give pairs such as ('conv1', Conv2d(1, 20, 5))"
                )
            name, layer = pair
            if not isinstance(name, str) or not name or "." in name:
                raise MnpError(f"layer name {name!r}: give a string without a dot, such as 'conv1'")
            if not isinstance(layer, Layer):
                raise MnpError(f"layer {name!r} is a {type(layer).__name__}; give a Layer object")
        if len(dict(layers)) < len(layers):
            names = [name for name, _ in layers]
            twice = next(name for name in names if names.count(name) > 1)
            raise MnpError(f"layer name {twice!r} is used twice; every layer needs its own name")
        if len({id(layer) for _, layer in layers}) < len(layers):
            raise MnpError("a layer object is used twice, but it has one cache only: make two layers")
        self.layers = MappingProxyType(dict(layers))
        self.backward_calls = 0  # by which an optimiser notices that nothing new was computed
        self._ops = fuse(layers)

    def __getstate__(self):
        return {"layers": list(self.layers.items())}  # all else follows from them

    def __setstate__(self, state):
        self.__init__(state["layers"])

    def __call__(self, x):
        return self.forward(x)

    def __iter__(self):
        return iter(self.layers)

    def __len__(self):
        return len(self.layers)

    def __contains__(self, name):
        return name in self.layers

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
        """Backend of the last layer, which also computes the loss."""
        return next(reversed(self.layers.values())).backend

    @property
    def dtype(self):
        """The dtype of the parameters, or float32 if there are none."""
        return next((array.dtype for array in self.params().values()), np.dtype(np.float32))

    # Forward and backward.

    def forward(self, x, training=False, rng=None, until=None):
        """Return the last layer's output for a batch x: the logits.

        rng is the generator (or seed) that dropout draws from; only training needs it. `until` names an
        earlier layer to stop at: its output is returned, and layers after it are not run.
        """
        x = as_array(x)
        if x.ndim == 0 or len(x) == 0:
            raise MnpError(f"empty batch: x has shape {x.shape}; give at least one example")
        rng = as_generator(rng)
        for name, op in self._ops if until is None else self._ops_until(until):
            try:
                x = op.forward(x, training, rng)
            except MnpError as error:
                raise type(error)(f"layer {name!r}: {error}") from None
            except AttributeError as error:
                check_kernels(op.backend, error)
                raise
        return x

    def backward(self, dlogits, need_dx=False):
        """Assign every layer's grads, from the last layer to the first; return dx of the images if needed."""
        dy, first = as_array(dlogits, "dlogits"), self._ops[0][1]
        for name, op in reversed(self._ops):
            try:
                dy = op.backward(dy, need_dx or op is not first)
            except MnpError as error:
                raise type(error)(f"layer {name!r}: {error}") from None
            except AttributeError as error:
                check_kernels(op.backend, error)
                raise
        self.backward_calls += 1
        return dy

    def layer_outputs(self, x, training=False, rng=None):
        """Yield (name, output) of every layer, without fusion.

        >>> from mnp.kernels import textbook
        >>> net = Network([("flatten", Flatten(backend=textbook)), ("fc", Dense(4, 2, backend=textbook))])
        >>> [(name, y.shape) for name, y in net.layer_outputs(np.zeros((1, 1, 2, 2), np.float32))]
        [('flatten', (1, 4)), ('fc', (1, 2))]
        """
        rng = as_generator(rng)
        for name, layer in self.layers.items():
            x = layer.forward(x, training, rng)
            yield name, x

    def _ops_until(self, until):
        self[until]
        layers = list(self.layers.items())
        return fuse(layers[: list(self.layers).index(until) + 1])

    # Arrays by their full names.

    def params(self):
        """The learned arrays themselves (not copies), in order: {"conv1.weight": array, ...}."""
        return self._named("params")

    def grads(self):
        """The gradients of the last backward, named as the parameters."""
        return self._named("grads")

    def buffers(self):
        """Arrays that are saved but not learned: the running statistics of batch normalisation."""
        return self._named("buffers")

    def masks(self):
        """The masks (True = kept); a parameter without one is not pruned."""
        return self._named("masks")

    def _named(self, kind):
        return {
            f"{name}.{key}": array
            for name, layer in self.layers.items()
            for key, array in getattr(layer, kind).items()
        }

    def set_masks(self, masks):
        """Set the masks of named parameters, and the weights that they prune to zero, in place.

        masks: dict of full name -> bool array of the parameter's shape, True = kept; None removes the
        mask. Parameters that are not named keep the mask they have. MnpError for a wrong name, shape or
        dtype, and for masks that leave a maxout unit no neuron; nothing is changed then.
        """
        params, new = self.params(), {}
        for name, mask in masks.items():
            if name not in params:
                raise MnpError(f"no parameter {name!r} in this network; it has {', '.join(params)}")
            layer_name, _, key = name.partition(".")
            changed = new.setdefault(layer_name, dict(self[layer_name].masks))
            if mask is None:
                changed.pop(key, None)
                continue
            mask = np.asarray(mask)
            if mask.dtype != np.bool_ or mask.shape != params[name].shape:
                raise MnpError(
                    f"mask of {name!r} is {mask.dtype} {mask.shape}; it must be bool {params[name].shape}"
                )
            changed[key] = np.array(mask, order="C")
        for layer_name, changed in new.items():
            try:
                self[layer_name].check_masks(changed)
            except MnpError as error:
                raise MnpError(f"layer {layer_name!r}: {error}") from None
        for layer_name, changed in new.items():
            layer = self[layer_name]
            layer.masks.clear()  # the dict itself is shared by with_backend
            layer.masks.update(changed)
            for key, mask in changed.items():
                layer.params[key][~mask] = 0

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
        """Raise MnpError if an array holds NaN or infinity: for arrays from a file."""
        for name, array in self.state_dict().items():
            if not np.isfinite(array).all():
                raise MnpError(f"{name!r} holds NaN or infinity: load another file, or train again")

    # Description and variants.

    def architecture(self):
        """The layers as a list for JSON: [{"name": ..., "type": ..., **constructor arguments}]."""
        return [
            {"name": name, "type": type(layer).__name__, **layer.config()}
            for name, layer in self.layers.items()
        ]

    @classmethod
    def from_architecture(cls, architecture, state=None, masks=None, backend=None, types=LAYER_TYPES):
        """Build a network from `architecture()`; zero weights unless `state` is given.

        types: dict of type name -> Layer class, of all layers that may occur.

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
                layers.append((name, types[type_name](**arguments, backend=backend)))
            except MnpError as error:
                raise MnpError(f"architecture entry {number} {entry!r}: {error}") from None
            except (KeyError, TypeError, ValueError) as error:
                raise MnpError(
                    f"architecture entry {number} {entry!r} describes no layer ({error}); "
                    f"give name, type ({', '.join(types)}) and the constructor's arguments"
                ) from None
        net = cls(layers)
        if state is not None:
            net.load_state_dict(state)
        if masks:
            net.set_masks(masks)
        return net

    def with_backend(self, backend):
        """Return the same network on another backend (a module or its name), sharing arrays and masks."""
        return Network([(name, layer.with_backend(backend)) for name, layer in self.layers.items()])

    def copy(self):
        """Return a copy: every array copied; caches and gradients are left behind."""
        return Network([(name, layer.copy()) for name, layer in self.layers.items()])

    def replace(self, name, layers):
        """Return a network with layer `name` replaced by a list of (name, layer); the others are copied."""
        self[name]  # MnpError if there is no such layer
        changed = []
        for old_name, layer in self.layers.items():
            changed += list(layers) if old_name == name else [(old_name, layer.copy())]
        return Network(changed)

    def maxout_layers(self):
        """Names of the layers whose neurons can be pruned: maxout layers with k of at least 2."""
        return [name for name, layer in self.layers.items() if isinstance(layer, Maxout) and layer.k > 1]

    def count_params(self):
        """Number of learned values: pruned ones count too, running statistics do not."""
        return sum(array.size for array in self.params().values())

    @property
    def classes(self):
        """Number of logits: the width of the last dense layer; None if there is none."""
        for layer in reversed(self.layers.values()):
            if isinstance(layer, (Dense, MaxoutDense)):
                return len(layer.params["weight"])
        return None

    def output_shapes(self, input_shape):
        """Dict of layer name -> shape of one example's output, from the shape of one image (C, H, W)."""
        shapes, shape = {}, tuple(input_shape)
        for name, layer in self.layers.items():
            try:
                shape = shapes[name] = layer.output_shape(shape)
            except MnpError as error:
                raise type(error)(f"layer {name!r}: {error}") from None
        return shapes

    def summary(self, input_shape):
        """Text table for images of one shape: name, layer, output shape, parameters."""
        rows = [("name", "layer", "output", "parameters")]
        for name, shape in self.output_shapes(input_shape).items():
            layer = self.layers[name]
            size = sum(array.size for array in layer.params.values())
            rows.append((name, repr(layer), " x ".join(map(str, shape)), f"{size:,}"))
        rows.append(("", f"backend: {backend_name(self.backend)}", "total", f"{self.count_params():,}"))
        return text_table(rows, left=[0, 1])
