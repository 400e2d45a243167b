"""Hand-ins as a class gives them: misnamed, nested, incomplete, hostile; and the grades that go back."""

import csv
import re
import subprocess
import sys

import pytest
from hand_ins import ASSIGNMENTS, WORTH, full, grade, hand_in, markers, stub, tool, typical  # noqa: F401
from hand_ins import WRONG as WRONG_ANSWERS

make, submissions = tool("make"), tool("submissions")
SOURCES = make.sources()
STEMS = [source.stem for source in SOURCES]
POOLING = SOURCES[1]


def put(root, path, text):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


RIGHT, WRONG = full(POOLING), typical(POOLING)  # 15 and 13 points
NAME = f"{POOLING.stem}.py"

# submission in the CSV: files, points, what the problem says
FORMS = {
    "alice": ({f"alice/{NAME}": RIGHT, f"__MACOSX/alice/._{NAME}": "\0\5"}, 15, ""),
    "bob": ({f"bob/hw4/{NAME}": RIGHT, f"bob/__MACOSX/hw4/{NAME}": "", "bob/hw4/.DS_Store": ""}, 15, ""),
    "carol": ({f"carol/zip/course/{NAME}": RIGHT, f"carol/zip/course/test_{NAME}": ""}, 15, ""),
    "dave": ({f"dave/{POOLING.stem} (1).py": RIGHT}, 15, f"graded {POOLING.stem} (1).py as {NAME}"),
    "erin": (
        {f"erin/{NAME}": RIGHT, f"erin/{POOLING.stem} (1).py": WRONG},
        15,
        "2 files for task2_pooling.py",
    ),
    "fred": ({f"fred/{POOLING.stem} - Copy.py.txt": WRONG}, 13, "graded task2_pooling - Copy.py.txt as"),
    "gina": ({f"gina/{NAME}": WRONG, f"gina/old/{NAME}": RIGHT}, 13, "graded task2_pooling.py"),
    "hugo": ({"hugo/Task2_Pooling.py": RIGHT}, 15, "graded Task2_Pooling.py as"),
    "Jane Doe_1234567_assignsubmission_file_": (
        {
            f"Jane Doe_1234567_assignsubmission_file_/{NAME}": RIGHT,
            "Jane Doe_1234567_assignsubmission_onlinetext_/onlinetext.html": "<p>done</p>",
        },
        15,
        "",
    ),
    "Ann O'Neil_22_assignsubmission_file": (
        {f"Ann O'Neil_22_assignsubmission_file/hw/{NAME}": WRONG},
        13,
        "",
    ),
    "Max Muster_33": ({f"Max Muster_33_assignsubmission_file_{NAME}": RIGHT}, 15, ""),
    "muelleranna_12": (
        {
            f"muelleranna_12_345_{POOLING.stem}-1.py": RIGHT,
            f"muelleranna_12_344_{NAME}": WRONG,  # an earlier attempt
            "muelleranna_12_346_notes.pdf": "",
        },
        15,
        "2 files for task2_pooling.py",
    ),
    "latecomer_99": ({f"latecomer_LATE_99_400_{NAME}": RIGHT}, 15, ""),
    "zipped_13": ({"zipped_13_500_homework.zip": "PK"}, 0, "no task file; handed in: homework.zip"),
    "empty": ({"empty/.hidden": ""}, 0, "no task file; handed in: nothing"),
    "other": (
        {"other/report.docx": "", "other/my_pooling.py": ""},
        0,
        "handed in: my_pooling.py, report.docx",
    ),
    "broken": ({f"broken/{NAME}": "import pandas\n"}, 0, "task2: your code raises ImportError (line 1 of"),
    "unsolved": ({f"unsolved/{NAME}": stub(POOLING)}, 0, "task2: not written yet"),
}


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory):
    """All forms in one folder, as nobody's download mixes them."""
    root = tmp_path_factory.mktemp("class") / "submissions"
    for files, _, _ in FORMS.values():
        for path, text in files.items():
            put(root, path, text)
    put(root, "grades_of_last_year.csv", "")
    return root


def test_every_form_leads_to_the_right_file(class_folder):
    found, _ = submissions.find(class_folder, STEMS)
    assert {one.name for one in found} == set(FORMS)
    for one in found:
        _, points, told = FORMS[one.name]
        files, remarks = one.files(STEMS)
        if points:
            assert files[POOLING.stem].read_text(encoding="utf-8") == (RIGHT if points == 15 else WRONG)
            assert told in "; ".join(remarks) and bool(told) == bool(remarks)


def test_points_and_every_zero_with_its_reason(tmp_path):
    graded = [name for name, (_, points, _) in FORMS.items() if points == 0] + ["gina", "muelleranna_12"]
    for name in graded:
        for path, text in FORMS[name][0].items():
            put(tmp_path / "class", path, text)
    rows = grade(tmp_path / "class", tmp_path / "grades.csv", "--tasks", "task2", "--jobs", "2")
    assert {name: int(row["total"]) for name, row in rows.items()} == {n: FORMS[n][1] for n in graded}
    for name in graded:
        assert FORMS[name][2] in rows[name]["problem"], name


def test_nothing_else_is_taken_for_a_hand_in(tmp_path):
    put(tmp_path, f"class/alice/test_{NAME}", RIGHT)
    put(tmp_path, f"class/alice/.ipynb_checkpoints/{NAME}", RIGHT)
    put(tmp_path, f"class/alice/__pycache__/{NAME}", RIGHT)
    put(tmp_path, f"class/alice/a/b/c/d/{NAME}", RIGHT)  # deeper than anybody's archive
    put(tmp_path, f"outside/{NAME}", RIGHT)
    (tmp_path / "class/alice/link").symlink_to(tmp_path / "outside")
    (tmp_path / "class/linked").symlink_to(tmp_path / "outside")
    found, strays = submissions.find(tmp_path / "class", STEMS)
    assert [one.name for one in found] == ["alice", "linked"] and strays == []
    assert [one.files(STEMS)[0] for one in found] == [{}, {}]
    put(tmp_path, f"class/my_{NAME}", RIGHT)
    assert submissions.find(tmp_path / "class", STEMS)[1] == [f"my_{NAME}"]


def test_a_folder_without_hand_ins_is_one_line(tmp_path):
    put(tmp_path, f"alice/{NAME}", RIGHT)
    (tmp_path / "nobody").mkdir()
    put(tmp_path, "class.zip", "PK")
    for path, told in [
        ("alice", "is itself a submission"),
        ("nobody", "holds no submissions"),
        ("class.zip", "(unpacked) folder"),
        ("missing", "is not a folder"),
    ]:
        with pytest.raises(submissions.SubmissionsError, match=re.escape(told)):
            submissions.find(tmp_path / path, STEMS)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_moodle_and_canvas_get_the_columns_that_they_import(tmp_path):
    moodle, canvas = tmp_path / "moodle", tmp_path / "canvas"
    put(moodle, f"Jane Doe_1234567_assignsubmission_file_/{NAME}", RIGHT)
    put(moodle, f"=1+1_7_assignsubmission_file_/{NAME}", WRONG)
    put(canvas, f"doejane_12_345_{NAME}", RIGHT)
    put(canvas, "muelleranna_13_346_notes.pdf", "")
    grade(moodle, tmp_path / "moodle.csv", "--tasks", "task2", "--csv", "moodle")
    header, *rows = read(tmp_path / "moodle.csv")
    # mod/assign/feedback/offline: these four are looked up by name, and the number after "Participant ".
    assert {"Identifier", "Grade", "Last modified (grade)", "Feedback comments"} <= set(header)
    jane = dict(zip(header, rows[1], strict=True))
    assert jane["Identifier"] == "Participant 1234567" and jane["Full name"] == "Jane Doe"
    assert (jane["Grade"], jane["Maximum Grade"]) == ("15", "15")
    formula = dict(zip(header, rows[0], strict=True))
    assert formula["Full name"] == "'=1+1" and formula["Grade"] == "13"
    assert "a pixel that wins twice" in formula["Feedback comments"]
    assert not any(cell.startswith(tuple("=+@")) for row in rows for cell in row)

    options = ("--csv", "canvas", "--assignment", "Maxout (678)")
    grade(canvas, tmp_path / "canvas.csv", "--tasks", "task2", *options)
    # Its importer wants Student and ID first, Section last before the assignments, and knows this second row.
    assert read(tmp_path / "canvas.csv") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Maxout (678)"],
        ["    Points Possible", "", "", "", "", "15"],
        ["doejane", "12", "", "", "", "15"],
        ["muelleranna", "13", "", "", "", "0"],
    ]


def test_grades_cannot_go_back_without_the_students_numbers(tmp_path):
    put(tmp_path, f"class/alice/{NAME}", RIGHT)
    command = [
        sys.executable,
        ASSIGNMENTS / "grade.py",
        tmp_path / "class",
        "--tasks",
        "task2",
        "--csv",
        "canvas",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "without: alice" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "grades.csv").exists()


def every(function):
    """A file for each task in which all functions have this body."""
    names = re.findall(r"^(\w+)\(", tool("checking").SIGNATURES, re.M)
    return {f"{stem}.py": "".join(f"def {name}(*a, **k): {function}\n" for name in names) for stem in STEMS}


# The stored outputs of the student's folder, learnt by heart, are of no use: other numbers are asked.
LEARNT = """
import numpy as np
from pathlib import Path
def maxout_forward(z):
    with np.load("cases/task3_maxout.npz") as stored: return stored[sorted(stored)[0]]
maxout_backward = maxpool2d_forward = maxpool2d_backward = maxout_forward
"""


def test_a_class(tmp_path):
    """One hand-in of every kind, with the points that it deserves."""
    root = tmp_path / "class"
    right = {f"{source.stem}.py": full(source) for source in SOURCES}
    hand_in(root, "right", right)
    hand_in(root, "=fred", right)
    hand_in(
        root, "partly", {f"{source.stem}.py": typical(source) for source in SOURCES if source.task != "task4"}
    )
    hand_in(root, "stub", {f"{source.stem}.py": stub(source) for source in SOURCES})
    by_heart = every("return np.zeros(3)")
    hand_in(root, "by heart", {name: text + LEARNT for name, text in by_heart.items()})
    hand_in(root, "endless", every("\n    while True: pass"))
    hand_in(root, "empty", {})
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    options = ("--jobs", "2", "--call-seconds", "1", "--feedback", tmp_path / "feedback")
    rows = grade(root, tmp_path / "grades.csv", *options)
    left = {task: points for task, (_, _, points) in WRONG_ANSWERS.items()} | {"task4": 0}
    nothing = dict.fromkeys(WORTH, 0)
    expected = dict.fromkeys(("right", "'=fred"), WORTH) | {"partly": left}
    expected |= dict.fromkeys(("stub", "by heart", "endless", "empty"), nothing)
    assert {name: {task: int(row[task]) for task in WORTH} for name, row in rows.items()} == expected
    assert all(int(row["total"]) == sum(expected[name].values()) for name, row in rows.items())
    assert float(rows["right"]["percent"]) == 100 and rows["right"]["out_of"] == "100"
    assert {row["seed"] for row in rows.values()} == {"4711"}
    assert rows["right"]["problem"] == "" and rows["partly"]["problem"] == "missing: task4_relevance.py"
    for name in ("stub", "by heart", "endless", "empty"):
        assert rows[name]["problem"], "no zero without a reason"
    assert rows["endless"]["problem"].count("did not come back within") == 5
    told = (tmp_path / "feedback" / "partly.txt").read_text(encoding="utf-8")
    # prune_neurons calls take_neurons: its slip counts once.
    assert "test_prune_values (passed)" in told and "their slips are not charged again" in told
    assert "row unit + m of the flattened array" in told and "partly: 61 of 100 points" in told
    assert told.count("task4_relevance.py is missing") == 1, "once, not once per check"
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
