"""What the caller has set for NumPy stops no function at an underflow that is right."""

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest

import portadnn as dnn
from portadnn.network import activations, losses
from portadnn.network.namespace import resolve
from portadnn.training.weights import normalized

Z = np.asarray([[-1e4, 0.0, 1e4, 1e-300]])
TWO = np.concatenate([Z, -Z])
TINY = np.full((1, 4), 1e-200)


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        (lambda: activations.sigmoid(Z), [[0, 0.5, 1, 0.5]]),
        (lambda: activations.sigmoid_backward(TINY, Z), [[0, 2.5e-201, 0, 2.5e-201]]),
        (lambda: activations.softmax(TWO), [[0, 0.5, 1, 0.5], [1, 0.5, 0, 0.5]]),
        (lambda: activations.leaky_relu(-TINY * 1e-107), -TINY * 1e-109),
        (lambda: activations.leaky_relu_backward(TINY * 1e-107, -TINY), TINY * 1e-109),
        (lambda: activations.tanh(TINY * 1e-107), TINY * 1e-107),
        (lambda: losses.get_head("sigmoid").cost_with_logits(Z, Z > 0), 0.5 * np.log(2)),
        (lambda: losses.get_head("softmax").cost_with_logits(TWO, TWO > 0), 0.5 * np.log(2)),
        (lambda: losses.get_head("identity").cost_with_logits(TINY, 2 * TINY), 0.0),
    ],
)
@pytest.mark.parametrize("set_to", ["raise", "warn", "ignore"])
def test_an_underflow_is_0(computed, expected, set_to):
    with np.errstate(under="ignore"):
        expected = np.asarray(expected)
    with np.errstate(all=set_to):
        found = computed()
    # the products of subnormal numbers are rounded to whole steps of 5e-324
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=5e-324)


def test_an_overflow_is_still_the_callers_matter():
    one, huge = np.ones((1, 1)), np.full((1, 1), 1e200)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        dnn.linear_forward(huge, huge, one)


def test_without_such_a_setting_the_namespace_is_the_arrays_own():
    assert resolve(None, Z) is numpy_namespace
    assert resolve(numpy_namespace, Z) is numpy_namespace
    with np.errstate(under="raise"):
        assert resolve(None, Z).float64 is np.float64
        assert resolve(None, Z).__name__ == numpy_namespace.__name__


def test_training_takes_numbers_that_float32_does_not_hold(backend_name):
    data = dnn.Dataset(np.asarray([[1e-60, 1.0], [2.0, 1e-50]]), np.asarray([0, 1]), ("a", "b"))
    with np.errstate(all="raise"):
        model = dnn.train(data, layers=[3], epochs=2, learning_rate=0.1, backend=backend_name)
        assert np.isfinite(model.parameters["W1"]).all()
        assert dnn.get_backend(backend_name).asarray([1e-60])[0] == 0
        assert normalized(np.asarray([1e-300, 1e300])).tolist() == [[0.0, 2.0]]
