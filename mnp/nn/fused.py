"""Pairs of layers that a backend runs as one call: convolution followed by max pooling."""

from mnp.nn.layers import Conv2d, ConvCache, MaxPool2d, PoolCache


class ConvPool:
    """Convolution and max pooling in one call, without the array between them.

    Both layers store what they would have stored one by one: `conv.cache.x`, `pool.cache.winner` and
    `conv.grads`.
    """

    def __init__(self, conv, pool):
        self.conv, self.pool, self.backend = conv, pool, conv.backend

    @staticmethod
    def fits(first, second):
        """Whether two adjacent layers are such a pair, and their backend has the fused kernel."""
        return (
            isinstance(first, Conv2d)
            and isinstance(second, MaxPool2d)
            and first.backend is second.backend
            and hasattr(first.backend, "conv2d_maxpool2d_forward")
        )

    def forward(self, x, training=False, rng=None):
        """Equal to pool.forward(conv.forward(x))."""
        conv, pool = self.conv, self.pool
        x = conv.check(x)
        y, winner = conv.backend.conv2d_maxpool2d_forward(
            x, conv.params["weight"], conv.params["bias"], conv.stride, conv.padding, pool.size, pool.stride
        )
        conv.cache = ConvCache(x)
        added, stride, (n, _, h, w) = 2 * conv.padding - conv.kernel_size, conv.stride, x.shape
        z_shape = n, conv.out_channels, (h + added) // stride + 1, (w + added) // stride + 1
        pool.cache = PoolCache(winner, z_shape)
        return y

    def backward(self, dy, need_dx=True):
        """Equal to conv.backward(pool.backward(dy))."""
        conv, pool = self.conv, self.pool
        winner, x = pool._saved().winner, conv._saved().x
        sizes = conv.stride, conv.padding, pool.size, pool.stride
        dx, conv.grads["weight"], conv.grads["bias"] = conv.backend.conv2d_maxpool2d_backward(
            dy, winner, x, conv.params["weight"], *sizes, need_dx
        )
        return dx


def fuse(layers):
    """Replace the pairs in a list of (name, layer) that their backend runs as one call by a ConvPool."""
    ops = []
    for name, layer in layers:
        if ops and ConvPool.fits(ops[-1][1], layer):
            conv_name, conv = ops.pop()
            ops.append((f"{conv_name}+{name}", ConvPool(conv, layer)))
        else:
            ops.append((name, layer))
    return ops
