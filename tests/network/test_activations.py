import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import assert_equal, assert_lives_on, eps

from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS, get_activation, softmax

Z = np.asarray([[-3.0, -0.5, 0.0, 0.25, 2.0], [1.0, -1.0, 4.0, -0.125, 0.5]])

# the definitions, in float64 on NumPy
DEFINITIONS = {
    "sigmoid": lambda Z: 1 / (1 + np.exp(-Z)),
    "relu": lambda Z: Z * (Z > 0),
    "leaky_relu": lambda Z: np.where(Z > 0, Z, 0.01 * Z),
    "tanh": np.tanh,
    "identity": lambda Z: Z,
    "softmax": lambda Z: np.exp(Z) / np.exp(Z).sum(axis=0),
}


def test_every_activation_has_a_definition_here():
    assert DEFINITIONS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_forward_is_the_definition(name, backend):
    A = ACTIVATIONS[name].forward(backend.asarray(Z))
    # 10 roundings are more than any of them makes
    assert_equal(A, DEFINITIONS[name](Z), backend, rtol=10 * eps(backend))


@pytest.mark.parametrize("with_A", [True, False])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_backward_is_the_derivative(name, with_A, backend):
    dA = np.asarray([[0.5, -1.0, 2.0, 1.0, -0.25], [1.0, 1.0, -1.0, 0.75, 2.0]])
    kinked = name in ("relu", "leaky_relu")
    away = np.where(Z == 0, 0.5, Z) if kinked else Z
    g, h = DEFINITIONS[name], 1e-6
    expected = np.zeros_like(Z)
    for i, j in np.ndindex(Z.shape):
        nudge = np.zeros_like(Z)
        nudge[i, j] = h
        expected[i, j] = np.sum(dA * (g(away + nudge) - g(away - nudge))) / (2 * h)
    activation = ACTIVATIONS[name]
    z = backend.asarray(away)
    A = activation.forward(z) if with_A else None
    dZ = activation.backward(backend.asarray(dA), z, A=A)
    # central differences err by h**2 / 6 times the third derivative and eps / h: 1e-9 together
    assert_equal(dZ, expected, backend, rtol=1e-9 + 20 * eps(backend))


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_the_gradient_at_zero_is_that_of_the_left(name, backend):
    # a departure from the text, which takes 1
    zero, one = backend.asarray([[0.0]]), backend.asarray([[1.0]])
    slope = backend.to_numpy(ACTIVATIONS[name].backward(one, zero))[0, 0]
    assert slope == np.asarray({"relu": 0.0, "leaky_relu": 0.01}[name], slope.dtype)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_large_logits_stay_finite(name, backend):
    z = backend.asarray([[-1e4, 1e4, 0.0], [1e4, 1e4, -1e4]])
    activation = ACTIVATIONS[name]
    A = activation.forward(z)
    dZ = activation.backward(backend.asarray(np.ones((2, 3))), z)
    for x in (A, dZ):
        assert_lives_on(x, backend)
        assert np.isfinite(backend.to_numpy(x)).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_inputs_are_left_alone(name):
    z, dA = Z.copy(), np.ones_like(Z)
    z.flags.writeable = dA.flags.writeable = False
    activation = ACTIVATIONS[name]
    A = activation.forward(z)
    activation.backward(dA, z, A=A)
    np.testing.assert_array_equal(z, Z)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6))
def test_softmax_sums_to_one(column):
    total = softmax(np.asarray(column)[:, None]).sum()
    assert abs(total - 1) <= len(column) * np.finfo(float).eps  # one rounding per term


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InputError, match="'rleu': did you mean 'relu'"):
        get_activation("rleu")
