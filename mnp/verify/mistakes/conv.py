"""Usual mistakes in convolution and in the fused pair with max pooling.

`TABLE[kernel][words]` is an entry in the form of `mistakes.change`. To add one, write it as you have seen it.
"""

from functools import partial

import numpy as np

from mnp.kernels import textbook
from mnp.verify.mistakes.change import changed, flipped, joined, last_argmax, windows

conv = partial(changed, "conv2d_forward")
conv_backward = partial(changed, "conv2d_backward")
fused = partial(changed, "conv2d_maxpool2d_forward")


def _pad(x, rows, columns, **how):
    """Pad images by (before, after) of both axes."""
    return np.pad(x, ((0, 0), (0, 0), rows, columns), **how)


def _on(image):
    """The convolution of an image that was padded in another way, by a function of x and padding."""

    def y(x, weight, bias, stride, padding):
        return textbook.conv2d_forward(image(x, padding), weight, bias, stride, 0)

    return {"y": y}


def _padded(before, after, **how):
    """Zeros only before or only after each axis, or something else than zeros."""
    return _on(lambda x, p: _pad(x, *[(before * p, after * p)] * 2, **how))


def _shifted(x, padding, by):
    """Padded image of the right size in which the image itself lies some pixels away from the middle."""
    return _pad(x, *((padding + step, padding - step) for step in np.clip(by, -padding, padding)))


def _cut(down, right):
    """dx cut out of the padded image some pixels away from the middle."""

    def dx(dy, x, weight, stride, padding):
        whole = textbook.conv2d_backward(dy, _shifted(x, padding, (0, 0)), weight, stride, 0)[0]
        top, left = padding + np.clip((down, right), -padding, padding)
        return whole[:, :, top : top + x.shape[2], left : left + x.shape[3]]

    return dx


def _shifted_backward(by):
    def dweight(dy, x, weight, stride, padding):
        return textbook.conv2d_backward(dy, _shifted(x, padding, by), weight, stride, 0)[1]

    return {"dx": _cut(*by), "dweight": dweight}


WAYS = {
    "up and left": (-1, -1),
    "down and right": (1, 1),
    "up": (-1, 0),
    "down": (1, 0),
    "left": (0, -1),
    "right": (0, 1),
}
SHIFTS = {f"padding off by one: the image lies one pixel too far {way}": by for way, by in WAYS.items()}


def _overwritten(dy, x, weight, stride, padding):
    """dx in which a later window overwrites an earlier one."""
    (h, w), (kh, kw) = x.shape[2:], weight.shape[2:]
    dx = np.zeros_like(_shifted(x, padding, (0, 0)))
    for i, j in np.ndindex(dy.shape[2:]):
        part = np.einsum("nf,fckl->nckl", dy[:, :, i, j], weight)
        dx[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] = part
    return dx[:, :, padding : padding + h, padding : padding + w]


def _last_window(dy, x, weight, stride, padding):
    """dweight from the last place of the window alone."""
    (top, left), (kh, kw) = (stride * (n - 1) for n in dy.shape[2:]), weight.shape[2:]
    window = _shifted(x, padding, (0, 0))[:, :, top : top + kh, left : left + kw]
    return np.einsum("nf,ncij->fcij", dy[:, :, -1, -1], window)


def _fused_last_tie(x, weight, bias, stride, padding, size, pool_stride):
    z = textbook.conv2d_forward(x, weight, bias, stride, padding)
    return last_argmax(joined(windows(z, size, pool_stride)))


FLIPPED = "flipped kernel: a true convolution where cross-correlation is agreed"
FLIPPED_BACKWARD = {
    "flipped kernel in dx": conv_backward(("dx",), weight=flipped),
    "flipped kernel in dweight": {"dweight": lambda dweight: flipped(dweight)},
}

TABLE = {
    "conv2d_forward": {
        "padding off by one (one too many)": conv(padding=lambda padding: padding + 1),
        "padding off by one (one too few)": conv(padding=lambda padding: max(padding - 1, 0)),
        **{words: _on(partial(_shifted, by=by)) for words, by in SHIFTS.items()},
        "padding on one side only (all of it before)": _padded(2, 0),
        "padding on one side only (all of it after)": _padded(0, 2),
        "padding on one side only (nothing after)": _padded(1, 0),
        "padding on one side only (nothing before)": _padded(0, 1),
        "padding with the border's pixels instead of zeros": _padded(1, 1, mode="edge"),
        FLIPPED: conv(weight=flipped),
        "bias subtracted": conv(bias=lambda bias: -bias),
        "bias added once for every input channel": conv(bias=lambda bias, x: bias * x.shape[1]),
        "kernel transposed (rows and columns swapped)": conv(weight=lambda weight: weight.swapaxes(2, 3)),
        "weight transposed (filters and channels swapped)": conv(weight=lambda weight: weight.swapaxes(0, 1)),
        "windows off by one: they begin one pixel late": _on(
            lambda x, p: _pad(x, (p, p + 1), (p, p + 1))[:, :, 1:, 1:]
        ),
        "output off by one: the last row and column are missing": {"y": lambda y: y[:, :, :-1, :-1]},
        "only the first input channel used": conv(x=lambda x: x[:, :1], weight=lambda weight: weight[:, :1]),
    },
    "conv2d_backward": {
        **FLIPPED_BACKWARD,
        "padding not cut off dx, or at the wrong corner": {"dx": _cut(-99, -99)},
        **{words: _shifted_backward(by) for words, by in SHIFTS.items()},
        "padding cut off dx by [padding:-padding], which leaves nothing where padding is 0": {
            "dx": lambda dx, padding: dx if padding else dx[:, :, :0, :0]
        },
        "padding forgotten in dweight": conv_backward(("dweight",), padding=0),
        "overlapping windows overwrite dx instead of adding": {"dx": _overwritten},
        "dbias summed over the images only": {"dbias": lambda dy: dy.sum(axis=0)},
        "dbias from the first pixel only": {"dbias": lambda dy: dy[:, :, 0, 0].sum(axis=0)},
        "only the last window counts in dweight (= instead of +=)": {"dweight": _last_window},
        "only the last image counts in dweight (= instead of +=)": conv_backward(
            ("dweight",), dy=lambda dy: dy[-1:], x=lambda x: x[-1:]
        ),
    },
    "conv2d_maxpool2d_forward": {
        "wrong tie rule: the last index wins": {"winner": _fused_last_tie},
        "pool_stride forgotten": fused(pool_stride=lambda size: size),
        FLIPPED: fused(weight=flipped),
        "a ReLU that nobody asked for": {"y": lambda y: np.maximum(y, 0)},
    },
    "conv2d_maxpool2d_backward": {
        "flipped kernel in dx": changed("conv2d_maxpool2d_backward", ("dx",), weight=flipped),
        "flipped kernel in dweight": FLIPPED_BACKWARD["flipped kernel in dweight"],
    },
}
