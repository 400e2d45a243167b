"""Source code, checks of answers and gradients, debugger sessions and other helpers of the notebooks."""

import ast
import bdb
import contextlib
import inspect
import io
import pdb
import re
import textwrap

import numpy as np

from mnp.nn import loss_and_grads
from mnp.verify.gradcheck import gradient_error, numerical_gradient


def source_without_docstring(function):
    """The source of a function without its docstring.

    >>> from mnp.kernels import textbook
    >>> print(source_without_docstring(textbook.relu_forward))
    def relu_forward(x):
        shapes.check_floats("relu_forward", x=x)
        return np.maximum(x, x.dtype.type(0))
    """
    source = textwrap.dedent(inspect.getsource(function))
    lines, first = source.splitlines(), ast.parse(source).body[0].body[0]
    if inspect.getdoc(function) is not None:
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


def check_answer(yours, expected, tolerance=1e-6):
    """Print a reader's answer beside the expected one, and whether they agree within `tolerance`.

    An answer of `...` or None is not there yet: nothing is given away.

    >>> check_answer([1, 3], [1, 2])
    yours:    [1 3]
    expected: [1 2]
    not yet
    >>> check_answer(..., 0.5)
    yours:    ...
    not yet: replace the ... and run the cell again
    """
    if yours is None or yours is ...:
        print("yours:    ...\nnot yet: replace the ... and run the cell again")
        return
    for label, value in (("yours:   ", yours), ("expected:", expected)):
        value = np.round(1 * np.asarray(value), 4)  # bool as 0 and 1
        shown = value if value.size <= 16 else f"{value.shape}, beginning with {value.ravel()[:6]}"
        print(label, str(shown).replace("\n", "\n" + " " * 10))
    same = np.shape(yours) == np.shape(expected) and np.allclose(yours, expected, tolerance, tolerance)
    print("right" if same else "not yet")


def gradient_errors(net, x, labels, each=6):
    """Check a float64 network's gradients against difference quotients: {name of a parameter: error}.

    The `gradient_error` is that of up to `each` random elements whose gradient is not zero.
    """
    loss_and_grads(net, x, labels, training=False)
    grads, rng = {name: grad.ravel().copy() for name, grad in net.grads().items()}, np.random.default_rng(0)
    loss = lambda: net.backend.softmax_cross_entropy(net.forward(x), labels)[0]  # noqa: E731
    errors = {}
    for name, array in net.params().items():
        flat = array.reshape(-1)  # a view: numerical_gradient changes one element of it and restores it
        places = rng.permutation(np.flatnonzero(grads[name]))[:each]
        numerical = [numerical_gradient(loss, flat[place : place + 1])[0] for place in places]
        errors[name] = float(gradient_error(grads[name][places], np.array(numerical)))
    return errors


def format_gradient_errors(errors):
    """The errors as text, with a verdict."""
    lines = [f"{name:<14} {error:.1e}" for name, error in errors.items()]
    largest = max(errors.values())
    verdict = "the gradients agree" if largest < 1e-5 else "THE GRADIENTS DIFFER"
    return "\n".join([*lines, f"largest error {largest:.1e}: {verdict}"])


def choose_lines(z, removed, counts, t):
    """Two lines between images along which to look at a unit and the neuron that it loses.

        z(t) = z[a, u] + t * (z[b, u] - z[a, u])

    z (images, units, k): the neurons' values for a few images. removed (units,): the neuron that each unit
    loses. counts (units, k): win counts over the training set.

    Returns (a, b, u) twice: of the lines with three long pieces the one on which the removed neuron wins
    about as often as over the training set, and the one on which it wins most.
    """
    images, units, k = z.shape
    shares = np.zeros((images, images, units, k))
    for a, b in np.ndindex(images, images):
        path = z[a] + t[:, None, None] * (z[b] - z[a])  # (T, units, k)
        shares[a, b] = (path.argmax(axis=2)[:, :, None] == np.arange(k)).mean(axis=0)
    of_removed = np.take_along_axis(shares, removed[None, None, :, None], axis=3)[..., 0]
    in_training = np.take_along_axis(counts, removed[:, None], axis=1)[:, 0] / counts.sum(axis=1)
    several = np.sort(shares, axis=3)[..., -3] > 0.1
    unlike = np.where(several & (of_removed > 0), np.abs(of_removed - in_training), 1)
    return [np.unravel_index(np.argmax(score), score.shape) for score in (-unlike, of_removed * several)]


def debug_session(commands, function, *args):
    """Transcript of a pdb session: step into function(*args) and enter the commands one after another."""
    output, entered = io.StringIO(), io.StringIO("\n".join([*commands, "q", ""]))
    # A Jupyter kernel replaces pdb.Pdb by a subclass that prints colours and a context of several lines.
    standard = next(cls for cls in pdb.Pdb.__mro__ if cls.__module__ == "pdb")
    debugger = standard(stdin=entered, stdout=output, nosigint=True, readrc=False)
    with contextlib.suppress(bdb.BdbQuit):
        debugger.runcall(function, *args)
    start, *answers = output.getvalue().split(debugger.prompt)
    steps = [start] + [f"(Pdb) {line}\n{said}" for line, said in zip(commands, answers, strict=False)]
    text = "\n".join(step.rstrip() for step in steps)
    return re.sub(r"(?<=> )\S*(?=mnp/)", "", text.replace("\\", "/"))
