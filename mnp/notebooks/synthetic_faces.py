"""Drawn faces in place of photographs, so that no notebook contains a picture of a person."""

import numpy as np

from mnp.experiments.lfw_data import FacesData, PairIndices, standardised


def draw_face(person, number, size=32):
    """Draw a face: features from `person`; position, light and background from `number`.

    Returns (3, size, size) uint8, the same for the same two numbers.

    >>> draw_face(0, 1).shape, bool((draw_face(0, 1) == draw_face(0, 1)).all())
    ((3, 32, 32), True)
    """
    own, now = np.random.default_rng([person, 7]), np.random.default_rng([person, number])
    y, x = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
    x, y = x - now.normal(0, 0.05), y - now.normal(0, 0.05)
    low, high = (0.5, 0.65, 0.16, 0.05, 0.12, 0.2), (0.75, 0.9, 0.32, 0.12, 0.35, 0.55)
    width, height, eyes, eye, mouth, fringe = own.uniform(low, high)
    skin, hair = own.uniform(110, 230, 3), own.uniform(10, 150, 3)
    light = 1 + 0.15 * now.normal() * x
    head = (x / width) ** 2 + (y / height) ** 2 < 1
    face = np.full((3, size, size), now.uniform(60, 200))
    face[:, head] = skin[:, None]
    face[:, head & (y < -fringe * height)] = hair[:, None]
    for side in (-1, 1):
        face[:, (x - side * eyes) ** 2 + (y + 0.1) ** 2 < eye**2] = 15
    face[:, (np.abs(x) < mouth) & (np.abs(y - 0.45 * height) < 0.05)] = 40
    return np.clip(face * light + now.normal(0, 6, face.shape), 0, 255).astype(np.uint8)


def make_faces(train, threshold, test):
    """A verification task (FacesData) on drawn faces of three disjoint groups: (people, images per person).

    The network is trained on the first, pairs of the second choose the threshold, those of the third are
    tested.
    """
    people, images, first = {}, {}, 0
    for group, (count, each) in {"train": train, "threshold": threshold, "test": test}.items():
        numbers = range(first, first := first + count)
        people[group] = frozenset(f"person {person}" for person in numbers)
        images[group] = np.stack([draw_face(person, n) for person in numbers for n in range(each)])
    return FacesData(
        name="drawn faces",
        train_images=standardised(images["train"]),
        train_labels=np.repeat(np.arange(train[0]), train[1]),
        classes=train[0],
        images=standardised(np.concatenate([images["threshold"], images["test"]])),
        threshold_pairs=all_pairs(*threshold, first=0),
        test_pairs=all_pairs(*test, first=len(images["threshold"])),
        people=people,
        facts={},
    )


def all_pairs(people, each, first):
    """All pairs of images of one person, and as many of two people; images are numbered from `first`."""
    a, b = np.triu_indices(people * each, 1)
    same = a // each == b // each
    two = np.flatnonzero(~same)
    two = two[np.linspace(0, len(two) - 1, min(same.sum(), len(two))).astype(int)]
    chosen = np.concatenate([np.flatnonzero(same), two])
    return PairIndices(first + a[chosen], first + b[chosen], same[chosen])
