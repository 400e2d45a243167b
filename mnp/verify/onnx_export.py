"""A Network as an ONNX model, by the `onnx` package.

    Conv2d -> Conv             Dense -> Gemm               ReLU -> Relu
    MaxPool2d -> MaxPool       AvgPool2d -> AveragePool    Flatten -> Flatten
    BatchNorm2d -> BatchNormalization                      Dropout -> nothing: this is inference
    MaxoutDense -> Gemm, Reshape to (N, units, k), ReduceMax, and Relu if the layer has one

Operator set 13, which every runtime of the last years reads. Arrays are float32. A masked weight is written
with its zeros: ONNX has a `sparse_initializer`, but ONNX Runtime makes it dense when it loads the model, so
it would save disk and nothing else. A neuron that was pruned is not there at all.
"""

import numpy as np

import mnp
from mnp.files import atomic_write
from mnp.nn import AvgPool2d, BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxoutDense, MaxPool2d, ReLU
from mnp.verify.export import check_plain, need

OPSET, IR_VERSION = 13, 8


def to_onnx(net):
    """Build the model: input "images" (N, C, H, W) or (N, in), output "logits" (N, classes).

    Parameters
    ----------
    net : Network

    Returns
    -------
    model : onnx.ModelProto
        Checked by onnx's own checker, shapes included. Tensors are named as in the state_dict; what
        flows between layers is named after the layer that gave it.

    Raises MnpError if onnx is not installed and for a layer that ONNX cannot express.
    """
    onnx = need("onnx")
    check_plain(net, "ONNX")
    nodes, arrays, flows = [], {}, "images"
    for name, layer in net.layers.items():
        if isinstance(layer, Dropout):
            continue
        for operator, inputs, output, attributes in _operators(name, layer):
            inputs = [flows, *inputs]
            nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
            flows = output
        arrays |= _arrays(name, layer)
    nodes[-1].output[0] = "logits"
    initializers = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(array), key) for key, array in arrays.items()
    ]
    value = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "mnp",
        [value("images", kind, _input_axes(net))],
        [value("logits", kind, ["N", net.classes])],
        initializers,
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="mnp",
        producer_version=mnp.__version__,
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def save_onnx(net, path):
    """Write the model of `to_onnx`, aside first and then moved into place."""
    atomic_write(path, to_onnx(net).SerializeToString())


def _operators(name, layer):
    """A layer as (operator, further inputs, output, attributes), one after another."""
    weight, bias = f"{name}.weight", f"{name}.bias"
    if isinstance(layer, Conv2d):
        _, _, kh, kw = layer.params["weight"].shape
        sides = {"kernel_shape": [kh, kw], "strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
        return [("Conv", [weight, bias], name, sides)]
    if isinstance(layer, (MaxPool2d, AvgPool2d)):
        operator = "MaxPool" if isinstance(layer, MaxPool2d) else "AveragePool"
        return [(operator, [], name, {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2})]
    if isinstance(layer, BatchNorm2d):
        statistics = [f"{name}.running_mean", f"{name}.running_var"]
        return [("BatchNormalization", [weight, bias, *statistics], name, {"epsilon": layer.eps})]
    if isinstance(layer, Dense):
        return [("Gemm", [weight, bias], name, {"transB": 1})]
    if isinstance(layer, MaxoutDense):
        largest = f"{name}.maximum" if layer.relu else name
        steps = [
            ("Gemm", [weight, bias], f"{name}.z", {"transB": 1}),
            ("Reshape", [f"{name}.shape"], f"{name}.units", {}),
            ("ReduceMax", [], largest, {"axes": [2], "keepdims": 0}),
        ]
        return [*steps, ("Relu", [], name, {})] if layer.relu else steps
    if isinstance(layer, Flatten):
        return [("Flatten", [], name, {"axis": 1})]
    assert isinstance(layer, ReLU)
    return [("Relu", [], name, {})]


def _arrays(name, layer):
    """A layer's arrays in float32, the maxout's flattened, and the shape that makes units of it again."""
    arrays = {}
    for key, array in (layer.params | layer.buffers).items():
        if isinstance(layer, MaxoutDense):
            array = array.reshape(layer.units * layer.k, *array.shape[2:])
        arrays[f"{name}.{key}"] = array.astype(np.float32)
    if isinstance(layer, MaxoutDense):
        arrays[f"{name}.shape"] = np.array([-1, layer.units, layer.k], np.int64)
    return arrays


def _input_axes(net):
    """The axes of the input: numbers where the first layer fixes them, letters where it does not."""
    first = next(iter(net.layers.values()))
    if isinstance(first, (Dense, MaxoutDense)):
        return ["N", first.in_features]
    channels = first.in_channels if isinstance(first, Conv2d) else "C"
    return ["N", channels, "H", "W"]
