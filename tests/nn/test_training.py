"""An epoch, evaluation, what stops them, and the progress that they report."""

import io

import numpy as np
import pytest
from numpy.random import default_rng
from one_line import one_line

from mnp.errors import MnpError
from mnp.kernels import textbook
from mnp.kernels.shapes import check_finite
from mnp.nn import SGD, Dense, Flatten, MaxoutDense, Network, evaluate, train_epoch
from mnp.nn.progress import Progress
from mnp.nn.training import first_nonfinite


def little_net(dropout=0.0):
    rest = {"rng": default_rng(0), "backend": textbook}
    return Network(
        [
            ("flatten", Flatten(backend=textbook)),
            ("fc1", MaxoutDense(9, 6, 2, dropout=dropout, **rest)),
            ("fc2", Dense(6, 3, **rest)),
        ]
    )


def examples(n=50, seed=1):
    """Three classes of 3x3 images: the bright row is the label."""
    rng = default_rng(seed)
    labels = rng.integers(0, 3, n)
    images = rng.normal(0, 0.1, (n, 1, 3, 3)).astype(np.float32)
    images[np.arange(n), 0, labels] += 1
    return images, labels


def epoch(net, images, labels, **changed):
    settings = {"batch_size": 8, "rng": default_rng(5), "lr": lambda iteration: 0.1} | changed
    return train_epoch(net, settings.pop("optimizer", SGD(net)), images, labels, **settings)


def test_training_learns():
    net, (images, labels) = little_net(dropout=0.25), examples()
    optimizer, rng = SGD(net), default_rng(5)
    results = [epoch(net, images, labels, optimizer=optimizer, rng=rng) for _ in range(8)]
    assert results[-1].loss < results[0].loss / 4 and results[0].iterations == 6
    assert results[-1].seconds > 0
    loss, error = evaluate(net, *examples(seed=2))
    assert loss < 0.1 and error == 0.0


def test_only_full_batches_each_example_once_in_an_order_drawn_anew():
    net, (images, labels) = little_net(), examples()
    images[:, 0, 0, 0] = np.arange(50)
    seen, asked, reported = [], [], []

    def augment(x, rng):
        seen.append(x[:, 0, 0, 0].astype(int).tolist())
        return x * 0.01

    rng, optimizer = default_rng(5), SGD(net)
    for _ in range(2):
        how = {"rng": rng, "augment": augment, "optimizer": optimizer}
        how["lr"] = lambda iteration: asked.append(iteration) or 0.0
        epoch(net, images, labels, progress=lambda *step: reported.append(step), **how)
    assert asked == list(range(12)) == [step[0] for step in reported]
    assert [len(batch) for batch in seen] == [8] * 12
    first, second = np.concatenate(seen[:6]).tolist(), np.concatenate(seen[6:]).tolist()
    assert len(set(first)) == len(set(second)) == 48 and first != second
    assert first == default_rng(5).permutation(50)[:48].tolist()
    assert all(0 <= wrong <= 8 and batch == 8 for _, _, wrong, batch in reported)


def test_augmentation_does_not_touch_the_data():
    net, (images, labels) = little_net(), examples()
    before = images.copy()

    def spoil(x, rng):
        x[:] = rng.random(x.shape)
        return x

    epoch(net, images, labels, augment=spoil)
    np.testing.assert_array_equal(images, before)


def test_one_seed_gives_the_same_bits_and_a_broken_off_training_goes_on_with_them():
    images, labels = examples()

    def trained(break_after=None):
        net = little_net(dropout=0.5)
        optimizer, rng = SGD(net), default_rng(9)
        for number in range(4):
            if number == break_after:
                state, velocity = rng.bit_generator.state, optimizer.velocity
                net = Network.from_architecture(net.architecture(), net.state_dict(), backend=textbook)
                optimizer, rng = SGD(net), default_rng(0)
                optimizer.load_velocity(velocity)
                optimizer.iteration = 6 * number
                rng.bit_generator.state = state
            epoch(net, images, labels, optimizer=optimizer, rng=rng, lr=lambda i: 0.1 / (1 + i))
        return net.params()

    whole = trained()
    for other in (trained(), trained(break_after=2)):
        for name, array in whole.items():
            np.testing.assert_array_equal(other[name], array)


def test_evaluate_weighs_a_smaller_last_batch_by_its_size():
    net, (images, labels) = little_net(), examples(25)
    logits = net.forward(images)
    loss, _ = textbook.softmax_cross_entropy(logits, labels)
    wrong = 100 * np.mean(logits.argmax(axis=1) != labels)
    for batch in (1000, 25, 10, 7, 1):
        assert evaluate(net, images, labels, batch) == pytest.approx((float(loss), wrong), rel=1e-5)


def test_a_loss_that_is_not_finite_names_layer_and_iteration_and_makes_no_step():
    images, labels = examples()
    for spoil, found in [
        (lambda net: net.params()["fc1.weight"].__setitem__((2, 0, 1), np.nan), "weight of layer 'fc1'"),
        (lambda net: net.params()["fc2.bias"].__setitem__(1, np.inf), "bias of layer 'fc2'"),
        (lambda net: net.params()["fc2.weight"].fill(3e38), "output of layer 'fc2'"),
    ]:
        net = little_net()
        spoil(net)
        before = {name: array.copy() for name, array in net.params().items()}
        with pytest.raises(MnpError, match=rf"at iteration 100: the {found} holds NaN or infinity"):
            optimizer = SGD(net)
            optimizer.iteration = 100
            epoch(net, images, labels, optimizer=optimizer)
        for name, array in net.params().items():
            np.testing.assert_array_equal(array, before[name])
        with pytest.raises(MnpError, match=rf"in evaluation, examples 0 to 49: the {found}"):
            evaluate(net, images, labels)


def test_a_rate_that_is_too_high_stops_with_a_line():
    net, (images, labels) = little_net(), examples()
    with pytest.raises(
        MnpError,
        match=r"the loss became (nan|inf) at iteration \d+: the .* of layer 'fc\d'.*lower the learning rate",
    ):
        for _ in range(30):
            epoch(net, images * 1e8, labels, lr=1e12)


def test_nan_in_the_images_is_found_before_and_during_training():
    net, (images, labels) = little_net(), examples()
    check_finite(images)
    images[17, 0, 1, 2] = np.nan
    with pytest.raises(MnpError, match="images: example 17 holds nan"):
        check_finite(images)
    with pytest.raises(MnpError, match="input images hold NaN"):
        epoch(net, images, labels)
    images[17, 0, 1, 2] = -np.inf
    with pytest.raises(MnpError, match="test images: example 17 holds -inf"):
        check_finite(images, "test images")
    check_finite(np.full((2, 1, 3, 3), 3e38, np.float32))  # large is not infinite
    assert first_nonfinite(little_net(), examples()[0]) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:0], y[:0]), "no examples"),
        (lambda x, y: (x, y[:-1]), "50 images and 49 labels"),
        (lambda x, y: (x.astype(np.float64), y), "images are float64, the network is float32"),
        (lambda x, y: (x, y.astype(float)), "labels are float64"),
        (lambda x, y: (x, y[:, None]), "give whole numbers of shape"),
        (lambda x, y: (x, y + 1), "labels run from 1 to 3, the network has 3 classes"),
        (lambda x, y: (x, y - 1), "labels run from -1"),
        (lambda x, y: (x[:, :, :2], y), "layer 'fc1'"),
    ],
)
def test_examples_that_do_not_fit_are_one_line(change, message):
    net = little_net()
    images, labels = change(*examples())
    for run in (epoch, evaluate):
        with one_line(message):
            run(net, images, labels)


@pytest.mark.parametrize("batch", [0, -1, 51])
def test_a_batch_that_makes_no_step_is_one_line(batch):
    with one_line("give 1 to 50"):
        epoch(little_net(), *examples(), batch_size=batch)
    if batch < 1:
        with one_line("give 1 or more"):
            evaluate(little_net(), *examples(), batch)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar():
    terminal = Terminal()
    with Progress(300, "stage 1", epoch=100, stream=terminal) as progress:
        for iteration in range(300):
            progress(iteration, 0.5, 1, 4)
        assert progress.bar.n == 300
    shown = terminal.getvalue()
    assert "\r" in shown and "stage 1" in shown and "loss 0.5000, error 25.00 %" in shown
