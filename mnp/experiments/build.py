"""From a recipe's words to the things themselves: its data and its network."""

import dataclasses

import mnp.data
from mnp.errors import MnpError
from mnp.nn import Network, lenet5, units_of
from mnp.nn.training import check_finite


def build(model, data, rng, backend):
    """The network that a recipe begins with."""
    channels, image, width = data.image_shape
    if image != width:
        raise MnpError(f"{data.name}: images of {image}x{width}; lenet5 takes square ones")
    return lenet5(
        model.conv1,
        model.conv2,
        units_of(model.neurons, model.k),
        model.k,
        data.classes,
        relu=model.relu,
        dropout=model.dropout,
        image_size=image,
        channels=channels,
        rng=rng,
        init=model.init,
        backend=backend,
    )


def with_dropout(net, share):
    """The same network (arrays copied) with another share dropped in training; 0 drops nothing."""
    key = {"Dropout": "p", "MaxoutDense": "dropout"}
    architecture = [
        entry | {key[entry["type"]]: share} if entry["type"] in key else entry for entry in net.architecture()
    ]
    return Network.from_architecture(architecture, net.state_dict(), net.masks(), net.backend)


def load_data(recipe, folder=None):
    """The data set of a recipe, cut to its limits, its validation images held out."""
    data = mnp.data.load(recipe.name, folder)
    check_finite(data.train_images, f"{data.name} training images")
    check_finite(data.test_images, f"{data.name} test images")
    train, test = recipe.train_images or None, recipe.test_images or None
    data = dataclasses.replace(
        data,
        train_images=data.train_images[:train],
        train_labels=data.train_labels[:train],
        test_images=data.test_images[:test],
        test_labels=data.test_labels[:test],
        validation_images=None,
        validation_labels=None,
    )
    return data.split_validation(recipe.validation) if recipe.validation else data
