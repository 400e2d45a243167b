"""The whole pruning run of the maxout LeNet, written independently in plain PyTorch.

Nothing of `mnp` is imported. What the two share is said here: the images, the seed, and the order in which
random numbers are drawn from one NumPy generator a stage:

    stage 0: the weights (conv1, conv2, fc3, fc4), then the epochs; each later stage: its epochs
    an epoch: a permutation of the examples; then for each full batch the dropout of fc3's neurons,
    kept where a float32 draw of shape (N, units, k) is at least the share dropped

A stage is: count wins over the training images, keep the best k - 1 neurons of every unit, train again with
fresh momentum. The maxout layer is an ordinary `nn.Linear` of units * k outputs.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812


@dataclass
class Plan:
    conv1: int
    conv2: int
    units: int
    k: int
    dropout: float = 0.5
    batch_size: int = 32
    epochs: tuple = (2, 1, 1, 1)  # of stage 0 and of each round after it
    lr: float = 0.01
    gamma: float = 1e-4
    power: float = 0.75
    momentum: float = 0.9
    weight_decay: float = 5e-4


@dataclass
class Round:
    """What a stage leaves: the decision it began with, and the network it ended with."""

    k: int
    counts: np.ndarray | None = None
    keep: np.ndarray | None = None
    losses: list = field(default_factory=list)
    state: dict = field(default_factory=dict)


class MaxoutLeNet(torch.nn.Module):
    def __init__(self, plan, dtype):
        super().__init__()
        self.k, self.dropout = plan.k, plan.dropout
        self.conv1 = torch.nn.Conv2d(1, plan.conv1, 5, dtype=dtype)
        self.conv2 = torch.nn.Conv2d(plan.conv1, plan.conv2, 5, dtype=dtype)
        self.fc3 = torch.nn.Linear(plan.conv2 * 16, plan.units * plan.k, dtype=dtype)
        self.fc4 = torch.nn.Linear(plan.units, 10, dtype=dtype)

    def neurons(self, x):
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.fc3(x.flatten(1)).unflatten(1, (-1, self.k))

    def training_logits(self, x, rng):
        z = F.relu(self.neurons(x))
        kept = rng.random(tuple(z.shape), dtype=np.float32) >= self.dropout
        z = torch.where(torch.from_numpy(kept), z / (1 - self.dropout), 0)
        return self.fc4(z.max(dim=2).values)

    def forward(self, x):
        return self.fc4(F.relu(self.neurons(x).max(dim=2).values))


def generator(seed, stage):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stage,))))


def start(net, rng):
    """Caffe's uniform weights, bound sqrt(3 / fan_in); zero biases."""
    with torch.no_grad():
        for layer in (net.conv1, net.conv2, net.fc3, net.fc4):
            bound = np.sqrt(3 / layer.weight[0].numel())
            drawn = rng.uniform(-bound, bound, tuple(layer.weight.shape))
            layer.weight.copy_(torch.from_numpy(drawn))
            layer.bias.zero_()


def train(net, images, labels, plan, epochs, rng, losses):
    optimizer = torch.optim.SGD(net.parameters(), 1.0, plan.momentum, weight_decay=plan.weight_decay)
    iteration = 0
    for _ in range(epochs):
        order = torch.from_numpy(rng.permutation(len(images)))
        for i in range(len(images) // plan.batch_size):
            batch = order[i * plan.batch_size : (i + 1) * plan.batch_size]
            loss = F.cross_entropy(net.training_logits(images[batch], rng), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.param_groups[0]["lr"] = plan.lr * (1 + plan.gamma * iteration) ** -plan.power
            optimizer.step()
            losses.append(loss.item())
            iteration += 1


@torch.no_grad()
def collect_win_counts(net, images):
    """How often each neuron is the maximum of its unit, in evaluation mode, before the ReLU."""
    z = net.neurons(images)
    is_best = z == z.max(dim=2, keepdim=True).values
    first = is_best & (is_best.cumsum(dim=2) == 1)
    return first.sum(dim=0)


@torch.no_grad()
def remove_worst(net, plan, counts):
    """A network with k - 1 neurons a unit: the one that won least goes; of equals, the last."""
    units, k = counts.shape
    keep = []
    for unit in counts.tolist():
        worst = max(j for j in range(k) if unit[j] == min(unit))
        keep.append([j for j in range(k) if j != worst])
    rows = torch.tensor([u * k + j for u in range(units) for j in keep[u]])
    small = MaxoutLeNet(Plan(plan.conv1, plan.conv2, units, k - 1, plan.dropout), net.fc3.weight.dtype)
    state = net.state_dict()
    state["fc3.weight"], state["fc3.bias"] = state["fc3.weight"][rows], state["fc3.bias"][rows]
    small.load_state_dict(state)
    return small, np.array(keep)


def run(images, labels, plan, seed, dtype=torch.float64, states=None):
    """Train, then prune and retrain down to k = 1.

    Parameters
    ----------
    images : (N, 1, 28, 28) array
    labels : (N,) int array
    plan : Plan
    seed : int
    states : list of dict of name -> array, optional
        What each stage ended with in another implementation: the next one then begins with that.

    Returns
    -------
    rounds : list of Round, plan.k of them
    """
    images, labels = torch.from_numpy(images).to(dtype), torch.from_numpy(labels)
    net, rounds = MaxoutLeNet(plan, dtype), []
    for stage in range(plan.k):
        rng, done = generator(seed, stage), Round(plan.k - stage)
        if stage == 0:
            start(net, rng)
        else:
            if states is not None:
                own = net.state_dict()
                before = {
                    name: torch.tensor(a).reshape(own[name].shape) for name, a in states[stage - 1].items()
                }
                net.load_state_dict(before)
            counts = collect_win_counts(net, images)
            net, done.keep = remove_worst(net, plan, counts)
            done.counts = counts.numpy()
        train(net, images, labels, plan, plan.epochs[stage], rng, done.losses)
        done.state = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
        rounds.append(done)
    return rounds
