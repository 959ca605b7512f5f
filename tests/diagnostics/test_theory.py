"""Moments against SciPy's quadrature."""

import numpy as np
import pytest
from scipy import integrate, stats

from portadnn.diagnostics import activation_moments
from portadnn.network.activations import ACTIVATIONS


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "identity", "tanh", "sigmoid"])
@pytest.mark.parametrize("variance", [1e-6, 0.3, 1.0, 40.0])
def test_moments_of_activations(name, variance):
    g = ACTIVATIONS[name]

    def moment(function):
        def integrand(z):
            value = function(np.asarray([[z]]))[0, 0]
            return value**2 * stats.norm.pdf(z, scale=variance**0.5)

        reach = 12 * variance**0.5
        return sum(integrate.quad(integrand, *part, epsabs=0, epsrel=1e-11, limit=200)[0]
                   for part in ((-reach, 0), (0, reach)))  # fmt: skip

    square, slope = activation_moments(name, variance)
    # the rule's own digits
    assert square == pytest.approx(moment(g.forward), rel=1e-9)
    expected = moment(lambda z: g.backward(np.ones_like(z), z))
    assert slope == pytest.approx(expected, rel=1e-9)


def test_no_prediction_is_made_up():
    assert np.isnan(activation_moments("softmax", 1.0)).all()
    assert np.isnan(activation_moments("relu", np.inf)).all()
