"""Image classification as a task of the runner: LeNet-5, or a user-defined network."""

import dataclasses

import mnp.data
from mnp.errors import MnpError
from mnp.experiments.recipes import OwnModel
from mnp.experiments.registry import SUMMARY
from mnp.experiments.results import COLUMNS
from mnp.kernels.shapes import check_finite
from mnp.nn import Network, evaluate, lenet5, mlp, units_of, vgg16
from mnp.process import import_function

BUILDERS = {"lenet5": lenet5, "mlp": mlp, "vgg16": vgg16}


class Classification:
    """The task of telling images apart: what a run loads, builds and evaluates."""

    final_files, warmup = (SUMMARY,), 0  # no rising learning rate

    def __init__(self, experiment, data=None):
        self.experiment, self.data = experiment, data
        self.columns = COLUMNS | ({"removed": str} if experiment.prune.schedule else {})
        augment = experiment.train.augment
        self.augment = import_function(augment, "train.augment") if augment else None

    def load_data(self):
        """Load the data set, cut it to the recipe's limits, hold out its validation images."""
        return load_data(self.experiment.data, self.data)

    def build_network(self, data, rng, backend, k=None):
        """Build the network that the run begins with; weights drawn from rng, or zeros for None.

        k: neurons per unit, other than the recipe's; the number of units stays.
        """
        model = self.experiment.model
        if isinstance(model, OwnModel):
            return build_own(model, data, rng, backend)
        channels, *size = images_of(data, "lenet5")
        return lenet5(
            model.conv1,
            model.conv2,
            units_of(model.neurons, model.k),
            k or model.k,
            data.classes,
            relu=model.relu,
            dropout=model.dropout,
            image_size=size,
            channels=channels,
            conv_k=model.conv_k if k is None else min(k, model.conv_k),
            rng=rng,
            init=model.init,
            backend=backend,
        )

    def evaluate(self, net, data):
        """Return (columns of the row, arrays for the checkpoint): how good a network is."""
        loss, error = evaluate(net, data.test_images, data.test_labels)
        columns = {"error": float(error), "test_loss": float(loss), "validation_error": None}
        if len(data.validation_labels):
            _, error = evaluate(net, data.validation_images, data.validation_labels)
            columns["validation_error"] = float(error)
        return columns, {}

    def ranking_inputs(self, net, data):
        """Return (network, images, labels) on which the neurons are ranked."""
        return net, data.train_images, data.train_labels

    def describe_data(self, data):
        """Name, number of examples and checksum, for the summary."""
        return {
            "name": data.name,  # that of the recipe only if the files are the official ones
            **{f"{part}_images": count for part, count in data.counts.items()},
            "checksum": data.checksum,
            "image_shape": list(data.image_shape),
            "classes": data.classes,
        }

    def final_results(self, out, rows, plan):
        """Write the final files except the summary; return what the summary says in addition."""
        return {}


def images_of(data, builder):
    """(C, H, W) of a data set, or MnpError for one of flat vectors."""
    if len(data.image_shape) != 3:
        raise MnpError(f"{data.name}: examples of shape {data.image_shape}; {builder} takes images (C, H, W)")
    return data.image_shape


def build_own(model, data, rng, backend):
    """Build the network of an OwnModel."""
    if model.builder in BUILDERS:
        channels, *size = images_of(data, model.builder)
        build = BUILDERS[model.builder]
        given = {"classes": data.classes, "image_size": size, "channels": channels}
    else:
        build, given = import_function(model.builder, "model.builder"), {"data": data}
    try:
        net = build(**given | {"rng": rng, "backend": backend} | model.arguments)
    except TypeError as error:  # an argument that is missing or unknown
        raise MnpError(f"model.builder = {model.builder}: {error}") from None
    if not isinstance(net, Network):
        raise MnpError(f"model.builder = {model.builder}: returned a {type(net).__name__}, not a Network")
    return net


def load_data(recipe, data=None):
    """Load the data set of a DataRecipe, cut to its limits, its validation images held out.

    data: a Dataset, the path of the user's data, or the folder of the named set; see `mnp.data.own`.
    """
    if data is None:
        data = mnp.data.load(recipe.name)
    elif not isinstance(data, mnp.data.Dataset):
        data = mnp.data.read_own(data, recipe.name)
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
