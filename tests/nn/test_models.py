"""The builders' exact sizes: the numbers that the paper's percentages come from."""

import numpy as np
import pytest
from one_line import one_line

from mnp.kernels import textbook
from mnp.nn import BatchNorm2d, Dense, MaxoutDense, fold_batchnorm, lenet5, mlp, units_of, vgg16

T = {"backend": textbook}


def test_lenet5_layers():
    net = lenet5(20, 52, 64, 4, relu=True, dropout=0.25, rng=3, **T)
    assert list(net.layers) == ["conv1", "pool1", "conv2", "pool2", "flatten", "fc3", "fc4"]
    fc3 = net["fc3"]
    assert (fc3.units, fc3.k, fc3.in_features, fc3.relu, fc3.dropout) == (64, 4, 832, True, 0.25)
    assert net.output_shapes((1, 28, 28))["pool2"] == (52, 4, 4) and net.classes == 10
    plain = lenet5(20, 52, 64, 4, maxout=False, **T)
    assert list(plain.layers)[5:] == ["fc3", "fc3_relu", "fc3_dropout", "fc4"]
    assert plain["fc3"].out_features == plain["fc4"].in_features == 256
    single = lenet5(20, 52, 64, 1, relu=False, dropout=0.0, **T)
    assert list(single.layers)[5:] == ["fc3", "fc4"] and isinstance(single["fc3"], Dense)
    assert lenet5(4, 6, 8, 2, image_size=16, channels=3, **T).output_shapes((3, 16, 16))["flatten"] == (6,)


def test_one_seed_gives_one_network():
    rng = np.random.Generator(np.random.PCG64(3))
    nets = [lenet5(2, 3, 4, 2, rng=seed, **T) for seed in (3, rng, 4)]
    for name, array in nets[0].params().items():
        np.testing.assert_array_equal(nets[1].params()[name], array)
    assert (nets[0].params()["fc3.weight"] != nets[2].params()["fc3.weight"]).any()
    assert np.abs(nets[0].params()["conv1.weight"]).max() <= np.sqrt(3 / 25)
    assert lenet5(2, 3, 4, 2, dtype=np.float64, **T).dtype == np.float64


def test_dense_net():
    net = mlp((6, 5), 3, classes=4, image_size=8, rng=0, **T)
    assert list(net.layers) == ["flatten", "fc1", "fc2", "fc3"]
    assert net.count_params() == 65 * 18 + 7 * 15 + 6 * 4
    assert net.forward(np.ones((2, 1, 8, 8), np.float32)).shape == (2, 4)
    plain = mlp((6, 5), 3, classes=4, image_size=8, maxout=False, **T)
    assert plain.count_params() == 65 * 18 + 19 * 15 + 16 * 4


def test_vgg16_scaled():
    net = vgg16(0.25, 64, units=256, k=4, classes=430, batchnorm=True, rng=0, **T)
    assert net["conv1_1"].out_channels == 16 and net["conv5_3"].out_channels == 128
    assert net.output_shapes((3, 64, 64))["flatten"] == (512,)
    assert isinstance(net["fc6"], MaxoutDense) and net["fc7"].units == 256 and net["fc7"].in_features == 256
    assert sum(isinstance(layer, BatchNorm2d) for layer in net.layers.values()) == 13
    assert vgg16(0.25, 64, k=4, **T)["fc6"].units == 256  # units=None: 1024 neurons
    assert vgg16(0.25, 64, maxout=True, **T)["fc7"].k == 4


def test_vgg16_runs_and_folds():
    rng = np.random.Generator(np.random.PCG64(0))
    net = vgg16(1 / 32, 32, units=4, k=2, classes=3, batchnorm=True, rng=rng, dtype=np.float64, **T)
    x = rng.normal(size=(2, 3, 32, 32))
    net.forward(x, training=True, rng=rng)
    folded = fold_batchnorm(net)
    assert not any(isinstance(layer, BatchNorm2d) for layer in folded.layers.values())
    np.testing.assert_allclose(folded.forward(x), net.forward(x), rtol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: units_of(2048, 3),
        lambda: vgg16(k=3, **T),
        lambda: vgg16(width=0.3, **T),
        lambda: vgg16(width=0, **T),
        lambda: vgg16(image_size=31, **T),
        lambda: vgg16(maxout=["fc8"], **T),
        lambda: lenet5(units=0, **T),
        lambda: lenet5(k=0, **T),
        lambda: lenet5(k=2.0, **T),
        lambda: lenet5(image_size=8, **T),
        lambda: lenet5(rng="seed", **T),
        lambda: mlp(units=(4, 0), **T),
    ],
)
def test_sizes_that_make_no_network_are_one_line(wrong):
    with one_line():
        wrong()
