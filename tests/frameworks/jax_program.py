"""A plain JAX program of the paper's method, as `mnp check --model` takes it.

mnp check --model tests/frameworks/jax_program.py:model
"""

import jax
import jax.numpy as jnp
from jax import lax

UNITS = 8


def model():
    params = {
        "conv1": {"weight": jnp.zeros((3, 1, 5, 5)), "bias": jnp.zeros(3)},
        "conv2": {"weight": jnp.zeros((8, 3, 5, 5)), "bias": jnp.zeros(8)},
        "maxout": {"weight": jnp.zeros((UNITS, 4, 8)), "bias": jnp.zeros((UNITS, 4))},
        "out": {"weight": jnp.zeros((10, UNITS)), "bias": jnp.zeros(10)},
    }
    return params, forward


def conv(p, x):
    y = lax.conv_general_dilated(x, p["weight"], (1, 1), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW"))
    return y + p["bias"][:, None, None]


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def neurons(params, images):
    x = pool(conv(params["conv1"], images))
    x = pool(conv(params["conv2"], x))
    x = x.reshape(len(x), -1)
    return jnp.einsum("ni,uki->nuk", x, params["maxout"]["weight"]) + params["maxout"]["bias"]


def first_max(z):
    """The maximum, whose gradient belongs to the first of equal neurons; that of z.max is shared."""
    return jnp.take_along_axis(z, z.argmax(2)[:, :, None], 2)[:, :, 0]


@jax.jit
def forward(params, images, keep=None):
    z = jax.nn.relu(neurons(params, images))
    z = z if keep is None else jnp.where(keep, z / 0.5, 0)
    return first_max(z) @ params["out"]["weight"].T + params["out"]["bias"]


def loss(logits, labels):
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
    return -picked.mean()


def optimizer(params):
    return jax.tree.map(jnp.zeros_like, params)


def update(params, velocities, grads):
    velocities = jax.tree.map(lambda w, v, g: 0.9 * v + g + 5e-4 * w, params, velocities, grads)
    return jax.tree.map(lambda w, v: w - 0.05 * v, params, velocities), velocities


def win_counts(params, images):
    z = neurons(params, images)
    return jax.nn.one_hot(z.argmax(2), z.shape[2], dtype=int).sum(0)


def rank(counts):
    return jnp.argsort(-counts, axis=1, stable=True)


def keep(order, n_keep):
    return jnp.sort(order[:, :n_keep], axis=1)


def prune(params, keep):
    weight, bias = params["maxout"]["weight"], params["maxout"]["bias"]
    weight = jnp.take_along_axis(weight, keep[:, :, None], 1)
    return {**params, "maxout": {"weight": weight, "bias": jnp.take_along_axis(bias, keep, 1)}}


def masks(params, sparsity):
    found = {}
    for layer, p in params.items():
        magnitudes = jnp.abs(p["weight"]).ravel()
        stay = magnitudes.size - int(sparsity * magnitudes.size + 0.5)
        mask = jnp.zeros(magnitudes.size, bool)
        mask = mask.at[jnp.argsort(-magnitudes, stable=True)[:stay]].set(True)
        found[f"{layer}.weight"] = mask.reshape(p["weight"].shape)
    return found


def masked_step(params, velocities, grads, masks):
    params, velocities = update(params, velocities, grads)
    for layer in params:
        params[layer]["weight"] *= masks[f"{layer}.weight"]
        velocities[layer]["weight"] *= masks[f"{layer}.weight"]
    return params, velocities
