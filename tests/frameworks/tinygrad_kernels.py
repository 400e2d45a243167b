"""The agreed kernels on tinygrad, those of a maxout LeNet: NumPy in, Tensor's own methods, NumPy out.

    mnp check tests/frameworks/tinygrad_kernels.py

Gradients come from `Tensor.gradient`. tinygrad's maximum shares its gradient between ties and has no rule
for NaN, so `first_max` decides as agreed. The device is an interpreter, which needs no compiler.
"""

import os

os.environ.update(DEV="PYTHON", PYTHON="1")  # the name of newer versions, and of older ones

import numpy as np
from tinygrad import Tensor, dtypes


def tensor(a):
    """Copy an array of any strides into a tensor."""
    return Tensor(np.array(a, order="C"))


def gradients(y, inputs, dy):
    """What comes back to the inputs, as arrays."""
    return tuple(g.numpy() for g in y.gradient(*inputs, gradient=tensor(dy)))


def take(values, winner):
    return values.gather(-1, winner.cast(dtypes.int32).unsqueeze(-1)).squeeze(-1)


def first_max(values):
    """Maximum along the last axis, and its first index; a NaN is a maximum, the first one wins."""
    nan = values.isnan()
    numbers, any_nan = nan.where(-float("inf"), values), nan.max(-1, keepdim=True)
    top = any_nan.where(float("nan"), numbers.max(-1, keepdim=True))
    winner = any_nan.where(nan, numbers == top).cast(dtypes.int32).argmax(-1)
    return top.squeeze(-1).numpy(), winner.numpy()


def windows(x, size, stride):
    """All windows of an image, (N, C, OH, OW, size * size)."""
    rows, columns = ((n - size) // stride * stride + 1 for n in x.shape[2:])
    pixels = [
        x[:, :, i : i + rows : stride, j : j + columns : stride] for i in range(size) for j in range(size)
    ]
    return Tensor.stack(*pixels, dim=-1)


def conv2d_forward(x, weight, bias, stride, padding):
    return tensor(x).conv2d(tensor(weight), tensor(bias), stride=stride, padding=padding).numpy()


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    inputs = tensor(x), tensor(weight), tensor(np.zeros(len(weight), x.dtype))
    dx, dweight, dbias = gradients(inputs[0].conv2d(*inputs[1:], stride=stride, padding=padding), inputs, dy)
    return dx if need_dx else None, dweight, dbias


def maxpool2d_forward(x, size, stride):
    return first_max(windows(tensor(x), size, stride))


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    x = tensor(np.zeros(x_shape, dy.dtype))
    return gradients(take(windows(x, size, stride), tensor(winner)), (x,), dy)[0]


def dense_forward(x, weight, bias):
    return tensor(x).linear(tensor(weight).T, tensor(bias)).numpy()


def dense_backward(dy, x, weight, need_dx=True):
    inputs = tensor(x), tensor(weight), tensor(np.zeros(len(weight), x.dtype))
    dx, dweight, dbias = gradients(inputs[0].linear(inputs[1].T, inputs[2]), inputs, dy)
    return dx if need_dx else None, dweight, dbias


def maxout_forward(z):
    return first_max(tensor(z))


def maxout_backward(dy, winner, k):
    z = tensor(np.zeros((*dy.shape, k), dy.dtype))
    return gradients(take(z, tensor(winner)), (z,), dy)[0]


def relu_forward(x):
    return tensor(x).relu().numpy()


def relu_backward(dy, y):
    y = tensor(y)  # relu(y) has the same derivative as relu(x): 1 where y > 0, else 0
    return gradients(y.relu(), (y,), dy)[0]


def dropout_forward(x, keep, p):
    return tensor(keep).where(tensor(x) / (1 - p), 0).numpy()


def dropout_backward(dy, keep, p):
    return dropout_forward(dy, keep, p)


def softmax_cross_entropy(logits, labels):
    logits = tensor(logits)
    loss = logits.sparse_categorical_crossentropy(tensor(labels).cast(dtypes.int32))
    (dlogits,) = loss.gradient(logits)
    return loss.numpy()[()], dlogits.numpy()


def win_counts(winner, k):
    return tensor(winner).cast(dtypes.int32).one_hot(k).sum(0).cast(dtypes.int64).numpy()
