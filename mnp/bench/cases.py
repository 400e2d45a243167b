"""The cases of `mnp bench` that have a baseline: one function each, yielding rows."""

import time
from functools import partial

import numpy as np

from mnp.bench import baselines
from mnp.bench.timing import interleaved
from mnp.nn import SGD, evaluate, learning_rate, lenet5, loss_and_grads, train_epoch, vgg16
from mnp.nn.captured import CapturedNetwork
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import apply_masks, collect_win_counts, prune_neurons, weight_names
from mnp.pruning.weights import magnitude_mask


def make_row(case, batch, backend, times, name, flops=None, peak=None, note=""):
    """One row of the report: best times in ms, and each baseline's time over ours as ratio_*.

    `times` is what `interleaved` gives: ours under `name`, the baselines under the names in
    `baselines.INFERENCE`, torch_compile, scipy and dense. `flops` are the floating-point operations of the
    case, `peak` 1e9 of them per second at the machine's peak.
    """
    best = {key: value[0] for key, value in times.items()}
    ours, median = times[name]
    torch_times = [best[key] for key in ("torch", "torch_best", "torch_compile") if key in best]
    compared = {
        "default": best.get("torch"),
        "best": min(torch_times) if len(torch_times) > 1 else None,
        **{other: best.get(other) for other in baselines.BASELINES[1:]},
    }
    return {
        "case": case,
        "batch": batch,
        "kernels": backend,
        "mnp_ms": round(ours, 4),
        "mnp_median_ms": round(median, 4),
        "torch_default_ms": compared["default"],
        "torch_best_ms": compared["best"],
        **{f"{other}_ms": compared[other] for other in baselines.BASELINES[1:]},
        "scipy_ms": best.get("scipy"),
        "dense_ms": best.get("dense"),
        **{f"ratio_{key}": value and round(value / ours, 3) for key, value in compared.items()},
        "fma_share": round(flops / (ours * 1e6) / peak, 3) if flops and peak else None,
        "note": note,
    }


def examples(batch, size=28, channels=1, classes=10):
    """Random images and labels; the time of no kernel depends on their values."""
    rng = np.random.default_rng(0)
    images = rng.random((batch, channels, size, size), dtype=np.float32)
    return images, rng.integers(0, classes, batch)


def authors_net(backend, units=64):
    """The maxout LeNet of the authors, 20-52-256."""
    return lenet5(20, 52, units, 4, rng=0, backend=backend)


def training_step(net, images, labels):
    """One step as a callable that returns the loss: dropout, all gradients, SGD."""
    optimizer, rng = SGD(net), np.random.default_rng(0)

    def step():
        loss, _ = loss_and_grads(net, images, labels, rng)
        optimizer.step(0.01)
        return loss

    return step


def step_calls(compare, net, images, labels):
    """The baselines' training steps of a network, after two on four images without dropout.

    Both losses must agree with ours; the second has the gradients in it.
    """
    x, y, plain = images[:4], labels[:4], net.copy()
    for layer in plain.layers.values():
        for name in ("p", "dropout"):
            if hasattr(layer, name):
                setattr(layer, name, 0.0)
    ours = training_step(plain.copy(), x, y)
    losses = np.array([ours(), ours()])
    for name, step in baselines.make_calls(baselines.STEPS, compare, plain, x, y).items():
        baselines.check_output(name, [step(), step()], losses)
    return baselines.make_calls(baselines.STEPS, compare, net, images, labels)


def lenet_step_flops(batch, units=64, k=4, products=49):
    """Floating-point operations of a training step of the authors' network on the tiled backend.

    Forward all of them, the second convolution with 49 products instead of 100 (`winograd_factors`);
    backward only those of the winners of a pooling window or of a unit.

    >>> round(lenet_step_flops(64, products=100) / lenet_step_flops(64), 2)     # without Winograd
    1.36
    """
    pixels1, pixels2, inputs = 24 * 24, 8 * 8, 52 * 16
    conv1, conv2 = 20 * 25, 52 * 20 * 25
    forward = pixels1 * conv1 + pixels2 * conv2 * products // 100 + inputs * units * k + units * 10
    winners1, winners2 = pixels1 // 4, pixels2 // 4
    backward = winners1 * conv1 + 2 * winners2 * conv2 + 2 * inputs * units + 2 * units * 10
    return 2 * batch * (forward + backward)


def lenet_steps(compare, peak):
    """The training step of the maxout LeNet at several batch sizes, on both compiled backends."""
    for batch in (64, 128, 256):
        x, y = examples(batch)
        calls = {name: training_step(authors_net(name), x, y) for name in ("tiled", "jitted")}
        calls |= step_calls(compare, authors_net("jitted"), x, y)
        times = interleaved(calls, rounds=40, budget=8)
        for name, flops in (("tiled", lenet_step_flops(batch)), ("jitted", None)):
            yield make_row("LeNet training step", batch, name, times, name, flops, peak)


def compiled_step(compare, peak):
    """The same step beside torch.compile, if it works on this machine."""
    if "torch" not in compare:
        return
    x, y = examples(64)
    net = authors_net("tiled")
    calls = {"tiled": training_step(net, x, y), "torch": baselines.torch_step(net, x, y)}
    try:
        step = baselines.torch_step(net, x, y, best=True, compile_it=True)
        step()
        calls["torch_compile"] = step
        note = "best = torch.compile"
    except Exception as error:  # its compiler may be missing
        note = f"torch.compile does not work here: {type(error).__name__}"
    yield make_row("LeNet training step, compiled", 64, "tiled", interleaved(calls), "tiled", note=note)


def training_round(compare, peak):
    """A whole round of `mnist-caffe`: 5 epochs over 60,000 images, including shuffling and batching."""
    (x, y), epochs, batch = examples(60_000), 5, 64

    def inv(i):
        return learning_rate("inv", 0.01, i, 0)

    def ours():
        net, rng = authors_net("tiled"), np.random.default_rng(0)
        optimizer = SGD(net)
        for _ in range(epochs):
            train_epoch(net, optimizer, x, y, batch_size=batch, rng=rng, lr=inv)

    calls = {"tiled": ours}
    if "torch" in compare:
        for name, best in (("torch", False), ("torch_best", True)):
            calls[name] = baselines.torch_round(authors_net("tiled"), x, y, batch, epochs, best)
    seconds = {name: [] for name in calls}
    for _ in range(2):  # each is long enough to be an average already
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    times = {name: (1e3 * min(s), 1e3 * float(np.median(s))) for name, s in seconds.items()}
    yield make_row(f"mnist-caffe round, {epochs} epochs", batch, "tiled", times, "tiled")


def prune_to_one(net, images):
    """Prune fc3 to k = 1, by the wins over the images."""
    for k in range(net["fc3"].k - 1, 0, -1):
        order = rank_neurons(collect_win_counts(net, "fc3", images))
        net = prune_neurons(net, "fc3", keep_top(order, n_keep=k))
    return net


def inference(compare, peak):
    """Logits of a batch, before and after neuron pruning: `net.forward`, and the captured network."""
    before = authors_net("tiled")
    nets = {"before pruning": before, "after pruning": prune_to_one(before, examples(256)[0])}
    for when, net in nets.items():
        for batch in (1, 64, 1000):
            x, _ = examples(batch)
            calls = {"captured": partial(CapturedNetwork(net, x.shape), x), "tiled": partial(net.forward, x)}
            others = baselines.make_calls(baselines.INFERENCE, compare, net, x)
            for name, infer in others.items():
                baselines.check_output(name, infer(), net.forward(x))
            times = interleaved(calls | others, rounds=60, budget=5)
            yield make_row(f"LeNet inference, {when}", batch, "tiled", times, "tiled")
            yield make_row(f"LeNet inference, {when}", batch, "tiled, captured", times, "captured")


def ranking(compare, peak):
    """Counting wins over the training set, beside plain inference over it."""
    net, (x, y) = authors_net("tiled"), examples(60_000)
    calls = {"tiled": lambda: collect_win_counts(net, "fc3", x), "dense": lambda: evaluate(net, x, y)}
    times = interleaved(calls, rounds=5, budget=8)
    note = "dense_ms is inference over the same images"
    yield make_row("ranking pass", 1000, "tiled", times, "tiled", note=note)


def vgg_step(compare, peak):
    """The training step of VGG16 at a quarter of its width, 64x64 pixels, with batch normalisation."""
    x, y = examples(32, 64, 3, 400)
    net = vgg16(0.25, 64, 256, 4, 400, batchnorm=True, rng=0, backend="tiled")
    calls = {"tiled": training_step(net, x, y)} | step_calls(compare, net, x, y)
    yield make_row("VGG16/4 training step", 32, "tiled", interleaved(calls, rounds=8, budget=15), "tiled")


def sparse(compare, peak):
    """Inference of the k = 1 network with weights pruned: CSR beside dense, and fc3 beside scipy.sparse."""
    from mnp.sparse import sparse_network

    dense = prune_to_one(lenet5(20, 50, 512, 4, rng=0, backend="tiled"), examples(256)[0])
    for sparsity in (0.95, 0.99):
        weights = {name: dense.params()[name] for name in weight_names(dense)}
        masked = apply_masks(dense, {name: magnitude_mask(w, sparsity) for name, w in weights.items()})
        small = sparse_network(masked)
        for batch in (1, 64, 1000):
            x, _ = examples(batch)
            calls = {"tiled": partial(small.forward, x), "dense": partial(masked.forward, x)}
            case = f"CSR inference, sparsity {sparsity:.0%}"
            yield make_row(case, batch, "tiled", interleaved(calls, budget=3), "tiled")
            times = interleaved(one_layer(masked, small, batch))
            yield make_row(f"CSR fc3 alone, sparsity {sparsity:.0%}", batch, "tiled", times, "tiled")


def one_layer(masked, small, batch):
    """fc3 alone: our CSR, our dense, and scipy's CSR."""
    weight, bias = masked["fc3"].params["weight"], masked["fc3"].params["bias"]
    features = np.random.default_rng(0).random((batch, weight.shape[1]), dtype=np.float32)
    calls = {
        name: partial(net["fc3"].forward, features) for name, net in (("tiled", small), ("dense", masked))
    }
    try:
        from scipy.sparse import csr_matrix
    except ImportError:
        return calls
    matrix = csr_matrix(weight)
    return calls | {"scipy": lambda: (matrix @ features.T).T + bias}
