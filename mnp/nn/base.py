"""Base class of all layers: parameters, gradients, a visible cache, and a backend."""

import copy
import importlib
import inspect
import math
import operator
from types import ModuleType

import numpy as np

from mnp.errors import MnpError
from mnp.kernels import BACKENDS, KERNELS, default_backend, get_backend
from mnp.kernels.shapes import ShapeError

# Constructor arguments that say how a layer starts, not what it is.
_NOT_CONFIG = ("self", "rng", "init", "backend")


class Layer:
    """One layer of a network: it holds arrays, its backend does the arithmetic.

    Attributes
    ----------
    params : dict of name -> array
        C-contiguous; ``weight`` and ``bias`` where the layer learns, empty where it does not.
    grads : dict of name -> array
        Gradient of the loss with respect to each parameter, in its shape. Filled by `backward`.
    buffers : dict of name -> array
        What is saved with the parameters but not learned by gradient (running statistics).
    masks : dict of name -> bool array
        True = kept, in the parameter's shape. A parameter without an entry is not pruned.
    cache : NamedTuple or None
        What the last `forward` stored for `backward`: open to look at.
    backend : module
        Functions on arrays that do the work: any module with the names in `mnp.kernels.KERNELS`.

    `copy.deepcopy` and `pickle` keep all of it but the cache and the gradients, and the backend by its name.
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
        """Compute y; store what `backward` needs in `cache`."""
        raise MnpError(f"{type(self).__name__} has no forward: a layer class must define it")

    def backward(self, dy, need_dx=True):
        """Assign `grads` from dy, the gradient with respect to y; return dx, or None if not needed."""
        raise MnpError(f"{type(self).__name__} has no backward: a layer class must define it")

    def output_shape(self, shape):
        """Shape of one example's output, from the shape of one example's input (both without N)."""
        return tuple(shape)

    def macs(self, shape):
        """Multiply-adds for one example of this input shape (without N); 0 for a layer without weights."""
        if self.params:
            raise MnpError(
                f"{type(self).__name__} has no macs: a layer class with weights must define macs(shape)"
            )
        return 0

    def check_masks(self, masks):
        """Raise MnpError if the layer could not work under these masks (dict as `masks`)."""

    def config(self):
        """Constructor arguments as values that JSON can hold; initial weights are not among them."""
        values = {name: getattr(self, name) for name in _arguments(type(self))}
        return {name: v.name if isinstance(v, np.dtype) else v for name, v in values.items()}

    def with_backend(self, backend):
        """Return the same layer on another backend: a new object that shares params, buffers and masks."""
        layer = type(self)(**self.config(), backend=backend)
        layer.params, layer.buffers, layer.masks = self.params, self.buffers, self.masks
        return layer

    def copy(self):
        """Return a copy: every array copied, the cache and the gradients left behind."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo):
        layer = memo[id(self)] = object.__new__(type(self))
        memo[id(self.backend)] = self.backend  # a module is shared, not copied
        layer.__dict__.update(copy.deepcopy(self.__dict__ | {"cache": None, "grads": {}}, memo))
        return layer

    def __getstate__(self):
        state = self.__dict__ | {"cache": None, "grads": {}}
        if isinstance(self.backend, ModuleType):
            state["backend"] = self.backend.__name__
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        if isinstance(self.backend, str):
            try:
                self.backend = importlib.import_module(self.backend)
            except ImportError as error:
                raise MnpError(f"the backend {state['backend']} cannot be imported here ({error})") from None

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

    # Shared by the layers.

    def _init_params(self, outputs, inputs, rng, init, dtype):
        """Set dtype and params: weight (*outputs, *inputs) drawn by `init_weight`, bias (*outputs) zero."""
        self.dtype = float_dtype(dtype)
        weight = init_weight(outputs + inputs, math.prod(inputs), rng, init, self.dtype)
        self.params = {"weight": weight, "bias": np.zeros(outputs, self.dtype)}

    def _saved(self):
        """Cache of the last forward pass; MnpError if there was none."""
        if self.cache is None:
            raise MnpError(f"{self!r}: backward needs a forward first; call forward(x) on this layer")
        return self.cache

    def _check_input(self, x, expected):
        """Return x in native byte order; raise MnpError if its shape or dtype does not fit this layer.

        expected: the axes after N, a number where it is fixed, a letter where it is free: (1, "H", "W").
        """
        if type(x) is not np.ndarray or not x.dtype.isnative:
            x = as_array(x)
        if x.shape[1:] != expected and not _fits(x.shape[1:], expected):
            # Channels first is the convention here; name the common mistake.
            nhwc = len(expected) == 3 and x.ndim == 4 and x.shape[3] == expected[0]
            hint = "; it looks like (N, H, W, C): use np.moveaxis(x, 3, 1)" if nhwc else ""
            raise ShapeError(f"{self!r} expects x of shape {_axes('N', *expected)}, got {x.shape}{hint}")
        weight = self.params.get("weight")
        if weight is not None and x.dtype != weight.dtype:
            raise MnpError(
                f"{self!r} has {weight.dtype} weights and got {x.dtype} x; "
                f"convert with x.astype(np.{weight.dtype})"
            )
        return x

    def _check_input_shape(self, shape, expected):
        """Check the shape of one example as `_check_input` does; return it as a tuple."""
        if not _fits(shape, expected):
            raise ShapeError(f"{self!r} expects examples of shape {_axes(*expected)}, got {tuple(shape)}")
        return tuple(shape)


def _fits(shape, expected):
    if len(shape) != len(expected):
        return False
    for size, want in zip(shape, expected):  # noqa: B905, SIM110 - lengths are equal; faster than all()
        if size != want and not isinstance(want, str):
            return False
    return True


def _axes(*expected):
    return f"({', '.join(map(str, expected))}{',' if len(expected) == 1 else ''})"


def as_array(x, name="x"):
    """Return x if it is a NumPy array; of another byte order than this machine's, converted.

    Lists, tensors and generators raise MnpError: what they hold would have to be guessed.

    >>> as_array(np.array([1.0], ">f4")).dtype.isnative
    True
    """
    if not isinstance(x, np.ndarray):
        kind = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
        raise MnpError(
            f"{name} is a {kind}; give one NumPy array: np.asarray({name}), or {name}.numpy() for a tensor"
        )
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def as_generator(rng):
    """Return a numpy Generator: rng itself, or one seeded with a whole number; None stays None.

    >>> as_generator(0).random() == np.random.default_rng(0).random()
    True
    """
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(check_int("rng", rng, minimum=0))
    except MnpError:
        raise MnpError(f"rng is {rng!r}; give a numpy.random.Generator or a seed such as 0") from None


def backend_name(backend):
    """Short name of a backend: "textbook", "jitted", "tiled", or that of your own module."""
    return getattr(backend, "__name__", type(backend).__name__).rpartition(".")[2]


def check_backend(backend, kernel):
    """Raise MnpError if a backend does not have a kernel."""
    if not hasattr(backend, kernel):
        raise MnpError(
            f"backend {backend_name(backend)} has no {kernel}: a network needs all the kernels that its "
            f"layers call; import the missing ones from a complete backend ({', '.join(BACKENDS)})"
        )


def check_kernels(backend, error):
    """After an AttributeError in a layer: raise MnpError if the cause is a kernel that a backend lacks."""
    for kernel in KERNELS:
        if f"'{kernel}'" in str(error):
            check_backend(backend, kernel)


def _arguments(layer_class):
    parameters = inspect.signature(layer_class.__init__).parameters
    return {name: p for name, p in parameters.items() if name not in _NOT_CONFIG}


def init_weight(shape, fan_in, rng, init, dtype):
    """Draw the initial weights of a layer, or zeros if rng is None (ready to be loaded).

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
    rng = as_generator(rng)
    if rng is None:
        return np.zeros(shape, dtype)
    if init == "caffe":
        bound = np.sqrt(3.0 / fan_in)
        return rng.uniform(-bound, bound, shape).astype(dtype)
    return rng.normal(0.0, np.sqrt(2.0 / fan_in), shape).astype(dtype)


def float_dtype(dtype):
    """Return np.dtype of "float32" or "float64"; MnpError for anything else.

    >>> float_dtype("float64")
    dtype('float64')
    """
    try:
        name = np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        name = None
    if name not in ("float32", "float64"):
        raise MnpError(f"dtype is {dtype!r}; choose float32 or float64")
    return np.dtype(name)


def check_int(name, value, minimum=1):
    """Return value as an int of at least `minimum`; MnpError with the argument's name for anything else.

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
    """Return p as a float in [0, 1): the share of values that dropout sets to zero.

    >>> check_probability("p", 0.5)
    0.5
    """
    if not (isinstance(p, (int, float, np.floating)) and 0.0 <= p < 1.0):
        raise MnpError(f"{name} is {p!r}; the dropout probability must be in [0, 1)")
    return float(p)


def draw_keep(shape, p, rng, layer):
    """Draw dropout's keep: bool in `shape`, True with probability 1 - p."""
    if rng is None:
        raise MnpError(f"{layer!r}: dropout in training needs a random generator; pass forward(..., rng=rng)")
    return as_generator(rng).random(shape, dtype=np.float32) >= p
