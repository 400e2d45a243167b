"""Sizes of the full VGG16 before and after neuron pruning, by formula."""

from itertools import product

from mnp.nn import vgg16
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
