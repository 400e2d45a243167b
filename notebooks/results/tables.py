"""Write the tables of README.md and of notebooks/results/README.md from the result files in this folder.

python notebooks/results/tables.py            rewrites the marked parts of both files
python notebooks/results/tables.py --check    exit status 1 if they are not up to date
"""

import json
import re
import sys
from pathlib import Path

from mnp.experiments.registry import TINY
from mnp.experiments.results import describe_round, mean_sd_se, paired_interval
from mnp.notebooks import results as stored
from mnp.plotting.style import arm_label
from mnp.tables import markdown_table

HERE = Path(__file__).parent
FILES = HERE.parents[1] / "README.md", HERE / "README.md"
CLAIMS = (  # task, what the paper's abstract states, the recipe that repeats it, and its round
    ("LeNet-5, MNIST: neurons", "-74 %", "mnist", 3),
    ("the same, retrained without dropout", "", "mnist-retrained", 6),
    ("LeNet-5, MNIST: neurons, then weights", "-92 %", "mnist-combined", 4),
    ("the authors' published network, MNIST: neurons", "", "mnist-caffe", 3),
    ("the same, retrained without dropout", "", "mnist-caffe-retrained", 6),
    ("VGG16, LFW: neurons", "-61 %", "lfw-view2", 3),
    ("VGG16, LFW: neurons, then weights", "-80 %", "lfw-view2", 4),
)
CONTROLS = {  # recipe: that of its controls
    "mnist": "mnist-controls",
    "mnist-retrained": "mnist-retrained",
    "mnist-caffe": "mnist-caffe-controls",
    "mnist-caffe-retrained": "mnist-caffe-retrained",
    "mnist-combined": "mnist-combined-controls",
}
VGG16 = 2622, 4, ["fc6"]  # classes, k, maxout layers: the row that fits the abstract's -61 %
SPEED = (  # the rows of the README's short table
    ("LeNet training step", 64),
    ("LeNet inference, before pruning", 1),
    ("LeNet inference, before pruning", 64),
    ("LeNet inference, after pruning", 64),
    ("VGG16/4 training step", 32),
)
OTHER_MACHINES = {  # other recordings of the benchmark, and what their files do not say
    "bench-amd": "AMD, AVX-512, older kernels",
    "bench-intel": "Intel, AVX-512, older kernels",
    "bench-avx2": "AMD, AVX2, older gradients",
}
OPPONENTS = {  # ratio in a row of the benchmark: the column's name
    "ratio_default": "PyTorch",
    "ratio_best": "PyTorch's best",
    "ratio_onnxruntime": "ONNX Runtime",
    "ratio_openvino": "OpenVINO",
    "ratio_jax": "JAX",
    "ratio_tinygrad": "tinygrad",
}


def read(name):
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def table(columns, rows):
    """A Markdown table; columns of numbers are aligned to the right."""
    numbers = [all(re.match(r"[-+\d]|$", cell) for cell in cells) for cells in zip(*rows, strict=True)]
    return markdown_table(columns, rows, right=[i for i, yes in enumerate(numbers) if yes])


def table_of(name, make):
    """The table that `make` writes of a result file, and the command that made the file."""
    return with_command(table(*make(read(name))), read(name))


def with_command(text, *sources):
    """A table, and the commands that made its result files."""
    return "\n".join([text, "", "```sh", *(source["command"] for source in sources), "```"])


def number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def error(line):
    return stored.format_sd(line["error_mean"], line["error_sd"])


def percent(share, digits=1):
    return f"{100 * share:.{digits}f} %"


# --- The README's two tables ------------------------------------------------------------------------------


def claims_table():
    """What the abstract states, what came out here, and the control experiment."""
    rows = []
    for task, claim, recipe, index in CLAIMS:
        first, last = (read(recipe)["aggregate"][i] for i in (0, index))
        if recipe.startswith("lfw"):  # the standard error over the ten folds instead of the sd over seeds
            spreads = {row["step"]: row["accuracy_se"] for row in read(recipe)["rows"]}
        else:
            spreads = {line["step"]: line["error_sd"] for line in (first, last)}
        errors = (stored.format_sd(line["error_mean"], spreads[line["step"]]) for line in (first, last))
        removed = f"-{percent(last['reduction'])} (-{percent(last['reduction_without_maxout'])})"
        rounds = sum(line["arm"] == last["arm"] for line in read(recipe)["aggregate"][1 : index + 1])
        controls = (control(recipe, arm, rounds) for arm in ("unpruned", "small"))
        rows.append([task, claim, f"`{recipe}`", removed, " → ".join(errors), *controls])
    columns = ["task", "abstract", "recipe", "removed here", "test error, %"]
    columns += ["nothing removed", "small from scratch"]
    vgg = next(r for r in read("vgg16-sizes")["rows"] if (r["classes"], r["k"], r["layers"]) == VGG16)
    full = f"Full-size VGG16, counted but not trained ({vgg['classes']:,} classes, k = {vgg['k']} in fc6)"
    removed = percent(vgg["reduction_without_maxout"])
    return f"{table(columns, rows)}\n\n{full}: -{removed} of the network without maxout."


def control(recipe, arm, rounds):
    """Error of an arm of the controls after so many rounds of retraining; empty if there is none."""
    rows = [row for row in read(CONTROLS[recipe])["rows"] if row["arm"] == arm] if recipe in CONTROLS else []
    if not rows:
        return ""
    # An arm that is trained from scratch has its own round 0.
    step = sorted({row["step"] for row in rows})[rounds - (rows[0]["kind"] != "train")]
    return stored.format_sd(*mean_sd_se([row["error"] for row in rows if row["step"] == step])[:2])


def controls_table(results):
    """What each arm ends at, compared with the network that nothing was removed from."""
    return stored.paired_table(results, "unpruned")


def retrained_table(results):
    """The arms of another retraining beside the unpruned network of the usual one."""
    name = results["recipe"]["name"].removesuffix("-retrained")
    usual = [row for row in read(f"{name}-controls")["rows"] if row["arm"] == "unpruned"]
    usual = [row | {"arm": f"nothing removed, {name}"} for row in usual]
    return stored.paired_table(results | {"rows": usual + results["rows"]}, f"nothing removed, {name}")


def tiny_table(names=TINY):
    """Maxout in every layer, pruned to a small network, beside that network from scratch."""
    sources, rows = [read(name) for name in names], []
    for results in sources:
        arms = stored.ends_of_arms(results)
        errors = stored.errors_of_arms(results)
        end = arms["win_counts"][0]
        rows.append(
            [
                "-".join(map(str, TINY[results["recipe"]["name"].removesuffix("-k2")]))
                + (", k = 2" if results["recipe"]["name"].endswith("-k2") else ""),
                *(f"{end['params']:,}", f"{read('published')['lenet5_parameters'] / end['params']:.0f}x"),
                f"{end['macs']:,}",
                *(stored.format_sd(*mean_sd_se(errors[arm])[:2]) for arm in arms),
                stored.format_interval(*paired_interval(errors["win_counts"], errors["small"])),
            ]
        )
    columns = [
        "network",
        "parameters",
        "compression",
        "multiply-adds",
        *(f"{arm_label(arm)}, %" for arm in arms),
    ]
    return with_command(table([*columns, "win counts - small"], rows), *sources)


def equal_size_table():
    """Networks pruned to two neurons per unit, beside an ordinary one of the same size from scratch."""
    rows = []
    for pruned, small in (("mnist-tiny-100", "mnist-tiny-50"), ("mnist-tiny-200", "mnist-tiny-100")):
        ends = {
            f"`{pruned}`, k = 2": stored.ends_of_arms(read(pruned), 2)["win_counts"],
            f"`{small}`, small from scratch": stored.ends_of_arms(read(small))["small"],
        }
        errors = [[row["error"] for row in of_end] for of_end in ends.values()]
        changes = stored.format_interval(*paired_interval(*errors)), ""
        for (name, of_end), of_seeds, change in zip(ends.items(), errors, changes, strict=True):
            sizes = f"{of_end[0]['params']:,}", f"{of_end[0]['macs']:,}"
            rows.append([name, *sizes, stored.format_sd(*mean_sd_se(of_seeds)[:2]), change])
    return table(["network", "parameters", "multiply-adds", "error, %", "difference"], rows)


def record_sentence():
    """How few numbers are left in the end, and at which error."""
    results, base = read("mnist-tiny-record"), read("published")["lenet5_parameters"]
    first, *lines = results["aggregate"]
    ends = "; ".join(
        f"{base / line['nonzero']:.0f} times fewer ({line['nonzero']:,.0f}) {error(line)}"
        for line in lines
        if line["kind"] == "gradual"
    )
    return (
        f"Nonzero parameters against LeNet-5's {base:,}, test error in %, {len(results['seeds'])} seeds; "
        f"`mnist-tiny-record` starts with {first['params']:,.0f} and shifts training images: {ends}."
    )


def opponents(row):
    """Ratio and name of the frameworks that a row was measured against, the strongest first."""
    return sorted((row[ratio], name) for ratio, name in OPPONENTS.items() if row.get(ratio))


def measured_in(results):
    """The ratios that a benchmark has."""
    return [ratio for ratio in OPPONENTS if any(r.get(ratio) for r in results["rows"])]


def speed_table():
    """Five rows of the benchmark."""
    results = read("bench")
    cases = {(r["case"], r["batch"]): r for r in results["rows"] if r["kernels"] == "tiled"}
    rows = []
    for case in SPEED:
        row = cases[case]
        ratio, name = opponents(row)[0]
        numbers = number(row["mnp_ms"]), number(row["ratio_default"], 1), number(ratio, 1)
        rows.append([*map(str, case), *numbers, name])
    columns = ["case", "batch", "mnp, ms", "PyTorch / mnp", "strongest / mnp", "strongest"]
    names = ", ".join(OPPONENTS[ratio] for ratio in measured_in(results))
    machine = f"{results['machine']['model']} ({results['tiles']}), {results['threads']} threads"
    ran = f"Measured on {machine}, load {results['load']}."
    return f"{table(columns, rows)}\n\n*Strongest*: the fastest of {names}. {ran}"


# --- MNIST ------------------------------------------------------------------------------------------------


def mnist_table():
    """One line per round of every recipe: size, and error over the seeds.

    Rounds that a recipe shares with one above it (`mnp run --from`) are listed once.
    """
    rows, seen = [], set()
    for recipe in stored.RECIPES:
        for line in read(recipe)["aggregate"]:
            key = tuple(line[name] for name in ("kind", "k", "params", "error_mean", "error_sd"))
            if key not in seen:
                seen.add(key)
                what = {"train": "train", "neurons": f"neurons, k = {line['k']}"}.get(line["kind"], "weights")
                rows.append(
                    [
                        *(recipe, what, f"{line['params']:,.0f}", f"{line['nonzero']:,.0f}"),
                        percent(line["reduction"]),
                        error(line),
                        stored.format_change(line) if line["step"] else "",
                    ]
                )
    columns = ["recipe", "round", "parameters", "nonzero", "reduction", "error %, mean ± sd"]
    return with_command(table([*columns, "change, 95 % interval"], rows), *map(read, stored.RECIPES))


def record_rounds(results):
    """Size of each round, and its error beside the unpruned network that `mnist-tiny-100` trains on."""
    unpruned, rows = stored.errors_of_arms(read("mnist-tiny-100"))["unpruned"], []
    for of_round in stored.rounds_of_arms(results)[""].values():
        row, errors = of_round[0], [row["error"] for row in of_round]
        compression = read("published")["lenet5_parameters"] / row["nonzero"]
        sizes = f"{row['params']:,}", f"{row['nonzero']:,}", f"{compression:.0f}x"
        difference = stored.format_interval(*paired_interval(errors, unpruned))
        rows.append([describe_round(row), *sizes, stored.format_sd(*mean_sd_se(errors)[:2]), difference])
    columns = ["operation", "parameters", "nonzero", "compression", "error, %"]
    return [*columns, "difference from nothing removed"], rows


def records():
    """Published results for LeNet-5 on MNIST, and the runs above among them."""
    lines = stored.all_records(HERE)
    columns, cells = stored.records_table(lines)
    for line in lines:
        if "recipe" in line:
            line |= {"runs": f"mean of {len(read(line['recipe'])['seeds'])}", "biases": "with"}
    rows = [
        [*row[:-1], line["runs"], line["biases"], row[-1]] for row, line in zip(cells, lines, strict=True)
    ]
    return table([*columns[:-1], "runs", "biases counted", columns[-1]], rows)


# --- VGG16 and faces --------------------------------------------------------------------------------------


def vgg_table():
    """The full-size VGG16, counted by formula."""
    results = read("vgg16-sizes")
    rows = [
        [
            *(f"{r['classes']:,}", " and ".join(r["layers"]), str(r["k"])),
            *(f"{r[name]:,}" for name in ("without_maxout_params", "maxout_params", "pruned_params")),
            percent(r["reduction_without_maxout"]),
        ]
        for r in results["rows"]
    ]
    columns = ["classes", "maxout in", "k", "without maxout", "with maxout", "pruned to k = 1", "reduction"]
    return with_command(table(columns, rows), results)


# --- Speed and robustness ---------------------------------------------------------------------------------


def bench_table():
    """Best times, and the times of other frameworks divided by them."""
    results = read("bench")
    rows = [
        [
            *(r["case"], str(r["batch"]), r["kernels"], number(r["mnp_ms"], 3)),
            *(number(r.get(ratio)) for ratio in measured_in(results)),
            percent(r["fma_share"], 0) if r["fma_share"] else "",
        ]
        for r in results["rows"]
        if opponents(r) or r["fma_share"]
    ]
    columns = ["case", "batch", "backend", "mnp, ms"]
    columns += [f"{OPPONENTS[ratio]} / mnp" for ratio in measured_in(results)] + ["of the FMA peak"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    where = f"{results['machine']['model']} ({results['tiles']}), {results['threads']} threads, FMA peak "
    where += f"{results['fma_peak_gflops']:.0f}e9 operations per second, load {results['load']}; {versions}."
    return f"{table(columns, rows)}\n\n`{results['command']}` on {where}"


def machines_table():
    """The ratios on other machines, in the cases of the benchmark above."""
    others = [read(name) for name in OTHER_MACHINES]
    rows = []
    for r in read("bench")["rows"]:
        if r["ratio_default"]:
            case = r["case"], r["batch"], r["kernels"]
            rows.append([r["case"], str(r["batch"]), r["kernels"], *(ratios(o, case) for o in others)])
    shares = [[r["fma_share"] for r in o["rows"] if r["fma_share"]] for o in others]
    ranges = (f"{100 * min(s):.0f} to {100 * max(s):.0f} %" for s in shares)
    rows += [
        ["share of the FMA peak, training steps", "", "tiled", *ranges],
        ["FMA peak, 1e9 operations per second", "", "", *(f"{o['fma_peak_gflops']:.0f}" for o in others)],
        ["load", "", "", *(str(o["load"]) for o in others)],
    ]
    links = ", ".join(f"[{name}.json]({name}.json)" for name in OTHER_MACHINES)
    return f"{table(['case', 'batch', 'backend', *OTHER_MACHINES.values()], rows)}\n\nFrom {links}."


def ratios(results, case):
    """PyTorch / its best / ONNX Runtime over mnp in one case; empty where it was not measured."""
    for r in results["rows"]:
        if (r["case"], r["batch"], r["kernels"]) == case:
            return " / ".join(number(r[ratio]) or "-" for ratio in list(OPPONENTS)[:3])
    return ""


def spills_table():
    """Loops of the tiled kernels that need more registers than a CPU of another kind has."""
    results = read("spills")
    rows = [[*(str(row[name]) for name in ("cpu", "loops", "loops_with_stores"))] for row in results["rows"]]
    columns = ["CPU", "innermost loops that multiply and add", "of these, with a vector stored on the stack"]
    return with_command(table(columns, rows), results)


def sizes_table():
    """Parameters, multiply-adds and time of inference by the neurons per unit, and of small networks."""
    networks = {}
    for r in read("bench")["rows"]:
        if "macs" in r:
            networks.setdefault(r["case"].rpartition(", ")[2], []).append(r)
    rows = [
        [
            name,
            *(f"{one[key]:,}" for key in ("params", "macs")),
            *(number(r["mnp_ms"], 3) for r in (one, many)),
        ]
        for name, (one, many) in networks.items()
    ]
    columns = ["network", "parameters", "multiply-adds", "1 image, ms", "64 images, ms"]
    return table(columns, rows)


def sparse_table():
    """Where the sparse form is faster than the dense one, and where not."""
    rows = []
    for r in read("bench")["rows"]:
        if r["case"].startswith("CSR"):
            times = r["dense_ms"] / r["mnp_ms"]
            word = f"{times:.1f} times as fast" if times > 1.1 else "no faster" if times > 0.9 else "slower"
            milliseconds = (number(r[name], 3) for name in ("mnp_ms", "dense_ms", "scipy_ms"))
            rows.append([r["case"].removeprefix("CSR "), f"{r['batch']:,}", *milliseconds, word])
    return table(["case", "batch", "CSR, ms", "dense, ms", "scipy.sparse, ms", "CSR is"], rows)


def others_list():
    """What no other framework was measured on: the first use, ranking, memory."""
    rows = {r["case"]: r for r in read("bench")["rows"]}
    first = [(case, r) for case, r in rows.items() if case.startswith("first use")]
    lines = [f"{case}: {r['mnp_ms'] / 1e3:.2f} s {r['note']}" for case, r in first]
    ranking = rows["ranking pass"]
    lines.append(f"ranking pass: {ranking['mnp_ms'] / ranking['dense_ms']:.2f} times plain inference")
    lines += [
        f"{case}, batch {r['batch']}: {r['note']}" for case, r in rows.items() if case.startswith("memory")
    ]
    return "\n".join(f"- {line}." for line in lines)


def roofline_table():
    """Each kernel below the machine's limits, and the numbers that the text beside it needs."""
    results = read("roofline")
    peak, bandwidth = results["peak_gflops"], results["bandwidth_gbs"]
    rows = []
    for r in results["rows"]:
        roof = min(peak, bandwidth * r["intensity"])
        speeds = (number(value, 1) for value in (r["intensity"], roof, r["plain_gflops"], r["tiled_gflops"]))
        rows.append([r["kernel"], *speeds, f"{r['plain_ms'] / r['tiled_ms']:.1f}"])
    columns = ["kernel", "operations per byte", "attainable", "plain loop", "tiled", "times as fast"]
    machine = f"{results['machine']['model']} ({results['tiles']}), {results['threads']} threads, load"
    limits = f"{peak:.0f}e9 operations and {bandwidth:.0f}e9 bytes of memory per second"
    where = f"In 1e9 operations per second, on {machine} {results['load']}: {limits}."
    ridge = f"Below {peak / bandwidth:.0f} operations per byte memory is the limit, above it arithmetic."
    return with_command(f"{table(columns, rows)}\n\n{where} {ridge}", results)


def frameworks_table(results):
    """Versions of other frameworks: kernels that agree, and who wins a tie."""
    rows = []
    for row in results["rows"]:
        agreed = f"{row['agreed']} of {row['kernels']}" if "kernels" in row else ""
        worst = f"{row['worst']:.0e}" if "worst" in row else ""
        ties = "; ".join(f"{operator}: {rule}" for operator, rule in row.get("ties", {}).items())
        rows.append([f"{row['framework']} {row['version']}", agreed, worst, ties, row["remarks"]])
    return ["version", "kernels that agree", "worst relative difference", "ties", "remarks"], rows


def trust_table():
    """Fuzzing, mutation testing, coverage and clean installations."""
    names = ("fuzz", "mutation", "coverage", "fresh-machines", "aarch64")
    fuzz, mutation, coverage, fresh, arm = sources = [read(name) for name in names]
    readers = fuzz["readers"]
    failures = sum(len(r["troubles"]) for r in readers)
    seconds, mib = (max(r[name] for r in readers) for name in ("slowest_seconds", "peak_memory_mib"))
    backend, whole = (share["percent"] for share in coverage["shares"])
    pythons = " and ".join(sorted({row["python"] for row in fresh["rows"]}))
    passed = sum(row["exit"] == 0 for row in fresh["rows"])
    files, wins = sum(r["files"] for r in readers), mutation["killed_by_tests_written_for_them"]
    tried = [
        f"{files:,} damaged or hostile files, {len(readers)} readers",
        f"{mutation['mutants']} changes to kernels, pruning and readers, one at a time",
        "lines that the tests execute, with the compiler off",
        f"the README's two commands on clean machines, Python {pythons}: newest and lowest dependencies, "
        "without Numba, an odd path, read-only, without a home, without a network, simulated Windows",
        f"the tiled backend on an emulated {arm['cpu']}: `mnp check`, tests of the kernels, a run of digits",
    ]
    results = [
        f"{failures} failures: read correctly or rejected with one line, at most {seconds:.1f} s, {mib} MiB",
        f"the tests detect {mutation['killed']}, {len(wins)} of them by tests written afterwards; "
        "[mutation.json](mutation.json) explains the others",
        f"{backend:g} % of kernels and pruning, {whole:g} % of everything",
        f"{passed} of {len(fresh['rows'])} passed",
        "kernels: {}; tests: {} and {}; the run: {} as here".format(
            *(row["last_line"].partition(" in ")[0] for row in arm["rows"][2:])
        ),
    ]
    commands = [f"`{source['command']}`" for source in sources]
    rows = list(zip(tried, results, commands, strict=True))
    return table(["what was tried", "result", "command"], rows)


TABLES = {
    "claims": claims_table,
    "record": record_sentence,
    "speed": speed_table,
    "mnist": mnist_table,
    "mnist-caffe-controls": lambda: table_of("mnist-caffe-controls", controls_table),
    "mnist-controls": lambda: table_of("mnist-controls", controls_table),
    "mnist-caffe-retrained": lambda: table_of("mnist-caffe-retrained", retrained_table),
    "mnist-retrained": lambda: table_of("mnist-retrained", retrained_table),
    "fashion-caffe-controls": lambda: table_of("fashion-caffe-controls", controls_table),
    "mnist-combined-controls": lambda: table_of(
        "mnist-combined-controls", lambda results: stored.rounds_table(results, "win_counts", "unpruned")
    ),
    "mnist-tiny": tiny_table,
    "mnist-tiny-equal": equal_size_table,
    "mnist-tiny-k2": lambda: tiny_table(("mnist-tiny-100-k2", "mnist-tiny-200-k2")),
    "mnist-tiny-100-rounds": lambda: table(
        *stored.rounds_table(read("mnist-tiny-100"), "win_counts", "unpruned")
    ),
    "mnist-tiny-record": lambda: table_of("mnist-tiny-record", record_rounds),
    **{
        name: lambda name=name: table_of(name, lambda results: stored.rankings_table(results["aggregate"]))
        for name in ("mnist-relevance", "mnist-relevance-retrained")
    },
    "mnist-compare": lambda: table_of(
        "mnist-compare", lambda results: stored.arms_table(results["aggregate"])
    ),
    "mnist-ranking": lambda: table_of(
        "mnist-ranking", lambda results: stored.arms_table(results["aggregate"])
    ),
    "records": records,
    "vgg16": vgg_table,
    "lfw": lambda: table_of("lfw", stored.faces_table),
    "lfw-controls": lambda: table_of(
        "lfw-controls", lambda results: stored.rounds_table(results, "win_counts", "unpruned")
    ),
    "lfw-sums": lambda: table(*stored.sums_table("lfw-controls")),
    "lfw-crops": lambda: with_command(
        table(*stored.crops_table()), read("lfw-crop-96"), read("lfw-crop-160")
    ),
    "lfw-view2": lambda: table_of("lfw-view2", stored.faces_table),
    "bench": bench_table,
    "machines": machines_table,
    "spills": spills_table,
    "sizes": sizes_table,
    "sparse": sparse_table,
    "roofline": roofline_table,
    "others": others_list,
    "frameworks": lambda: table_of("framework-versions", frameworks_table),
    "trust": trust_table,
}


def fill(text):
    """Write every marked table of a text anew."""
    marked = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table: \2 -->)", re.S)
    return marked.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text)


def main(words):
    old = [path.read_text(encoding="utf-8") for path in FILES]
    new = [fill(text) for text in old]
    if "--check" in words:
        return int(old != new)
    for path, text in zip(FILES, new, strict=True):
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
