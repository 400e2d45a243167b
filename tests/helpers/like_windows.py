"""A plugin of pytest that makes Python on Linux or macOS as poor as on Windows.

    python -m pytest -p like_windows -o timeout_method=thread tests/test_cli.py

It hides the modules and functions that Windows lacks, here and in the processes that are started (but for
those that ignore PYTHONPATH, as the child of `mnp check` does). Ending a process remains, as on Windows. A
console there has a code page of 256 letters: PYTHONIOENCODING is set to one.
"""

import asyncio  # noqa: F401 - its POSIX part is there before anything is hidden
import importlib
import multiprocessing.popen_fork
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path

MODULES = ("fcntl", "grp", "posix_ipc", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
FUNCTIONS = {
    os: "fork forkpty killpg getuid geteuid getgid getegid getgroups setsid getpgid setpgid getpgrp sysconf "
    "nice sched_getaffinity sched_setaffinity sched_yield mkfifo chown fchown lchown fchmod chroot "
    "getloadavg statvfs getpriority posix_spawn posix_spawnp wait wait3 wait4 pread pwrite register_at_fork",
    signal: "SIGKILL SIGALRM SIGHUP SIGCHLD SIGUSR1 SIGUSR2 SIGSTOP SIGCONT SIGQUIT SIGPIPE alarm setitimer "
    "pthread_sigmask pthread_kill",
}
CODE_PAGE = "cp437:strict"


def hide():
    """Do it in this process."""
    end, lock = os.kill, sys.modules.get("fcntl") or importlib.import_module("fcntl")
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK = 2

    def locking(descriptor, mode, size):
        try:
            lock.flock(descriptor, lock.LOCK_EX | lock.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    def terminate(process):
        if process.poll() is None:
            end(process.pid, 9)

    def send_signal(process, number):
        if number != signal.SIGTERM:
            raise ValueError(f"Unsupported signal: {number}")
        terminate(process)

    msvcrt.locking = locking
    sys.modules["msvcrt"] = msvcrt
    sys.modules.update(dict.fromkeys(MODULES))
    subprocess._USE_POSIX_SPAWN = False  # Python 3.13 starts processes by it where it can
    for module, names in FUNCTIONS.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    subprocess.Popen.kill = subprocess.Popen.terminate = terminate
    subprocess.Popen.send_signal = send_signal
    multiprocessing.popen_fork.Popen.kill = multiprocessing.popen_fork.Popen.terminate = terminate


def pytest_configure(config):
    """Hide all that in the processes that tests start, too."""
    folder = Path(tempfile.mkdtemp())
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import like_windows"
    (folder / "sitecustomize.py").write_text(f"{code}; sys.path.pop(0); like_windows.hide()\n")
    root = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", root)])
    os.environ["PYTHONIOENCODING"] = CODE_PAGE
    import _pytest.tmpdir  # not in the processes that tests start

    _pytest.tmpdir.get_user_id = lambda: None
    hide()
