"""Networks as checkpoints: their arrays under state/ and masks/, and their architecture."""

from mnp.checkpoint import load_checkpoint, save_checkpoint, with_prefix
from mnp.errors import MnpError
from mnp.nn.network import LAYER_TYPES, Network


def network_entries(net, types=LAYER_TYPES):
    """Return (arrays, meta) of a network: arrays under state/ and masks/, and the architecture.

    Raises MnpError for a layer that could not be read back: its type is not in `types`.
    """
    for name, layer in net.layers.items():
        if types.get(type(layer).__name__) is not type(layer):
            raise MnpError(
                f"layer {name!r} is a {type(layer).__name__}, which a checkpoint cannot express: "
                "register its class with mnp.register_layer; mnp.sparse.save_sparse saves sparse networks"
            )
    arrays = {f"state/{name}": array for name, array in net.state_dict().items()}
    arrays |= {f"masks/{name}": mask for name, mask in net.masks().items()}
    return arrays, {"architecture": net.architecture()}


def network_from(arrays, meta, backend=None, types=LAYER_TYPES):
    """Make the network of `network_entries`; arrays and masks must fit the architecture.

    Raises MnpError where they do not, before anything larger than the arrays themselves is made (with sparse
    layers: of up to 65,536 inputs and outputs), and for NaN or infinity among them.
    """
    state, masks = with_prefix(arrays, "state"), with_prefix(arrays, "masks")
    architecture = meta.get("architecture")
    numbers = sum(array.size for array in state.values())
    if not isinstance(architecture, list) or not all(isinstance(entry, dict) for entry in architecture):
        raise MnpError("the checkpoint has no architecture; it was not written by save_network or a run")
    if types is LAYER_TYPES and any(str(entry.get("type")).startswith("Sparse") for entry in architecture):
        raise MnpError("holds a sparse network: load it with mnp.sparse.load_sparse")
    # No dimension of a layer exceeds the number of its weights, all of which are in the file; that of a
    # sparse layer may.
    largest = max(numbers, 1 if types is LAYER_TYPES else 1 << 16)
    for entry in architecture:
        for name, value in entry.items():
            if isinstance(value, int) and abs(value) > largest:
                raise MnpError(f"the checkpoint says {name} = {value}, which its arrays cannot hold")
    try:
        net = Network.from_architecture(architecture, state, masks, backend, types)
        net.check_finite()
        return net
    except MnpError:
        raise
    except Exception as error:  # hostile values in an architecture: names, sizes, types
        raise MnpError(f"the checkpoint's architecture cannot be built ({type(error).__name__})") from None


def save_network(path, net, **meta):
    """Save a network, its masks and its architecture, for `load_network`."""
    arrays, architecture = network_entries(net)
    save_checkpoint(path, arrays, {**meta, **architecture})


def load_network(path, backend=None, types=LAYER_TYPES):
    """Load the network of a checkpoint, of `save_network` or of a run.

    types: dict of type name -> Layer class, of all layers that may occur.

    Raises MnpError, one line with the path, for anything that is not such a file.
    """
    arrays, meta = load_checkpoint(path)
    try:
        return network_from(arrays, meta, backend, types)
    except MnpError as error:
        raise MnpError(f"{path}: {error}") from None
