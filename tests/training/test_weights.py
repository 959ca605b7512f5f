"""Weights of classes and examples, against scikit-learn and against repeated examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.data.dataset import Dataset
from portadnn.errors import InputError
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import HEADS
from portadnn.network.spec import Network
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.step import Shared, make_step, step_tensors
from portadnn.training.streams import Batches
from portadnn.training.train import train
from portadnn.training.weights import example_weights

CLASSES = ("cat", "dog", "owl")


@pytest.mark.parametrize("class_weight", ["balanced", {"cat": 2.0, "owl": 0.5}])
@given(st.lists(st.integers(0, 2), min_size=2, max_size=30))
def test_class_weights_are_those_of_scikit_learn(class_weight, labels):
    sklearn_weight = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.asarray(labels)
    named = class_weight
    if isinstance(class_weight, dict):
        named = {i: class_weight.get(name, 1.0) for i, name in enumerate(CLASSES)}
    expected = sklearn_weight.compute_sample_weight(named, labels)
    found = example_weights(labels, CLASSES, class_weight)
    if found is None:
        assert np.ptp(expected) < 1e-15
        return
    assert found.shape == (1, len(labels))
    # scikit-learn's are not of mean 1 where a dict gives them
    np.testing.assert_allclose(found[0], expected / expected.mean(), rtol=1e-14)


@given(st.lists(st.floats(0, 1e308), min_size=1, max_size=20).filter(any))
def test_weights_have_the_mean_1_and_their_own_ratios(weights):
    labels = np.zeros(len(weights), int)
    found = example_weights(labels, CLASSES, sample_weight=weights)
    if found is None:
        assert len(set(weights)) == 1
        return
    assert found.dtype == np.float64
    # a mean of n terms has n roundings
    assert abs(found.mean() - 1) < len(weights) * 2e-16
    largest = int(np.argmax(weights))
    ratios = np.asarray(weights) / weights[largest]
    # a weight below the normal numbers has few digits
    np.testing.assert_allclose(found[0], ratios * found[0, largest], rtol=1e-14, atol=1e-300)


def test_weights_of_classes_and_examples_multiply():
    found = example_weights(np.asarray([0, 1]), CLASSES, {"dog": 3.0}, [2.0, 1.0])
    np.testing.assert_allclose(found, [[0.8, 1.2]], rtol=1e-15)


@pytest.mark.parametrize("head", HEADS)
def test_whole_weights_are_repeated_examples(head, backend):
    network = Network((4, 5, 3), "tanh", head)
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((4, 6)), np.asarray([0, 1, 2, 1, 0, 2])
    Y, counts = np.eye(3)[labels].T, np.asarray([1, 3, 0, 2, 1, 5])
    parameters = initialize_parameters_deep(network.layer_dims, rng=1, backend=backend)

    def tensors(*arrays):
        data = Shared(*map(backend.asarray, arrays))
        inputs = {"learning_rate": backend.asarray([[0.1]])}
        options = {"network": network, "recipe": Recipe(), "xp": backend.xp}
        return step_tensors((parameters, {}), inputs, data, **options)[1]

    weighted = tensors(X, Y, example_weights(labels, CLASSES, sample_weight=counts))
    repeated = tensors(np.repeat(X, counts, axis=1), np.repeat(Y, counts, axis=1))
    eps = float(backend.xp.finfo(backend.dtype).eps)
    for name in ("cost", *(f"d{name}" for name in network.shapes)):
        found, expected = backend.to_numpy(weighted[name]), backend.to_numpy(repeated[name])
        # two sums of a dozen terms of order 1, in another order
        np.testing.assert_allclose(found, expected, rtol=0, atol=50 * eps, err_msg=name)


def test_weights_of_single_outputs_are_those_of_their_costs(backend):
    network = Network((2, 2), head="sigmoid")
    X, Y = np.asarray([[1.0, -1.0], [0.5, 2.0]]), np.asarray([[1.0, 0.0], [0.0, 1.0]])
    S = np.asarray([[2.0, 0.0], [0.0, 2.0]])
    parameters = initialize_parameters_deep(network.layer_dims, rng=1, backend=backend)
    step = make_step(network, backend.xp)
    inputs = Plan(0.1, 1, Batches(2)).inputs(0, 1, network, backend)
    data = Shared(*map(backend.asarray, (X, Y, S)))
    (updated, _), cost = backend.repeat(step, (parameters, {}), inputs, data)
    W = backend.to_numpy(parameters["W1"]).astype(float)
    A = 1 / (1 + np.exp(-W @ X))
    eps = float(backend.xp.finfo(backend.dtype).eps)
    expected = -np.log(A[0, 0]) - np.log(A[1, 1])  # 2 / m of each
    assert abs(float(backend.to_numpy(cost)[0]) - expected) < 20 * eps
    dW = (S * (A - Y)) @ X.T / 2
    found = backend.to_numpy(updated["W1"])
    np.testing.assert_allclose(found, W - 0.1 * dW, rtol=0, atol=10 * eps)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_weight": [1.0, 2.0]}, r"sample_weight has shape \(2,\) for 3 examples: expected"),
        ({"sample_weight": [[1.0, 2.0, 3.0]]}, r"has shape \(1, 3\) for 3 examples"),
        ({"sample_weight": [1.0, -2.0, 1.0]}, "sample_weight holds -2 at index 1"),
        ({"sample_weight": [1.0, 1.0, np.nan]}, "sample_weight holds nan at index 2"),
        ({"sample_weight": [np.inf, 1.0, 1.0]}, "sample_weight holds inf at index 0"),
        ({"sample_weight": [0.0, 0.0, 0.0]}, "the weights of the examples are all 0"),
        ({"class_weight": {"cat": 0.0, "dog": 0.0}}, "the weights of the examples are all 0"),
        ({"class_weight": {"cow": 1.0}}, "unknown class in class_weight 'cow'.*cat, dog, owl"),
        ({"class_weight": {"cat": -1.0}}, "class_weight of 'cat' is -1: expected"),
        ({"class_weight": {"cat": np.nan}}, "class_weight of 'cat' is nan: expected"),
        ({"class_weight": {"cat": "much"}}, "class_weight of 'cat' is 'much': expected a number"),
        ({"class_weight": "balance"}, "unknown class_weight 'balance': did you mean 'balanced'"),
    ],
)
def test_weights_that_cannot_be_used(given, message):
    data = Dataset(np.eye(3), [0, 1, 0], CLASSES)
    with pytest.raises(InputError, match=message):
        train(data, layers=[2], epochs=1, backend="numpy", **given)


def test_class_weights_that_are_a_list():
    with pytest.raises(TypeError, match=r"class_weight is \[1.0, 2.0\]: expected 'balanced'"):
        example_weights(np.asarray([0, 1]), ("a", "b"), [1.0, 2.0])


def test_training_with_equal_weights_is_training_without(backend_name):
    data = Dataset(np.eye(3), [0, 1, 2], CLASSES)
    options = {"layers": [2], "epochs": 3, "backend": backend_name}
    plain = train(data, **options)
    equal = train(data, **options, class_weight="balanced", sample_weight=[7.0] * 3)
    for name, p in plain.parameters.items():
        np.testing.assert_array_equal(equal.parameters[name], p)
