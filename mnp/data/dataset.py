"""What every loader returns: the arrays of a labelled data set, with the test set kept apart."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mnp.errors import MnpError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images in three parts: training, validation and test set.

    Parameters
    ----------
    train_images, test_images : (N, C, H, W) float32, usually in [0, 1]
        uint8 images are divided by 255; other floating-point types and bool become float32. (N, H, W) is
        taken as one channel; (N, features) stays as it is, for networks of dense layers.
    train_labels, test_labels : (N,) int64 in [0, classes)
        Other integer types, and floats that are whole numbers, become int64.
    name : str
    classes : int, optional
        None is one more than the largest training label.
    validation_images, validation_labels : as the training arrays, or None
        None becomes arrays of length 0. A loader leaves them empty; `split_validation` fills them.

    Raises MnpError for another type or shape, if images and labels differ in number, if the parts differ
    in the shape of an image, or if a label lies outside [0, classes).

    >>> images = np.zeros((6, 8, 8), np.uint8)
    >>> Dataset(images, [0, 1, 2, 0, 1, 2], images[:2], [0, 1], name="mine")
    Dataset('mine', train 6, validation 0, test 2, image (1, 8, 8), classes 3)
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    name: str = "data"
    classes: int | None = None
    validation_images: np.ndarray | None = None
    validation_labels: np.ndarray | None = None

    def __post_init__(self):
        if isinstance(self.train_images, str):
            raise MnpError("Dataset takes the arrays first: Dataset(train_images, ..., name='mine')")
        for part in ("train", "test", "validation"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if part == "validation" and (images is None or labels is None):
                images, labels = self.train_images[:0], self.train_labels[:0]
            where = f"{self.name}, {part}"
            images, labels = _as_images(images, where), _as_labels(labels, where)
            if len(images) != len(labels):
                raise MnpError(f"{where}: {len(images)} images, but {len(labels)} labels")
            # a frozen dataclass sets its own fields this way
            object.__setattr__(self, f"{part}_images", images)
            object.__setattr__(self, f"{part}_labels", labels)
            if images.shape[1:] != self.image_shape:
                raise MnpError(f"{where}: images of {images.shape[1:]}, but training has {self.image_shape}")
        if self.classes is None:
            object.__setattr__(self, "classes", int(self.train_labels.max(initial=0)) + 1)
        for part in PARTS:
            labels = getattr(self, f"{part}_labels")
            if len(labels) and not (labels.min() >= 0 and labels.max() < self.classes):
                raise MnpError(
                    f"{self.name}, {part}: labels from {labels.min()} to {labels.max()}; "
                    f"{self.classes} classes allow 0 to {self.classes - 1}"
                )

    @property
    def image_shape(self):
        """(C, H, W) of one image."""
        return self.train_images.shape[1:]

    @property
    def counts(self):
        """Number of examples of each part: {"train": ..., "validation": ..., "test": ...}."""
        return {part: len(getattr(self, f"{part}_labels")) for part in PARTS}

    @cached_property
    def checksum(self):
        """The first 16 hexadecimal digits of the SHA-256 over all arrays and their shapes.

        Two data sets with the same images and labels in the same parts have the same checksum, whatever
        their name.
        """
        return checksum(getattr(self, f"{part}_{what}") for part in PARTS for what in ("images", "labels"))

    def split_validation(self, n):
        """Set the last `n` training examples aside for validation; the test set is unchanged.

        The split is by position, without random numbers, so that it can be repeated. The loaders
        keep the order of their sources, in which the digits' writers come one after another: the
        validation set has writers that the training set has not.

        Parameters
        ----------
        n : int
            At least 1, and fewer than the training examples.

        Returns
        -------
        dataset : Dataset
            A new one whose arrays are views of this one's.

        Raises MnpError if `n` is out of range or there is a validation set already.

        >>> images, labels = np.zeros((5, 1, 2, 2), np.float32), np.array([0, 1, 2, 0, 1])
        >>> data = Dataset(images, labels, images[:0], labels[:0], name="tiny")
        >>> data.split_validation(2).validation_labels
        array([0, 1])
        """
        if len(self.validation_labels):
            raise MnpError(f"{self.name}: already has {len(self.validation_labels)} validation examples")
        total = len(self.train_labels)
        if not 1 <= n < total:
            raise MnpError(
                f"{self.name}: cannot take {n} validation examples from {total} training examples; "
                f"choose 1 to {total - 1}"
            )
        cut = total - n
        return replace(
            self,
            train_images=self.train_images[:cut],
            train_labels=self.train_labels[:cut],
            validation_images=self.train_images[cut:],
            validation_labels=self.train_labels[cut:],
        )

    def __repr__(self):
        sizes = ", ".join(f"{part} {count}" for part, count in self.counts.items())
        return f"Dataset({self.name!r}, {sizes}, image {self.image_shape}, classes {self.classes})"


def _as_images(images, where):
    """Images as a float32 array (N, C, H, W) or (N, features); MnpError for what cannot be meant as such."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim not in (2, 4):
        raise MnpError(f"{where}: images of shape {images.shape}; (N, C, H, W) is needed")
    if images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        raise MnpError(
            f"{where}: images {images.shape} look like (N, H, W, C): use np.moveaxis(images, 3, 1)"
        )
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    if images.dtype.kind not in "fb":
        raise MnpError(f"{where}: images of type {images.dtype}; give float32 in [0, 1], or uint8")
    with np.errstate(over="ignore"):  # of float64 into float32; training and evaluation find infinity
        return images.astype(np.float32, copy=False)


def _as_labels(labels, where):
    """Labels as an int64 array (N,), or MnpError."""
    labels = np.asarray(labels)
    whole = labels.dtype.kind in "iu" or (labels.dtype.kind == "f" and (labels == np.round(labels)).all())
    if labels.ndim != 1 or not whole:
        raise MnpError(
            f"{where}: labels {labels.shape} of type {labels.dtype}; (N,) whole numbers are needed"
        )
    return labels.astype(np.int64, copy=False)


def checksum(arrays):
    """The first 16 hexadecimal digits of the SHA-256 over the shapes and bytes of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]
