"""A Network as an ONNX model, by the `onnx` package.

    Conv2d -> Conv             Dense -> Gemm               ReLU -> Relu
    MaxPool2d -> MaxPool       AvgPool2d -> AveragePool    Flatten -> Flatten
    BatchNorm2d -> BatchNormalization                      Dropout -> nothing: this is inference
    MaxoutDense -> Gemm, Reshape to (N, units, k), ReduceMax, and Relu if the layer has one
    MaxoutConv2d -> Conv, then a MaxPool of size k over the axis of the feature maps

Operator set 13, which every runtime of the last years reads. Arrays are float32. A masked weight is written
with its zeros: ONNX has a `sparse_initializer`, but ONNX Runtime makes it dense when it loads the model, so
it would save disk and nothing else. A neuron that was pruned is not there at all.
"""

from types import MappingProxyType
from typing import NamedTuple

import numpy as np

import mnp
from mnp.errors import MnpError
from mnp.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxoutConv2d,
    MaxoutDense,
    MaxPool2d,
    ReLU,
)
from mnp.verify.state_dict import check_layer_types, layer_arrays, need

OPSET, IR_VERSION = 13, 8


class Node(NamedTuple):
    """One operator of a layer: it reads what the one before it gave, and arrays of the layer by name.

    `result` names what flows on, if it is not yet the layer's output.
    """

    operator: str
    arrays: tuple = ()
    result: str = ""
    attributes: dict = MappingProxyType({})


def _conv(layer, result=""):
    kernel = list(layer.params["weight"].shape[-2:])
    sides = {"kernel_shape": kernel, "strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
    return [Node("Conv", ("weight", "bias"), result, sides)]


def _pool(operator):
    def nodes(layer):
        sides = {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2}
        return [Node(operator, attributes=sides)]

    return nodes


def _batch_norm(layer):
    arrays = ("weight", "bias", "running_mean", "running_var")
    return [Node("BatchNormalization", arrays, attributes={"epsilon": layer.eps})]


def _maxout(layer):
    nodes = [
        Node("Gemm", ("weight", "bias"), "z", {"transB": 1}),
        Node("Reshape", ("shape",), "units"),
        Node("ReduceMax", (), "maximum" if layer.relu else "", {"axes": [2], "keepdims": 0}),
    ]
    return [*nodes, Node("Relu")] if layer.relu else nodes


def _maxout_conv(layer):
    # Pooling takes the last axes: (N, 1, units * k, OH, OW) makes the feature maps one of them.
    sides = {"kernel_shape": [layer.k, 1, 1], "strides": [layer.k, 1, 1]}
    pool = Node("MaxPool", (), "maximum", sides)
    return [*_conv(layer, "z"), Node("Unsqueeze", ("axes",), "maps"), pool, Node("Squeeze", ("axes",))]


# How a layer is written: a function of the layer that gives its nodes.
NODES = {
    Conv2d: _conv,
    MaxPool2d: _pool("MaxPool"),
    AvgPool2d: _pool("AveragePool"),
    BatchNorm2d: _batch_norm,
    Dense: lambda layer: [Node("Gemm", ("weight", "bias"), attributes={"transB": 1})],
    MaxoutDense: _maxout,
    MaxoutConv2d: _maxout_conv,
    Flatten: lambda layer: [Node("Flatten", attributes={"axis": 1})],
    ReLU: lambda layer: [Node("Relu")],
    Dropout: lambda layer: [],
}


def _nodes_of(name, layer):
    own = getattr(layer, "onnx_nodes", None)  # of a registered type of the user's
    if type(layer) not in NODES and own is None:
        raise MnpError(
            f"layer {name!r}: {type(layer).__name__} has no onnx_nodes: define it to export to ONNX"
        )
    return NODES[type(layer)](layer) if own is None else own()


def to_onnx(net):
    """Build an onnx.ModelProto: input "images" (N, C, H, W) or (N, in), output "logits" (N, classes).

    The output of a network that does not end in a dense layer has the axes of its last layer. Tensors are
    named as in the state_dict; what flows between layers is named after the layer that gave it. onnx's own
    checker has passed the model, shapes included.

    Raises MnpError if onnx is not installed and for a layer that ONNX cannot express.
    """
    onnx = need("onnx")
    check_layer_types(net, "ONNX")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes, arrays, flow = [], {}, "images"
    last = [name for name, layer in net.layers.items() if not isinstance(layer, Dropout)][-1:]
    for name, layer in net.layers.items():
        # Names of layers hold no dot, so a name with a dot is never another layer's.
        output = f"{name}.y" if name == "images" or (name == "logits" and last != [name]) else name
        for operator, used, result, attributes in _nodes_of(name, layer):
            inputs = [flow, *(f"{name}.{key}" for key in used)]
            flow = f"{name}.{result}" if result else output
            nodes.append(make.make_node(operator, inputs, [flow], name=flow, **attributes))
        for key, array in layer_arrays(layer).items():
            arrays[f"{name}.{key}"] = array.astype(np.float32)
        if isinstance(layer, MaxoutDense):
            arrays[f"{name}.shape"] = np.array([-1, layer.units, layer.k], np.int64)
        elif isinstance(layer, MaxoutConv2d):
            arrays[f"{name}.axes"] = np.array([1], np.int64)
    if not nodes:
        nodes.append(make.make_node("Identity", ["images"], ["logits"], name="identity"))
    nodes[-1].output[0] = "logits"
    # A network without a dense layer: onnx infers the output's shape below.
    axes = None if net.classes is None else ["N", net.classes]
    given = [make.make_tensor_value_info("images", kind, _input_axes(net))]
    result = [make.make_tensor_value_info("logits", kind, axes)]
    tensors = [onnx.numpy_helper.from_array(array, key) for key, array in arrays.items()]
    graph = make.make_graph(nodes, "mnp", given, result, tensors)
    producer = {"producer_name": "mnp", "producer_version": mnp.__version__, "ir_version": IR_VERSION}
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)], **producer)
    try:
        if axes is None:
            inferred = onnx.shape_inference.infer_shapes(model)
            model.graph.output[0].CopyFrom(inferred.graph.output[0])
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MnpError(
            f"ONNX cannot express this network, whose layers may not fit together: {reason}"
        ) from None
    return model


def _input_axes(net):
    """Axes of the input: numbers where the first layers fix them, letters where they do not."""
    for layer in net.layers.values():
        if isinstance(layer, (Dense, MaxoutDense)):
            return ["N", layer.in_features]
        if isinstance(layer, (Conv2d, MaxoutConv2d)):
            return ["N", layer.in_channels, "H", "W"]
        if isinstance(layer, BatchNorm2d):
            return ["N", layer.channels, "H", "W"]
        if isinstance(layer, Flatten):
            break
    # Several H and W may lead to one width of a dense layer behind: pooling drops what is left over.
    return ["N", "C", "H", "W"]
