"""Several runs at the same time, each a process of its own.

A process is `mnp run --resume --out FOLDER`, which anybody can call by hand as well. No kernel's result
depends on its number of threads, so neither how many run at once nor the threads that each gets change a
bit of the results.
"""

import os
import signal
import subprocess
import time

from mnp.errors import MnpError
from mnp.experiments.folder import RECIPE
from mnp.experiments.run import check_run_folder
from mnp.experiments.typed import to_dict
from mnp.files import atomic_write, make_folder, to_json
from mnp.process import python_command

LOG = "log.txt"
PATIENCE = 20  # seconds that an interrupted run may take to end


def side_by_side(runs, jobs, *, data_folder=None, backend=None, log=print, source=None):
    """Carry out runs in processes of their own, `jobs` at a time; return when all have ended well.

    Parameters
    ----------
    runs : dict of name -> (Experiment, Path of its folder)
    jobs : int
        The processors are shared out evenly among so many, unless NUMBA_NUM_THREADS says how many threads
        each gets.
    data_folder, backend, say, source
        As in `run.run`; kernels by name.

    Raises MnpError with the last words of each run that failed; none is started after the first failure.
    """
    threads = os.environ.get("NUMBA_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // jobs))
    waiting, running, failed = list(runs), {}, []
    log(f"{len(runs)} runs, {jobs} at a time, {threads} thread(s) each; each writes {LOG} in its folder")
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                running[name] = start(*runs[name], threads, data_folder, backend, source)
            ended = [name for name, process in running.items() if process.poll() is not None]
            for name in ended:
                if running.pop(name).returncode:
                    failed.append(f"{name}: {last_line(runs[name][1] / LOG)}")
                    waiting.clear()
                else:
                    log(f"{name} is done")
            if not ended:
                time.sleep(0.2)
    finally:  # after Ctrl-C too: nothing is left running behind
        for process in running.values():
            process.send_signal(signal.SIGINT)
        for process in running.values():
            stop(process)
    if failed:
        raise MnpError("; ".join(failed))


def start(experiment, folder, threads, data_folder, backend, source):
    """One run as a process; its output goes to a file in its folder."""
    check_run_folder(folder, experiment)
    make_folder(folder)
    if not (folder / RECIPE).exists():
        atomic_write(folder / RECIPE, to_json(to_dict(experiment)))
    words = python_command("from mnp.__main__ import main; sys.exit(main())")
    words += ["run", "--resume", "--out", str(folder), "--no-figures"]
    words += ["--data", str(data_folder)] if data_folder else []
    words += ["--backend", backend] if backend else []
    words += ["--from", str(source)] if source else []
    environment = {**os.environ, "NUMBA_NUM_THREADS": threads}
    try:
        with open(folder / LOG, "w", encoding="utf-8") as log:
            return subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
    except OSError as error:
        raise MnpError(f"{folder / LOG}: cannot be written ({error.strerror or error})") from None


def stop(process):
    """Wait for a process that was interrupted. One that was still starting may have missed the signal, and
    would go on for hours; every file of a run is written whole, so ending it harms nothing."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(path):
    """The last line of a log: where a run says what was wrong."""
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("mnp: ") if lines else "ended without a word"
