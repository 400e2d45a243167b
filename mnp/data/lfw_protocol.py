"""The text files of Labeled Faces in the Wild: who belongs where, and which pairs are compared.

    pairs file     "300" (or "10<tab>300" for ten folds); then for every fold 300 matched pairs
                   "name<tab>1<tab>4" and 300 mismatched ones "name<tab>1<tab>other<tab>2"
    people file    "4038" people (for ten folds: "10", and before each fold its number of people),
                   then "name<tab>number of images"

View 1 (`pairsDevTrain`, `pairsDevTest`, `peopleDev*`) is for development, View 2 (`pairs`, `people`)
for the figure that is reported. Source: G. B. Huang, M. Ramesh, T. Berg and E. Learned-Miller,
*Labeled Faces in the Wild*, UMass Amherst 07-49, 2007, section III.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mnp.errors import MnpError

WITHDRAWN = frozenset({"Betsy_Coffin"})
"""People whom the official site no longer offers: one, with one image."""

PEOPLE_FOR = {"pairsDevTrain": "peopleDevTrain", "pairsDevTest": "peopleDevTest", "pairs": "people"}
"""The people file that goes with a pairs file."""

FOLDS = 10
MAX_BYTES = 1 << 20  # ten times the longest official file
NAME = r"[A-Za-z][A-Za-z_-]*"
_name = re.compile(NAME)
_number = re.compile(r"[1-9][0-9]{0,3}")


class Pair(NamedTuple):
    """Two images, each a person and an image number; the same person for a matched pair."""

    name: str
    number: int
    other_name: str
    other_number: int

    @property
    def same(self) -> bool:
        return self.name == self.other_name


@dataclass(frozen=True)
class PairsFile:
    """What a pairs file says: the pairs in its order, and the fold of each (0 throughout in View 1)."""

    pairs: tuple[Pair, ...]
    folds: tuple[int, ...]


def read_pairs(path: str | Path) -> PairsFile:
    """Read a pairs file of one fold or of ten.

    Raises MnpError, with the file and the line, for a wrong count, a missing or stray column, a
    number that is not 1 to 9999, a pair of an image with itself, a pair given twice, or matched
    and mismatched pairs out of their places.
    """
    lines = _Lines(path)
    header = lines.take("the number of pairs").split("\t")
    if len(header) > 2:
        raise lines.wrong(f"{len(header)} columns, where the number of pairs is expected")
    folds = 1 if len(header) == 1 else lines.number(header[0])
    if folds > FOLDS:
        raise lines.wrong(f"{folds} folds, where at most {FOLDS} are expected")
    each = lines.number(header[-1])
    pairs: dict[frozenset, Pair] = {}
    fold_of = []
    for fold in range(folds):
        for row in range(2 * each):
            pair = _pair(lines, matched=row < each)
            both = frozenset([pair[:2], pair[2:]])
            if len(both) == 1:
                raise lines.wrong("an image paired with itself")
            if both in pairs:
                raise lines.wrong("a pair that was given before")
            pairs[both] = pair
            fold_of.append(fold)
    lines.finish(f"{folds} x {2 * each} pairs")
    return PairsFile(tuple(pairs.values()), tuple(fold_of))


def read_people(path: str | Path) -> tuple[dict[str, int], ...]:
    """Read a people file: for each fold, every person's number of images.

    A file of one fold begins with its number of people, followed by a person; a file of several
    begins with the number of folds, followed by a number.

    Raises MnpError, with the file and the line, for a wrong count, a stray column, a number that
    is not 1 to 9999, or a person given twice, in one fold or in two.
    """
    lines = _Lines(path)
    first = lines.number(lines.take("the number of people or of folds"))
    several = lines.next_is_number()
    if several and first > FOLDS:
        raise lines.wrong(f"{first} folds, where at most {FOLDS} are expected")
    folds: list[dict[str, int]] = []
    for fold in range(first if several else 1):
        count = lines.number(lines.take("the number of people")) if several else first
        folds.append({})
        for _ in range(count):
            columns = lines.columns(2, "a person and a number of images")
            name = lines.name(columns[0])
            earlier = [f for f, people in enumerate(folds) if name in people]
            if earlier and earlier[0] != fold:
                raise lines.wrong(f"{name} is in fold {fold + 1} and in fold {earlier[0] + 1}")
            if earlier:
                raise lines.wrong(f"{name} was given before")
            folds[-1][name] = lines.number(columns[1])
    lines.finish("as many people as announced")
    return tuple(folds)


def check_people(pairs: PairsFile, people: tuple[dict[str, int], ...], name: str) -> None:
    """Hold a pairs file against its people file: each image exists, and in the pair's own fold.

    Raises MnpError naming the first pair that does not: a person of one fold in another's pairs
    would let the threshold, or the training, see the people that are tested.
    """
    for pair, fold in zip(pairs.pairs, pairs.folds, strict=True):
        for person, number in (pair[:2], pair[2:]):
            if fold >= len(people) or person not in people[fold]:
                where = "the people file" if len(people) == 1 else f"fold {fold + 1} of the people file"
                raise MnpError(
                    f"{name}: {person} is in a pair, but not in {where}; fetch the LFW lists again"
                )
            if number > people[fold][person]:
                raise MnpError(
                    f"{name}: image {number} of {person} is in a pair, but the people file gives "
                    f"{people[fold][person]}; fetch the LFW lists again"
                )


def _pair(lines: "_Lines", matched: bool) -> Pair:
    kind = (
        "a matched pair (name, two numbers)" if matched else "a mismatched pair (name, number, name, number)"
    )
    columns = lines.columns(3 if matched else 4, kind)
    if matched:
        columns.insert(2, columns[0])
    pair = Pair(
        lines.name(columns[0]), lines.number(columns[1]), lines.name(columns[2]), lines.number(columns[3])
    )
    if pair.same != matched:
        raise lines.wrong(f"{pair.name} twice, where {kind} is expected")
    return pair


class _Lines:
    """The lines of a file, read one after another, with errors that say where."""

    def __init__(self, path: str | Path):
        self.path, self.line = Path(path), 0
        try:
            with open(self.path, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise MnpError(
                f"{self.path}: cannot be read ({error.strerror or error}); "
                f"fetch it with data_scripts/get_lfw.py"
            ) from None
        if len(raw) > MAX_BYTES or not raw.isascii():
            raise self.wrong("not a list of LFW's (too long, or not plain ASCII)")
        self.lines = raw.decode("ascii").replace("\r\n", "\n").split("\n")
        if self.lines[-1] == "":
            self.lines.pop()

    def wrong(self, what: str) -> MnpError:
        where = f"{self.path}, line {self.line}" if self.line else f"{self.path}"
        return MnpError(f"{where}: {what}; fetch it again with data_scripts/get_lfw.py")

    def take(self, expected: str) -> str:
        if self.line == len(self.lines):
            raise self.wrong(f"the file ends where {expected} should follow")
        self.line += 1
        return self.lines[self.line - 1]

    def columns(self, count: int, expected: str) -> list[str]:
        columns = self.take(expected).split("\t")
        if len(columns) != count:
            raise self.wrong(f"{len(columns)} columns, where {expected} is expected")
        return columns

    def next_is_number(self) -> bool:
        return self.line < len(self.lines) and bool(_number.fullmatch(self.lines[self.line]))

    def number(self, text: str) -> int:
        if not _number.fullmatch(text):
            raise self.wrong(f"{text[:40]!r}, where a number from 1 to 9999 is expected")
        return int(text)

    def name(self, text: str) -> str:
        if not _name.fullmatch(text) or len(text) > 80:
            raise self.wrong(f"{text[:40]!r}, where a person's name is expected")
        return text

    def finish(self, expected: str) -> None:
        if self.line < len(self.lines):
            self.line += 1
            raise self.wrong(f"more lines than announced ({expected})")
