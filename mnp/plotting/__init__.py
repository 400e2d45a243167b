"""Figures from rows and arrays; nothing here knows a network.

    style        colours, axes, PNG files
    charts       images, bars, lines, confusion matrices
    units        maxout units: pieces, regions, win counts, rankings
    runs         error against size, and the figures of a run folder
    comparisons  methods at equal size, published results
    faces        face verification: ROC curves, accuracy
    bench        results of `mnp bench`

matplotlib is used without pyplot: files are drawn by its Agg renderer, notebooks show a figure as PNG.
"""

import contextlib
import os
import sys

# MPLBACKEND may name a backend that is not installed, such as a notebook's in `!mnp run`. matplotlib rejects
# that on import, although no figure here uses the backend, so it is set afterwards, and only if it is valid.
if "matplotlib" not in sys.modules and "MPLBACKEND" in os.environ:
    _backend = os.environ.pop("MPLBACKEND")
    import matplotlib

    os.environ["MPLBACKEND"] = _backend
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend
