"""One pruning round of a small maxout LeNet on somebody's kernels, beside the same on the textbook.

`mnp check --network` runs it. Kernels can each be right and still not run a network: this shows that
they can, and where the two runs part if they do not.
"""

import types

import numpy as np

import mnp.data
from mnp.kernels import textbook
from mnp.nn import SGD, lenet5, loss_and_grads
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import collect_win_counts, prune_neurons
from mnp.verify import reference
from mnp.verify.candidate import implemented
from mnp.verify.judge import Verdict, compare_arrays

TOLERANCE = 1e-8
STEPS, STEPS_AFTER, BATCH = 6, 4, 16


def backend_of(module):
    """Fill a module's gaps with the textbook: a namespace that a Network can run on.

    Fused names are taken only if the module offers them.

    >>> backend_of(types.SimpleNamespace(relu_forward=abs)).relu_forward is abs
    True
    """
    backend = types.ModuleType("candidate")
    for name in reference.OUTPUTS:
        function = getattr(module, name, None) or getattr(textbook, name, None)
        if function is not None:
            setattr(backend, name, function)
    return backend


def pruning_round(backend, seed=0):
    """Train a little, count wins, remove a neuron of each unit, train again; note everything.

    Parameters
    ----------
    backend : module
        With all plain names.
    seed : int
        Draws the first weights, the batches and the dropout.

    Returns
    -------
    notes : dict of name -> array, in the order in which they were made
        float64 but for counts and keep.
    """
    rng = np.random.default_rng(seed)
    data = mnp.data.load("digits")
    images = data.train_images[:256, :, 6:22, 6:22].astype(np.float64)
    labels = data.train_labels[:256]
    net = lenet5(3, 4, 6, 3, image=16, rng=rng, dtype=np.float64, backend=backend)
    notes = {}

    def train(net, steps, when):
        optimizer = SGD(net)
        for step in range(1, steps + 1):
            chosen = rng.permutation(len(images))[:BATCH]
            loss, logits = loss_and_grads(net, images[chosen], labels[chosen], rng)
            if step == 1:
                notes[f"logits of step 1 {when}"] = logits.copy()
                notes[f"loss of step 1 {when}"] = np.asarray(loss)
                for name, grad in net.grads().items():
                    notes[f"gradient of {name} in step 1 {when}"] = grad.copy()
            optimizer.step(0.05)
        for name, array in net.params().items():
            notes[f"{name} after step {steps} {when}"] = array.copy()

    train(net, STEPS, "before pruning")
    counts = collect_win_counts(net, "fc3", [images[:128], images[128:]])
    keep = keep_top(rank_neurons(counts), n_keep=2)
    net = prune_neurons(net, "fc3", keep)
    notes |= {"win counts": counts, "neurons kept": keep, "logits after pruning": net.forward(images[:32])}
    train(net, STEPS_AFTER, "after pruning")
    return notes


def judge_round(module_or_notes, seed=0):
    """Compare a candidate's round with the textbook's.

    Parameters
    ----------
    module_or_notes : module or dict
        A candidate, or what `pruning_round` noted of it elsewhere.

    Returns
    -------
    verdict : Verdict
        Named "network"; its line tells the first thing that differs.
    """
    right = pruning_round(textbook, seed)
    got = module_or_notes
    if not isinstance(got, dict):
        got = pruning_round(backend_of(got), seed)
    for at, (name, expected) in enumerate(right.items()):
        kind = "winner" if expected.dtype.kind in "iu" else name  # integers are compared exactly
        found = compare_arrays(kind, expected, got.get(name), "float64", TOLERANCE)
        if found is not None:
            text = found.what if kind == name else found.what.replace("winner", name, 1)
            lines = [f"first difference: {text}", "everything before it agrees; train, count, prune, train"]
            return Verdict(
                "network", "failed", len(right), len(right) - at, lines=lines[: 1 if at == 0 else 2]
            )
    return Verdict("network", "passed", len(right))


def what_is_used(module):
    """Say how many of the kernels that ran were the candidate's.

    >>> what_is_used(textbook)
    'all 20 plain kernels are its own'
    """
    plain = [name for name in implemented(module) if name in reference.KERNELS]
    if len(plain) == len(reference.KERNELS):
        return f"all {len(plain)} plain kernels are its own"
    return f"{len(plain)} of {len(reference.KERNELS)} plain kernels are its own, the others the textbook's"
