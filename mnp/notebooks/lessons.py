"""What a notebook would otherwise define: source without its docstring, tables, a run in passing."""

import ast
import inspect
import io
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import numpy as np

import mnp
from mnp.errors import MnpError
from mnp.experiments.checkpoint import load_checkpoint, network_from, with_prefix
from mnp.experiments.registry import CHECKPOINTS
from mnp.experiments.runner import run
from mnp.nn import loss_and_grads
from mnp.verify.gradcheck import gradient_error


def way(net, x):
    """The shapes of a batch on its way through a network, layer by layer, as a text table.

    >>> from mnp.nn import lenet5
    >>> from mnp.kernels import textbook
    >>> print(way(lenet5(2, 3, 4, 2, backend=textbook), np.zeros((1, 1, 28, 28), np.float32)))
    image            1 x 28 x 28      784 numbers
    conv1            2 x 24 x 24    1,152 numbers      52 parameters
    pool1            2 x 12 x 12      288 numbers
    conv2            3 x 8 x 8        192 numbers     153 parameters
    pool2            3 x 4 x 4         48 numbers
    flatten          48                48 numbers
    fc3              4                  4 numbers     392 parameters  the largest of k = 2 neurons
    fc4              10                10 numbers      50 parameters
    """
    lines = [_line("image", x.shape[1:], 0, "")]
    for name, y in net.layer_outputs(x):
        layer = net[name]
        remark = f"  the largest of k = {layer.k} neurons" if hasattr(layer, "units") else ""
        lines.append(_line(name, y.shape[1:], sum(p.size for p in layer.params.values()), remark))
    return "\n".join(lines)


def _line(name, shape, params, remark):
    size = int(np.prod(shape))
    text = f"{name:<16} {' x '.join(map(str, shape)):<12} {size:>7,} numbers"
    return text + (f"  {params:>6,} parameters{remark}" if params else "")


def body(function):
    """The source of a function without its docstring: the textbook line.

    >>> from mnp.kernels import textbook
    >>> print(body(textbook.relu_forward))
    def relu_forward(x):
        shapes.check_floats("relu_forward", x=x)
        return np.maximum(x, x.dtype.type(0))
    """
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(getattr(function, "py_func", function))))
    lines = source.splitlines()
    node = ast.parse(source).body[0]
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


def seconds(function, *args, least=5, budget=0.3):
    """The shortest time of a call in seconds: one call to warm up, then at least `least` calls."""
    function(*args)
    times, began = [], time.perf_counter()
    while len(times) < least or (time.perf_counter() - began < budget and len(times) < 200):
        start = time.perf_counter()
        function(*args)
        times.append(time.perf_counter() - start)
    return float(np.min(times))  # other programs only ever make it longer


def gradient_table(net, x, labels, *, each=6, rng=None, h=1e-6):
    """Check a float64 network's gradients: a few elements of each parameter against difference quotients.

    Returns
    -------
    rows : list of (name, elements checked, error as a share of the largest of them)
    """
    rng = np.random.default_rng(0) if rng is None else rng
    loss_and_grads(net, x, labels, training=False)
    grads, rows = {name: g.copy() for name, g in net.grads().items()}, []
    for name, array in net.params().items():
        kept = net.masks().get(name, np.ones(array.shape, bool))
        places = np.flatnonzero((grads[name] != 0) & kept)
        places = places if len(places) else np.arange(array.size)
        places = rng.permutation(places)[:each]
        flat, numerical = array.reshape(-1), np.empty(len(places))
        for i, place in enumerate(places):
            before = flat[place]
            losses = []
            for step in (h, -h):
                flat[place] = before + step
                losses.append(net.backend.softmax_cross_entropy(net.forward(x), labels)[0])
            flat[place] = before
            numerical[i] = (losses[0] - losses[1]) / (2 * h)
        rows.append((name, len(places), float(gradient_error(grads[name].reshape(-1)[places], numerical))))
    return rows


def say_gradients(rows):
    """The rows of `gradient_table` as text, with the verdict that a reader would give."""
    lines = [f"{name:<14} {count:>2} elements  {error:.1e}" for name, count, error in rows]
    worst = max(error for _, _, error in rows)
    return "\n".join([*lines, f"largest error {worst:.1e}: {'agrees' if worst < 1e-5 else 'DOES NOT AGREE'}"])


class Finished(NamedTuple):
    """A run in passing: its rows, the network after each step, and what each ranking saw."""

    rows: list
    nets: list
    found: list  # {"counts": {layer: (units, k)}, "keep": {layer: (units, n_keep)}} a step


def run_here(experiment, backend=None):
    """Carry out a recipe in a folder that is gone afterwards, and without a word."""
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        rows = run(experiment, Path(folder) / "run", backend=backend, log=lambda line: None)
        nets, found = [], []
        for path in sorted((Path(folder) / "run" / CHECKPOINTS).glob("[0-9]*.npz")):
            arrays, meta = load_checkpoint(path)
            nets.append(network_from(arrays, meta, backend))
            found.append({kind: with_prefix(arrays, kind) for kind in ("counts", "keep")})
    return Finished(rows, nets, found)


class Walks(NamedTuple):
    """Straight walks between all pairs of images in the features before a maxout layer; see `walks`."""

    t: np.ndarray
    ends: np.ndarray  # (images, in)
    weight: np.ndarray  # (units, k, in)
    bias: np.ndarray  # (units, k)
    won: np.ndarray  # (images, images, units, k): the share of the walk that each neuron wins

    def z(self, a, b, u):
        """The k neurons of unit u on the walk from image a (t = 0) to image b (t = 1): (len(t), k)."""
        path = self.ends[a] + self.t[:, None] * (self.ends[b] - self.ends[a])
        return path @ self.weight[u].T + self.bias[u]


def walks(net, name, images, t):
    """Walk between the features of images and note who wins where.

    Parameters
    ----------
    net : Network
    name : str
        A maxout layer, or the dense layer that is left of one (then k = 1).
    images : (n, C, H, W)
    t : (N,) float, 0 at the first image of a walk and 1 at the second
    """
    net.forward(images, until=name)
    layer, ends = net[name], net[name].cache.x.astype(np.float64)
    weight = layer.params["weight"].reshape(layer.params["bias"].shape[0], -1, ends.shape[1])
    bias = layer.params["bias"].reshape(len(weight), -1)
    z = np.einsum("ni,uji->nuj", ends, weight) + bias  # linear along a walk, so the ends tell it all
    won = np.empty((len(images), len(images), *bias.shape))
    for a in range(len(images)):
        for b in range(len(images)):
            path = z[a] + t[:, None, None] * (z[b] - z[a])
            won[a, b] = (path.argmax(axis=2)[..., None] == np.arange(bias.shape[1])).mean(axis=0)
    return Walks(t, ends, weight, bias, won)


def step_through(setup, call, commands):
    """A debugger session as it would look, with commands given in advance; the JIT is switched off.

    Parameters
    ----------
    setup, call : str
        Python statements, and the call that is stepped into.
    commands : list of str, as typed at pdb's prompt

    Returns
    -------
    transcript : str
        Paths are cut down to the package's own.
    """
    script = f"import pdb\n{setup}\nd = pdb.Pdb(nosigint=True, readrc=False)\nd.runcall({call})\n"
    environment = {
        **os.environ,
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(mnp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="\n".join([*commands, "q", ""]),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    parts = done.stdout.split("(Pdb) ")
    if len(parts) < len(commands):
        raise MnpError(f"the debugger ended early: {done.stderr.strip().splitlines()[-1:]}")
    shown = [parts[0].rstrip()]
    for command, answer in zip(commands, parts[1:], strict=False):
        shown.append(f"(Pdb) {command}\n{answer.rstrip()}".rstrip())
    return re.sub(r"(?<=> )\S*(?=mnp/)", "", "\n".join(shown).replace("\\", "/"))
