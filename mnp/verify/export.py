"""Networks for other programs: safetensors, PyTorch, ONNX; and PyTorch's arrays back into a Network."""

import io
import json
import pickle
from pathlib import Path

import mnp
from mnp.errors import MnpError
from mnp.files import atomic_write
from mnp.nn.checkpoint import save_network
from mnp.verify import safetensors_file
from mnp.verify.onnx_export import to_onnx
from mnp.verify.state_dict import check_layer_types, from_state_dict, need, to_state_dict

__all__ = ["TARGETS", "export", "from_state_dict", "read_state", "to_state_dict"]

TARGETS = ("onnx", "safetensors", "torch", "checkpoint")


def read_state(path):
    """Read arrays by name from a safetensors file, or from a PyTorch file by `torch.load(weights_only=True)`.

    Raises MnpError for a file that is neither, or holds anything but tensors.
    """
    path = Path(path)
    if path.suffix == ".npz":
        raise MnpError(f"{path}: is an .npz file: give a .safetensors, .pt or .pth file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error})") from None
    if path.suffix == ".safetensors" or data[8:9] == b"{":  # a length of eight bytes, then JSON
        return safetensors_file.from_bytes(data, path)
    return _read_torch(path, data)


def _read_torch(path, data):
    torch = need("torch")
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("no dictionary of tensors")
        for name, value in state.items():
            if not torch.is_tensor(value):  # a training checkpoint, often: {"state_dict": ..., "epoch": 3}
                raise ValueError(f"{name!r} is a {type(value).__name__}, not a tensor")
            state[name] = value.float() if value.dtype == torch.bfloat16 else value  # unknown to NumPy
        return {str(name): tensor.detach().numpy() for name, tensor in state.items()}
    except pickle.UnpicklingError:
        reason = "it holds more than tensors, or is no such file: write model.state_dict() by torch.save"
    except Exception as error:  # whatever torch finds wrong with the file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
    raise MnpError(f"{path}: is not a state_dict that can be read safely ({reason})")


def safetensors_bytes(net):
    """A network's state_dict as a safetensors file, with the architecture as metadata."""
    metadata = {"format": "pt", "mnp": mnp.__version__, "architecture": json.dumps(net.architecture())}
    return safetensors_file.to_bytes(to_state_dict(net), metadata)


def export(net, target, path):
    """Write a network for another program; the target is one of TARGETS.

    Raises MnpError for an unknown target, for one that cannot express the network, for a package that is
    missing, and for a file that cannot be written.
    """
    if target == "onnx":
        atomic_write(path, to_onnx(net).SerializeToString())
    elif target == "safetensors":
        atomic_write(path, safetensors_bytes(net))
    elif target == "torch":
        torch, buffer = need("torch"), io.BytesIO()
        torch.save({name: torch.from_numpy(array) for name, array in to_state_dict(net).items()}, buffer)
        atomic_write(path, buffer.getvalue())
    elif target == "checkpoint":
        check_layer_types(net, "a checkpoint")
        save_network(path, net)
    else:
        raise MnpError(f"there is no export to {target!r}: choose one of {', '.join(TARGETS)}")
