"""Layers, networks, optimisers, and the training loop.

Reading order: base, layers, maxout, network, losses, optimizers, training, models. The rest is
for speed or convenience: fused, folding, captured, augment, progress.
"""

from mnp.nn.base import Layer
from mnp.nn.folding import fold_batchnorm
from mnp.nn.layers import AvgPool2d, BatchNorm2d, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU
from mnp.nn.losses import loss_and_grads, output_gradient
from mnp.nn.maxout import Maxout, MaxoutConv2d, MaxoutDense
from mnp.nn.models import lenet5, mlp, units_of, vgg16
from mnp.nn.network import Network, register_layer
from mnp.nn.optimizers import SGD, learning_rate
from mnp.nn.training import EpochResult, Evaluation, evaluate, fit, train_epoch

__all__ = [
    "SGD",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dense",
    "Dropout",
    "EpochResult",
    "Evaluation",
    "Flatten",
    "Layer",
    "MaxPool2d",
    "Maxout",
    "MaxoutConv2d",
    "MaxoutDense",
    "Network",
    "ReLU",
    "evaluate",
    "fit",
    "fold_batchnorm",
    "learning_rate",
    "lenet5",
    "loss_and_grads",
    "mlp",
    "output_gradient",
    "register_layer",
    "train_epoch",
    "units_of",
    "vgg16",
]
