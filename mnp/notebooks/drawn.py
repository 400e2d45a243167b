"""Placeholders for photographs: drawn heads, so that no picture of a person is in a notebook."""

import numpy as np

from mnp.experiments.lfw_data import FacesData, PairIndices, standardised


def drawn_face(person, number, size=32):
    """Draw one head: an oval, two eyes, a mouth and a fringe, placed by the person, moved by the number.

    Parameters
    ----------
    person, number : int
        The same two numbers always give the same picture.

    Returns
    -------
    face : (3, size, size) uint8

    >>> drawn_face(0, 1).shape, bool((drawn_face(0, 1) == drawn_face(0, 1)).all())
    ((3, 32, 32), True)
    """
    own, now = np.random.default_rng([person, 7]), np.random.default_rng([person, number])
    y, x = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
    x, y = x - now.normal(0, 0.05), y - now.normal(0, 0.05)
    wide, high, apart, eye, mouth, fringe = own.uniform(
        (0.5, 0.65, 0.16, 0.05, 0.12, 0.2), (0.75, 0.9, 0.32, 0.12, 0.35, 0.55)
    )
    skin, hair = own.uniform(110, 230, 3), own.uniform(10, 150, 3)
    light = 1 + 0.15 * now.normal() * x
    head = (x / wide) ** 2 + (y / high) ** 2 < 1
    face = np.full((3, size, size), now.uniform(60, 200))
    face[:, head] = skin[:, None]
    face[:, head & (y < -fringe * high)] = hair[:, None]
    for side in (-1, 1):
        face[:, (x - side * apart) ** 2 + (y + 0.1) ** 2 < eye**2] = 15
    face[:, (np.abs(x) < mouth) & (np.abs(y - 0.45 * high) < 0.05)] = 40
    return np.clip(face * light + now.normal(0, 6, face.shape), 0, 255).astype(np.uint8)


def drawn_faces(people=24, each=12, test_people=16, test_each=4, size=32):
    """A verification task out of drawn heads, with the three groups of people kept apart.

    Returns
    -------
    faces : FacesData
        The first `people` are trained on; of the others one half chooses the threshold, one half is tested.
    """
    groups = np.array_split(np.arange(people, people + test_people), 2)
    train = np.stack([drawn_face(p, n, size) for p in range(people) for n in range(each)])
    tested = np.stack([drawn_face(p, n, size) for group in groups for p in group for n in range(test_each)])
    rows = np.arange(test_people * test_each).reshape(test_people, test_each)
    halves = np.array_split(rows, 2)
    people_of = {"train": frozenset(f"drawn {p}" for p in range(people))}
    for name, group in zip(("threshold", "test"), groups, strict=True):
        people_of[name] = frozenset(f"drawn {p}" for p in group)
    return FacesData(
        name="drawn heads",
        train_images=standardised(train),
        train_labels=np.repeat(np.arange(people), each),
        classes=people,
        images=standardised(tested),
        chosen_by=pairs_of(halves[0]),
        tested=pairs_of(halves[1]),
        people=people_of,
        facts={},
    )


def pairs_of(rows):
    """All pairs of one person, and as many of two people: rows (people, each) -> PairRows."""
    each = rows.shape[1]
    one = [(a[i], a[j]) for a in rows for i in range(each) for j in range(i + 1, each)]
    two = [(rows[p, i], rows[q, i]) for i in range(each) for p in range(len(rows)) for q in range(p)]
    two = [two[i] for i in np.linspace(0, len(two) - 1, min(len(one), len(two))).astype(int)]
    first, second = np.array(one + two).T
    return PairIndices(first, second, np.arange(len(one) + len(two)) < len(one))
