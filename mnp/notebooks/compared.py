"""Rows of the committed runs beside each other, and beside what others have published: (head, cells) as text.

equal_sizes   several ways, or several rankings, at the same number of parameters
records       LeNet-5 on MNIST: the published records, and this project's runs among them
faces         verification: accuracy a step, and the pairs won and lost by pruning

Both the notebooks (`as_text`) and the README (`as_markdown`, by notebooks/results/tables.py) show them.
"""

from mnp.experiments.results import describe_round
from mnp.notebooks.results import missing, origin, read_results

RECORDS = ("mnist-caffe", "mnist", "mnist-k8", "mnist-weights", "mnist-combined", "mnist-record")
LEFT = ("way", "method", "removed", "arXiv", "done")  # columns of words; the others are numbers
REMOVED = {"neurons": "neurons", "weights": "weights", "gradual": "weights"}


def as_text(head, cells, left=LEFT):
    """A text table; the columns named in `left` to the left, the others to the right.

    >>> print(as_text(("way", "error"), [("random", "9.10"), ("win counts", "0.8")]))
    way         error
    random       9.10
    win counts    0.8
    """
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        )
        for line in (head, *cells)
    )
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(head, cells, left=LEFT):
    """The same for the README.

    >>> print(as_markdown(("way", "error"), [("random", "9.1")]))
    | way | error |
    |---|---:|
    | random | 9.1 |
    """
    rule = "|" + "|".join("---" if name in left else "---:" for name in head) + "|"
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(line)} |" for line in cells)])


# --- ways beside each other -------------------------------------------------------------------------------


def sizes_of(aggregate):
    """The lines of a run of several arms by size: {reduction in %, rounded: [line, ...]}, largest first.

    Within a size the arms stand in the order in which they ran.
    """
    found = {}
    for line in sorted(aggregate, key=lambda line: -line["nonzero"]):
        if line["arm"]:
            found.setdefault(round(100 * line["reduction"], 1), []).append(line)
    return {size: sorted(lines, key=lambda line: line["step"]) for size, lines in found.items()}


def way(line):
    """An arm's name for a reader.

    >>> way({"arm": "after"}), way({"arm": "win_counts"})
    ('weights after neurons', 'win counts')
    """
    names = {"neurons": "neurons alone", "weights": "weights alone", "after": "weights after neurons"}
    names["win_counts_training"] = "win counts, training mode"
    return names.get(line["arm"], line["arm"].replace("_", " "))


def spread(mean, sd):
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def change(line):
    """The change against the same seed's unpruned network, with its paired interval if there is one."""
    if line["change_low"] is None:
        return f"{line['change']:+.2f}"
    return f"{line['change']:+.2f} ({line['change_low']:+.2f} … {line['change_high']:+.2f})"


def equal_sizes(aggregate):
    """Every way at every size: the error right after the removal, and after retraining."""
    head = ("parameters", "reduction", "way", "right after, %", "retrained, %", "change, 95 % interval")
    cells = []
    for size, lines in sizes_of(aggregate).items():
        for i, line in enumerate(lines):
            cells.append(
                (
                    "" if i else f"{line['nonzero']:,.0f}",
                    "" if i else f"-{size:.1f} %",
                    way(line),
                    spread(line["error_before_mean"], line["error_before_sd"]),
                    spread(line["error_mean"], line["error_sd"]),
                    change(line),
                )
            )
    return head, cells


def say_ways(name, folder=None):
    """The table of a recipe of several arms, as committed; or the sentence that it is missing."""
    results = read_results(name, folder)
    if results is None:
        return missing(name)
    about = f"{name}: {results['recipe'].get('about', '')}"
    table = as_text(*equal_sizes(results["aggregate"]))
    seeds = f"{len(results['seeds'])} seeds; change: against the same seed's unpruned network, in points"
    return "\n".join([about, "", table, "", seeds, *origin(results)])


# --- records ----------------------------------------------------------------------------------------------


def published(folder=None):
    """What notebooks/results/published.json holds, or empty lists where it is missing."""
    return read_results("published", folder) or {"lenet5_parameters": 431_080, "mnist": [], "lfw": []}


def own_records(folder=None, names=RECORDS):
    """This project's runs as records: every weights step, or else the last neurons step.

    compression is LeNet-5's 431,080 parameters over those left, whatever the run began with; steps that
    leave more than that are no compression of LeNet-5, and left out.
    """
    base, found = published(folder)["lenet5_parameters"], []
    for name in names:
        results = read_results(name, folder)
        lines = [] if results is None else results["aggregate"]
        for line in [line for line in lines if line["kind"] in ("weights", "gradual")] or lines[-1:]:
            if line["nonzero"] < base:
                neurons_before = line["kind"] != "neurons" and line["k"] < lines[0]["k"]
                found.append(
                    {
                        "method": f"mnp, {name}",
                        "recipe": name,
                        "removed": "both" if neurons_before else REMOVED[line["kind"]],
                        "before": lines[0]["error_mean"],
                        "after": line["error_mean"],
                        "sd": line["error_sd"],
                        "left": line["nonzero"],
                        "compression": base / line["nonzero"],
                        "counted": "parameters",
                        "source": results["command"],
                    }
                )
    return found


def all_records(folder=None):
    """Published and own, the least compressed first, numbered from 1: the numbers of the figure."""
    rows = [{"sd": None, "left": None, **row} for row in published(folder)["mnist"]] + own_records(folder)
    rows = sorted(rows, key=lambda row: row["compression"])
    return [{"number": i, **row} for i, row in enumerate(rows, 1)]


def records(folder=None):
    """The table of records."""
    head = ("no.", "method", "removed", "before, %", "after, %", "left", "compression", "arXiv")
    cells = [
        (
            str(row["number"]),
            f"{row['method']}{', ' + str(row['year']) if 'year' in row else ''}",
            row["removed"],
            "" if row["before"] is None else f"{row['before']:.2f}",
            "" if row["after"] is None else spread(row["after"], row["sd"]),
            "" if row["left"] is None else f"{row['left']:,.0f}",
            (f"{row['compression']:.3g}x" if row["compression"] < 1000 else f"{row['compression']:,.0f}x")
            + (" in bytes" if row["counted"] == "bytes" else ""),
            row["source"].removeprefix("arXiv ") if "year" in row else "",
        )
        for row in all_records(folder)
    ]
    return head, cells


def say_records(folder=None):
    """The table of records as text, and how to repeat this project's part of it."""
    commands = dict.fromkeys(row["source"] for row in own_records(folder))
    return "\n".join([as_text(*records(folder)), "", *(f"repeat: {command}" for command in commands)])


# --- faces ------------------------------------------------------------------------------------------------


def accuracies(results):
    """[(row, mean accuracy, its standard error)] a step; over several seeds the means of both."""
    steps = {}
    for row in results["rows"]:
        steps.setdefault(row["step"], []).append(row)
    mean = lambda rows, name: sum(row[name] for row in rows) / len(rows)  # noqa: E731
    return [(rows[0], mean(rows, "accuracy"), mean(rows, "accuracy_se")) for rows in steps.values()]


def faces(results):
    """Each step's accuracy, and the pairs that only it or only the unpruned network called rightly.

    The pairs, with McNemar's p, are those of a single run or of View 2's ten folds; several seeds have none.
    """
    told = results.get("against_unpruned") if len(results["seeds"]) == 1 else None
    head = ("done", "parameters", "reduction", "without maxout", "accuracy, %")
    head += ("lost", "won", "p") if told else ()
    cells = []
    for i, (row, accuracy, se) in enumerate(accuracies(results)):
        cell = (
            describe_round(row),
            f"{row['nonzero']:,}",
            f"{-100 * row['reduction']:.1f} %" if row["reduction"] else "",
            f"{-100 * row['reduction_without_maxout']:.1f} %",
            f"{accuracy:.2f} ± {se:.2f}",
        )
        if told:
            pairs = (f"{told[i]['lost']:,}", f"{told[i]['won']:,}", f"{told[i]['mcnemar_p']:.2f}")
            cell += pairs if i else ("", "", "")
        cells.append(cell)
    return head, cells


def say_faces(name, folder=None):
    """The table of a run on faces, as committed; or the sentence that it is missing."""
    results = read_results(name, folder)
    if results is None:
        return missing(name)
    errors = "the standard error is over View 1's pairs, or View 2's ten folds"
    if len(results["seeds"]) > 1:
        errors = f"means over {len(results['seeds'])} seeds; {errors}"
    about = f"{name}: {results['recipe'].get('about', '')}"
    return "\n".join([about, "", as_text(*faces(results)), "", errors, *origin(results)])
