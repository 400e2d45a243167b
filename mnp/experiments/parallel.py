"""Several runs at the same time, each in its own process.

No kernel's result depends on its number of threads, so the number of processes changes no bit of the results.
"""

import contextlib
import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from mnp.errors import MnpError
from mnp.experiments import environment
from mnp.experiments.registry import LOG, check_run_folder
from mnp.files import make_folder
from mnp.kernels import why_no_numba


def run_in_processes(run, runs, jobs, *, log=print, **options):
    """Run experiments in processes of their own, `jobs` at a time; return when all have finished.

    Parameters
    ----------
    run : function
        `runner.run`, or another that takes an experiment, a folder, `log` and the options.
    runs : dict of name -> (Experiment, Path of its folder)
    jobs : int
        The processors are divided evenly among so many, unless NUMBA_NUM_THREADS is set.
    log : callable(str)
        Called when a run has finished; what a run says itself goes to log.txt in its folder.
    options
        Must be picklable, so the backend is given by name.

    Raises MnpError with the error message of each run that failed; no more are begun after the first failure.
    A script that calls this has its own work below ``if __name__ == "__main__"``.
    """
    threads = environment.threads()["numba"]
    if "NUMBA_NUM_THREADS" not in os.environ:
        threads = max(1, threads // jobs)
    log(f"{len(runs)} runs, {jobs} at a time, {threads} thread(s) each; each writes {LOG} in its folder")
    for experiment, folder in runs.values():
        check_run_folder(folder, experiment)
    # Each process imports everything anew: a fork of one in which Numba's threads run would hang.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=_set_threads, initargs=(threads,)) as pool:
        waiting, running, failures = list(runs), {}, []
        try:
            while running or (waiting and not failures):
                while waiting and len(running) < jobs and not failures:
                    name = waiting.pop(0)
                    running[pool.submit(_run_with_log, run, *runs[name], options)] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name, error = running.pop(future), future.exception()
                    if isinstance(error, BrokenProcessPool):
                        error = "its process ended (killed, or begun by a script that has no __main__ guard)"
                    elif not isinstance(error, MnpError | None):
                        raise error
                    if error:
                        failures.append(f"{name}: {error}")
                    else:
                        log(f"{name} is done")
        except BaseException:  # Ctrl-C: no process is left; killing one harms nothing, every file is complete
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.kill()
                process.join()
            raise
    if failures:
        raise MnpError("; ".join(sorted(failures)))


def _set_threads(count):
    if not why_no_numba():
        import numba

        numba.set_num_threads(count)


def _run_with_log(run, experiment, folder, options):
    make_folder(folder)
    with (
        open(folder / LOG, "a", buffering=1, encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        run(experiment, folder, **options)
