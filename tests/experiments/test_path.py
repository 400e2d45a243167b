"""How far it is from `mnp run digits` to the first convolution: files, stack frames, and what is not met."""

import json

from fresh_python import run_python

MAX_FILES, MAX_FRAMES = 22, 9  # main, run, mnp.run, runner.run, two of evaluate, two of forward, the kernel
SCRIPT = """
import json, os, sys
import mnp

ROOT, executed = os.path.dirname(mnp.__file__) + os.sep, set()

def trace(frame, event, argument):
    # Called for every function and class body that is executed; a module body defines only.
    path, name = frame.f_code.co_filename, frame.f_code.co_name
    if path.startswith(ROOT) and name != "<module>":
        executed.add(path.removeprefix(ROOT))
    if name == "conv2d_forward":
        frames = 0
        while frame:
            frames += frame.f_code.co_filename.startswith(ROOT)
            frame = frame.f_back
        modules = [name for name in sys.modules if name.startswith("mnp.")]
        print(json.dumps([frames, sorted(executed), modules]), flush=True)
        os._exit(0)

sys.settrace(trace)
from mnp.cli import main
main(["run", "digits", "--backend", "textbook", "--out", sys.argv[1]])
"""


def test_the_path_to_the_first_convolution_is_short(tmp_path):
    done = run_python(SCRIPT, tmp_path / "out", check=False)
    frames, executed, modules = json.loads(done.stdout.splitlines()[-1])
    assert frames <= MAX_FRAMES
    words = ("lfw", "tar", "sparse", "verification", "verify")
    strange = [module for module in modules if any(word in module for word in words)]
    assert not strange and len(executed) <= MAX_FILES, (strange, len(executed), executed)
