"""The gradient check: honest gradients pass, planted faults are flagged, kinks are said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.diagnostics import check_gradients
from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import HEADS
from portadnn.network.model import L_model_backward, L_model_forward
from portadnn.network.spec import Network

SQUARE = Network((6, 5, 5, 5, 1))  # W2 and W3 are square


def problem(seed, network=SQUARE, m=12):
    rng = np.random.default_rng(seed)
    parameters = initialize_parameters_deep(network.layer_dims, rng=rng)
    parameters |= {
        name: 0.1 * rng.standard_normal(p.shape)
        for name, p in parameters.items()
        if name.startswith("b")
    }
    X = rng.standard_normal((network.layer_dims[0], m))
    if network.head == "softmax":
        Y = np.eye(network.layer_dims[-1])[:, rng.integers(0, network.layer_dims[-1], m)]
    else:
        Y = rng.integers(0, 2, (network.layer_dims[-1], m)).astype(float)
    return X, Y, parameters


def textbook(X, Y, parameters, fault=None):
    """Backpropagation of ReLU layers and a sigmoid as a student writes it, with one fault or none.

    Faults are those of layer 2, but for the sign, which is the head's.
    """
    L, m = len(parameters) // 2, X.shape[1]
    A, Z = {0: X}, {}
    for l in range(1, L + 1):
        Z[l] = parameters[f"W{l}"] @ A[l - 1] + parameters[f"b{l}"]
        A[l] = np.maximum(Z[l], 0) if l < L else 1 / (1 + np.exp(-Z[l]))
    stale = np.maximum(parameters["W1"] * 0.999 @ X + parameters["b1"], 0)  # a step of 0.1 % ago
    dZ = Y - A[L] if fault == "sign" else A[L] - Y
    grads = {}
    for l in range(L, 0, -1):
        inputs = stale if (fault, l) == ("stale A_prev", 2) else A[l - 1]
        mean = 1 if (fault, l) == ("missing 1/m", 2) else m
        grads[f"dW{l}"] = dZ @ inputs.T / mean
        grads[f"db{l}"] = dZ.sum(axis=1, keepdims=True) / m
        if (fault, l) == ("bias without 1/m", 2):
            grads["db2"] = dZ.sum(axis=1, keepdims=True)
        if (fault, l) == ("dropped example", 2):
            grads["dW2"] = dZ[:, 1:] @ inputs[:, 1:].T / m
        if l > 1:
            W = parameters[f"W{l}"]
            dA = (W if (fault, l) == ("transposed square W", 2) else W.T) @ dZ
            mask = {"wrong mask": Z[1] < 0, "no mask": Z[1] == Z[1], "mask of dA": dA > 0}
            dZ = dA * (mask[fault] if l == 2 and fault in mask else Z[l - 1] > 0)
    return grads


@pytest.mark.parametrize("seed", range(4))
def test_the_textbook_passes(seed):
    X, Y, parameters = problem(seed)
    for grads in (None, textbook(X, Y, parameters)):
        found = check_gradients(X, Y, parameters, grads=grads, entries=None)
        assert found.passed
        assert all(tensor.kinked + tensor.checked == np.prod(tensor.shape)
                   for tensor in found.tensors)  # fmt: skip
        assert found.told > 0


# the tensors that each fault reaches, and no other
FAULTS = {
    "missing 1/m": {"W2"},
    "bias without 1/m": {"b2"},
    "dropped example": {"W2"},
    "stale A_prev": {"W2"},
    "transposed square W": {"W1", "b1"},
    "wrong mask": {"W1", "b1"},
    "no mask": {"W1", "b1"},
    "mask of dA": {"W1", "b1"},
    "sign": {"W1", "b1", "W2", "b2", "W3", "b3", "W4", "b4"},
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_flagged_where_they_are(fault, seed):
    X, Y, parameters = problem(seed)
    honest, grads = textbook(X, Y, parameters), textbook(X, Y, parameters, fault)
    # a fault may change nothing: where units are dead, or example 0 reaches no unit of layer 2
    changed = {name for name in parameters if (honest[f"d{name}"] != grads[f"d{name}"]).any()}
    assert changed <= FAULTS[fault]
    found = check_gradients(X, Y, parameters, grads=grads, entries=None)
    assert {tensor.name for tensor in found.tensors if tensor.faults} == changed
    assert found.passed == (not changed)


def test_every_fault_changed_something():
    """So that none of the cases above is empty for all seeds."""
    for fault in FAULTS:
        for seed in range(4):
            X, Y, parameters = problem(seed)
            honest, grads = textbook(X, Y, parameters), textbook(X, Y, parameters, fault)
            if any((honest[name] != grads[name]).any() for name in grads):
                break
        else:
            raise AssertionError(fault)


@settings(max_examples=25)
@given(st.data())
def test_honest_gradients_of_any_network_pass(data):
    head = data.draw(st.sampled_from(list(HEADS)))
    hidden = data.draw(st.lists(st.integers(1, 8), max_size=4))
    names = [data.draw(st.sampled_from(list(ACTIVATIONS))) for _ in hidden]
    network = Network((3, *hidden, 3), names, head)
    X, Y, parameters = problem(data.draw(st.integers(0, 2**32 - 1)), network)
    assert check_gradients(X, Y, parameters, network=network, entries=5).passed


def test_the_difference_is_the_derivative():
    # J = (2 a - 1)^2 / 2 with a = w 3 + b = 7: dW2 = 13 * 7, db2 = 13, dW1 = 13 * 2 * 3, db1 = 26
    parameters = {"W1": [[2.0]], "b1": [[1.0]], "W2": [[2.0]], "b2": [[0.0]]}
    network = Network((1, 1, 1), "relu", "identity")
    X, Y = np.asarray([[3.0]]), np.asarray([[1.0]])
    parameters = {name: np.asarray(p) for name, p in parameters.items()}
    found = check_gradients(X, Y, parameters, network=network)
    for tensor, expected in zip(found.tensors, (78, 26, 91, 13), strict=True):
        assert tensor.worst.gradient == expected
        # rounding allows this at the largest step: 8 u S / h, S about 85 + 13 * 15 + 26 * 7
        assert tensor.worst.difference == pytest.approx(expected, abs=4e-10)
        assert (tensor.checked, tensor.blind, tensor.faults) == (1, 0, 0)


def on_kinks():
    """Whole numbers, so that many Z are exactly 0, some for some examples and some for all."""
    network = Network((3, 4, 4, 2), "relu", "identity")
    rng = np.random.default_rng(0)
    parameters = {name: rng.integers(-1, 2, shape).astype(float)
                  for name, shape in network.shapes.items()}  # fmt: skip
    parameters["b1"] *= 0
    return network, rng.integers(-1, 2, (3, 9)).astype(float), np.ones((2, 9)), parameters


def test_entries_on_kinks_are_said_and_do_not_fail():
    network, X, Y, parameters = on_kinks()
    found = check_gradients(X, Y, parameters, network=network, entries=None)
    assert found.passed
    kinked = {tensor.name: tensor.kinked for tensor in found.tensors}
    assert kinked["W1"] > 0
    assert kinked["b1"] > 0
    assert kinked["W3"] == kinked["b3"] == 0  # nothing with a kink follows
    assert sum(tensor.checked for tensor in found.tensors) > 0
    # all zero: whatever moves a bias moves a unit off its kink
    zeros = {name: np.zeros_like(p) for name, p in parameters.items()}
    found = check_gradients(X, Y, zeros, network=network, entries=None)
    assert found.passed
    assert {t.name: t.kinked for t in found.tensors} | {"W1": 0} == {
        "W1": 0, "b1": 4, "W2": 0, "b2": 4, "W3": 0, "b3": 0}  # fmt: skip


def test_a_fault_among_kinks_is_flagged():
    network, X, Y, parameters = on_kinks()
    honest = check_gradients(X, Y, parameters, network=network, entries=None)
    assert honest.passed
    AL, caches = L_model_forward(X, parameters, network=network)
    grads = L_model_backward(AL, Y, caches, network=network)
    for name in parameters:
        tensor = next(t for t in honest.tensors if t.name == name)
        if tensor.checked > tensor.blind:
            wrong = check_gradients(
                X, Y, parameters, network=network, entries=None,
                grads=grads | {f"d{name}": -grads[f"d{name}"]},
            )  # fmt: skip
            assert [t.name for t in wrong.tensors if t.faults] == [name]


def test_a_kink_nearby_is_avoided_by_a_smaller_step():
    # z = 1e-4 at the example: the first step would cross it, a later one does not
    parameters = {"W1": [[1e-4]], "b1": [[0.0]], "W2": [[1.0]], "b2": [[0.0]]}
    parameters = {name: np.asarray(p) for name, p in parameters.items()}
    network = Network((1, 1, 1), "relu", "identity")
    X, Y = np.asarray([[1.0]]), np.asarray([[1.0]])
    found = check_gradients(X, Y, parameters, network=network)
    assert found.passed
    assert [tensor.kinked for tensor in found.tensors] == [0, 0, 0, 0]


def test_what_is_too_small_to_tell_is_counted():
    network = Network((4, *[8] * 12, 1))
    parameters = initialize_parameters_deep(network.layer_dims, init="normal:0.05", rng=0)
    X, Y = np.ones((4, 3)), np.ones((1, 3))
    first, *_, last = check_gradients(X, Y, parameters).tensors
    assert first.blind == first.checked > 0
    assert last.name == "b13"
    assert last.blind == 0


def test_on_every_backend_in_float64(backend):
    X, Y, parameters = problem(0, Network((3, 2, 1)), m=4)
    grads = textbook(X, Y, parameters, "sign")
    given = {name: backend.asarray(p) for name, p in parameters.items()}
    assert check_gradients(backend.asarray(X), backend.asarray(Y), given, entries=1).passed
    assert not check_gradients(X, Y, parameters, grads=grads, entries=1, backend=backend).passed


def test_bad_input_is_named():
    X, Y, parameters = problem(0)
    with pytest.raises(InputError, match="expected dW1 among them"):
        check_gradients(X, Y, parameters, grads={})
    grads = textbook(X, Y, parameters)
    with pytest.raises(InputError, match=r"dW2 has shape \(1, 5\), but W2 has shape \(5, 5\)"):
        check_gradients(X, Y, parameters, grads=grads | {"dW2": grads["dW2"][:1]})
    with pytest.raises(InputError, match="entries is 0"):
        check_gradients(X, Y, parameters, entries=0)
    with pytest.raises(InputError, match="the cost is nan"):
        check_gradients(X * np.nan, Y, parameters)


def test_a_gradient_that_is_not_a_number_is_wrong():
    X, Y, parameters = problem(0)
    grads = textbook(X, Y, parameters)
    grads["db4"] = grads["db4"] * np.nan
    found = check_gradients(X, Y, parameters, grads=grads)
    assert [tensor.name for tensor in found.tensors if tensor.faults] == ["b4"]
    assert not found.passed
