"""The loss and everything's gradient by it, for one batch."""


def loss_and_grads(net, x, labels, rng=None, training=True):
    """Run a batch forward, take the softmax cross-entropy, and go back: every layer's grads are filled.

        loss = -1/N sum_n log softmax(logits[n])[labels[n]]

    Parameters
    ----------
    net : Network
    x : (N, C, H, W) of the network's dtype
    labels : (N,) int64 in [0, classes)
    rng : numpy Generator
        For dropout; needed in training if the network has any.
    training : bool
        False gives the gradient of the network as evaluated: no dropout.

    Returns
    -------
    loss : scalar of the network's dtype, the mean over the batch
    logits : (N, classes)

    >>> import numpy as np
    >>> from mnp.kernels import textbook
    >>> from mnp.nn import Dense, Network
    >>> net = Network([("fc", Dense(3, 2, dtype=np.float64, backend=textbook))])
    >>> loss, logits = loss_and_grads(net, np.ones((1, 3)), np.array([0]))
    >>> round(float(loss), 4), net.grads()["fc.bias"].tolist()      # log 2; softmax minus one-hot
    (0.6931, [-0.5, 0.5])
    """
    logits = net.forward(x, training=training, rng=rng)
    loss, dlogits = net.backend.softmax_cross_entropy(logits, labels)
    net.backward(dlogits)
    return loss, logits
