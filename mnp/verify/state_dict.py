"""Networks as PyTorch state_dicts, and back.

A state_dict for PyTorch has one array for each entry of the matching `nn.Module`:

    conv.weight (F, C, KH, KW), conv.bias (F,)      nn.Conv2d
    fc.weight (out, in), fc.bias (out,)             nn.Linear
    bn.weight, bn.bias, bn.running_mean, bn.running_var (C,), bn.num_batches_tracked ()    nn.BatchNorm2d

A maxout layer is an `nn.Linear` of units * k outputs, row u * k + j being neuron j of unit u, followed by
`z.reshape(N, units, k).amax(2)`: that is the one array whose shape differs from ours, (units, k, in). One of
feature maps is an `nn.Conv2d` of units * k filters, followed by `z.unflatten(1, (units, k)).amax(2)`.
Masks are not exported: what they remove is zero in the weight. A neuron that the masks remove whole gets
the lowest float32 as its bias, so that it does not win in the other program either.
"""

import importlib

import numpy as np

from mnp.errors import MnpError
from mnp.nn import BatchNorm2d, Maxout, Network
from mnp.nn.network import LAYER_TYPES


def need(package):
    """Import a package of the `verify` extra; MnpError that says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MnpError(f'this needs the package {package}: pip install "mnp[verify]"') from None


def check_layer_types(net, target):
    """Reject a network with layers that a target cannot express."""
    for name, layer in net.layers.items():
        if type(layer) is not LAYER_TYPES.get(type(layer).__name__):
            raise MnpError(
                f"layer {name!r} is a {type(layer).__name__}, which {target} cannot express: "
                "export the masked network that it was made from"
            )


def layer_arrays(layer):
    """Copies of a layer's arrays in PyTorch's shapes and in C order, by the names of its entries."""
    arrays = {key: np.array(array, order="C") for key, array in (layer.params | layer.buffers).items()}
    if isinstance(layer, Maxout):
        if (out := layer.masked_out()) is not None:
            arrays["bias"][out] = np.finfo(np.float32).min  # finite in float32, too, which ONNX takes
        arrays = {key: a.reshape(layer.units * layer.k, *a.shape[2:]) for key, a in arrays.items()}
    return arrays


def to_state_dict(net):
    """Copies of a network's arrays under PyTorch's names and in PyTorch's shapes, in C order.

    Raises MnpError for a layer that is none of `mnp.nn` and not registered.

    >>> from mnp.nn import lenet5
    >>> state = to_state_dict(lenet5(units=6, k=4))
    >>> state["fc3.weight"].shape, state["fc3.bias"].shape
    ((24, 800), (24,))
    """
    check_layer_types(net, "a PyTorch state_dict")
    state = {}
    for name, layer in net.layers.items():
        state |= {f"{name}.{key}": array for key, array in layer_arrays(layer).items()}
        if isinstance(layer, BatchNorm2d):
            state[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
    return state


def from_state_dict(state, like):
    """Network of a given architecture with the arrays of a PyTorch state_dict, without masks.

    Parameters
    ----------
    state : dict of name -> array
        Every parameter and running statistic. Maxout weights may be (units * k, ...) or (units, k, ...).
    like : Network or list
        The architecture: a network of it, or what `Network.architecture()` gave.

    Raises MnpError for names that are missing or unknown, for another shape, and for what is not finite.
    """
    net = Network.from_architecture(like.architecture() if isinstance(like, Network) else like)
    own, given = net.state_dict(), {}
    for name, array in state.items():
        if name.endswith(".num_batches_tracked"):
            continue
        given[name] = array = np.asarray(array)
        if name in own and isinstance(layer := net.layers[name.partition(".")[0]], Maxout):
            flat = array.shape == (layer.units * layer.k, *own[name].shape[2:])
            given[name] = array.reshape(own[name].shape) if flat else array
    net.load_state_dict(given)
    net.check_finite()
    return net
