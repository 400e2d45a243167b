"""What every layer is: parameters, gradients, a visible cache, and a module of kernels."""

import inspect
import operator

import numpy as np

from mnp.errors import MnpError
from mnp.kernels import default_backend, get_backend
from mnp.kernels.shapes import ShapeError

# Arguments of a constructor that say how a layer starts, not what it is.
_NOT_CONFIG = ("self", "rng", "init", "backend")


class Layer:
    """One step of a network. It holds arrays and remembers; its kernels do the arithmetic.

    Attributes
    ----------
    params : dict of name -> array
        C-contiguous; ``weight`` and ``bias`` where the layer learns, empty where it does not.
    grads : dict of name -> array
        The loss's derivative by each parameter, in its shape. Filled by `backward`.
    buffers : dict of name -> array
        What is saved with the parameters but not learned by gradient (running statistics).
    masks : dict of name -> bool array
        True = kept, in the parameter's shape. A parameter without an entry is not pruned.
    cache : NamedTuple or None
        What the last `forward` kept for `backward`: open to look at.
    backend : module
        The functions on arrays that do the work: any module with the agreed names.
    """

    def __init__(self, backend=None):
        if backend is None:
            backend = default_backend()
        elif isinstance(backend, str):
            backend = get_backend(backend)
        self.backend = backend
        self.params, self.grads, self.buffers, self.masks = {}, {}, {}, {}
        self.cache = None

    def forward(self, x, training=False, rng=None):
        """Return y for x and file in `cache` what `backward` needs."""
        raise MnpError(f"{type(self).__name__} has no forward: a layer class must define it")

    def backward(self, dy, need_dx=True):
        """Assign `grads` from dy, the loss's derivative by the last y; return dx, or None if not needed."""
        raise MnpError(f"{type(self).__name__} has no backward: a layer class must define it")

    def output_shape(self, shape):
        """The shape of one example's output, from the shape of one example's input (both without N)."""
        return tuple(shape)

    def config(self):
        """The constructor's arguments as values that JSON can hold; starting weights are not among them."""
        values = {name: getattr(self, name) for name in _arguments(type(self))}
        return {name: v.name if isinstance(v, np.dtype) else v for name, v in values.items()}

    def with_backend(self, backend):
        """The same layer on other kernels: a new object that shares params, buffers and masks."""
        layer = type(self)(**self.config(), backend=backend)
        layer.params, layer.buffers, layer.masks = self.params, self.buffers, self.masks
        return layer

    def copy(self):
        """A layer of its own: every array copied, the cache and the gradients left behind."""
        layer = type(self)(**self.config(), backend=self.backend)
        for kind in ("params", "buffers", "masks"):
            setattr(layer, kind, {name: array.copy() for name, array in getattr(self, kind).items()})
        return layer

    def __repr__(self):
        shown = []
        for name, argument in _arguments(type(self)).items():
            value = getattr(self, name)
            if argument.default is inspect.Parameter.empty:
                shown.append(repr(value))
            elif isinstance(value, np.dtype):
                if value != np.float32:
                    shown.append(f"{name}=np.{value.name}")
            elif value != argument.default:
                shown.append(f"{name}={value!r}")
        if self.backend is not default_backend():
            shown.append(f"backend={backend_name(self.backend)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    # What the layers below share.

    def _saved(self):
        """The cache of the last forward, or the one line that says which forward is missing."""
        if self.cache is None:
            raise MnpError(f"{self!r}: backward needs a forward first; call forward(x) on this layer")
        return self.cache

    def _check_input(self, x, wanted):
        """Refuse an x of another shape or dtype than this layer's weights work on.

        wanted: the axes after N, a number where it is fixed, a letter where it is free: (1, "H", "W").
        """
        if x.shape[1:] != wanted and not _fits(x.shape[1:], wanted):
            raise ShapeError(f"{self!r} expects x of shape {_axes('N', *wanted)}, got {x.shape}")
        weight = self.params.get("weight")
        if weight is not None and x.dtype != weight.dtype:
            raise MnpError(
                f"{self!r} has {weight.dtype} weights and got {x.dtype} x; "
                f"convert with x.astype(np.{weight.dtype})"
            )

    def _check_input_shape(self, shape, wanted):
        """Refuse the shape of one example as `_expect` does; return it as a tuple."""
        if not _fits(shape, wanted):
            raise ShapeError(f"{self!r} expects examples of shape {_axes(*wanted)}, got {tuple(shape)}")
        return tuple(shape)


def _fits(shape, wanted):
    if len(shape) != len(wanted):
        return False
    for size, want in zip(shape, wanted):  # noqa: B905, SIM110 - lengths are equal; quicker than all()
        if size != want and not isinstance(want, str):
            return False
    return True


def _axes(*wanted):
    return f"({', '.join(map(str, wanted))}{',' if len(wanted) == 1 else ''})"


def backend_name(backend):
    """The short name of a kernel module: "textbook", "jitted", "tiled", or that of your own."""
    return getattr(backend, "__name__", type(backend).__name__).rpartition(".")[2]


def _arguments(layer_class):
    found = inspect.signature(layer_class.__init__).parameters
    return {name: p for name, p in found.items() if name not in _NOT_CONFIG}


def init_weight(shape, fan_in, rng, init, dtype):
    """Draw a layer's first weights, or zeros where rng is None (ready to be loaded).

        "caffe": uniform in [-b, b], b = sqrt(3 / fan_in)    (Caffe's "xavier" filler)
        "he":    normal, mean 0, standard deviation sqrt(2 / fan_in)

    Drawn in float64 and rounded, so that one seed starts a float32 and a float64 network alike.
    Zeros come from `np.zeros`, which takes no memory until something is written: the parameters of
    a full-size VGG16 can be counted for free.

    Sources: Jia et al. 2014 (Caffe, filler.hpp); He et al. 2015, arXiv 1502.01852, section 2.2.

    >>> init_weight((2, 2), 2, None, "caffe", np.float32)
    array([[0., 0.],
           [0., 0.]], dtype=float32)
    """
    if init not in ("caffe", "he"):
        raise MnpError(f'init is {init!r}; choose "caffe" or "he"')
    if rng is None:
        return np.zeros(shape, dtype)
    if init == "caffe":
        bound = np.sqrt(3.0 / fan_in)
        return rng.uniform(-bound, bound, shape).astype(dtype)
    return rng.normal(0.0, np.sqrt(2.0 / fan_in), shape).astype(dtype)


def float_dtype(dtype):
    """np.dtype of "float32" or "float64"; anything else is refused.

    >>> float_dtype("float64")
    dtype('float64')
    """
    try:
        found = np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        found = None
    if found not in ("float32", "float64"):
        raise MnpError(f"dtype is {dtype!r}; choose float32 or float64")
    return np.dtype(found)


def check_int(name, value, minimum=1):
    """value as an int of at least `least`, or one line that names the argument.

    >>> check_int("stride", np.int64(2))
    2
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise MnpError(f"{name} is {value!r}; it must be a whole number of at least {minimum}")
    return number


def check_probability(name, p):
    """p as a float in [0, 1), the share of values that dropout sets to zero.

    >>> check_probability("p", 0.5)
    0.5
    """
    if not (isinstance(p, (int, float, np.floating)) and 0.0 <= p < 1.0):
        raise MnpError(f"{name} is {p!r}; the share dropped must be in [0, 1)")
    return float(p)


def draw_keep(shape, p, rng, layer):
    """Draw dropout's keep: bool in `shape`, True with probability 1 - p, from the generator passed in."""
    if rng is None:
        raise MnpError(f"{layer!r}: dropout in training needs a random generator; pass forward(..., rng=rng)")
    return rng.random(shape, dtype=np.float32) >= p
