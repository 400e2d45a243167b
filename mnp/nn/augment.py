"""Training images made a little different each time they are seen: mirrored, and shifted.

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


def mirror_and_shift(most):
    """The two together, as an augmentation.

    >>> augment = mirror_and_shift(2)
    >>> augment(np.zeros((4, 3, 8, 8)), np.random.default_rng(0)).shape
    (4, 3, 8, 8)
    """

    def augment(images, rng):
        return shift(mirror(images, rng), rng, most)

    return augment
