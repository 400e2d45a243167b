"""Usual mistakes in pooling; see `mistakes.change` for the form."""

from functools import partial

import numpy as np

from mnp.verify.mistakes.change import changed, joined, maximum, windows


def _image_index(winner, x, size, stride):
    oh, ow = np.ogrid[: winner.shape[2], : winner.shape[3]]
    return (oh * stride + winner // size) * x.shape[3] + ow * stride + winner % size


def _inner(x, size, stride):
    """Windows without their last row and column."""
    return joined(windows(x, size, stride)[..., :-1, :-1])


def _inner_winner(x, size, stride):
    inner = _inner(x, size, stride).argmax(-1)
    return inner // (size - 1) * size + inner % (size - 1)


def _beyond(reduce):
    """Output sizes H // stride: where windows overlap, the last ones are cut by the image's border."""

    def output(x, size, stride):
        shape = *x.shape[:2], x.shape[2] // stride, x.shape[3] // stride
        corners = ((i * stride, j * stride) for i, j in np.ndindex(shape[2:]))
        parts = [reduce(joined(x[:, :, i : i + size, j : j + size]), -1) for i, j in corners]
        return np.stack(parts, axis=-1).reshape(shape)

    return output


def _scatter(share=None, at=None, add=True):
    """Pooling backwards, wrong: `share` of dy for every pixel, or all of it `at` another one."""

    def mistake(a, right):
        size, stride = a["size"], a["stride"]
        dx = np.zeros(a["x_shape"])
        for n, c, p, q in np.ndindex(a["dy"].shape):
            window = dx[n, c, p * stride : p * stride + size, q * stride : q * stride + size]
            pixel = slice(None) if at is None else at(int(a["winner"][n, c, p, q]), size)
            dy = a["dy"][n, c, p, q] * (share(size) if share else 1)
            window[pixel] = dy + (window[pixel] if add else 0)
        return {"dx": dx}

    return mistake


def _strides(kernel):
    """Size and stride taken for one another."""
    pool = partial(changed, kernel)
    return {
        "stride forgotten (size used instead)": pool(stride=lambda size: size),
        "stride forgotten (1 used instead)": pool(stride=1),
        "size and stride swapped": pool(size=lambda stride: stride, stride=lambda size: size),
    }


def _mean(size):
    return 1 / size**2


BEYOND = "output of H // stride instead of (H - size) // stride + 1: windows reach beyond the image"
OVERWRITTEN = "overlapping windows overwrite dx instead of adding"

TABLE = {
    "maxpool2d_forward": {
        "the window read in column-major order, the winner and its ties too": {
            "winner": lambda x, size, stride: joined(windows(x, size, stride).swapaxes(-1, -2)).argmax(-1)
        },
        "the winner in column-major order": {
            "winner": lambda winner, size: winner % size * size + winner // size
        },
        "the winner as an index into the image, not into the window": {"winner": _image_index},
        "the winner as its row only": {"winner": lambda winner, size: winner // size},
        **maximum(lambda x, size, stride: joined(windows(x, size, stride))),
        **_strides("maxpool2d_forward"),
        "output off by one: the last row and column are missing": {
            "y": lambda y: y[:, :, :-1, :-1],
            "winner": lambda winner: winner[:, :, :-1, :-1],
        },
        BEYOND: {"y": _beyond(np.max), "winner": _beyond(np.argmax)},
        "windows off by one: one pixel too small": {
            "y": lambda x, size, stride: _inner(x, size, stride).max(-1),
            "winner": _inner_winner,
        },
    },
    "maxpool2d_backward": {
        OVERWRITTEN: _scatter(at=divmod, add=False),
        "the winner read in column-major order": _scatter(at=lambda w, size: (w % size, w // size)),
        "gradient of a max shared between all pixels, as if they were ties": _scatter(_mean),
        "gradient of a max given to every pixel of the window": _scatter(lambda size: 1),
        "stride forgotten (size used instead)": changed("maxpool2d_backward", stride=lambda size: size),
    },
    "avgpool2d_forward": {
        "a maximum instead of a mean": {"y": lambda x, size, stride: windows(x, size, stride).max((-1, -2))},
        BEYOND: {"y": _beyond(np.mean)},
        **_strides("avgpool2d_forward"),
    },
    "avgpool2d_backward": {OVERWRITTEN: _scatter(_mean, add=False)},
}
