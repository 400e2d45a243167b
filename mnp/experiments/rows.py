"""A row a step: which columns there are, how they become CSV, and the table at the end of a run."""

import csv
import io

from mnp.errors import MnpError
from mnp.experiments.typed import is_of, show, spell
from mnp.pruning.sizes import compression, count_sizes, reduction, without_maxout

FIELDS = (
    "step",
    "kind",
    "k",
    "params",
    "nonzero",
    "reduction",
    "compression",
    "macs",
    "bytes",
    "error_before",
    "error",
    "seconds",
    "reduction_without_maxout",
    "arm",
    "ranking",
    "parent",
    "sparsity",
    "nonzero_macs",
    "dense_bytes",
    "wins_lost",
    "epochs",
    "train_loss",
    "test_loss",
    "validation_error",
)
FACE_FIELDS = (*FIELDS, "accuracy", "accuracy_se", "eer", "threshold", "distance")

WHOLE = ("step", "k", "params", "nonzero", "macs", "nonzero_macs", "bytes", "dense_bytes", "parent", "epochs")
TEXTS = ("kind", "arm", "ranking", "distance")
OF_STEP = ("kind", "k", "arm", "ranking", "parent", "epochs")  # as its `Step` says
MAY_LACK = ("wins_lost", "train_loss", "test_loss", "validation_error")  # None where there is nothing to tell


def check_row(row, fields, step):
    """Refuse a row from a file that is not the one of a step: other columns, other kinds of values.

    Raises MnpError that names the column.
    """
    if not isinstance(row, dict) or list(row) != list(fields):
        raise MnpError("has no row of this run's columns")
    for name, value in row.items():
        hint = int if name in WHOLE else str if name in TEXTS else float
        if not (is_of(value, hint) or (value is None and name in MAY_LACK)):
            raise MnpError(f"says {name} = {show(value)}, which is not {spell(hint)}")
    for name, wanted in {"step": step.index, **{name: getattr(step, name) for name in OF_STEP}}.items():
        if row[name] != wanted:
            raise MnpError(f"says {name} = {show(row[name])}, where the recipe says {show(wanted)}")


def sizes_row(net, first, input_shape):
    """The columns that follow from the network alone.

    Parameters
    ----------
    net : Network
        After the step.
    first : list of dict
        Architecture of the unpruned network: `reduction` and `compression` are against its parameters,
        `reduction_without_maxout` is against those of the same network without maxout.
    input_shape : (C, H, W)

    Returns
    -------
    row : dict
        params (as the arrays are), nonzero (with what masks leave), reduction, compression and
        reduction_without_maxout (of nonzero), sparsity (zeros / params), macs and nonzero_macs,
        dense_bytes, bytes (a layer as CSR where that is smaller).
    """
    sizes = count_sizes(net, input_shape)
    before = count_sizes(first, input_shape).params
    widest = count_sizes(without_maxout(first), input_shape).params
    return {
        "params": sizes.params,
        "nonzero": sizes.nonzero,
        "reduction": reduction(before, sizes.nonzero),
        "compression": compression(before, sizes.nonzero),
        "macs": sizes.macs,
        "bytes": sizes.csr_bytes,
        "reduction_without_maxout": reduction(widest, sizes.nonzero),
        "sparsity": (sizes.params - sizes.nonzero) / sizes.params,
        "nonzero_macs": sizes.nonzero_macs,
        "dense_bytes": sizes.dense_bytes,
    }


def to_csv(rows):
    """Rows as CSV text; a float has as many digits as tell it from its neighbours, None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def done_in(row):
    """What a step did, in words.

    >>> done_in({"kind": "neurons", "k": 2, "arm": "random"})
    'neurons: 3 -> 2 (random)'
    """
    what = {
        "train": "train",
        "neurons": f"neurons: {row['k'] + 1} -> {row['k']}",
        "weights": "weights",
        "gradual": "weights, gradually",
    }[row["kind"]]
    return f"{what} ({row['arm']})" if row["arm"] else what


COLUMNS = {
    "step": lambda r: str(r["step"]),
    "done": done_in,
    "k": lambda r: str(r["k"]),
    "parameters": lambda r: f"{r['nonzero']:,}",
    "reduction": lambda r: f"{-100 * r['reduction']:.1f} %" if r["reduction"] else "",
    "no maxout": lambda r: f"{-100 * r['reduction_without_maxout']:.1f} %",
    "multiply-adds": lambda r: f"{r['macs']:,}",
    "bytes": lambda r: f"{r['bytes']:,}",
    "error before": lambda r: f"{r['error_before']:.2f} %",
    "error after": lambda r: f"{r['error']:.2f} %",
    "seconds": lambda r: f"{r['seconds']:.1f}",
}


COLUMNS_OF_FACES = {
    "accuracy": lambda r: f"{r['accuracy']:.2f} %",
    "standard error": lambda r: f"{r['accuracy_se']:.2f}",
    "equal error": lambda r: f"{r['eer']:.2f} %",
}


def to_table(rows):
    """The table that a run ends with: `error before` is before (re)training, `error after` at its end.

    "reduction" is against the unpruned network, "no maxout" against the same network without maxout.
    Rows of face verification have their accuracy as well; their error is 100 % less that.
    """
    return aligned(COLUMNS | COLUMNS_OF_FACES if "accuracy" in rows[0] else COLUMNS, rows)


def signed(value):
    return "" if value is None else f"{value:+.3f}"


COLUMNS_OF_SEEDS = {
    **{name: COLUMNS[name] for name in ("step", "done", "k")},
    "parameters": lambda r: f"{r['nonzero']:,.0f}",
    **{name: COLUMNS[name] for name in ("reduction", "no maxout")},
    "error before": lambda r: f"{r['error_before_mean']:.3f} %",
    "error after": lambda r: f"{r['error_mean']:.3f} %",
    "sd": lambda r: "" if r["error_sd"] is None else f"{r['error_sd']:.3f}",
    "change": lambda r: signed(r["change"]) if r["step"] else "",
    "from": lambda r: signed(r["change_low"]) if r["step"] else "",
    "to": lambda r: signed(r["change_high"]) if r["step"] else "",
}


def to_table_of_seeds(aggregate):
    """The same for several seeds: means; `change` in error (points) with its paired 95 % interval."""
    return aligned(COLUMNS_OF_SEEDS, aggregate)


def aligned(columns, rows):
    """A text table; the column "done" to the left, the others to the right."""
    cells = [tuple(columns), *(tuple(text(row) for text in columns.values()) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    left = list(columns).index("done")
    lines = (
        "  ".join(
            c.ljust(w) if i == left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)
