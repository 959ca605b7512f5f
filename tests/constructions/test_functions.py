"""Functions of one number by hand-built networks, against the functions themselves."""

import numpy as np
import pytest
from support import assert_lives_on

from portadnn.constructions import (
    absolute_value,
    function_network,
    interpolant,
    interpolation_bound,
    interpolation_knots,
    sawtooth,
    sawtooth_shallow,
    square_by_four,
    square_by_two,
    squashing,
)
from portadnn.errors import InputError
from portadnn.network.model import L_model_forward

EIGHTHS = np.arange(-40, 41) / 8  # whole multiples of 1/8 are computed without rounding


def compute(parameters, x, backend=None):
    network = function_network(parameters)
    X = np.asarray(x, dtype=float)[None, :]
    X = X if backend is None else backend.asarray(X)
    A, _ = L_model_forward(X, parameters, network=network)
    if backend is None:
        return A[0]
    assert_lives_on(A, backend)
    return backend.to_numpy(A)[0]


def hidden(parameters):
    return function_network(parameters).layer_dims[1:-1]


@pytest.mark.parametrize(
    ("construction", "function", "units"),
    [
        (squashing, lambda x: np.clip(x, 0, 1), 2),
        (absolute_value, np.abs, 2),
        (square_by_two, np.abs, 2),
        # x^2 at whole numbers to 2, straight between them and on from there
        (square_by_four, lambda x: np.maximum(np.abs(x), 3 * np.abs(x) - 2), 4),
    ],
)
def test_exact_functions(construction, function, units, backend):
    parameters = construction(backend=backend)
    np.testing.assert_array_equal(compute(parameters, EIGHTHS, backend), function(EIGHTHS))
    assert hidden(parameters) == (units,)


@pytest.mark.parametrize(("construction", "reach"), [(square_by_two, 1), (square_by_four, 2)])
def test_squares_are_within_a_quarter_and_no_less(construction, reach):
    x = np.arange(-64 * reach, 64 * reach + 1) / 64
    error = compute(construction(), x) - x * x
    assert error.max() == 0.25 == interpolation_bound(2.0, -reach, reach, 2 * reach)
    assert error.min() == 0.0
    np.testing.assert_array_equal(error[x == np.floor(x)], 0)
    beyond = compute(construction(), [reach + 1.0])[0]
    assert beyond < (reach + 1) ** 2 - 0.25


@pytest.mark.parametrize("k", [1, 2, 3, 8, 50])
@pytest.mark.parametrize(
    ("function", "curvature", "low", "high"),
    [(np.sin, 1.0, -3.0, 4.0), (np.exp, np.e, -1.0, 1.0), (np.square, 2.0, -2.0, 2.0)],
)
def test_the_interpolant_is_that_of_numpy_and_keeps_its_bound(function, curvature, low, high, k):
    knots = interpolation_knots(low, high, k)
    parameters = interpolant(knots, function(knots))
    assert hidden(parameters) == (k,)
    x = np.linspace(low, high, 10 * k + 1)  # with the middle of every piece
    found = compute(parameters, x)
    # sums of k terms of at most the largest slope times the width, each rounded
    slope = np.max(np.abs(np.diff(function(knots)) / np.diff(knots)))
    rounding = 8 * k * np.finfo(float).eps * (1 + 2 * slope * (high - low))
    np.testing.assert_allclose(found, np.interp(x, knots, function(knots)), rtol=0, atol=rounding)
    bound = interpolation_bound(curvature, low, high, k)
    error = np.max(np.abs(found - function(x)))
    assert error <= bound + rounding
    if function is np.square:  # whose bound is attained
        assert error == pytest.approx(bound, abs=rounding)


def test_the_bound_falls_with_the_square_of_the_units():
    assert interpolation_bound(1.0, 0.0, 1.0, 20) == interpolation_bound(1.0, 0.0, 1.0, 10) / 4


def test_an_interpolant_of_uneven_knots_on_every_backend(backend):
    knots, values = [-1.0, 0.5, 1.0, 3.0], [2.0, -1.0, 4.0, 0.0]
    found = compute(interpolant(knots, values, backend=backend), EIGHTHS, backend)
    inside = (EIGHTHS >= -1) & (EIGHTHS <= 3)
    np.testing.assert_array_equal(found[inside], np.interp(EIGHTHS, knots, values)[inside])
    np.testing.assert_array_equal(found[EIGHTHS < -1], 2.0)
    np.testing.assert_array_equal(found[EIGHTHS > 3], -2.0 * (EIGHTHS[EIGHTHS > 3] - 3))


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_the_deep_and_the_shallow_sawtooth_are_the_same(k, backend):
    x = np.arange(2 ** (k + 1) + 1) / 2 ** (k + 1)  # every bend, and the middle of every piece
    phase = x * 2**k % 2
    expected = np.minimum(phase, 2 - phase)
    deep, shallow = sawtooth(k, backend=backend), sawtooth_shallow(k, backend=backend)
    np.testing.assert_array_equal(compute(deep, x, backend), expected)
    np.testing.assert_array_equal(compute(shallow, x, backend), expected)
    assert hidden(deep) == (2,) * k
    assert hidden(shallow) == (2**k,)
    # 2^k straight pieces
    slopes = np.diff(compute(sawtooth(k), x))
    assert 1 + np.sum(slopes[1:] != slopes[:-1]) == 2**k


@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_sawtooth_with_a_unit_less(k):
    """Units at all 2^k - 1 bends, facing either way: none of the choices has the first slope.

    The bends and their sizes are forced, so only the side that each unit faces is free.
    """
    bends = [(-1) ** (i + 1) * 2 ** (k + 1) for i in range(2**k - 1)]
    slopes = {
        -sum(bend for i, bend in enumerate(bends) if choice >> i & 1)
        for choice in range(2 ** len(bends))
    }
    assert 2**k not in slopes


@pytest.mark.parametrize(
    ("knots", "values", "message"),
    [
        ([0.0], [1.0], r"knots have shape \(1,\) and values \(1,\)"),
        ([0.0, 1.0], [1.0], r"expected \(k \+ 1,\) for both"),
        ([0.0, 0.0], [1.0, 2.0], "each knot above the one before"),
        ([0.0, 1.0], [1.0, np.nan], "must be finite"),
    ],
)
def test_points_that_are_no_function_are_refused(knots, values, message):
    with pytest.raises(InputError, match=message):
        interpolant(knots, values)


def test_other_bad_input_is_named():
    with pytest.raises(InputError, match="k is 0"):
        sawtooth(0)
    with pytest.raises(InputError, match="sawtooth builds it with 60 units"):
        sawtooth_shallow(30)
    with pytest.raises(InputError, match="high is 0: expected a finite number above 1"):
        interpolation_knots(1.0, 0.0, 3)
    with pytest.raises(InputError, match="curvature is -1"):
        interpolation_bound(-1.0, 0.0, 1.0, 3)
