"""Finds the hand-ins in a folder as it comes from a class, and writes the grades as a class takes them.

Understood, also mixed:

    folders          alice/task3_maxout.py, or one to three folders deeper: alice/homework/task3_maxout.py
    Moodle           Jane Doe_1234567_assignsubmission_file_/task3_maxout.py, or all in one folder:
                     Jane Doe_1234567_assignsubmission_file_task3_maxout.py
    Canvas           doejane_12_345_task3_maxout-1.py, doejane_LATE_12_345_task3_maxout.py

Names that browsers and file managers make are taken for the file they were made of: "task3_maxout (1).py",
"task3_maxout - Copy.py", "Task3_Maxout.py", "task3_maxout.py.txt". Hidden files, __MACOSX and __pycache__
are passed over, and no link is followed.
"""

import csv
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

MOODLE_FOLDER = re.compile(r"(?P<who>.+)_(?P<id>\d+)_assignsubmission_\w+?_?")
MOODLE_FILE = re.compile(r"(?P<who>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+_(?P<file>.+)")
CANVAS_FILE = re.compile(r"(?P<who>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)")
DEEPEST = 3
MOST_ENTRIES = 5000  # of one submission


class SubmissionsError(Exception):
    """There is nothing to grade; one line that says why."""


@dataclass
class Submission:
    """What one student handed in."""

    name: str  # as the CSV and the feedback call it
    student: str = ""
    system: str = "plain"  # or moodle, canvas
    number: str = ""  # the student's number in that system
    listed: list = field(default_factory=list)  # (depth, file name, path) of everything that was found

    def files(self, stems):
        """{stem: path} of the task files, and remarks about names that were not exact."""
        files, remarks = {}, []
        for stem in stems:
            found = sorted(self._candidates(stem))
            if not found:
                continue
            _, renamed, _, path = found[0]
            files[stem] = path
            if len(found) > 1:
                remarks.append(f"{len(found)} files for {stem}.py: graded {_relative(path, self.name)}")
            elif renamed:
                remarks.append(f"graded {path.name} as {stem}.py")
        return files, remarks

    def _candidates(self, stem):
        """(depth, whether renamed, minus the number of the copy, path): the first is the one to grade."""
        pattern = re.compile(
            rf"(?:copy of )?{stem}[ _-]*(?:copy)?[ _-]*\(?(\d*)\)?\.py(?:\.txt)?", re.IGNORECASE
        )
        for depth, name, path in self.listed:
            if match := pattern.fullmatch(name):
                renamed = name != f"{stem}.py" and self.system != "canvas"  # which numbers new attempts
                yield depth, renamed, -int(match[1] or 0), path

    def others(self):
        """The names of up to five files, to say what was handed in instead."""
        names = [name for _, name, _ in self.listed]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _relative(path, name):
    parts = path.parts
    return "/".join(parts[parts.index(name) + 1 :]) if name in parts else path.name


def _passed_over(name):
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")


def listing(folder):
    """(depth, name, path) of the files below a folder; links and odd things too, but they are not entered."""
    listed, entries = [], 0
    for where, folders, files in os.walk(folder, followlinks=False):
        depth = len(Path(where).relative_to(folder).parts)
        kept = sorted(name for name in folders if not _passed_over(name))
        # A folder or a link with the name of a task file is told to be one, not to be missing.
        names = files + [name for name in kept if name.endswith(".py")]
        listed += [(depth, name, Path(where, name)) for name in sorted(names) if not _passed_over(name)]
        folders[:] = kept if depth < DEEPEST else []
        entries += len(folders) + len(files)
        if entries > MOST_ENTRIES:
            break
    return sorted(listed)


def one(folder):
    """The submission in a folder of its own."""
    folder = Path(folder)
    if folder.is_symlink():
        return Submission(folder.name)
    return Submission(folder.name, folder.name, listed=listing(folder))


def find(root, stems):
    """All submissions below a folder, sorted by name, and the names of task files that belong to nobody.

    Raises SubmissionsError if there is no submission.
    """
    if not root.is_dir():
        raise SubmissionsError(f"{root} is not a folder: name the (unpacked) folder of submissions")
    found, strays = {}, []
    for path in sorted(root.iterdir()):
        if _passed_over(path.name):
            continue
        if path.is_dir():
            submission = one(path)
            if match := MOODLE_FOLDER.fullmatch(path.name):
                submission.student, submission.number, submission.system = match["who"], match["id"], "moodle"
            key = (submission.system, submission.number or path.name)
            found.setdefault(key, submission)
            if found[key] is not submission:  # Moodle makes a folder for every kind of hand-in
                found[key].listed += submission.listed
            continue
        for system, pattern in (("moodle", MOODLE_FILE), ("canvas", CANVAS_FILE)):
            if match := pattern.fullmatch(path.name):
                name = f"{match['who']}_{match['id']}"
                submission = Submission(name, match["who"], system, match["id"])
                found.setdefault((system, match["id"]), submission).listed.append((0, match["file"], path))
                break
        else:
            strays += [path.name] if any(stem in path.name.lower() for stem in stems) else []
    if not found and Submission("", listed=listing(root)).files(stems)[0]:
        raise SubmissionsError(f"{root} is itself a submission: name the folder above it, or use --one")
    if not found:
        raise SubmissionsError(f"{root} holds no submissions: one folder for each student is expected")
    return sorted(found.values(), key=lambda submission: submission.name), strays


def plain(name):
    """A name as a spreadsheet may open it: a leading = + - @ would be taken for a formula."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def moodle_row(submission, points, worth, text):
    """A line of Moodle's grading worksheet ("Upload grading worksheet"); it is matched by the Identifier."""
    return {
        "Identifier": f"Participant {submission.number}",
        "Full name": plain(submission.student),
        "Grade": points,
        "Maximum Grade": worth,
        "Last modified (grade)": "-",
        "Feedback comments": text,
    }


def canvas_row(submission, points, assignment):
    """A line of Canvas' gradebook ("Import"); the student is matched by the ID, the rest may be empty."""
    return {
        "Student": plain(submission.student),
        "ID": submission.number,
        "SIS User ID": "",
        "SIS Login ID": "",
        "Section": "",
        assignment: points,
    }


def write_csv(path, rows):
    """Write all rows so far and replace the file in one step."""
    part = Path(f"{path}.part")
    with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)
