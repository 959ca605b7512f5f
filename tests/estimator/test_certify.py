"""Estimators whose fits are watched: no bit moves, and there is a certificate of each."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import StandardScaler

from portadnn.estimator import PortaDNNClassifier, PortaDNNRegressor
from portadnn.parity.certificate import Certificate


@pytest.mark.filterwarnings("ignore:.*converged:UserWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "sgd", "learning_rate": "invscaling", "class_weight": "balanced"},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1},
        {"solver": "lbfgs"},
        {"early_stopping": True, "dtype": "float32"},
        {"dropout": 0.2, "learning_rate": "cosine", "batch_size": 17},
    ],
    ids=str,
)
def test_a_fit_is_certified_and_no_bit_moves(settings, tmp_path):
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    usual = {"hidden_layer_sizes": (8, 4), "max_iter": 25, "random_state": 0}
    plain = PortaDNNClassifier(**usual | settings).fit(X, y)
    watched = PortaDNNClassifier(certify=True, **usual | settings).fit(X, y)
    for ours, theirs in zip(watched.coefs_, plain.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert plain.certificate_ is None
    certificate = watched.certificate_
    assert certificate.outcome == "PARITY", certificate.content["failures"]
    assert certificate.content["declaration"]["random_state"] == "0"
    certificate.save(tmp_path / "certificate.json")
    assert Certificate.read(tmp_path / "certificate.json").outcome == "PARITY"


@pytest.mark.filterwarnings("ignore:.*converged:UserWarning")
def test_runs_that_go_on_have_certificates_of_their_own():
    X, y = load_digits(return_X_y=True)
    network = PortaDNNClassifier((16,), certify=True, random_state=1, max_iter=3)
    for _ in range(3):
        network.partial_fit(X / 16, y, classes=np.arange(10))
        assert network.certificate_.outcome == "PARITY", network.certificate_.content["failures"]
    assert network.certificate_.content["not_covered"][-1] == "the training before this run"
    network.set_params(warm_start=True).fit(X / 16, y)
    assert network.certificate_.outcome == "PARITY", network.certificate_.content["failures"]


@pytest.mark.filterwarnings("ignore:.*converged:UserWarning")
def test_a_regression_is_certified():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    network = PortaDNNRegressor((5,), certify=True, random_state=0, max_iter=20)
    assert network.fit(X, X[:, 0] ** 2).certificate_.outcome == "PARITY"
