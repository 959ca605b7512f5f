"""Dead and cut-off units, against gradients that are exactly zero."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.diagnostics import unit_activity
from portadnn.errors import InputError
from portadnn.network.model import L_model_backward, L_model_forward
from portadnn.network.spec import Network


@st.composite
def networks(draw):
    """A random network and data, with biases that kill, and weights that are cut."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hidden = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    n_y = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from(["relu", "relu", "relu", "leaky_relu", "tanh"]),
                          min_size=len(hidden), max_size=len(hidden)))  # fmt: skip
    network = Network((draw(st.integers(1, 5)), *hidden, n_y), names, "identity")
    bias = draw(st.sampled_from([0.0, 0.5, 2.0]))
    parameters = {}
    for name, shape in network.shapes.items():
        p = rng.standard_normal(shape)
        if name.startswith("b"):
            p = bias * (p - 0.5)
        else:
            p *= rng.random(shape) > draw(st.sampled_from([0.0, 0.3]))
        parameters[name] = p
    X = rng.standard_normal((network.layer_dims[0], draw(st.integers(1, 8))))
    return network, parameters, X, rng


@given(networks())
def test_exactly_the_units_without_a_gradient(drawn):
    """Random targets, so that gradients do not cancel: zero means that nothing arrives."""
    network, parameters, X, rng = drawn
    AL, caches = L_model_forward(X, parameters, network=network)
    grads = L_model_backward(AL, rng.standard_normal(AL.shape), caches, network=network)
    for layer in unit_activity(X, parameters, network=network):
        l = layer.layer
        arrived = (grads[f"dZ{l}"] != 0).any(axis=1)
        np.testing.assert_array_equal(layer.dead | layer.cut_off, ~arrived)
        unmoved = ~(grads[f"dW{l}"] != 0).any(axis=1) & (grads[f"db{l}"] == 0)[:, 0]
        np.testing.assert_array_equal(layer.dead | layer.cut_off, unmoved)
        Z = caches[l - 1][1]
        never = (Z <= 0).all(axis=1) if layer.activation == "relu" else np.zeros(len(Z), bool)
        np.testing.assert_array_equal(layer.dead, never)
        np.testing.assert_array_equal(layer.active, (Z > 0).mean(axis=1))
        assert not (layer.dead & layer.cut_off).any()


@given(networks())
def test_a_dead_unit_has_no_gradient_whatever_comes_back(drawn):
    """By hand: dZ = dA where Z > 0, for random dA."""
    network, parameters, X, rng = drawn
    A = X
    for layer in unit_activity(X, parameters, network=network):
        Z = parameters[f"W{layer.layer}"] @ A + parameters[f"b{layer.layer}"]
        if layer.activation == "relu":
            dZ = np.where(Z > 0, rng.standard_normal(Z.shape), 0)
            np.testing.assert_array_equal(layer.dead, (dZ == 0).all(axis=1))
        slope = {"relu": 0.0, "leaky_relu": 0.01}.get(layer.activation)
        A = np.tanh(Z) if slope is None else np.where(Z > 0, Z, slope * Z)


PARAMETERS = {
    # fires, dead, fires for some
    "W1": [[1.0], [1.0], [-1.0]], "b1": [[0.0], [-9.0], [0.0]],
    # fires; dead, and the only way from unit 2 of layer 1
    "W2": [[1.0, 1.0, 0.0], [-1.0, 0.0, -1.0]], "b2": [[0.0], [-0.5]],
    "W3": [[1.0, 1.0]], "b3": [[0.0]],
}  # fmt: skip


def test_dead_and_cut_off_on_every_backend(backend):
    parameters = {name: backend.asarray(p) for name, p in PARAMETERS.items()}
    first, second = unit_activity(backend.asarray([[-1.0, 1.0, 2.0, 3.0]]), parameters)
    assert first.dead.tolist() == [False, True, False]
    assert first.cut_off.tolist() == [False, False, True]
    assert first.active.tolist() == [0.75, 0.0, 0.25]
    assert second.dead.tolist() == [False, True]
    assert second.cut_off.tolist() == [False, False]
    assert (first.for_good, second.for_good) == (True, False)


def test_leaky_relu_has_neither():
    parameters = {name: np.asarray(p) for name, p in PARAMETERS.items()}
    network = Network((1, 3, 2, 1), "leaky_relu")
    for layer in unit_activity(np.asarray([[-1.0, 1.0]]), parameters, network=network):
        assert not (layer.dead | layer.cut_off).any()


def test_zero_weights_leave_every_unit_dead():
    network = Network((2, 3, 1))
    parameters = {name: np.zeros(shape) for name, shape in network.shapes.items()}
    (layer,) = unit_activity(np.ones((2, 4)), parameters)
    assert layer.dead.all()  # ReLU'(0) = 0


def test_a_unit_that_overflows_is_not_taken_for_dead():
    parameters = {name: np.asarray(p) for name, p in PARAMETERS.items()}
    parameters["W1"] = np.asarray([[np.inf], [-np.inf], [np.nan]])
    X = np.asarray([[1.0, 2.0]])
    with np.errstate(invalid="ignore"):
        first, second = unit_activity(X, parameters)
    assert first.dead.tolist() == [False, True, False]
    assert second.dead.tolist() == [False, False]
    assert first.active.tolist() == [1.0, 0.0, 0.0]


def test_data_that_do_not_fit_are_refused():
    parameters = {name: np.asarray(p) for name, p in PARAMETERS.items()}
    with pytest.raises(InputError, match=r"X has shape \(2, 3\)"):
        unit_activity(np.ones((2, 3)), parameters)
