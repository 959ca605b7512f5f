import numpy as np
import pytest
from support import assert_equal, assert_lives_on, eps

from portadnn.errors import InputError
from portadnn.network.optimizers import update_parameters

SHAPES = {"W1": (3, 4), "b1": (3, 1), "W2": (1, 3), "b2": (1, 1)}
# printed by the course for its seeds 2 and 3 and the rate 0.1
EXPECTED = {
    "W1": [
        [-0.59562069, -0.09991781, -2.14584584, 1.82662008],
        [-1.76569676, -0.80627147, 0.51115557, -1.18258802],
        [-1.0535704, -0.86128581, 0.68284052, 2.20374577],
    ],
    "b1": [[-0.04659241], [-1.28888275], [0.53405496]],
    "W2": [[-0.55569196, 0.0354055, 1.32964895]],
    "b2": [[-0.84610769]],
}


def course(backend):
    rng = np.random.RandomState(2)
    parameters = {name: backend.asarray(rng.randn(*shape)) for name, shape in SHAPES.items()}
    rng = np.random.RandomState(3)
    grads = {f"d{name}": backend.asarray(rng.randn(*shape)) for name, shape in SHAPES.items()}
    return parameters, grads


@pytest.mark.parametrize("as_array", [False, True])
def test_worked_numbers_of_the_course(as_array, backend):
    parameters, grads = course(backend)
    rate = backend.asarray([[0.1]]) if as_array else 0.1
    updated = update_parameters(parameters, grads, rate)
    assert list(updated) == list(SHAPES)
    for name, p in updated.items():
        assert_equal(p, EXPECTED[name], backend, atol=5.1e-9, rtol=4 * eps(backend))


def test_the_parameters_given_are_left_alone(backend):
    # a departure from the text, which changes them
    parameters, grads = course(backend)
    before = {name: backend.to_numpy(p).copy() for name, p in parameters.items()}
    updated = update_parameters(parameters, grads, 0.1)
    assert updated is not parameters
    for name, p in parameters.items():
        np.testing.assert_array_equal(backend.to_numpy(p), before[name])


def test_a_numpy_float64_rate_does_not_widen_float32(backend):
    parameters, grads = course(backend)
    for p in update_parameters(parameters, grads, np.float64(0.1)).values():
        assert_lives_on(p, backend)


def test_missing_and_misshapen_gradients():
    p = {"W1": np.zeros((2, 3))}
    with pytest.raises(InputError, match=r"dW1 is missing, but W1 has shape \(2, 3\)"):
        update_parameters(p, {}, 0.1)
    with pytest.raises(InputError, match=r"dW1 has shape \(3, 2\), but W1 has shape \(2, 3\)"):
        update_parameters(p, {"dW1": np.zeros((3, 2))}, 0.1)
