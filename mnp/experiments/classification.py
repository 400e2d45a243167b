"""Image classification as a task of the runner: LeNet-5 on the digits or MNIST."""

import dataclasses

import mnp.data
from mnp.errors import MnpError
from mnp.experiments.registry import SUMMARY
from mnp.experiments.results import COLUMNS
from mnp.nn import evaluate, lenet5, units_of
from mnp.nn.training import check_finite


class Classification:
    """The task of telling digits apart with LeNet-5: what a run loads, builds and evaluates."""

    columns, final_files = COLUMNS, (SUMMARY,)
    augment, warmup = None, 0  # nothing is done to the images of a batch; no rising learning rate

    def __init__(self, experiment, data_folder=None):
        self.experiment, self.data_folder = experiment, data_folder

    def load_data(self):
        """Load the data set, cut it to the recipe's limits, hold out its validation images."""
        return load_data(self.experiment.data, self.data_folder)

    def build_network(self, data, rng, backend, k=None):
        """Build the network that the run begins with; weights drawn from rng, or zeros for None.

        k: neurons per unit, other than the recipe's; the number of units stays.
        """
        model = self.experiment.model
        channels, height, width = data.image_shape
        if height != width:
            raise MnpError(f"{data.name}: images of {height}x{width}; lenet5 takes square ones")
        return lenet5(
            model.conv1,
            model.conv2,
            units_of(model.neurons, model.k),
            k or model.k,
            data.classes,
            relu=model.relu,
            dropout=model.dropout,
            image_size=height,
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
        }

    def final_results(self, out, rows, plan):
        """Write the final files except the summary; return what the summary says in addition."""
        return {}


def load_data(recipe, folder=None):
    """Load the data set of a DataRecipe, cut to its limits, its validation images held out."""
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
