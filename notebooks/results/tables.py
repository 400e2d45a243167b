"""Write the README's tables from the result files beside this script: no number there is typed by hand.

python notebooks/results/tables.py            rewrites the marked parts of README.md
python notebooks/results/tables.py --check    says whether they are up to date (exit status 1 if not)
"""

import json
import re
import sys
from pathlib import Path

from mnp.notebooks import results as tables
from mnp.notebooks.results import format_change, format_markdown, format_sd

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
RECIPES = (
    "mnist-caffe",
    "mnist",
    "mnist-k8",
    "mnist-weights",
    "mnist-combined",
    "mnist-record",
)
SEVERAL = {  # runs of several arms have tables of their own: what was compared, in a sentence
    "mnist-compare": "Three ways from one trained network to the same size, with the same number of training "
    "iterations",
    "mnist-ranking": "Six rankings, each from the same trained network, retrained for two epochs a round "
    "where the tables above have five",
}
OTHER_MACHINES = {  # where the benchmark was recorded, too; what the file does not say itself
    "bench-amd": "AMD, AVX-512, older kernels",
    "bench-intel": "Intel, AVX-512, older kernels",
    "bench-avx2": "AMD, AVX2, older gradients",
}


def read(name):
    """A result file, or None if the run has not been made yet."""
    path = HERE / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def done(line):
    """What a step did, in a word or two."""
    words = {"train": "train", "neurons": f"neurons, k = {line['k']}"}.get(line["kind"], "weights")
    return ", ".join(word for word in (words, line["arm"]) if word)


def mnist_table():
    """One line a step of every recipe that has been run: size, and error over the seeds.

    Steps that a recipe shares with one above it (`mnp run --from`) stand there once.
    """
    rows = [
        "| recipe | step | parameters | not zero | reduction | error %, mean ± sd | change, 95 % interval |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    seen = set()
    for recipe in RECIPES:
        results = read(recipe)
        if results is None:
            continue
        for line in results["aggregate"]:
            same = tuple(line[name] for name in ("kind", "k", "params", "error_mean", "error_sd"))
            if same in seen:
                continue
            seen.add(same)
            change = format_change(line) if line["step"] else ""
            rows.append(
                f"| {recipe} | {done(line)} | {line['params']:,.0f} | {line['nonzero']:,.0f} "
                f"| {100 * line['reduction']:.1f} % "
                f"| {format_sd(line['error_mean'], line['error_sd'])} | {change} |"
            )
    if len(rows) == 2:
        return "The full runs have not been recorded yet."
    commands = [results["command"] for recipe in RECIPES if (results := read(recipe))]
    parts = ["\n".join([*rows, "", "Made by:", "", shell(*commands)])]
    return "\n\n".join(
        [*parts, *(text for name in SEVERAL if (text := several_table(name))), *records_table()]
    )


def shell(*commands):
    return "\n".join(["```sh", *commands, "```"])


def several_table(name):
    """Ways of pruning at equal size; empty if the run has not been made yet."""
    results = read(name)
    if results is None:
        return ""
    seeds = f"{len(results['seeds'])} seeds" if len(results["seeds"]) > 1 else "one seed"
    told = f"{SEVERAL[name]} (`{name}`, {seeds}); the error right after each removal, and after retraining:"
    table = format_markdown(*tables.arms_table(results["aggregate"]))
    return f"{told}\n\n{table}\n\n{shell(results['command'])}"


def records_table():
    """LeNet-5 on MNIST, the published records and the runs above; [] before `mnist-record` is made."""
    if read("mnist-record") is None:
        return []
    base = tables.read_results("published", HERE)["lenet5_parameters"]
    told = (
        "The published records for LeNet-5 on MNIST, and the runs above among them. Compression is LeNet-5's "
        f"{base:,} parameters over those left; published figures are their authors', in their own count:"
    )
    return [f"{told}\n\n{format_markdown(*tables.records_table(tables.all_records(HERE)))}"]


def bench_table():
    """The benchmark where it was recorded last, and its ratios on other machines."""
    results = read("bench")
    if results is None:
        return "The benchmark has not been recorded yet."
    parts = [table_of_bench(results)]
    if others := {name: found for name in OTHER_MACHINES if (found := read(name))}:
        parts.append(other_machines(results, others))
    return "\n\n".join(parts)


def other_machines(results, others):
    """A column for each machine: the peers' times over ours in the cases of `results`, and what it can do."""
    ratios = "ratio_default", "ratio_best", "ratio_onnxruntime"

    def line(*cells):
        return f"| {' | '.join(map(str, cells))} |"

    def ratios_of(other, case):
        for r in other["rows"]:
            if (r["case"], r["batch"], r["kernels"]) == case:
                return " / ".join(f"{r[ratio]:.2f}" if r[ratio] else "-" for ratio in ratios)
        return ""

    def share_of(other):
        shares = [r["fma_share"] for r in other["rows"] if r["fma_share"]]
        return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %" if shares else ""

    columns = [OTHER_MACHINES[name] for name in others]
    rows = [
        line("PyTorch / its best / ONNX Runtime over ours", "batch", "kernels", *columns),
        "|---|---:|---|" + "---:|" * len(others),
    ]
    for r in results["rows"]:
        if r["ratio_default"]:
            case = r["case"], r["batch"], r["kernels"]
            rows.append(line(*case, *(ratios_of(other, case) for other in others.values())))
    rows += [
        line("share of the FMA peak, training steps", "", "tiled", *map(share_of, others.values())),
        line(
            "FMA peak, 1e9 operations a second",
            "",
            "",
            *(f"{o['fma_peak_gflops']:.0f}" for o in others.values()),
        ),
        line("load", "", "", *(other["load"] for other in others.values())),
    ]
    files = ", ".join(f"[{name}.json](notebooks/results/{name}.json)" for name in others)
    return "\n".join([f"On other machines ({files}):", "", *rows])


def table_of_bench(results):
    """Best times, and the peers' times over ours."""

    def cell(value, digits=2):
        return "" if value is None else f"{value:.{digits}f}"

    rows = [
        "| case | batch | kernels | ours, ms | PyTorch / ours | PyTorch's best / ours | ONNX Runtime / ours "
        "| of the FMA peak |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for r in results["rows"]:
        if r["ratio_default"] or r["fma_share"]:
            share = "" if r["fma_share"] is None else f"{100 * r['fma_share']:.0f} %"
            rows.append(
                f"| {r['case']} | {r['batch']} | {r['kernels']} | {cell(r['mnp_ms'], 3)} "
                f"| {cell(r['ratio_default'])} "
                f"| {cell(r['ratio_best'])} | {cell(r['ratio_onnxruntime'])} | {share} |"
            )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    tiles = f" ({results['tiles']})" if "tiles" in results else ""
    where = f"{results['machine']['model']}{tiles}, {results['threads']} threads, FMA peak "
    where += f"{results['fma_peak_gflops']:.0f}e9 operations a second, load {results['load']}; {versions}."
    return "\n".join([*rows, "", f"`{results['command']}` on {where} {results['warning']}".rstrip()])


def sparse_table():
    """Where the sparse form is faster than the dense one, and where not."""
    results = read("bench")
    if results is None:
        return "The benchmark has not been recorded yet."
    rows = [
        "| case | batch | CSR, ms | dense, ms | scipy.sparse, ms | CSR is |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for r in results["rows"]:
        if r["case"].startswith("CSR"):
            scipy = "" if r["scipy_ms"] is None else f"{r['scipy_ms']:.3f}"
            times = r["dense_ms"] / r["mnp_ms"]
            word = f"{times:.1f} times as fast" if times > 1.1 else "no faster" if times > 0.9 else "slower"
            rows.append(
                f"| {r['case'].removeprefix('CSR ')} | {r['batch']:,} | {r['mnp_ms']:.3f} "
                f"| {r['dense_ms']:.3f} | {scipy} | {word} |"
            )
    return "\n".join(rows)


def other_table():
    """What has no peer: the first use, ranking, memory."""
    results = read("bench")
    if results is None:
        return "The benchmark has not been recorded yet."
    said = []
    for r in results["rows"]:
        if r["case"].startswith("first use"):
            said.append(f"- {r['case']}: {r['mnp_ms'] / 1e3:.2f} s {r['note']}.")
        elif r["case"] == "ranking pass":
            times = r["mnp_ms"] / r["dense_ms"]
            said.append(f"- a ranking pass over 60,000 images: {times:.2f} times plain inference.")
        elif r["case"].startswith("memory"):
            said.append(f"- memory: {r['note']}.")
    return "\n".join(said)


def vgg_table():
    """The full-size VGG16, counted by formula."""
    results = read("vgg16-sizes")
    if results is None:
        return "Not counted yet."
    rows = [
        "| classes | maxout in | k | without maxout | with maxout | pruned to k = 1 | reduction |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for r in results["rows"]:
        rows.append(
            f"| {r['classes']:,} | {' and '.join(r['layers'])} | {r['k']} | {r['without_maxout_params']:,} "
            f"| {r['maxout_params']:,} | {r['pruned_params']:,} "
            f"| {100 * r['reduction_without_maxout']:.1f} % |"
        )
    rows += ["", f"`{results['command']}`; the reduction is against the network without maxout."]
    return "\n".join(rows + [line for name in ("lfw", "lfw-view2") for line in lfw_lines(name)])


def lfw_lines(name):
    """What a run on Labeled Faces in the Wild found, a line a step."""
    results = read(name)
    if results is None:
        return ["", f"`{name}` has not been recorded yet."]
    about = results["recipe"]["about"]
    told = (
        "without maxout: the reduction against that network; lost, won: pairs that only the unpruned, only "
        "this network calls rightly; p: McNemar's test"
    )
    table = format_markdown(*tables.faces_table(results))
    return ["", f"{about} ({told}):", "", table, "", f"`{results['command']}`"]


def trust_table():
    """What was done to break it, and what came of it; a line for each result file that is there."""
    rows = ["| what was tried | what came of it | command |", "|---|---|---|"]
    if results := read("fuzz"):
        readers = results["readers"]
        troubles = sum(len(r["troubles"]) for r in readers)
        rows.append(
            f"| {sum(r['files'] for r in readers):,} broken or hostile files, through {len(readers)} readers "
            f"| {troubles or 'no'} trouble: each read rightly or refused with one line, in at most "
            f"{max(r['slowest_seconds'] for r in readers):.1f} s and "
            f"{max(r['peak_memory_mib'] for r in readers)} MiB | `{results['command']}` |"
        )
    if results := read("mutation"):
        share = 100 * results["killed"] / results["mutants"]
        later = len(results.get("killed_by_tests_written_for_them", ()))
        since = f", {later} of them by tests written because none did" if later else ""
        rows.append(
            f"| {results['mutants']} changes to kernels, pruning and readers, one at a time "
            f"| a test notices {results['killed']} ({share:.1f} %){since}; why not the others: "
            f"[mutation.json](notebooks/results/mutation.json) | `{results['command']}` |"
        )
    if results := read("coverage"):
        backend, whole = (share["percent"] for share in results["shares"])
        rows.append(
            f"| which lines the tests run, with the compiler off | of kernels and pruning {backend:g} %, "
            f"of everything {whole:g} % | `{results['command']}` |"
        )
    if results := read("fresh-machines"):
        passed = sum(row["exit"] == 0 for row in results["rows"])
        pythons = " and ".join(sorted({row["python"] for row in results["rows"]}))
        what = {row["what"] for row in results["rows"]}
        commands = "the first command at the top" if what == {"run"} else "the two commands at the top"
        rows.append(
            f"| {commands}, with the newest and the lowest dependencies, in an odd path, "
            f"read-only, without a home, without a network, on Python {pythons} "
            f"| {passed} of {len(results['rows'])} passed | `{results['command']}` |"
        )
    return "\n".join(rows)


TABLES = {
    "mnist": mnist_table,
    "bench": bench_table,
    "sparse": sparse_table,
    "others": other_table,
    "vgg16": vgg_table,
    "trust": trust_table,
}


def fill(text):
    """The README's text with every marked table written anew."""
    for name, table in TABLES.items():
        begin, end = f"<!-- table: {name} -->", f"<!-- end of table: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
        text = pattern.sub(lambda _, b=begin, e=end, t=table: f"{b}\n{t()}\n{e}", text)
    return text


def main(words):
    old = README.read_text(encoding="utf-8")
    new = fill(old)
    if "--check" in words:
        return int(old != new)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
