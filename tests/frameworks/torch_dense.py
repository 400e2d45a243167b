"""A network of dense maxout layers in PyTorch, checked against golden vectors of the same network.

mnp vectors --checkpoint NETWORK --out DIR
mnp check --model tests/frameworks/torch_dense.py:model --golden DIR

NETWORK is a checkpoint of `mnp.nn.mlp((6, 5), k=3)`. Loss and optimizer are those of `mnp.verify.models`.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

UNITS, K = (6, 5), 3


class Net(nn.Module):
    def __init__(self, k=K):
        super().__init__()
        self.k, widths = k, (784, *UNITS)
        self.maxout = nn.ModuleList(nn.Linear(i, u * k) for i, u in zip(widths, UNITS, strict=False))
        self.out = nn.Linear(UNITS[-1], 10)

    def neurons(self, layer, x):
        return self.maxout[layer](x).reshape(len(x), -1, self.k)

    def forward(self, x):
        x = x.flatten(1)
        for layer in range(len(UNITS)):
            z = F.dropout(F.relu(self.neurons(layer, x)), 0.5, self.training)
            x = z.max(2).values
        return self.out(x)


def model():
    return Net()


def win_counts(net, images):
    net.eval()
    x, counts = images.flatten(1), []
    for layer in range(len(UNITS)):
        z = net.neurons(layer, x)
        counts.append(F.one_hot(z.argmax(2), net.k).sum(0))
        x = F.relu(z.max(2).values)
    return counts if len(counts) > 1 else counts[0]


def prune(net, keep):
    keeps = keep if len(UNITS) > 1 else [keep]
    small, state = Net(keeps[0].shape[1]).double(), net.state_dict()
    for layer, kept in enumerate(keeps):
        for name in (f"maxout.{layer}.weight", f"maxout.{layer}.bias"):
            rows = state[name].reshape(len(kept), net.k, -1)
            rows = torch.take_along_dim(rows, kept[:, :, None], 1)
            state[name] = rows.reshape(-1, *state[name].shape[1:])
    small.load_state_dict(state)
    return small
