"""The same networks in PyTorch, by default and at its best, in ONNX Runtime and in OpenVINO."""

import importlib.metadata
import os
from functools import partial

import numba
import numpy as np

from mnp.bench import others
from mnp.bench.timing import interleaved
from mnp.errors import MnpError
from mnp.nn import AvgPool2d, BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxoutDense, MaxPool2d, ReLU

BASELINES = ("torch", "onnxruntime", "openvino", "jax", "tinygrad")


class AbsentError(MnpError):
    """A framework that cannot be measured on this machine."""


def load_baseline(name):
    """Import a baseline framework and give it Numba's number of threads; return its version.

    Raises MnpError if it is unknown, and `AbsentError` if it is not installed or cannot run here.
    """
    if name not in BASELINES:
        raise MnpError(f"--compare {name}: unknown framework; choose from {', '.join(BASELINES)}")
    threads = numba.get_num_threads()
    if name == "jax":  # read when it is imported
        flags = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
        os.environ.setdefault("XLA_FLAGS", f"{flags} intra_op_parallelism_threads={threads}")
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        module = importlib.import_module(name)
        if name == "torch":
            module.set_num_threads(threads)
        if name == "tinygrad":
            module.Tensor([1.0]).numpy()  # on a CPU it needs clang or LLVM
    except ImportError:
        raise AbsentError(f"{name} is not installed: pip install 'mnp[bench]'") from None
    except Exception as error:  # whatever it raises without a compiler
        raise AbsentError(f"{name} cannot run here ({error})") from None
    return importlib.metadata.version(name)


def torch_modules(layer):
    """The PyTorch modules of a layer; the first one has its parameters."""
    from torch import nn

    class Maximum(nn.Module):
        def forward(self, z):
            return z.view(-1, layer.units, layer.k).amax(2)

    modules = {
        Conv2d: lambda: [
            nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        ],
        Dense: lambda: [nn.Linear(layer.in_features, layer.out_features)],
        MaxoutDense: lambda: [
            nn.Linear(layer.in_features, layer.units * layer.k),
            *([nn.ReLU()] if layer.relu else []),
            nn.Dropout(layer.dropout),
            Maximum(),
        ],
        BatchNorm2d: lambda: [nn.BatchNorm2d(layer.channels, layer.eps, layer.momentum)],
        MaxPool2d: lambda: [nn.MaxPool2d(layer.size, layer.stride)],
        AvgPool2d: lambda: [nn.AvgPool2d(layer.size, layer.stride)],
        ReLU: lambda: [nn.ReLU()],
        Flatten: lambda: [nn.Flatten()],
        Dropout: lambda: [nn.Dropout(layer.p)],
    }
    return modules[type(layer)]()


def torch_network(net, channels_last=False):
    """A Network as a PyTorch model; its CPU kernels prefer the channel as the last axis in memory."""
    import torch

    modules = []
    for layer in net.layers.values():
        first, *rest = torch_modules(layer)
        with torch.no_grad():
            for key, array in layer.params.items():
                own = getattr(first, key)
                own.copy_(torch.from_numpy(array.reshape(own.shape).copy()))
        modules += [first, *rest]
    model = torch.nn.Sequential(*modules)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def torch_training(net, best, compile_it=False):
    """A training step, a function of images and labels that returns the loss; its optimiser; x's layout."""
    import torch
    from torch.nn.functional import cross_entropy

    model = torch_network(net, channels_last=best).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=best)
    forward = torch.compile(model) if compile_it else model

    def step(x, y):
        optimizer.zero_grad()
        loss = cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, optimizer, torch.channels_last if best else torch.contiguous_format


def torch_step(net, images, labels, best=False, compile_it=False):
    """One training step as a callable that returns the loss; best: channels-last and the fused SGD."""
    import torch

    step, _, layout = torch_training(net, best, compile_it)
    x, y = torch.from_numpy(images).to(memory_format=layout), torch.from_numpy(labels)
    return lambda: step(x, y).item()


def torch_round(net, images, labels, batch_size, epochs, best=False):
    """`epochs` of training on shuffled batches of tensors in memory, as a callable."""
    import torch

    step, optimizer, layout = torch_training(net, best)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: (1 + 1e-4 * i) ** -0.75)

    def train():
        for _ in range(epochs):
            order = torch.randperm(len(x))
            for start in range(0, len(x) - batch_size + 1, batch_size):
                batch = order[start : start + batch_size]
                step(x[batch].to(memory_format=layout), y[batch])
                schedule.step()

    return train


def torch_inference(net, images, best=False):
    """Logits of a batch, without gradients, as a callable."""
    import torch

    model = torch_network(net, channels_last=best).eval()
    x = torch.from_numpy(images).to(memory_format=torch.channels_last if best else torch.contiguous_format)
    return torch.inference_mode()(lambda: model(x).numpy())


def onnx_inference(net, images):
    """The same in ONNX Runtime, from this package's export, at the faster of its optimisation levels.

    `ORT_ENABLE_ALL`, its default, is the slower one on some CPUs: it changes the order of the axes.
    """
    import onnxruntime

    from mnp.verify.onnx_export import to_onnx

    model, calls = to_onnx(net).SerializeToString(), {}
    for level in ("ORT_ENABLE_ALL", "ORT_ENABLE_EXTENDED"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = numba.get_num_threads(), 1
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        calls[level] = lambda session=session, name=name: session.run(None, {name: images})[0]
    times = interleaved(calls, budget=1.0)
    return calls[min(times, key=times.get)]


def openvino_inference(net, images):
    """The same in OpenVINO, from this package's export: for latency, in float32, its shape fixed."""
    import openvino

    from mnp.verify.onnx_export import to_onnx

    core = openvino.Core()
    model = core.read_model(to_onnx(net).SerializeToString())
    model.reshape(list(images.shape))
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    hints["INFERENCE_NUM_THREADS"] = numba.get_num_threads()
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    return lambda: request.infer([images], share_inputs=True)[0]


INFERENCE = {
    "torch": torch_inference,
    "torch_best": partial(torch_inference, best=True),
    "onnxruntime": onnx_inference,
    "openvino": openvino_inference,
    "jax": others.jax_inference,
    "tinygrad": others.tinygrad_inference,
}
STEPS = {
    "torch": torch_step,
    "torch_best": partial(torch_step, best=True),
    "jax": others.jax_step,
    "tinygrad": others.tinygrad_step,
}


def make_calls(table, compare, *arguments):
    """Name -> callable of all compared frameworks in INFERENCE or STEPS, for a network and its input."""
    return {name: make(*arguments) for name, make in table.items() if name.removesuffix("_best") in compare}


def check_output(name, output, expected):
    """Raise MnpError if a framework's output differs from ours."""
    error = np.abs(np.asarray(output) - expected).max()
    if not error <= 1e-3 * np.abs(expected).max():
        raise MnpError(f"bench: the output of {name} differs from ours by {error:.2g}")
