"""The generated cases: small inputs on which every implementation is judged.

A case is a kernel's name, its arguments by name, and a few words that say what is special about it.
Cases are drawn from a seed, so two processes that know the seed hold the same arrays. The answer is
not stored: the textbook is asked, in float64 (`Case.expected`).
"""

from dataclasses import dataclass, field

import numpy as np

from mnp.kernels import textbook
from mnp.verify import cases_images, cases_vectors, reference
from mnp.verify.gradcheck import distinct_values, numerical_gradient
from mnp.verify.inputs import Draw

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
    """One gradient of each backward kernel by difference quotients, away from kinks and ties."""
    dy, x, weight, bias = draw.grid(2, 2, 3, 2), draw.grid(2, 1, 5, 4), draw.grid(2, 1, 2, 3), draw.grid(2)
    yield (
        "conv2d_backward",
        {"dy": dy, "x": x, "weight": weight, "stride": 2, "padding": 1},
        lambda x, w, b: (dy * textbook.conv2d_forward(x, w, b, 2, 1)).sum(),
        (x, weight, bias),
    )
    x, pooled = distinct_values((1, 2, 5, 5), draw.rng), draw.grid(1, 2, 2, 2)
    winner = textbook.maxpool2d_forward(x, 3, 2)[1]
    yield (
        "maxpool2d_backward",
        {"dy": pooled, "winner": winner, "x_shape": x.shape, "size": 3, "stride": 2},
        lambda x: (pooled * textbook.maxpool2d_forward(x, 3, 2)[0]).sum(),
        (x,),
    )
    yield (
        "avgpool2d_backward",
        {"dy": pooled, "x_shape": x.shape, "size": 3, "stride": 2},
        lambda x: (pooled * textbook.avgpool2d_forward(x, 3, 2)).sum(),
        (x,),
    )
    rows, features, matrix, offset = draw.grid(3, 2), draw.grid(3, 4), draw.grid(2, 4), draw.grid(2)
    yield (
        "dense_backward",
        {"dy": rows, "x": features, "weight": matrix},
        lambda x, w, b: (rows * textbook.dense_forward(x, w, b)).sum(),
        (features, matrix, offset),
    )
    z = distinct_values((3, 2, 4), draw.rng)
    yield (
        "maxout_backward",
        {"dy": rows, "winner": textbook.maxout_forward(z)[1], "k": 4},
        lambda z: (rows * textbook.maxout_forward(z)[0]).sum(),
        (z,),
    )
    h, dh = distinct_values((3, 4), draw.rng), draw.grid(3, 4)
    yield (
        "relu_backward",
        {"dy": dh, "y": np.maximum(h, 0)},
        lambda h: (dh * textbook.relu_forward(h)).sum(),
        (h,),
    )
    logits, labels = draw.normal(3, 4), draw.winner(4, 3)
    yield (
        "softmax_cross_entropy",
        {"logits": logits, "labels": labels},
        lambda logits: textbook.softmax_cross_entropy(logits, labels)[0],
        (logits,),
    )
    maps, dmaps, scale, shift = draw.grid(3, 2, 2, 2), draw.grid(3, 2, 2, 2), draw.grid(2), draw.grid(2)
    _, mean, var = textbook.batchnorm2d_forward(maps, scale, shift, 1e-2)
    yield (
        "batchnorm2d_backward",
        {"dy": dmaps, "x": maps, "weight": scale, "mean": mean, "var": var, "eps": 1e-2},
        lambda x, w, b: (dmaps * textbook.batchnorm2d_forward(x, w, b, 1e-2)[0]).sum(),
        (maps, scale, shift),
    )


def generate(kernel, seed=0):
    """Draw all cases of one agreed name, in float64 and then in float32.

    The same seed gives the same cases in any process; another seed gives other numbers in the same
    shapes. A name that is not agreed is an MnpError.

    >>> [str(case) for case in generate("maxout_forward")][:2]
    ['random numbers, float64', 'batch of one, float64']
    """
    reference.function(kernel)
    draws = getattr(cases_images, kernel, None) or getattr(cases_vectors, kernel)
    cases = []
    for dtype in DTYPES:
        # One stream for each name, so that a new kernel leaves the cases of the others alone.
        rng = np.random.default_rng([seed, *kernel.encode()])
        draw = Draw(rng, dtype)
        cases += [Case(kernel, note, np.dtype(dtype).name, args) for note, args in draws(draw)]
        if dtype is np.float64:
            cases += [
                Case(kernel, "numerical gradient", "float64", args, (scalar, points))
                for name, args, scalar, points in _differences(draw)
                if name == kernel
            ]
    return cases
