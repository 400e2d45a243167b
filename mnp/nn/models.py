"""Builders of networks: LeNet-5, a multi-layer perceptron, VGG16.

In all of them `units` counts maxout outputs and k the neurons of each unit, so a layer has units * k
neurons. The network *without maxout*, one of the two baselines of every reduction, is the same builder
with maxout=False: all units * k neurons feed the next layer, through ReLU and dropout.

Further keyword arguments are those of the layers:

    rng      numpy Generator or seed; None gives zero weights (to be loaded, or only counted: zeros take
             no memory until they are used)
    dtype    float32 or float64
    init     "caffe" or "he"
    backend  a backend or its name
"""

from mnp.errors import MnpError
from mnp.nn.base import as_generator, check_int
from mnp.nn.layers import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU
from mnp.nn.maxout import MaxoutConv2d, MaxoutDense, without_maximum
from mnp.nn.network import Network


def units_of(neurons, k):
    """Number of maxout units that a layer of this many neurons makes; k must divide it.

    >>> units_of(2048, 4)
    512
    """
    neurons, k = check_int("neurons", neurons), check_int("k", k)
    if neurons % k:
        raise MnpError(
            f"{neurons} neurons do not make whole units of k = {k}; choose a k that divides {neurons}"
        )
    return neurons // k


def lenet5(
    conv1=20,
    conv2=50,
    units=512,
    k=4,
    classes=10,
    *,
    relu=True,
    dropout=0.5,
    maxout=True,
    image_size=28,
    channels=1,
    conv_k=1,
    **layer_options,
):
    """Build LeNet-5 as Caffe has it, with a maxout layer of `units` units of k neurons.

        image 28x28 -> conv1 5x5 -> pool1 2/2 -> conv2 5x5 -> pool2 2/2 -> flatten
              -> fc3 (dense, ReLU, dropout, maximum of k) -> fc4 (classes)

    No ReLU after the convolutions, as in the authors' network; that one is
    lenet5(20, 52, 64, 4). With maxout=False or k = 1 there is no maximum to take: fc3 is a Dense layer
    followed by fc3_relu and fc3_dropout, the form that pruning down to k = 1 ends in. With conv_k above 1
    the convolutions are maxout layers too: conv1 and conv2 count units of conv_k filters.
    layer_options: rng, dtype, init, backend (see `mnp.nn.models`).

    Source: LeCun et al. 1998; Caffe's examples/mnist; the authors' published Caffe network.

    >>> lenet5().count_params(), lenet5(k=1).count_params(), lenet5(maxout=False).count_params()
    (1671148, 440812, 1686508)
    >>> [lenet5(20, 52, 64, k).count_params() for k in (4, 3, 2, 1)]
    [240470, 187158, 133846, 80534]
    """
    options = _checked(layer_options)
    backend = options["backend"]
    layers = [
        ("conv1", _convolution(channels, conv1, conv_k, options)),
        ("pool1", MaxPool2d(2, backend=backend)),
        ("conv2", _convolution(conv1, conv2, conv_k, options)),
        ("pool2", MaxPool2d(2, backend=backend)),
        ("flatten", Flatten(backend=backend)),
    ]
    width = _flat_width(layers, channels, image_size)
    fc3, width = _maxout_or_dense("fc3", width, units, k, maxout, relu, dropout, options)
    return Network([*layers, *fc3, ("fc4", Dense(width, classes, **options))])


def mlp(
    units=(128, 64),
    k=4,
    classes=10,
    *,
    relu=True,
    dropout=0.5,
    maxout=True,
    image_size=28,
    channels=1,
    **layer_options,
):
    """Build a multi-layer perceptron with maxout layers, like the authors' second network.

        flatten -> fc1 (units[0] units of k) -> fc2 (units[1] units of k) -> fc3 (classes)

    The authors' widths are not published; 784-128-64-10 units is this project's choice.
    layer_options: rng, dtype, init, backend (see `mnp.nn.models`).

    >>> list(mlp().layers), mlp().count_params()
    (['flatten', 'fc1', 'fc2', 'fc3'], 435594)
    """
    options = _checked(layer_options)
    layers = [("flatten", Flatten(backend=options["backend"]))]
    width = _flat_width(layers, channels, image_size)
    for number, n_units in enumerate(units, start=1):
        fc, width = _maxout_or_dense(f"fc{number}", width, n_units, k, maxout, relu, dropout, options)
        layers += fc
    return Network([*layers, (f"fc{len(units) + 1}", Dense(width, classes, **options))])


# VGG16's five blocks: number of convolutions, and their channels at width 1.
_VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg16(
    width=1.0,
    image_size=224,
    units=None,
    k=4,
    classes=1000,
    *,
    batchnorm=False,
    maxout=("fc6", "fc7"),
    relu=True,
    dropout=0.5,
    channels=3,
    init="he",
    **layer_options,
):
    """Build VGG16 at a fraction of its width, with maxout in its dense layers fc6 and fc7.

        five blocks of [conv 3x3 (-> bn) -> relu] x 2, 2, 3, 3, 3, each ending in a 2/2 max pool
        -> flatten -> fc6 -> fc7 -> fc8 (classes)

    Parameters
    ----------
    width : float
        1 is the published network (64 to 512 channels, 4096 neurons); 0.25 has a quarter of each.
        A multiple of 1/64, so that every layer has a whole number of channels.
    image_size : int
        Rows and columns of an image, at least 32; every pool halves them, rounding down.
    units, k : int
        fc6 and fc7 have units * k neurons each. units=None means 4096 * width neurons; k must divide them.
    maxout : bool, or names out of ("fc6", "fc7")
        Which of the two are maxout layers; a plain one has all its neurons, ReLU and dropout. False is
        the network without maxout.
    batchnorm : bool
        A BatchNorm2d after every convolution (`fold_batchnorm` removes them for inference).
    layer_options
        rng, dtype, backend (see `mnp.nn.models`).

    Layer names: conv1_1, bn1_1, relu1_1, ..., pool5, flatten, fc6, fc7, fc8.
    Source: Simonyan and Zisserman 2015, arXiv 1409.1556, configuration D.

    >>> vgg16(maxout=False).count_params(), vgg16(maxout=False, classes=2622).count_params()
    (138357544, 145002878)
    >>> vgg16(maxout=["fc6"], classes=2622).count_params()
    132419966
    """
    if width <= 0 or any(full * width != int(full * width) for _, full in _VGG16):
        raise MnpError(f"width is {width!r}; give a positive multiple of 1/64, such as 0.25")
    sides = image_size if isinstance(image_size, (tuple, list)) else (image_size,)
    if min(check_int("image_size", side) for side in sides) < 32:
        raise MnpError(f"image_size is {image_size!r}; VGG16 halves it five times, so give at least 32")
    if isinstance(maxout, bool):
        maxout = ("fc6", "fc7") if maxout else ()
    names = tuple(maxout)
    if not set(names) <= {"fc6", "fc7"}:
        raise MnpError(f"maxout is {maxout!r}; name layers out of fc6 and fc7, or give True or False")
    units = units_of(int(4096 * width), k) if units is None else check_int("units", units)

    options = _checked(layer_options | {"init": init})
    backend = options["backend"]
    layers, in_channels = [], channels
    for block, (convolutions, full) in enumerate(_VGG16, start=1):
        out = int(full * width)
        for number in range(1, convolutions + 1):
            layers.append((f"conv{block}_{number}", Conv2d(in_channels, out, 3, padding=1, **options)))
            if batchnorm:
                norm = BatchNorm2d(out, dtype=options["dtype"], backend=backend)
                layers.append((f"bn{block}_{number}", norm))
            layers.append((f"relu{block}_{number}", ReLU(backend=backend)))
            in_channels = out
        layers.append((f"pool{block}", MaxPool2d(2, backend=backend)))
    layers.append(("flatten", Flatten(backend=backend)))
    width = _flat_width(layers, channels, image_size)
    for name in ("fc6", "fc7"):
        fc, width = _maxout_or_dense(name, width, units, k, name in names, relu, dropout, options)
        layers += fc
    return Network([*layers, ("fc8", Dense(width, classes, **options))])


def _convolution(channels, units, k, options):
    """A 5x5 convolution, with k filters for each unit."""
    if k == 1:
        return Conv2d(channels, units, 5, **options)
    return MaxoutConv2d(channels, units, k, 5, **options)


def _maxout_or_dense(name, width, units, k, maxout, relu, dropout, options):
    """Layers of one hidden dense block, and the number of its outputs."""
    if maxout and k != 1:
        return [(name, MaxoutDense(width, units, k, relu=relu, dropout=dropout, **options))], units
    neurons = check_int("units", units) * check_int("k", k)
    return without_maximum(name, width, neurons, relu, dropout, **options), neurons


def _flat_width(layers, channels, image_size):
    """Number of values per image after these layers, the last of which is "flatten"."""
    size = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    if len(size) != 2:
        raise MnpError(f"image_size is {image_size!r}; give a side, or (height, width)")
    height, width = (check_int("image_size", side) for side in size)
    return Network(layers).output_shapes((channels, height, width))["flatten"][0]


def _checked(layer_options):
    """The layers' keyword arguments: unknown names are rejected, a seed becomes one generator for all."""
    defaults = {"rng": None, "dtype": "float32", "init": "caffe", "backend": None}
    for name in layer_options:
        if name not in defaults:
            known = ", ".join(defaults)
            raise MnpError(
                f"no builder argument {name!r}; besides its own arguments, the builder takes {known}"
            )
    options = defaults | layer_options
    return options | {"rng": as_generator(options["rng"])}
