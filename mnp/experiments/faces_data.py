"""Who is trained on, who chooses the threshold, who is tested: three groups that never mix."""

import itertools
from dataclasses import dataclass

import numpy as np

from mnp.data import lfw
from mnp.errors import MnpError


@dataclass(frozen=True, eq=False, repr=False)
class FacesData:
    """One task: images to learn from, pairs to choose a threshold by, pairs to be judged on.

    Parameters
    ----------
    name : str
    train_images : (N, 3, size, size) float32, standardised; train_labels : (N,) int64
    classes : int
        People that the network is trained to tell apart.
    images : (M, 3, size, size) float32, standardised
        What the pairs are about, each image once.
    chosen_by, tested : PairRows
        Rows of `images`.
    people : dict of "train", "threshold", "test" -> frozenset of names
    facts : dict
        Counts for the summary.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    classes: int
    images: np.ndarray
    chosen_by: "PairRows"
    tested: "PairRows"
    people: dict
    facts: dict

    def __post_init__(self):
        check_apart(self.people)

    @property
    def image_shape(self):
        """(C, H, W) of one image."""
        return self.train_images.shape[1:]


@dataclass(frozen=True, eq=False)
class PairRows:
    """Pairs as rows of an array of images or features: first, second (P,) int64; same (P,) bool."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def check_apart(people):
    """Refuse a task in which somebody who is tested, or chooses the threshold, was trained on.

    >>> check_apart({"train": {"Ada"}, "threshold": {"Ben"}, "test": {"Ada"}})
    Traceback (most recent call last):
    mnp.errors.MnpError: Ada is trained on, and is among the people of the test pairs: it would prove nothing
    """
    for mine, theirs in (("train", "threshold"), ("train", "test"), ("threshold", "test")):
        both = set(people[mine]) & set(people[theirs])
        if both:
            does = {"train": "is trained on", "threshold": "chooses the threshold"}[mine]
            raise MnpError(
                f"{min(both)} {does}, and is among the people of the {theirs} pairs: it would prove nothing"
            )


def standardised(images):
    """Each image by its own mean and spread, so that light and contrast say nothing.

        y[n, c, i, j] = (x[n, c, i, j] - mean[n]) / max(sd[n], 1/255)     over c, i, j, for x in [0, 1]

    images (N, C, H, W) uint8 -> (N, C, H, W) float32. An image of one colour becomes zeros.

    >>> standardised(np.array([0, 255], np.uint8).reshape(1, 1, 1, 2)).ravel()
    array([-1.,  1.], dtype=float32)
    """
    x = images.astype(np.float32) / np.float32(255)
    x -= x.mean(axis=(1, 2, 3), keepdims=True)
    x /= np.maximum(x.std(axis=(1, 2, 3), keepdims=True), np.float32(1 / 255))
    return x


def load_faces(recipe, folder=None, faces=None):
    """The task that a recipe names.

    Parameters
    ----------
    recipe : FacesRecipe
        With a fold, if it is View 2.
    folder : path, optional
        Where LFW is looked for first.
    faces : lfw.Faces, optional
        Loaded before, for several folds.

    Raises MnpError if data are missing or wrong, and if too few people or pairs are left to train on or
    to choose a threshold by.
    """
    if recipe.view == 2 and recipe.fold is None:
        raise MnpError(
            "View 2 has ten tasks: name one with data.fold, or leave it at none, and `run` does them all"
        )
    if faces is None:
        faces = lfw.load(folder, variant=recipe.variant, crop=recipe.crop, size=recipe.size)
    if recipe.view == 1:
        people, listed = faces.people_of("peopleDevTrain")[0], faces.pairs("pairsDevTrain")
        tests = faces.pairs("pairsDevTest")
        tested, left_out = _rows(tests, slice(None)), len(tests.left_out)
        training_pairs = _rows(listed, slice(None))
    else:
        people, listed = faces.people_outside(recipe.fold), faces.pairs("pairs")
        tested, left_out = _rows(listed, listed.fold == recipe.fold), len(listed.left_out)
        training_pairs = _rows(listed, listed.fold != recipe.fold)
    if not len(tested.same):
        raise MnpError(f"{recipe.name}: no pairs are left to test; fetch the LFW lists again")
    rows_of = {name: faces.rows_of(name) for name in people}
    held = held_out_people(rows_of, recipe.least, recipe.held_out)
    rows, labels = faces.training_rows(tuple(set(people) - held), recipe.least)
    trained = {faces.person(row) for row in rows}
    chosen_by = threshold_pairs(faces, training_pairs, trained, {name: rows_of[name] for name in held})
    pairs = [chosen_by, tested]
    used = np.unique(np.concatenate([rows for p in pairs for rows in (p.first, p.second)]))
    chosen_by, tested = (
        PairRows(np.searchsorted(used, p.first), np.searchsorted(used, p.second), p.same) for p in pairs
    )
    shown = {
        kind: frozenset(faces.person(used[row]) for rows in (p.first, p.second) for row in rows)
        for kind, p in (("threshold", chosen_by), ("test", tested))
    }
    return FacesData(
        f"lfw ({faces.variant}), " + ("View 1" if recipe.view == 1 else f"View 2, fold {recipe.fold}"),
        standardised(faces.images[rows]),
        labels,
        int(labels.max()) + 1,
        standardised(faces.images[used]),
        chosen_by,
        tested,
        {"train": frozenset(trained), **shown},
        {
            "variant": faces.variant,
            "official_photographs": faces.official,
            "content_sha256": faces.content_sha256,
            "train_people": len(trained),
            "train_images": len(rows),
            "held_out_people": len(held),
            "threshold_pairs_same": int(chosen_by.same.sum()),
            "threshold_pairs_different": int((~chosen_by.same).sum()),
            "test_pairs": len(tested.same),
            "pairs_left_out": left_out,
        },
    )


def held_out_people(rows_of, least, count):
    """Choose people who are kept from the network: evenly from the alphabet, of those with few images.

    rows_of: dict name -> rows; those with `least` or `least + 1` images come into question (at least 2,
    so that they have a matched pair). The rule needs no random number.

    >>> rows_of = {"Ada": [0, 1], "Ben": [2], "Cleo": [3, 4], "Dan": [5, 6, 7, 8], "Eve": [9, 10]}
    >>> sorted(held_out_people(rows_of, least=2, count=2))
    ['Ada', 'Cleo']
    """
    few = [n for n in sorted(rows_of) if max(least, 2) <= len(rows_of[n]) <= max(least, 2) + 1]
    if len(few) < count:
        raise MnpError(f"data.held_out = {count}, but only {len(few)} training people have so few images")
    return {few[i * len(few) // count] for i in range(count)}


def threshold_pairs(faces, listed, trained, held):
    """The training pairs of people whom the network has not seen.

    Matched: every two images of a held-out person (`held`: name -> rows). Mismatched: those of the list
    (`listed`: PairRows of the training people) in which neither person is trained on; and, so that a
    short list will do, each held-out person's first image beside the next one's.
    """
    matched = [(r[i], r[j]) for r in held.values() for i in range(len(r)) for j in range(i + 1, len(r))]
    apart = [
        (a, b)
        for a, b, same in zip(listed.first, listed.second, listed.same, strict=True)
        if not same and not {faces.person(a), faces.person(b)} & trained
    ]
    names = sorted(held)
    apart += [(held[a][0], held[b][0]) for a, b in itertools.pairwise(names)]
    if not apart:
        raise MnpError("no pairs of two untrained people to choose a threshold by: raise data.held_out")
    first, second = np.array(matched + apart, dtype=np.int64).T
    return PairRows(first, second, np.arange(len(first)) < len(matched))


def _rows(pairs, which):
    return PairRows(pairs.first[which], pairs.second[which], pairs.same[which])
