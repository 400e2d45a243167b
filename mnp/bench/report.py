"""Run the groups of cases in order, and put their rows beside a description of the machine."""

import sys

import numba

from mnp.bench import baselines, cases, scaling
from mnp.bench.roofline import measure
from mnp.bench.timing import BUSY, fma_peak, load
from mnp.errors import MnpError
from mnp.experiments import environment
from mnp.kernels import get_backend, registers
from mnp.tables import text_table

LONG = ("round", "compiled")
COLUMNS = {
    "case": "case",
    "batch": "batch",
    "kernels": "backend",
    "mnp_ms": "ours ms",
    "torch_default_ms": "torch",
    "torch_best_ms": "torch best",
    "onnxruntime_ms": "ort",
    "openvino_ms": "openvino",
    "jax_ms": "jax",
    "tinygrad_ms": "tinygrad",
    "scipy_ms": "scipy",
    "dense_ms": "dense",
    "ratio_default": "x torch",
    "ratio_best": "x best",
    "ratio_onnxruntime": "x ort",
    "ratio_openvino": "x openvino",
    "ratio_jax": "x jax",
    "ratio_tinygrad": "x tinygrad",
    "fma_share": "of peak",
}


GROUPS = {  # functions of (compare, peak)
    "steps": cases.lenet_steps,
    "inference": cases.inference,
    "ranking": cases.ranking,
    "vgg": cases.vgg_step,
    "sparse": cases.sparse,
    "batches": scaling.batches,
    "widths": scaling.widths,
    "sizes": scaling.sizes,
    "first-use": scaling.first_use,
    "memory": scaling.memory,
    "round": cases.training_round,
    "compiled": cases.compiled_step,
}


def print_line(line):
    print(line, file=sys.stderr, flush=True)


def check_available():
    """Raise MnpError where there is nothing to measure."""
    if not get_backend("tiled").available():
        raise MnpError("bench: the tiled backend cannot run here (no AVX2, AVX-512 or NEON, or no JIT)")


def bench(compare=(), only="", quick=False, log=print_line):
    """Measure, and return what `mnp bench --json` writes: a dict with the rows of `make_row`.

    compare : sequence of str
        Frameworks from `baselines.BASELINES`; one that is not installed is left out with a line.
    only : str
        Only groups whose name contains it.
    quick : bool
        Leave out the groups in LONG.
    """
    check_available()
    chosen = {n: g for n, g in GROUPS.items() if only in n and not (quick and n in LONG)}
    if not chosen:
        raise MnpError(f"--only {only}: no such group; choose from {', '.join(GROUPS)}")
    threads, versions, asked = numba.get_num_threads(), environment.versions(), compare
    for name in asked:
        try:
            versions[name] = baselines.load_baseline(name)
        except baselines.AbsentError as error:
            log(f"left out: {error}")
    compare = tuple(name for name in asked if name in versions)
    report = {
        "command": "mnp bench" + (f" --compare {','.join(asked)}" if asked else "") + " --quick" * quick,
        "machine": environment.cpu(),
        "threads": threads,
        "tiles": "AVX-512" if registers.WIDE else "AVX2",
        "load": load(),
        "fma_peak_gflops": round(fma_peak(threads), 1),
        "versions": versions,
        "warning": "",
        "rows": [],
    }
    if report["load"] is not None and report["load"] > BUSY:
        report["warning"] = f"the machine was busy (load {report['load']}): timings may be unreliable"
        log(report["warning"])
    for name, group in chosen.items():
        log(f"measuring: {name}")
        report["rows"] += group(compare, report["fma_peak_gflops"])
        raise_peak(report, fma_peak(threads, 0.5))
    return report


def raise_peak(report, peak):
    """Correct a report in place if the peak, measured again, is higher.

    A machine that was idle before may be slow at first, and a fraction of too low a peak is too large.

    >>> report = {"fma_peak_gflops": 100.0, "rows": [{"fma_share": 0.8}, {"fma_share": None}]}
    >>> raise_peak(report, 160.0)
    >>> report["rows"]
    [{'fma_share': 0.5}, {'fma_share': None}]
    """
    old = report["fma_peak_gflops"]
    if peak > old:
        report["fma_peak_gflops"] = round(peak, 1)
        for row in report["rows"]:
            if row["fma_share"] is not None:
                row["fma_share"] = round(row["fma_share"] * old / peak, 3)


def format_rows(rows):
    """The rows as text: best times in milliseconds, ratios as the baseline's time over ours."""

    def cell(value):
        return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    body = [[cell(row.get(name)) for name in columns] for row in rows]
    table = [[COLUMNS[name] for name in columns], *body]
    notes = [f"{row['case']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join([text_table(table, left=[0]), *notes])


def roofline(log=print_line):
    """Measure each kernel against the machine's limits, see `mnp.bench.roofline`."""
    check_available()
    return measure(log)


def format_roofline(report):
    """The rows as text: operations per byte, 1e9 operations per second, share of what is attainable."""
    rows = [["kernel", "intensity", "attainable", "plain", "tiled", "share"]]
    for row in report["rows"]:
        roof = min(report["peak_gflops"], report["bandwidth_gbs"] * row["intensity"])
        numbers = row["intensity"], roof, row["plain_gflops"], row["tiled_gflops"]
        rows.append([row["kernel"], *(f"{n:.1f}" for n in numbers), f"{row['tiled_gflops'] / roof:.2f}"])
    limits = f"peak {report['peak_gflops']}e9 operations/s, bandwidth {report['bandwidth_gbs']}e9 bytes/s"
    return f"{text_table(rows, left=[0])}\n{limits}"
