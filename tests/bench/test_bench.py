"""The benchmark's own arithmetic; speed itself is never asserted."""

import json
import sys
from pathlib import Path

import pytest

from mnp.bench import baselines, cases, report, roofline
from mnp.bench.report import bench, format_rows
from mnp.bench.timing import interleaved
from mnp.cli import main
from mnp.errors import MnpError
from mnp.kernels import get_backend


def test_interleaved_calls_everyone_and_reports_best_below_median():
    calls = {"a": 0, "b": 0}

    def count(name):
        calls[name] += 1

    times = interleaved({"a": lambda: count("a"), "b": lambda: count("b")}, rounds=4, budget=0.0)
    assert all(0 < best <= median for best, median in times.values())
    assert all(n >= 2 + 3 * 2 for n in calls.values())  # warmed up, then three rounds in spite of no budget


def test_ratios_are_the_baselines_time_over_ours():
    times = {"tiled": (2.0, 3.0), "torch": (8.0, 9.0), "torch_best": (5.0, 6.0), "onnxruntime": (3.0, 4.0)}
    row = cases.make_row("a case", 64, "tiled", times, "tiled", flops=1e9, peak=1000.0)
    assert (row["ratio_default"], row["ratio_best"], row["ratio_onnxruntime"]) == (4.0, 2.5, 1.5)
    assert row["mnp_ms"] == 2.0 and row["mnp_median_ms"] == 3.0
    assert row["fma_share"] == 0.5  # 1e9 operations in 2 ms are 500 of 1000 GFLOP/s
    alone = cases.make_row("a case", 1, "tiled", {"tiled": (1.0, 1.0)}, "tiled")
    assert alone["ratio_default"] is None and alone["fma_share"] is None


def test_arithmetic_of_a_step_by_hand():
    # One image, one unit of one neuron. conv1: 576 pixels x 20 filters x 25; conv2: 64 x 52 x 500,
    # of which 49 in 100 are multiplied; fc3: 832.
    forward = 576 * 500 + 64 * 26_000 * 49 // 100 + 832 + 10
    backward = 144 * 500 + 2 * 16 * 26_000 + 2 * 832 + 20
    assert cases.lenet_step_flops(1, units=1, k=1) == 2 * (forward + backward)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_baselines_are_the_same_network_and_the_same_step(name):
    try:
        baselines.load_baseline(name)
    except baselines.AbsentError as error:
        pytest.skip(str(error))
    x, y = cases.examples(4)
    net = cases.authors_net("jitted")
    cases.step_calls([name], net, x, y)
    net = cases.prune_to_one(net, x)
    for other, infer in baselines.make_calls(baselines.INFERENCE, [name], net, x).items():
        baselines.check_output(other, infer(), net.forward(x))
        with pytest.raises(MnpError, match=f"the output of {other} differs from ours by"):
            baselines.check_output(other, 1.01 * infer(), net.forward(x))


def test_a_framework_that_is_absent_is_left_out(monkeypatch):
    monkeypatch.setattr(get_backend("tiled"), "available", lambda: True)
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr(report, "fma_peak", lambda *_: 1.0)
    monkeypatch.setattr(report, "GROUPS", {"steps": lambda compare, peak: [{"compare": compare}]})
    lines = []
    result = report.bench(("jax",), log=lines.append)
    assert "left out: jax is not installed: pip install 'mnp[bench]'" in lines
    assert result["rows"] == [{"compare": ()}] and "jax" not in result["versions"]


def test_unknown_groups_and_baselines_are_rejected(monkeypatch):
    monkeypatch.setattr(get_backend("tiled"), "available", lambda: True)
    with pytest.raises(MnpError, match="unknown framework"):
        bench(["tensorflow"])
    with pytest.raises(MnpError, match="no such group"):
        bench(only="nothing")
    monkeypatch.setattr(get_backend("tiled"), "available", lambda: False)
    with pytest.raises(MnpError, match="cannot run here"):
        bench()


def test_a_report_is_drawn():
    from mnp.plotting.bench import draw_ratios, draw_scaling, plot_benchmark
    from mnp.plotting.style import new_figure

    times = {"tiled": (2.0, 3.0), "torch": (8.0, 9.0), "torch_best": (5.0, 6.0)}
    rows = [cases.make_row("a case", 64, "tiled", times, "tiled")]
    growth = [("growth with the batch", n, n) for n in (16, 32)]
    growth += [(f"growth with the width, {n} neurons", 64, n) for n in (256, 512)]
    rows += [cases.make_row(case, n, "tiled", {"tiled": (ms, ms)}, "tiled") for case, n, ms in growth]
    _, ax = new_figure()
    draw_ratios(rows, ax)
    assert [bar.get_width() for bar in ax.patches] == [4.0, 2.5]
    _, ax = new_figure()
    draw_scaling(rows, ax)
    assert [list(line.get_ydata()) for line in ax.lines[::2]] == [[16, 32], [256, 512]]
    report = {"machine": {"model": "a CPU"}, "threads": 2, "load": 0.1, "rows": rows}
    assert plot_benchmark(report)._repr_png_().startswith(b"\x89PNG")
    assert plot_benchmark(report | {"rows": rows[1:]}).axes[0].patches[:] == []  # nothing to compare with


def test_sizes_have_a_figure_of_their_own():
    from mnp.plotting.bench import plot_benchmark

    rows = [
        cases.make_row(f"inference by size, {name}", n, "tiled", {"tiled": (n * ms, n * ms)}, "tiled")
        | {"params": 10 * ms, "macs": 100 * ms}
        for n in (1, 64)
        for name, ms in (("k = 2", 2.0), ("k = 1", 1.0))
    ]
    params, macs, ms = plot_benchmark({"rows": rows}).axes
    drawn = [[list(line.get_ydata()) for line in ax.lines] for ax in (params, macs, ms)]
    assert drawn == [[[20, 10]], [[200, 100]], [[2, 1], [128, 64]]]


def test_committed_reports_are_drawn():
    from mnp.plotting.bench import plot_benchmark

    folder = Path(__file__).parents[2] / "notebooks" / "results"
    for path in sorted(folder.glob("bench*.json")):
        report = json.loads(path.read_text())
        left, right = plot_benchmark(report).axes
        assert left.patches and len(right.lines) == 4
        text = format_rows(report["rows"])
        assert text.count("\n") >= len(report["rows"])
        assert all(f"{row['case']}: {row['note']}" in text for row in report["rows"] if row["note"])


def test_a_roofline_counts_the_definition_and_is_drawn(monkeypatch):
    from mnp.plotting.bench import plot_roofline

    images, _ = cases.examples(2, 6, 2)
    (_, forward, moved, call), (_, backward, both, _) = roofline.convolution("c", images, 3, 3, 1, True)
    pixels, weights = 2 * 6 * 6, 3 * 2 * 9
    assert (forward, backward) == (pixels * weights, 2 * pixels // 4 * weights)
    outputs = 3 * pixels // 4  # in float32, and one byte of the winner each
    assert moved == images.nbytes + 4 * weights + outputs * (4 + call(get_backend("tiled"))[1].itemsize)
    assert both == moved + images.nbytes + 4 * weights
    for limit in ("fma_peak", "bandwidth"):
        monkeypatch.setattr(roofline, limit, lambda *_: 100e9)
    monkeypatch.setattr(roofline, "kernels", lambda: roofline.dense("fc", 2, 16, 4, 2))
    monkeypatch.setattr(roofline, "interleaved", lambda calls, budget: dict.fromkeys(calls, (2.0, 3.0)))
    result = roofline.measure(lambda line: None)
    assert [row["operations"] for row in result["rows"]] == [2 * 2 * 8 * 16, 2 * 2 * 2 * 4 * 16]
    assert result["rows"][0]["tiled_gflops"] == round(512 / 2e6, 2)
    assert "fc, backward" in report.format_roofline(result)
    assert plot_roofline(result)._repr_png_().startswith(b"\x89PNG")


def test_against_is_an_older_name_of_compare(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(report, "bench", lambda compare, only, quick: asked.append(compare) or {"rows": []})
    for option in ("--compare", "--against"):
        assert main(["bench", option, "torch,onnxruntime"]) == 0
    assert asked == [("torch", "onnxruntime")] * 2
