"""Loss and gradients of one batch."""

from mnp.nn.base import as_array, check_backend


def loss_and_grads(net, x, labels, rng=None, training=True):
    """Softmax cross-entropy loss of a batch, and its gradients in every layer's `grads`.

        loss = -1/N sum_n log softmax(logits[n])[labels[n]]

    Parameters
    ----------
    net : Network
    x : (N, C, H, W) of the network's dtype
    labels : (N,) int64 in [0, classes)
    rng : numpy Generator or seed
        For dropout; needed in training if the network has any.
    training : bool
        False gives the gradient of the network as evaluated: no dropout.

    Returns
    -------
    loss : float, the mean over the batch
    logits : (N, classes)

    >>> import numpy as np
    >>> from mnp.kernels import textbook
    >>> from mnp.nn import Dense, Network
    >>> net = Network([("fc", Dense(3, 2, dtype=np.float64, backend=textbook))])
    >>> loss, logits = loss_and_grads(net, np.ones((1, 3)), np.array([0]))
    >>> round(loss, 4), net.grads()["fc.bias"].tolist()      # log 2; softmax minus one-hot
    (0.6931, [-0.5, 0.5])
    """
    logits = net.forward(x, training=training, rng=rng)
    check_backend(net.backend, "softmax_cross_entropy")
    loss, dlogits = net.backend.softmax_cross_entropy(logits, as_array(labels, "labels"))
    net.backward(dlogits)
    return float(loss), logits


def output_gradient(net, name, y, labels):
    """Gradient of each example's loss with respect to the output of a layer, as the network is evaluated.

        dy[n] = d loss[n] / d y[n],    loss[n] = -log softmax(logits[n])[labels[n]]

    Parameters
    ----------
    net : Network
        The gradients of the layers after `name` are overwritten.
    name : str
        A layer of it.
    y : (N, ...) float
        The output of that layer, ``net.forward(x, until=name)``.
    labels : (N,) int64

    Returns
    -------
    dy : float, in the shape of the layer's output
    """
    names = list(net.layers)
    later = [net[other] for other in names[names.index(name) + 1 :]]
    for layer in later:
        y = layer.forward(y)
    dy = net.backend.softmax_cross_entropy(y, as_array(labels, "labels"))[1] * y.dtype.type(len(y))
    for layer in reversed(later):
        dy = layer.backward(dy, True)
    return dy
