"""Sizes of the layers of a run's networks, from its checkpoints."""

from mnp.errors import MnpError
from mnp.experiments.checkpoint import load_network
from mnp.experiments.registry import CHECKPOINTS
from mnp.pruning.sizes import count_sizes


def layer_sizes(folder, summary):
    """Parameters and multiply-adds of each layer, in the first network of a run and in its smallest.

    Parameters that are masked out are not counted, nor are their multiplications. Returns rows of text, the
    first the header; only that if the checkpoints are gone, or have a layer that is not registered here.
    """
    rows, size = summary["rows"], summary["recipe"]["data"].get("size")  # of faces
    data = summary["data"] if isinstance(summary.get("data"), dict) else {}
    shape = (3, size, size) if size else data.get("image_shape", (1, 28, 28))  # mnp 0.1 knew no other
    table = [("layer", "parameters", "left", "removed", "multiply-adds", "left", "removed")]
    try:
        of_rounds = []
        for row in (rows[0], min(rows, key=lambda row: row["nonzero"])):
            (path,) = (folder / CHECKPOINTS).glob(f"{row['step']:02d}-*.npz")
            of_rounds.append(count_sizes(load_network(path, "textbook"), shape))
    except (MnpError, ValueError):
        return table
    first, last = ({layer.name: layer for layer in sizes.layers if layer.params} for sizes in of_rounds)
    for name, *layer in [*((name, first[name], last[name]) for name in first), ("all", *of_rounds)]:
        cells = []
        for count in ("nonzero", "nonzero_macs"):
            before, after = (getattr(sizes, count) for sizes in layer)
            removed = f"{100 * (before - after) / before:.1f} %" if before else ""
            cells += [f"{before:,}", f"{after:,}", removed]
        table.append((name, *cells))
    return table
