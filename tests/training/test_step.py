"""Gradients of the whole cost, penalties, weights and masks included, against two judges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import HEADS
from portadnn.network.spec import Network
from portadnn.training.recipe import Recipe
from portadnn.training.step import Shared, final_gradients, gradients, make_step, step_tensors


@st.composite
def problems(draw):
    """A network without kinks, a recipe with everything that changes the cost, and a batch."""
    head = draw(st.sampled_from(sorted(HEADS)))
    dims = (3, *draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)), 3)
    hidden = tuple(draw(st.sampled_from(["tanh", "sigmoid"])) for _ in dims[2:])
    rates = tuple(draw(st.sampled_from([0.0, 0.3, 0.5])) for _ in hidden)
    l2, l1 = draw(st.sampled_from([0.0, 0.1])), draw(st.sampled_from([0.0, 0.05]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    m = 7
    scale = 0.3 if head == "poisson" else 1.0  # so that no third derivative is large
    parameters = {
        name: scale * rng.standard_normal(p.shape)
        for name, p in initialize_parameters_deep(dims, rng=0).items()
    }
    X, Y = rng.standard_normal((3, m)), np.eye(3)[rng.integers(0, 3, m)].T
    rows = 3 if head != "softmax" and draw(st.booleans()) else 1
    S = rng.random((rows, m)) * 2 if draw(st.booleans()) else None
    inputs = {"learning_rate": np.ones((1, 1)), "batch": np.asarray([6, 0, 2, 3])}
    for l, rate in enumerate(rates, start=1):
        if rate:
            inputs[f"D{l}"] = rng.random((dims[l], 4)) > rate
    return (
        Network(dims, hidden, head),
        Recipe(l2=l2, l1=l1, dropout=rates),
        parameters,
        inputs,
        X,
        Y,
        S,
    )


def cost_and_gradients(network, recipe, parameters, inputs, *data):
    options = {"network": network, "recipe": recipe, "xp": np}
    found, tensors = gradients(parameters, inputs, Shared(*data).in_rows(), **options)
    return tensors["cost"], final_gradients(parameters, found, recipe=recipe, xp=np)[0]


@settings(max_examples=60)
@given(problems())
def test_gradients_of_the_whole_cost_are_central_differences(problem):
    network, recipe, parameters, inputs, *data = problem
    _, found = cost_and_gradients(*problem)
    h = 1e-5
    for name, p in parameters.items():
        for index in list(np.ndindex(p.shape))[:5]:
            if recipe.l1 and name.startswith("W") and abs(p[index]) < h:
                continue  # the absolute value has a kink at 0
            costs = []
            for nudge in (h, -h):
                moved = p.copy()
                moved[index] += nudge
                changed = {**parameters, name: moved}
                costs.append(cost_and_gradients(network, recipe, changed, inputs, *data)[0])
            expected = (costs[0] - costs[1]) / (2 * h)
            # h**2 times a third derivative, and the rounding of the costs over h
            tolerance = 1e-8 + 1e-10 * max(1.0, *map(abs, costs))
            assert abs(found[f"d{name}"][index] - expected) < tolerance, name


@settings(max_examples=60)
@given(problem=problems())
def test_gradients_of_the_whole_cost_are_those_of_autograd(problem, torch):
    network, recipe, parameters, inputs, X, Y, S = problem
    cost, found = cost_and_gradients(*problem)
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in parameters.items()}
    batch = inputs["batch"]
    A, y = torch.tensor(X[:, batch]), torch.tensor(Y[:, batch])
    for l in range(1, network.L + 1):
        A = Z = tensors[f"W{l}"] @ A + tensors[f"b{l}"]
        if l < network.L:
            A = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[network.activations[l - 1]](Z)
        if f"D{l}" in inputs:
            A = A * torch.tensor(inputs[f"D{l}"]) / (1 - recipe.dropout[l - 1])
    F = torch.nn.functional
    each = {
        "sigmoid": lambda: F.binary_cross_entropy_with_logits(Z, y, reduction="none"),
        "softmax": lambda: F.cross_entropy(Z.T, y.T, reduction="none")[None, :],
        "identity": lambda: F.mse_loss(Z, y, reduction="none") / 2,
        # labels of 0 and 1 have y log y = 0
        "poisson": lambda: F.poisson_nll_loss(Z, y, reduction="none") - y,
    }[network.head]()
    expected = (each * (1 if S is None else torch.tensor(S[:, batch]))).sum() / len(batch)
    for name, W in tensors.items():
        if name.startswith("W"):
            expected = expected + recipe.l2 / 2 * (W**2).sum() + recipe.l1 * W.abs().sum()
    expected.backward()
    # both are rounded a few dozen times, in another order
    assert abs(float(cost) - expected.item()) < 1e-13 * max(1.0, expected.item())
    for name, tensor in tensors.items():
        np.testing.assert_allclose(found[f"d{name}"], tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_smoothed_labels_are_those_of_torch(head, share, torch):
    rng = np.random.default_rng(0)
    network = Network((4, 3), head=head)
    parameters = initialize_parameters_deep(network.layer_dims, rng=rng)
    X, labels = rng.standard_normal((4, 9)), rng.integers(0, 3, 9)
    Y = np.eye(3)[labels].T
    recipe = Recipe(label_smoothing=share)
    shared = Shared.of(X, Y, network=network, recipe=recipe)
    found, tensors = gradients(parameters, {}, shared, network=network, recipe=recipe, xp=np)
    W, b = (torch.tensor(parameters[name], requires_grad=True) for name in ("W1", "b1"))
    Z = W @ torch.tensor(X) + b
    if head == "softmax":
        loss = torch.nn.CrossEntropyLoss(label_smoothing=share)(Z.T, torch.tensor(labels))
    else:
        soft = torch.tensor(Y) * (1 - share) + share / 2
        loss = torch.nn.BCEWithLogitsLoss(reduction="sum")(Z, soft) / 9
    loss.backward()
    assert abs(float(tensors["cost"]) - loss.item()) < 1e-14 * 10
    np.testing.assert_allclose(found["dW1"], W.grad.numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found["db1"], b.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_labels_are_smoothed_on_the_host_to_the_same_bits_everywhere(backend):
    Y = np.asarray([[0.0, 1.0, 1.0]])
    network, recipe = Network((2, 1)), Recipe(label_smoothing=0.1)
    given = Shared.of(None, backend.asarray(Y), network=network, recipe=recipe).Y
    assert isinstance(given, np.ndarray)
    np.testing.assert_array_equal(given, 0.9 * Y + 0.1 * 0.5)
    assert Shared.of(None, Y, network=network, recipe=Recipe()).Y is Y


def test_the_tensors_of_a_step_are_in_the_order_of_the_text():
    network = Network((3, 4, 2))
    inputs = {"learning_rate": np.ones((1, 1)), "D1": np.ones((4, 5), bool)}
    parameters = initialize_parameters_deep(network.layer_dims)
    recipe = Recipe(l2=0.1, clip_norm=1.0, dropout=(0.5,))
    _, tensors = step_tensors(
        (parameters, {}), inputs, Shared(np.ones((3, 5)), np.ones((2, 5))),
        network=network, recipe=recipe, xp=np,
    )  # fmt: skip
    expected = {"Z1", "A1", "AD1", "Z2", "A2", "penalty", "cost", "dZ1", "dZ2", "dA1", "dAD1"}
    expected |= {f"{kind}{name}" for kind in "dg" for name in parameters}
    assert tensors.keys() == expected | {"rW1", "rW2", "norm"}
    np.testing.assert_array_equal(tensors["AD1"], tensors["A1"] / 0.5)


def test_a_step_is_the_same_object_for_the_same_recipe():
    network = Network((3, 4, 2))
    step = make_step(network, np, recipe=Recipe("adam"))
    assert make_step(Network([3, 4, 2], "relu"), np, recipe=Recipe("adam:0.9")) is step
    assert make_step(network, np, recipe=Recipe("adam", l2=0.1)) is not step


@pytest.mark.parametrize("recipe", [Recipe("adam", l2=0.1, dropout=(0.5,)), Recipe("momentum")])
def test_a_step_changes_nothing_that_it_was_given(recipe):
    network = Network((3, 4, 2))
    parameters = initialize_parameters_deep(network.layer_dims)
    inputs = {name: np.ones((1, 1)) for name in recipe.scalar_names}
    if recipe.dropout:
        inputs["D1"] = np.ones((4, 5), bool)
    slots = recipe.optimizer.init(parameters)
    data = Shared(np.ones((3, 5)), np.ones((2, 5)), np.ones((1, 5)))
    for x in (*parameters.values(), *inputs.values(), *slots.values(), *data[:3]):
        x.flags.writeable = False
    make_step(network, np, recipe=recipe)((parameters, slots), inputs, data)
