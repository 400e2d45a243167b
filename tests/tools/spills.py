"""Count the vectors that the loops of the tiled kernels keep on the stack, on CPUs that need not be here.

    python tests/tools/spills.py --json notebooks/results/spills.json          # Apple M1 and Neoverse N1

A tile that does not fit a CPU's registers is stored and loaded again in the innermost loop. Here Numba
compiles the kernels with the small tiles, for shapes of LeNet-5 and VGG16; each of its modules is compiled
once more by LLVM for the other CPU, and the code of its loops is read. Prints for each CPU how many innermost
loops multiply and add vectors, and in how many of them a vector is stored on the stack.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np

CPUS = ("apple-m1", "neoverse-n1")
MULTIPLY_ADD = re.compile(r"^\s+fmla\b.*\.4s", re.MULTILINE)
STORE = re.compile(r"^\s+st[rp]\s+q.*\[sp", re.MULTILINE)
BRANCH = re.compile(r"^\s+(?:b|b\.\w+|cbn?z|tbn?z)\s.*?(\.?LBB\w+)")


def compile_for(cpu, code):
    """The assembly of a module's LLVM code for another CPU, by the passes that Numba runs."""
    from numba.core import config
    from numba.core.codegen import _parse_refprune_flags
    from numba.core.llvm_bindings import create_pass_builder

    triple = "arm64-apple-darwin23" if cpu.startswith("apple") else "aarch64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, opt=3, reloc="pic", codemodel="small"
    )
    code = re.sub(r'target triple = ".*"', f'target triple = "{triple}"', code)
    code = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', code)
    code = re.sub(r'"target-(cpu|features)"="[^"]*"', "", code)
    # Reference counts were lowered for this CPU already; they are not in the loops that are counted.
    code = re.sub(r"(%\S+ = )[a-z ]*call i8 @llvm\.x86\.atomic.*", r"\1add i8 0, 0", code)
    module = llvm.parse_assembly(code)
    first = create_pass_builder(machine, opt=3, loop_vectorize=True, slp_vectorize=False)
    passes = first.getModulePassManager()
    passes.add_loop_rotate_pass()
    passes.add_instruction_combine_pass()
    passes.add_jump_threading_pass()
    passes.add_refprune_pass(_parse_refprune_flags())
    passes.run(module, first)
    second = create_pass_builder(
        machine, opt=config.OPT, loop_vectorize=config.LOOP_VECTORIZE, slp_vectorize=config.SLP_VECTORIZE
    )
    passes = second.getModulePassManager()
    passes.add_refprune_pass(_parse_refprune_flags())
    passes.run(module, second)
    return machine.emit_assembly(module)


def innermost_loops(assembly):
    """The text of every loop, from its first label to the branch back, that has no other inside."""
    lines = assembly.splitlines()
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.?LBB\w+:", line)}
    loops = {}
    for i, line in enumerate(lines):
        target = BRANCH.match(line)
        if target and labels.get(target[1], i + 1) <= i:
            loops[labels[target[1]]] = i
    for a, b in loops.items():
        if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops.items()):
            yield "\n".join(lines[a : b + 1])


def call_kernels():
    """Every tiled kernel, on shapes of LeNet-5 and VGG16."""
    from mnp.kernels import tiled

    assert tiled.available(), "the tiled backend cannot run here"
    draw = np.random.default_rng(0).standard_normal

    def floats(*shape):
        return draw(shape, np.float32)

    for n, c, f, k, size, padding in (
        (8, 1, 20, 5, 28, 0),
        (8, 20, 50, 5, 12, 0),
        (4, 3, 16, 3, 32, 1),
        (4, 32, 64, 3, 16, 1),
    ):
        x, weight, bias = floats(n, c, size, size), floats(f, c, k, k), floats(f)
        y = tiled.conv2d_forward(x, weight, bias, 1, padding)
        tiled.conv2d_backward(floats(*y.shape), x, weight, 1, padding)
        y, winner = tiled.conv2d_maxpool2d_forward(x, weight, bias, 1, padding, 2, 2)
        tiled.conv2d_maxpool2d_backward(floats(*y.shape), winner, x, weight, 1, padding, 2, 2)
    x, weight, bias = floats(64, 800), floats(128, 4, 800), floats(128, 4)
    y, winner = tiled.dense_maxout_forward(x, weight, bias, relu=True)
    tiled.dense_maxout_backward(floats(*y.shape), y, winner, x, weight, relu=True)
    x, weight = floats(64, 128), floats(10, 128)
    tiled.dense_forward(x, weight, floats(10))
    tiled.dense_backward(floats(64, 10), x, weight)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="append", help=f"LLVM's name; may be repeated (default: {CPUS})")
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # nothing compiled before would pass by here again
        os.environ |= {"MNP_FORCE_AVX2": "1", "NUMBA_CACHE_DIR": folder}
        from numba.core import codegen

        codes, optimize = [], codegen.CPUCodeLibrary._optimize_final_module

        def keep(library):
            code = str(library._final_module)
            if "llvm.fma" in code:
                codes.append(code)
            optimize(library)

        codegen.CPUCodeLibrary._optimize_final_module = keep
        call_kernels()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    rows = []
    for cpu in options.cpu or CPUS:
        loops = {loop for code in codes for loop in innermost_loops(compile_for(cpu, code))}
        counts = [(len(MULTIPLY_ADD.findall(loop)), len(STORE.findall(loop))) for loop in loops]
        counts = [(adds, stores) for adds, stores in counts if adds >= 4]
        row = {"cpu": cpu, "loops": len(counts), "loops_with_stores": sum(s > 0 for _, s in counts)}
        row |= {"multiply_adds": sum(a for a, _ in counts), "stores": sum(s for _, s in counts)}
        rows.append(row)
        print(row, flush=True)
    if options.json:
        command = "python tests/tools/spills.py --json notebooks/results/spills.json"
        Path(options.json).write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
