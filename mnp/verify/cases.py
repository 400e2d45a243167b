"""Generate the cases: small inputs on which every implementation is judged.

A case is a kernel's name, its arguments by name, and a note on what is special about it. Cases are drawn
from a seed, so two processes that know the seed have the same arrays. The right answer is not stored: the
textbook computes it, in float64 (`Case.expected`).
"""

from dataclasses import dataclass, field

import numpy as np

from mnp.kernels import textbook
from mnp.verify import cases_images, cases_vectors, reference
from mnp.verify.gradcheck import distinct_values, numerical_gradient
from mnp.verify.inputs import Draw, backward_cases, with_layout

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


DIFFERENCES = {  # kernel -> the forward case at whose inputs its gradients are difference quotients
    "conv2d_backward": "padding 1",
    "maxpool2d_backward": "overlapping windows",
    "avgpool2d_backward": "overlapping windows",
    "dense_backward": "more out than in",
    "maxout_backward": "batch of one",
    "relu_backward": "features",
    "softmax_cross_entropy": "square",
    "batchnorm2d_backward": "a large eps",
}


def _difference_case(kernel, inputs, draw):
    """Make a case whose expected gradients are difference quotients of sum(dy * forward(...))."""
    first, x = next(iter(inputs.items()))  # x, z or logits: away from kinks and ties
    inputs = {**inputs, first: distinct_values(x.shape, draw.rng)}
    forward, args, dy = kernel.replace("backward", "forward"), inputs, 1.0
    if forward != kernel:
        ((_, args),) = backward_cases(kernel, [("", inputs)], draw)
        dy = args["dy"]
    names = [name[1:] for name in reference.OUTPUTS[kernel] if name[0] == "d"]  # of dx, x

    def scalar(*values):
        changed = {**inputs, **dict(zip(names, values, strict=True))}
        outputs = reference.named(forward, getattr(textbook, forward)(**changed))
        return (dy * next(iter(outputs.values()))).sum()

    points = tuple(inputs[name] for name in names)
    return Case(kernel, "numerical gradient", "float64", args, (scalar, points))


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
        cases += [Case(kernel, n, np.dtype(dtype).name, with_layout(n, args)) for n, args in draws(draw)]
        if dtype is np.float64 and kernel in DIFFERENCES:
            inputs = dict(draws(draw, kernel.replace("backward", "forward")))[DIFFERENCES[kernel]]
            cases.append(_difference_case(kernel, inputs, draw))
    return cases
