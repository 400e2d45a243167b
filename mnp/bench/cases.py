"""The cases of `mnp bench`: one function each, yielding rows."""

import time

import numpy as np

from mnp.bench import peers
from mnp.bench.timing import interleaved
from mnp.nn import SGD, CapturedNetwork, evaluate, learning_rate, lenet5, loss_and_grads, train_epoch, vgg16
from mnp.pruning.neurons import keep_top
from mnp.pruning.relevance import rank_neurons
from mnp.pruning.surgery import apply_masks, collect_win_counts, prune_neurons, weight_names
from mnp.pruning.weights import magnitude_mask

FIELDS = (
    "case",
    "batch",
    "kernels",
    "mnp_ms",
    "mnp_median_ms",
    "torch_default_ms",
    "torch_best_ms",
    "onnxruntime_ms",
    "scipy_ms",
    "dense_ms",
    "ratio_default",
    "ratio_best",
    "ratio_onnxruntime",
    "fma_share",
    "note",
)


def row(case, batch, backend, times, name, flops=None, peak=None, note=""):
    """One row: our best time under `name`, the peers', and the ratios of best times."""
    best = {key: value[0] for key, value in times.items()}
    ours = best[name]
    torch_best = [best[key] for key in ("torch_best", "torch_compile") if key in best]

    def over_ours(value):
        return None if value is None else round(value / ours, 3)

    made = {
        "case": case,
        "batch": batch,
        "kernels": backend,
        "mnp_ms": round(ours, 4),
        "mnp_median_ms": round(times[name][1], 4),
        "torch_default_ms": best.get("torch"),
        "torch_best_ms": min([*torch_best, best["torch"]]) if torch_best else None,
        "onnxruntime_ms": best.get("onnxruntime"),
        "scipy_ms": best.get("scipy"),
        "dense_ms": best.get("dense"),
        "fma_share": round(flops / (ours * 1e6) / peak, 3) if flops and peak else None,
        "note": note,
    }
    made["ratio_default"] = over_ours(made["torch_default_ms"])
    made["ratio_best"] = over_ours(made["torch_best_ms"])
    made["ratio_onnxruntime"] = over_ours(made["onnxruntime_ms"])
    return {field: made[field] for field in FIELDS}


def examples(batch, size=28, channels=1, classes=10, seed=0):
    """Random images and labels; no kernel's time depends on what they show."""
    rng = np.random.default_rng(seed)
    images = rng.random((batch, channels, size, size), dtype=np.float32)
    return images, rng.integers(0, classes, batch)


def authors_net(backend, units=64, k=4):
    """The maxout LeNet of the authors, 20-52-256."""
    return lenet5(20, 52, units, k, rng=0, backend=backend)


def training_step(net, images, labels):
    """One step as a callable: dropout, all gradients, SGD."""
    optimizer, rng = SGD(net), np.random.default_rng(0)

    def step():
        loss_and_grads(net, images, labels, rng)
        optimizer.step(0.01)

    return step


def lenet_step_flops(batch, units=64, k=4, products=49):
    """Floating point operations that a training step of the authors' network does on the tiled tier.

    Forward everything, the second convolution with 49 products instead of 100 (`winograd_factors`);
    backward only what a winner of a pooling window or of a unit takes part in.

    >>> round(lenet_step_flops(64, products=100) / lenet_step_flops(64), 2)     # as the definition is written
    1.36
    """
    pixels1, pixels2, inputs = 24 * 24, 8 * 8, 52 * 16
    conv1, conv2 = 20 * 25, 52 * 20 * 25
    forward = pixels1 * conv1 + pixels2 * conv2 * products // 100 + inputs * units * k + units * 10
    winners1, winners2 = pixels1 // 4, pixels2 // 4
    backward = winners1 * conv1 + 2 * winners2 * conv2 + 2 * inputs * units + 2 * units * 10
    return 2 * batch * (forward + backward)


def lenet_steps(against, peak, batches=(64, 128, 256)):
    """The training step of the maxout LeNet at several batch sizes, on both fast tiers."""
    for batch in batches:
        x, y = examples(batch)
        calls = {name: training_step(authors_net(name), x, y) for name in ("tiled", "jitted")}
        if "torch" in against:
            net = authors_net("jitted")
            calls["torch"] = peers.torch_step(net, x, y)
            calls["torch_best"] = peers.torch_step(net, x, y, best=True)
        times = interleaved(calls, rounds=40, budget=8)
        for name, flops in (("tiled", lenet_step_flops(batch)), ("jitted", None)):
            yield row("LeNet training step", batch, name, times, name, flops, peak)


def compiled_step(against, peak, batch=64):
    """The same step beside torch.compile, if it works here."""
    if "torch" not in against:
        return
    x, y = examples(batch)
    net = authors_net("tiled")
    calls = {"tiled": training_step(net, x, y), "torch": peers.torch_step(net, x, y)}
    try:
        step = peers.torch_step(net, x, y, best=True, compile_it=True)
        step()
        calls["torch_compile"] = step
        note = "best = torch.compile"
    except Exception as error:  # whatever its compiler toolchain lacks here is the finding
        note = f"torch.compile does not work here: {type(error).__name__}"
    yield row("LeNet training step, compiled", batch, "tiled", interleaved(calls), "tiled", note=note)


def stage(against, peak, images=60_000, epochs=5, batch=64):
    """A whole `mnist-caffe` stage: 5 epochs over 60,000 images, shuffling and gathering included."""
    x, y = examples(images)

    def ours():
        net, rng = authors_net("tiled"), np.random.default_rng(0)
        optimizer = SGD(net)
        for _ in range(epochs):
            train_epoch(
                net,
                optimizer,
                x,
                y,
                batch_size=batch,
                rng=rng,
                lr=lambda i: learning_rate("inv", 0.01, i, 0),
            )

    calls = {"tiled": ours}
    if "torch" in against:
        net = authors_net("tiled")
        calls["torch"] = peers.torch_stage(net, x, y, batch, epochs)
        calls["torch_best"] = peers.torch_stage(net, x, y, batch, epochs, best=True)
    times = {name: [] for name in calls}
    for _ in range(2):  # each takes long enough to be its own average
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - began))
    times = {name: (min(t), float(np.median(t))) for name, t in times.items()}
    yield row(f"mnist-caffe stage, {epochs} epochs", batch, "tiled", times, "tiled")


def to_one_neuron(net, images):
    """Prune fc3 to k = 1 by the wins over some images."""
    while net["fc3"].__class__.__name__ == "MaxoutDense":
        order = rank_neurons(collect_win_counts(net, "fc3", images))
        net = prune_neurons(net, "fc3", keep_top(order, n_keep=net["fc3"].k - 1))
    return net


def inference(against, peak, threads, batches=(1, 64, 1000)):
    """Logits of a batch, before and after neuron pruning: by `net.forward`, and by its recorded calls."""
    before = authors_net("tiled")
    nets = {"before pruning": before, "after pruning": to_one_neuron(before, examples(256)[0])}
    for when, net in nets.items():
        for batch in batches:
            x, _ = examples(batch)
            run = CapturedNetwork(net, x.shape)
            calls = {"recorded": lambda run=run, x=x: run(x), "tiled": lambda net=net, x=x: net.forward(x)}
            if "torch" in against:
                calls["torch"] = peers.torch_inference(net, x)
                calls["torch_best"] = peers.torch_inference(net, x, best=True)
            if "onnxruntime" in against:
                calls["onnxruntime"] = peers.onnx_inference(net, x, threads)
            times = interleaved(calls, rounds=60, budget=5)
            yield row(f"LeNet inference, {when}", batch, "tiled", times, "tiled")
            yield row(f"LeNet inference, {when}", batch, "tiled, recorded", times, "recorded")


def ranking(against, peak, images=60_000):
    """Counting wins over the training set, beside plain inference over it."""
    net = authors_net("tiled")
    x, y = examples(images)
    calls = {
        "tiled": lambda: collect_win_counts(net, "fc3", x),
        "dense": lambda: evaluate(net, x, y),
    }
    times = interleaved(calls, rounds=5, budget=8)
    yield row(
        "ranking pass", 1000, "tiled", times, "tiled", note="dense_ms is inference over the same images"
    )


def vgg_step(against, peak, batch=32):
    """The training step of VGG16 at a quarter of its width, 64x64, with batch normalisation."""
    x, y = examples(batch, 64, 3, 400)

    def net(backend):
        return vgg16(0.25, 64, 256, 4, 400, batchnorm=True, rng=0, backend=backend)

    calls = {"tiled": training_step(net("tiled"), x, y)}
    if "torch" in against:
        calls["torch"] = peers.torch_step(net("tiled"), x, y)
        calls["torch_best"] = peers.torch_step(net("tiled"), x, y, best=True)
    yield row("VGG16/4 training step", batch, "tiled", interleaved(calls, rounds=8, budget=15), "tiled")


def sparse(against, peak, sparsities=(0.95, 0.99), batches=(1, 64, 1000)):
    """Inference of the k = 1 network with weights pruned: CSR beside dense, and fc3 beside scipy.sparse."""
    from mnp.sparse import sparse_network

    dense = to_one_neuron(lenet5(20, 50, 512, 4, rng=0, backend="tiled"), examples(256)[0])
    for sparsity in sparsities:
        weights = {name: dense.params()[name] for name in weight_names(dense)}
        masks = {name: magnitude_mask(weight, sparsity) for name, weight in weights.items()}
        masked = apply_masks(dense, masks)
        small = sparse_network(masked)
        for batch in batches:
            x, _ = examples(batch)
            calls = {
                "tiled": lambda x=x, net=small: net.forward(x),
                "dense": lambda x=x, net=masked: net.forward(x),
            }
            case = f"CSR inference, sparsity {sparsity:.0%}"
            yield row(case, batch, "tiled", interleaved(calls, budget=3), "tiled")
            calls = one_layer(masked, small, batch)
            yield row(f"CSR fc3 alone, sparsity {sparsity:.0%}", batch, "tiled", interleaved(calls), "tiled")


def one_layer(masked, small, batch):
    """fc3 alone: our CSR, our dense, and scipy's CSR."""
    weight, bias = masked["fc3"].params["weight"], masked["fc3"].params["bias"]
    features = np.random.default_rng(0).random((batch, weight.shape[1]), dtype=np.float32)
    calls = {
        "tiled": lambda: small["fc3"].forward(features),
        "dense": lambda: masked["fc3"].forward(features),
    }
    try:
        from scipy.sparse import csr_matrix
    except ImportError:
        return calls
    matrix = csr_matrix(weight)
    calls["scipy"] = lambda: (matrix @ features.T).T + bias
    return calls
