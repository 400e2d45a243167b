"""The sandbox: rights that a process gives up before it runs a student's code.

Two layers, both installed by the process itself after it has imported everything it needs and
before it looks at the student's code:

1. seccomp (Linux on x86-64 or aarch64): from here on the kernel answers EPERM to every system call
   that is not on a short list. No file can be opened any more, no process or thread started, no
   signal sent, no socket made, no other process looked at. This holds whatever Python code, ctypes
   call or machine code the student brings.
2. A Python audit hook, which rejects the same things one level higher, everywhere Python runs. It
   gives better error messages; alone (macOS, other processors) it stops accidents and simple attempts,
   but not code that writes memory through ctypes.

Resource limits go with them: memory, processor time, no core file, no byte written to any file.
"""

import contextlib
import ctypes
import platform
import struct
import sys

MEMORY = 1 << 30

# name: (x86-64, aarch64); None where the processor has no such call.
ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "times": (100, 153),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "time": (201, None),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
PROCESSORS = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

REFUSED_EVENTS = (
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "mmap.",
    "fcntl.",
    "resource.",
    "signal.",
    "gc.",
    "glob.",
    "pty.",
    "syslog.",
    "tempfile.",
    "pathlib.",
    "urllib.",
    "webbrowser.",
    "code.__new__",
    "function.__new__",
    "sys.addaudithook",
    "sys.setprofile",
    "sys.settrace",
    "_thread.",
    "cpython._PySys_ClearAuditHooks",
)


def limit_resources(seconds):
    """Bound memory, processor time and files; where a limit is unknown the next layer has to do."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in [
        ("RLIMIT_AS", MEMORY),
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
    ]:
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def forbid_events():
    """Install the audit hook. Everything it needs is bound here, out of reach of later rebinding."""

    def refuse(
        event, arguments, refused=REFUSED_EVENTS, error=PermissionError, text=str, starts=str.startswith
    ):
        if starts(event, refused):
            raise error(f"{event} is not available while an answer is being graded")
        if event == "object.__setattr__" and text(arguments[1]) in ("__code__", "__defaults__"):
            raise error("changing a function's code is not available while an answer is being graded")

    sys.addaudithook(refuse)


def forbid_system_calls():
    """Install the seccomp filter for good. Returns False where the system has none."""
    if sys.platform != "linux" or platform.machine() not in PROCESSORS or sys.maxsize < 2**32:
        return False
    column, architecture = PROCESSORS[platform.machine()]
    numbers = sorted(entry[column] for entry in ALLOWED.values() if entry[column] is not None)
    program = _filter(numbers, architecture)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError:
        return False
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    described = Program(len(program) // 8, ctypes.addressof(code))
    parent_death_signal, no_new_privileges, set_seccomp, filter_mode = 1, 38, 22, 2
    libc.prctl(parent_death_signal, 9, 0, 0, 0)  # if the parent ends, end too
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return libc.prctl(set_seccomp, filter_mode, ctypes.byref(described), 0, 0) == 0


def _filter(numbers, architecture):
    """The classic BPF program: wrong processor or a number not in the list -> EPERM."""
    load, equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1

    def line(code, yes, no, value):
        return struct.pack("=HBBI", code, yes, no, value)

    lines = [
        line(load, 0, 0, 4),
        line(equal, 1, 0, architecture),
        line(give, 0, 0, refuse),
        line(load, 0, 0, 0),
    ]
    for position, number in enumerate(numbers):
        lines.append(line(equal, len(numbers) - position, 0, number))
    lines += [line(give, 0, 0, refuse), line(give, 0, 0, allow)]
    return b"".join(lines)


def lock(layers=("seccomp", "audit")):
    """Give everything up. Returns the names of the layers that hold from now on."""
    held = []
    if "seccomp" in layers and forbid_system_calls():
        held.append("seccomp")
    if "audit" in layers:
        forbid_events()
        held.append("audit")
    return held
