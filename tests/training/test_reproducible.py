"""Training in reproducible arithmetic: the same bits on every backend."""

import functools
import importlib.machinery
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from portadnn.arithmetic import namespace
from portadnn.backends import get_backend
from portadnn.data.digest import digest
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.optimizers import Adam
from portadnn.network.spec import Network
from portadnn.training.fit import fit
from portadnn.training.lbfgs import LBFGS
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.step import Shared, make_step
from portadnn.training.streams import Batches
from portadnn.training.train import L_layer_model, train

M = 21
CASES = {
    "gradient descent": ("sigmoid", Recipe(), None),
    "momentum": ("softmax", Recipe("momentum", l2=0.05), None),
    "nesterov in batches": ("identity", Recipe("nesterov:weight_decay=0.1"), 8),
    "rmsprop with dropout": ("softmax", Recipe("rmsprop", dropout=(0.4, 0.0)), 8),
    "adam with everything": (
        "softmax", Recipe("adam", l2=0.1, l1=0.1, clip_norm=0.1, dropout=(0.5, 0.2)), 8,
    ),
    "adamw": ("sigmoid", Recipe("adamw"), None),
    "counts": ("poisson", Recipe(l2=0.01), None),
    "smoothed labels in batches": ("softmax", Recipe(label_smoothing=0.1), 8),
}  # fmt: skip


def trained(backend, case="gradient descent", n_x=30, steps=6, first_layer="auto"):
    """The SHA-256 of the weights after some epochs, of one program on every backend."""
    head, recipe, batch_size = CASES[case]
    rng = np.random.default_rng(0)
    network = Network((n_x, 9, 6, 3), ("relu", "tanh"), head)
    X, Y = rng.standard_normal((n_x, M)), np.eye(3)[:, rng.integers(0, 3, M)]
    found = fit(
        initialize_parameters_deep(network.layer_dims, rng=1), X, Y, network=network,
        backend=backend, plan=Plan(0.1, steps, Batches(M, batch_size, 3), recipe, "exponential"),
        weights=rng.random((1, M)) + 0.5, first_layer=first_layer,
    )  # fmt: skip
    for p in found.values():
        assert backend.owns(p)
        assert p.dtype == backend.dtype
    return digest({name: np.asarray(backend.to_numpy(p)) for name, p in found.items()})


@functools.cache
def on_numpy(dtype, *case):
    return trained(get_backend("numpy", dtype=dtype, arithmetic="reproducible"), *case)


@pytest.mark.parametrize("case", CASES)
def test_the_weights_have_the_same_bits_on_every_backend(case, backend):
    given = case, 30, 2 if backend.name == "dask" else 6  # a step of Dask takes a second
    assert trained(backend.reproducible(), *given) == on_numpy(backend.dtype_name, *given)


@pytest.mark.parametrize("case", ["gradient descent", "momentum", "nesterov in batches"])
def test_in_sample_space_too(case, backend):
    steps = 2 if backend.name == "dask" else 4
    given = case, 200, steps, "sample"
    assert trained(backend.reproducible(), *given) == on_numpy(backend.dtype_name, *given)
    assert on_numpy(backend.dtype_name, *given) != on_numpy(backend.dtype_name, case, 200, steps)


def test_the_answer_is_that_of_fast_arithmetic_but_for_roundings(dtype):
    X, Y = np.random.default_rng(0).standard_normal((30, M)), np.ones((1, M))
    backends = [get_backend("numpy", dtype=dtype, arithmetic=a) for a in ("fast", "reproducible")]
    fast, ours = (
        L_layer_model(X, Y, [30, 9, 1], 0.1, 50, backend=backend, rng=0) for backend in backends
    )
    for name, p in ours.items():
        # 50 steps of an easy problem: a few roundings of each, all of them of size 1 or less
        np.testing.assert_allclose(p, fast[name], rtol=0, atol=50 * np.finfo(dtype).eps)


VIOLATIONS = {
    "a matmul that is not split": ("matmul", lambda self, x, y: self.raw.matmul(x, y)),
    "a sum in library order": (
        "sum",
        lambda self, x, axis=None, keepdims=False: self.raw.sum(x, axis=axis, keepdims=keepdims),
    ),
    "the library's exp": ("exp", lambda self, x: self.raw.exp(x)),
    "a division by a literal": ("divide", lambda self, x, y: self.raw.divide(x, y)),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_planted_violations_are_caught(violation, monkeypatch, require):
    require("jax")
    name, function = VIOLATIONS[violation]
    backends = [
        get_backend(b, dtype="float64", arithmetic="reproducible") for b in ("numpy", "jax")
    ]
    given = "adam with everything", 31  # not among those compiled before
    assert trained(backends[0], *given) == trained(backends[1], *given)
    monkeypatch.setattr(namespace.Reproducible, name, function)
    planted = "adam with everything", 32
    assert trained(backends[0], *planted) != trained(backends[1], *planted)


def test_lbfgs_is_refused(backend):
    with pytest.raises(InputError, match="lbfgs cannot be combined with reproducible arithmetic"):
        fit(
            initialize_parameters_deep((2, 1), rng=1), np.ones((2, 3)), np.ones((1, 3)),
            network=Network((2, 1), (), "sigmoid"), backend=backend.reproducible(),
            plan=Plan(1.0, 3, Batches(3)), solver=LBFGS(),
        )  # fmt: skip


def test_a_backend_and_another_arithmetic_are_refused(digits):
    backend = get_backend("numpy")
    with pytest.raises(InputError, match="reproducible, but the given backend has fast"):
        train(digits[0], backend=backend, arithmetic="reproducible", epochs=1)
    with pytest.raises(InputError, match="did you mean 'reproducible'"):
        get_backend("numpy", arithmetic="reproducable")
    assert get_backend(backend, arithmetic="fast") is backend
    ours = get_backend("numpy", arithmetic="reproducible")
    assert ours == backend.reproducible() == ours.reproducible()
    assert ours != backend


def test_processes_with_other_kernels_threads_and_libraries_agree(backends_under_test):
    """As scripts/fingerprints does with more steps and more configurations."""
    path = Path(__file__).parents[2] / "scripts" / "fingerprints"
    loader = importlib.machinery.SourceFileLoader("fingerprints", str(path))
    fingerprints = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("fingerprints", loader)
    )
    loader.exec_module(fingerprints)
    chosen = {"NumPy, Nehalem, 1 thread", "NumPy, Haswell, 2 threads", "NumPy, SkylakeX, 1 thread"}
    for library, name in {
        "torch": "PyTorch, 2 threads", "dask": "Dask, many chunks",
    }.items():  # fmt: skip
        chosen |= {name} if library in backends_under_test else set()
    expected = fingerprints.run("numpy", 3, {})
    assert expected is not None
    assert len(set(expected.values())) == 4
    for name, backend, settings in fingerprints.configurations():
        if name in chosen:
            assert fingerprints.run(backend, 3, settings) == expected, name


def deep(backend, steps=3):
    """The SHA-256 of weights and slots of 16 sigmoid layers, whose gradients vanish."""
    network = Network((6, *[5] * 16, 2), ("sigmoid",) * 16, "softmax")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, M)).astype("float32")
    Y = np.eye(2, dtype="float32")[:, rng.integers(0, 2, M)]
    parameters = initialize_parameters_deep(network.layer_dims, rng=1)
    parameters = {name: p.astype("float32") for name, p in parameters.items()}
    parameters["W3"] *= np.float32(1e-20)  # the layers before it have gradients near 1e-38
    recipe = Recipe("adam:epsilon=1e-30")
    plan = Plan(1e-3, steps, Batches(M), recipe)
    step = make_step(network, backend.xp, recipe=recipe)
    with backend.scope():
        held = {name: backend.asarray(p) for name, p in parameters.items()}
        state = held, recipe.optimizer.init(held, xp=backend.xp)
        shared = Shared(backend.asarray(X), backend.asarray(Y))
        state, _ = backend.repeat(step, state, plan.inputs(0, steps, network, backend), shared)
        arrays = {n: np.asarray(backend.to_numpy(x)) for part in state for n, x in part.items()}
    tiny = np.finfo(np.float32).tiny
    assert not any(np.any((x != 0) & (abs(x) < tiny)) for x in arrays.values())
    assert all(np.isfinite(x).all() for x in arrays.values())
    return digest(arrays)


def test_vanishing_gradients_of_many_layers_have_the_same_bits(backend_name):
    numpy, backend = (
        get_backend(name, dtype="float32", arithmetic="reproducible")
        for name in ("numpy", backend_name)
    )
    assert deep(backend) == deep(numpy)


def test_a_gradient_whose_square_is_subnormal_counts_as_0(backend_name):
    """Of 3e-20 and epsilon 1e-30 the step was 1 or 3e7 times the rate, as the device had it."""
    backend = get_backend(backend_name, dtype="float32", arithmetic="reproducible")
    rule = Adam(epsilon=1e-30)
    with backend.scope():
        given = {"b1": backend.asarray([[1.0]])}
        grads = {"db1": backend.asarray([[3e-20]])}
        found, _ = rule.update(given, grads, rule.init(given, xp=backend.xp),
                               rule.scalars(1e-3, 1), xp=backend.xp)  # fmt: skip
        assert backend.to_numpy(found["b1"]).item() == 1.0
