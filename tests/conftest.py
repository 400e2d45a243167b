"""What all tests share."""

import os
import signal

import pytest

# A job in a shell's background starts with Ctrl-C ignored, and so would everything it starts; some tests
# press Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SKIPPED = os.environ.get("MNP_SKIPPED_TESTS")  # a file: .ci/run repeats these where the extras are installed


def pytest_runtest_logreport(report):
    if SKIPPED and report.skipped:
        with open(SKIPPED, "a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\n")


pytest_collectreport = pytest_runtest_logreport  # a file that is skipped as a whole


def pytest_collection_modifyitems(items):
    if not hasattr(os, "fork"):
        for item in items:
            if item.get_closest_marker("posix"):
                item.add_marker(pytest.mark.skip(reason="needs POSIX"))
