"""The whole pruning pipeline of a small maxout LeNet: train, count, rank, prune, mask, train.

On the textbook's kernels it gives the golden vectors of `mnp vectors`. On a candidate's kernels
`mnp check --network` compares it with the textbook, because kernels that are each right can still fail to
run a network.
"""

import types

import numpy as np

import mnp.data
from mnp.errors import MnpError
from mnp.kernels import KERNELS, textbook
from mnp.nn import SGD, Dropout, Network, lenet5, loss_and_grads
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import apply_masks, collect_win_counts, prune_neurons, weight_names, winners
from mnp.pruning.weights import magnitude_mask
from mnp.verify.candidate import implemented
from mnp.verify.judge import Verdict, compare_arrays

TOLERANCE = 1e-8
STEPS, BATCH_SIZE, COUNTED = 10, 8, 64
UNITS, K, DROPOUT = 8, 4, 0.5
LR, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4
SPARSITY = 0.5

SETTINGS = {  # for the manifest of the golden vectors
    "network": "conv1 5x5 1->3, max pool 2/2, conv2 5x5 3->8, max pool 2/2, flatten, "
    "fc3: 8 units of 4 neurons (dense, ReLU, dropout, maximum), fc4: dense 8->10; "
    "no ReLU after the convolutions",
    "images": "the embedded digits at 28x28, rows and columns 6 to 21, values 0 to 1",
    "loss": "softmax cross-entropy, mean over the batch",
    "optimizer": "v = momentum * v + g + weight_decay * w; w = w - lr * v; v starts at 0; biases decay too",
    "lr": LR,
    "momentum": MOMENTUM,
    "weight_decay": WEIGHT_DECAY,
    "dropout": DROPOUT,
    "order": [
        "step i: images[i], labels[i], keep[i] give logits[i], loss[i], gradient/*[i], after_step/*[i]",
        "winner, in evaluation mode over counted_images: no dropout, maximum taken before the ReLU",
        "win_counts from winner; order from those; neurons_kept: all of order but the last, ascending",
        "pruned/*: the arrays of the maxout layer with the kept neurons only, the others unchanged",
        "mask/*: of each weight (no bias) the half of larger magnitude; ties: the lower index stays",
        "one step from pruned/* with the masks laid on: images[0], labels[0], masked_keep, new velocity",
    ],
}
MEANING = {  # of the arrays, by their names or by what stands before the slash
    "initial": "before the first step; neurons 0 and 1 of unit 0 are equal, and their maximum is a tie",
    "images": "(step, N, C, H, W), the batches",
    "labels": "(step, N)",
    "keep": "(step, N, units, k) dropout: where True the neuron's value stayed, divided by 1 - dropout",
    "logits": "(step, N, classes), in training mode",
    "loss": "(step,)",
    "gradient": "(step, ...) of that step",
    "after_step": "(step, ...) after that step",
    "counted_images": "(N, C, H, W), over which wins are counted",
    "evaluation_logits": "(N, classes) of counted_images, in evaluation mode",
    "winner": "(N, units), of counted_images",
    "win_counts": "(units, k): how often each neuron won",
    "order": "(units, k): the neurons of a unit, most relevant first",
    "neurons_kept": "(units, k - 1), ascending",
    "pruned": "after the neurons were removed",
    "pruned_logits": "(N, classes) of counted_images, in evaluation mode",
    "mask": "True = kept; the weights it removes are zero from here on",
    "masked_evaluation_logits": "(N, classes) of counted_images with the masks laid on",
}


def backend_of(module):
    """Complete a partial module with the textbook: a namespace that a Network can run on.

    >>> backend_of(types.SimpleNamespace(relu_forward=abs)).relu_forward is abs
    True
    """
    own = {name: getattr(module, name) for name in implemented(module)}
    return types.SimpleNamespace(**{**vars(textbook), **own})


def small_lenet(backend, rng=None):
    """Build the network of the pipeline, in float64."""
    size = {"image_size": 16, "dropout": DROPOUT, "dtype": np.float64}
    return lenet5(3, 8, UNITS, K, **size, rng=rng, backend=backend)


def in_float64(architecture, params, backend):
    """Build a network of an architecture in float64, with copies of these arrays."""
    net = Network.from_architecture(architecture, params, backend=backend)
    for name, layer in net.layers.items():
        layer.params = {key: params[f"{name}.{key}"].astype(np.float64) for key in layer.params}
    return net


def droppers(net):
    """Names of the layers that drop neurons in training, in order."""
    return [
        name
        for name, layer in net.layers.items()
        if getattr(layer, "dropout", 0) or (isinstance(layer, Dropout) and layer.p)
    ]


def key_of(what, name, names):
    """Key of a note about one of several layers: the bare word if there is one layer only."""
    return what if len(names) == 1 else f"{what}/{name}"


def pruning_round(backend, seed=0, net=None, data="digits"):
    """Run the pipeline in float64 and keep everything on the way.

    Parameters
    ----------
    backend : module
        With all plain kernels.
    seed : int
        Draws the first weights, the batches and the dropout.
    net : Network, optional
        The network and its first weights, in place of the small LeNet. Masks are left out.
    data : str
        The data set whose first training images such a network takes.

    Returns {(key, step or None): array} in the order in which they were made.

    Raises MnpError for a network without a maxout layer, with batch normalisation, or for other images.
    """
    rng = np.random.default_rng([seed, 1])
    data = mnp.data.load(data)
    if net is None:
        images, net = np.ascontiguousarray(data.train_images[:, :, 6:22, 6:22]), small_lenet(backend, rng)
    else:
        if not net.maxout_layers() or net.buffers():
            raise MnpError("golden vectors need a network with maxout layers, without batch normalisation")
        images, net = data.train_images[:1000], in_float64(net.architecture(), net.params(), backend)
    maxouts, notes = net.maxout_layers(), {}

    def note(key, array, step=None):
        notes[key, step] = np.array(array)

    def train(optimizer, batch, step=None, prefix=""):
        """One step; everything is noted."""
        loss, logits = loss_and_grads(net, images[batch].astype(np.float64), data.train_labels[batch], rng)
        names = droppers(net)
        for name in names:
            note(f"{prefix}{key_of('keep', name, names)}", net[name].cache.keep, step)
        note(f"{prefix}logits", logits, step)
        note(f"{prefix}loss", np.float64(loss), step)
        for name, grad in net.grads().items():
            note(f"{prefix}gradient/{name}", grad, step)
        optimizer.step(LR)
        for name, array in net.params().items():
            note(f"{prefix}after_step/{name}", array, step)

    # Two neurons of a unit that give 0.25 for any input: a tie above zero, where a gradient shows it.
    for name in maxouts:
        net[name].params["weight"][0, :2], net[name].params["bias"][0, :2] = 0.0, 0.25
    for name, array in net.params().items():
        array[...] = array.astype(np.float32)  # so that float32 users start from the same numbers
        note(f"initial/{name}", array.astype(np.float32))
    batches = rng.permutation(len(images))[: STEPS * BATCH_SIZE].reshape(STEPS, BATCH_SIZE)
    note("images", images[batches])
    note("labels", data.train_labels[batches])
    optimizer = SGD(net, MOMENTUM, WEIGHT_DECAY)
    for step, batch in enumerate(batches):
        train(optimizer, batch, step)

    # Count the wins in evaluation mode, and remove the weakest neuron of each unit.
    counted = images[:COUNTED].astype(np.float64)
    note("counted_images", images[:COUNTED])
    note("evaluation_logits", net.forward(counted))
    small = net
    for name in maxouts:
        counts = collect_win_counts(net, name, counted)
        order = rank_neurons(counts)
        keep = keep_top(order, n_keep=net[name].k - 1)
        note(key_of("winner", name, maxouts), winners(net, name, counted).astype(np.int64))
        note(key_of("win_counts", name, maxouts), counts)
        note(key_of("order", name, maxouts), order.astype(np.int64))
        note(key_of("neurons_kept", name, maxouts), keep.astype(np.int64))
        small = prune_neurons(small, name, keep)
    net = small
    for name, array in net.params().items():
        note(f"pruned/{name}", array)
    note("pruned_logits", net.forward(counted))

    # Mask half of the remaining weights, and train one step on.
    masks = {name: magnitude_mask(net.params()[name], SPARSITY) for name in weight_names(net)}
    net = apply_masks(net, masks)
    for name, mask in masks.items():
        note(f"mask/{name}", mask)
    note("masked_evaluation_logits", net.forward(counted))
    train(SGD(net, MOMENTUM, WEIGHT_DECAY), batches[0], prefix="masked_")
    return notes


def golden_arrays(seed=0, net=None, data="digits"):
    """Arrays of `pruning_round` by key, those of single steps stacked; and their meaning by key."""
    parts = {}
    for (key, step), array in pruning_round(textbook, seed, net, data).items():
        parts.setdefault(key, []).append(array if step is None else array[None])
    arrays = {key: np.concatenate(p) if len(p) > 1 else p[0] for key, p in parts.items()}
    meaning = {}
    for key in arrays:
        text = MEANING.get(key) or MEANING.get(key.partition("/")[0])
        meaning[key] = text or f"as {key.removeprefix('masked_')}, of the one step after masking"
    return arrays, meaning


def judge_round(module_or_notes, seed=0):
    """Compare the pipeline of a candidate, or its notes from another process, with the textbook's.

    Returns a Verdict named "network"; its line tells the first difference.
    """
    got = module_or_notes
    if not isinstance(got, dict):
        got = pruning_round(backend_of(got), seed)
    right = pruning_round(textbook, seed)
    for at, ((key, step), expected) in enumerate(right.items()):
        name = key if step is None else f"{key} of step {step + 1}"
        mismatch = compare_arrays(name, expected, got.get((key, step)), expected.dtype, TOLERANCE)
        if mismatch is not None:
            lines = [f"first difference: {mismatch}"]
            lines += ["everything before it agrees; train, count, prune, mask, train"] if at else []
            return Verdict("network", "failed", len(right), len(right) - at, lines=lines)
    return Verdict("network", "passed", len(right))


def what_is_used(module):
    """Count the kernels of the network that were the candidate's.

    >>> what_is_used(textbook)
    'all 20 plain kernels are its own'
    """
    plain = [name for name in implemented(module) if name in KERNELS]
    if len(plain) == len(KERNELS):
        return f"all {len(plain)} plain kernels are its own"
    return f"{len(plain)} of {len(KERNELS)} plain kernels are its own, the others the textbook's"
