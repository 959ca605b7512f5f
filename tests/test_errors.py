"""Errors reach the caller whole, also from another process."""

import contextlib
import copy
import importlib
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import portadnn as dnn
from portadnn.backends import BackendUnavailableError
from portadnn.parallel.ranks import Late
from portadnn.training.stops import DivergenceError, TrainingInterrupted

P = {"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))}
MADE = {
    DivergenceError: lambda: DivergenceError(3, float("nan"), 0.1, P),
    TrainingInterrupted: lambda: TrainingInterrupted(3, P, {"step": 3}),
    BackendUnavailableError: lambda: BackendUnavailableError("cupy", "no GPU", "Take numpy"),
    Late: lambda: Late([1], 5.0),
}


def exceptions():
    """Every exception class that the package defines."""
    found = set()
    for module in pkgutil.walk_packages(dnn.__path__, "portadnn."):
        if module.name.endswith("__main__"):
            continue
        # the module of a library that is not installed
        with contextlib.suppress(ImportError):
            names = vars(importlib.import_module(module.name)).values()
            found |= {x for x in names if isinstance(x, type) and issubclass(x, BaseException)}
    return sorted((x for x in found if x.__module__.startswith("portadnn")), key=str)


@pytest.mark.parametrize("kind", exceptions())
@pytest.mark.parametrize("carry", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_every_exception_is_carried_whole(kind, carry):
    error = MADE.get(kind, lambda: kind("the message"))()
    error.model = "a model"
    found = carry(error)
    assert type(found) is kind
    assert str(found) == str(error)
    assert vars(found).keys() == vars(error).keys()
    assert found.model == "a model"
    if "parameters" in vars(error):
        assert found.iteration == 3
        np.testing.assert_array_equal(found.parameters["W1"], P["W1"])


def diverge(_):
    train, _ = dnn.load_digits()
    dnn.train(train, layers=[4], learning_rate=1e30, epochs=30)


def test_a_divergence_comes_out_of_a_process_pool():
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(DivergenceError, match="smaller learning rate") as caught,
    ):
        list(pool.map(diverge, [0]))
    assert caught.value.model.network.layer_dims == (64, 4, 10)
    assert all(np.isfinite(p).all() for p in caught.value.parameters.values())


def test_a_divergence_comes_out_of_a_grid_search():
    X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    search = GridSearchCV(
        dnn.PortaDNNClassifier((4,), solver="sgd", learning_rate_init=1e30),
        {"alpha": [0.1, 0.2]},
        error_score="raise",
        n_jobs=2,
        cv=2,
    )
    with pytest.raises(DivergenceError, match="diverged at iteration"):
        search.fit(X, X[:, 0] > 0)


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
def test_a_backend_is_carried_by_its_name(backend_name, arithmetic):
    backend = dnn.get_backend(backend_name, dtype="float64", arithmetic=arithmetic)
    for found in (
        pickle.loads(pickle.dumps(backend)),
        clone(dnn.PortaDNNClassifier(backend=backend)).backend,
    ):
        assert found == backend
        assert found.arithmetic == arithmetic
