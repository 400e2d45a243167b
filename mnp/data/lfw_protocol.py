"""The lists of Labeled Faces in the Wild: the people of each part, and the pairs that are compared.

    pairs file     "300" (or "10<tab>300" for ten folds); then for every fold 300 matched pairs
                   "name<tab>1<tab>4" and 300 mismatched ones "name<tab>1<tab>other<tab>2"
    people file    "4038" people (for ten folds: "10", and before each fold its number of people),
                   then "name<tab>number of images"

View 1 (`pairsDevTrain`, `pairsDevTest`, `peopleDev*`) is for development, View 2 (`pairs`, `people`)
for the reported accuracy. Source: G. B. Huang, M. Ramesh, T. Berg and E. Learned-Miller,
*Labeled Faces in the Wild*, UMass Amherst 07-49, 2007, section III.
"""

import re
from typing import NamedTuple

from mnp.errors import MnpError

WITHDRAWN = frozenset({"Betsy_Coffin"})
"""People whom the official site no longer offers: one, with one image."""

PEOPLE_FOR = {"pairsDevTrain": "peopleDevTrain", "pairsDevTest": "peopleDevTest", "pairs": "people"}
"""The people file that belongs to each pairs file."""

MAX_BYTES = 1 << 20  # ten times the longest official file
NAME = r"[A-Za-z][A-Za-z_-]{0,79}"
_NUMBER = r"[1-9][0-9]{0,3}"
_FOLDS = "[1-9]|10"
_PAIRS_HEADER = rf"(?:({_FOLDS})\t)?({_NUMBER})"
_PAIR = rf"({NAME})\t({_NUMBER})\t(?:({NAME})\t)?({_NUMBER})"
_PERSON = rf"({NAME})\t({_NUMBER})"


class Pair(NamedTuple):
    """Two images, each a person and an image number; the same person for a matched pair."""

    name: str
    number: int
    other_name: str
    other_number: int

    @property
    def same(self):
        return self.name == self.other_name


def read_pairs(path):
    """Read a pairs file of one fold or of ten.

    Returns
    -------
    pairs : list of Pair, in the file's order
    folds : list of int, the fold of each (0 throughout in View 1)

    Raises MnpError, with the file and the line, for a wrong number of pairs, a line that is not the
    expected kind of pair, numbers outside 1 to 9999, a pair of an image with itself, or a repeated pair.
    """
    lines = _read_lines(path)
    header = _match(path, lines, 0, _PAIRS_HEADER, "the number of pairs, or of folds and pairs")
    folds, half = int(header[1] or 1), int(header[2])
    if len(lines) != 1 + folds * 2 * half:
        raise _wrong(path, 0, f"{folds} x {2 * half} pairs announced, but {len(lines) - 1} lines follow")
    pairs = {}
    for i in range(1, len(lines)):
        matched = (i - 1) % (2 * half) < half
        kind = "a matched pair (name, two numbers)" if matched else "a mismatched pair (name, number, twice)"
        name, number, other, other_number = _match(path, lines, i, _PAIR, kind).groups()
        pair = Pair(name, int(number), other or name, int(other_number))
        if pair.same != matched or (other is None) != matched:
            raise _wrong(path, i, f"{lines[i]!r}, where {kind} is expected")
        images = frozenset([pair[:2], pair[2:]])
        if len(images) == 1 or images in pairs:
            raise _wrong(path, i, "an image paired with itself" if len(images) == 1 else "a repeated pair")
        pairs[images] = pair
    return list(pairs.values()), [i // (2 * half) for i in range(len(pairs))]


def read_people(path):
    """Read a people file: for each fold, a dict from every person to the number of images.

    A file of one fold begins with its number of people, followed by a person; a file of several
    begins with the number of folds, followed by a number.

    Raises MnpError, with the file and the line, for a wrong number of people, a line that is no person,
    numbers outside 1 to 9999, or a person who is there twice, in one fold or in two.
    """
    lines = _read_lines(path)
    several = len(lines) > 1 and re.fullmatch(_NUMBER, lines[1])
    first = _match(path, lines, 0, _FOLDS if several else _NUMBER, "the number of people or folds")
    folds, i, seen = [], 1 if several else 0, set()
    for _ in range(int(first[0]) if several else 1):
        count = int(_match(path, lines, i, _NUMBER, "the number of people")[0])
        folds.append({})
        for _ in range(count):
            i += 1
            name, images = _match(path, lines, i, _PERSON, "a person (name, number of images)").groups()
            if name in seen:
                raise _wrong(path, i, f"{name} is there twice")
            seen.add(name)
            folds[-1][name] = int(images)
        i += 1
    if i < len(lines):
        raise _wrong(path, i, "more lines than announced")
    return tuple(folds)


def check_people(pairs, folds, people, name):
    """Compare a pairs file with its people file: each image exists, and in the pair's own fold.

    Raises MnpError naming the first pair for which this is false: with a person of one fold in another's
    pairs, the training or the threshold would use people of the test.
    """
    for pair, fold in zip(pairs, folds, strict=True):
        for person, number in (pair[:2], pair[2:]):
            if fold >= len(people) or number > people[fold].get(person, 0):
                raise MnpError(
                    f"{name}: image {number} of {person} is in a pair of fold {fold + 1}, but not in that "
                    f"fold of the people file; {_AGAIN}"
                )


_AGAIN = "fetch the lists again with `mnp fetch lfw`"


def _read_lines(path):
    """The lines of a list, of which there is at least one, possibly empty."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MnpError(f"{path}: cannot be read ({error.strerror or error}); {_AGAIN}") from None
    if len(raw) > MAX_BYTES or not raw.isascii():
        raise MnpError(f"{path}: not a list of LFW's (too long, or not plain ASCII); {_AGAIN}")
    return raw.decode("ascii").replace("\r\n", "\n").removesuffix("\n").split("\n")


def _match(path, lines, i, pattern, expected):
    """The match of the whole line `i` with a pattern, or MnpError."""
    if i >= len(lines):
        raise _wrong(path, i - 1, f"the file ends where {expected} is expected")
    match = re.fullmatch(pattern, lines[i])
    if not match:
        raise _wrong(path, i, f"{lines[i][:60]!r}, where {expected} is expected, separated by tabs")
    return match


def _wrong(path, i, what):
    return MnpError(f"{path}, line {i + 1}: {what}; {_AGAIN}")
