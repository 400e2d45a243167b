"""Task 6: your own network, trained and pruned."""
# ruff: noqa: I001

import numpy as np

# %% [markdown]
# # Task 6: your own network, trained and pruned
#
# Everything is there now: your convolution, your pooling, your maxout layer, your ranking, your pruning. In
# this task they become one small network that learns to read digits, is pruned from four neurons per unit
# to one, and is trained again after each round. At the end stands the figure that the whole course is
# about: test error against size.
#
# **You fill:** [`task6_network.py`](task6_network.py), two short functions. They use your files of tasks 1
# to 5, so those have to be finished; `pytest` tells.
# **Worth:** no points by the checks; one question in words. **Time:** about one hour; the run itself takes
# less than a minute.
#
# | layer | arrays | output for one image |
# |---|---|---|
# | `conv1` | (6, 1, 3, 3), (6,) | 6 maps of 6x6 |
# | max pooling, size 2 | | 6 maps of 3x3 = 54 numbers |
# | `fc3`, maxout | (16, k, 54), (16, k) | 16 numbers |
# | `fc4`, then softmax | (10, 16), (10,) | 10 classes |

# %% [code]
# import matplotlib.pyplot as plt
# import numpy as np
#
# %load_ext autoreload
# %autoreload 2
# import task6_network as mine
#
# train_images, train_labels, test_images, test_labels = mine.load_digits()
# print(train_images.shape, test_images.shape)

# %% [markdown]
# The images are 8x8 pixels, 1,437 to learn from and 360 to report on. One test image is 0.28 % of error:
# keep that number in mind when you compare.

# %% [code]
# plt.figure(figsize=(8, 1.2))
# plt.imshow(np.hstack(train_images[:10, 0]), cmap="gray_r")
# plt.axis("off")
# plt.show()

# %% [markdown]
# ## Train
#
# Read `forward` and `loss_and_grads` in the file: they call your functions, layer by layer. Then write
# `train`: shuffle, cut into batches, and make one step of your `sgd_step` for each batch.

# %% [code]
# net = mine.new_network(np.random.default_rng(0), k=4)
# print("error before training:", mine.error_percent(net, test_images, test_labels))
# mine.train(net, train_images, train_labels, epochs=4, rng=np.random.default_rng(1))
# print("error after training: ", mine.error_percent(net, test_images, test_labels))

# %% [markdown]
# Guessing gives 90 %. The reference comes to about 8 % here. If one epoch takes your loops longer than five
# seconds, take fewer images (`train_images[:500]`); the error is higher then, the figure tells the same.
#
# ## Prune
#
# Now write `prune_round`: count wins over the training images, rank, keep all neurons but the last of each
# unit, and take the others out. The paper's method is these four calls.

# %% [code]
# counts = mine.count_wins(net, train_images)
# smaller = mine.prune_round(net, counts)
# print("wins in the first unit:", counts[0], "of", len(train_images))
# print({name: array.shape for name, array in smaller.items()})

# %% [markdown]
# ## Prune, retrain, compare
#
# Three copies of the trained network go through three rounds each. The first loses the neuron that wins
# least, the second a neuron drawn at random, the third loses none; all are trained for equally many epochs.
# Why the third? Without it, nobody could tell what pruning does from what more training does.
#
# Before you run the cell, predict: which of the first two is better directly after the removal, and which
# after retraining?

# %% [code]
# arms = ("fewest wins", "random", "nothing removed")
# digits = train_images, train_labels, test_images, test_labels
# rounds = {arm: mine.prune_and_retrain(net, arm, *digits) for arm in arms}
# for arm in arms:
#     for k, size, removed, retrained in rounds[arm]:
#         print(f"{arm:16} k = {k} {size:5} numbers: {removed:5.2f} % removed, {retrained:5.2f} % retrained")

# %% [code]
# for arm, colour in zip(arms, ("tab:blue", "tab:orange", "black")):
#     _, size, removed, retrained = zip(*rounds[arm])
#     plt.plot(size, retrained, "o-", color=colour, label=f"{arm}, retrained")
#     if arm != "nothing removed":
#         plt.plot(size, removed, "o:", color=colour, mfc="white", label=f"{arm}, just removed")
# plt.axhspan(retrained[0] - 0.28, retrained[0] + 0.28, color="0.9", label="one test image more or less")
# plt.gca().invert_xaxis()
# plt.xlabel("numbers in the network")
# plt.ylabel("test error (%)")
# plt.legend()
# plt.show()

# %% [markdown]
# ## In words
#
# Answer question 6a in `answers.md`, with the numbers of your figure.

# %% answer
from task1_convolution import conv2d_backward, conv2d_forward
from task2_pooling import maxpool2d_backward, maxpool2d_forward
from task3_maxout import maxout_backward, maxout_forward
from task4_relevance import keep_top, rank_neurons, win_counts
from task5_pruning import prune_neurons, sgd_step


def load_digits(path="digits.csv.gz"):
    """Train images (1437, 1, 8, 8) in [-0.5, 0.5], their labels, test images (360, 1, 8, 8), their labels."""
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    images = (table[:, :64].reshape(-1, 1, 8, 8) / 16.0 - 0.5).astype(np.float32)
    return images[:-360], table[:-360, 64], images[-360:], table[-360:, 64]


def new_network(rng, k):
    """A network as a dict of arrays. The weights are drawn, small enough for its sums to stay near 1."""

    def draw(*shape):
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    zeros = {"conv1.bias": (6,), "fc3.bias": (16, k), "fc4.bias": (10,)}
    net = {"conv1.weight": 3 * draw(6, 1, 3, 3), "fc3.weight": np.sqrt(k) * draw(16, k, 54)}
    net |= {"fc4.weight": draw(10, 16)}
    return net | {name: np.zeros(shape, dtype=np.float32) for name, shape in zeros.items()}


def forward(net, x):
    """The logits (N, 10), and what the way back needs."""
    maps = conv2d_forward(x, net["conv1.weight"], net["conv1.bias"], 1, 0)
    pooled, place = maxpool2d_forward(maps, 2, 2)
    features = pooled.reshape(len(x), -1)
    weight, bias = net["fc3.weight"], net["fc3.bias"]
    if weight.ndim == 2:  # one neuron per unit is left: dense, without a maximum
        hidden, winner = features @ weight.T + bias, None
    else:
        hidden, winner = maxout_forward(np.einsum("nf,ukf->nuk", features, weight) + bias)
    logits = hidden @ net["fc4.weight"].T + net["fc4.bias"]
    return logits, (maps.shape, place, pooled.shape, features, hidden, winner)


def loss_and_grads(net, x, labels):
    """Cross-entropy, mean over the batch, and its gradient with respect to every array of the network."""
    logits, (maps_shape, place, pooled_shape, features, hidden, winner) = forward(net, x)
    rows = np.arange(len(x))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[rows, labels]).mean()
    dlogits = p
    dlogits[rows, labels] -= 1
    dlogits /= len(x)
    grads = {"fc4.weight": dlogits.T @ hidden, "fc4.bias": dlogits.sum(axis=0)}
    dhidden = dlogits @ net["fc4.weight"]
    weight = net["fc3.weight"]
    if weight.ndim == 2:
        grads |= {"fc3.weight": dhidden.T @ features, "fc3.bias": dhidden.sum(axis=0)}
        dfeatures = dhidden @ weight
    else:
        dz = maxout_backward(dhidden, winner, weight.shape[1])
        grads |= {"fc3.weight": np.einsum("nuk,nf->ukf", dz, features), "fc3.bias": dz.sum(axis=0)}
        dfeatures = np.einsum("nuk,ukf->nf", dz, weight)
    dmaps = maxpool2d_backward(dfeatures.reshape(pooled_shape), place, maps_shape, 2, 2)
    _, dweight, dbias = conv2d_backward(dmaps, x, net["conv1.weight"], 1, 0, need_dx=False)
    return loss, grads | {"conv1.weight": dweight, "conv1.bias": dbias}


def error_percent(net, images, labels):
    """Percentage of images whose largest logit is not that of their label."""
    return 100.0 * np.mean(forward(net, images)[0].argmax(axis=1) != labels)


def train(net, images, labels, epochs, rng, lr=0.05, momentum=0.9, weight_decay=1e-4, batch_size=32):
    """Train the network's arrays in place.

    In every epoch: shuffle the images (rng.permutation gives an order), take them in batches of batch_size,
    compute the gradients of each batch, and make one sgd_step with them. The velocities begin
    at zero and are kept from batch to batch; nothing is masked. Tuples for sgd_step come from
    `names = list(net)` and `tuple(net[name] for name in names)`.
    """
    ### BEGIN SOLUTION
    names = list(net)
    weights = tuple(net[name] for name in names)
    velocities = tuple(np.zeros_like(w) for w in weights)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(images), batch_size):
            batch = order[start : start + batch_size]
            _, grads = loss_and_grads(net, images[batch], labels[batch])
            grads = tuple(grads[name] for name in names)
            sgd_step(weights, grads, velocities, (None,) * len(names), lr, momentum, weight_decay)
    ### END SOLUTION


def count_wins(net, images):
    """How often each neuron of fc3 wins its unit on these images: (units, k)."""
    winner = forward(net, images)[1][-1]
    return win_counts(winner, net["fc3.weight"].shape[1])


def prune_round(net, relevance):
    """A new network in which each unit of fc3 has lost its least relevant neuron.

    relevance : (units, k); larger means keep. Rank, keep k - 1, prune: one line each, or all in one.
    """
    ### BEGIN SOLUTION
    keep = keep_top(rank_neurons(relevance), relevance.shape[1] - 1)
    return prune_neurons(net, "fc3", keep)
    ### END SOLUTION


def prune_and_retrain(net, arm, images, labels, test_images, test_labels, epochs=3):
    """Three rounds of one arm: "fewest wins", "random" or "nothing removed".

    Returns [(k, numbers in the network, test error after the removal, test error after retraining)], with
    the unpruned network first. The network that is given stays as it is.
    """
    rng = np.random.default_rng(2)
    net = {name: array.copy() for name, array in net.items()}
    k, error = 4, error_percent(net, test_images, test_labels)
    rows = [(k, count_numbers(net), error, error)]
    for _ in range(3):
        if arm == "fewest wins":
            net, k = prune_round(net, count_wins(net, images)), k - 1
        elif arm == "random":
            net, k = prune_round(net, rng.random((16, k))), k - 1
        removed = error_percent(net, test_images, test_labels)
        train(net, images, labels, epochs, rng, lr=0.02)
        rows.append((k, count_numbers(net), removed, error_percent(net, test_images, test_labels)))
    return rows


def count_numbers(net):
    """All weights and biases."""
    return sum(array.size for array in net.values())
