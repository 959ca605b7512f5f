import math

import mpmath
import numpy as np
import pytest
from support import assert_equal, assert_lives_on, eps

import portadnn
from portadnn.errors import InputError
from portadnn.network.optimizers import (
    OPTIMIZERS,
    Adam,
    AdamW,
    GradientDescent,
    Momentum,
    Nesterov,
    RMSProp,
    update_parameters,
)
from portadnn.network.penalties import penalized_gradient

SHAPES = {"W1": (3, 4), "b1": (3, 1), "W2": (1, 3), "b2": (1, 1)}
# printed by the course for its seeds 2 and 3 and the rate 0.1
EXPECTED = {
    "W1": [
        [-0.59562069, -0.09991781, -2.14584584, 1.82662008],
        [-1.76569676, -0.80627147, 0.51115557, -1.18258802],
        [-1.0535704, -0.86128581, 0.68284052, 2.20374577],
    ],
    "b1": [[-0.04659241], [-1.28888275], [0.53405496]],
    "W2": [[-0.55569196, 0.0354055, 1.32964895]],
    "b2": [[-0.84610769]],
}


def course(backend):
    rng = np.random.RandomState(2)
    parameters = {name: backend.asarray(rng.randn(*shape)) for name, shape in SHAPES.items()}
    rng = np.random.RandomState(3)
    grads = {f"d{name}": backend.asarray(rng.randn(*shape)) for name, shape in SHAPES.items()}
    return parameters, grads


@pytest.mark.parametrize("as_array", [False, True])
def test_worked_numbers_of_the_course(as_array, backend):
    parameters, grads = course(backend)
    rate = backend.asarray([[0.1]]) if as_array else 0.1
    updated = update_parameters(parameters, grads, rate)
    assert list(updated) == list(SHAPES)
    for name, p in updated.items():
        assert_equal(p, EXPECTED[name], backend, atol=5.1e-9, rtol=4 * eps(backend))


def test_the_parameters_given_are_left_alone(backend):
    # a departure from the text, which changes them
    parameters, grads = course(backend)
    before = {name: backend.to_numpy(p).copy() for name, p in parameters.items()}
    updated = update_parameters(parameters, grads, 0.1)
    assert updated is not parameters
    for name, p in parameters.items():
        np.testing.assert_array_equal(backend.to_numpy(p), before[name])


def test_a_numpy_float64_rate_does_not_widen_float32(backend):
    parameters, grads = course(backend)
    for p in update_parameters(parameters, grads, np.float64(0.1)).values():
        assert_lives_on(p, backend)


def test_missing_and_misshapen_gradients():
    p = {"W1": np.zeros((2, 3))}
    with pytest.raises(InputError, match=r"dW1 is missing, but W1 has shape \(2, 3\)"):
        update_parameters(p, {}, 0.1)
    with pytest.raises(InputError, match=r"dW1 has shape \(3, 2\), but W1 has shape \(2, 3\)"):
        update_parameters(p, {"dW1": np.zeros((3, 2))}, 0.1)


def torch_twin(torch, optimizer, weights, biases, rate):
    """PyTorch's own optimizer of that rule; decoupled decay is for the weights alone."""
    fields = {"lr": rate, "weight_decay": 0.0}
    groups = [
        {"params": weights, "weight_decay": optimizer.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    make = {
        "gradient_descent": lambda: torch.optim.SGD(groups, **fields),
        "momentum": lambda: torch.optim.SGD(groups, **fields, momentum=optimizer.mu),
        "nesterov": lambda: torch.optim.SGD(groups, **fields, momentum=optimizer.mu, nesterov=True),
        "rmsprop": lambda: torch.optim.RMSprop(
            groups, **fields, alpha=optimizer.rho, eps=optimizer.epsilon
        ),
        "adam": lambda: torch.optim.Adam(
            groups, **fields, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.epsilon
        ),
        "adamw": lambda: torch.optim.AdamW(
            groups, **fields, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.epsilon
        ),
    }
    return make[optimizer.name]()


@pytest.mark.parametrize(
    "optimizer",
    [
        *(rule() for rule in OPTIMIZERS.values()),
        Momentum(0.5),
        Nesterov(0.99),
        RMSProp(rho=0.9, epsilon=1e-3),
        Adam(beta1=0.5, beta2=0.9, epsilon=0.1),
        AdamW(weight_decay=0.3),
    ],
    ids=str,
)
def test_fifty_steps_are_those_of_pytorch(optimizer, backend, torch):
    rng = np.random.default_rng(0)
    steps = 3 if backend.name == "dask" else 50  # Dask computes 50 in seconds
    start = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    gradients = [
        {f"d{name}": rng.standard_normal(shape) for name, shape in SHAPES.items()}
        for _ in range(steps)
    ]
    kind = getattr(torch, backend.dtype_name)
    theirs = {name: torch.tensor(p, dtype=kind, requires_grad=True) for name, p in start.items()}
    twin = torch_twin(
        torch, optimizer, [theirs["W1"], theirs["W2"]], [theirs["b1"], theirs["b2"]], 0.01
    )
    ours = {name: backend.asarray(p) for name, p in start.items()}
    state = optimizer.init(ours)
    assert state.keys() == {f"{slot}{name}" for slot in optimizer.slots for name in SHAPES}
    for t, grads in enumerate(gradients, start=1):
        scalars = {name: backend.asarray([[x]]) for name, x in optimizer.scalars(0.01, t).items()}
        ours, state = optimizer.update(
            ours, {name: backend.asarray(g) for name, g in grads.items()}, state, scalars
        )
        for name, p in theirs.items():
            p.grad = torch.tensor(grads[f"d{name}"], dtype=kind)
        with torch.enable_grad():
            twin.step()
    for name, p in ours.items():
        # parameters up to 4 and steps up to 1 (nesterov, 0.99), a dozen roundings in each
        assert_equal(p, theirs[name].detach().numpy(), backend, atol=12 * steps * eps(backend))
    for x in state.values():
        assert_lives_on(x, backend)


def test_l2_is_pytorchs_weight_decay_on_the_weights(backend, torch):
    rng = np.random.default_rng(0)
    start = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    theirs = {name: torch.tensor(p, requires_grad=True) for name, p in start.items()}
    groups = [
        {"params": [theirs["W1"], theirs["W2"]], "weight_decay": 0.3},
        {"params": [theirs["b1"], theirs["b2"]]},
    ]
    twin = torch.optim.Adam(groups, lr=0.01)
    optimizer = Adam()
    ours = {name: backend.asarray(p) for name, p in start.items()}
    state = optimizer.init(ours)
    for t in range(1, 6):
        grads = {f"d{name}": rng.standard_normal(shape) for name, shape in SHAPES.items()}
        for name, p in theirs.items():
            p.grad = torch.tensor(grads[f"d{name}"])
        with torch.enable_grad():
            twin.step()
        grads = {name: backend.asarray(g) for name, g in grads.items()}
        for name in ("W1", "W2"):
            grads[f"d{name}"] = penalized_gradient(ours[name], grads[f"d{name}"], l2=0.3)
        ours, state = optimizer.update(ours, grads, state, optimizer.scalars(0.01, t))
    for name, p in ours.items():
        # Adam's first steps take hardly more than the sign of the rounded gradient
        assert_equal(p, theirs[name].detach().numpy(), backend, atol=100 * eps(backend))


def test_every_optimizer_is_public():
    assert {rule.__name__ for rule in OPTIMIZERS.values()} <= set(portadnn.__all__)


@pytest.mark.parametrize("rule", OPTIMIZERS.values())
def test_an_update_changes_nothing_that_it_was_given(rule, backend):
    parameters, grads = course(backend)
    optimizer = rule(weight_decay=0.1)
    state = optimizer.init(parameters)
    given = {**parameters, **grads, **state}
    before = {name: backend.to_numpy(x).copy() for name, x in given.items()}
    optimizer.update(parameters, grads, state, optimizer.scalars(0.1, 1))
    for name, x in given.items():
        np.testing.assert_array_equal(backend.to_numpy(x), before[name])


@pytest.mark.parametrize("rule", OPTIMIZERS.values())
def test_scalars_may_be_python_floats_or_arrays(rule, backend):
    parameters, grads = course(backend)
    optimizer = rule(weight_decay=0.1)
    scalars = {name: np.float64(x) for name, x in optimizer.scalars(0.1, 3).items()}
    arrays = {name: backend.asarray([[x]]) for name, x in scalars.items()}
    state = optimizer.init(parameters)
    first, second = (optimizer.update(parameters, grads, state, s) for s in (scalars, arrays))
    for name, p in first[0].items():
        assert_equal(p, backend.to_numpy(second[0][name]), backend, atol=8 * eps(backend))


def test_gradient_descent_is_update_parameters_to_the_bit(backend):
    parameters, grads = course(backend)
    expected = update_parameters(parameters, grads, 0.1)
    found, state = GradientDescent().update(parameters, grads, {}, {"learning_rate": 0.1})
    assert state == {}
    for name, p in found.items():
        assert_equal(p, backend.to_numpy(expected[name]), backend)


@pytest.mark.parametrize("rule", OPTIMIZERS.values())
def test_every_optimizer_names_a_missing_gradient(rule):
    p = {"W1": np.zeros((2, 3))}
    optimizer = rule()
    with pytest.raises(InputError, match="dW1 is missing"):
        optimizer.update(p, {}, optimizer.init(p), optimizer.scalars(0.1, 1))


@pytest.mark.parametrize("t", [1, 2, 64, 65, 128, 129, 419, 420, 421, 5000, 41_999, 42_001, 10**6])
def test_corrections_of_adam_are_rounded_as_mpmath_rounds_them(t):
    with mpmath.workprec(200):
        power1, power2 = (float(mpmath.mpf(beta) ** t) for beta in (0.9, 0.999))
    found = Adam().scalars(0.1, t)
    assert found["correction1"] == 1.0 / (1.0 - power1)
    assert found["correction2"] == 1.0 / math.sqrt(1.0 - power2)


def test_adam_counts_its_steps_from_1():
    with pytest.raises(InputError, match="the step number t is 0: expected 1 for the first step"):
        Adam().scalars(0.1, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Momentum(1.0),
        lambda: Momentum(-0.1),
        lambda: RMSProp(rho=1),
        lambda: RMSProp(epsilon=0),
        lambda: Adam(beta2=float("nan")),
        lambda: AdamW(weight_decay=-1),
        lambda: GradientDescent(weight_decay=float("inf")),
    ],
)
def test_hyperparameters_that_cannot_be_used(make):
    with pytest.raises(InputError, match="expected a finite number"):
        make()
