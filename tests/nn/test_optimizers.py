"""The learning-rate policies, and wrong use of SGD."""

import numpy as np
import pytest
from one_line import one_line

from mnp.kernels import textbook
from mnp.nn import SGD, Dense, Network, learning_rate

OPTIMIZER = SGD(Network([("fc", Dense(4, 3, rng=0, backend=textbook))]))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: OPTIMIZER.load_velocity({}), "velocity of 'fc.weight' is missing"),
        (
            lambda: OPTIMIZER.load_velocity(OPTIMIZER.velocity | {"fc.bias": np.zeros(4)}),
            "velocity of 'fc.bias'",
        ),
        (lambda: OPTIMIZER.step(0.1), "needs gradients"),
        (lambda: SGD(OPTIMIZER.net, momentum=1.0), "give a momentum"),
        (lambda: SGD(OPTIMIZER.net, momentum=-0.1), "give a momentum"),
        (lambda: SGD(OPTIMIZER.net, weight_decay=-1e-4), "give a momentum"),
        (lambda: learning_rate("linear", 0.1, 0, 1), "choose constant, step, inv, cosine"),
        (lambda: learning_rate("step", 0.1, 0, 1), "step_size"),
        (lambda: learning_rate("step", 0.1, 0, 1, step_size=0), "step_size"),
    ],
)
def test_wrong_use_is_one_line(call, says):
    with one_line(says):
        call()


def test_policies():
    assert [learning_rate("constant", 0.1, i, 10) for i in (0, 9)] == [0.1, 0.1]
    assert learning_rate("inv", 0.01, 0, 10) == 0.01
    assert learning_rate("inv", 0.01, 3749, 3749) == pytest.approx(0.01 * 1.3749**-0.75)
    assert learning_rate("inv", 0.01, 10, 10, gamma=0.1, power=2) == pytest.approx(0.01 / 4)
    steps = [learning_rate("step", 1.0, i, 9, step_size=3) for i in range(9)]
    assert steps == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])
    cosine = [learning_rate("cosine", 2.0, i, 4) for i in range(6)]
    half = 2**0.5 / 2
    assert cosine == pytest.approx([2, 1 + half, 1, 1 - half, 0, 0])


def test_warmup_climbs_and_the_policy_starts_after_it():
    rates = [learning_rate("cosine", 1.0, i, 6, warmup=2) for i in range(6)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == pytest.approx([learning_rate("cosine", 1.0, i, 4) for i in range(4)])
    assert learning_rate("cosine", 1.0, 5, 3, warmup=3) == 0.0  # a training that is all warmup
