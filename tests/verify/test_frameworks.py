"""The adapters for PyTorch, JAX and tinygrad pass `mnp check`, and the default kernels agree with PyTorch."""

import importlib.util
from pathlib import Path

import pytest

from mnp.kernels import default_backend, textbook
from mnp.verify import candidate, cases, conformance, reference
from mnp.verify.judge import close, flat, least_scale

# Cases where PyTorch's own float32 result is off by more than 1e-6 from its float64 one.
ILL_CONDITIONED = ("far from zero", "a constant channel")
ADAPTERS = Path(__file__).parents[1] / "frameworks"
PARITY = {"float32": 1e-6, "float64": 1e-12}  # relative to the largest magnitude of an output


def check_whole(adapter):
    found = list(conformance.check(str(ADAPTERS / adapter), seconds=240))
    assert [str(v) for v in found if v.status != "passed"] == []
    assert conformance.summary(found).startswith("24 passed, 0 failed, 0 not implemented")


def test_torch_adapter_passes_whole():
    pytest.importorskip("torch")
    check_whole("torch_kernels.py")


@pytest.mark.timeout(900)
def test_jax_adapter_passes_whole(monkeypatch):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    # Every case compiles anew, and is run once: optimising that code would take most of the time.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    check_whole("jax_kernels.py")


@pytest.fixture(scope="module")
def by_torch():
    pytest.importorskip("torch")
    theirs = candidate.load_module(str(ADAPTERS / "torch_kernels.py"))
    return lambda case: candidate.call_case(getattr(theirs, case.kernel), case).outputs


def test_tinygrad_adapter_passes_in_part():
    if importlib.util.find_spec("tinygrad") is None:
        pytest.skip("tinygrad is not installed")
    only = ["conv2d_backward", "maxout_forward", "maxout_backward", "softmax_cross_entropy", "win_counts"]
    found = list(conformance.check(str(ADAPTERS / "tinygrad_kernels.py"), only, seconds=480))
    assert [str(v) for v in found if v.status != "passed"] == []


@pytest.mark.parametrize("tier", ["textbook", "default"])
@pytest.mark.parametrize("kernel", list(reference.OUTPUTS))
def test_parity_with_torch(by_torch, tier, kernel):
    """Relative error at most 1e-6 in float32 and 1e-12 in float64, on random numbers and on the grid."""
    function = getattr(textbook if tier == "textbook" else default_backend(), kernel, None)
    if function is None:
        pytest.skip(f"{tier} does not offer this fused kernel")
    for case in cases.generate(kernel, seed=2):
        if case.note in ILL_CONDITIONED and case.dtype == "float32":
            continue
        ours, torch_says = candidate.call_case(function, case), by_torch(case)
        assert not ours.problem, f"{case}: {ours.problem}"
        outputs = flat(ours.outputs)
        for name, theirs in flat(torch_says).items():
            if theirs is None:
                assert outputs[name] is None
                continue
            tolerance = 0.0 if theirs.dtype.kind in "iu" else PARITY[case.dtype]
            assert close(theirs, outputs[name], tolerance, least_scale(case, name)).all(), f"{case}: {name}"
