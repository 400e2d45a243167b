"""What every loader returns: the arrays of a labelled set, with the test set kept apart."""

from dataclasses import dataclass, replace

import numpy as np

from mnp.errors import MnpError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images in three parts: to learn from, to choose by, and to report on.

    Parameters
    ----------
    name : str
    train_images, test_images : (N, C, H, W) float32 in [0, 1]
    train_labels, test_labels : (N,) int64 in [0, classes)
    classes : int
    validation_images, validation_labels : as the training arrays, or None
        None becomes arrays of length 0. A loader leaves them empty; `split_validation` fills them.

    Raises MnpError if images and labels differ in number, or a label lies outside [0, classes).
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    validation_images: np.ndarray | None = None
    validation_labels: np.ndarray | None = None

    def __post_init__(self):
        if self.validation_images is None or self.validation_labels is None:
            # a frozen dataclass fills its own defaults this way
            object.__setattr__(self, "validation_images", self.train_images[:0])
            object.__setattr__(self, "validation_labels", self.train_labels[:0])
        for part in PARTS:
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels):
                raise MnpError(
                    f"{self.name}: {part} images {images.shape} and labels {labels.shape} do not belong "
                    f"together; images must be (N, C, H, W) and labels (N,)"
                )
            if len(labels) and not (labels.min() >= 0 and labels.max() < self.classes):
                raise MnpError(
                    f"{self.name}: {part} labels span {labels.min()}..{labels.max()}; "
                    f"{self.classes} classes allow 0..{self.classes - 1}"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.train_images.shape[1:]

    def split_validation(self, n: int) -> "Dataset":
        """Set the last `n` training examples aside for validation; the test set is untouched.

        The rule is the plainest one that repeats: by position, without a random number. The
        loaders keep the order of their sources, in which the digits' writers come one after
        another, so the validation set has writers that the training set has not.

        Parameters
        ----------
        n : int
            At least 1, and fewer than the training examples.

        Returns
        -------
        dataset : Dataset
            A new one whose arrays are views of this one's.

        Raises MnpError if `n` is out of range or a validation set was taken already.

        >>> images, labels = np.zeros((5, 1, 2, 2), np.float32), np.array([0, 1, 2, 0, 1])
        >>> data = Dataset("tiny", images, labels, images[:0], labels[:0], classes=3)
        >>> data.split_validation(2).validation_labels
        array([0, 1])
        """
        if len(self.validation_labels):
            raise MnpError(
                f"{self.name}: {len(self.validation_labels)} validation examples were taken already"
            )
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
        sizes = ", ".join(f"{part} {len(getattr(self, f'{part}_labels'))}" for part in PARTS)
        return f"Dataset({self.name!r}, {sizes}, image {self.image_shape}, classes {self.classes})"
