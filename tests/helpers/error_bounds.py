"""How far a float32 kernel may be from the definition: a bound for every element of every output.

    |float32 result - float64 textbook of the same float32 inputs| <= roundings * u * size + terms * tiny

u = 2^-24, half the distance from 1 to the next float32; tiny = 2^-149, the smallest float32, for products
that underflow. `size` is what was added up, without its signs: for kernels that are sums of products, the
kernel itself of the absolute values. So the bound is no share of the result, which may have lost all its
digits to cancellation, but of what it was made from, at any magnitude that does not overflow.

`ROUNDINGS` says how many roundings in a row an element goes through, "terms" being the length of its sum;
0 means exact. No order of summation can need more than that, so the bound holds for any honest
implementation. The fast tiers promise more: no sum in LeNet-5 or VGG16 (of up to 25,088 features, 4,096
examples or 36,864 pixels is tested) is off by more than `LONGEST` roundings, however many terms it has,
because it is added up in parts.

A convolution by short filters (Winograd's, as `tiled` has it for 3x3 and 5x5 kernels) multiplies sums and
differences of neighbouring pixels: a huge pixel costs its neighbours digits too. Of such kernels each pixel
counts as the largest one `near` it, a kernel's height away; the number of roundings is the same.

A winner may be another neuron or pixel than the definition's where their values are closer than the bound
of the maximum, twice.

Source: N. Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1.
"""

import math

import numpy as np

from mnp.verify import reference

U, TINY = 2.0**-24, 2.0**-149
LONGEST = 128

# kernel -> output -> (roundings beside those of the sum, what the sum runs over: see `_terms`)
ROUNDINGS = {
    "conv2d_forward": {"y": (1, "taps")},
    "conv2d_backward": {"dx": (1, "filters * taps"), "dweight": (1, "pixels"), "dbias": (1, "pixels")},
    "maxpool2d_forward": {"y": (0, None)},
    "maxpool2d_backward": {"dx": (0, "windows")},
    "avgpool2d_forward": {"y": (2, "window")},
    "avgpool2d_backward": {"dx": (2, "windows")},
    "dense_forward": {"y": (1, "in")},
    "dense_backward": {"dx": (1, "out"), "dweight": (1, "examples"), "dbias": (1, "examples")},
    "maxout_forward": {"y": (0, None)},
    "maxout_backward": {"dz": (0, None)},
    "relu_forward": {"y": (0, None)},
    "relu_backward": {"dx": (0, None)},
    "dropout_forward": {"y": (2, None)},
    "dropout_backward": {"dx": (2, None)},
    "softmax_cross_entropy": {"loss": (8, "classes + examples"), "dlogits": (8, "classes")},
    "win_counts": {"counts": (0, None)},
    "batchnorm2d_forward": {"y": (16, None), "mean": (2, None), "var": (8, None)},
    "batchnorm2d_inference": {"y": (8, None)},
    "batchnorm2d_backward": {"dx": (16, None), "dweight": (8, None), "dbias": (2, None)},
    "sgd_step": {"weights": (7, None), "velocities": (5, None)},
    "conv2d_maxpool2d_forward": {"y": (1, "taps")},
    "conv2d_maxpool2d_backward": {
        "dx": (2, "filters * taps"),
        "dweight": (2, "pixels"),
        "dbias": (2, "pixels"),
    },
    "dense_maxout_forward": {"y": (4, "in")},
    "dense_maxout_backward": {"dx": (4, "units"), "dweight": (4, "examples"), "dbias": (4, "examples")},
}


def bounds(kernel, args, near=0):
    """Bound every element of every output of a float32 kernel.

    Parameters
    ----------
    kernel : str
        A name of `mnp.kernels.KERNELS` or `FUSED`.
    args : dict
        Its arguments by name, float32.
    near : int
        For convolutions by short filters: how many pixels away a pixel may matter; 0 for all others.

    Returns
    -------
    bounds : dict of output -> float64 array of its shape, or a tuple of them for `sgd_step`
        Outputs of whole numbers have none, and neither has a dx that was not asked for.

    >>> x, weight = np.float32([[3.0, -3.0]]), np.float32([[1.0, 1.0]])
    >>> bounds("dense_forward", {"x": x, "weight": weight, "bias": np.zeros(1, np.float32)})["y"] / U
    array([[18.]])
    """
    found = {}
    if near:
        args = {name: _largest_near(a, near) if name in ("x", "dy") else a for name, a in args.items()}
    sizes = _sizes(kernel, args)
    for output, (more, over) in ROUNDINGS[kernel].items():
        size = sizes[output]
        if size is None or output == "counts":
            continue
        terms = _terms(over, args)
        roundings = min(terms + more, LONGEST)
        if isinstance(size, tuple):
            found[output] = tuple(roundings * U * s + roundings * TINY for s in size)
        else:
            found[output] = roundings * U * np.asarray(size) + (terms + more) * TINY
    return found


def assert_within(module, kernel, args, near=0, winners=True):
    """Run a float32 kernel and hold its outputs to the bounds; whole numbers must be the definition's.

    Returns the outputs by name. Without `winners` these may differ, as `bounds` says.
    """
    if kernel == "sgd_step":  # works in place
        got = {name: tuple(a.copy() for a in args[name]) for name in reference.OUTPUTS[kernel]}
        module.sgd_step(**(args | got))
    else:
        got = reference.named(kernel, getattr(module, kernel)(**args))
    expected = reference.call(kernel, args)
    for name, limits in bounds(kernel, args, near).items():
        output = got[name], expected[name], limits
        for g, e, limit in zip(*output, strict=True) if isinstance(limits, tuple) else [output]:
            assert g.dtype == np.float32 and np.shape(g) == np.shape(e), f"{kernel} {name}"
            over = np.abs(np.asarray(g, np.float64) - e) - limit
            assert (over <= 0).all(), f"{kernel} {name}: {over.max():.3g} above the bound"
    for name in {"counts", "winner"} & got.keys() if winners else ():
        np.testing.assert_array_equal(got[name], expected[name])
    return got


def _terms(over, args):
    """How many numbers are added up for one element of an output."""
    weight, dy = (np.shape(args.get(name)) for name in ("weight", "dy"))
    terms = {
        None: lambda: 0,
        "taps": lambda: math.prod(weight[1:]),
        "filters * taps": lambda: weight[0] * math.prod(weight[2:]),
        "pixels": lambda: dy[0] * dy[2] * dy[3],
        "window": lambda: args["size"] ** 2,
        "windows": lambda: max(0, math.ceil(args["size"] / args["stride"]) ** 2 - 1),  # that cover one pixel
        "in": lambda: weight[-1],
        "out": lambda: weight[0],
        "units": lambda: dy[1],
        "examples": lambda: dy[0],
        "classes": lambda: args["logits"].shape[1],
        "classes + examples": lambda: sum(args["logits"].shape),
    }
    return terms[over]()


def _sizes(kernel, args):
    """What each output was added up from, without signs, in float64."""
    if kernel == "softmax_cross_entropy":
        return _of_softmax(**{name: reference.widen(a) for name, a in args.items()})
    if kernel.startswith("batchnorm2d"):
        return _of_batchnorm(kernel, {name: reference.widen(a) for name, a in args.items()})
    if kernel == "dense_maxout_backward":  # whether a neuron was cut depends on y's sign: it stays
        plain = {name: a if name == "y" else _magnitude(a) for name, a in args.items()}
        return reference.call(kernel, plain)
    if kernel == "relu_backward":
        return reference.call(kernel, {"dy": _magnitude(args["dy"]), "y": args["y"]})
    plain = {name: _magnitude(a) for name, a in args.items()}
    if kernel == "sgd_step":
        plain["lr"] = -plain["lr"]  # w + lr v: nothing is subtracted
    return reference.call(kernel, plain)


def _magnitude(value):
    if isinstance(value, tuple):
        return tuple(_magnitude(v) for v in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.abs(value.astype(np.float64))
    return value


def _largest_near(images, near):
    """Each pixel as large as the largest of those up to `near` rows and columns away.

    >>> _largest_near(np.array([[[[5.0, -1.0, 0.0, -9.0]]]]), 1)
    array([[[[5., 5., 9., 9.]]]])
    """
    found = np.abs(images)
    for axis in (2, 3):
        for _ in range(near):
            found = np.moveaxis(found, axis, 0)
            rolled = found.copy()
            rolled[1:] = np.maximum(rolled[1:], found[:-1])
            rolled[:-1] = np.maximum(rolled[:-1], found[1:])
            found = np.moveaxis(rolled, 0, axis)
    return found


def _of_softmax(logits, labels):
    """exp(l - max) is off by |l - max| roundings: the difference's own error is raised to a power."""
    n, rows = len(logits), np.arange(len(logits))
    shift = logits.max(axis=1, keepdims=True) - logits
    p = np.exp(-shift)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    blurred = 1 + shift + (p * shift).sum(axis=1, keepdims=True)
    given = (rows, labels)
    each = 1 + np.log(total[:, 0]) + shift[given] + (p * shift).sum(axis=1)
    picked = np.zeros_like(p)
    picked[given] = 1
    return {"loss": each.mean(), "dlogits": (p * blurred + picked) / n}


def _of_batchnorm(kernel, args):
    """Means are of sums in float64; x - mean loses digits where the mean is large beside the deviation."""
    x, weight, eps = args["x"], args["weight"], args["eps"]
    axes, m = (0, 2, 3), x.size // x.shape[1]

    def wide(v):
        return v[None, :, None, None]

    mean = args.get("mean", x.mean(axis=axes))
    var = args.get("var", x.var(axis=axes))
    scale = wide(np.abs(weight) / np.sqrt(var + eps))
    apart = np.abs(x) + wide(np.abs(mean))
    if kernel != "batchnorm2d_backward":
        size = np.abs(x).mean(axis=axes)
        return {"y": scale * apart + wide(np.abs(args["bias"])), "mean": size, "var": var + (U * size) * size}
    inv = wide(1 / np.sqrt(var + eps))
    dy, xhat = np.abs(args["dy"]), apart * inv
    # each product may underflow before it is divided by the deviation
    dbias, dweight = dy.sum(axis=axes), (dy * xhat + inv * (TINY / U)).sum(axis=axes)
    dx = scale * (dy + wide(dbias) / m + xhat * wide(dweight) / m)
    return {"dx": dx, "dweight": dweight, "dbias": dbias}
