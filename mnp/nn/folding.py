"""Fold batch normalisation into the convolution before it, for inference."""

import numpy as np

from mnp.nn.layers import BatchNorm2d, Conv2d
from mnp.nn.network import Network


def fold_batchnorm(net):
    """Return a new network in which each BatchNorm2d after a Conv2d is folded into that Conv2d.

        scale[f]           = weight_bn[f] / sqrt(running_var[f] + eps)
        weight[f, c, i, j] = weight_conv[f, c, i, j] * scale[f]
        bias[f]            = (bias_conv[f] - running_mean[f]) * scale[f] + bias_bn[f]

    For inference: in evaluation mode the outputs equal those of `net` up to rounding (computed in
    float64, rounded once). `net` is untouched. A convolution's weight mask stays with it; a bias mask
    is dropped, because the folded bias is no longer zero. A BatchNorm2d that follows anything but a
    Conv2d stays where it is.

    >>> from mnp.kernels import textbook
    >>> net = Network([("conv", Conv2d(1, 2, 3, backend=textbook)), ("bn", BatchNorm2d(2, backend=textbook))])
    >>> list(fold_batchnorm(net).layers)
    ['conv']
    """
    folded, before = [], None
    for name, layer in net.layers.items():
        if isinstance(layer, BatchNorm2d) and isinstance(before, Conv2d):
            _fold(before, layer)
            before = None
            continue
        before = layer.copy()
        folded.append((name, before))
    return Network(folded)


def _fold(conv, norm):
    """Change conv, a copy, in place: it computes what conv followed by norm did."""
    weight, bias = conv.params["weight"], conv.params["bias"]
    var = norm.buffers["running_var"].astype(np.float64)
    scale = norm.params["weight"] / np.sqrt(var + norm.eps)
    conv.params["bias"] = np.ascontiguousarray(
        ((bias - norm.buffers["running_mean"]) * scale + norm.params["bias"]).astype(bias.dtype)
    )
    conv.params["weight"] = np.ascontiguousarray((weight * scale[:, None, None, None]).astype(weight.dtype))
    conv.masks.pop("bias", None)
