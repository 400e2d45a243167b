"""The agreed kernels on JAX: NumPy in, jax.numpy and jax.lax, NumPy out.

    mnp check tests/frameworks/jax_kernels.py

Every backward pass is `jax.vjp` of a forward pass. jnp.argmax promises the first of equal maxima and lets
a NaN win, as agreed.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

jax.config.update("jax_enable_x64", True)  # float64 stays float64


def arrays(*values):
    """JAX arrays of the same types, from arrays of any strides."""
    return [jnp.asarray(np.array(v, order="C")) for v in values]


def run(function, *inputs):
    """Compile a function of arrays as one piece, call it, give NumPy arrays."""
    out = jax.jit(function)(*arrays(*inputs))
    return tuple(np.array(v) for v in out) if isinstance(out, tuple) else np.array(out)


def vjp(function, inputs, dy):
    """What reverse mode sends back to the inputs, as NumPy arrays."""
    return run(lambda dy, *inputs: jax.vjp(function, *inputs)[1](dy), dy, *inputs)


def conv(x, weight, bias, stride, padding):
    pads = [(padding, padding)] * 2
    layout = ("NCHW", "OIHW", "NCHW")
    y = lax.conv_general_dilated(x, weight, (stride, stride), pads, dimension_numbers=layout)
    return y + channels(bias)


def windows(x, size, stride):
    """All windows of an image, (N, C, OH, OW, size * size), by gathering."""
    rows = jnp.arange((x.shape[2] - size) // stride + 1)[:, None] * stride + jnp.arange(size)
    columns = jnp.arange((x.shape[3] - size) // stride + 1)[:, None] * stride + jnp.arange(size)
    picked = x[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return picked.reshape(*picked.shape[:4], size * size)


def take(values, winner):
    return jnp.take_along_axis(values, winner[..., None], -1)[..., 0]


def first_max(values):
    return values.max(-1), values.argmax(-1)


def dense(x, weight, bias):
    return x @ weight.T + bias


def conv2d_forward(x, weight, bias, stride, padding):
    return run(lambda x, w, b: conv(x, w, b, stride, padding), x, weight, bias)


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    bias = np.zeros(len(weight), x.dtype)
    dx, dweight, dbias = vjp(lambda x, w, b: conv(x, w, b, stride, padding), (x, weight, bias), dy)
    return dx if need_dx else None, dweight, dbias


def maxpool2d_forward(x, size, stride):
    return run(lambda x: first_max(windows(x, size, stride)), x)


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    (winner,) = arrays(winner)
    return vjp(lambda x: take(windows(x, size, stride), winner), (np.zeros(x_shape, dy.dtype),), dy)[0]


def avgpool2d_forward(x, size, stride):
    return run(lambda x: windows(x, size, stride).mean(-1), x)


def avgpool2d_backward(dy, x_shape, size, stride):
    return vjp(lambda x: windows(x, size, stride).mean(-1), (np.zeros(x_shape, dy.dtype),), dy)[0]


def dense_forward(x, weight, bias):
    return run(dense, x, weight, bias)


def dense_backward(dy, x, weight, need_dx=True):
    dx, dweight, dbias = vjp(dense, (x, weight, np.zeros(len(weight), x.dtype)), dy)
    return dx if need_dx else None, dweight, dbias


def maxout_forward(z):
    return run(first_max, z)


def maxout_backward(dy, winner, k):
    (winner,) = arrays(winner)
    return vjp(lambda z: take(z, winner), (np.zeros((*dy.shape, k), dy.dtype),), dy)[0]


def relu_forward(x):
    return run(jax.nn.relu, x)


def relu_backward(dy, y):
    return vjp(jax.nn.relu, (y,), dy)[0]  # jax.nn.relu has derivative 0 at zero


def dropout(x, keep, p):
    return jnp.where(keep, x / (1 - p), 0)


def dropout_forward(x, keep, p):
    return run(lambda x, keep: dropout(x, keep, p), x, keep)


def dropout_backward(dy, keep, p):
    (keep,) = arrays(keep)
    return vjp(lambda x: dropout(x, keep, p), (np.zeros_like(dy, order="C"),), dy)[0]


def cross_entropy(logits, labels):
    return -take(jax.nn.log_softmax(logits), labels).mean()


def softmax_cross_entropy(logits, labels):
    loss, dlogits = run(jax.value_and_grad(cross_entropy), logits, labels.astype(int))
    return loss[()], dlogits


def win_counts(winner, k):
    return run(lambda winner: (winner[:, :, None] == jnp.arange(k)).sum(0, dtype=jnp.int64), winner)


def channels(v):
    return v[:, None, None]


def normalise(x, weight, bias, mean, var, eps):
    return channels(weight) * (x - channels(mean)) * lax.rsqrt(channels(var) + eps) + channels(bias)


def batchnorm(x, weight, bias, eps):
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    return normalise(x, weight, bias, mean, var, eps), mean, var


def batchnorm2d_forward(x, weight, bias, eps):
    return run(lambda x, w, b: batchnorm(x, w, b, eps), x, weight, bias)


def batchnorm2d_inference(x, weight, bias, mean, var, eps):
    return run(lambda *inputs: normalise(*inputs, eps), x, weight, bias, mean, var)


def batchnorm2d_backward(dy, x, weight, mean, var, eps):
    # Differentiating through the statistics of x itself, so mean and var are not needed.
    return vjp(lambda x, w, b: batchnorm(x, w, b, eps)[0], (x, weight, np.zeros_like(weight)), dy)


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    for w, g, v, mask in zip(weights, grads, velocities, masks, strict=True):
        v[...] = run(lambda w, g, v: momentum * v + g + weight_decay * w, w, g, v)
        w[...] = run(lambda w, v: w - lr * v, w, v)
        if mask is not None:
            w[~mask] = v[~mask] = 0


def conv2d_maxpool2d_forward(x, weight, bias, stride, padding, size, pool_stride):
    return run(
        lambda x, w, b: first_max(windows(conv(x, w, b, stride, padding), size, pool_stride)), x, weight, bias
    )


def conv2d_maxpool2d_backward(dy, winner, x, weight, stride, padding, size, pool_stride, need_dx=True):
    (winner,) = arrays(winner)
    inputs = x, weight, np.zeros(len(weight), x.dtype)
    dx, dweight, dbias = vjp(
        lambda x, w, b: take(windows(conv(x, w, b, stride, padding), size, pool_stride), winner), inputs, dy
    )
    return dx if need_dx else None, dweight, dbias


def neurons(x, weight, bias, relu, keep, p):
    z = jnp.einsum("ni,uki->nuk", x, weight) + bias
    z = jax.nn.relu(z) if relu else z
    return z if keep is None else dropout(z, keep, p)


def dense_maxout_forward(x, weight, bias, relu=False, keep=None, p=0.0):
    keep = None if keep is None else arrays(keep)[0]
    return run(lambda x, w, b: first_max(neurons(x, w, b, relu, keep, p)), x, weight, bias)


def dense_maxout_backward(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
    (winner,) = arrays(winner)
    keep = None if keep is None else arrays(keep)[0]
    dy = relu_backward(dy, y) if relu else dy  # bias is not an argument: where the ReLU cut is read off y
    inputs = x, weight, np.zeros(weight.shape[:2], x.dtype)
    dx, dweight, dbias = vjp(lambda x, w, b: take(neurons(x, w, b, False, keep, p), winner), inputs, dy)
    return dx if need_dx else None, dweight, dbias
