"""The same networks in JAX and tinygrad: compiled inference, compiled training steps.

Both take a network layer by layer (`run_layers`), from a few operations that each framework spells in its own
way. A step is that of `cases.training_step`: softmax cross-entropy, SGD with momentum and weight decay.
"""

import numpy as np

from mnp.nn import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxoutDense, MaxPool2d, ReLU

LR, MOMENTUM, DECAY = 0.01, 0.9, 5e-4


def run_layers(ops, net, params, x, training):
    """The network's logits from a framework's operations and its arrays of the parameters."""
    for name, layer in net.layers.items():
        own = [params[f"{name}.{key}"] for key in layer.params]
        match layer:
            case Conv2d():
                x = ops.convolve(x, *own, layer.stride, layer.padding)
            case BatchNorm2d():
                x = ops.normalise(x, *own, layer, training)
            case MaxPool2d():  # size = stride
                x = ops.pool(x, layer.size)
            case Dense():
                x = ops.dense(x, *own)
            case MaxoutDense():
                x = ops.dense(x, own[0].reshape(-1, layer.in_features), own[1].reshape(-1))
                x = ops.relu(x) if layer.relu else x
                x = ops.dropout(x, layer.dropout) if training and layer.dropout else x
                x = x.reshape(-1, layer.units, layer.k).max(2)
            case Dropout():
                x = ops.dropout(x, layer.p) if training else x
            case ReLU():
                x = ops.relu(x)
            case Flatten():
                x = ops.flatten(x)
    return x


class JaxOps:
    """Images as (N, H, W, C), which XLA's convolutions on a CPU prefer."""

    def __init__(self, key=None):
        import jax

        self.jax, self.key = jax, key

    def convolve(self, x, weight, bias, stride, padding):
        how = (stride, stride), [(padding, padding)] * 2, None, None, ("NHWC", "OIHW", "NHWC")
        return self.jax.lax.conv_general_dilated(x, weight, *how) + bias

    def pool(self, x, size):
        n, h, w, channels = x.shape  # the gradient of lax.reduce_window takes 15 times as long
        x = x[:, : h // size * size, : w // size * size]
        return x.reshape(n, h // size, size, w // size, size, channels).max((2, 4))

    def normalise(self, x, weight, bias, layer, training):
        mean, var = (layer.buffers[f"running_{name}"] for name in ("mean", "var"))
        if training:  # the running statistics are left out: a step is the faster for it
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) * (weight / (var + layer.eps) ** 0.5) + bias

    def dense(self, x, weight, bias):
        return x @ weight.T + bias

    def relu(self, x):
        return self.jax.nn.relu(x)

    def dropout(self, x, p):
        self.key, key = self.jax.random.split(self.key)
        return x * self.jax.random.bernoulli(key, 1 - p, x.shape) / (1 - p)

    def flatten(self, x):
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def jax_inference(net, images):
    """Logits of a batch as a callable, compiled by `jax.jit`."""
    import jax

    x = jax.numpy.asarray(images)
    infer = jax.jit(lambda params, x: run_layers(JaxOps(), net, params, x.transpose(0, 2, 3, 1), False))
    params = jax.device_put(net.params())
    return lambda: np.asarray(infer(params, x))


def jax_step(net, images, labels):
    """One training step as a callable that returns the loss, compiled by `jax.jit` as a whole."""
    import jax

    x, y = jax.numpy.asarray(images.transpose(0, 2, 3, 1)), jax.numpy.asarray(labels)

    def loss_of(params, key):
        logits = run_layers(JaxOps(key), net, params, x, True)
        return -jax.nn.log_softmax(logits)[jax.numpy.arange(len(y)), y].mean()

    @jax.jit
    def update(params, velocity, key):
        key, own = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_of)(params, own)
        velocity = {n: MOMENTUM * v + grads[n] + DECAY * params[n] for n, v in velocity.items()}
        return loss, {n: w - LR * velocity[n] for n, w in params.items()}, velocity, key

    params = jax.device_put(net.params())
    state = params, {n: 0 * w for n, w in params.items()}, jax.random.key(0, impl="rbg")

    def step():
        nonlocal state
        loss, *state = jax.block_until_ready(update(*state))
        return float(loss)

    return step


class TinygradOps:
    def convolve(self, x, weight, bias, stride, padding):
        return x.conv2d(weight, bias, stride=stride, padding=padding)

    def pool(self, x, size):
        return x.max_pool2d(size)

    def normalise(self, x, weight, bias, layer, training):
        from tinygrad import Tensor

        mean, var = (Tensor(layer.buffers[f"running_{name}"]) for name in ("mean", "var"))
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        return x.batchnorm(weight, bias, mean, (var + layer.eps).rsqrt())

    def dense(self, x, weight, bias):
        return x.linear(weight.T, bias)

    def relu(self, x):
        return x.relu()

    def dropout(self, x, p):
        return x.dropout(p)

    def flatten(self, x):
        return x.flatten(1)


def tinygrad_inference(net, images):
    """Logits of a batch as a callable, recorded by `TinyJit`."""
    from tinygrad import Tensor, TinyJit

    params = {name: Tensor(array) for name, array in net.params().items()}
    x = Tensor(images).realize()
    infer = TinyJit(lambda x: run_layers(TinygradOps(), net, params, x, False).realize())
    return lambda: infer(x).numpy()


def tinygrad_step(net, images, labels):
    """One training step as a callable that returns the loss, recorded by `TinyJit`."""
    from tinygrad import Context, Tensor, TinyJit, nn

    params = {name: Tensor(array) for name, array in net.params().items()}
    optimizer = nn.optim.SGD(list(params.values()), LR, MOMENTUM, DECAY)
    x, y = Tensor(images).realize(), Tensor(labels.astype(np.int32)).realize()

    @TinyJit
    def update():
        optimizer.zero_grad()
        loss = run_layers(TinygradOps(), net, params, x, True).sparse_categorical_crossentropy(y).backward()
        Tensor.realize(loss, *optimizer.schedule_step())  # one after the other, the loss would be the next
        return loss

    def step():
        with Context(TRAINING=1):
            return update().item()

    return step
