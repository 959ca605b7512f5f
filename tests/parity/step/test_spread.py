"""By how much a fused program may differ from the watched one."""

import numpy as np

from portadnn.network.activations import softmax
from portadnn.parity.step.spread import through


def test_a_share_moves_by_no_more_than_1_whatever_its_logits_do():
    # logits of 5e24 move by 1e9: exp(2e9) overflows, and the other share is 0
    Z, d = np.asarray([[5e24], [6e23]]), np.full((2, 1), 1e9)
    with np.errstate(all="ignore"):
        moved = through(softmax, Z, softmax(Z), d)
    np.testing.assert_array_equal(moved, np.ones((2, 1)))


def test_a_share_moves_as_its_derivative_says():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((4, 50))
    for size in (1e-8, 1e-3, 0.1, 1.0):
        d = size * rng.random(Z.shape)
        moved = np.abs(softmax(Z + d * rng.choice([-1, 1], Z.shape)) - softmax(Z))
        assert np.all(moved <= through(softmax, Z, softmax(Z), d))
