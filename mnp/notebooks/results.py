"""Committed results of the full runs, as tables for the notebooks and the README; no number is typed by hand.

A table is (header, rows), all text; `format_text` aligns it.
"""

from pathlib import Path

import numpy as np

from mnp.errors import MnpError
from mnp.experiments import verification
from mnp.experiments.results import (
    SEEDS_TABLE,
    TABLE,
    describe_round,
    format_summary,
    mean_sd_se,
    paired_interval,
)
from mnp.files import read_json
from mnp.plotting.style import arm_label
from mnp.tables import text_table

FOLDERS = ("results", "notebooks/results")  # seen from notebooks/, and from the repository's root
RECIPES = ("mnist-caffe", "mnist", "mnist-k8", "mnist-weights", "mnist-combined", "mnist-record")
RECORDS = (*RECIPES, "mnist-tiny-50", "mnist-tiny-100", "mnist-tiny-200", "mnist-tiny-record")
LEFT = ("operation", "method", "network", "removed", "arXiv")  # columns of words; the others are numbers
RUN = ("round", "operation", "parameters", "reduction", "without maxout", "error before", "error after")
PAIRED = "change: against the unpruned network of the same seed, in percentage points"
FACES_ERROR = "standard error: over the pairs of View 1, or the ten folds of View 2"


def find_file(name, folder=None):
    """Path of a committed result file; `folder` is notebooks/results if None.

    Raises MnpError if there is none.
    """
    for place in FOLDERS if folder is None else (folder,):
        if (path := Path(place) / name).exists():
            return path
    raise MnpError(f"{name}: not found in notebooks/results; `mnp run RECIPE --results DIR` writes it")


def read_results(name, folder=None):
    """Read what `mnp run NAME --seeds N --results notebooks/results` wrote; also "bench" and "published".

    Raises MnpError if the file is missing or damaged.
    """
    return read_json(find_file(f"{name}.json", folder), "results")


def rows_by_title(*names):
    """{title: rows} of the committed results of several recipes."""
    titles = {}
    for name in names:
        results = read_results(name)
        seeds = len(results["seeds"])
        titles[f"{name}, {seeds} seed{'s' * (seeds > 1)}"] = results["rows"]
    return titles


def format_text(header, rows):
    """A table as aligned text."""
    return text_table([header, *rows], left=[i for i, name in enumerate(header) if name in LEFT])


def format_results(name, folder=None):
    """The committed table of a recipe, what it is, and how to repeat it.

    Means over the seeds with paired intervals, or a single run; with several arms the methods at equal size.
    """
    results = read_results(name, folder)
    seeds, note = len(results["seeds"]), PAIRED
    if "accuracy" in results["rows"][0]:
        table, note = faces_table(results), FACES_ERROR
    elif any(row["arm"] for row in results["rows"]):
        table = arms_table(results["aggregate"])
    elif seeds > 1:
        hidden = ("round", "k", "reduction")
        columns = {name: text for name, text in SEEDS_TABLE.items() if name not in hidden}
        table, note = table_of(columns, results["aggregate"]), format_summary(results)
    else:
        table, note = table_of({name: TABLE[name] for name in RUN}, results["rows"]), "no interval"
    versions = ", ".join(f"{name} {version}" for name, version in results.get("versions", {}).items())
    lines = [f"{name}: {results['recipe'].get('about', '')}", "", format_text(*table), ""]
    lines += [note if f"{seeds} seeds" in note else f"{seeds} seed{'s' * (seeds > 1)}; {note}"]
    return "\n".join([*lines, f"repeat: {results['command']}", f"made with: {versions}"])


def table_of(columns, rows):
    """{name: function of a row -> text}, rows -> table."""
    return tuple(columns), [tuple(text(row) for text in columns.values()) for row in rows]


# --- methods at equal size ----------------------------------------------------------------------------


def lines_by_size(aggregate):
    """{reduction in %, rounded: lines of all arms} of a run with several arms, largest size first.

    Within a size the arms are in the order in which they ran; each line has a `label`.
    """
    sizes = {}
    for line in sorted(aggregate, key=lambda line: (-line["nonzero"], line["step"])):
        if line["arm"]:
            size = round(100 * line["reduction"], 1)
            sizes.setdefault(size, []).append(line | {"label": arm_label(line["arm"])})
    return {size: sorted(lines, key=lambda line: line["step"]) for size, lines in sizes.items()}


def format_sd(mean, sd):
    """Mean and standard deviation over seeds; one seed has none."""
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def format_change(line):
    """The change against the same seed's unpruned network, with its paired interval if there is one."""
    return format_interval(line["change"], line["change_low"], line["change_high"])


def format_interval(change, low, high):
    """A difference with its 95 % interval, if it has one.

    >>> format_interval(0.1, -0.15, 0.35), format_interval(0.5, None, None)
    ('+0.10 (-0.15 … +0.35)', '+0.50')
    """
    return f"{change:+.2f}" if low is None else f"{change:+.2f} ({low:+.2f} … {high:+.2f})"


def arms_table(aggregate):
    """The error of every method at every size, before and after retraining."""
    columns = {
        "method": lambda line: line["label"],
        "before retraining, %": lambda line: format_sd(line["error_before_mean"], line["error_before_sd"]),
        "after retraining, %": lambda line: format_sd(line["error_mean"], line["error_sd"]),
        "change, 95 % interval": format_change,
    }
    rows = []
    for size, lines in lines_by_size(aggregate).items():
        first = (f"{lines[0]['nonzero']:,.0f}", f"-{size:.1f} %")
        _, cells = table_of(columns, lines)
        rows += [(*(("", "") if i else first), *cell) for i, cell in enumerate(cells)]
    return ("parameters", "reduction", *columns), rows


# --- arms at one k, or at their end -----------------------------------------------------------------------


def rounds_of_arms(results, k=None):
    """{arm: {step: the rows of its round, one per seed}}; with k, of rounds with k neurons per unit."""
    rounds = {}
    for row in results["rows"]:
        if k in (None, row["k"]):
            rounds.setdefault(row["arm"], {}).setdefault(row["step"], []).append(row)
    return rounds


def ends_of_arms(results, k=None):
    """{arm: the rows, one per seed, of its last round}; with k, of its round with k neurons per unit."""
    return {arm: of_arm[max(of_arm)] for arm, of_arm in rounds_of_arms(results, k).items() if arm}


def errors_of_arms(results, k=None):
    """{arm: its test error for every seed} at the ends of `ends_of_arms`."""
    return {arm: [row["error"] for row in rows] for arm, rows in ends_of_arms(results, k).items()}


def paired_table(results, reference):
    """Parameters and error of every arm, and the paired difference from the arm `reference`."""
    errors, rows = errors_of_arms(results), []
    for arm, of_arm in ends_of_arms(results).items():
        cells = arm_label(arm), f"{of_arm[0]['nonzero']:,}", format_sd(*mean_sd_se(errors[arm])[:2])
        difference = format_interval(*paired_interval(errors[arm], errors[reference]))
        rows.append((*cells, "" if arm == reference else difference))
    return ("method", "parameters", "error, %", f"difference from {arm_label(reference)}"), rows


def rounds_table(results, arm, reference):
    """Each round of an arm beside the round of the arm `reference` that was trained for as long."""
    rounds, rows = rounds_of_arms(results), []
    for pruned, other in zip(rounds[arm].values(), rounds[reference].values(), strict=True):
        errors = [[row["error"] for row in of_round] for of_round in (pruned, other)]
        cells = describe_round(pruned[0] | {"arm": ""}), f"{pruned[0]['nonzero']:,}"
        means = (format_sd(*mean_sd_se(of_round)[:2]) for of_round in errors)
        rows.append((*cells, *means, format_interval(*paired_interval(*errors))))
    return ("operation", "parameters", "error, %", f"{arm_label(reference)}, %", "difference"), rows


def describe_difference(results, arm, other, k=None):
    """A sentence in bold Markdown: which of two arms has the lower test error, from their paired interval."""
    errors = errors_of_arms(results, k)
    words = [f"{arm_label(name)} {format_sd(*mean_sd_se(errors[name])[:2])} %" for name in (arm, other)]
    change, low, high = paired_interval(errors[arm], errors[other])
    if low is None:
        verdict = "one seed, so no interval"
    elif low <= 0 <= high:
        verdict = "the interval contains 0: no difference is shown"
    else:
        lower = arm if high < 0 else other
        verdict = f"{arm_label(lower)} has the lower error"
    difference = format_interval(change, low, high)
    return f"**{words[0]}, {words[1]}; difference {difference} points: {verdict}.**"


def rankings_table(aggregate):
    """The error of each ranking, in %, against the number of neurons per unit."""
    lines = [line for line in aggregate if line["arm"]]
    columns = {"k": lambda at_k: str(at_k[0]["k"])}
    for i, arm in enumerate(dict.fromkeys(line["arm"] for line in lines)):
        columns[arm_label(arm)] = lambda at_k, i=i: format_sd(at_k[i]["error_mean"], at_k[i]["error_sd"])
    sizes = sorted({line["k"] for line in lines}, reverse=True)
    return table_of(columns, [[line for line in lines if line["k"] == k] for k in sizes])


# --- records: LeNet-5 on MNIST ------------------------------------------------------------------------


def own_records(folder=None, names=RECORDS):
    """This project's runs as records: every round of weight pruning, or else the last of neuron pruning.

    Compression is LeNet-5's number of parameters over those left, whatever the run began with;
    weights_compression is the same without biases, the count of most papers; macs are the multiply-adds of
    the weights that are left, for one image. Rounds that leave more than LeNet-5 has are left out.
    """
    published, records = read_results("published", folder), []
    base, base_weights = published["lenet5_parameters"], published["lenet5_weights"]
    for name in names:
        results = read_results(name, folder)
        unpruned, *lines = results["aggregate"]
        lines = [line for line in lines if line["arm"] in ("", "win_counts")]  # no controls
        for line in [line for line in lines if line["kind"] != "neurons"] or lines[-1:]:
            removed = "neurons" if line["kind"] == "neurons" else "weights"
            record = {
                "method": f"mnp, {name}",
                "recipe": name,
                "removed": "both" if removed == "weights" and line["k"] < unpruned["k"] else removed,
                "before": unpruned["error_mean"],
                "after": line["error_mean"],
                "sd": line["error_sd"],
                "left": line["nonzero"],
                "compression": base / line["nonzero"],
                "counted": "parameters",
                "source": results["command"],
            }
            model = results["recipe"]["model"]
            k, maps = line["k"], line["k"] if model.get("conv_k", 1) > 1 else 1
            biases = (model["conv1"] + model["conv2"]) * maps + model["neurons"] // model["k"] * k + 10
            record["weights_compression"] = base_weights / (line["nonzero"] - biases)
            record["macs"] = float(
                np.mean([r["nonzero_macs"] for r in results["rows"] if r["step"] == line["step"]])
            )
            records += [record] if line["nonzero"] < base else []
    return records


def all_records(folder=None, names=RECORDS):
    """Published and own records, the least compressed first."""
    published = read_results("published", folder)["mnist"]
    records = [
        {"sd": None, "left": None, "macs": lenet5_macs(record["widths"]), **record} for record in published
    ]
    records += own_records(folder, names)
    return sorted(records, key=lambda record: record["compression"])


def lenet5_macs(widths):
    """Multiply-adds for one image of a LeNet-5 of these widths: conv1, conv2, inputs of fc3, fc3.

    Most papers remove inputs of fc3 one by one, not by whole feature maps. None for unknown widths.

    >>> lenet5_macs("20-50-800-500"), lenet5_macs("9-18-65-25")
    (2293000, 390675)
    """
    if widths is None:
        return None
    conv1, conv2, inputs, fc3 = map(int, widths.split("-"))
    return 24 * 24 * 25 * conv1 + 8 * 8 * 25 * conv1 * conv2 + inputs * fc3 + 10 * fc3


def records_table(records):
    """The table of `all_records`."""
    columns = {
        "method": lambda r: f"{r['method']}, {r['year']}" if "year" in r else r["method"],
        "removed": lambda r: r["removed"],
        "before, %": lambda r: "" if r["before"] is None else f"{r['before']:.2f}",
        "after, %": lambda r: "" if r["after"] is None else format_sd(r["after"], r["sd"]),
        "left": lambda r: "" if r["left"] is None else f"{r['left']:,.0f}",
        "compression": lambda r: (
            (f"{r['compression']:.3g}x" if r["compression"] < 1000 else f"{r['compression']:,.0f}x")
            + " in bytes" * (r["counted"] == "bytes")
        ),
        "multiply-adds": lambda r: "" if r["macs"] is None else f"{r['macs']:,.0f}",
        "of weights": lambda r: f"{r['weights_compression']:.3g}x" if "weights_compression" in r else "",
        "arXiv": lambda r: r["source"].removeprefix("arXiv ") if "year" in r else "",
    }
    return table_of(columns, records)


# --- face verification --------------------------------------------------------------------------------


def accuracies(results):
    """[(row, mean accuracy, mean standard error)] per round; the means are over the seeds."""
    rounds = {}
    for row in results["rows"]:
        rounds.setdefault(row["step"], []).append(row)
    means = lambda rows: (float(np.mean([r[name] for r in rows])) for name in ("accuracy", "accuracy_se"))  # noqa: E731
    return [(rows[0], *means(rows)) for rows in rounds.values()]


def faces_table(results):
    """Accuracy per round, and how many pairs only it or only the unpruned network classified correctly.

    The pairs, with McNemar's p, are those of a single run or of View 2's ten folds; several seeds have none.
    """
    columns = {
        "operation": lambda r: describe_round(r[0]),
        "parameters": lambda r: f"{r[0]['nonzero']:,}",
        "reduction": lambda r: TABLE["reduction"](r[0]),
        "without maxout": lambda r: TABLE["without maxout"](r[0]),
        "accuracy, %": lambda r: format_sd(*r[1:]),
    }
    header, rows = table_of(columns, accuracies(results))
    if len(results["seeds"]) > 1 or "against_unpruned" not in results:
        return header, rows
    columns = {
        "lost": lambda t: f"{t['lost']:,}",
        "won": lambda t: f"{t['won']:,}",
        "p": lambda t: f"{t['mcnemar_p']:.2f}",
    }
    more, pairs = table_of(columns, results["against_unpruned"])
    pairs[0] = ("", "", "")
    return header + more, [(*a, *b) for a, b in zip(rows, pairs, strict=True)]


def sums_table(name):
    """Accuracy of each seed's network, and of the sum of their distances.

    For the rounds of the unpruned network that is trained first and of pruning by win counts.
    """
    results, rows = read_results(name), []
    paths = [find_file(f"{name}-seed-{seed}-pairs.npz") for seed in results["seeds"]]
    first = [row for row in results["rows"] if row["seed"] == results["seeds"][0]]
    for row, label in zip(first, verification.pair_labels(paths[0]), strict=True):
        if row["arm"] in ("", "win_counts"):
            pairs = [verification.read_pairs(path, label) for path in paths]
            rows.append((describe_round(row | {"arm": ""}), *accuracies_of_sum(pairs)))
    return ("operation", *(f"seed {seed}" for seed in results["seeds"]), "mean", "sum"), rows


def crops_table():
    """Accuracy of three networks per seed, trained on different crops, and of the sum of their distances."""
    names, rows, everything = ("lfw-crop-96", "lfw-controls", "lfw-crop-160"), [], []
    for seed in read_results(names[0])["seeds"]:
        paths = [find_file(f"{name}-seed-{seed}-pairs.npz") for name in names]
        pairs = [verification.read_pairs(path, verification.pair_labels(path)[0]) for path in paths]
        rows.append((f"seed {seed}", *accuracies_of_sum(pairs)))
        everything += pairs
    rows.append(("all", *("" for _ in names), *accuracies_of_sum(everything)[-2:]))
    return ("", "96 x 96", "128 x 128", "160 x 160", "mean", "sum"), rows


def accuracies_of_sum(pairs):
    """Accuracies in % of networks on the same pairs, their mean, and that of the sum of their distances.

    Each distance is divided by its network's threshold, so that below 1 on average means the same person.
    """
    alone = [np.mean(verification.called_same(p) == p["same"]) for p in pairs]
    together = np.mean([p["distances"] / p["threshold"] for p in pairs], axis=0) < 1
    shares = *alone, np.mean(alone), np.mean(together == pairs[0]["same"])
    return [f"{100 * share:.2f}" for share in shares]
