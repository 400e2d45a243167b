"""Face verification as a task of the runner: VGG16 on LFW, judged by pairs of images."""

import numpy as np

from mnp.data.dataset import checksum
from mnp.experiments import verification
from mnp.experiments.lfw_data import load_faces
from mnp.experiments.registry import PAIRS, SUMMARY
from mnp.experiments.results import FACE_COLUMNS
from mnp.nn import Dense, Network, fold_batchnorm, units_of, vgg16
from mnp.nn.augment import standard_augmentation

LAST_LAYER_SCALE = 0.1  # of fc8's initial weights
BATCH = 100  # images at once in inference; the activations of a batch then take a few hundred MiB


class LfwTask:
    """Face verification with VGG16: what a run loads, builds and evaluates. Methods as in Classification."""

    columns, final_files = FACE_COLUMNS, (SUMMARY, PAIRS)

    def __init__(self, experiment, data=None, photographs=None):
        train = experiment.train
        self.experiment, self.data, self.photographs = experiment, data, photographs
        self.augment, self.warmup = standard_augmentation(train.shift, train.zoom), train.warmup

    def load_data(self):
        return load_faces(self.experiment.data, self.data, self.photographs)

    def build_network(self, data, rng, backend, k=None):
        m = self.experiment.model
        net = vgg16(
            m.width,
            data.image_shape[1],
            units_of(m.neurons, m.k),
            k or m.k,
            data.classes,
            batchnorm=m.batchnorm,
            relu=m.relu,
            dropout=m.dropout,
            rng=rng,
            init=m.init,
            backend=backend,
        )
        # A thousand classes: small logits at first, or the first steps only unlearn the random ones.
        net["fc8"].params["weight"] *= np.float32(LAST_LAYER_SCALE)
        return net

    def evaluate(self, net, data):
        """Verify with all three distances; the recipe's own gives the row, all go into the checkpoint."""
        features = features_of(net, data.images)
        name = self.experiment.data.distance
        answers = {other: verify(features, data, other) for other in verification.DISTANCES}
        arrays = {
            f"verification/{other}/{key}": np.asarray(value)
            for other, answer in answers.items()
            for key, value in answer.items()
        }
        columns = {key: answers[name][key] for key in ("accuracy", "accuracy_se", "eer", "threshold")}
        columns |= {"error": 100 - columns["accuracy"], "distance": name}
        return columns | {"test_loss": None, "validation_error": None}, arrays

    def ranking_inputs(self, net, data):
        """The layers behind the convolutions, the features that these make of the images, the labels."""
        folded, images = fold_batchnorm(net), data.train_images
        batches = (images[i : i + BATCH] for i in range(0, len(images), BATCH))
        features = np.concatenate([folded.forward(x, until="flatten") for x in batches])
        names = list(net.layers)
        dense = Network([(name, net[name]) for name in names[names.index("flatten") + 1 :]])
        return dense, features, data.train_labels

    def describe_data(self, data):
        """Counts of people, images and pairs, and checksums."""
        pairs = [
            array for p in (data.threshold_pairs, data.test_pairs) for array in (p.first, p.second, p.same)
        ]
        arrays = [data.train_images, data.train_labels, data.images, *pairs]
        return data.facts | {"checksum": checksum(arrays)}

    def final_results(self, out, rows, plan):
        """Write pairs.npz; compare each round with the unpruned network on the same pairs."""
        labels = [round.label for round in plan]
        verification.write_pairs(out, labels)
        return {"against_unpruned": verification.against_unpruned([out], rows, labels)}


def features_of(net, images):
    """The features of a face: the input of the last dense layer, for the image plus for its mirror image.

        feature[n] = f(x[n]) + f(mirror(x[n])),   f: the network up to fc7, its ReLU included

    Parameters
    ----------
    net : Network
    images : (N, C, H, W) float

    Returns
    -------
    features : (N, D) float, in evaluation mode, batch normalisation folded into the convolutions
    """
    net = fold_batchnorm(net)
    names = list(net.layers)
    last = max(i for i, layer in enumerate(net.layers.values()) if isinstance(layer, Dense))
    parts = []
    for start in range(0, len(images), BATCH):
        x = images[start : start + BATCH]
        mirrored = np.ascontiguousarray(x[:, :, :, ::-1])
        parts.append(net.forward(x, until=names[last - 1]) + net.forward(mirrored, until=names[last - 1]))
    return np.concatenate(parts)


def verify(features, data, distance):
    """Verify pairs by their features: the threshold from training pairs, all else from the test pairs.

    Parameters
    ----------
    features : (M, D) float, of data.images
    data : FacesData
    distance : str

    Returns
    -------
    dict
        threshold, accuracy, accuracy_se (binomial, from the pairs of this one test) and eer in %, and
        the arrays distances (P,), same (P,) of the test pairs.
    """
    training, tested = (
        verification.DISTANCES[distance](features[pairs.first], features[pairs.second])
        for pairs in (data.threshold_pairs, data.test_pairs)
    )
    threshold = verification.choose_threshold(training, data.threshold_pairs.same)
    same = data.test_pairs.same
    accuracy = verification.accuracy(tested, same, threshold)
    return {
        "threshold": threshold,
        "accuracy": 100 * accuracy,
        "accuracy_se": 100 * verification.binomial_standard_error(accuracy, len(same)),
        "eer": 100 * verification.equal_error_rate(tested, same),
        "distances": tested,
        "same": same,
    }
