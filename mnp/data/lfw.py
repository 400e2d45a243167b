"""Labeled Faces in the Wild: photographs of 5,749 people, and the pairs that are to be told apart.

Source: G. B. Huang, M. Ramesh, T. Berg and E. Learned-Miller, *Labeled Faces in the Wild*, UMass
Amherst 07-49, 2007; deep-funneled by G. B. Huang, M. Mattar, H. Lee and E. Learned-Miller,
*Learning to Align from Scratch*, NIPS 2012. The photographs stay outside this package;
`data_scripts/get_lfw.py` fetches and checks them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnp.data.lfw_archive import VARIANTS, find_source
from mnp.data.lfw_images import decoded
from mnp.data.lfw_protocol import PEOPLE_FOR, WITHDRAWN, Pair, check_people, read_pairs, read_people
from mnp.errors import MnpError
from mnp.files import data_folders

__all__ = ["VARIANTS", "WITHDRAWN", "Faces", "Pairs", "load"]


class Pairs(NamedTuple):
    """The pairs of one list, as rows of `Faces.images`.

    first, second : (P,) int64, a row each
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
    """The photographs as one array, and the questions that LFW's lists ask of them.

    Parameters
    ----------
    variant : str
        "deepfunneled", "funneled" or "original"; a result has to name it.
    images : (N, 3, size, size) uint8, read-only
        Sorted by person and number.
    photographs : N names "Person_Name/Person_Name_0001.jpg"
    content_sha256 : str
        The same for the same photographs, however they are packed.
    official : bool
        Whether they are known to be the official ones, by checksum.
    places : folders where the lists are looked for
    """

    variant: str
    images: np.ndarray
    photographs: tuple[str, ...]
    content_sha256: str
    official: bool
    places: tuple[Path, ...]

    @cached_property
    def _rows(self) -> dict[str, dict[int, int]]:
        """For every person: image number -> row."""
        rows: dict[str, dict[int, int]] = {}
        for row, name in enumerate(self.photographs):
            person = name.split("/")[0]
            rows.setdefault(person, {})[int(name[-8:-4])] = row
        return rows

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody in the photographs, sorted."""
        return tuple(self._rows)

    def row(self, name: str, number: int) -> int:
        """The row of a person's image; MnpError, with the file's name, if it is not there."""
        try:
            return self._rows[name][number]
        except KeyError:
            raise MnpError(
                f"{self.variant} LFW: {name}/{name}_{number:04d}.jpg is needed and is not there; "
                f"fetch the photographs again with data_scripts/get_lfw.py"
            ) from None

    def rows_of(self, name: str) -> tuple[int, ...]:
        """The rows of all of a person's images, by number; none for somebody who is not there."""
        return tuple(self._rows.get(name, {}).values())

    def person(self, row: int) -> str:
        """Whose image a row is."""
        return self.photographs[row].split("/")[0]

    def pairs(self, which: str) -> Pairs:
        """Look up the pairs of a list: "pairsDevTrain", "pairsDevTest" or "pairs" (View 2's ten folds).

        The order is the list's. Pairs with a withdrawn person are left out and reported, even
        where an old archive still has her image: so every archive gives the same pairs.

        Raises MnpError if the list is wrong (see `lfw_protocol`), does not agree with its people
        list, or needs any other image that is not there.
        """
        if which not in PEOPLE_FOR:
            raise MnpError(f"no list of pairs {which!r}: choose one of {', '.join(PEOPLE_FOR)}")
        path = self._list(which)
        listed = read_pairs(path)
        check_people(listed, read_people(self._list(PEOPLE_FOR[which])), str(path))
        used, left_out = [], []
        for pair, fold in zip(listed.pairs, listed.folds, strict=True):
            if WITHDRAWN & {pair.name, pair.other_name}:
                left_out.append(pair)
            else:
                rows = self.row(*pair[:2]), self.row(*pair[2:])
                used.append((*rows, pair.same, fold))
        table = np.array(used, dtype=np.int64).reshape(-1, 4)
        first, second, same, fold = np.ascontiguousarray(table.T)
        return Pairs(first, second, same.astype(bool), fold, tuple(left_out))

    def people_of(self, which: str) -> tuple[tuple[str, ...], ...]:
        """The people of a list, fold by fold: "peopleDevTrain" and "peopleDevTest" have one, "people" ten.

        Withdrawn people are left out. Raises MnpError if the list is wrong, or if somebody has
        not exactly the images that it gives.
        """
        if which not in PEOPLE_FOR.values():
            raise MnpError(f"no list of people {which!r}: choose one of {', '.join(PEOPLE_FOR.values())}")
        path = self._list(which)
        folds = []
        for fold in read_people(path):
            folds.append(tuple(name for name in fold if name not in WITHDRAWN))
            for name in folds[-1]:
                for number in range(1, fold[name] + 1):
                    self.row(name, number)
                if len(self._rows[name]) > fold[name]:
                    raise MnpError(
                        f"{path}: {name} has {fold[name]} images there, and {len(self._rows[name])} in the "
                        f"photographs; fetch both again with data_scripts/get_lfw.py"
                    )
        return tuple(folds)

    def people_outside(self, fold: int) -> tuple[str, ...]:
        """View 2: the people of the nine other folds, the only ones to train on before testing `fold`."""
        folds = self.people_of("people")
        if not 0 <= fold < len(folds):
            raise MnpError(f"no fold {fold}: View 2 has folds 0 to {len(folds) - 1}")
        return tuple(name for f, people in enumerate(folds) if f != fold for name in people)

    def training_rows(self, people: tuple[str, ...], least: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The images of those people who have `least` or more, and a label for each person.

        Returns
        -------
        rows : (M,) int64, ascending
        labels : (M,) int64
            0 for the first such person in alphabetical order, and so on.

        Raises MnpError if a person is not there, or nobody has enough images.
        """
        for name in people:
            self.row(name, 1)
        chosen = [name for name in sorted(set(people)) if len(self._rows[name]) >= least]
        if not chosen:
            raise MnpError(f"nobody among {len(people)} people has {least} or more images: ask for fewer")
        pairs = [(row, label) for label, name in enumerate(chosen) for row in self._rows[name].values()]
        rows, labels = np.array(pairs, dtype=np.int64).T
        order = np.argsort(rows, kind="stable")
        return rows[order], labels[order]

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """The images of some rows, (len(rows), 3, size, size) float32 in [0, 1]."""
        images = self.images[rows].astype(np.float32)
        images /= np.float32(255)
        return images

    def _list(self, which: str) -> Path:
        for place in self.places:
            if (place / f"{which}.txt").is_file():
                return place / f"{which}.txt"
        raise MnpError(
            f"no {which}.txt in {', '.join(map(str, self.places))}; fetch it with data_scripts/get_lfw.py"
        )

    def __repr__(self):
        return (
            f"Faces({self.variant!r}, {len(self.photographs)} images of {len(self.people)} people, "
            f"{self.images.shape[1:]})"
        )


def load(
    folder: str | Path | None = None,
    *,
    variant: str = "deepfunneled",
    crop: int = 128,
    size: int = 64,
    workers: int | None = None,
    progress: bool = True,
) -> Faces:
    """Load LFW from its archive, or from the folder that it was unpacked to.

    The first time, every photograph is decoded, its middle `crop` x `crop` cut out and brought to
    `size` x `size`; later the cached array is read. See `lfw_images.decode_one` for the rule.

    Parameters
    ----------
    folder : path or None
        Holds the archive and the lists, or a subfolder `lfw` that does. None: $MNP_DATA, then the
        per-user cache. It is only read.
    variant : "deepfunneled", "funneled" or "original"
    workers : int or None
        Threads that decode. None: one a CPU, at most 4.

    Raises MnpError if nothing is found, or for a damaged archive or photograph.
    """
    if variant not in VARIANTS:
        raise MnpError(f"no variant {variant!r} of LFW: choose one of {', '.join(VARIANTS)}")
    places = data_folders("lfw", folder)
    source = find_source(places, variant)
    if source is None:
        raise MnpError(
            f"no {VARIANTS[variant].archive} in {', '.join(map(str, places))}; run python "
            f"data_scripts/get_lfw.py --variant {variant}, or name its folder with --data or $MNP_DATA"
        )
    found = decoded(source, variant, crop, size, workers=workers, progress=progress)
    return Faces(variant, *found, places=tuple(places))
