"""A plain PyTorch program of the paper's method, as `mnp check --model` takes it.

mnp check --model tests/frameworks/torch_program.py:model
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Maxout(nn.Module):
    def __init__(self, features, units, k):
        super().__init__()
        self.units, self.k = units, k
        self.linear = nn.Linear(features, units * k)
        self.dropout = nn.Dropout(0.5)

    def neurons(self, x):
        return self.linear(x).reshape(-1, self.units, self.k)

    def forward(self, x):
        return self.dropout(F.relu(self.neurons(x))).max(2).values


class Net(nn.Module):
    def __init__(self, k=4):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 5), nn.Conv2d(3, 8, 5)
        self.maxout = Maxout(8, 8, k)
        self.out = nn.Linear(8, 10)

    def features(self, x):
        x = F.max_pool2d(self.conv1(x), 2)
        return F.max_pool2d(self.conv2(x), 2).flatten(1)

    def forward(self, x):
        return self.out(self.maxout(self.features(x)))


def model():
    return Net()


def optimizer(net):
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)


def win_counts(net, images):
    net.eval()
    with torch.no_grad():
        winner = net.maxout.neurons(net.features(images)).argmax(2)
    return F.one_hot(winner, net.maxout.k).sum(0)


def rank(counts):
    return torch.argsort(counts, dim=1, descending=True, stable=True)


def keep(order, n_keep):
    return order[:, :n_keep].sort(1).values


def prune(net, keep):
    units, n_keep = keep.shape
    small = Net(n_keep).double()
    state = net.state_dict()
    old = state["maxout.linear.weight"].reshape(units, net.maxout.k, -1)
    state["maxout.linear.weight"] = torch.take_along_dim(old, keep[:, :, None], 1).reshape(units * n_keep, -1)
    old = state["maxout.linear.bias"].reshape(units, net.maxout.k)
    state["maxout.linear.bias"] = torch.take_along_dim(old, keep, 1).reshape(-1)
    small.load_state_dict(state)
    return small


def masks(net, sparsity):
    found = {}
    for name, p in net.named_parameters():
        if name.endswith("weight"):
            zeros = int(sparsity * p.numel() + 0.5)
            order = p.detach().abs().flatten().argsort(descending=True, stable=True)
            mask = torch.zeros(p.numel(), dtype=torch.bool)
            mask[order[: p.numel() - zeros]] = True
            found[name] = mask.reshape(p.shape)
    return found


def masked_step(net, optimizer, masks):
    optimizer.step()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name in masks:
                p *= masks[name]
