"""A small LFW in the official layout, with drawings for photographs. No real face is in any test.

Twenty people with three drawings each: a coloured disc and a bar, in a place and two colours of
their own, so that a small network can tell them apart. `draw_lfw` writes the archive and all six lists.
"""

import gzip
import io
import tarfile

import numpy as np
from PIL import Image, ImageDraw

PEOPLE = {
    f"{first}_{last}": 3
    for last in ("Ash", "Birch", "Cedar", "Elm")
    for first in ["Ada", "Ben", "Cleo", "Dan", "Eve"]
}
VIEW1_TRAIN = tuple(sorted(PEOPLE))[:12]
VIEW1_TEST = tuple(sorted(PEOPLE))[12:]


def drawing(person, number):
    """One 250x250 JPEG of a person: always the same bytes from one Pillow."""
    rng = np.random.default_rng([person, 0])
    skin, hair = (tuple(int(v) for v in rng.integers(30, 226, 3)) for _ in range(2))
    x, y = (int(v) for v in rng.integers(95, 156, 2))
    shift = int(np.random.default_rng([person, number]).integers(-6, 7))
    image = Image.new("RGB", (250, 250), (128, 128, 128))
    draw = ImageDraw.Draw(image)
    draw.ellipse((x - 40 + shift, y - 40, x + 40 + shift, y + 40), fill=skin)
    draw.rectangle((60, y - 60 + shift, 190, y - 40 + shift), fill=hair)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def drawings(people=PEOPLE):
    """Every photograph of some people: "Ada_Ash/Ada_Ash_0001.jpg" -> JPEG."""
    return {
        f"{name}/{name}_{number:04d}.jpg": drawing(i, number)
        for i, name in enumerate(sorted(people))
        for number in range(1, people[name] + 1)
    }


def pack(members, path, top="lfw-deepfunneled", form=tarfile.USTAR_FORMAT):
    """Write a .tgz; a member without content is a folder; a TarInfo goes in as it is."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as archive:
        if isinstance(members, list):
            for info in members:
                archive.addfile(info, io.BytesIO(bytes(info.size)) if info.isreg() else None)
        else:
            for name, data in members.items():
                info = tarfile.TarInfo(f"{top}/{name}" if top else name)
                info.size = len(data or b"")
                info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
                archive.addfile(info, io.BytesIO(data or b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw.getvalue(), 1, mtime=0))
    return path


def pair_lines(people, count):
    """`count` matched pairs, then `count` mismatched ones, no two alike, of people with three images."""
    matched = [f"{name}\t{a}\t{b}" for a, b in ((1, 2), (1, 3), (2, 3)) for name in people]
    apart = [
        f"{people[i]}\t{a}\t{people[j]}\t{b}"
        for a, b in ((1, 1), (2, 3), (3, 2), (2, 2))
        for i in range(len(people))
        for j in range(i + 1, len(people))
    ]
    assert len(matched) >= count and len(apart) >= count
    return matched[:count] + apart[:count]


def lists():
    """The six lists: View 1 with 12 and 8 people, View 2 with two people a fold."""
    folds = [tuple(sorted(PEOPLE))[2 * f : 2 * f + 2] for f in range(10)]
    result = {
        "pairsDevTrain": ["30", *pair_lines(VIEW1_TRAIN, 30)],
        "pairsDevTest": ["20", *pair_lines(VIEW1_TEST, 20)],
        "pairs": ["10\t4", *(line for fold in folds for line in pair_lines(fold, 4))],
        "peopleDevTrain": [str(len(VIEW1_TRAIN)), *(f"{n}\t{PEOPLE[n]}" for n in VIEW1_TRAIN)],
        "peopleDevTest": [str(len(VIEW1_TEST)), *(f"{n}\t{PEOPLE[n]}" for n in VIEW1_TEST)],
        "people": ["10", *(line for fold in folds for line in ("2", *(f"{n}\t{PEOPLE[n]}" for n in fold)))],
    }
    return {name: "\n".join(lines) + "\n" for name, lines in result.items()}


def draw_lfw(folder):
    """Write the archive and the six lists into a folder, and return it."""
    pack(drawings(), folder / "lfw-deepfunneled.tgz")
    for name, text in lists().items():
        (folder / f"{name}.txt").write_text(text)
    return folder
