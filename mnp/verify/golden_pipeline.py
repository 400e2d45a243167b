"""The whole pipeline of a small maxout LeNet as golden vectors: train, count, rank, prune, mask, train."""

import numpy as np

import mnp.data
from mnp.kernels import textbook
from mnp.nn import SGD, lenet5, loss_and_grads
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import apply_masks, collect_win_counts, prune_neurons, weight_names, winners
from mnp.pruning.weights import magnitude_mask

STEPS, BATCH, COUNTED = 10, 8, 64
UNITS, K, DROPOUT = 8, 4, 0.5
LR, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4
SPARSITY = 0.5


def settings():
    """What the pipeline does, for the manifest."""
    return {
        "network": "conv1 5x5 1->3, max pool 2/2, conv2 5x5 3->8, max pool 2/2, flatten, "
        "fc3: 8 units of 4 neurons (dense, ReLU, dropout, maximum), fc4: dense 8->10; "
        "no ReLU after the convolutions",
        "images": "the embedded digits at 28x28, rows and columns 6 to 21, values 0 to 1",
        "loss": "softmax cross-entropy, mean over the batch",
        "optimizer": "v = momentum * v + g + weight_decay * w; w = w - lr * v; v starts at 0; "
        "biases decay too",
        "lr": LR,
        "momentum": MOMENTUM,
        "weight_decay": WEIGHT_DECAY,
        "dropout": DROPOUT,
        "order": [
            "step i: images[i], labels[i], keep[i] give logits[i], loss[i], gradient/*[i], after_step/*[i]",
            "winner, in evaluation mode over counted_images: no dropout, maximum taken before the ReLU",
            "win_counts from winner; order from those; neurons_kept: the first three of order, ascending",
            "pruned/*: the arrays of fc3 with the kept neurons only, the others unchanged",
            "mask/*: of each weight (no bias) the half of larger magnitude; ties: the lower index stays",
            "one step from pruned/* with the masks laid on: images[0], labels[0], masked_keep, new velocity",
        ],
    }


def pipeline(seed=0):
    """Run it on the textbook in float64.

    Returns
    -------
    arrays : dict of key -> array
        Inputs in float32 and bool, answers in float64 and int64.
    meaning : dict of key -> str
    """
    arrays, meaning = {}, {}

    def note(key, array, text):
        assert key not in arrays, f"two arrays are called {key}"
        arrays[key], meaning[key] = np.array(array), text

    rng = np.random.default_rng([seed, 1])
    data = mnp.data.load("digits")
    crops = np.ascontiguousarray(data.train_images[:, :, 6:22, 6:22])
    net = lenet5(3, 8, UNITS, K, image_size=16, dropout=DROPOUT, rng=rng, dtype=np.float64, backend=textbook)
    for name, array in net.params().items():
        array[...] = array.astype(np.float32)  # so that float32 users start from the same numbers
        note(f"initial/{name}", array.astype(np.float32), "before the first step")

    order = rng.permutation(len(crops))[: STEPS * BATCH].reshape(STEPS, BATCH)
    note("images", crops[order], "(step, N, C, H, W), the batches")
    note("labels", data.train_labels[order], "(step, N)")
    optimizer = SGD(net, MOMENTUM, WEIGHT_DECAY)
    seen = {}
    for step in range(STEPS):
        _train(net, optimizer, crops[order[step]], data.train_labels[order[step]], rng, seen)
    texts = {
        "keep": "(step, N, units, k) dropout: where True the neuron's value stayed, divided by 1 - dropout",
        "logits": "(step, N, classes), in training mode",
        "loss": "(step,)",
    }
    for key, values in seen.items():
        text = texts.get(
            key, "(step, ...) of that step" if key.startswith("gradient") else "(step, ...) after that step"
        )
        note(key, np.stack(values), text)

    counted = crops[:COUNTED].astype(np.float64)
    counts = collect_win_counts(net, "fc3", counted)
    ranking = rank_neurons(counts)
    keep = keep_top(ranking, n_keep=K - 1)
    note("counted_images", crops[:COUNTED], "(N, C, H, W), over which wins are counted")
    note("evaluation_logits", net.forward(counted), "(N, classes) of counted_images, in evaluation mode")
    note("winner", winners(net, "fc3", counted).astype(np.int64), "(N, units), of counted_images")
    note("win_counts", counts, "(units, k): how often each neuron won")
    note("order", ranking.astype(np.int64), "(units, k): the neurons of a unit, most relevant first")
    note("neurons_kept", keep.astype(np.int64), "(units, k - 1), ascending")

    net = prune_neurons(net, "fc3", keep)
    for name, array in net.params().items():
        note(f"pruned/{name}", array, "after the neurons were removed")
    note("pruned_logits", net.forward(counted), "(N, classes) of counted_images, in evaluation mode")

    masks = {name: magnitude_mask(net.params()[name], SPARSITY) for name in weight_names(net)}
    net = apply_masks(net, masks)
    for name, mask in masks.items():
        note(f"mask/{name}", mask, "True = kept; the weights it removes are zero from here on")
    logits = net.forward(counted)
    note("masked_evaluation_logits", logits, "(N, classes) of counted_images with the masks laid on")
    seen = {}
    _train(net, SGD(net, MOMENTUM, WEIGHT_DECAY), crops[order[0]], data.train_labels[order[0]], rng, seen)
    for key, (value,) in seen.items():
        note(f"masked_{key}", value, f"as {key}, of the one step after masking")
    return arrays, meaning


def _train(net, optimizer, images, labels, rng, seen):
    """One step; what happened is appended to the lists in `seen`."""
    loss, logits = loss_and_grads(net, images.astype(np.float64), labels, rng)
    found = {"keep": net["fc3"].cache.keep, "logits": logits, "loss": np.float64(loss)}
    found |= {f"gradient/{name}": grad for name, grad in net.grads().items()}
    optimizer.step(LR)
    found |= {f"after_step/{name}": array for name, array in net.params().items()}
    for key, value in found.items():
        seen.setdefault(key, []).append(np.array(value))
