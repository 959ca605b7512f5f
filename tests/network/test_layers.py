"""Against worked numbers of the well-known course, drawn with its seeds."""

import numpy as np
import pytest
from support import assert_equal, eps

from portadnn.errors import InputError
from portadnn.network.layers import (
    dropout_backward,
    dropout_forward,
    linear_activation_backward,
    linear_activation_forward,
    linear_backward,
    linear_forward,
)

PRINTED = 5.1e-9  # the course prints 8 digits after the point


def draw(seed, *shapes):
    rng = np.random.RandomState(seed)
    return [rng.randn(*shape) for shape in shapes]


def test_linear_forward_worked_numbers(backend):
    A, W, b = map(backend.asarray, draw(1, (3, 2), (1, 3), (1, 1)))
    Z, cache = linear_forward(A, W, b)
    assert_equal(Z, [[3.26295337, -1.23429987]], backend, atol=PRINTED, rtol=10 * eps(backend))
    assert cache[0] is A
    assert cache[1] is W
    assert cache[2] is b


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("sigmoid", [[0.96890023, 0.11013289]]), ("relu", [[3.43896131, 0.0]])],
)
def test_linear_activation_forward_worked_numbers(activation, expected, backend):
    arrays = map(backend.asarray, draw(2, (3, 2), (1, 3), (1, 1)))
    A, (linear_cache, Z) = linear_activation_forward(*arrays, activation)
    assert_equal(A, expected, backend, atol=PRINTED, rtol=10 * eps(backend))
    assert len(linear_cache) == 3
    assert tuple(Z.shape) == (1, 2)


def test_linear_backward_worked_numbers(backend):
    dZ, A, W, b = map(backend.asarray, draw(1, (1, 2), (3, 2), (1, 3), (1, 1)))
    dA_prev, dW, db = linear_backward(dZ, (A, W, b))
    expected = [[0.51822968, -0.19517421], [-0.40506361, 0.15255393], [2.37496825, -0.89445391]]
    assert_equal(dA_prev, expected, backend, atol=PRINTED, rtol=10 * eps(backend))
    assert_equal(
        dW, [[-0.10076895, 1.40685096, 1.64992505]], backend, atol=PRINTED, rtol=10 * eps(backend)
    )
    assert_equal(db, [[0.50629448]], backend, atol=PRINTED, rtol=10 * eps(backend))


def test_the_input_gradient_is_computed_only_where_asked_for(backend):
    dZ, A, W, b = map(backend.asarray, draw(1, (1, 2), (3, 2), (1, 3), (1, 1)))
    dA_prev, dW, _ = linear_backward(dZ, (A, W, b), input_gradient=False)
    assert dA_prev is None
    assert_equal(dW, backend.to_numpy(linear_backward(dZ, (A, W, b))[1]), backend, rtol=0)


@pytest.mark.parametrize(
    ("activation", "dA_prev_0", "dW", "db"),
    [
        ("sigmoid", [0.11017994, 0.01105339], [[0.10266786, 0.09778551, -0.01968084]], -0.05729622),
        ("relu", [0.44090989, 0.0], [[0.44513824, 0.37371418, -0.10478989]], -0.20837892),
    ],
)
def test_linear_activation_backward_worked_numbers(activation, dA_prev_0, dW, db, backend):
    dA, A, W, b, Z = map(backend.asarray, draw(2, (1, 2), (3, 2), (1, 3), (1, 1), (1, 2)))
    found = linear_activation_backward(dA, ((A, W, b), Z), activation)
    assert_equal(found[0][:1, :], [dA_prev_0], backend, atol=PRINTED, rtol=10 * eps(backend))
    assert_equal(found[1], dW, backend, atol=PRINTED, rtol=10 * eps(backend))
    assert_equal(found[2], [[db]], backend, atol=PRINTED, rtol=10 * eps(backend))


def test_nothing_given_is_changed():
    arrays = draw(2, (3, 2), (1, 3), (1, 1))
    copies = [x.copy() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    A, cache = linear_activation_forward(*arrays, "relu")
    A.flags.writeable = False
    linear_activation_backward(A, cache, "relu")
    for x, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 2), (1, 4), (1, 1)), r"W has shape \(1, 4\), but A has shape \(3, 2\).*3 columns"),
        (((3, 2), (1, 3), (1, 2)), r"b has shape \(1, 2\).*expected b of shape \(1, 1\)"),
        (((3, 2), (1, 3), (1,)), r"b has shape \(1,\): expected 2 axes"),
        (((3,), (1, 3), (1, 1)), r"A has shape \(3,\): expected 2 axes, \(n_prev, m\)"),
    ],
)
def test_shapes_that_disagree(shapes, message):
    with pytest.raises(InputError, match=message):
        linear_forward(*(np.zeros(shape) for shape in shapes))


def test_gradients_of_another_shape():
    cache = (np.zeros((3, 2)), np.zeros((1, 3)), np.zeros((1, 1)))
    with pytest.raises(InputError, match=r"dZ has shape \(1, 5\).*expected \(1, 2\)"):
        linear_backward(np.zeros((1, 5)), cache)
    with pytest.raises(InputError, match=r"dA has shape \(1, 5\), but the cached Z has \(1, 2\)"):
        linear_activation_backward(np.zeros((1, 5)), (cache, np.zeros((1, 2))), "relu")


def test_an_unknown_activation():
    with pytest.raises(InputError, match="unknown activation 'sigmod': did you mean 'sigmoid'"):
        linear_activation_forward(*draw(2, (3, 2), (1, 3), (1, 1)), "sigmod")


def test_arrays_of_two_libraries_do_not_mix():
    import array_api_strict as strict

    with pytest.raises(TypeError, match="namespace"):
        linear_forward(np.zeros((3, 2)), strict.zeros((1, 3)), np.zeros((1, 1)))


def test_dropout_keeps_scales_and_drops(backend):
    A, D = draw(1, (4, 5))[0], np.random.default_rng(0).random((4, 5)) < 0.5
    mask = backend.asarray(D, dtype="bool")
    for function in (dropout_forward, dropout_backward):
        # 1 / (1 - 0.2) and a product
        assert_equal(
            function(backend.asarray(A), mask, 0.2), np.where(D, A / 0.8, 0.0), backend,
            rtol=2 * eps(backend),
        )  # fmt: skip


def test_what_is_dropped_is_0_even_where_it_is_not_finite(backend):
    A = backend.asarray([[np.inf, np.nan, 1.0]])
    D = backend.asarray([[False, False, True]], dtype="bool")
    assert_equal(dropout_forward(A, D, 0.5), [[0.0, 0.0, 2.0]], backend)


def test_dropout_of_0_is_the_identity(backend):
    A = backend.asarray(draw(1, (4, 5))[0])
    D = backend.asarray(np.ones((4, 5)), dtype="bool")
    assert_equal(dropout_forward(A, D, 0.0), backend.to_numpy(A), backend)


def test_a_mask_of_another_shape():
    with pytest.raises(InputError, match=r"mask has shape \(4, 1\), but A has \(4, 5\)"):
        dropout_forward(np.ones((4, 5)), np.ones((4, 1), bool), 0.5)
