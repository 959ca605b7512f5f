"""Models as networks of scikit-learn, and networks of scikit-learn as models."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from export_support import HEADS, assert_same, make_model
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import portadnn as dnn
from portadnn.errors import InputError
from portadnn.export.sklearn import ACTIVATIONS, from_sklearn, to_sklearn
from portadnn.network.activations import ACTIVATIONS as ALL_ACTIVATIONS


def outputs(model, network, rows):
    """(n_L, m) of a network or a Pipeline of scikit-learn."""
    if hasattr(network, "classes_"):
        return network.predict_proba(rows)[:, -model.network.layer_dims[-1] :].T
    return np.atleast_2d(network.predict(rows).T)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_and_activation(dtype, head, activation):
    if head[0] == "poisson":
        pytest.importorskip("sklearn", minversion="1.7")  # MLPRegressor with this loss
    model = make_model(head, (activation,) * 2, dtype)
    network = to_sklearn(model)
    data = assert_same(model, lambda data: outputs(model, network, data.examples))
    clear = np.abs(outputs(model, network, data.examples) - 0.5).min(axis=0) > 1e-3
    if hasattr(network, "classes_"):
        found, ours = network.predict(data.examples), model.predict(data)
        assert clear.mean() > 0.8
        np.testing.assert_array_equal(found[clear], ours[clear])
    again = from_sklearn(network)
    assert dnn.fingerprint(again) == dnn.fingerprint(model)
    assert again.network == model.network


def rounded(data):
    """By how much X differs if it is not rounded to the model's dtype: by half a spacing."""
    return 2.0**-24 * 10  # standardised numbers, and pixels, are smaller than 10


@pytest.mark.parametrize("kind", ["numbers", "pixels", "as they are", "pictures"])
@pytest.mark.parametrize("head", [("softmax", 3), ("identity", 2)])
def test_every_preprocessing(dtype, head, kind):
    pandas = pytest.importorskip("pandas")
    model = make_model(head, ("relu",), dtype, kind)
    pipeline = to_sklearn(model)
    assert type(pipeline[0]) is StandardScaler

    def run(data):
        x = data.examples
        frame = pandas.DataFrame({name: x[name] for name in data.table or ()})
        return outputs(model, pipeline, frame if data.table else x.reshape(len(x), -1))

    assert_same(model, run, moved=rounded)
    assert dnn.fingerprint(from_sklearn(pipeline)) == dnn.fingerprint(model)


def fitted(network, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(X, y)


@pytest.mark.parametrize("labels", [np.asarray(["a", "b", "ç"]), np.asarray([3, 5, 9])])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_same_labels_on_10000_rows(labels, classes, scaled):
    X, y = make_classification(
        10_000, 12, n_informative=6, n_classes=classes, shift=40.0, scale=9.0, random_state=0
    )
    network = MLPClassifier((20, 10), "tanh", max_iter=5, random_state=0)
    network = make_pipeline(StandardScaler(), network) if scaled else network
    fitted(network, X[:2000], labels[y[:2000]])
    model = from_sklearn(network)
    np.testing.assert_array_equal(model.predict(X), network.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), network.predict_proba(X), atol=1e-12)
    assert model.classes == tuple(map(str, labels[:classes]))
    again = from_sklearn(to_sklearn(model))
    assert dnn.fingerprint(again) == dnn.fingerprint(model)
    assert (again.classes, again.values) == (model.classes, model.values)
    assert again.preprocess == model.preprocess


@pytest.mark.parametrize("targets", [1, 3])
def test_a_regressor(targets):
    X = np.random.default_rng(0).normal(size=(300, 4))
    y = np.sin(X[:, :targets]).squeeze()
    network = fitted(MLPRegressor(hidden_layer_sizes=(8,), random_state=0, max_iter=20), X, y)
    model = from_sklearn(network)
    np.testing.assert_allclose(model.predict(X), network.predict(X), rtol=1e-12, atol=1e-13)
    assert dnn.fingerprint(from_sklearn(to_sklearn(model))) == dnn.fingerprint(model)


def test_labels_that_go_together():
    X = np.random.default_rng(0).normal(size=(300, 4))
    y = (X[:, :3] > 0).astype(int)
    network = fitted(MLPClassifier((8,), random_state=0, max_iter=20), X, y)
    model = from_sklearn(network)
    np.testing.assert_array_equal(model.predict(X), network.predict(X))
    np.testing.assert_array_equal(to_sklearn(model).predict(X), network.predict(X))


def test_a_table_keeps_its_columns():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).normal(5, 3, (200, 2)), columns=["age", "size"])
    y = np.where(X["age"] > 5, "old", "young")
    network = fitted(make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=9)), X, y)
    model = from_sklearn(network)
    assert model.columns == ("age", "size")
    np.testing.assert_array_equal(model.predict(X), network.predict(X))
    with pytest.raises(InputError, match="expected age, size, in this order"):
        model.predict(X[["size", "age"]])
    np.testing.assert_array_equal(to_sklearn(model).predict(X), network.predict(X))


def test_a_scaler_that_does_a_half():
    X, y = load_digits(return_X_y=True)
    for options in ({"with_mean": False}, {"with_std": False}):
        network = make_pipeline(StandardScaler(**options), MLPClassifier((8,), max_iter=3))
        fitted(network, X, y)
        np.testing.assert_array_equal(from_sklearn(network).predict(X), network.predict(X))


def test_estimators_of_ours():
    X, y = load_digits(return_X_y=True)
    network = dnn.PortaDNNClassifier((9, 8), ["leaky_relu", "tanh"], max_iter=3, random_state=0)
    fitted(network, X, y)
    np.testing.assert_array_equal(from_sklearn(network).predict(X), network.predict(X))


def test_what_comes_back_is_trained_on():
    for head in (("softmax", 3), ("identity", 2), ("sigmoid", 3), ("sigmoid", 1)):
        model = make_model(head, ("relu",))
        network = to_sklearn(model)
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(50, 5))
        target = model.predict(rows)
        before, bits = [W.copy() for W in network.coefs_], dnn.fingerprint(model)
        for p in model.parameters.values():
            p.flags.writeable = False  # as those of a model that was trained or loaded
        network.partial_fit(rows, target)
        assert network.t_ == 50
        moved = max(np.abs(W - V).max() for W, V in zip(network.coefs_, before, strict=True))
        assert dnn.fingerprint(model) == bits
        again = from_sklearn(network)
        bits = dnn.fingerprint(again)
        network.partial_fit(rows, target)
        assert dnn.fingerprint(again) == bits
        assert 0 < moved < 0.0011  # one step of Adam, from its beginning


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression(), "the estimator is LogisticRegression: expected MLPClassifier"),
        (make_pipeline(MinMaxScaler(), MLPClassifier()), "is MinMaxScaler and MLPClassifier: exp"),
        (make_pipeline(MLPClassifier(), StandardScaler()), "is MLPClassifier and StandardScaler"),
        (MLPClassifier(), "the estimator is not fitted"),
        (make_pipeline(StandardScaler(), MLPRegressor()), "the estimator is not fitted"),
        (None, "the estimator is NoneType"),
    ],
)
def test_what_is_no_network_is_named(estimator, message):
    with pytest.raises(InputError, match=message):
        from_sklearn(estimator)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        *(
            (
                make_model(activations=(name,)),
                f"the hidden layers have {name}: scikit-learn has one",
            )
            for name in sorted(ALL_ACTIVATIONS.keys() - ACTIVATIONS.keys())
        ),
        (make_model(), "the hidden layers have relu, tanh: scikit-learn has one of sigmoid, relu"),
        (make_model(("identity", 2), ("relu",), kind="values"), "learned standardised values"),
        (make_model(activations=("relu",), kind="mixed"), "column 'town' has texts: a StandardSca"),
    ],
)
def test_what_scikit_learn_lacks_is_named(model, message):
    with pytest.raises(InputError, match=message):
        to_sklearn(model)


def test_other_things_that_scikit_learn_lacks():
    model = make_model(activations=("relu",), kind="numbers")
    columns = (replace(model.preprocess.columns[0], fill=1.0), model.preprocess.columns[1])
    gaps = replace(model, preprocess=replace(model.preprocess, columns=columns))
    with pytest.raises(InputError, match="column 'year' has gaps that are filled"):
        to_sklearn(gaps)
    parameters = model.parameters | {"W2": model.parameters["W2"][:2], "b2": np.zeros((2, 1), "f4")}
    network = dnn.Network((2, 6, 2), "relu", "softmax")
    two = dnn.Model(network, parameters, ("a", "b"), (2,), scaled=False)
    with pytest.raises(InputError, match="the head is a softmax over two classes: scikit-learn"):
        to_sklearn(two)
