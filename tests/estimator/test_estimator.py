"""The estimators beside scikit-learn's own, and what they promise beyond its checks."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from array_api_strict import ArrayAPIStrictFlags
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from portadnn import (
    LBFGS,
    Adam,
    InputError,
    Nesterov,
    PortaDNNClassifier,
    PortaDNNRegressor,
    get_backend,
)

# most runs are a few epochs long and say so
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


NONE = 1e-30  # an epsilon so small that its place in Adam's quotient does not matter


def classifier(**parameters):
    return PortaDNNClassifier(
        **({"hidden_layer_sizes": (8,), "max_iter": 10, "random_state": 0} | parameters)
    )


def regressor(**parameters):
    return PortaDNNRegressor(
        **({"hidden_layer_sizes": (8,), "max_iter": 10, "random_state": 0} | parameters)
    )


# --- beside MLPClassifier and MLPRegressor


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam"},
        {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99},
        {"solver": "sgd", "learning_rate_init": 0.05},
        {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
        {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.0},
        {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.0, "power_t": 0.1},
        {"activation": "logistic", "hidden_layer_sizes": (6, 5)},
        {"activation": "tanh", "alpha": 10.0},
        {"activation": "identity", "hidden_layer_sizes": ()},
    ],
    ids=lambda p: ",".join(f"{k}={v}" for k, v in p.items()),
)
def test_the_steps_are_those_of_mlp(wine, parameters):
    # the whole batch, so that shuffles do not matter; the place of Adam's epsilon differs
    options = {"random_state": 3, "max_iter": 30, "batch_size": 178, "epsilon": NONE} | parameters
    ours, theirs = (kind(**options).fit(*wine) for kind in (PortaDNNClassifier, MLPClassifier))
    # roundings of 30 steps of sums of 178 terms, relative to values of order 1
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    for name in ("coefs_", "intercepts_"):
        for mine, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-9)
    np.testing.assert_allclose(
        ours.predict_proba(wine[0]), theirs.predict_proba(wine[0]), atol=1e-9
    )
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_the_steps_of_a_regression_with_weights_are_those_of_mlp(diabetes):
    pytest.importorskip("sklearn", minversion="1.7")  # MLPRegressor with weights
    X, y = diabetes
    weights = np.random.default_rng(0).uniform(0.0, 3.0, len(y))
    options = {"random_state": 3, "max_iter": 30, "batch_size": len(y), "epsilon": NONE}
    ours = PortaDNNRegressor(**options).fit(X, y, sample_weight=weights)
    theirs = MLPRegressor(**options).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-9)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_poisson_regression_is_that_of_mlp(diabetes, solver, outputs):
    pytest.importorskip("sklearn", minversion="1.7")  # MLPRegressor with this loss
    rng, X = np.random.default_rng(0), diabetes[0]
    y = rng.poisson(np.exp(X @ rng.standard_normal((X.shape[1], outputs)) / 5)).astype(float)
    y = y[:, 0] if outputs == 1 else y
    weights = rng.uniform(0.0, 3.0, len(y))
    options = {"loss": "poisson", "solver": solver, "learning_rate_init": 0.01, "random_state": 3}
    options |= {"max_iter": 30, "batch_size": len(y), "epsilon": NONE}
    ours = PortaDNNRegressor(**options).fit(X, y, sample_weight=weights)
    theirs = MLPRegressor(**options).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-9)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-9)
    assert ours.out_activation_ == theirs.out_activation_ == "exp"
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_the_validation_scores_of_a_regression_are_r2(diabetes, loss):
    X, y = diabetes[0], np.abs(diabetes[1])
    fitted = regressor(loss=loss, early_stopping=True, max_iter=1).fit(X, y)
    _, held_back = fitted._split(y, fitted._seed)
    expected = fitted.score(X[held_back], y[held_back])
    assert fitted.validation_scores_ == [pytest.approx(expected, rel=1e-12)]


def test_lbfgs_of_counts_descends_as_far_as_mlp(diabetes):
    pytest.importorskip("sklearn", minversion="1.7")  # MLPRegressor with this loss
    X = diabetes[0]
    y = np.random.default_rng(0).poisson(np.exp(X[:, 0] / 2)).astype(float)
    options = {"loss": "poisson", "solver": "lbfgs", "alpha": 1.0, "random_state": 0,
               "activation": "logistic", "max_iter": 1000}  # fmt: skip
    ours, theirs = (
        kind(hidden_layer_sizes=(8,), **options).fit(X, y)
        for kind in (PortaDNNRegressor, MLPRegressor)
    )
    assert ours.loss_ <= theirs.loss_ * (1 + 1e-4)


def test_counts_are_not_negative(diabetes):
    X, y = diabetes
    with pytest.raises(InputError, match="Y holds -.* expected 0 or more for the poisson head"):
        regressor(loss="poisson").fit(X, y)
    with pytest.raises(ValueError, match="'loss' parameter .* must be a str among"):
        regressor(loss="gamma").fit(X, y)


def test_parameters_that_one_estimator_has_of_its_own():
    assert "loss" not in PortaDNNClassifier().get_params()
    assert "class_weight" not in PortaDNNRegressor().get_params()
    assert clone(PortaDNNRegressor(loss="poisson")).loss == "poisson"
    assert repr(PortaDNNClassifier((3,), class_weight="balanced")) == (
        "PortaDNNClassifier(class_weight='balanced', hidden_layer_sizes=(3,))"
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'lose'"):
        PortaDNNRegressor(lose="poisson")


def test_lbfgs_descends_at_least_as_far_as_mlp(wine):
    options = {
        "activation": "logistic",
        "solver": "lbfgs",
        "alpha": 1.0,
        "random_state": 0,
        "max_iter": 1000,
    }
    ours = PortaDNNClassifier((8,), **options).fit(*wine)
    theirs = MLPClassifier((8,), **options).fit(*wine)
    assert ours.loss_ <= theirs.loss_ * (1 + 1e-4)  # theirs ends at the same tolerance, or before
    assert len(ours.loss_curve_) == ours.n_iter_


def test_the_rule_to_stop_is_that_of_mlp(wine):
    options = {"random_state": 3, "max_iter": 500, "batch_size": 178, "tol": 1e-2, "epsilon": NONE}
    ours, theirs = (kind(**options).fit(*wine) for kind in (PortaDNNClassifier, MLPClassifier))
    assert ours.n_iter_ == theirs.n_iter_ < 500
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=1e-10)


def test_an_adaptive_rate_falls_and_ends_the_run(wine, capsys):
    options = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1}
    fitted = classifier(**options, tol=0.1, n_iter_no_change=2, max_iter=1000, verbose=True)
    fitted.fit(*wine)
    # 0.1 / 5^8 < 1e-6: at least 8 waits of three epochs
    assert 24 <= fitted.n_iter_ < 200
    assert "Stopping." in capsys.readouterr().out


# --- targets


def test_two_classes_have_one_sigmoid_unit(wine):
    X, y = wine
    names = np.asarray(["red", "white"])[(y == 0).astype(int)]
    fitted = classifier(solver="lbfgs").fit(X, names)
    assert fitted.coefs_[-1].shape == (8, 1)
    assert fitted.classes_.tolist() == ["red", "white"]
    probabilities = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[probabilities.argmax(axis=1)])
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), probabilities, rtol=1e-12)
    assert fitted.score(X, names) > 0.95


def test_several_labels_may_go_together():
    X, Y = make_multilabel_classification(n_samples=120, n_classes=4, random_state=0)
    X = StandardScaler().fit_transform(X)
    fitted = classifier(hidden_layer_sizes=(30,), solver="lbfgs", max_iter=100).fit(X, Y)
    assert fitted.out_activation_ == "logistic"
    assert fitted.predict_proba(X).shape == fitted.predict(X).shape == Y.shape
    assert fitted.score(X, Y) > 0.9
    np.testing.assert_allclose(
        np.exp(fitted.predict_log_proba(X)), fitted.predict_proba(X), rtol=1e-9, atol=1e-300
    )
    options = {"random_state": 0, "max_iter": 5, "epsilon": NONE}
    ours, theirs = (kind(**options).fit(X, Y) for kind in (PortaDNNClassifier, MLPClassifier))
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)


def test_the_logarithms_are_finite_where_probabilities_are_not_above_zero():
    X = np.asarray([[-1.0], [1.0]])
    fitted = classifier(hidden_layer_sizes=(), solver="lbfgs", alpha=0.0).fit(X, [0, 1])
    far = np.asarray([[1e6]])
    assert fitted.predict_proba(far)[0, 0] == 0.0
    assert np.isfinite(fitted.predict_log_proba(far)).all()


def test_several_outputs(diabetes):
    X, y = diabetes
    Y = np.stack([y, -2 * y], axis=1)
    fitted = regressor(solver="lbfgs", max_iter=50).fit(X, Y)
    assert fitted.predict(X).shape == Y.shape
    assert fitted.score(X, Y) > 0.5
    assert fitted.out_activation_ == "identity"


# --- weights


def test_class_weights_are_sample_weights(wine):
    X, y = wine
    of_classes = {0: 3.0, 2: 0.5}
    weights = np.asarray([of_classes.get(label, 1.0) for label in y])
    by_class = classifier(class_weight=of_classes, batch_size=32).fit(X, y)
    by_sample = classifier(batch_size=32).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(by_class.coefs_[0], by_sample.coefs_[0])
    balanced = classifier(class_weight="balanced", batch_size=32).fit(X, y)
    counts = np.bincount(y)
    weights = len(y) / (3 * counts[y])
    by_sample = classifier(batch_size=32).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(balanced.coefs_[0], by_sample.coefs_[0])


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "heavy", None])
def test_a_class_weight_that_cannot_be_used_is_named_as_it_was_given(wine, weight):
    with pytest.raises(InputError, match=f"class_weight of 2 is {weight!r}: expected"):
        classifier(class_weight={2: weight}).fit(*wine)
    Y = np.stack([wine[1] == 0, wine[1] > 0], axis=1).astype(int)
    with pytest.raises(InputError, match=f"class_weight of 1 is {weight!r}: expected"):
        classifier(class_weight=[{0: 1.0}, {1: weight}]).fit(wine[0], Y)


def test_class_weights_of_several_labels_are_of_each_label():
    X, Y = make_multilabel_classification(n_samples=60, n_classes=2, random_state=0)
    heavy = classifier(class_weight=[{1: 50.0}, {0: 50.0}], max_iter=300).fit(X, Y)
    predicted = heavy.predict(X)
    assert predicted[:, 0].mean() > Y[:, 0].mean()
    assert predicted[:, 1].mean() < Y[:, 1].mean()
    assert classifier(class_weight="balanced").fit(X, Y).n_iter_ == 10
    with pytest.raises(InputError, match="a list of dicts"):
        classifier(class_weight={0: 2.0}).fit(X, Y)
    with pytest.raises(InputError, match="has 1 dicts for 2 labels"):
        classifier(class_weight=[{0: 2.0}]).fit(X, Y)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_weight_is_so_many_rows(wine, solver):
    X, y = wine
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    once = classifier(solver=solver, batch_size=None).fit(X, y, sample_weight=counts)
    often = classifier(solver=solver, batch_size=None).fit(X.repeat(counts, 0), y.repeat(counts))
    # the sums are in another order
    np.testing.assert_allclose(once.coefs_[0], often.coefs_[0], atol=1e-10)


# --- runs that go on


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam", "dropout": 0.3},
        {"solver": "sgd", "learning_rate": "cosine"},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "rmsprop", "shuffle": False},
    ],
    ids=str,
)
def test_passes_one_by_one_are_a_fit(wine, parameters):
    X, y = wine
    whole = classifier(max_iter=6, batch_size=50, tol=0.0, **parameters).fit(X, y)
    steps = clone(whole)
    for i in range(6):
        steps.partial_fit(X, y, classes=[0, 1, 2] if i == 0 else None)
        if i == 2:
            steps = pickle.loads(pickle.dumps(steps))
    np.testing.assert_array_equal(steps.coefs_[0], whole.coefs_[0])
    assert steps.loss_curve_ == whole.loss_curve_
    assert steps.t_ == whole.t_


def test_a_pass_need_not_have_every_class(wine):
    X, y = wine
    fitted = classifier().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert fitted.predict_proba(X).shape == (178, 3)
    with pytest.raises(InputError, match="not seen before"):
        fitted.partial_fit(X, y + 1)


def test_a_warm_start_goes_on_from_the_last_weights(wine):
    fitted = classifier(warm_start=True, max_iter=5).fit(*wine)
    before = fitted.loss_
    fitted.fit(*wine)
    assert fitted.loss_ < before
    assert len(fitted.loss_curve_) == 10
    assert fitted.n_iter_ == 5
    with pytest.raises(InputError, match="W1 has shape"):
        fitted.set_params(hidden_layer_sizes=(9,)).fit(*wine)
    with pytest.raises(InputError, match="not seen before"):
        fitted.set_params(hidden_layer_sizes=(8,)).fit(wine[0], wine[1] + 1)


INDICATOR = np.eye(3, dtype=int)[np.arange(12) % 3]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.arange(12) % 3, np.arange(12) % 2),
        (np.arange(12) % 3, np.arange(12) % 2 + 1),
        (np.arange(12) % 2, np.arange(12) % 3),
        (np.arange(12) % 3, np.asarray(list("abc"))[np.arange(12) % 3]),
        (INDICATOR, INDICATOR[:, :2]),
        (INDICATOR[:, :2], INDICATOR),
        (INDICATOR[:, :2], np.arange(12) % 2),
        (np.arange(12) % 2, INDICATOR[:, :2]),
    ],
)
def test_a_warm_start_needs_the_same_classes(first, second):
    X = np.random.default_rng(0).normal(size=(12, 4))
    fitted = classifier(warm_start=True, max_iter=2).fit(X, first)
    before = [w.copy() for w in fitted.coefs_]
    with pytest.raises(ValueError, match="has the classes|expected the same"):
        fitted.fit(X, second)
    for now, then in zip(fitted.coefs_, before, strict=True):
        np.testing.assert_array_equal(now, then)
    fitted.set_params(warm_start=False).fit(X, second)


def test_our_epsilon_is_one_of_mlps_that_depends_on_the_step(wine):
    # docs/estimators.md: epsilon / sqrt(1 - beta_2**t) is ours, here for t = 1
    options = {"random_state": 3, "max_iter": 1, "batch_size": 178}
    ours = classifier(**options).fit(*wine)
    same = MLPClassifier((8,), **options, epsilon=1e-8 * np.sqrt(1 - 0.999)).fit(*wine)
    other = MLPClassifier((8,), **options).fit(*wine)
    for mine, equal, unequal in zip(ours.coefs_, same.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(mine, equal, rtol=0, atol=1e-15)  # rounding of weights below 1
        assert 1e-9 < np.abs(mine - unequal).max() < 1e-4


@pytest.mark.parametrize("make", [classifier, regressor])
def test_early_stopping_returns_the_best(make, wine, diabetes):
    X, y = wine if make is classifier else diabetes
    options = {"early_stopping": True, "learning_rate_init": 0.02, "n_iter_no_change": 5}
    fitted = make(**options, max_iter=500, warm_start=True).fit(X, y)
    assert fitted.n_iter_ == len(fitted.validation_scores_) < 500
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    assert fitted.best_loss_ is None
    _, held_back = fitted._split(y, fitted._seed)
    assert fitted.score(X[held_back], y[held_back]) == pytest.approx(fitted.best_validation_score_)
    # another run starts from the best, on the same split, and is never worse
    best = fitted.best_validation_score_
    fitted.fit(X, y)
    assert fitted.score(X[held_back], y[held_back]) >= best - 1e-12


# --- scikit-learn around it


def test_a_search_over_a_pipeline(wine):
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=30, learning_rate_init=0.05))
    grid = {
        "portadnnclassifier__solver": ["adam", "sgd", Nesterov(0.8), "rmsprop:rho=0.9"],
        "portadnnclassifier__hidden_layer_sizes": [(8,), (8, 4)],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(*wine)
    assert search.best_score_ > 0.8
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(wine[0]), search.predict_proba(wine[0]))


def test_predictions_follow_the_fit_not_later_parameters(wine):
    fitted = classifier(activation="tanh").fit(*wine)
    before = fitted.predict_proba(wine[0])
    np.testing.assert_array_equal(
        fitted.set_params(activation="relu").predict_proba(wine[0]), before
    )


def test_random_states(wine):
    drawn = [classifier(random_state=np.random.RandomState(1)).fit(*wine) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0].coefs_[0], drawn[1].coefs_[0])
    undrawn = [classifier(random_state=None).fit(*wine) for _ in range(2)]
    assert not np.array_equal(undrawn[0].coefs_[0], undrawn[1].coefs_[0])


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": Adam(beta1=0.8)},
        {"solver": LBFGS(memory=5)},
        {"solver": "adamw:weight_decay=0.1"},
        {"activation": ["leaky_relu", "logistic"], "hidden_layer_sizes": [8, 4]},
        {"init": "he_uniform"},
        {"init": ["he", "xavier"]},
        {"learning_rate": "cosine:warmup=2"},
        {"l1": 1e-3, "clip_norm": 1.0, "dropout": [0.2]},
        {"hidden_layer_sizes": 5},
    ],
    ids=str,
)
def test_our_own_choices(wine, parameters):
    fitted = classifier(learning_rate_init=0.01, max_iter=40).set_params(**parameters).fit(*wine)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


# --- backends


@pytest.mark.parametrize("name", ["torch", "jax", "strict:device1"])
def test_a_backend_by_name_computes_and_the_answer_stays(name, dtype, wine, require):
    require(name)
    options = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "dtype": dtype}
    there = PortaDNNClassifier(backend=name, **options).fit(*wine)
    here = PortaDNNClassifier(**options).fit(*wine)
    assert all(type(coef) is np.ndarray and coef.dtype == dtype for coef in there.coefs_)
    probabilities = there.predict_proba(wine[0])
    assert probabilities.dtype == dtype
    # a few hundred roundings, which Adam's quotient makes larger
    tolerance = 1e4 * np.finfo(dtype).eps
    np.testing.assert_allclose(probabilities, here.predict_proba(wine[0]), atol=tolerance)


@pytest.mark.parametrize("name", ["torch", "jax", "strict:device1"])
def test_reproducible_arithmetic_gives_every_backend_the_same_bits(name, dtype, wine, require):
    require(name)
    options = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0, "dtype": dtype,
               "arithmetic": "reproducible", "alpha": 0.01}  # fmt: skip
    there = PortaDNNClassifier(backend=name, **options).fit(*wine)
    here = PortaDNNClassifier(**options).fit(*wine)
    for ours, theirs in zip(here.coefs_, there.coefs_, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert here.predict_proba(wine[0]).tobytes() == there.predict_proba(wine[0]).tobytes()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("make", [classifier, regressor])
def test_the_answer_lives_where_X_lives(make, solver, backend, wine):
    pytest.importorskip("sklearn", minversion="1.9")  # dispatch
    X, y = wine
    y = y if make is classifier else y.astype(float)
    host = X.astype(backend.dtype_name)
    there = backend.asarray(host)
    options = {"solver": solver, "max_iter": 5, "early_stopping": True}
    expected = make(**options).fit(host, y)
    with (
        backend.scope(),  # JAX has float64 in it only
        ArrayAPIStrictFlags(data_dependent_shapes=True, boolean_indexing=True),
        config_context(array_api_dispatch=True),
    ):
        fitted = make(**options).fit(there, y)
        fitted = pickle.loads(pickle.dumps(fitted))
        answers = [fitted.predict(there), *fitted.coefs_, *fitted.intercepts_]
        if make is classifier:
            answers += [fitted.predict_proba(there), fitted.predict_log_proba(there)]
            names = make(**options).fit(there, np.asarray(["a", "b", "c"])[y]).predict(there)
            assert set(names) <= {"a", "b", "c"}
        if backend.library != "numpy":
            with pytest.raises(InputError, match="must use the same namespace"):
                fitted.predict(host)
    for answer in answers:
        assert type(answer) is type(there)
        assert get_backend(backend.name).device_of(answer) == backend.device_of(there)
    tolerance = 1e4 * np.finfo(backend.dtype_name).eps  # as above
    np.testing.assert_allclose(
        backend.to_numpy(answers[1]), expected.coefs_[0], rtol=0, atol=tolerance
    )


# --- errors and warnings


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": (8, 0)}, "layer 2 has width 0"),
        ({"hidden_layer_sizes": -1}, "hidden_layer_sizes"),
        ({"activation": "relo"}, "did you mean 'relu'"),
        ({"activation": ["relu", "relu"]}, "2 activations were given for 1 hidden"),
        ({"solver": "adm"}, "did you mean 'adam'"),
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"learning_rate": "cosin"}, "did you mean 'cosine'"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"dropout": [0.1, 0.1]}, "2 dropout rates were given for 1 hidden"),
        ({"solver": "lbfgs", "dropout": 0.5}, "dropout cannot be combined"),
        ({"init": "hee"}, "unknown initialiser"),
        ({"backend": "numpyy"}, "did you mean 'numpy'"),
        ({"dtype": "float16"}, "'dtype' parameter"),
        ({"class_weight": "even"}, "'class_weight' parameter"),
        ({"class_weight": [{0: 1.0}]}, "expected 'balanced' or a dict"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "0.001 of 178 samples is 1"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be_used(wine, parameters, message):
    with pytest.raises(ValueError, match=message):
        classifier(**parameters).fit(*wine)


def test_data_that_cannot_be_used(wine, diabetes):
    X, y = wine
    with pytest.raises(InputError, match="one class"):
        classifier().fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match=r"at least one non-zero|are all 0"):
        classifier().fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="Negative values"):
        classifier().fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(InputError, match="holds inf"):
        regressor(dtype="float32").fit(X, y * 1e300)
    with pytest.raises(InputError, match="y has 2 outputs: expected 1"):
        regressor().fit(*diabetes).partial_fit(X[:, :10], np.ones((len(X), 2)))
    with pytest.raises(InputError, match="2 or more"):
        regressor(early_stopping=True).fit(X[:9], y[:9])
    with pytest.raises(NotFittedError):
        classifier().predict(X)


def test_partial_fit_follows_a_parameter_that_changes(wine):
    X, y = wine
    steps, again = (classifier(alpha=0.0, random_state=1) for _ in range(2))
    for _ in range(2):
        steps.partial_fit(X, y, classes=[0, 1, 2])
        again.partial_fit(X, y, classes=[0, 1, 2])
    assert steps._planned.recipe.optimizer == again._planned.recipe.optimizer
    before = steps.coefs_[0].copy()
    steps.set_params(learning_rate_init=1e-12, alpha=0.5).partial_fit(X, y)
    np.testing.assert_allclose(steps.coefs_[0], before, atol=1e-9)  # a rate of 1e-12
    assert steps._planned.recipe.l2 > 0
    again.partial_fit(X, y)
    assert again._planned.recipe.l2 == 0
    assert np.abs(again.coefs_[0] - before).max() > 1e-6


def test_what_partial_fit_cannot_do(wine):
    assert not hasattr(classifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(regressor(solver=LBFGS()), "partial_fit")
    for parameters, message in (
        ({"early_stopping": True}, "expected early_stopping=False"),
        ({"class_weight": "balanced"}, "give partial_fit a dict"),
        ({"learning_rate": "plateau"}, "partial_fit needs another one"),
    ):
        with pytest.raises(InputError, match=message):
            classifier(**parameters).partial_fit(*wine, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier().partial_fit(*wine)


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_run_that_has_not_converged_says_so(wine, solver):
    with pytest.warns(ConvergenceWarning, match="3 iterations") as caught:
        classifier(solver=solver, max_iter=3).fit(*wine)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("make", [classifier, regressor])
def test_lbfgs_makes_no_more_evaluations_than_max_fun(make, wine):
    options = {"solver": "lbfgs", "max_iter": 150, "tol": 0.0}
    with pytest.warns(ConvergenceWarning, match="max_fun is 10.*not converged yet"):
        few = make(**options, max_fun=10).fit(*wine)
    assert 5 < few.n_iter_ <= 10  # an iteration makes one or more
    many = make(**options).fit(*wine)
    assert many.loss_curve_[: few.n_iter_] == few.loss_curve_
    assert many.n_iter_ > 10


def test_a_batch_larger_than_the_data_is_clipped(wine):
    with pytest.warns(UserWarning, match="it is clipped"):
        classifier(batch_size=1000).fit(*wine)


class _Interrupts:
    """A file for stdout that is interrupted by the third line."""

    def __init__(self):
        self.lines = 0

    def write(self, text):
        self.lines += text.count("\n")
        if self.lines == 3:
            self.lines += 1
            raise KeyboardInterrupt

    def flush(self):
        pass


def test_what_was_learnt_before_an_interrupt_is_kept(wine, monkeypatch):
    monkeypatch.setattr(sys, "stdout", _Interrupts())
    with pytest.warns(UserWarning, match="interrupted by user"):
        fitted = classifier(verbose=True, max_iter=50).fit(*wine)
    assert fitted.n_iter_ == 3
    assert fitted.predict(wine[0]).shape == (178,)


def test_the_estimators_say_what_to_install_without_scikit_learn():
    program = """
import sys
sys.modules["sklearn"] = None
import portadnn
assert "PortaDNNClassifier" in dir(portadnn)
try:
    from portadnn import PortaDNNClassifier
except ImportError as error:
    assert "pip install 'portadnn[sklearn]'" in str(error), error
else:
    raise AssertionError
portadnn.train
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_iris_as_in_the_docstring():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), PortaDNNClassifier(random_state=0, max_iter=500))
    assert pipeline.fit(X, y).score(X, y) > 0.95
