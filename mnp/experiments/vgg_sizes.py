"""How much of the full-size VGG16 neuron pruning removes: an exact table, nothing trained.

Three networks are compared for each row: *without maxout* (every neuron feeds the next layer), *maxout*
(k neurons to a unit, before pruning) and *pruned* (k = 1: the dense layer that is left).
"""

from mnp.nn import vgg16
from mnp.pruning.sizes import compression, count_sizes, reduction, without_maxout

PLACES = (("fc6",), ("fc6", "fc7"))


def vgg16_sizes(ks=(2, 4), classes=(1000, 2622), image=224):
    """Parameters and multiply-adds of VGG16 before and after neuron pruning.

    Parameters
    ----------
    ks : neurons a unit; each must divide 4096
    classes : widths of the last layer: 1,000 as published, 2,622 as in a network of faces
    image : int

    Returns
    -------
    rows : list of dict
        layers (where the maxout units are), k, classes; params and macs of the three networks, as
        <network>_params and <network>_macs; reduction and compression of the parameters, against the
        maxout network and `_without_maxout`; the same for the multiply-adds with `macs_` in front.

    >>> row = vgg16_sizes(ks=(4,), classes=(2622,))[0]
    >>> [row[f"{name}_params"] for name in ("without_maxout", "maxout", "pruned")]
    [145002878, 132419966, 55346558]
    >>> round(row["reduction_without_maxout"], 3), round(row["reduction"], 3)
    (0.618, 0.582)
    """
    rows = []
    for count in classes:
        for layers in PLACES:
            for k in ks:
                rows.append(
                    {"layers": list(layers), "k": k, "classes": count, **row_of(layers, k, count, image)}
                )
    return rows


def row_of(layers, k, classes, image):
    shape = (3, image, image)
    net = vgg16(image_size=image, k=k, classes=classes, maxout=layers)  # zeros, never touched: no memory
    # A layer that is not named keeps its 4,096 neurons; a named one keeps 4096 / k after pruning.
    before = count_sizes(without_maxout(net.architecture()), shape)
    maxout = count_sizes(net.architecture(), shape)
    after = count_sizes([pruned(entry) for entry in net.architecture()], shape)
    row = {}
    for name, sizes in (("without_maxout", before), ("maxout", maxout), ("pruned", after)):
        row[f"{name}_params"], row[f"{name}_macs"] = sizes.params, sizes.macs
    for what, prefix in (("params", ""), ("macs", "macs_")):
        for name, suffix in (("maxout", ""), ("without_maxout", "_without_maxout")):
            first, last = row[f"{name}_{what}"], row[f"pruned_{what}"]
            row[f"{prefix}reduction{suffix}"] = reduction(first, last)
            row[f"{prefix}compression{suffix}"] = compression(first, last)
    return row


def pruned(entry):
    """A layer's description when neuron pruning has come to k = 1; other layers as they are."""
    return {**entry, "k": 1} if entry["type"] == "MaxoutDense" else entry


def to_table(rows):
    """The rows as text."""
    lines = [
        ("classes", "maxout in", "k", "without maxout", "maxout", "pruned", "reduction", "multiply-adds")
    ]
    for r in rows:
        sizes = (f"{r[f'{name}_params']:,}" for name in ("without_maxout", "maxout", "pruned"))
        less = f"{-100 * r['reduction_without_maxout']:.1f} %"
        macs = f"{r['without_maxout_macs']:,} -> {r['pruned_macs']:,}"
        lines.append((f"{r['classes']:,}", " + ".join(r["layers"]), str(r["k"]), *sizes, less, macs))
    wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, wide, strict=True)) for line in lines)
