"""Several runs at the same time, each in its own process.

A process is `mnp run --resume --out FOLDER`, which anybody can call by hand as well. No kernel's result
depends on its number of threads, so the number of processes changes no bit of the results.
"""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from mnp.errors import MnpError
from mnp.experiments.config import to_dict
from mnp.experiments.registry import RECIPE, check_run_folder
from mnp.files import atomic_write, cannot_write, make_folder, to_json

LOG = "log.txt"


def run_in_processes(runs, jobs, *, data_folder=None, backend=None, log=print, source=None):
    """Run experiments in processes of their own, `jobs` at a time; return when all have finished.

    Parameters
    ----------
    runs : dict of name -> (Experiment, Path of its folder)
    jobs : int
        The processors are divided evenly among so many, unless NUMBA_NUM_THREADS is set.
    data_folder, backend, log, source
        As in `runner.run`; the backend by name.

    Raises MnpError with the error message of each run that failed; none is started after the first failure.
    """
    threads = os.environ.get("NUMBA_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // jobs))
    options = ["--data", str(data_folder)] if data_folder else []
    options += ["--backend", backend] if backend else []
    options += ["--from", str(source)] if source else []
    log(f"{len(runs)} runs, {jobs} at a time, {threads} thread(s) each; each writes {LOG} in its folder")
    processes, failures, interrupted = [], [], threading.Event()

    def work(name):
        """Run one process to its end."""
        if failures or interrupted.is_set():
            return
        log_path = runs[name][1] / LOG
        process, log_start = start(*runs[name], threads, options)
        processes.append(process)
        if interrupted.is_set():  # meanwhile; then nobody else ends it
            process.kill()
        if process.wait() == 0:
            log(f"{name} is done")
        else:
            failures.append(f"{name}: {error_in_log(log_path, log_start)}")

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, name) for name in runs]
        try:
            for future in futures:
                future.result()
        finally:  # after Ctrl-C no process is left; killing one harms nothing, every file is complete
            interrupted.set()
            for process in processes:
                process.kill()
    if failures:
        raise MnpError("; ".join(failures))


def start(experiment, folder, threads, options):
    """Start one run whose output goes to a file in its folder; return (process, size of the file before)."""
    check_run_folder(folder, experiment)
    make_folder(folder)
    if not (folder / RECIPE).exists():
        atomic_write(folder / RECIPE, to_json(to_dict(experiment)))
    words = [sys.executable, "-m", "mnp", "run", "--resume", "--out", str(folder), "--no-figures", *options]
    environment = {**os.environ, "NUMBA_NUM_THREADS": threads}
    try:
        # Appended: the process of an earlier start may still write there, if only this one was killed.
        with open(folder / LOG, "ab") as log:
            size = log.tell()
            process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
        return process, size
    except OSError as error:
        raise cannot_write(folder / LOG, error) from None


def error_in_log(path, start):
    """The last error message that a log has behind a position."""
    text = path.read_bytes()[start:].decode("utf-8", errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("mnp: ")]
    return errors[-1].removeprefix("mnp: ") if errors else f"ended without an error message, see {path}"
