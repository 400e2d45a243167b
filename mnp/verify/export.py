"""Networks for other programs: PyTorch names in safetensors or a PyTorch file, and back into a Network.

A state_dict for PyTorch has one array for each entry of the matching `nn.Module`:

    conv.weight (F, C, KH, KW), conv.bias (F,)      nn.Conv2d
    fc.weight (out, in), fc.bias (out,)             nn.Linear
    bn.weight, bn.bias, bn.running_mean, bn.running_var (C,), bn.num_batches_tracked ()    nn.BatchNorm2d

A maxout layer is an `nn.Linear` of units * k outputs, row u * k + j being neuron j of unit u, followed by
`z.reshape(N, units, k).amax(2)`: that is the one array whose shape differs from ours, (units, k, in).
Masks are not exported: what they remove is zero in the weight.
"""

import io
import json
import pickle
from pathlib import Path

import numpy as np

import mnp
from mnp.errors import MnpError
from mnp.files import atomic_write
from mnp.nn import BatchNorm2d, MaxoutDense, Network
from mnp.nn.network import LAYER_TYPES
from mnp.verify import safetensors_file

TARGETS = ("onnx", "safetensors", "torch", "checkpoint")


def need(package):
    """Import a package of the `verify` extra, or say in one line how to get it."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise MnpError(f'this needs the package {package}: pip install "mnp[verify]"') from None


def check_plain(net, target):
    """Refuse layers that a target has no words for."""
    for name, layer in net.layers.items():
        if type(layer) is not LAYER_TYPES.get(type(layer).__name__):
            raise MnpError(
                f"layer {name!r} is a {type(layer).__name__}, which {target} cannot express: "
                "export the masked network that it was made from"
            )


def to_state_dict(net):
    """Give a network's arrays under PyTorch's names and in PyTorch's shapes.

    Parameters
    ----------
    net : Network
        Of the layers of `mnp.nn`; dense, pruned or masked.

    Returns
    -------
    state : dict of name -> array, C order
        As the module's docstring lists. Copies, not views.

    >>> from mnp.nn import lenet5
    >>> state = to_state_dict(lenet5(units=6, k=4))
    >>> state["fc3.weight"].shape, state["fc3.bias"].shape
    ((24, 800), (24,))
    """
    check_plain(net, "a PyTorch state_dict")
    state = {}
    for name, layer in net.layers.items():
        for key, array in (layer.params | layer.buffers).items():
            array = np.array(array, order="C")
            if isinstance(layer, MaxoutDense):
                array = array.reshape(layer.units * layer.k, *array.shape[2:])
            state[f"{name}.{key}"] = array
        if isinstance(layer, BatchNorm2d):
            state[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
    return state


def from_state_dict(state, like):
    """Make a Network of an architecture and a PyTorch state_dict.

    Parameters
    ----------
    state : dict of name -> array
        Every parameter and running statistic. Maxout weights may be (units * k, in) or (units, k, in).
    like : Network or list
        The architecture: a network of it, or what `Network.architecture()` gave.

    Returns
    -------
    net : Network
        Its own arrays, without masks.

    Raises MnpError for names that are missing or unknown, for another shape, and for what is not finite.
    """
    net = Network.from_architecture(like.architecture() if isinstance(like, Network) else like)
    own, given = net.state_dict(), {}
    for name, array in state.items():
        if name.endswith(".num_batches_tracked"):
            continue
        array = np.asarray(array)
        layer = net.layers.get(name.partition(".")[0])
        if isinstance(layer, MaxoutDense) and name in own and array.ndim == own[name].ndim - 1:
            flat = (layer.units * layer.k, *own[name].shape[2:])
            if array.shape == flat:
                array = array.reshape(own[name].shape)
        given[name] = array
    net.load_state_dict(given)
    net.check_finite()
    return net


def read_state(path):
    """Read a state_dict: a .safetensors file, or a PyTorch file by `torch.load(weights_only=True)`.

    Returns
    -------
    state : dict of name -> array

    Raises MnpError for a file that is neither, or holds anything but tensors.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return safetensors_file.load(path)[0]
    if path.suffix not in (".pt", ".pth"):
        raise MnpError(f"{path}: give a .safetensors, .pt or .pth file")
    torch = need("torch")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("no dictionary of tensors")
        for name, value in state.items():
            if not torch.is_tensor(value):  # a training checkpoint, often: {"state_dict": ..., "epoch": 3}
                raise ValueError(f"{name!r} is a {type(value).__name__}, not a tensor")
        tensors = {str(name): tensor.detach() for name, tensor in state.items()}
        # NumPy knows no bfloat16.
        return {name: (t.float() if t.dtype == torch.bfloat16 else t).numpy() for name, t in tensors.items()}
    except pickle.UnpicklingError:
        reason = "it holds more than tensors, or is no such file: write model.state_dict() by torch.save"
    except Exception as error:  # whatever torch finds wrong with the file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
    raise MnpError(f"{path}: is no state_dict that can be read safely ({reason})")


def save_safetensors(net, path):
    """Write a network's state_dict as safetensors; the architecture goes along as metadata."""
    metadata = {"format": "pt", "mnp": mnp.__version__, "architecture": json.dumps(net.architecture())}
    safetensors_file.save(path, to_state_dict(net), metadata)


def save_torch(net, path):
    """Write a network's state_dict by `torch.save`: tensors only, so that weights_only=True reads it."""
    torch = need("torch")
    state = {name: torch.from_numpy(array) for name, array in to_state_dict(net).items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic_write(path, buffer.getvalue())


def export(net, target, path):
    """Write a network for another program.

    Parameters
    ----------
    net : Network
    target : "onnx", "safetensors", "torch" or "checkpoint"
    path : str or Path

    Raises MnpError for a target that is not there or cannot express the network, for a package that is
    missing, and for a disk that refuses.
    """
    if target == "onnx":
        from mnp.verify.onnx_export import save_onnx

        save_onnx(net, path)
    elif target == "safetensors":
        save_safetensors(net, path)
    elif target == "torch":
        save_torch(net, path)
    elif target == "checkpoint":
        from mnp.experiments.checkpoint import save_network

        save_network(path, net)
    else:
        raise MnpError(f"there is no export to {target!r}: choose one of {', '.join(TARGETS)}")
