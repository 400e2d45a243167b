"""Labeled Faces in the Wild: photographs of 5,749 people, and pairs of them for face verification.

Source: G. B. Huang, M. Ramesh, T. Berg and E. Learned-Miller, *Labeled Faces in the Wild*, UMass
Amherst 07-49, 2007; deep-funneled by G. B. Huang, M. Mattar, H. Lee and E. Learned-Miller,
*Learning to Align from Scratch*, NIPS 2012. The photographs are not part of this package;
`mnp fetch lfw` downloads and checks them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnp.data.lfw_archive import VARIANTS, find_source
from mnp.data.lfw_images import load_images
from mnp.data.lfw_protocol import PEOPLE_FOR, WITHDRAWN, Pair, check_people, read_pairs, read_people
from mnp.data.sources import format_search, search_places
from mnp.errors import MnpError

__all__ = ["VARIANTS", "WITHDRAWN", "Faces", "Pairs", "load"]


class Pairs(NamedTuple):
    """The pairs of one list, as rows of `Faces.images`.

    first, second : (P,) int64, the rows of the two images
    same : (P,) bool, True where both show one person
    fold : (P,) int64, 0 throughout in View 1, 0 to 9 in View 2
    left_out : the pairs that need a withdrawn person's image
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    left_out: tuple[Pair, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Faces:
    """The photographs as one array, with LFW's lists of people and pairs.

    Parameters
    ----------
    variant : str
        "deepfunneled", "funneled" or "original"; to be given with every result.
    images : (N, 3, size, size) uint8, read-only
        Sorted by person and number.
    photographs : N names "Person_Name/Person_Name_0001.jpg"
    content_sha256 : str
        The same for the same photographs, however they are packed.
    official : bool
        Whether they are known to be the official ones, by checksum.
    places : folders in which the lists are searched
    """

    variant: str
    images: np.ndarray
    photographs: tuple[str, ...]
    content_sha256: str
    official: bool
    places: tuple[Path, ...]

    @cached_property
    def _rows(self):
        """For every person a dict from image number to row."""
        rows = {}
        for row, name in enumerate(self.photographs):
            person = name.split("/")[0]
            rows.setdefault(person, {})[int(name[-8:-4])] = row
        return rows

    @property
    def people(self):
        """The names of all people, sorted."""
        return tuple(self._rows)

    def row(self, name, number):
        """The row of a person's image; MnpError with the file's name if it is missing."""
        try:
            return self._rows[name][number]
        except KeyError:
            raise MnpError(
                f"{self.variant} LFW: {name}/{name}_{number:04d}.jpg is missing; "
                f"fetch the photographs again with `mnp fetch lfw`"
            ) from None

    def rows_of(self, name):
        """The rows of all of a person's images, by number; none for an unknown person."""
        return tuple(self._rows.get(name, {}).values())

    def person(self, row):
        """The name of the person whom a row shows."""
        return self.photographs[row].split("/")[0]

    def pairs(self, which):
        """Read the pairs of a list: "pairsDevTrain", "pairsDevTest" or "pairs" (View 2's ten folds).

        The order is the list's. Pairs with a withdrawn person are left out and reported, even
        where an old archive still has her image, so that every archive gives the same pairs.

        Returns
        -------
        pairs : Pairs

        Raises MnpError if the list is wrong (see `lfw_protocol`), contradicts its people list, or
        needs any other image that is missing.
        """
        if which not in PEOPLE_FOR:
            raise MnpError(f"unknown list of pairs {which!r}: choose one of {', '.join(PEOPLE_FOR)}")
        path = self._list(which)
        listed, folds = read_pairs(path)
        check_people(listed, folds, read_people(self._list(PEOPLE_FOR[which])), path)
        used, left_out = [], []
        for pair, fold in zip(listed, folds, strict=True):
            if WITHDRAWN & {pair.name, pair.other_name}:
                left_out.append(pair)
            else:
                rows = self.row(*pair[:2]), self.row(*pair[2:])
                used.append((*rows, pair.same, fold))
        table = np.array(used, dtype=np.int64).reshape(-1, 4)
        first, second, same, fold = np.ascontiguousarray(table.T)
        return Pairs(first, second, same.astype(bool), fold, tuple(left_out))

    def people_of(self, which):
        """Read the people of a list, fold by fold: "peopleDevTrain", "peopleDevTest" or "people" (ten folds).

        Withdrawn people are left out.

        Returns
        -------
        folds : tuple of tuples of names

        Raises MnpError if the list is wrong, or gives another number of images than a person has.
        """
        path = self._list(which)
        folds = []
        for fold in read_people(path):
            folds.append(tuple(name for name in fold if name not in WITHDRAWN))
            for name in folds[-1]:
                numbers = list(self._rows.get(name, ()))
                if numbers != list(range(1, fold[name] + 1)):
                    raise MnpError(
                        f"{path}: announces {fold[name]} images of {name}, but the photographs have numbers "
                        f"{numbers}; fetch both again with `mnp fetch lfw`"
                    )
        return tuple(folds)

    def people_outside(self, fold):
        """View 2: the people of the nine other folds, who may be trained on before testing `fold`."""
        folds = self.people_of("people")
        return tuple(name for f, people in enumerate(folds) if f != fold for name in people)

    def training_rows(self, people, least=1):
        """The images of those people who have at least `least`, and one label per person.

        Returns
        -------
        rows : (M,) int64, ascending
        labels : (M,) int64
            0 for the first such person in alphabetical order, and so on.

        Raises MnpError if a person is missing, or nobody has enough images.
        """
        for name in people:
            self.row(name, 1)
        chosen = [name for name in sorted(set(people)) if len(self._rows[name]) >= least]
        if not chosen:
            raise MnpError(f"none of {len(people)} people has {least} or more images")
        pairs = [(row, label) for label, name in enumerate(chosen) for row in self._rows[name].values()]
        rows, labels = np.array(pairs, dtype=np.int64).T
        order = np.argsort(rows, kind="stable")
        return rows[order], labels[order]

    def _list(self, which):
        for place in self.places:
            if (place / f"{which}.txt").is_file():
                return place / f"{which}.txt"
        raise MnpError(
            f"no {which}.txt in {', '.join(str(p) for p in self.places if p.is_dir())}; "
            f"download it with `mnp fetch lfw`"
        )

    def __repr__(self):
        return (
            f"Faces({self.variant!r}, {len(self.photographs)} images of {len(self.people)} people, "
            f"{self.images.shape[1:]})"
        )


def load(folder=None, *, variant="deepfunneled", crop=128, size=64, progress=True):
    """Load LFW from its archive, or from the folder that it was unpacked to.

    The first time, every photograph is decoded, its middle `crop` x `crop` cut out and reduced to
    `size` x `size`; later the cached array is read. See `lfw_images.decode_one` for the rule.

    Parameters
    ----------
    folder : path or None
        Holds the archive and the lists, or a subfolder `lfw` that does. None: $MNP_DATA, then the
        per-user cache. It is only read.
    variant : "deepfunneled", "funneled" or "original"

    Returns
    -------
    faces : Faces

    Raises MnpError if nothing is found, or for a damaged archive or photograph.
    """
    if variant not in VARIANTS:
        raise MnpError(f"unknown variant {variant!r} of LFW: choose one of {', '.join(VARIANTS)}")
    places = search_places("lfw", folder)
    source = find_source(places, variant)
    if source is None:
        raise MnpError(
            f"no {VARIANTS[variant].archive} in {format_search('lfw', folder)}; wanted: that archive, or its "
            f"folder {VARIANTS[variant].folders[0]} with a folder per person. Run "
            f"`mnp fetch lfw --variant {variant}`, or name the folder with --data or $MNP_DATA"
        )
    images = load_images(source, variant, crop, size, progress=progress)
    return Faces(variant, *images, places=tuple(places))
