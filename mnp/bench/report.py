"""Run the groups of cases in order and put their rows beside what they were measured on."""

import sys

import numba

from mnp.bench import cases, growth, peers
from mnp.bench.timing import BUSY, fma_peak, load
from mnp.errors import MnpError
from mnp.experiments import environment
from mnp.kernels import get_backend, registers

LONG = ("stage", "compiled")


def groups(threads):
    """Case groups by name, as functions of (against, peak)."""
    return {
        "steps": cases.lenet_steps,
        "inference": lambda against, peak: cases.inference(against, peak, threads),
        "ranking": cases.ranking,
        "vgg": cases.vgg_step,
        "sparse": cases.sparse,
        "batches": growth.batches,
        "widths": growth.widths,
        "first-use": growth.first_use,
        "memory": growth.memory,
        "stage": cases.stage,
        "compiled": cases.compiled_step,
    }


def bench(against=(), only="", quick=False, log=None):
    """Measure, and return what `mnp bench --json` writes.

    Parameters
    ----------
    against : sequence of str
        Peers from `peers.PEERS`; each must be installed.
    only : str
        Only groups whose name holds it.
    quick : bool
        Leave out the groups in LONG.

    Returns
    -------
    report : dict
        command, machine, threads, tiles, load, fma_peak_gflops, versions, warning, rows (`cases.FIELDS`).
    """
    log = log or (lambda line: print(line, file=sys.stderr, flush=True))
    if not get_backend("tiled").available():
        raise MnpError("bench: the tiled kernels cannot run here (no AVX2 or AVX-512, or the JIT is off)")
    threads = numba.get_num_threads()
    versions = environment.versions()
    for name in against:
        module = peers.load_peer(name)
        versions[name] = module.__version__
        if name == "torch":
            module.set_num_threads(threads)
    chosen = {n: g for n, g in groups(threads).items() if only in n and not (quick and n in LONG)}
    if not chosen:
        raise MnpError(f"--only {only}: no such group; there are {', '.join(groups(threads))}")
    report = {
        "command": "mnp bench" + (f" --against {','.join(against)}" if against else "") + " --quick" * quick,
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
        report["warning"] = f"the machine was busy (load {report['load']}): quote ratios with care"
        log(report["warning"])
    for name, group in chosen.items():
        log(f"measuring: {name}")
        report["rows"] += group(against, report["fma_peak_gflops"])
        report = with_peak(report, fma_peak(threads, 0.5))
    return report


def with_peak(report, peak):
    """The report with a peak that was measured again, if that is higher: a machine is slow at times, as when
    it was idle before, and a share of too low a peak is too large.

    >>> report = {"fma_peak_gflops": 100.0, "rows": [{"fma_share": 0.8}, {"fma_share": None}]}
    >>> with_peak(report, 160.0)["rows"]
    [{'fma_share': 0.5}, {'fma_share': None}]
    """
    old = report["fma_peak_gflops"]
    if peak > old:
        report["fma_peak_gflops"] = round(peak, 1)
        for row in report["rows"]:
            if row["fma_share"] is not None:
                row["fma_share"] = round(row["fma_share"] * old / peak, 3)
    return report


def to_table(rows):
    """The rows as text, best times in milliseconds, ratios as the peer's time over ours."""
    columns = {
        "case": "case",
        "batch": "batch",
        "kernels": "kernels",
        "mnp_ms": "ours ms",
        "torch_default_ms": "torch",
        "torch_best_ms": "torch best",
        "onnxruntime_ms": "ort",
        "scipy_ms": "scipy",
        "dense_ms": "dense",
        "ratio_default": "x torch",
        "ratio_best": "x best",
        "ratio_onnxruntime": "x ort",
        "fma_share": "of peak",
    }

    def cell(value):
        if value is None:
            return ""
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    table = [list(columns.values()), *([cell(r[name]) for name in columns] for r in rows)]
    wide = [max(len(line[i]) for line in table) for i in range(len(columns))]
    lines = [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, wide, strict=True))
        )
        for line in table
    ]
    notes = [f"{r['case']}: {r['note']}" for r in rows if r["note"]]
    return "\n".join([*lines, *notes])
