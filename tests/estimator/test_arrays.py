"""Sparse X gives the same network as the dense array, bit for bit."""

import numpy as np
import pytest
import scipy.sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from portadnn import InputError, PortaDNNClassifier, PortaDNNRegressor
from portadnn.estimator.arrays import dense

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CLASSIFIER = PortaDNNClassifier((5,), max_iter=5, random_state=0)
REGRESSOR = PortaDNNRegressor((5,), max_iter=5, random_state=0)


def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12)) * (rng.random((60, 12)) < 0.2)
    return X, rng.integers(0, 3, 60)


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_a_sparse_matrix_is_the_dense_array(layout, kind):
    X, y = data()
    sparse = kind(X).asformat(layout)
    expected, fitted = clone(CLASSIFIER).fit(X, y), clone(CLASSIFIER).fit(sparse, y)
    for ours, theirs in zip(fitted.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        answer = getattr(fitted, method)
        assert type(answer(sparse)) is np.ndarray
        np.testing.assert_array_equal(answer(sparse), answer(X))
    assert fitted.score(sparse, y) == fitted.score(X, y)


@pytest.mark.parametrize("network", [CLASSIFIER, REGRESSOR], ids=["classifier", "regressor"])
def test_passes_over_sparse_data_keep_its_dtype(network, dtype):
    X, y = data()
    X = X.astype(dtype)
    expected, fitted = clone(network), clone(network)
    classes = {"classes": [0, 1, 2]} if network is CLASSIFIER else {}
    for _ in range(2):
        expected.partial_fit(X, y, **classes)
        fitted.partial_fit(scipy.sparse.csr_array(X), y, **classes)
    assert fitted.coefs_[0].dtype == dtype
    np.testing.assert_array_equal(fitted.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(fitted.predict(scipy.sparse.csr_array(X)), expected.predict(X))


def test_dispatch_takes_sparse_data_for_numpys():
    pytest.importorskip("sklearn", minversion="1.9")
    X, y = data()
    sparse, expected = scipy.sparse.csr_array(X), clone(CLASSIFIER).fit(X, y).predict_proba(X)
    with config_context(array_api_dispatch=True):
        found = clone(CLASSIFIER).fit(sparse, y).predict_proba(sparse)
    np.testing.assert_array_equal(found, expected)


def test_an_encoder_of_categories_stands_before_it_as_it_is():
    _, y = data()
    X = np.asarray(["red", "green", "blue"], dtype=object)[y][:, None]
    pipeline = make_pipeline(
        OneHotEncoder(), PortaDNNClassifier(learning_rate_init=0.1, random_state=0)
    )
    assert pipeline.fit(X, y).score(X, y) == 1.0


def test_labels_that_go_together_may_be_sparse_as_well():
    X, y = data()
    Y = np.eye(3, dtype=int)[y]
    expected = clone(CLASSIFIER).fit(X, Y)
    fitted = clone(CLASSIFIER).fit(X, scipy.sparse.csr_array(Y))
    np.testing.assert_array_equal(fitted.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))


def test_a_matrix_that_is_no_array_of_this_machine_is_refused():
    huge = scipy.sparse.csr_array(([1.0], ([0], [0])), shape=(10**6, 10**7))
    message = r"X is sparse.* \(1000000, 10000000\) it has 74505\.8 GiB, more than.*fewer columns"
    with pytest.raises(InputError, match=message):
        dense(huge, "X")
    with pytest.raises(InputError, match=message):
        REGRESSOR.fit(huge, np.zeros(10**6))
