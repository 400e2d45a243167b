"""Data augmentation of training images: random flip, shift and zoom.

An augmentation is a function (images, rng) -> images of the same shape, for `train_epoch(augment=...)`.
Every image gets its own random numbers; they are drawn from rng in a fixed order, so a run is repeatable.
"""

import numpy as np

from mnp.errors import MnpError


def random_flip(images, rng):
    """Flip images left to right, each with probability 1/2.

        y[n, c, h, w] = x[n, c, h, W - 1 - w]   with probability 1/2 for each n

    images (N, C, H, W), any dtype -> a new array of the same shape; one draw per image.

    >>> x = np.arange(6).reshape(3, 1, 1, 2)
    >>> random_flip(x, np.random.default_rng(0)).reshape(3, 2).tolist()
    [[0, 1], [3, 2], [5, 4]]
    """
    flipped = rng.random(len(images)) < 0.5
    return np.where(flipped[:, None, None, None], images[:, :, :, ::-1], images)


def random_shift(images, rng, max_shift):
    """Shift every image by up to `max_shift` pixels in both directions, with edge padding.

        y[n, c, h, w] = x[n, c, clip(h + a, 0, H - 1), clip(w + b, 0, W - 1)],   |a|, |b| <= max_shift

    images (N, C, H, W), any dtype -> a new array of the same shape; all a are drawn first, then all b.
    Raises MnpError for a negative `max_shift`.

    >>> x = np.arange(3).reshape(1, 1, 1, 3)
    >>> seeds = map(np.random.default_rng, range(20))
    >>> sorted({tuple(random_shift(x, rng, max_shift=1).ravel().tolist()) for rng in seeds})
    [(0, 0, 1), (0, 1, 2), (1, 2, 2)]
    """
    if max_shift < 0:
        raise MnpError(f"max_shift is {max_shift}; give 0 or more pixels")
    n, _, h, w = images.shape
    down, right = rng.integers(-max_shift, max_shift + 1, (2, n))
    moved = np.empty_like(images, order="C")
    rows, columns = np.arange(h), np.arange(w)
    for i, (a, b) in enumerate(zip(down, right, strict=True)):
        moved[i] = images[i][:, np.clip(rows + a, 0, h - 1)][:, :, np.clip(columns + b, 0, w - 1)]
    return moved


def shift_by_one(images, rng):
    """`random_shift` by up to one pixel, as the field `train.augment` of a recipe names it.

    >>> x, seeds = np.arange(3).reshape(1, 1, 1, 3), map(np.random.default_rng, range(20))
    >>> sorted({tuple(shift_by_one(x, rng).ravel().tolist()) for rng in seeds})
    [(0, 0, 1), (0, 1, 2), (1, 2, 2)]
    """
    return random_shift(images, rng, 1)


def random_zoom(images, rng, max_zoom):
    """Zoom every image about its centre, by a factor between 1 - max_zoom and 1 + max_zoom.

        y[n, c, h, w] = x[n, c, r(h), r(w)],   r(h) = clip((h - m) / s[n] + m, 0, H - 1),   m = (H - 1) / 2

    s[n] is uniform in 1 - max_zoom .. 1 + max_zoom; between pixels, x is interpolated linearly, rows first;
    beyond the image it is padded with its edge.

    images (N, C, H, W) float -> a new array of its shape and dtype; one draw per image.
    Raises MnpError for a `max_zoom` outside [0, 1).

    >>> x = np.arange(5.0).reshape(1, 1, 1, 5)
    >>> random_zoom(x, np.random.default_rng(0), max_zoom=0.5).round(2).ravel().tolist()      # s = 1.14
    [0.24, 1.12, 2.0, 2.88, 3.76]
    """
    if not 0 <= max_zoom < 1:
        raise MnpError(f"max_zoom is {max_zoom}; give a number in [0, 1)")
    n, _, h, w = images.shape
    factors = rng.uniform(1 - max_zoom, 1 + max_zoom, n)
    zoomed = np.empty_like(images, order="C")
    for i, factor in enumerate(factors):
        (above, below, down), (left, right, over) = (_between(size, factor, images.dtype) for size in (h, w))
        x = images[i]
        x = x[:, above] * (1 - down)[:, None] + x[:, below] * down[:, None]
        zoomed[i] = x[:, :, left] * (1 - over) + x[:, :, right] * over
    return zoomed


def _between(size, factor, dtype):
    """Source of each pixel of a zoomed line: its two neighbours, and the weight of the second."""
    middle = (size - 1) / 2
    places = np.clip((np.arange(size) - middle) / factor + middle, 0, size - 1)
    first = np.minimum(places.astype(np.int64), max(size - 2, 0))
    return first, np.minimum(first + 1, size - 1), (places - first).astype(dtype)


def standard_augmentation(max_shift, max_zoom=0.0):
    """Make an augmentation of all three: flip, zoom (if max_zoom is not 0), shift.

    >>> augment = standard_augmentation(2, 0.1)
    >>> augment(np.zeros((4, 3, 8, 8)), np.random.default_rng(0)).shape
    (4, 3, 8, 8)
    """

    def augment(images, rng):
        images = random_flip(images, rng)
        if max_zoom:
            images = random_zoom(images, rng, max_zoom)
        return random_shift(images, rng, max_shift)

    return augment
