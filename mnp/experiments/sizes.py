"""Tables of sizes: of the full VGG16 by formula, and of the layers of a run's networks."""

from itertools import product

from mnp.errors import MnpError
from mnp.experiments.registry import CHECKPOINTS
from mnp.nn import vgg16
from mnp.nn.checkpoint import load_network
from mnp.pruning.sizes import compression, count_sizes, reduction, without_maxout
from mnp.tables import text_table


def vgg16_sizes(ks=(2, 4), classes=(1000, 2622)):
    """Count VGG16 (224x224): without maxout, with k neurons per unit, and pruned to k = 1.

    Returns
    -------
    rows : list of dict
        layers (where the maxout units are), k, classes; params and macs of the three networks, as
        <network>_params and <network>_macs; reduction and compression of the parameters, against the
        maxout network and `_without_maxout`; the same for the multiply-adds with `macs_` in front.

    >>> row = vgg16_sizes(ks=(4,), classes=(2622,))[0]
    >>> [row[f"{name}_params"] for name in ("without_maxout", "maxout", "pruned")]
    [145002878, 132419966, 55346558]
    """
    rows = []
    for count, layers, k in product(classes, (["fc6"], ["fc6", "fc7"]), ks):
        row = {"layers": layers, "k": k, "classes": count}
        entries = vgg16(
            image_size=224, k=k, classes=count, maxout=layers
        ).architecture()  # zeros, not touched
        pruned = [entry | {"k": 1} if entry["type"] == "MaxoutDense" else entry for entry in entries]
        networks = {"without_maxout": without_maxout(entries), "maxout": entries, "pruned": pruned}
        for name, network in networks.items():
            counted = count_sizes(network, (3, 224, 224))
            row[f"{name}_params"], row[f"{name}_macs"] = counted.params, counted.macs
        for what, prefix in (("params", ""), ("macs", "macs_")):
            for name, suffix in (("maxout", ""), ("without_maxout", "_without_maxout")):
                before, after = row[f"{name}_{what}"], row[f"pruned_{what}"]
                row[f"{prefix}reduction{suffix}"] = reduction(before, after)
                row[f"{prefix}compression{suffix}"] = compression(before, after)
        rows.append(row)
    return rows


def format_sizes(rows):
    """What `vgg16_sizes` returned, as a text table."""
    head = ("classes", "maxout in", "k", "without maxout", "maxout", "pruned", "reduction", "multiply-adds")
    lines = [head]
    for r in rows:
        counts = (f"{r[f'{name}_params']:,}" for name in ("without_maxout", "maxout", "pruned"))
        less = f"{-100 * r['reduction_without_maxout']:.1f} %"
        macs = f"{r['without_maxout_macs']:,} -> {r['pruned_macs']:,}"
        lines.append((f"{r['classes']:,}", " + ".join(r["layers"]), str(r["k"]), *counts, less, macs))
    return text_table(lines)


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
