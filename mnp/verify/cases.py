"""Generate the cases: small inputs on which every implementation is judged.

A case is a kernel's name, its arguments by name, and a note on what is special about it. Cases are drawn
from a seed, so two processes that know the seed have the same arrays. The right answer is not stored: the
textbook computes it, in float64 (`Case.expected`).
"""

import inspect
from dataclasses import dataclass, field

import numpy as np

from mnp.kernels import textbook
from mnp.verify import cases_images, cases_vectors, reference
from mnp.verify.gradcheck import distinct_values, numerical_gradient
from mnp.verify.inputs import Draw, backward_cases

DTYPES = (np.float64, np.float32)
# Largest error that passes, relative to the largest magnitude in the output.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
LOOSER = {"batchnorm2d": 10.0}  # a variance loses digits when the mean is large


@dataclass(frozen=True)
class Case:
    """One call of one kernel.

    `note` says what is special about the inputs; `dtype` is their floating type, by name.
    `difference_of`, if not None, is (scalar function, points): the expected gradients are then the
    difference quotients of that function at the points, and not the textbook's backward pass.
    """

    kernel: str
    note: str
    dtype: str
    args: dict = field(repr=False)
    difference_of: tuple | None = field(default=None, repr=False)

    def __str__(self):
        return f"{self.note}, {self.dtype}"

    @property
    def tolerance(self):
        """Relative error that passes."""
        if self.difference_of is not None:
            return 1e-7  # a central difference is no better
        return TOLERANCE[self.dtype] * LOOSER.get(self.kernel.split("_")[0], 1.0)

    def expected(self):
        """Ask the textbook in float64; see `reference.call` for the form."""
        if self.difference_of is None:
            return reference.call(self.kernel, self.args)
        scalar, points = self.difference_of
        points = [np.array(point, np.float64) for point in points]
        values = [numerical_gradient(lambda: scalar(*points), point, h=1e-5) for point in points]
        names = reference.OUTPUTS[self.kernel]
        if names[0] == "loss":
            values = [np.float64(scalar(*points)), *values]
        return dict(zip(names, values, strict=True))


def _differences(draw):
    """One case of each gradient, away from kinks and ties: what `difference_of` needs.

    Yields (backward kernel, forward kernel, dy, arrays to differentiate by, other arguments of forward,
    other arguments of backward).
    """
    dy, x, weight, bias = draw.grid(2, 2, 3, 2), draw.grid(2, 1, 5, 4), draw.grid(2, 1, 2, 3), draw.grid(2)
    sides = {"stride": 2, "padding": 1}
    yield "conv2d_backward", "conv2d_forward", dy, {"x": x, "weight": weight, "bias": bias}, sides, sides
    x, dy = distinct_values((1, 2, 5, 5), draw.rng), draw.grid(1, 2, 2, 2)
    sides = {"size": 3, "stride": 2}
    winner, shape = textbook.maxpool2d_forward(x, 3, 2)[1], {"x_shape": x.shape}
    yield "maxpool2d_backward", "maxpool2d_forward", dy, {"x": x}, sides, {"winner": winner, **shape, **sides}
    yield "avgpool2d_backward", "avgpool2d_forward", dy, {"x": x}, sides, {**shape, **sides}
    dy, x, weight, bias = draw.grid(3, 2), draw.grid(3, 4), draw.grid(2, 4), draw.grid(2)
    yield "dense_backward", "dense_forward", dy, {"x": x, "weight": weight, "bias": bias}, {}, {}
    z = distinct_values((3, 2, 4), draw.rng)
    winner = textbook.maxout_forward(z)[1]
    yield "maxout_backward", "maxout_forward", dy, {"z": z}, {}, {"winner": winner, "k": 4}
    x, dy = distinct_values((3, 4), draw.rng), draw.grid(3, 4)
    yield "relu_backward", "relu_forward", dy, {"x": x}, {}, {"y": np.maximum(x, 0)}
    logits, labels = draw.normal(3, 4), {"labels": draw.winner(4, 3)}
    yield "softmax_cross_entropy", "softmax_cross_entropy", 1.0, {"logits": logits}, labels, labels
    x, dy, weight, bias = draw.grid(3, 2, 2, 2), draw.grid(3, 2, 2, 2), draw.grid(2), draw.grid(2)
    _, mean, var = textbook.batchnorm2d_forward(x, weight, bias, 1e-2)
    eps, points = {"eps": 1e-2}, {"x": x, "weight": weight, "bias": bias}
    statistics = {"mean": mean, "var": var, **eps}
    yield "batchnorm2d_backward", "batchnorm2d_forward", dy, points, eps, statistics


def _difference_case(kernel, forward, dy, points, settings, more):
    """Make a case whose expected gradients are difference quotients of sum(dy * forward(...))."""

    def scalar(*values):
        outputs = getattr(textbook, forward)(**dict(zip(points, values, strict=True)), **settings)
        return (dy * (outputs[0] if isinstance(outputs, tuple) else outputs)).sum()

    given = {"dy": dy, **points, **more}
    names = inspect.signature(reference.function(kernel)).parameters
    args = {name: given[name] for name in names if name in given}
    return Case(kernel, "numerical gradient", "float64", args, (scalar, tuple(points.values())))


def generate(kernel, seed=0):
    """Draw all cases of one kernel, in float64 and then in float32.

    The same seed gives the same cases in any process; another seed gives other numbers in the same
    shapes. Raises MnpError for a name that is not a kernel of the interface.

    >>> [str(case) for case in generate("maxout_forward")][:2]
    ['random numbers, float64', 'batch of one, float64']
    """
    reference.function(kernel)

    def draws(draw, name=kernel):
        own = getattr(cases_images, name, None) or getattr(cases_vectors, name, None)
        return (
            own(draw) if own else backward_cases(name, draws(draw, name.replace("backward", "forward")), draw)
        )

    cases = []
    for dtype in DTYPES:
        # One stream for each name, so that a new kernel leaves the cases of the others alone.
        rng = np.random.default_rng([seed, *kernel.encode()])
        draw = Draw(rng, dtype)
        cases += [Case(kernel, note, np.dtype(dtype).name, args) for note, args in draws(draw)]
        if dtype is np.float64:
            cases += [_difference_case(*how) for how in _differences(draw) if how[0] == kernel]
    return cases
