"""Whole training steps beside PyTorch: same weights, same batches, same dropout masks."""

import numpy as np
import pytest
from numpy.random import default_rng

from mnp.kernels import default_backend, textbook
from mnp.nn import (
    SGD,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Network,
    ReLU,
    fold_batchnorm,
    lenet5,
    loss_and_grads,
)

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def batches(count, size, seed):
    rng = default_rng(seed)
    for _ in range(count):
        yield rng.random((size, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, size)


def torch_lenet(params, x, keep, units, k):
    """The authors' network in PyTorch's own operations: dense, ReLU, dropout 0.5, maximum."""
    y = functional.max_pool2d(functional.conv2d(x, params["conv1.weight"], params["conv1.bias"]), 2)
    y = functional.max_pool2d(functional.conv2d(y, params["conv2.weight"], params["conv2.bias"]), 2)
    weight, bias = params["fc3.weight"].flatten(0, 1), params["fc3.bias"].flatten()
    z = functional.relu(functional.linear(y.flatten(1), weight, bias)).unflatten(1, (units, k))
    y = (z * keep * 2).max(dim=2).values
    return functional.linear(y, params["fc4.weight"], params["fc4.bias"])


def torch_params(net):
    return {name: torch.from_numpy(array.copy()).requires_grad_() for name, array in net.params().items()}


def relative(ours, theirs):
    """The largest difference over the largest value: rounding of a sum is relative to its terms."""
    theirs = theirs.detach().numpy()
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("name", ["default", "textbook"])
def test_ten_training_steps_of_the_maxout_lenet(name):
    small = name == "textbook"
    conv1, conv2, units, k = (3, 4, 8, 4) if small else (20, 52, 64, 4)
    net = lenet5(conv1, conv2, units, k, rng=1, backend=textbook if small else default_backend())
    theirs = torch_params(net)
    ours = SGD(net, momentum=0.9, weight_decay=5e-4)
    optimizer = torch.optim.SGD(theirs.values(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    rng = default_rng(7)
    for x, labels in batches(10, 4 if small else 64, seed=3):
        loss, _ = loss_and_grads(net, x, labels, rng)
        keep = torch.from_numpy(net["fc3"].cache.keep)
        logits = torch_lenet(theirs, torch.from_numpy(x), keep, units, k)
        their_loss = functional.cross_entropy(logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        their_loss.backward()
        assert float(loss) == pytest.approx(their_loss.item(), rel=1e-5)
        for key, gradient in net.grads().items():
            assert relative(gradient, theirs[key].grad) < 1e-4, key
        ours.step(0.01)
        optimizer.step()
    for key, array in net.params().items():
        assert relative(array, theirs[key]) < 1e-5, key


@pytest.mark.parametrize("backend", [textbook, None], ids=["textbook", "default"])
def test_batchnorm_network_trains_and_evaluates_as_pytorchs(backend):
    """State moves both ways under PyTorch's names; running statistics agree after five steps."""
    rest = {"rng": default_rng(2), "backend": backend, "dtype": np.float64}
    net = Network(
        [
            ("conv", Conv2d(2, 4, 3, padding=1, **rest)),
            ("bn", BatchNorm2d(4, dtype=np.float64, backend=backend)),
            ("relu", ReLU(backend=backend)),
            ("flatten", Flatten(backend=backend)),
            ("fc", Dense(4 * 6 * 5, 3, **rest)),
        ]
    )
    nn = torch.nn
    model = nn.Sequential()
    for name, module in [
        ("conv", nn.Conv2d(2, 4, 3, padding=1)),
        ("bn", nn.BatchNorm2d(4)),
        ("relu", nn.ReLU()),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(4 * 6 * 5, 3)),
    ]:
        model.add_module(name, module)
    model.double()
    state = {name: torch.from_numpy(array.copy()) for name, array in net.state_dict().items()}
    missing = model.load_state_dict(state, strict=False)
    assert missing.missing_keys == ["bn.num_batches_tracked"] or not missing.missing_keys
    assert not missing.unexpected_keys

    ours, optimizer = SGD(net), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    rng = default_rng(4)
    for _ in range(5):
        x, labels = rng.normal(1, 2, (6, 2, 6, 5)), rng.integers(0, 3, 6)
        loss, _ = loss_and_grads(net, x, labels)
        their_loss = functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(labels))
        optimizer.zero_grad()
        their_loss.backward()
        assert float(loss) == pytest.approx(their_loss.item(), rel=1e-9)
        ours.step(0.1)
        optimizer.step()
    their_state = model.state_dict()
    for name, array in net.state_dict().items():
        np.testing.assert_allclose(array, their_state[name].numpy(), rtol=1e-8, atol=1e-10)
    model.eval()
    x = rng.normal(size=(3, 2, 6, 5))
    expected = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(net.forward(x), expected, rtol=1e-8)
    np.testing.assert_allclose(fold_batchnorm(net).forward(x), expected, rtol=1e-8)
