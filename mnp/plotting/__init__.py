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

import os

try:
    import matplotlib
except ValueError:
    # MPLBACKEND names a backend that is not installed, such as a notebook's in `!mnp run`. matplotlib
    # rejects that on import, although no figure here uses the backend.
    _backend = os.environ.pop("MPLBACKEND")
    import matplotlib

    os.environ["MPLBACKEND"] = _backend

__all__ = ["matplotlib"]
