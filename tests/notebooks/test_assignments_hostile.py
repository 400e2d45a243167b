"""Hand-ins that loop, exit, flood, pry or cheat: none stops the grader, none gets points it did not earn."""

import os
import subprocess
import sys

import pytest
from hand_ins import ASSIGNMENTS, grade, hand_in, tool

pytestmark = pytest.mark.posix  # the grader locks a hand-in up, and ends what it has started
TASK = "task3_maxout.py"

FORWARD = """
import numpy as np
def maxout_forward(z):
    return z.max(axis=2), z.argmax(axis=2)
"""
BACKWARD = """
import numpy as np
def maxout_backward(dy, winner, k):
    return np.where(winner[:, :, None] == np.arange(k), dy[:, :, None], dy.dtype.type(0))
"""
RIGHT = FORWARD + BACKWARD
FORWARD_ONLY = 12  # what a right forward pass is worth by itself

# A thief tries every way to the solution (or out of its process); each that opens is told by its name.
THIEF = """
import sys
opened = []
def try_it(way):
    def attempt(*a):
        try:
            way()
        except (Exception, SystemExit):
            return
        opened.append(way.__name__)
    attempt()
    return way

@try_it
def by_opening(): open({source!r}).read()
@try_it
def by_importing():
    import importlib
    importlib.import_module("mnp.kernels.textbook")
@try_it
def by_path():
    sys.path[:0] = [{folder!r}, {assignments!r}]
    import importlib
    importlib.import_module("task1_convolution")
@try_it
def by_mapping():
    import numpy
    numpy.memmap({source!r}, mode="r")
@try_it
def by_listing():
    import os
    os.listdir({folder!r})
@try_it
def by_program():
    import importlib
    importlib.import_module("subprocess").run(["true"])
@try_it
def by_signal():
    import os
    os.kill(os.getppid(), 0)
@try_it
def by_memory(): open("/proc/self/maps", "rb")
@try_it
def by_network():
    import importlib
    importlib.import_module("socket").socket()
@try_it
def by_writing(): open("left_behind", "w")
@try_it
def by_frames():
    frame = sys._getframe()
    while frame:
        for space in (frame.f_globals, frame.f_locals):
            if any(name in space for name in ("maxout_forward", "expected", "MISTAKES")): return
        frame = frame.f_back
    raise LookupError
@try_it
def by_libc():  # past every layer of Python: only the kernel's lock stands in this way
    import numpy as np
    ctypes = np.ctypeslib.ctypes
    libc = ctypes.CDLL(None)
    if libc.open({source!r}.encode(), 0) < 0 and libc.socket(2, 1, 0) < 0: raise OSError("held")

def maxout_forward(z):
    raise ValueError("opened: " + (" ".join(opened) or "nothing"))
"""
WAYS = {"opening", "importing", "path", "mapping", "listing", "program", "signal", "memory"}
WAYS |= {"network", "writing", "libc"}

HOSTILE = {
    # name: (the hand-in, points)
    "right": (RIGHT, 20),
    "loops at once": ("while True: pass\n", 0),
    "loops in backward": (
        FORWARD + "def maxout_backward(dy, winner, k):\n    while True: pass\n",
        FORWARD_ONLY,
    ),
    "sleeps": (FORWARD + "import time\ndef maxout_backward(dy, winner, k): time.sleep(99)\n", FORWARD_ONLY),
    "exits at once": ("import sys\nsys.exit(0)\n", 0),
    "exits in backward": (FORWARD + "def maxout_backward(dy, winner, k): raise SystemExit\n", FORWARD_ONLY),
    "ends the process": (
        FORWARD + "import os\ndef maxout_backward(dy, winner, k): os._exit(0)\n",
        FORWARD_ONLY,
    ),
    "prints megabytes": (
        RIGHT + "print('x' * 50_000_000)\nimport sys\nsys.stderr.write('y' * 50_000_000)\n",
        20,
    ),
    "takes gigabytes": (
        FORWARD + "def maxout_backward(dy, winner, k): return np.ones(10**10)\n",
        FORWARD_ONLY,
    ),
    "returns a giant": (
        FORWARD + "def maxout_backward(dy, winner, k): return np.broadcast_to(0.0, (10**5, 10**5))\n",
        FORWARD_ONLY,
    ),
    "never stops calling": (
        FORWARD
        + "import sys\nsys.setrecursionlimit(10**9)\ndef maxout_backward(*a): return maxout_backward(*a)\n",
        FORWARD_ONLY,
    ),
    "floods every pipe": (
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'\\xff' * 100)\n    except OSError: pass\n"
        + RIGHT,
        0,
    ),
    "closes every pipe": ("import os\nos.closerange(0, 64)\n" + RIGHT, 0),
    "patches NumPy": (
        "import numpy as np, builtins\n"
        "np.isclose = np.allclose = np.array_equal = lambda *a, **k: True\n"
        "np.testing.assert_allclose = lambda *a, **k: None\nbuiltins.all = lambda *a: True\n"
        "class Yes(np.ndarray):\n    def __eq__(self, other): return np.ones(self.shape, bool)\n"
        "def maxout_forward(z): return 0 * z[:, :, 0].view(Yes), np.zeros(z.shape[:2], int).view(Yes)\n"
        "def maxout_backward(dy, winner, k): return np.zeros((*dy.shape, k)).view(Yes)\n",
        0,
    ),
    "patches the messenger": (
        "import __main__, sys\n"
        "def lie(descriptor, value): raise SystemExit(0)\n"
        "__main__.write_message = lie\n__main__.describe = lambda *a: {'error': None, 'result': True}\n"
        "def maxout_forward(z): raise ValueError\ndef maxout_backward(dy, winner, k): raise ValueError\n",
        0,
    ),
    "returns strange things": (
        "class Odd:\n    def __reduce__(self): raise SystemExit\n"
        "    def __array__(self, *a): raise SystemExit\n"
        "def maxout_forward(z): return Odd(), Odd()\ndef maxout_backward(dy, winner, k): return object\n",
        0,
    ),
    "is no Python": ("def maxout_forward(z:\n", 0),
    "is no text": (b"\xff\xfe\x00\x01" * 50, 0),
    "is too long": ("#" * 300_000 + RIGHT, 0),
}


def test_hostile_submissions_get_what_they_earned(tmp_path):
    folder = tmp_path / "submissions"
    for name, (text, _) in HOSTILE.items():
        hand_in(folder, name, {TASK: text})
    # Files that are no answer: a link to the solution, a pipe, a folder; and uninvited company.
    for name in ("link", "pipe", "folder"):
        (folder / name).mkdir()
    (folder / "link" / TASK).symlink_to(ASSIGNMENTS / "source" / TASK)
    os.mkfifo(folder / "pipe" / TASK)
    (folder / "folder" / TASK).mkdir()
    company = hand_in(folder, "company", {TASK: RIGHT})
    for name in ("numpy.py", "conftest.py", "sitecustomize.py", "pytest.py", "checking.py", "protocol.py"):
        (company / name).write_text("import os\nos._exit(0)\n")
    (company / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    hand_in(folder, "=cmd()", {TASK: ""})
    options = (
        "--tasks",
        "task3",
        "--call-seconds",
        "1.5",
        "--jobs",
        "2",
        "--feedback",
        tmp_path / "feedback",
    )
    rows = grade(folder, tmp_path / "grades.csv", *options)

    points = {name: int(row["total"]) for name, row in rows.items()}
    expected = {name: worth for name, (_, worth) in HOSTILE.items()}
    expected |= {"link": 0, "pipe": 0, "folder": 0, "company": 20, "'=cmd()": 0}
    assert points == expected
    assert max(float(row["seconds"]) for row in rows.values()) < 60
    for name, told in [
        ("loops in backward", "did not come back"),
        ("ends the process", "ended the whole process"),
        ("exits at once", "ends the program"),
        ("is no Python", "SyntaxError (line 1"),
        ("is no text", "not UTF-8"),
        ("link", "no link"),
        ("folder", "not a regular file"),
        ("=cmd()", "defines no function maxout_forward"),
    ]:
        assert told in (tmp_path / "feedback" / f"{name}.txt").read_text()


@pytest.mark.parametrize("layers", ["seccomp+audit", "audit", "seccomp", "none"])
def test_no_way_leads_to_the_solution(tmp_path, layers):
    if layers == "seccomp" and not seccomp_works():
        pytest.skip("this kernel offers no seccomp")
    source = ASSIGNMENTS / "source" / TASK
    names = {"source": str(source), "folder": str(source.parent), "assignments": str(ASSIGNMENTS)}
    thief = THIEF.format(**names) + BACKWARD
    if layers == "none":  # then everything is there to be found
        reachable = [path for path in sys.path if path] + [str(ASSIGNMENTS.parents[1])]
        thief = thief.replace("import sys", f"import sys\nsys.path += {reachable}", 1)
    hand_in(tmp_path / "submissions", "thief", {TASK: thief})
    options = ("--tasks", "task3", "--layers", layers, "--feedback", tmp_path / "feedback")
    rows = grade(tmp_path / "submissions", tmp_path / "grades.csv", *options)
    told = (tmp_path / "feedback" / "thief.txt").read_text().split("opened: ")[1].splitlines()[0]
    if layers == "none":  # so the ways are real ones
        assert {way.removeprefix("by_") for way in told.split()} == WAYS
    else:
        assert told == "nothing"
        # Backward alone is right: 2 + 5 points, and nothing for a stolen forward pass.
        assert int(rows["thief"]["total"]) == 7


def test_the_hard_limit_counts_the_checks_that_had_finished(tmp_path, monkeypatch):
    """Should every other limit fail: the submission is stopped; the check that hung is not passed."""
    judge = tool("grade")
    monkeypatch.setattr(judge, "HARD_LIMIT", 8.0)
    hand_in(tmp_path, "endless", {TASK: HOSTILE["sleeps"][0]})
    options = ("--call-seconds=200", "--task-seconds=200")
    found = judge.judge(tool("submissions").one(tmp_path / "endless"), ["task3"], 4711, options)
    assert "stopped after 8 s" in found["problem"] and found["seconds"] < 25
    checks = found["tasks"]["task3"]
    assert checks["test_forward_values"]["points"] == 3
    hung, later = checks["test_backward_by_hand"], checks["test_k_of_one"]
    assert hung["points"] == later["points"] == 0 and not hung["finished"]
    assert hung["message"].startswith("not finished") and later["message"].startswith("not run")
    assert sum(check["points"] for check in checks.values()) == 10


def seccomp_works():
    """Whether this system lets a process lock itself."""
    command = [sys.executable, "-c", "import sandbox; print(sandbox.lock(('seccomp',)))"]
    return (
        "seccomp"
        in subprocess.run(command, cwd=ASSIGNMENTS, capture_output=True, text=True, check=True).stdout
    )
