"""Versions of other frameworks: whether the adapters and the exports agree, and who wins a tie.

    python tests/tools/framework_versions.py --json notebooks/results/framework-versions.json

Each line of VERSIONS gets a separate environment, where other packages are those of this Python. A new
version is a new line. Prints a row for each and writes them to a file if asked to; a version that cannot be
had, or fails, is a row that says so. Kernels are judged by the cases of `mnp check`; the worst relative
difference is that of float64. Ties are made by running each operator on [1, 3, 3, 2].
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
# What is measured, and what `pip install --no-deps` is given; without any words, what is installed here.
VERSIONS = (
    ("torch", ""),
    ("jax", "jax==0.4.38 jaxlib==0.4.38 ml_dtypes opt_einsum"),
    ("jax", "jax==0.6.2 jaxlib==0.6.2 ml_dtypes opt_einsum"),
    ("jax", "jax==0.10.2 jaxlib==0.10.2 ml_dtypes opt_einsum"),
    ("onnxruntime", "onnxruntime==1.19.2 coloredlogs humanfriendly"),
    ("onnxruntime", "onnxruntime==1.23.2 coloredlogs humanfriendly"),
    ("onnxruntime", ""),
    ("tinygrad", "tinygrad==0.10.3"),
    ("tinygrad", "tinygrad==0.14.0"),
)
TIED = [1.0, 3.0, 3.0, 2.0]
RULES = {(0, 1, 0, 0): "first", (0, 0, 1, 0): "last", (0, 0.5, 0.5, 0): "shared", (0, 1, 1, 0): "all"}


# --- one framework, in its environment ------------------------------------------------------------------


def judged(adapter):
    """Judge an adapter: kernels agreed and offered, the worst relative difference in float64."""
    from mnp.verify import candidate, cases, judge

    module = candidate.load_module(str(ROOT / "tests" / "frameworks" / adapter))
    offered, wrong, worst = candidate.implemented(module), [], 0.0
    for kernel in offered:
        for case in cases.generate(kernel):
            answer, expected = candidate.call_case(getattr(module, kernel), case), case.expected()
            if answer.problem or judge.compare(case, expected, answer.outputs):
                wrong += [kernel] if kernel not in wrong else []
            elif case.dtype == "float64" and not case.difference_of:
                worst = max([worst, *(difference(v, answer.outputs[name]) for name, v in expected.items())])
    return {"kernels": len(offered), "agreed": len(offered) - len(wrong), "wrong": wrong, "worst": worst}


def stages(program):
    """Judge a whole program as `mnp check --model` does."""
    from mnp.verify import models, user_models
    from mnp.verify.mistakes.pipeline import Guesses

    golden = models.Golden()
    measured = user_models.measure(f"model: {ROOT / 'tests' / 'frameworks' / program}:model")
    verdicts = list(models.judge_model(measured, golden, Guesses(golden)))
    passed = sum(verdict.status == "passed" for verdict in verdicts)
    return f"{passed} of {len(verdicts)} stages of the golden pipeline passed"


def difference(expected, got):
    """max |got - expected| / max |expected|, over what is finite."""
    if isinstance(expected, tuple):
        return max((difference(*pair) for pair in zip(expected, got, strict=True)), default=0.0)
    expected, got = (np.asarray(0.0 if got is None else value) for value in (expected, got))
    finite = np.isfinite(expected) if expected.dtype.kind == "f" else np.zeros(expected.shape, bool)
    scale = np.abs(expected[finite]).max(initial=0.0)
    return float(np.abs(got[finite] - expected[finite]).max() / scale) if scale else 0.0


def rule(gradient):
    """Name what a gradient of the maximum of TIED does with the tie."""
    values = tuple(np.asarray(gradient, float).ravel().tolist())
    return RULES.get(values, str(values))


def index(winner):
    return {1: "first", 2: "last"}.get(int(np.asarray(winner).ravel()[0]), str(winner))


def of_torch():
    import torch
    from torch.nn import functional

    def gradient(function):
        z = torch.tensor([TIED], requires_grad=True)
        function(z).sum().backward()
        return rule(z.grad)

    z = torch.tensor([TIED])
    ties = {
        "argmax": index(z.argmax(1)),
        "max(dim), index": index(z.max(1).indices),
        "max(dim), gradient": gradient(lambda z: z.max(1).values),
        "amax, gradient": gradient(lambda z: z.amax(1)),
        "max_pool1d, gradient": gradient(lambda z: functional.max_pool1d(z[None], 4)),
        "max_pool1d, index": index(functional.max_pool1d(z[None], 4, return_indices=True)[1]),
        "topk, index": index(z.topk(1).indices),
    }
    remarks = stages("torch_program.py")
    return {"version": torch.__version__, **judged("torch_kernels.py"), "ties": ties, "remarks": remarks}


def of_jax():
    # Each case compiles anew, and runs once.
    os.environ.update(JAX_DISABLE_MOST_OPTIMIZATIONS="1", JAX_ENABLE_X64="1")
    import jax
    import jax.numpy as jnp
    from jax import lax

    z, segments = jnp.array(TIED), jnp.zeros(4, int)

    def window(z):
        return lax.reduce_window(z, -jnp.inf, lax.max, (4,), (4,), "VALID").sum()

    ties = {
        "argmax": index(jnp.argmax(z)),
        "max, gradient": rule(jax.grad(jnp.max)(z)),
        "reduce_window, gradient": rule(jax.grad(window)(z)),
        "segment_max, gradient": rule(jax.grad(lambda z: jax.ops.segment_max(z, segments, 1).sum())(z)),
        "top_k, index": index(lax.top_k(z, 1)[1]),
    }
    remarks = stages("jax_program.py")
    return {"version": jax.__version__, **judged("jax_kernels.py"), "ties": ties, "remarks": remarks}


def of_onnxruntime():
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    import mnp.data
    from mnp.nn import lenet5
    from mnp.verify.onnx_export import to_onnx

    def run(model, inputs):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, inputs)

    def operator(name, outputs, shape, **attributes):
        """What one operator gives of TIED: its last output."""
        node = helper.make_node(name, ["z"], [f"y{i}" for i in range(outputs)], **attributes)
        given = [helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)]
        last = [helper.make_tensor_value_info(f"y{outputs - 1}", TensorProto.INT64, None)]
        graph = helper.make_graph([node], "ties", given, last)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return run(model, {"z": np.float32(TIED).reshape(shape)})[-1]

    net, images = lenet5(6, 16, 32, 4, rng=0), mnp.data.load("digits").test_images[:100]
    logits = run(to_onnx(net), {"images": images})[0]
    ties = {
        "ArgMax": index(operator("ArgMax", 1, [1, 4], axis=1)),
        "MaxPool, index": index(operator("MaxPool", 2, [1, 1, 4], kernel_shape=[4])),
    }
    remarks = f"export, opset 13: logits differ by {difference(net.forward(images), logits):.1e} in float32"
    remarks = f"{remarks}; onnx {onnx.__version__}"
    return {"version": onnxruntime.__version__, "ties": ties, "remarks": remarks}


def of_tinygrad():
    from importlib.metadata import version

    row = {"version": version("tinygrad"), **judged("tinygrad_kernels.py")}  # it chooses the device
    from tinygrad import Tensor

    def gradient(function):
        z = Tensor([TIED])
        return rule(function(z).sum().gradient(z)[0].numpy())

    ties = {
        "argmax": index(Tensor(TIED).argmax().numpy()),
        "max, gradient": gradient(lambda z: z.max(1)),
        "max_pool2d, gradient": gradient(lambda z: z.reshape(1, 1, 1, 4).max_pool2d((1, 4))),
    }
    wrong = f"; another result in {', '.join(row['wrong'])}" if row["wrong"] else ""
    return {**row, "ties": ties, "remarks": f"its interpreter in Python{wrong}"}


# --- the environments ------------------------------------------------------------------------------------


def measured(framework, words, folder):
    """One row: measured in an environment with these packages before all others."""
    python = sys.executable
    if words:
        home = folder / words.split()[0]
        if not home.exists():
            subprocess.run([python, "-m", "venv", home], check=True)
        python = home / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", *words.split()]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"version": words.split()[0].partition("==")[2], "remarks": last_line(done.stderr)}
        ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site = subprocess.run(ask, capture_output=True, text=True, check=True)
        Path(site.stdout.strip(), "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [python, __file__, "--measure", framework]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"version": words.split()[0].partition("==")[2], "remarks": last_line(done.stderr)}
    return json.loads(done.stdout.splitlines()[-1])


def last_line(text):
    return (text.strip().splitlines() or ["no output"])[-1][:200]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--only", metavar="WORD", default="", help="only frameworks whose name contains WORD")
    parser.add_argument("--venvs", metavar="DIR", help="keep the environments here (default: nowhere)")
    frameworks = {framework for framework, _ in VERSIONS}
    parser.add_argument("--measure", choices=frameworks, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(globals()[f"of_{args.measure}"]()))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for framework, words in VERSIONS:
            if args.only not in framework:
                continue
            row = {"framework": framework, **measured(framework, words, Path(args.venvs or temporary))}
            rows.append(row)
            print(json.dumps(row), flush=True)
    if args.json:
        command = "python tests/tools/framework_versions.py --json notebooks/results/framework-versions.json"
        Path(args.json).write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
