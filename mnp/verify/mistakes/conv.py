"""Usual mistakes in convolution and in the fused pair with max pooling.

`TABLE[kernel][words]` is a function of (a, right): the arguments by name, the right outputs by name.
It returns the outputs that come out wrong. To add one, write it as you have seen it.
"""

from functools import partial

import numpy as np

from mnp.kernels import textbook
from mnp.verify.mistakes.change import changed, flipped, last_argmax, zero

conv = partial(changed, "conv2d_forward")
conv_backward = partial(changed, "conv2d_backward")
fused = partial(changed, "conv2d_maxpool2d_forward")
fused_backward = partial(changed, "conv2d_maxpool2d_backward")


def _on(image):
    """The convolution of an image that was padded in another way."""
    return lambda a, right: {"y": conv(x=image, padding=0)(a, right)["y"]}


def _padded(before, after, **how):
    """Zeros only before or only after each axis, or something else than zeros."""

    def image(a):
        p = a["padding"]
        return np.pad(a["x"], ((0, 0), (0, 0), *[(before * p, after * p)] * 2), **how)

    return _on(image)


def _shifted(a, by):
    """Padded image of the right size in which the image itself lies some pixels away from the middle."""
    down, right = (int(np.clip(step, -a["padding"], a["padding"])) for step in by)
    p = a["padding"]
    return np.pad(a["x"], ((0, 0), (0, 0), (p + down, p - down), (p + right, p - right)))


def _shifted_backward(by):
    def mistake(a, right):
        x, p, (h, w) = _shifted(a, by), a["padding"], a["x"].shape[2:]
        dx, dweight, _ = textbook.conv2d_backward(a["dy"], x, a["weight"], a["stride"], 0)
        top, left = (int(np.clip(p + step, 0, 2 * p)) for step in by)
        dx = None if right["dx"] is None else dx[:, :, top : top + h, left : left + w]
        return {"dx": dx, "dweight": dweight}

    return mistake


SHIFTS = {
    "padding off by one: the image lies one pixel too far up and left": (-1, -1),
    "padding off by one: the image lies one pixel too far down and right": (1, 1),
    "padding off by one: the image lies one pixel too far up": (-1, 0),
    "padding off by one: the image lies one pixel too far down": (1, 0),
    "padding off by one: the image lies one pixel too far left": (0, -1),
    "padding off by one: the image lies one pixel too far right": (0, 1),
}


def _windows_from_one(a, right):
    """Windows that begin one pixel late, over an image with one more row and column of zeros."""
    p = a["padding"]
    x = np.pad(a["x"], ((0, 0), (0, 0), (p, p + 1), (p, p + 1)))[:, :, 1:, 1:]
    y = textbook.conv2d_forward(x, a["weight"], a["bias"], a["stride"], 0)
    return {"y": y[:, :, : right["y"].shape[2], : right["y"].shape[3]]}


def _conv_uncropped(a, right):
    """dx cut out of the padded image at the wrong place: its first corner."""
    p, shape = a["padding"], a["x"].shape
    x = np.pad(a["x"], ((0, 0), (0, 0), (p, p), (p, p)))
    dx = textbook.conv2d_backward(a["dy"], x, a["weight"], a["stride"], 0)[0]
    return {"dx": None if right["dx"] is None else dx[:, :, : shape[2], : shape[3]]}


def _conv_emptied(a, right):
    """dx cut out by [padding:-padding], which is empty where padding is 0."""
    return {} if right["dx"] is None or a["padding"] else {"dx": right["dx"][:, :, :0, :0]}


def _overwritten(a, right):
    """dx in which a later window overwrites an earlier one."""
    if right["dx"] is None:
        return {}
    n, c, h, w = a["x"].shape
    (_, _, kh, kw), p, s = a["weight"].shape, a["padding"], a["stride"]
    dx = np.zeros((n, c, h + 2 * p, w + 2 * p))
    for i, j in np.ndindex(a["dy"].shape[2:]):
        dx[:, :, i * s : i * s + kh, j * s : j * s + kw] = np.einsum(
            "nf,fckl->nckl", a["dy"][:, :, i, j], a["weight"]
        )
    return {"dx": dx[:, :, p : p + h, p : p + w]}


def _last_window(a, right):
    """dweight from the last place of the window alone."""
    p, (top, left) = a["padding"], (a["stride"] * (n - 1) for n in a["dy"].shape[2:])
    _, _, kh, kw = a["weight"].shape
    window = np.pad(a["x"], ((0, 0), (0, 0), (p, p), (p, p)))[:, :, top : top + kh, left : left + kw]
    return {"dweight": np.einsum("nf,ncij->fcij", a["dy"][:, :, -1, -1], window)}


CONV_FORWARD = {
    "padding forgotten": conv(padding=0),
    "padding off by one (one too many)": conv(padding=lambda a: a["padding"] + 1),
    "padding off by one (one too few)": conv(padding=lambda a: max(a["padding"] - 1, 0)),
    **{words: _on(partial(_shifted, by=by)) for words, by in SHIFTS.items()},
    "padding on one side only (all of it before)": _padded(2, 0),
    "padding on one side only (all of it after)": _padded(0, 2),
    "padding on one side only (nothing after)": _padded(1, 0),
    "padding on one side only (nothing before)": _padded(0, 1),
    "padding with the border's pixels instead of zeros": _padded(1, 1, mode="edge"),
    "flipped kernel: a true convolution where cross-correlation is agreed": conv(weight=flipped("weight")),
    "stride forgotten": conv(stride=1),
    "bias forgotten": conv(bias=zero("bias")),
    "bias subtracted": conv(bias=lambda a: -a["bias"]),
    "bias added once for every input channel": conv(bias=lambda a: a["bias"] * a["x"].shape[1]),
    "kernel transposed (rows and columns swapped)": conv(weight=lambda a: np.swapaxes(a["weight"], 2, 3)),
    "weight transposed (filters and channels swapped)": conv(weight=lambda a: np.swapaxes(a["weight"], 0, 1)),
    "windows off by one: they begin one pixel late": _windows_from_one,
    "output off by one: the last row and column are missing": lambda a, r: {"y": r["y"][:, :, :-1, :-1]},
    "only the first input channel used": conv(x=lambda a: a["x"][:, :1], weight=lambda a: a["weight"][:, :1]),
}

CONV_BACKWARD = {
    "flipped kernel in dx": conv_backward(("dx",), weight=flipped("weight")),
    "flipped kernel in dweight": lambda a, r: {"dweight": r["dweight"][..., ::-1, ::-1]},
    "padding not cut off dx, or at the wrong corner": _conv_uncropped,
    **{words: _shifted_backward(by) for words, by in SHIFTS.items()},
    "padding cut off dx by [padding:-padding], which leaves nothing where padding is 0": _conv_emptied,
    "padding forgotten in dweight": conv_backward(("dweight",), padding=0),
    "overlapping windows overwrite dx instead of adding": _overwritten,
    "dbias summed over the images only": lambda a, r: {"dbias": a["dy"].sum(axis=0)},
    "dbias from the first pixel only": lambda a, r: {"dbias": a["dy"][:, :, 0, 0].sum(axis=0)},
    "only the last window counts in dweight (= instead of +=)": _last_window,
    "only the last image counts in dweight (= instead of +=)": conv_backward(
        ("dweight",), dy=lambda a: a["dy"][-1:], x=lambda a: a["x"][-1:]
    ),
}


def _fused_last_tie(a, right):
    z = textbook.conv2d_forward(a["x"], a["weight"], a["bias"], a["stride"], a["padding"])
    windows = np.lib.stride_tricks.sliding_window_view(z, (a["size"], a["size"]), axis=(2, 3))
    windows = windows[:, :, :: a["pool_stride"], :: a["pool_stride"]]
    return {"winner": last_argmax(windows.reshape(*windows.shape[:4], -1))}


TABLE = {
    "conv2d_forward": CONV_FORWARD,
    "conv2d_backward": CONV_BACKWARD,
    "conv2d_maxpool2d_forward": {
        "wrong tie rule: the last index wins": _fused_last_tie,
        "padding forgotten": fused(padding=0),
        "stride forgotten": fused(stride=1),
        "pool_stride forgotten": fused(pool_stride=lambda a: a["size"]),
        "bias forgotten": fused(bias=zero("bias")),
        "flipped kernel: a true convolution where cross-correlation is agreed": fused(
            weight=flipped("weight")
        ),
        "a ReLU that nobody asked for": lambda a, r: {"y": np.maximum(r["y"], 0)},
    },
    "conv2d_maxpool2d_backward": {
        "flipped kernel in dx": fused_backward(("dx",), weight=flipped("weight")),
        "flipped kernel in dweight": lambda a, r: {"dweight": r["dweight"][..., ::-1, ::-1]},
        "the winner ignored: the window's first pixel gets all": fused_backward(winner=zero("winner")),
    },
}
