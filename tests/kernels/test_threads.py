"""Numba's threads where Numba's own layers fail: after a fork, from two Python threads, on a busy machine."""

import os

import numba
import pytest
from fresh_python import run_python

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="no threads without compiled loops")
LAYERS = ("omp", "workqueue")

WORK = """
import multiprocessing, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from mnp.kernels import jitted, tiled

z = np.random.default_rng(0).standard_normal((500, 40, 4)).astype(np.float32)

def work(i=0):
    w = (np.ones(100_000, np.float32),)
    tiled.sgd_step(w, (w[0] * 3,), (w[0] * 0,), (None,), 0.1, 0.9, 0.0)
    return float(jitted.maxout_forward(z)[0].sum()), float(w[0].sum())
"""
IN_A_POOL = """
expected = work()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(work, range(4)).get(timeout=60) == [expected] * 4)
"""
IN_A_GRANDCHILD = """
expected = work()
for _ in range(2):  # the child forks once more
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if _ == 0:
            print(status == 0)
        os._exit(status) if _ else sys.exit()
os._exit(0 if work() == expected else 1)
"""
WHILE_ANOTHER_THREAD_WORKS = """
expected, stop = work(), threading.Event()
def busy():
    while not stop.is_set():
        work()
thread = threading.Thread(target=busy)
thread.start()
statuses = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if work() == expected else 1)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
thread.join()
print(statuses == [0] * 5)
"""
FROM_TWO_THREADS = """
expected = work()
with ThreadPoolExecutor(3) as pool:
    print(list(pool.map(work, range(300))) == [expected] * 300)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("script", [IN_A_POOL, IN_A_GRANDCHILD, WHILE_ANOTHER_THREAD_WORKS])
def test_children_that_were_forked_after_the_first_kernel_answer(script, layer):
    done = run_python(WORK + script, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    assert done.stdout == "True\n"


@pytest.mark.parametrize("layer", LAYERS)
def test_python_threads_get_the_same_numbers(layer):
    done = run_python(WORK + FROM_TWO_THREADS, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    "asked, count",
    [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_threads_spin_for_a_short_time_unless_the_user_says_how_long(asked, count):
    environment = {"OMP_DISPLAY_ENV": "verbose", "NUMBA_THREADING_LAYER": "omp", **asked}
    done = run_python(WORK + "work(); print('GOMP_SPINCOUNT' in os.environ)", **environment)
    told = [line.split("'")[1] for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not told:
        pytest.skip("not GNU OpenMP")
    assert told == [count]
    assert done.stdout == f"{'GOMP_SPINCOUNT' in asked}\n"  # nothing is left behind for other libraries


@pytest.mark.parametrize("count", ["0", "-2"])
def test_no_threads_at_all_is_one_line(count):
    code = "from mnp.cli import main; raise SystemExit(main(['check', 'mnp.kernels.jitted']))"
    done = run_python(code, check=False, NUMBA_NUM_THREADS=count)
    assert (done.returncode, done.stderr) == (2, f"mnp: NUMBA_NUM_THREADS is {count}: set it to 1 or more\n")


def test_a_threading_layer_that_is_not_installed_is_one_line():
    done = run_python(WORK + "work()", check=False, NUMBA_THREADING_LAYER="nonsense")
    assert done.stderr.splitlines()[-1].startswith("mnp.errors.MnpError: NUMBA_THREADING_LAYER: ")
