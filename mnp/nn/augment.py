"""Training images made a little different each time they are seen: mirrored, shifted, zoomed.

An augmentation is a function (images, rng) -> images of the same shape, for `train_epoch(augment=...)`.
Each image draws its own chance; the draws come from the rng in a fixed order, so a run repeats.
"""

import numpy as np

from mnp.errors import MnpError


def mirror(images, rng):
    """Turn about half of the images left to right.

        y[n, c, i, j] = x[n, c, i, W - 1 - j]   with probability 1/2 for each n

    images (N, C, H, W), any dtype -> a new array of the same shape; one draw an image.

    >>> x = np.arange(6).reshape(3, 1, 1, 2)
    >>> mirror(x, np.random.default_rng(0)).reshape(3, 2).tolist()
    [[0, 1], [3, 2], [5, 4]]
    """
    turned = rng.random(len(images)) < 0.5
    return np.where(turned[:, None, None, None], images[:, :, :, ::-1], images)


def shift(images, rng, most):
    """Move every image by up to `most` pixels in both directions; what comes in repeats the edge.

        y[n, c, i, j] = x[n, c, clip(i + a, 0, H - 1), clip(j + b, 0, W - 1)],   a, b drawn from -most..most

    images (N, C, H, W), any dtype -> a new array of the same shape; all a are drawn first, then all b.
    Raises MnpError for a negative `most`.

    >>> x = np.arange(3).reshape(1, 1, 1, 3)
    >>> sorted({tuple(shift(x, np.random.default_rng(s), most=1).ravel().tolist()) for s in range(20)})
    [(0, 0, 1), (0, 1, 2), (1, 2, 2)]
    """
    if most < 0:
        raise MnpError(f"a shift of up to {most} pixels: give 0 or more")
    n, _, h, w = images.shape
    down, right = rng.integers(-most, most + 1, (2, n))
    moved = np.empty_like(images, order="C")
    rows, columns = np.arange(h), np.arange(w)
    for i, (a, b) in enumerate(zip(down, right, strict=True)):
        moved[i] = images[i][:, np.clip(rows + a, 0, h - 1)][:, :, np.clip(columns + b, 0, w - 1)]
    return moved


def zoom(images, rng, most):
    """Enlarge every image about its middle, by a factor between 1 - most and 1 + most.

        y[n, c, i, j] = x[n, c, p(i), p(j)],   p(i) = clip((i - m) / s[n] + m, 0, H - 1),   m = (H - 1) / 2

    s[n] is drawn evenly from 1 - most .. 1 + most; between pixels, x is interpolated linearly, rows first;
    what comes in at the sides repeats the edge.

    images (N, C, H, W) float -> a new array of its shape and dtype; one draw an image.
    Raises MnpError for a `most` outside [0, 1).

    >>> x = np.arange(5.0).reshape(1, 1, 1, 5)
    >>> zoom(x, np.random.default_rng(0), most=0.5).round(2).ravel().tolist()      # s = 1.14
    [0.24, 1.12, 2.0, 2.88, 3.76]
    """
    if not 0 <= most < 1:
        raise MnpError(f"a zoom of up to {most}: give a share in [0, 1)")
    n, _, h, w = images.shape
    factors = rng.uniform(1 - most, 1 + most, n)
    made = np.empty_like(images, order="C")
    for i, factor in enumerate(factors):
        (above, below, down), (left, right, over) = (_between(size, factor, images.dtype) for size in (h, w))
        x = images[i]
        x = x[:, above] * (1 - down)[:, None] + x[:, below] * down[:, None]
        made[i] = x[:, :, left] * (1 - over) + x[:, :, right] * over
    return made


def _between(size, factor, dtype):
    """Where the pixels of a zoomed line come from: the two neighbours, and how far it is to the second."""
    middle = (size - 1) / 2
    places = np.clip((np.arange(size) - middle) / factor + middle, 0, size - 1)
    first = np.minimum(places.astype(np.int64), max(size - 2, 0))
    return first, np.minimum(first + 1, size - 1), (places - first).astype(dtype)


def mirrored_and_moved(shift_most, zoom_most=0.0):
    """All of them, as an augmentation: mirror, zoom (if there is any), shift.

    >>> augment = mirrored_and_moved(2, 0.1)
    >>> augment(np.zeros((4, 3, 8, 8)), np.random.default_rng(0)).shape
    (4, 3, 8, 8)
    """

    def augment(images, rng):
        images = mirror(images, rng)
        if zoom_most:
            images = zoom(images, rng, zoom_most)
        return shift(images, rng, shift_most)

    return augment
