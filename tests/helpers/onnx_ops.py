"""ONNX operators put in terms of the agreed kernels, so that ONNX's own node tests can judge them.

`run(kernels, node, inputs, expected)` gives a node's outputs, or raises OutOfScopeError with the reason.
What is done here besides calling a kernel is moving axes, padding, broadcasting, and what belongs to an
operator alone (label weights, running statistics); never the arithmetic that is judged.
"""

import numpy as np

from mnp.nn import Flatten


class OutOfScopeError(Exception):
    """The kernels do not claim to do this."""


def run(backend, node, inputs, expected):
    """Run one node.

    Parameters
    ----------
    backend : module
    node : onnx.NodeProto
    inputs : list of array or None
        None where an optional input is left out.
    expected : list of array
        The right outputs; only the mask of a random dropout is read from it.

    Returns
    -------
    outputs : list of array, as many as the node has
    """
    from onnx.helper import get_attribute_value

    attributes = {a.name: get_attribute_value(a) for a in node.attribute}
    for a in inputs:
        if a is not None and a.dtype.kind == "f" and a.dtype.itemsize < 4:
            raise OutOfScopeError(f"{a.dtype} inputs: the kernels take float32 and float64")
    outputs = OPERATORS[node.op_type](backend, attributes, inputs, expected)
    return outputs if isinstance(outputs, list) else [outputs]


def _floats(*arrays):
    for a in arrays:
        if a.dtype.kind != "f":
            raise OutOfScopeError(f"{a.dtype} inputs: the kernels take float32 and float64")


def _rows(x, axes):
    """x with these axes last and as one, the others as one: (rows, n); and how to undo it for the rows."""
    axes = sorted(a % x.ndim for a in axes)
    others = [a for a in range(x.ndim) if a not in axes]
    moved = x.transpose(*others, *axes)
    shape = moved.shape[: len(others)]
    return np.ascontiguousarray(moved).reshape(int(np.prod(shape)), -1), shape


# --- convolution and pooling ---------------------------------------------------------------------------


def _sides(attributes, x, kernel):
    """Strides and pads of a window operator, (before, after) for each axis."""
    axes = x.ndim - 2
    strides = attributes.get("strides", [1] * axes)
    if any(d != 1 for d in attributes.get("dilations", [1] * axes)):
        raise OutOfScopeError("dilation")
    pads = attributes.get("pads", [0] * 2 * axes)
    pads = list(zip(pads[:axes], pads[axes:], strict=True))
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = []
        for n, k, s in zip(x.shape[2:], kernel, strides, strict=True):
            total = max((-(-n // s) - 1) * s + k - n, 0)
            less, more = total // 2, total - total // 2
            pads.append((less, more) if auto == b"SAME_UPPER" else (more, less))
    if len(set(strides)) > 1:
        raise OutOfScopeError("strides that differ between the axes")
    return strides[0], pads


def _conv(backend, attributes, inputs, expected):
    x, weight, bias = [*inputs, None][:3]
    if attributes.get("group", 1) != 1:
        raise OutOfScopeError("groups")
    if x.ndim != 4:
        raise OutOfScopeError("three image axes" if x.ndim == 5 else "one image axis")
    stride, pads = _sides(attributes, x, weight.shape[2:])
    bias = np.zeros(len(weight), x.dtype) if bias is None else bias
    sizes = {n for pair in pads for n in pair}
    if len(sizes) == 1:
        return backend.conv2d_forward(x, weight, bias, stride, sizes.pop())
    return backend.conv2d_forward(np.pad(x, [(0, 0), (0, 0), *pads]), weight, bias, stride, 0)


def _windows(attributes, x):
    """x as (N, C, H, W) with its padding rules: (x, size, stride, pads, rest)."""
    _floats(x)
    kernel = attributes["kernel_shape"]
    if len(kernel) > 2:
        raise OutOfScopeError("three image axes")
    stride, pads = _sides(attributes, x, kernel)
    if len(kernel) == 1:  # one axis: the same row as often as the window is high
        x, pads, kernel = np.repeat(x[:, :, None], kernel[0], axis=2), [(0, 0), *pads], kernel * 2
    if len(set(kernel)) > 1:
        raise OutOfScopeError("windows that are not square")
    size, rest = kernel[0], [(0, 0), (0, 0)]
    if attributes.get("ceil_mode", 0):
        for axis, (n, (before, after)) in enumerate(zip(x.shape[2:], pads, strict=True)):
            out = -(-(n + before + after - size) // stride) + 1
            if (out - 1) * stride >= n + before:  # a window that would begin in the padding is left out
                out -= 1
            rest[axis] = (0, max((out - 1) * stride + size - n - before - after, 0))
    return x, size, stride, pads, rest


def _frame(x, pads, value):
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


def _one_axis(attributes, y):
    return y[:, :, 0] if len(attributes["kernel_shape"]) == 1 else y


def _max_pool(backend, attributes, inputs, expected):
    x, size, stride, pads, rest = _windows(attributes, inputs[0])
    framed = _frame(_frame(x, pads, -np.inf), rest, -np.inf)
    y, winner = backend.maxpool2d_forward(framed, size, stride)
    if len(expected) == 1:
        return _one_axis(attributes, y)
    n, c, h, w = x.shape
    rows = np.arange(y.shape[2])[:, None] * stride + winner // size - pads[0][0]
    columns = np.arange(y.shape[3]) * stride + winner % size - pads[1][0]
    if attributes.get("storage_order", 0):
        inside = columns * h + rows
    else:
        inside = rows * w + columns
    return [y, np.arange(n * c).reshape(n, c, 1, 1) * h * w + inside]


def _average_pool(backend, attributes, inputs, expected):
    x, size, stride, pads, rest = _windows(attributes, inputs[0])
    counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
    framed = _frame(counted, pads, attributes.get("count_include_pad", 0))
    # The mean over the pixels that count: the mean over all, by the share that counts.
    share = backend.avgpool2d_forward(_frame(framed, rest, 0), size, stride)
    y = backend.avgpool2d_forward(_frame(_frame(x, pads, 0), rest, 0), size, stride)
    return _one_axis(attributes, y / share)


# --- dense ---------------------------------------------------------------------------------------------


def _gemm(backend, attributes, inputs, expected):
    a, b, c = [*inputs, None][:3]
    _floats(a)
    a = a.T if attributes.get("transA", 0) else a
    weight = b if attributes.get("transB", 0) else b.T
    x = a.dtype.type(attributes.get("alpha", 1.0)) * a
    c = a.dtype.type(attributes.get("beta", 1.0)) * (np.zeros(1, a.dtype) if c is None else c)
    if c.ndim < 2 or c.shape[0] == 1:
        return backend.dense_forward(x, weight, np.broadcast_to(c.reshape(-1), len(weight)))
    # A bias for every example: as many features more, of which example n has only the n-th.
    c = np.broadcast_to(c, (len(x), len(weight)))
    x, weight = np.hstack([x, np.eye(len(x), dtype=x.dtype)]), np.hstack([weight, c.T])
    return backend.dense_forward(x, weight, np.zeros(len(weight), x.dtype))


def _matmul(backend, attributes, inputs, expected):
    a, b = inputs
    _floats(a)
    left, right = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    y = np.empty((*stack, left.shape[-2], right.shape[-1]), a.dtype)
    left = np.broadcast_to(left, (*stack, *left.shape[-2:]))
    right = np.broadcast_to(right, (*stack, *right.shape[-2:]))
    for i in np.ndindex(*stack):
        y[i] = backend.dense_forward(left[i], right[i].T, np.zeros(right.shape[-1], a.dtype))
    return y.reshape(expected[0].shape)


# --- maxima --------------------------------------------------------------------------------------------


def _maximum(backend, attributes, inputs, expected):
    _floats(*inputs)
    stacked = np.stack(np.broadcast_arrays(*inputs), axis=-1)
    y, _ = backend.maxout_forward(stacked.reshape(-1, 1, len(inputs)))
    return y.reshape(stacked.shape[:-1])


def _reduce_max(backend, attributes, inputs, expected):
    x = inputs[0]
    _floats(x)
    given = inputs[1] if len(inputs) > 1 else None
    axes = attributes.get("axes") or (range(x.ndim) if given is None else given)
    rows, _ = _rows(x, list(axes))
    if rows.size == 0:
        raise OutOfScopeError("a maximum over nothing: a unit has at least one neuron")
    return backend.maxout_forward(rows[:, None, :])[0].reshape(expected[0].shape)


def _arg_max(backend, attributes, inputs, expected):
    (x,) = inputs
    last = attributes.get("select_last_index", 0)
    rows, _ = _rows(x, [attributes.get("axis", 0)])
    rows = rows[:, ::-1] if last else rows  # the last of equals is the first from behind
    _, winner = backend.maxout_forward(rows[:, None, :])
    winner = rows.shape[1] - 1 - winner.astype(np.int64) if last else winner.astype(np.int64)
    return winner.reshape(expected[0].shape)


def _hardmax(backend, attributes, inputs, expected):
    """A maxout there and back: the winner gets 1."""
    (x,) = inputs
    axis = attributes.get("axis", -1) % x.ndim
    rows, _ = _rows(x, [axis])
    y, winner = backend.maxout_forward(rows[:, None, :])
    hard = backend.maxout_backward(np.ones_like(y), winner, rows.shape[1])
    return np.moveaxis(hard.reshape(np.moveaxis(x, axis, -1).shape), -1, axis)


def _relu(backend, attributes, inputs, expected):
    return backend.relu_forward(inputs[0])


# --- loss ----------------------------------------------------------------------------------------------


def _log_probabilities(backend, rows):
    """log softmax of every row from the loss alone: it is -loss for the label, and differs by the scores."""
    zero = np.zeros(1, np.int64)
    loss = [backend.softmax_cross_entropy(rows[i : i + 1], zero)[0] for i in range(len(rows))]
    return rows - rows[:, :1] - np.array(loss)[:, None]


def _softmax(backend, attributes, inputs, expected):
    """Probabilities from the gradient: prob = N dlogits + (1 at the label)."""
    (x,) = inputs
    axis = attributes.get("axis", -1) % x.ndim
    rows, _ = _rows(x, [axis])
    labels = rows.argmax(axis=1)
    prob = backend.softmax_cross_entropy(rows, labels)[1] * rows.dtype.type(len(rows))
    prob[np.arange(len(rows)), labels] += 1
    return np.moveaxis(prob.reshape(np.moveaxis(x, axis, -1).shape), -1, axis)


def _log_softmax(backend, attributes, inputs, expected):
    (x,) = inputs
    axis = attributes.get("axis", -1) % x.ndim
    log_prob = _log_probabilities(backend, _rows(x, [axis])[0])
    return np.moveaxis(log_prob.reshape(np.moveaxis(x, axis, -1).shape), -1, axis)


def _cross_entropy(backend, attributes, inputs, expected):
    """Example by example through the kernel; weights, ignored labels and the reduction are the operator's."""
    x, labels, weights = [*inputs, None][:3]
    rows, shape = _rows(x, [1])
    flat = labels.reshape(-1)
    ignored = flat == attributes.get("ignore_index", np.iinfo(np.int64).min)
    weight = np.ones(x.shape[1], x.dtype) if weights is None else weights
    weight = np.where(ignored, 0, weight[np.where(ignored, 0, flat)])
    one = np.zeros(len(rows))
    for i in np.flatnonzero(~ignored):
        one[i], _ = backend.softmax_cross_entropy(rows[i : i + 1], flat[i : i + 1].astype(np.int64))
    losses = (one.astype(x.dtype) * weight).astype(x.dtype)
    reduction = attributes.get("reduction", b"mean")
    if reduction == b"none":
        loss = losses.reshape(shape)
    elif reduction == b"sum":
        loss = losses.sum()
    elif weights is None and not ignored.any():  # the kernel's own mean
        loss = backend.softmax_cross_entropy(rows, flat.astype(np.int64))[0]
    else:
        loss = losses.sum() / weight.sum(dtype=x.dtype)
    outputs = [np.asarray(loss, x.dtype)]
    if len(expected) > 1:
        log_prob = _log_probabilities(backend, rows)
        outputs.append(np.moveaxis(log_prob.reshape(*shape, -1), -1, 1))
    return outputs


# --- the rest ------------------------------------------------------------------------------------------


def _batch_norm(backend, attributes, inputs, expected):
    x, weight, bias, mean, var = inputs
    eps = attributes.get("epsilon", 1e-5)
    if not attributes.get("training_mode", 0):
        return backend.batchnorm2d_inference(x, weight, bias, mean, var, eps)
    y, now_mean, now_var = backend.batchnorm2d_forward(x, weight, bias, eps)
    share = x.dtype.type(attributes.get("momentum", 0.9))
    return [y, mean * share + now_mean * (1 - share), var * share + now_var * (1 - share)]


def _dropout(backend, attributes, inputs, expected):
    x = inputs[0]
    p = float(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else 0.5
    training = len(inputs) > 2 and bool(inputs[2])
    if not training:
        p, keep = 0.0, np.ones(x.shape, bool)
    else:  # the node test's own generator
        np.random.seed(attributes.get("seed", 0))  # noqa: NPY002
        keep = np.random.uniform(0, 1.0, x.shape) >= p  # noqa: NPY002
    y = backend.dropout_forward(x, keep, p)
    return [y, keep][: len(expected)]


def _flatten(backend, attributes, inputs, expected):
    x, axis = inputs[0], attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    examples = x.reshape(int(np.prod(x.shape[:axis])), *x.shape[axis:], *([1] * (axis == x.ndim)))
    return Flatten(backend=backend).forward(examples)


def _momentum(backend, attributes, inputs, expected):
    lr, iteration = float(inputs[0]), int(inputs[1])
    if attributes["mode"] != b"standard":
        raise OutOfScopeError("Nesterov's momentum")
    tensors = [inputs[2 + i :: (len(inputs) - 2) // 3] for i in range((len(inputs) - 2) // 3)]
    weights, grads, velocities = (tuple(t[i].copy() for t in tensors) for i in range(3))
    share = attributes["beta"] if iteration > 0 else 1.0
    grads = tuple(g.dtype.type(share) * g for g in grads)
    decay = share * attributes["norm_coefficient"]
    backend.sgd_step(weights, grads, velocities, (None,) * len(tensors), lr, attributes["alpha"], decay)
    return [*weights, *velocities]


OPERATORS = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Max": _maximum,
    "ReduceMax": _reduce_max,
    "ArgMax": _arg_max,
    "Hardmax": _hardmax,
    "Relu": _relu,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "SoftmaxCrossEntropyLoss": _cross_entropy,
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Momentum": _momentum,
}
