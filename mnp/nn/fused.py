"""Neighbouring layers that run as one where the kernels offer the pair: convolution with max pooling."""

from mnp.nn.layers import Conv2d, ConvCache, MaxPool2d, PoolCache


class ConvPool:
    """Two layers, one call: nothing is written between the convolution and its pooling.

    Both layers keep what they would have filed on their own: `conv.cache.x`, `pool.cache.winner`
    and `conv.grads`. Only the image between them, which nobody asks for, never exists.
    """

    def __init__(self, conv, pool):
        self.conv, self.pool = conv, pool

    @staticmethod
    def fits(first, second):
        """Whether two neighbouring layers are such a pair and their kernels can fuse it."""
        return (
            isinstance(first, Conv2d)
            and isinstance(second, MaxPool2d)
            and first.backend is second.backend
            and hasattr(first.backend, "conv2d_maxpool2d_forward")
        )

    def forward(self, x, training=False, rng=None):
        """Equal to pool.forward(conv.forward(x))."""
        conv, pool = self.conv, self.pool
        conv.check(x)
        y, winner = conv.backend.conv2d_maxpool2d_forward(
            x, conv.params["weight"], conv.params["bias"], conv.stride, conv.padding, pool.size, pool.stride
        )
        conv.cache = ConvCache(x)
        count, _, h, w = x.shape
        more, stride = 2 * conv.padding - conv.kernel_size + conv.stride, conv.stride
        pool.cache = PoolCache(winner, (count, conv.out_channels, (h + more) // stride, (w + more) // stride))
        return y

    def backward(self, dy, need_dx=True):
        """Equal to conv.backward(pool.backward(dy))."""
        conv, pool = self.conv, self.pool
        winner = pool._saved().winner
        dx, conv.grads["weight"], conv.grads["bias"] = conv.backend.conv2d_maxpool2d_backward(
            dy,
            winner,
            conv._saved().x,
            conv.params["weight"],
            conv.stride,
            conv.padding,
            pool.size,
            pool.stride,
            need_dx,
        )
        return dx


def plan(layers):
    """The steps to run, as (name, step): every layer, but for pairs that the kernels run as one."""
    steps, at = [], 0
    while at < len(layers):
        name, layer = layers[at]
        if at + 1 < len(layers) and ConvPool.fits(layer, layers[at + 1][1]):
            pool_name, pool = layers[at + 1]
            steps.append((f"{name}+{pool_name}", ConvPool(layer, pool)))
            at += 2
        else:
            steps.append((name, layer))
            at += 1
    return steps
