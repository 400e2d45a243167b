"""The environment that a summary records: versions, threads, processor. No paths, no names of people."""

import contextlib
import os
import platform
import subprocess

import numpy as np

import mnp
from mnp.kernels import why_no_numba

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def versions():
    """Return the versions of everything that decides the bits."""
    found = {"mnp": mnp.__version__, "python": platform.python_version(), "numpy": np.__version__}
    if not why_no_numba():
        import numba

        found["numba"] = numba.__version__
    return found


def threads():
    """Return the number of threads of Numba's kernels (1 without it) and of the BLAS behind NumPy's `@`."""
    kernels = 1
    if not why_no_numba():
        import numba

        kernels = numba.get_num_threads()
    blas = next((os.environ[name] for name in BLAS_VARIABLES if os.environ.get(name, "").isdigit()), None)
    return {"numba": kernels, "blas": int(blas) if blas else "default"}


def cpu():
    """Return model, architecture and number of processors; the model is "" where it is unknown."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
            )
    except OSError:  # not Linux
        with contextlib.suppress(OSError):  # not macOS
            words = ["sysctl", "-n", "machdep.cpu.brand_string"]
            model = subprocess.run(words, capture_output=True, text=True).stdout.strip() or model
    if not model and not why_no_numba():  # Linux on ARM gives numbers only
        from llvmlite.binding import get_host_cpu_name

        model = get_host_cpu_name()
    return {"model": model, "architecture": platform.machine(), "count": os.cpu_count()}
