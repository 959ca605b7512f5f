"""Signals by layer, against sampling theory and against numbers worked out apart."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from portadnn.diagnostics import layer_signals
from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network

DEEP = (64, *[512] * 20)


def deep(init, seed, m=1, dims=DEEP):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((dims[0], m))
    return X, initialize_parameters_deep(dims, init=init, rng=rng)


@pytest.mark.parametrize("init", ["he", "lecun", "xavier", "normal"])
def test_second_moments_follow_chi_square_given_the_layer_before(init):
    """20 layers of 512 units: given A_prev the statistics of the layers are independent."""
    cdf = []
    for seed in range(5):
        X, parameters = deep(init, seed)
        layers = layer_signals(X, parameters, init=init)
        cdf += [stats.chi2.cdf(layer.chi_square[0], layer.n_l) for layer in layers]
    assert len(cdf) == 100
    # a wrong alarm in a thousand; the seeds are fixed
    assert stats.kstest(cdf, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("wrong", ["he:1.9", "he:2.1"])
def test_a_variance_that_is_off_by_a_twentieth_does_not(wrong):
    cdf = []
    for seed in range(5):
        X, parameters = deep("he", seed)
        layers = layer_signals(X, parameters, init=wrong)
        cdf += [stats.chi2.cdf(layer.chi_square[0], layer.n_l) for layer in layers]
    assert stats.kstest(cdf, "uniform").pvalue < 1e-3


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "identity"])
def test_one_layer_against_its_expectation(activation):
    """Over many draws of W: z is normal given x, so moments have the errors of their samples."""
    X = np.random.default_rng(0).standard_normal((30, 1))
    network = Network((30, 20_000, 1), activation)
    parameters = initialize_parameters_deep(network.layer_dims, init="normal:0.3", rng=1)
    first, _ = layer_signals(X, parameters, network=network, init="normal:0.3")
    assert first.z_predicted == pytest.approx(0.09 * np.sum(X * X), rel=1e-12)
    z = parameters["W1"] @ X
    a = ACTIVATIONS[activation].forward(z, xp=np)
    for found, predicted, x in (
        (first.z_square, first.z_predicted, z), (first.a_square, first.a_predicted, a)
    ):  # fmt: skip
        assert found == pytest.approx(np.mean(x**2), rel=1e-12)
        # 4.5 standard errors of a mean over 20,000
        assert abs(found - predicted) < 4.5 * np.std(x**2) / math.sqrt(x.size)
    assert first.z_variance == pytest.approx(np.var(z))
    assert first.a_variance == pytest.approx(np.var(a))


# depth 50: log2 of what a layer does to E[A^2]; width 100, so 100 * 0.01^2 / 2 for normal(0.01)
FACTORS = {"normal": math.log2(0.005), "lecun": -1.0, "xavier": -1.0, "he": 0.0}


@pytest.mark.parametrize("init", FACTORS)
def test_fifty_layers_vanish_shrink_or_keep(init):
    X, parameters = deep(init, 0, m=20, dims=[100] * 52)
    Y = np.random.default_rng(1).standard_normal((100, 20))
    network = Network([100] * 52, "relu", "identity")
    layers = layer_signals(X, parameters, Y=Y, network=network, init=init)
    # each layer's log has a standard deviation of about sqrt(5 / 100), 50 of them 1.6, 2.3 bits
    for layer in layers:
        predicted = FACTORS[init] * (layer.layer - 1) + math.log2(100 * layer.weight_variance)
        assert math.log2(layer.z_predicted) == pytest.approx(
            predicted + math.log2(np.mean(X * X)), abs=1e-6
        )
        assert abs(math.log2(layer.z_square / layer.z_predicted)) < 4 * 2.3
        assert abs(math.log2(layer.dz_square / layer.dz_predicted)) < 4 * 2.3
    first, last = layers[0], layers[-1]
    assert last.dz_predicted == last.dz_square
    expected = 50 * FACTORS[init]  # the gradient shrinks as the signal does, on its way back
    assert math.log2(first.dz_predicted / last.dz_square) == pytest.approx(expected, abs=1e-6)


def test_gradient_norms_are_those_of_backward():
    # z = 2, a = 2, output 2 * 3 + 1 = 7, y = 5: dZ2 = 2, dW2 = 4, dZ1 = 6, dW1 = 6
    parameters = {"W1": [[2.0]], "b1": [[0.0]], "W2": [[3.0]], "b2": [[1.0]]}
    parameters = {name: np.asarray(p) for name, p in parameters.items()}
    network = Network((1, 1, 1), "relu", "identity")
    X = np.asarray([[1.0]])
    first, second = layer_signals(X, parameters, Y=np.asarray([[5.0]]), network=network)
    assert (first.dW_norm, first.db_norm, first.dz_square) == (6.0, 6.0, 36.0)
    assert (second.dW_norm, second.db_norm, second.dz_square) == (4.0, 2.0, 4.0)
    # 1 * 3^2 * 2^2, and half of the units are on, in theory
    assert first.dz_predicted == 18.0
    assert second.z_predicted == 1 * 9 * 2 + 1  # E[a^2] = 4 / 2, and b^2
    assert second.chi_square.tolist() == [1.0]  # (7 - 1)^2 / (3^2 * 2^2)
    without = layer_signals(X, parameters, network=network)
    assert without[0].dW_norm is without[0].dz_predicted is None


def test_gradients_through_widths_that_differ():
    """E[dA1^2] = n_2 v E[dZ2^2], over many draws of 20,000 units against 5 of the next layer."""
    X, Y = np.ones((4, 1)), np.ones((5, 1))
    network = Network((4, 20_000, 5), "relu", "identity")
    parameters = initialize_parameters_deep(network.layer_dims, init="normal:0.3", rng=0)
    first, last = layer_signals(X, parameters, Y=Y, network=network, init="normal:0.3")
    assert first.dz_predicted == pytest.approx(5 * 0.09 * last.dz_square / 2, rel=1e-9)
    # dZ1^2 is half the time 0, else chi-square: 5 is the ratio of its variance to its squared mean;
    # 4.5 standard errors
    error = 4.5 * math.sqrt(5 / 20_000)
    assert first.dz_square == pytest.approx(first.dz_predicted, rel=error)


def test_signals_on_every_backend(backend):
    X, parameters = deep("he", 0, m=7, dims=(5, 8, 3, 1))
    Y = np.random.default_rng(0).integers(0, 2, (1, 7)).astype(float)
    expected = layer_signals(X, parameters, Y=Y, init="he")
    given = {name: backend.asarray(p) for name, p in parameters.items()}
    with backend.scope():
        found = layer_signals(backend.asarray(X), given, Y=backend.asarray(Y), init="he")
    # a few roundings of each of a few terms
    rtol = 100 * float(backend.xp.finfo(backend.dtype).eps)
    for ours, theirs in zip(expected, found, strict=True):
        for name in ("z_square", "a_variance", "chi_square", "zero_share", "dz_square", "dW_norm",
                     "z_predicted", "dz_predicted"):  # fmt: skip
            np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), rtol=rtol)


def test_sparsity_of_each_example():
    parameters = {"W1": np.eye(3), "b1": np.zeros((3, 1)), "W2": np.ones((1, 3)),
                  "b2": np.zeros((1, 1))}  # fmt: skip
    X = np.asarray([[1.0, -1.0, 1.0], [1.0, -1.0, -2.0], [-1.0, -1.0, 0.0]])
    first, _ = layer_signals(X, parameters)
    np.testing.assert_allclose(first.zero_share, [1 / 3, 1, 2 / 3])


def test_zeros_send_nothing_either_way():
    X, parameters = deep("zeros", 0, m=3, dims=(4, 5, 5, 1))
    layers = layer_signals(X, parameters, Y=np.ones((1, 3)), init="zeros")
    assert [layer.z_square for layer in layers] == [0, 0, 0] == [x.z_predicted for x in layers]
    assert [layer.dW_norm for layer in layers] == [0, 0, 0]  # A is 0 too
    assert layers[0].zero_share.tolist() == [1, 1, 1]
    assert np.isnan(layers[1].chi_square).all()


def test_weights_of_one_sign_are_not_those_of_the_theory():
    X, parameters = deep("he", 0, m=3, dims=(100, 100, 100, 100))
    positive = {name: np.abs(p) for name, p in parameters.items()}
    layers = layer_signals(np.abs(X), positive, init="he")
    assert all(layer.zero_share.max() == 0 for layer in layers[:-1])  # nothing is cut
    # a weight's mean is sqrt(2 / pi) standard deviations: n^2 (2 / pi) (2 / n) = 127, and a little
    # more for what A varies; over 100 inputs that is met within a fifth
    growth = [b.z_square / a.z_square for a, b in itertools.pairwise(layers)]
    np.testing.assert_allclose(growth[1:], 400 / math.pi, rtol=0.2)


def test_overflow_and_saturation_are_counted():
    X, parameters = deep("normal:1e30", 0, m=2, dims=(4, 5, 5, 1))
    single = {name: p.astype(np.float32) for name, p in parameters.items()}
    layers = layer_signals(X.astype(np.float32), single, init="normal:1e30")
    assert layers[0].overflowed == 0
    assert layers[1].overflowed > 0
    network = Network((4, 5, 5, 1), ("tanh", "sigmoid"))
    parameters["b3"] += 1e30  # whatever comes from layer 2
    layers = layer_signals(X, parameters, network=network)
    assert [layer.saturated for layer in layers] == [10, 10, 2]
    layers = layer_signals(X, deep("he", 0, dims=(4, 5, 5, 1))[1], network=network)
    assert [layer.saturated for layer in layers] == [0, 0, 0]


def test_bad_input_is_named():
    X, parameters = deep("he", 0, dims=(4, 5, 1))
    with pytest.raises(InputError, match="X holds no example"):
        layer_signals(X[:, :0], parameters)
    with pytest.raises(InputError, match="3 initialisers were given for 2 layers"):
        layer_signals(X, parameters, init=["he"] * 3)
