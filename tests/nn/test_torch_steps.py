"""Training steps with batch normalisation beside PyTorch; `test_oracle` has those of the maxout LeNet."""

import numpy as np
import pytest
from numpy.random import default_rng

from mnp.kernels import textbook
from mnp.nn import SGD, BatchNorm2d, Conv2d, Dense, Flatten, Network, ReLU, fold_batchnorm, loss_and_grads

torch = pytest.importorskip("torch")
functional = torch.nn.functional


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
