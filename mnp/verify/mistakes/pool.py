"""Usual mistakes in pooling, each as a wrong version of the textbook; see `mistakes.conv` for the form."""

from functools import partial

import numpy as np

from mnp.verify.mistakes.change import changed, maximum

maxpool = partial(changed, "maxpool2d_forward")
avgpool = partial(changed, "avgpool2d_forward")


def _windows(a):
    """All windows of an image: (N, C, OH, OW, size * size)."""
    view = np.lib.stride_tricks.sliding_window_view(a["x"], (a["size"], a["size"]), axis=(2, 3))
    view = view[:, :, :: a["stride"], :: a["stride"]]
    return view.reshape(*view.shape[:4], -1)


def _columns_first(windows):
    size = round(windows.shape[-1] ** 0.5)
    square = windows.reshape(*windows.shape[:-1], size, size)
    return np.swapaxes(square, -1, -2).reshape(windows.shape)


def _recode(code):
    """A winner with the right place in another code."""

    def mistake(a, right):
        rows, columns = right["winner"] // a["size"], right["winner"] % a["size"]
        return {"winner": code(a, rows, columns)}

    return mistake


def _image_index(a, rows, columns):
    oh, ow = np.ogrid[: rows.shape[2], : rows.shape[3]]
    return (oh * a["stride"] + rows) * a["x"].shape[3] + ow * a["stride"] + columns


def _beyond(**reductions):
    """Output sizes H // stride: where windows overlap, the last ones are cut by the image's border."""

    def mistake(a, right):
        x, size, stride = a["x"], a["size"], a["stride"]
        rows, columns = x.shape[2] // stride, x.shape[3] // stride
        found = {name: np.zeros((*x.shape[:2], rows, columns), right[name].dtype) for name in reductions}
        for i, j in np.ndindex(rows, columns):
            window = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
            for name, reduce in reductions.items():
                found[name][:, :, i, j] = reduce(window.reshape(*x.shape[:2], -1), -1)
        return found

    return mistake


BEYOND = "output of H // stride instead of (H - size) // stride + 1: windows reach beyond the image"

MAXPOOL_FORWARD = {
    "the window read in column-major order, the winner and its ties too": lambda a, r: {
        "winner": _columns_first(_windows(a)).argmax(-1)
    },
    "the winner in column-major order": _recode(lambda a, i, j: j * a["size"] + i),
    "the winner as an index into the image, not into the window": _recode(_image_index),
    "the winner as its row only": _recode(lambda a, i, j: i),
    **maximum(_windows),
    "stride forgotten (size used instead)": maxpool(stride=lambda a: a["size"]),
    "stride forgotten (1 used instead)": maxpool(stride=1),
    "size and stride swapped": maxpool(size=lambda a: a["stride"], stride=lambda a: a["size"]),
    "output off by one: the last row and column are missing": lambda a, r: {
        "y": r["y"][:, :, :-1, :-1],
        "winner": r["winner"][:, :, :-1, :-1],
    },
    BEYOND: _beyond(y=np.max, winner=np.argmax),
    "windows off by one: one pixel too small": lambda a, r: {
        "y": _inner(_windows(a)).max(-1),
        "winner": _inner_winner(_windows(a)),
    },
}


def _inner(windows):
    size = round(windows.shape[-1] ** 0.5)
    return windows.reshape(*windows.shape[:-1], size, size)[..., :-1, :-1].reshape(*windows.shape[:-1], -1)


def _inner_winner(windows):
    size, inner = round(windows.shape[-1] ** 0.5), _inner(windows).argmax(-1)
    return inner // (size - 1) * size + inner % (size - 1)


def _scatter(share=None, at=None, add=True):
    """Pooling backwards, wrong: `share` of dy for every pixel, or all of it `at` another one."""

    def mistake(a, right):
        size, stride = a["size"], a["stride"]
        dx = np.zeros(a["x_shape"])
        for n, c, p, q in np.ndindex(a["dy"].shape):
            window = dx[n, c, p * stride : p * stride + size, q * stride : q * stride + size]
            pixel = slice(None) if at is None else at(int(a["winner"][n, c, p, q]), size)
            dy = a["dy"][n, c, p, q] * (share(a) if share else 1)
            window[pixel] = dy + (window[pixel] if add else 0)
        return {"dx": dx}

    return mistake


MAXPOOL_BACKWARD = {
    "overlapping windows overwrite dx instead of adding": _scatter(at=divmod, add=False),
    "the winner read in column-major order": _scatter(at=lambda w, size: (w % size, w // size)),
    "the winner ignored: the window's first pixel gets all": _scatter(at=lambda w, size: (0, 0)),
    "gradient of a max shared between all pixels, as if they were ties": _scatter(
        share=lambda a: 1 / a["size"] ** 2
    ),
    "gradient of a max given to every pixel of the window": _scatter(share=lambda a: 1),
    "stride forgotten (size used instead)": changed("maxpool2d_backward", stride=lambda a: a["size"]),
}

AVGPOOL_FORWARD = {
    "a maximum instead of a mean": lambda a, r: {"y": _windows(a).max(-1)},
    BEYOND: _beyond(y=np.mean),
    "stride forgotten (size used instead)": avgpool(stride=lambda a: a["size"]),
    "stride forgotten (1 used instead)": avgpool(stride=1),
    "size and stride swapped": avgpool(size=lambda a: a["stride"], stride=lambda a: a["size"]),
}

AVGPOOL_BACKWARD = {
    "overlapping windows overwrite dx instead of adding": _scatter(
        share=lambda a: 1 / a["size"] ** 2, add=False
    ),
}

TABLE = {
    "maxpool2d_forward": MAXPOOL_FORWARD,
    "maxpool2d_backward": MAXPOOL_BACKWARD,
    "avgpool2d_forward": AVGPOOL_FORWARD,
    "avgpool2d_backward": AVGPOOL_BACKWARD,
}
