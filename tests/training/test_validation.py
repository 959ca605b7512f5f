"""Scores against scikit-learn's, and the share that is held back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import score_of

from portadnn.backends import get_backend
from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.model import L_model_forward, compute_cost
from portadnn.network.spec import Network
from portadnn.training.callbacks import History
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.streams import Batches
from portadnn.training.train import fit, train
from portadnn.training.validation import split_validation


@pytest.fixture(scope="module")
def metrics():
    return pytest.importorskip("sklearn.metrics")


@given(seed=st.integers(0, 2**32), m=st.integers(1, 20), weighted=st.booleans())
def test_accuracy_is_that_of_scikit_learn(seed, m, weighted, metrics):
    rng = np.random.default_rng(seed)
    S = rng.random((1, m)) + 0.1 if weighted else None
    sample_weight = None if S is None else S[0]
    AL, labels = rng.random((3, m)), rng.integers(0, 3, m)
    found = score_of(AL, np.eye(3)[labels].T, "softmax", S)
    expected = metrics.accuracy_score(labels, AL.argmax(axis=0), sample_weight=sample_weight)
    assert abs(found - expected) < 1e-14
    # several labels: right only where all of them are
    Y = rng.integers(0, 2, (3, m))
    found = score_of(AL, Y, "sigmoid", S)
    expected = metrics.accuracy_score(Y.T, (AL > 0.5).T.astype(int), sample_weight=sample_weight)
    assert abs(found - expected) < 1e-14


@given(
    seed=st.integers(0, 2**32),
    m=st.integers(2, 20),
    weighted=st.booleans(),
    constant=st.booleans(),
    exact=st.booleans(),
)
def test_r2_is_that_of_scikit_learn(seed, m, weighted, constant, exact, metrics):
    rng = np.random.default_rng(seed)
    S = rng.integers(1, 5, (1, m)).astype(float) if weighted else None
    Y, AL = rng.standard_normal((3, m)), rng.standard_normal((3, m))
    if constant:
        Y[0] = 2.0
    if exact:
        AL[0] = Y[0]
    found = score_of(AL, Y, "identity", S)
    expected = metrics.r2_score(Y.T, AL.T, sample_weight=None if S is None else S[0])
    # 1 - a / b, where b may be small: relative to a / b
    assert abs(found - expected) < 1e-12 * max(1.0, abs(expected))


def test_r2_has_the_same_bits_in_every_order_of_memory():
    rng = np.random.default_rng(0)
    for _ in range(20):
        AL, Y = rng.standard_normal((2, 3, 50)).astype(np.float32)
        S = rng.random((3, 50))
        for weights in (None, S[:1], S):
            found = score_of(AL, Y, "identity", weights)
            other = None if weights is None else np.asfortranarray(weights)
            assert score_of(np.asfortranarray(AL), Y, "identity", other) == found
            assert score_of(AL, np.asfortranarray(Y), "identity", weights) == found


def test_r2_of_float32_is_computed_in_float64():
    Y = np.asarray([[1000.0, 1000.25, 1000.5]], np.float32)
    AL = Y + np.float32(0.125)
    assert score_of(AL, Y, "identity") == 1 - 3 * 0.125**2 / (2 * 0.25**2)


def labelled(labels, classes):
    return Dataset(np.arange(2.0 * len(labels)).reshape(-1, 2), labels, classes)


@settings(max_examples=50)
@given(
    st.lists(st.integers(5, 40), min_size=2, max_size=4),
    st.sampled_from([0.1, 0.25, 0.5, 0.8]),
    st.integers(0, 2**64 - 1),
)
def test_every_class_is_split_in_the_share(counts, share, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    data = labelled(labels, tuple("abcd"[: len(counts)]))
    if any(not 0 < round(share * n) < n for n in counts):
        with pytest.raises(InputError, match="expected some on either side"):
            split_validation(data, share, seed)
        return
    rest, held_back = split_validation(data, share, seed)
    for label, n in enumerate(counts):
        assert np.sum(held_back.labels == label) == round(share * n)
    # nothing is lost, doubled or given another label
    rows = np.concatenate([rest.examples, held_back.examples])[:, 0]
    back = np.argsort(rows)
    np.testing.assert_array_equal(rows[back], data.examples[:, 0])
    np.testing.assert_array_equal(np.concatenate([rest.labels, held_back.labels])[back], labels)
    again, _ = split_validation(data, share, seed)
    np.testing.assert_array_equal(again.examples, rest.examples)


def test_another_seed_splits_otherwise():
    data = labelled([0, 1] * 50, ("a", "b"))
    first, second = (split_validation(data, 0.5, seed)[0] for seed in (0, 1))
    assert not np.array_equal(first.examples, second.examples)


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, float("nan"), "half", True])
def test_a_share_that_is_none(share):
    with pytest.raises(InputError, match="validation is .*expected a"):
        train(labelled([0, 1] * 5, ("a", "b")), validation=share, backend="numpy")


def test_a_class_that_would_be_empty_on_either_side():
    data = labelled([0] * 10 + [1], ("many", "one"))
    for share in (0.2, 0.8):
        with pytest.raises(InputError, match="of the 1 examples of class 'one'"):
            train(data, validation=share, backend="numpy")


def test_what_does_not_go_with_validation():
    data = labelled([0, 1] * 5, ("a", "b"))
    with pytest.raises(InputError, match="sample_weight is for all examples"):
        train(data, validation=0.2, sample_weight=np.ones(10), backend="numpy")
    with pytest.raises(InputError, match="has the classes .*expected the same"):
        train(data, validation=labelled([0, 1], ("a", "c")), backend="numpy")
    with pytest.raises(InputError, match="has no labels"):
        train(Dataset(data.examples, None, ("a", "b")), validation=0.2, backend="numpy")
    with pytest.raises(InputError, match="has no labels"):
        train(data, validation=Dataset(data.examples, None, ("a", "b")), backend="numpy")
    with pytest.raises(InputError, match="seed is -1: expected 0 or more"):
        train(data, validation=0.2, seed=-1, backend="numpy")


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (labelled([0, 1], ("a", "c")), "the validation data has the classes .*but the training"),
        (labelled([[0, 1], [1, 1]], ("a", "b")), "the validation data has labels per example: 2"),
        (
            Dataset(np.eye(2), [0, 1], ("a", "c"), source="v.h5"),
            "v.h5 has the classes .*but the training data has",
        ),
    ],
)
def test_validation_data_of_another_kind(validation, message):
    with pytest.raises(InputError, match=message):
        train(labelled([0, 1] * 5, ("a", "b")), validation=validation, backend="numpy")


def test_one_value_may_be_a_column_or_not():
    data, column = (
        Dataset(np.eye(4), np.arange(4.0).reshape(shape), (), head="identity")
        for shape in ((4,), (4, 1))
    )
    data.check_alike(column, "validation")


def test_data_without_labels():
    with pytest.raises(InputError, match="has no labels"):
        train(Dataset(np.eye(4), None, ("a", "b")), backend="numpy")


def test_the_share_is_the_data_that_was_split(backend_name):
    data = Dataset(np.random.default_rng(0).standard_normal((20, 3)), [0, 1] * 10, ("a", "b"))
    first, second = History(), History()
    options = {"layers": [2], "epochs": 2, "report_every": 1, "backend": backend_name}
    shared = train(data, **options, validation=0.3, callbacks=[first])
    rest, held_back = split_validation(data, 0.3, 3)
    given = train(rest, **options, validation=held_back, callbacks=[second])
    assert first.rows == second.rows
    for name, p in shared.parameters.items():
        np.testing.assert_array_equal(given.parameters[name], p)


def test_validation_scores_are_those_of_the_parameters_after_the_epoch(backend):
    network = Network((3, 4, 2), head="identity")
    rng = np.random.default_rng(0)
    X, Y, VX, VY = (rng.standard_normal((n, 6)) for n in (3, 2, 3, 2))
    S = np.asarray([[2.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
    parameters = initialize_parameters_deep(network.layer_dims, rng=0)
    history = History()
    trained = fit(
        parameters, X, Y, network=network, backend=backend, report_every=1, callbacks=[history],
        plan=Plan(0.1, 2, Batches(6), Recipe(l2=0.1)), validation=(VX, VY, S),
    )  # fmt: skip
    # on NumPy in float64; the penalty is not in it
    AL, _ = L_model_forward(
        VX, {n: backend.to_numpy(p).astype(float) for n, p in trained.items()}, network=network
    )
    eps = float(backend.xp.finfo(backend.dtype).eps)
    last = history.rows[-1]
    assert abs(last.validation_cost - float(np.sum(S * (AL - VY) ** 2) / 12)) < 100 * eps
    assert abs(last.validation_score - score_of(AL, VY, "identity", S)) < 100 * eps
    assert abs(last.validation_cost - float(compute_cost(AL, VY, network=network))) > 1e-3


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((np.ones((4, 2)), np.ones((1, 2))), r"validation X has shape \(4, 2\)"),
        ((np.ones((3, 2)), np.full((1, 2), np.nan)), "validation Y holds nan"),
        (
            (np.ones((3, 2)), np.ones((1, 2)), np.ones((1, 3))),
            r"validation weights have shape \(1, 3\)",
        ),
        ((np.ones((3, 2)), np.ones((1, 2)), -np.ones((1, 2))), "validation weights holds -1"),
    ],
)
def test_validation_arrays_that_do_not_fit(validation, message):
    network, backend = Network((3, 1)), get_backend("numpy")
    with pytest.raises(InputError, match=message):
        fit(
            initialize_parameters_deep((3, 1)), np.ones((3, 2)), np.ones((1, 2)),
            network=network, backend=backend, plan=Plan(0.1, 1, Batches(2)), validation=validation,
        )  # fmt: skip


def test_a_first_training_on_jax_compiles_few_programs(require, caplog):
    require("jax")
    import jax

    data = Dataset(np.random.default_rng(0).random((64, 11)), np.arange(64) % 3, ("a", "b", "c"))
    jax.clear_caches()
    with jax.log_compiles(True), caplog.at_level("WARNING"):
        train(
            data, layers=[13], epochs=2, batch_size=16, optimizer="adam", validation=data,
            backend="jax", rng=1,
        )  # fmt: skip
    compiled = [r.getMessage() for r in caplog.records if "Finished XLA" in r.getMessage()]
    assert len(compiled) == 2, compiled  # the loop and the score
