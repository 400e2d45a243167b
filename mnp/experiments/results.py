"""The rows of runs: their columns, CSV, text tables, and statistics over several seeds.

A row is a dict, one per round; `COLUMNS` says which values it has. The sizes are of the network after
the round; `error_before` is the test error before (re)training, `error` the one after it.
"""

import csv
import io
import math
import statistics

from mnp.errors import MnpError
from mnp.experiments.config import describe_type, matches_type, short_repr
from mnp.tables import text_table

COLUMNS = {  # name -> type, in the order of history.csv; None where there is nothing to say
    "step": int,  # the round's index; files keep this name
    "kind": str,
    "k": int,
    "params": int,
    "nonzero": int,
    "reduction": float,
    "compression": float,
    "macs": int,
    "bytes": int,
    "error_before": float,
    "error": float,
    "seconds": float,
    "reduction_without_maxout": float,
    "arm": str,
    "ranking": str,
    "parent": int,
    "sparsity": float,
    "nonzero_macs": int,
    "dense_bytes": int,
    "wins_lost": float | None,
    "epochs": int,
    "train_loss": float | None,
    "test_loss": float | None,
    "validation_error": float | None,
}
FACE_COLUMNS = COLUMNS | {
    "accuracy": float,
    "accuracy_se": float,
    "eer": float,
    "threshold": float,
    "distance": str,
}
FROM_ROUND = ("kind", "k", "arm", "ranking", "parent", "epochs", "removed")  # columns that repeat its fields


def check_row(row, columns, round):
    """Check that a row from a file is one of this round; MnpError names the column that is not."""
    if not isinstance(row, dict) or list(row)[: len(columns)] != list(columns):
        raise MnpError("has no row of this run's columns")
    for name, value in row.items():
        hint = columns.get(name, float | None)  # further columns are those of a callback
        if not matches_type(value, hint):
            raise MnpError(f"says {name} = {short_repr(value)}, which is not {describe_type(hint)}")
    for name, expected in {"step": round.index, **{n: getattr(round, n) for n in FROM_ROUND}}.items():
        if row.get(name, expected) != expected:
            raise MnpError(f"says {name} = {short_repr(row[name])}, the recipe says {short_repr(expected)}")


def size_columns(net, unpruned, input_shape):
    """The columns that follow from the network alone.

    Parameters
    ----------
    net : Network
        After the round.
    unpruned : list of dict
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
    from mnp.pruning.sizes import compression, count_sizes, reduction, without_maxout

    sizes = count_sizes(net, input_shape)
    before = count_sizes(unpruned, input_shape).params
    without = count_sizes(without_maxout(unpruned), input_shape).params
    return {
        "params": sizes.params,
        "nonzero": sizes.nonzero,
        "reduction": reduction(before, sizes.nonzero),
        "compression": compression(before, sizes.nonzero),
        "macs": sizes.macs,
        "bytes": sizes.csr_bytes,
        "reduction_without_maxout": reduction(without, sizes.nonzero),
        "sparsity": (sizes.params - sizes.nonzero) / sizes.params,
        "nonzero_macs": sizes.nonzero_macs,
        "dense_bytes": sizes.dense_bytes,
    }


def to_csv(rows):
    """Rows as CSV text; floats with all their digits, None as an empty cell."""
    text, columns = io.StringIO(), dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# --- text tables -------------------------------------------------------------------------------------


def describe_round(row):
    """What a round did, in words.

    >>> describe_round({"kind": "neurons", "k": 2, "arm": "random"})
    'neurons: 3 -> 2 (random)'
    """
    if row.get("removed"):  # with a schedule
        return f"neurons: {row['removed']}" + (f" ({row['arm']})" if row["arm"] else "")
    operation = {
        "train": "train",
        "continue": "train on",
        "rewind": "rewound, train",
        "neurons": f"neurons: {row['k'] + 1} -> {row['k']}",
        "weights": "weights",
        "gradual": "weights, gradually",
    }[row["kind"]]
    return f"{operation} ({row['arm']})" if row["arm"] else operation


def _signed(value):
    return "" if value is None else f"{value:+.3f}"


# header -> text of a row; "reduction" is against the unpruned network
TABLE = {
    "round": lambda r: str(r["step"]),
    "operation": describe_round,
    "k": lambda r: str(r["k"]),
    "parameters": lambda r: f"{r['nonzero']:,.0f}",
    "reduction": lambda r: f"{-100 * r['reduction']:.1f} %" if r["reduction"] else "",
    "without maxout": lambda r: f"{-100 * r['reduction_without_maxout']:.1f} %",
    "multiply-adds": lambda r: f"{r['macs']:,}",
    "bytes": lambda r: f"{r['bytes']:,}",
    "error before": lambda r: f"{r['error_before']:.2f} %",
    "error after": lambda r: f"{r['error']:.2f} %",
    "validation": lambda r: f"{r['validation_error']:.2f} %",
    "seconds": lambda r: f"{r['seconds']:.1f}",
    "accuracy": lambda r: f"{r['accuracy']:.2f} %",
    "standard error": lambda r: f"{r['accuracy_se']:.2f}",
    "equal error": lambda r: f"{r['eer']:.2f} %",
}
SEEDS_TABLE = {
    "round": TABLE["round"],
    "operation": TABLE["operation"],
    "k": TABLE["k"],
    "parameters": TABLE["parameters"],
    "reduction": TABLE["reduction"],
    "without maxout": TABLE["without maxout"],
    "error before": lambda r: f"{r['error_before_mean']:.3f} %",
    "error after": lambda r: f"{r['error_mean']:.3f} %",
    "sd": lambda r: "" if r["error_sd"] is None else f"{r['error_sd']:.3f}",
    "change": lambda r: _signed(r["change"]) if r["step"] else "",
    "from": lambda r: _signed(r["change_low"]) if r["step"] else "",
    "to": lambda r: _signed(r["change_high"]) if r["step"] else "",
}


def table_cells(rows):
    """The table of a run, or of what `aggregate` returned, as rows of text; the first is the header.

    Rows of face verification have their accuracy as well; their error is 100 % minus that. `change` is in
    points, with its 95 % interval.
    """
    columns = SEEDS_TABLE
    if "error" in rows[0]:
        lacking = {"accuracy", "standard error", "equal error"} if "accuracy" not in rows[0] else set()
        lacking |= {"validation"} if rows[0]["validation_error"] is None else set()
        columns = {name: text for name, text in TABLE.items() if name not in lacking}
    return [tuple(columns), *(tuple(text(row) for text in columns.values()) for row in rows)]


def format_table(rows):
    """What `table_cells` returns, as a text table."""
    cells = table_cells(rows)
    return text_table(cells, left=[cells[0].index("operation")])


def format_data(facts):
    """The data of a run in one line, from its summary.

    >>> format_data({"name": "digits", "train_images": 90, "test_images": 10, "checksum": "0123456789abcdef"})
    'data: digits, 90 training and 10 test images; checksum 0123456789abcdef'
    """
    held_out = facts.get("validation_images", 0)
    text = f"data: {facts['name']}, {facts['train_images']:,} training"
    text += f", {held_out:,} validation" if held_out else ""
    text += f" and {facts['test_images']:,} test images"
    if "classes" in facts:  # mnp 0.1 and 0.2 did not record it
        text += f" of {tuple(facts['image_shape'])}, {facts['classes']} classes"
    return f"{text}; checksum {facts['checksum']}"


# --- several seeds -----------------------------------------------------------------------------------

# t with P(|T| <= t) = 0.95 for 1, 2, ... degrees of freedom; SciPy: scipy.stats.t.ppf(0.975, df)
T_QUANTILES = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272),
)


def mean_sd_se(values):
    """Mean, standard deviation (ddof = 1) and standard error sd / sqrt(n); None, None for one value.

    >>> mean, sd, se = mean_sd_se([1.0, 2.0, 3.0])
    >>> mean, sd, round(se, 3)
    (2.0, 1.0, 0.577)
    """
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, None, None
    sd = statistics.stdev(map(float, values))
    return mean, sd, sd / math.sqrt(len(values))


def paired_interval(values, references):
    """The mean of the differences values[i] - references[i], and its 95 % t-interval.

        d[i] = values[i] - references[i],   mean(d) -+ t(n - 1) * sd(d) / sqrt(n)

    Beyond 30 degrees of freedom the t for 30 is used, which makes the interval up to 4 % too wide.

    Returns
    -------
    change, low, high : float
        low and high are None for a single pair, which says nothing about spread.

    >>> change, low, high = paired_interval([1.0, 1.2, 1.1], [1.0, 1.0, 1.0])
    >>> round(change, 3), round(low, 3), round(high, 3)
    (0.1, -0.148, 0.348)
    """
    if len(values) != len(references) or not len(values):
        raise MnpError(f"{len(values)} values and {len(references)} references cannot be paired")
    mean, _, se = mean_sd_se([v - r for v, r in zip(values, references, strict=True)])
    if se is None:
        return mean, None, None
    half = T_QUANTILES[min(len(values) - 1, len(T_QUANTILES)) - 1] * se
    return mean, mean - half, mean + half


AVERAGED = ("params", "nonzero", "reduction", "reduction_without_maxout", "compression", "macs", "bytes")


def aggregate(rows_of_seeds):
    """Average the rows of several seeds of one experiment, round by round.

    Parameters
    ----------
    rows_of_seeds : list of lists of row
        One list per seed, the same rounds in each; row 0 is the unpruned network.

    Returns
    -------
    list of dict
        step, kind, arm, ranking, k, seeds; the mean of every size; error_before_mean, error_before_sd,
        error_mean, error_sd; change, change_low, change_high: the paired 95 % interval of the change in
        error (points) against the same seed's unpruned network.
    """
    unpruned = [rows[0]["error"] for rows in rows_of_seeds]
    lines = []
    for rows in zip(*rows_of_seeds, strict=True):
        line = {name: rows[0][name] for name in ("step", "kind", "arm", "ranking", "k")}
        line["seeds"] = len(rows)
        line |= {name: mean_sd_se([row[name] for row in rows])[0] for name in AVERAGED}
        for name in ("error_before", "error"):
            line[f"{name}_mean"], line[f"{name}_sd"], _ = mean_sd_se([row[name] for row in rows])
        change, low, high = paired_interval([row["error"] for row in rows], unpruned)
        lines.append({**line, "change": change, "change_low": low, "change_high": high})
    return lines


def against_control(rows):
    """Compare each round of the plan "controls" with the network that was trained as long, unpruned.

    Parameters
    ----------
    rows : list of row
        Of one run, or of several seeds (each row with its `seed`).

    Returns
    -------
    list of dict
        For each round of another arm its row, with the mean `error` over the seeds, the `control`'s, and
        change, change_low, change_high: the paired 95 % interval of the difference in points. Empty for
        another plan.
    """
    seeds = {}
    for row in rows:
        seeds.setdefault(row.get("seed", 0), []).append(row)
    first, *_ = seeds = list(seeds.values())
    if not any(row["arm"] == "unpruned" for row in first):
        return []
    depths, lines = [], []  # rounds of training before this one
    for row in first:
        depths.append(0 if row["kind"] in ("train", "rewind") else depths[row["parent"]] + 1)
    control = {depths[row["step"]]: row["step"] for row in first if row["arm"] in ("", "unpruned")}
    for row in first:
        if row["arm"] not in ("", "unpruned"):
            steps = row["step"], control[depths[row["step"]]]
            errors, references = ([of_seed[step]["error"] for of_seed in seeds] for step in steps)
            line = row | {"error": statistics.fmean(errors), "control": statistics.fmean(references)}
            change, low, high = paired_interval(errors, references)
            lines.append(line | {"change": change, "change_low": low, "change_high": high})
    return lines


def format_summary(results):
    """The outcome of several seeds in one sentence: the unpruned network and the last round."""
    first, last = results["aggregate"][0], results["aggregate"][-1]
    text = f"{len(results['seeds'])} seeds: unpruned {first['error_mean']:.3f} %"
    if last is first:
        return text
    text += f", last round {last['error_mean']:.3f} % with {last['nonzero']:,.0f} parameters"
    if last["change_low"] is None:
        return text
    interval = f"95 % interval {last['change_low']:+.3f} to {last['change_high']:+.3f}"
    return f"{text}; change {last['change']:+.3f} points, paired {interval}"
