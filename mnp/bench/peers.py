"""The same networks in PyTorch and ONNX Runtime, in their default and in their best configuration."""

import importlib

from mnp.errors import MnpError

PEERS = ("torch", "onnxruntime")


def load_peer(name):
    """Import a peer, or say how to install it."""
    if name not in PEERS:
        raise MnpError(f"--against {name}: no such peer; choose from {', '.join(PEERS)}")
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MnpError(f"{name} is not installed: pip install 'mnp[verify]'") from None


def torch_network(net, channels_last=False):
    """Build a Network's layers in PyTorch, with the same parameters.

    channels_last stores images and filters with the channel innermost, which its CPU kernels prefer.
    """
    import torch
    from torch import nn

    from mnp.nn import AvgPool2d, BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxoutDense, MaxPool2d, ReLU

    class Units(nn.Module):
        def __init__(self, units, k):
            super().__init__()
            self.units, self.k = units, k

        def forward(self, z):
            return z.view(-1, self.units, self.k).amax(2)

    modules = []
    for layer in net.layers.values():
        if isinstance(layer, Conv2d):
            module = nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
            )
        elif isinstance(layer, (Dense, MaxoutDense)):
            neurons = layer.out_features if isinstance(layer, Dense) else layer.units * layer.k
            module = nn.Linear(layer.in_features, neurons)
        elif isinstance(layer, BatchNorm2d):
            module = nn.BatchNorm2d(layer.channels, layer.eps, layer.momentum)
        elif isinstance(layer, (MaxPool2d, AvgPool2d)):
            module = (nn.MaxPool2d if isinstance(layer, MaxPool2d) else nn.AvgPool2d)(
                layer.size, layer.stride
            )
        else:
            module = {ReLU: nn.ReLU, Flatten: nn.Flatten}.get(type(layer), nn.Identity)()
            if isinstance(layer, Dropout):
                module = nn.Dropout(layer.p)
        with torch.no_grad():
            for key, array in layer.params.items():
                own = getattr(module, key)
                own.copy_(torch.from_numpy(array.reshape(own.shape).copy()))
        modules.append(module)
        if isinstance(layer, MaxoutDense):
            if layer.relu:
                modules.append(nn.ReLU())
            if layer.dropout:
                modules.append(nn.Dropout(layer.dropout))
            modules.append(Units(layer.units, layer.k))
    model = nn.Sequential(*modules)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def torch_step(net, images, labels, best=False, compile_it=False):
    """One training step as a callable: gradients, SGD with momentum and weight decay.

    best: channels-last and the fused SGD; compile_it: through torch.compile besides.
    """
    import torch
    from torch.nn.functional import cross_entropy

    model = torch_network(net, channels_last=best).train()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    if best:
        x = x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=best)
    forward = torch.compile(model) if compile_it else model

    def step():
        optimizer.zero_grad()
        cross_entropy(forward(x), y).backward()
        optimizer.step()

    return step


def torch_stage(net, images, labels, batch, epochs, best=False):
    """`epochs` of training from tensors in memory, shuffled: the loop a careful PyTorch user writes."""
    import torch
    from torch.nn.functional import cross_entropy

    model = torch_network(net, channels_last=best).train()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=best)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: (1 + 1e-4 * i) ** -0.75)

    def stage():
        for _ in range(epochs):
            order = torch.randperm(len(x))
            for start in range(0, len(x) - batch + 1, batch):
                chosen = order[start : start + batch]
                part = x[chosen]
                if best:
                    part = part.to(memory_format=torch.channels_last)
                optimizer.zero_grad()
                cross_entropy(model(part), y[chosen]).backward()
                optimizer.step()
                schedule.step()

    return stage


def torch_inference(net, images, best=False):
    """Logits of a batch, without gradients, as a callable."""
    import torch

    model = torch_network(net, channels_last=best).eval()
    x = torch.from_numpy(images)
    if best:
        x = x.to(memory_format=torch.channels_last)

    def infer():
        with torch.inference_mode():
            return model(x).numpy()

    return infer


def onnx_inference(net, images, threads):
    """The same through ONNX Runtime, from the package's own export."""
    import onnxruntime

    from mnp.verify.onnx_export import to_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        to_onnx(net).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    return lambda: session.run(None, {name: images})[0]
