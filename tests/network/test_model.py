"""The whole model against worked numbers, central differences and PyTorch's autograd."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import assert_equal, assert_lives_on, eps

from portadnn.errors import InputError
from portadnn.network.activations import ACTIVATIONS
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.layers import linear_forward
from portadnn.network.losses import HEADS
from portadnn.network.model import (
    L_model_backward,
    L_model_forward,
    compute_cost_with_logits,
)
from portadnn.network.spec import Network

WIDTHS = st.sampled_from([1, 2, 3, 5, 7])
KINKED = ("relu", "leaky_relu")


@st.composite
def problems(draw, max_depth=6):
    """A network of 1 to 6 layers with odd widths, parameters with biases, data and labels."""
    depth = draw(st.integers(1, max_depth))
    dims = [draw(WIDTHS) for _ in range(depth + 1)]
    head = draw(st.sampled_from(sorted(HEADS)))
    if head == "softmax":
        dims[-1] = max(dims[-1], 2)
    hidden = tuple(draw(st.sampled_from(sorted(ACTIVATIONS))) for _ in range(depth - 1))
    m = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    parameters = initialize_parameters_deep(dims, init="xavier", rng=rng)
    parameters = {
        name: rng.standard_normal(p.shape) * 0.3 if name[0] == "b" else p
        for name, p in parameters.items()
    }
    X = rng.standard_normal((dims[0], m))
    if head == "softmax":
        Y = np.eye(dims[-1])[rng.integers(0, dims[-1], m)].T
    elif head in ("sigmoid", "poisson"):
        Y = rng.integers(0, 2 if head == "sigmoid" else 5, (dims[-1], m)).astype(float)
    else:
        Y = rng.standard_normal((dims[-1], m))
    return Network(tuple(dims), hidden, head), parameters, X, Y


def gradients(network, parameters, X, Y):
    AL, caches = L_model_forward(X, parameters, network=network)
    return L_model_backward(AL, Y, caches, network=network)


def cost_of(network, parameters, X, Y):
    _, caches = L_model_forward(X, parameters, network=network)
    return float(compute_cost_with_logits(caches[-1][1], Y, network=network))


def crosses_a_kink(network, parameters, X, margin):
    _, caches = L_model_forward(X, parameters, network=network)
    return any(
        np.min(np.abs(Z)) < margin
        for (_, Z), activation in zip(caches, network.activations, strict=False)
        if activation in KINKED
    )


@given(problems())
@settings(max_examples=150)
def test_gradients_are_central_differences(problem):
    network, parameters, X, Y = problem
    h = 1e-5
    # a nudge of h moves no Z by more than h times a few weights: kinks nearer than that are redrawn
    assume(not crosses_a_kink(network, parameters, X, margin=100 * h))
    grads = gradients(network, parameters, X, Y)
    m = X.shape[1]
    for name, p in [*parameters.items(), ("X", X)]:
        found = grads["dA0"] / m if name == "X" else grads[f"d{name}"]
        for index in list(np.ndindex(p.shape))[:6]:
            costs = []
            for nudge in (h, -h):
                moved = p.copy()
                moved[index] += nudge
                changed = parameters if name == "X" else {**parameters, name: moved}
                costs.append(cost_of(network, changed, moved if name == "X" else X, Y))
            expected = (costs[0] - costs[1]) / (2 * h)
            # h**2 times a third derivative of order 1, and the rounding of the costs over h
            tolerance = 1e-8 + 1e-10 * max(1.0, *map(abs, costs))
            assert abs(found[index] - expected) < tolerance * max(1.0, abs(expected)), name


@given(problem=problems())
@settings(max_examples=100)
def test_gradients_are_those_of_pytorch_autograd(problem, torch):
    network, parameters, X, Y = problem
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parameters.items()}
    x, y = torch.tensor(X, requires_grad=True), torch.tensor(Y)
    F = torch.nn.functional
    functions = {
        "sigmoid": torch.sigmoid,
        "relu": torch.relu,
        "leaky_relu": lambda Z: F.leaky_relu(Z, 0.01),
        "tanh": torch.tanh,
        "identity": lambda Z: Z,
        "softmax": lambda Z: torch.softmax(Z, dim=0),
    }
    A = x
    for l in range(1, network.L + 1):
        Z = tensors[f"W{l}"] @ A + tensors[f"b{l}"]
        if l < network.L:
            A = functions[network.activations[l - 1]](Z)
    cost = {
        "sigmoid": lambda: F.binary_cross_entropy_with_logits(Z, y, reduction="sum"),
        "softmax": lambda: F.cross_entropy(Z.T, y.T, reduction="sum"),
        "identity": lambda: F.mse_loss(Z, y, reduction="sum") / 2,
        "poisson": lambda: (
            F.poisson_nll_loss(Z, y, reduction="sum") + (torch.xlogy(y, y) - y).sum()
        ),
    }[network.head]() / X.shape[1]
    cost.backward()
    assert abs(cost_of(network, parameters, X, Y) - cost.item()) < 1e-13 * max(1, cost.item())
    grads = gradients(network, parameters, X, Y)
    for name, tensor in [*tensors.items(), ("X", x)]:
        found = grads["dA0"] / X.shape[1] if name == "X" else grads[f"d{name}"]
        # both are rounded a few dozen times, in another order
        np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_forward_worked_numbers_of_the_course(backend):
    rng = np.random.RandomState(6)
    X = rng.randn(5, 4)
    parameters = {}
    for l, (n_l, n_prev) in enumerate([(4, 5), (3, 4), (1, 3)], start=1):
        parameters[f"W{l}"], parameters[f"b{l}"] = rng.randn(n_l, n_prev), rng.randn(n_l, 1)
    parameters = {name: backend.asarray(p) for name, p in parameters.items()}
    AL, caches = L_model_forward(backend.asarray(X), parameters)
    expected = [[0.03921668, 0.70498921, 0.19734387, 0.04728177]]
    assert_equal(AL, expected, backend, atol=5.1e-9, rtol=50 * eps(backend))
    assert len(caches) == 3


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_backend_computes_what_numpy_does(activation, head, backend):
    network = Network((5, 4, 3, 2), activation, head)
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((5, 6)), np.eye(2)[:, rng.integers(0, 2, 6)]
    expected = gradients(network, parameters, X, Y)
    on_backend = {name: backend.asarray(p) for name, p in parameters.items()}
    found = gradients(network, on_backend, backend.asarray(X), backend.asarray(Y))
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        # 3 layers of sums of at most 6 terms; the parity tests derive the bound
        assert_equal(gradient, expected[name], backend, rtol=200 * eps(backend))


def test_dA_l_is_the_gradient_of_A_l(backend):
    # a departure from the text, whose code stores it as dA(l+1)
    network = Network((5, 4, 3, 1))
    parameters = initialize_parameters_deep(network.layer_dims, rng=0, backend=backend)
    X = backend.asarray(np.random.default_rng(0).standard_normal((5, 2)))
    grads = gradients(network, parameters, X, backend.asarray([[0.0, 1.0]]))
    assert {name for name in grads if name.startswith("dA")} == {"dA0", "dA1", "dA2"}
    for l, width in enumerate([5, 4, 3]):
        assert tuple(grads[f"dA{l}"].shape) == (width, 2)
        assert_lives_on(grads[f"dA{l}"], backend)


def test_training_does_not_pay_for_dA0():
    network = Network((5, 4, 1))
    parameters = initialize_parameters_deep(network.layer_dims)
    AL, caches = L_model_forward(np.ones((5, 2)), parameters, network=network)
    grads = L_model_backward(AL, np.ones((1, 2)), caches, network=network, input_gradient=False)
    assert "dA0" not in grads
    assert "dA1" in grads


def test_activations_are_not_computed_again_on_the_way_back(monkeypatch):
    network = Network((5, 4, 3, 1), ("tanh", "sigmoid"))
    parameters = initialize_parameters_deep(network.layer_dims)
    AL, caches = L_model_forward(np.ones((5, 2)), parameters, network=network)

    def refuse(*_, **__):
        raise AssertionError("an activation was computed again")

    monkeypatch.setattr("portadnn.network.activations.tanh", refuse)
    monkeypatch.setattr("portadnn.network.activations.sigmoid", refuse)
    L_model_backward(AL, np.ones((1, 2)), caches, network=network)


def test_a_parameter_of_another_shape_is_named_with_its_layer():
    parameters = initialize_parameters_deep([4, 7, 5, 1])
    parameters["W2"] = np.zeros((5, 20))
    with pytest.raises(
        InputError,
        match=r"W2 has shape \(5, 20\), but layer 1 has 7 units.*expected \(5, 7\)",
    ):
        L_model_forward(np.zeros((4, 2)), parameters)


def test_data_of_another_width():
    with pytest.raises(InputError, match=r"X has shape \(3, 2\).*4 values.*expected \(4, m\)"):
        L_model_forward(np.zeros((3, 2)), initialize_parameters_deep([4, 1]))


def test_jax_float64_without_x64_is_refused(require):
    require("jax")
    import jax

    with jax.enable_x64(True):
        X = jax.numpy.ones((4, 2), dtype="float64")
        parameters = initialize_parameters_deep([4, 1])
        parameters = {name: jax.numpy.asarray(p) for name, p in parameters.items()}
    with pytest.raises(InputError, match=r"float64 was given.*jax\.enable_x64\(True\)"):
        L_model_forward(X, parameters)


def test_read_only_inputs():
    network = Network((5, 4, 1))
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    X, Y = np.random.default_rng(0).standard_normal((5, 3)), np.asarray([[0.0, 1.0, 1.0]])
    for x in (X, Y, *parameters.values()):
        x.flags.writeable = False
    grads = gradients(network, parameters, X, Y)
    assert all(math.isfinite(float(np.sum(g))) for g in grads.values())


def test_dask_in_chunks_of_examples(require):
    require("dask")
    import dask.array as da

    network = Network((5, 4, 3, 2), head="softmax")
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((5, 11)), np.eye(2)[:, rng.integers(0, 2, 11)]
    expected = gradients(network, parameters, X, Y)
    chunked = gradients(
        network,
        {name: da.from_array(p) for name, p in parameters.items()},
        da.from_array(X, chunks=(5, 3)),
        da.from_array(Y, chunks=(2, 3)),
    )
    for name, gradient in chunked.items():
        assert isinstance(gradient, da.Array)
        # the sums over examples run in four chunks: a few roundings in another order
        np.testing.assert_allclose(gradient.compute(), expected[name], rtol=1e-13, atol=1e-15)
    cost = compute_cost_with_logits(
        L_model_forward(da.from_array(X, chunks=(5, 3)), parameters_on_dask(parameters),
                        network=network)[1][-1][1],
        da.from_array(Y, chunks=(2, 3)), network=network)  # fmt: skip
    assert abs(float(cost.compute()) - cost_of(network, parameters, X, Y)) < 1e-14


def parameters_on_dask(parameters):
    import dask.array as da

    return {name: da.from_array(p) for name, p in parameters.items()}


def test_integer_labels_do_not_widen_float32(backend):
    network = Network((5, 4, 1))
    parameters = initialize_parameters_deep(network.layer_dims, backend=backend)
    X = backend.asarray(np.ones((5, 2)))
    Y = backend.asarray([[0, 1]], dtype="int32")
    AL, caches = L_model_forward(X, parameters, network=network)
    for gradient in L_model_backward(AL, Y, caches, network=network).values():
        assert_lives_on(gradient, backend)
    assert compute_cost_with_logits(caches[-1][1], Y, network=network).dtype == backend.dtype


def test_data_that_is_not_floating_is_named():
    with pytest.raises(InputError, match="A has dtype int64: expected float32 or float64"):
        linear_forward(np.ones((2, 3), np.int64), np.ones((1, 2)), np.ones((1, 1)))
    with pytest.raises(InputError, match="array of float16.*convert it to float32 or float64"):
        linear_forward(np.ones((2, 3), np.float16), np.ones((1, 2)), np.ones((1, 1)))


def test_caches_of_another_network():
    AL, Y = np.ones((1, 2)), np.ones((1, 2))
    with pytest.raises(InputError, match="0 caches were given"):
        L_model_backward(AL, Y, [])
    _, caches = L_model_forward(np.ones((4, 2)), initialize_parameters_deep([4, 1]))
    with pytest.raises(InputError, match="1 caches were given: expected one for each of 2"):
        L_model_backward(AL, Y, caches, network=Network((4, 3, 1)))


@pytest.mark.parametrize("head", HEADS)
def test_weights_and_masks_on_every_backend(head, backend):
    """Against PyTorch's autograd through NumPy: see tests/training/test_step.py."""
    network = Network((5, 4, 6, 3), ("tanh", "relu"), head)
    rng = np.random.default_rng(1)
    host = initialize_parameters_deep(network.layer_dims, rng=0)
    X, Y = rng.standard_normal((5, 7)), np.eye(3)[:, rng.integers(0, 3, 7)]
    S, D1, D2 = rng.random((1, 7)) * 2, rng.random((4, 7)) > 0.5, rng.random((6, 7)) > 0.2

    def everything(asarray):
        parameters = {name: asarray(p) for name, p in host.items()}
        options = {
            "network": network,
            "masks": {"D1": asarray(D1, dtype="bool"), "D2": asarray(D2, dtype="bool")},
            "dropout": (0.5, 0.2),
        }
        AL, caches = L_model_forward(asarray(X), parameters, **options)
        weights = asarray(S)
        return {"AL": AL} | L_model_backward(AL, asarray(Y), caches, weights=weights, **options)

    expected = everything(np.asarray)
    found = everything(backend.asarray)
    assert found.keys() == expected.keys()
    assert {"dA1", "dAD1", "dA2", "dAD2", "dA0"} <= found.keys()
    for name, x in found.items():
        # 3 layers of sums of at most 7 terms, as above
        assert_equal(x, expected[name], backend, rtol=200 * eps(backend))


def test_what_a_mask_drops_has_no_gradient():
    network = Network((2, 3, 1))
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    D1 = np.asarray([[True, True], [False, False], [True, False]])
    options = {"network": network, "masks": {"D1": D1}, "dropout": (0.5,)}
    AL, caches = L_model_forward(np.ones((2, 2)), parameters, **options)
    grads = L_model_backward(AL, np.zeros((1, 2)), caches, **options)
    np.testing.assert_array_equal(grads["dA1"] == 0, ~D1)
    np.testing.assert_array_equal(grads["dA1"][D1], 2 * grads["dAD1"][D1])
    assert (grads["dW1"][1] == 0).all()
    assert grads["dW2"][0, 1] == 0
