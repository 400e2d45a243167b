"""Maxout neuron pruning in one file of NumPy: train a small network on digits, prune it, retrain it.

The method of Moya Rueda, Grzeszick and Fink (2017, arXiv 1707.06838), with every gradient written by hand:

    1. A maxout unit outputs the largest of its k neurons.
    2. Count, over the training set, how often each neuron is the largest one of its unit.
    3. In every unit, remove the neuron with the lowest count. Retrain.
    4. Repeat until k = 1: the maxout is gone, and a smaller, ordinary dense layer is left.

Functions have the names and arguments of `mnp.kernels.textbook` and `mnp.pruning`, which also check their
input. `mnp.nn` builds other networks from them; `mnp.kernels.tiled` is the fast version.

Index letters: n image, c channel, f filter; p, q place in the output; i, j place in the window; u unit,
j its neuron; i input, o output. dx is the gradient of the loss with respect to x.
"""

import os
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for matrices this small, more threads are slower
import numpy as np


def load_digits():
    """Read 1,797 images of 8x8 pixels in [0, 1] and their labels, as training and test set."""
    path = Path(__file__).parents[1] / "mnp" / "data" / "files" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)  # 64 pixels of 17 grey levels, then the label
    images, labels = (table[:, :64] / 16).astype(np.float32).reshape(-1, 1, 8, 8), table[:, 64]
    # One writer's digits stand together. A random split would put every writer in both sets.
    return images[:-360], labels[:-360], images[-360:], labels[-360:]


# --- Layers: each forward function, and its gradient below it ---------------------------------------------


def windows_of(x, size, stride, padding=0):
    """windows[n, c, p, q, i, j] = xp[n, c, p*stride + i, q*stride + j]; xp is x in a frame of zeros."""
    xp = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    return np.lib.stride_tricks.sliding_window_view(xp, size, axis=(2, 3))[:, :, ::stride, ::stride]


def add_windows(dwindows, x_shape, stride, padding=0):
    """Gradient of windows_of: every pixel collects the gradients of the windows that it is in."""
    (n, c, h, w), (oh, ow, kh, kw) = x_shape, dwindows.shape[2:]
    dxp = np.zeros((n, c, h + 2 * padding, w + 2 * padding), dwindows.dtype)
    for i in range(kh):
        for j in range(kw):  # pixel (i, j) of all windows at once
            dxp[:, :, i : i + oh * stride : stride, j : j + ow * stride : stride] += dwindows[..., i, j]
    return dxp[:, :, padding : padding + h, padding : padding + w]


def conv2d_forward(x, weight, bias, stride, padding):
    """y[n, f, p, q] = bias[f] + sum_{c, i, j} weight[f, c, i, j] * windows[n, c, p, q, i, j]"""
    windows = windows_of(x, weight.shape[2:], stride, padding)
    return np.einsum("ncpqij,fcij->nfpq", windows, weight, optimize=True) + bias[:, None, None]


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    """The product rule for the line above; returns dx (None if not needed), dweight, dbias."""
    windows = windows_of(x, weight.shape[2:], stride, padding)
    dweight = np.einsum("nfpq,ncpqij->fcij", dy, windows, optimize=True)
    dwindows = np.einsum("nfpq,fcij->ncpqij", dy, weight, optimize=True)
    dx = add_windows(dwindows, x.shape, stride, padding) if need_dx else None
    return dx, dweight, dy.sum(axis=(0, 2, 3))


def dense_forward(x, weight, bias):
    """y[n, o] = bias[o] + sum_i weight[o, i] * x[n, i]"""
    return x @ weight.T + bias


def dense_backward(dy, x, weight, need_dx=True):
    """Returns dx (None if not needed), dweight, dbias."""
    return dy @ weight if need_dx else None, dy.T @ x, dy.sum(axis=0)


def maxout_forward(z):
    """y[n, u] = max_j z[n, u, j]; winner[n, u] = the j of that maximum, the lowest of equal ones."""
    return z.max(axis=-1), z.argmax(axis=-1)


def maxout_backward(dy, winner, k):
    """The neuron that won gets the gradient of its unit; the other k - 1 get zero and learn nothing."""
    return np.where(winner[..., None] == np.arange(k), dy[..., None], dy.dtype.type(0))


def maxpool2d_forward(x, size, stride):
    """Maximum over the pixels of each window, and its place i * size + j."""
    windows = windows_of(x, (size, size), stride)
    return maxout_forward(windows.reshape(*windows.shape[:4], size * size))


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    """The pixel that won gets the gradient of its window."""
    dwindows = maxout_backward(dy, winner, size * size).reshape(*dy.shape, size, size)
    return add_windows(dwindows, x_shape, stride)


def relu_forward(x):
    return np.maximum(x, x.dtype.type(0))


def relu_backward(dy, y):
    return np.where(y > 0, dy, dy.dtype.type(0))


def softmax_cross_entropy(logits, labels):
    """loss = mean_n -log softmax(logits[n])[labels[n]]; dlogits = (softmax - one-hot) / N"""
    n = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)  # same result, and exp cannot overflow
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dlogits = np.exp(log_softmax)
    dlogits[n, labels] -= 1
    return -log_softmax[n, labels].mean(), dlogits / logits.dtype.type(len(labels))


# --- Network: convolution, pooling, convolution, pooling, maxout, dense -----------------------------------


def new_network(rng, k=4):
    """Parameters by name: weights uniform in [-b, b] with b = sqrt(3 / inputs), biases zero."""
    net = {}
    shapes = {"conv1": (8, 1, 3, 3), "conv2": (16, 8, 3, 3), "fc3": (64, k, 64), "fc4": (10, 64)}
    for name, shape in shapes.items():
        outputs = shape[:2] if name == "fc3" else shape[:1]  # fc3 has 64 units of k neurons
        b = np.sqrt(3 / np.prod(shape[len(outputs) :]))
        net[name + ".weight"] = rng.uniform(-b, b, shape).astype(np.float32)
        net[name + ".bias"] = np.zeros(outputs, np.float32)
    return net


def forward(net, images):
    """Return the arrays of all layers, by name; the last one is `logits` (N, 10)."""
    a = SimpleNamespace(images=images)
    a.conv1 = conv2d_forward(images, net["conv1.weight"], net["conv1.bias"], stride=1, padding=1)
    a.pool1, a.winner1 = maxpool2d_forward(a.conv1, size=2, stride=2)
    a.conv2 = conv2d_forward(a.pool1, net["conv2.weight"], net["conv2.bias"], stride=1, padding=1)
    a.pool2, a.winner2 = maxpool2d_forward(a.conv2, size=2, stride=2)
    a.flat = a.pool2.reshape(len(images), -1)
    z = np.einsum("ni,uji->nuj", a.flat, net["fc3.weight"], optimize=True) + net["fc3.bias"]
    y, a.winner3 = maxout_forward(z)
    a.relu3 = relu_forward(y)  # not before the maximum, where all negative neurons of a unit would tie at 0
    a.logits = dense_forward(a.relu3, net["fc4.weight"], net["fc4.bias"])
    return a


def backward(net, a, dlogits):
    """Return the gradients of all parameters: the lines of `forward` in reverse order."""
    grads = {}
    dy, grads["fc4.weight"], grads["fc4.bias"] = dense_backward(dlogits, a.relu3, net["fc4.weight"])
    dz = maxout_backward(relu_backward(dy, a.relu3), a.winner3, k=net["fc3.bias"].shape[1])
    grads["fc3.weight"] = np.einsum("nuj,ni->uji", dz, a.flat, optimize=True)
    grads["fc3.bias"] = dz.sum(axis=0)
    dy = np.einsum("nuj,uji->ni", dz, net["fc3.weight"], optimize=True).reshape(a.pool2.shape)
    dy = maxpool2d_backward(dy, a.winner2, a.conv2.shape, size=2, stride=2)
    dy, grads["conv2.weight"], grads["conv2.bias"] = conv2d_backward(dy, a.pool1, net["conv2.weight"], 1, 1)
    dy = maxpool2d_backward(dy, a.winner1, a.conv1.shape, size=2, stride=2)
    _, grads["conv1.weight"], grads["conv1.bias"] = conv2d_backward(dy, a.images, net["conv1.weight"], 1, 1)
    return grads


def train(net, images, labels, rng, epochs, batch_size=64, lr=0.03, momentum=0.9, weight_decay=5e-4):
    """Stochastic gradient descent with momentum and weight decay; changes the parameters in place."""
    velocity = {name: np.zeros_like(w) for name, w in net.items()}
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(images)), len(images) // batch_size):
            a = forward(net, images[batch])
            _, dlogits = softmax_cross_entropy(a.logits, labels[batch])
            grads = backward(net, a, dlogits)
            for name, w in net.items():
                velocity[name] = momentum * velocity[name] + grads[name] + weight_decay * w
                w -= lr * velocity[name]


def error_percent(net, images, labels):
    return 100 * np.mean(forward(net, images).logits.argmax(axis=1) != labels)


# --- Pruning: the paper -----------------------------------------------------------------------------------


def win_counts(winner, k):
    """counts[u, j] = number of images for which neuron j is the maximum of unit u"""
    return (winner[:, :, None] == np.arange(k)).sum(axis=0)


def rank_neurons(counts):
    """Neurons of every unit, highest count first; of equal counts, the lowest index first."""
    return np.argsort(-counts, axis=1, kind="stable")


def keep_top(order, n_keep):
    """The first n_keep neurons of every row, in ascending order."""
    return np.sort(order[:, :n_keep], axis=1)


def prune_neurons(net, keep):
    """Return a network with the neurons keep[u] of every unit u; it shares the other layers with `net`."""
    weight = np.take_along_axis(net["fc3.weight"], keep[:, :, None], axis=1)
    return {**net, "fc3.weight": weight, "fc3.bias": np.take_along_axis(net["fc3.bias"], keep, axis=1)}


def main():
    rng = np.random.default_rng(0)
    images, labels, test_images, test_labels = load_digits()
    net = new_network(rng)
    print("k  parameters  test error, %: before  after retraining")
    for k, epochs in (4, 15), (3, 8), (2, 8), (1, 8):
        if k < 4:
            counts = win_counts(forward(net, images).winner3, k + 1)
            net = prune_neurons(net, keep_top(rank_neurons(counts), n_keep=k))
        before = error_percent(net, test_images, test_labels)
        train(net, images, labels, rng, epochs)
        after = error_percent(net, test_images, test_labels)
        print(f"{k}  {sum(w.size for w in net.values()):10,}  {before:21.2f}  {after:16.2f}")


if __name__ == "__main__":
    main()
