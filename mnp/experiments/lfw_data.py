"""The data of face verification: three groups of people, for training, threshold and test, kept apart."""

import itertools
from dataclasses import dataclass

import numpy as np

from mnp.data import lfw
from mnp.errors import MnpError


@dataclass(frozen=True, eq=False, repr=False)
class FacesData:
    """Images to train on, pairs to choose a threshold on, pairs to test on.

    Parameters
    ----------
    name : str
    train_images : (N, 3, size, size) float32, standardised; train_labels : (N,) int64
    classes : int
        People that the network is trained to tell apart.
    images : (M, 3, size, size) float32, standardised
        The images of all pairs, each once.
    threshold_pairs, test_pairs : PairIndices
        Indices into `images`.
    people : dict of "train", "threshold", "test" -> frozenset of names
    facts : dict
        Counts for the summary.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    classes: int
    images: np.ndarray
    threshold_pairs: "PairIndices"
    test_pairs: "PairIndices"
    people: dict
    facts: dict

    def __post_init__(self):
        check_apart(self.people)

    @property
    def image_shape(self):
        """(C, H, W) of one image."""
        return self.train_images.shape[1:]


@dataclass(frozen=True, eq=False)
class PairIndices:
    """Pairs as indices into an array of images or features: first, second (P,) int64; same (P,) bool."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def check_apart(people):
    """Raise MnpError if one person is in two of the groups train, threshold and test.

    >>> check_apart({"train": {"Ada"}, "threshold": {"Ben"}, "test": {"Ada"}})
    Traceback (most recent call last):
    mnp.errors.MnpError: Ada is in the groups train and test: the test would prove nothing
    """
    for mine, theirs in (("train", "threshold"), ("train", "test"), ("threshold", "test")):
        both = set(people[mine]) & set(people[theirs])
        if both:
            raise MnpError(f"{min(both)} is in the groups {mine} and {theirs}: the test would prove nothing")


def standardised(images):
    """Standardise each image by its own mean and standard deviation, against light and contrast.

        y[n, c, i, j] = (x[n, c, i, j] - mean[n]) / max(sd[n], 1/255)     over c, i, j, for x in [0, 1]

    images (N, C, H, W) uint8 -> (N, C, H, W) float32. An image of one colour becomes zeros.

    >>> standardised(np.array([0, 255], np.uint8).reshape(1, 1, 1, 2)).ravel()
    array([-1.,  1.], dtype=float32)
    """
    x = images.astype(np.float32) / np.float32(255)
    x -= x.mean(axis=(1, 2, 3), keepdims=True)
    x /= np.maximum(x.std(axis=(1, 2, 3), keepdims=True), np.float32(1 / 255))
    return x


def load_faces(recipe, folder=None, photographs=None):
    """Load the data of a FacesRecipe.

    Parameters
    ----------
    recipe : FacesRecipe
        With a fold, if it is View 2.
    folder : path, optional
        Where LFW is looked for first.
    photographs : lfw.Faces, optional
        Loaded before, for several folds.

    Raises MnpError if data are missing or wrong, and if too few people or pairs are left to train on or
    to choose a threshold on.
    """
    if recipe.view == 2 and recipe.fold is None:
        raise MnpError("View 2 has ten folds: give one with data.fold, or none to run them all")
    if photographs is None:
        photographs = lfw.load(folder, variant=recipe.variant, crop=recipe.crop, size=recipe.size)

    # The protocol's lists: who may be trained on, which pairs are tested, which may choose the threshold.
    if recipe.view == 1:
        people, listed = photographs.people_of("peopleDevTrain")[0], photographs.pairs("pairsDevTrain")
        tests = photographs.pairs("pairsDevTest")
        tested, left_out = _indices(tests, slice(None)), len(tests.left_out)
        training_pairs = _indices(listed, slice(None))
    else:
        people, listed = photographs.people_outside(recipe.fold), photographs.pairs("pairs")
        tested, left_out = _indices(listed, listed.fold == recipe.fold), len(listed.left_out)
        training_pairs = _indices(listed, listed.fold != recipe.fold)
    if not len(tested.same):
        raise MnpError(f"{recipe.name}: no pairs are left to test; fetch the LFW lists again")

    # Some people with few images are kept from the network; the threshold is chosen on them.
    images_of = {name: photographs.rows_of(name) for name in people}
    held = held_out_people(images_of, recipe.least, recipe.held_out)
    chosen, labels = photographs.training_rows(tuple(set(people) - held), recipe.least)
    trained = {photographs.person(row) for row in chosen}
    held_images = {name: images_of[name] for name in sorted(held)}
    threshold = choose_threshold_pairs(photographs, training_pairs, trained, held_images)

    # Only the photographs that a pair shows are kept, each once; pairs become indices into these.
    shown = np.unique(np.concatenate([p for q in (threshold, tested) for p in (q.first, q.second)]))
    groups = {"train": frozenset(trained)}
    pairs = []
    for kind, p in (("threshold", threshold), ("test", tested)):
        groups[kind] = frozenset(photographs.person(row) for rows in (p.first, p.second) for row in rows)
        first, second = np.searchsorted(shown, p.first), np.searchsorted(shown, p.second)
        pairs.append(PairIndices(first, second, p.same))
    return FacesData(
        f"lfw ({photographs.variant}), " + ("View 1" if recipe.view == 1 else f"View 2, fold {recipe.fold}"),
        standardised(photographs.images[chosen]),
        labels,
        int(labels.max()) + 1,
        standardised(photographs.images[shown]),
        *pairs,
        groups,
        {
            "variant": photographs.variant,
            "official_photographs": photographs.official,
            "content_sha256": photographs.content_sha256,
            "train_people": len(trained),
            "train_images": len(chosen),
            "held_out_people": len(held),
            "threshold_pairs_same": int(threshold.same.sum()),
            "threshold_pairs_different": int((~threshold.same).sum()),
            "test_pairs": len(tested.same),
            "pairs_left_out": left_out,
        },
    )


def held_out_people(images_of, least, count):
    """Choose people who are kept from the network: evenly from the alphabet, of those with few images.

    images_of: dict name -> indices; candidates have `least` or `least + 1` images (at least 2, so that they
    have a matched pair). The rule needs no random number.

    >>> images_of = {"Ada": [0, 1], "Ben": [2], "Cleo": [3, 4], "Dan": [5, 6, 7, 8], "Eve": [9, 10]}
    >>> sorted(held_out_people(images_of, least=2, count=2))
    ['Ada', 'Cleo']
    """
    few = [n for n in sorted(images_of) if max(least, 2) <= len(images_of[n]) <= max(least, 2) + 1]
    if len(few) < count:
        raise MnpError(f"data.held_out = {count}, but only {len(few)} training people have so few images")
    return {few[i * len(few) // count] for i in range(count)}


def choose_threshold_pairs(photographs, listed, trained, held):
    """The pairs on which the threshold is chosen: training pairs of people whom the network never sees.

    Matched: every two images of a held-out person (`held`: name -> indices). Mismatched: those of the list
    (`listed`: PairIndices of the training people) in which neither person is trained on; and, so that a
    short list is enough, each held-out person's first image with the next one's.
    """
    matched = [pair for images in held.values() for pair in itertools.combinations(images, 2)]
    mismatched = [
        (a, b)
        for a, b, same in zip(listed.first, listed.second, listed.same, strict=True)
        if not same and not {photographs.person(a), photographs.person(b)} & trained
    ]
    mismatched += [(held[a][0], held[b][0]) for a, b in itertools.pairwise(sorted(held))]
    if not mismatched:
        raise MnpError("no pairs of two untrained people to choose a threshold on: raise data.held_out")
    first, second = np.array(matched + mismatched, dtype=np.int64).T
    return PairIndices(first, second, np.arange(len(first)) < len(matched))


def _indices(pairs, which):
    return PairIndices(pairs.first[which], pairs.second[which], pairs.same[which])
