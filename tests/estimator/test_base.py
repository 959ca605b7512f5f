"""Fits that go on from what an earlier one has become."""

import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from portadnn import DivergenceError, InputError, PortaDNNClassifier, PortaDNNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SOLVERS = {
    "adam": {},
    "sgd": {"solver": "sgd", "momentum": 0.0},
    "nesterov": {"solver": "sgd"},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
}


@pytest.mark.parametrize("parameters", SOLVERS.values(), ids=SOLVERS)
def test_patience_ends_no_pass_of_partial_fit(parameters):
    """200 passes over one sample are the fit of 200 passes: patience runs out after 28 of them."""
    X, y = [[2.0]], [1.0]
    one_by_one = PortaDNNRegressor((42,), random_state=42, learning_rate_init=0.01, **parameters)
    whole = clone(one_by_one).set_params(max_iter=200, tol=0.0, n_iter_no_change=10**6).fit(X, y)
    for _ in range(200):
        one_by_one.partial_fit(X, y)
    assert one_by_one.loss_curve_ == whole.loss_curve_
    for found, expected in zip(
        one_by_one.coefs_ + one_by_one.intercepts_, whole.coefs_ + whole.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("parameters", SOLVERS.values(), ids=SOLVERS)
def test_batch_by_batch_it_is_scikit_learns(parameters):
    X, y = load_digits(return_X_y=True)
    # epsilon: so small that its place in Adam's quotient does not matter
    options = {"hidden_layer_sizes": (32,), "random_state": 0, "epsilon": 1e-30} | parameters
    ours, theirs = PortaDNNClassifier(**options), MLPClassifier(**options)
    order = np.random.default_rng(0).permutation(len(X))
    for i in range(400):
        batch = np.take(order, range(64 * i, 64 * i + 64), mode="wrap")
        for network in (ours, theirs):
            network.partial_fit(X[batch] / 16, y[batch], classes=np.arange(10))
    for found, expected in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)  # 400 steps add up roundings
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=1e-9)
    assert ours.t_ == theirs.t_ == 400 * 64


@pytest.mark.parametrize("labels", [[0] * 30 + [1] * 29 + [2], [*range(10)] * 2 + [0] * 6])
def test_early_stopping_holds_back_without_shares_if_a_class_is_too_rare_for_one(labels):
    X = np.random.default_rng(0).standard_normal((len(labels), 3))
    fitted = PortaDNNClassifier((4,), early_stopping=True, max_iter=3, random_state=0)
    fitted.fit(X, labels)
    np.testing.assert_array_equal(fitted.classes_, np.unique(labels))
    training, held_back = fitted._split(np.asarray(labels), fitted._seed)
    assert sorted([*training, *held_back]) == list(range(len(labels)))
    assert len(held_back) == math.ceil(0.1 * len(labels))


def test_early_stopping_of_two_classes_needs_two_samples_of_each():
    X, labels = np.zeros((30, 2)), ["a"] * 29 + ["b"]
    network = PortaDNNClassifier(early_stopping=True)
    with pytest.raises(InputError, match=r"only 1 member.*or early_stopping=False"):
        network.fit(X, labels)


def wide(m=12):
    rng = np.random.default_rng(0)
    return rng.standard_normal((m, 400)), rng.integers(0, 2, m)


def test_a_pass_goes_on_from_a_fit_in_sample_space(monkeypatch):
    """The velocity of a fit is that of W1 itself, in whichever form the fit had it."""
    X, y = wide()
    fitted = {}
    for form in ("sample", "feature"):
        network = PortaDNNClassifier((4,), solver="sgd", max_iter=60, tol=0.0, random_state=0)
        chosen = []
        monkeypatch.setattr(
            "portadnn.training.fit.choose_form",
            lambda *given, form=form, chosen=chosen: chosen.append(given[0]) or form,
        )
        network.fit(X, y)
        monkeypatch.undo()
        fitted[form] = network.partial_fit(X, y).partial_fit(X, y)
        assert chosen == ["auto"]
        assert fitted[form]._state.slots["vW1"].shape == (4, 400)
    # 62 steps of a sum of 400 terms in another order
    np.testing.assert_allclose(
        fitted["sample"].coefs_[0], fitted["feature"].coefs_[0], rtol=0, atol=1e-10
    )


def test_the_best_of_another_kind_does_not_count():
    X, y = wide(60)
    options = {"hidden_layer_sizes": (4,), "random_state": 0, "warm_start": True, "max_iter": 3}
    network = PortaDNNClassifier(**options).fit(X, y)
    least = network.best_loss_
    network.set_params(early_stopping=True, validation_fraction=0.3).fit(X, y)
    assert network.best_loss_ is None
    assert network.best_validation_score_ == max(network.validation_scores_)
    network.set_params(early_stopping=False).fit(X, y)
    assert network.best_loss_ == min(network.loss_curve_[6:]) != least
    assert network.validation_scores_ is None
    assert len(network.loss_curve_) == 9


@pytest.mark.parametrize("width", [3, 5])
def test_a_fit_that_fails_leaves_the_last_one(width):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 3)), np.arange(8) % 2
    made = PortaDNNClassifier(
        (4,), random_state=0, max_iter=5, solver="sgd", learning_rate_init=0.1
    )
    made.fit(X, np.asarray(["a", "b"])[y])
    expected = made.predict_proba(X)
    made.set_params(learning_rate_init=1e300)
    with pytest.raises(DivergenceError):
        made.fit(1e10 * rng.standard_normal((8, width)), np.asarray(["x", "y"])[y])
    assert set(made.predict(X)) <= {"a", "b"}
    np.testing.assert_array_equal(made.predict_proba(X), expected)
    assert made.n_features_in_ == 3


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_the_memory_order_of_X_moves_no_bit(backend, require):
    require(backend)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((301, 37)).astype("float32"), rng.integers(0, 3, 301)
    made = [
        PortaDNNClassifier((16,), random_state=0, max_iter=5, batch_size=301, backend=backend)
        .fit(x, y)
        .predict_proba(x)
        for x in (X, np.asfortranarray(X))
    ]
    np.testing.assert_array_equal(*made)
