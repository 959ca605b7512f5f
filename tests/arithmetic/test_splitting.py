"""Slices: integers of few bits, and what they leave out is as small as is said."""

import math
from fractions import Fraction

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from arithmetic_support import assert_same_bits, carried, exact, forms, on_numpy, spread
from hypothesis import given
from hypothesis import strategies as st

from portadnn.arithmetic.guards import guarded
from portadnn.arithmetic.splitting import BLOCK, SMALLEST, block_length, check, cut, widths
from portadnn.backends import get_backend
from portadnn.errors import InputError

TINY = 2.0**-1022
LARGEST = np.finfo(np.float64).max


def entries(largest=LARGEST):
    return st.floats(-largest, largest, allow_subnormal=False)


def test_sums_of_products_of_slices_fit_float64():
    for n in range(1, 5 * BLOCK):
        a, b = widths(n)
        assert block_length(n) <= BLOCK
        assert 0 <= b - a <= 1
        assert block_length(n) * 2 ** (a + b) <= 2**53
        assert 2 * block_length(n) * 2 ** (a + b) > 2**53  # and no bit is given away


@given(st.lists(entries(), min_size=1, max_size=30), st.sampled_from([0, 1]), st.integers(9, 2000))
def test_every_row_is_its_slices_and_a_small_rest(row, axis, n):
    x = np.zeros((1, n))
    x[0, : min(len(row), n)] = row[:n]
    w = widths(n)[1 - axis]
    with np.errstate(all="ignore"):
        stack, L = cut(x if axis == 1 else x.T, axis, xp=numpy_namespace)
    stack = stack if axis == 1 else stack.T
    assert stack.shape == (3, n)
    assert np.all(stack == np.rint(stack))
    assert np.all(abs(stack) <= 2**w)
    assert math.frexp(L.item())[0] == 0.5
    unit = Fraction(L.item()) ** 2
    rest = exact(x[0]) - unit * sum(
        exact(q) * Fraction(1, 2 ** (i * (w + 1))) for i, q in enumerate(stack)
    )
    mu = max(Fraction(np.max(abs(x))), Fraction(SMALLEST))
    rounded = mu * (1 + Fraction(1, 2**26))
    assert max(abs(rest)) <= rounded / 2 ** (3 * w + 1)
    assert unit <= rounded * Fraction(4, 2**w)


@pytest.mark.parametrize("axis", [0, 1])
def test_slices_have_the_same_bits_everywhere(backend, axis):
    backend = get_backend(backend.name, dtype="float64")
    rng = np.random.default_rng(1)
    x = spread(rng, (30, 40), "float64", 60)
    x[:, 0], x[0, :] = 0.0, 0.0
    x[3, 3], x[4, 4], x[5, 5] = np.inf, np.nan, -np.inf

    def slices(xp):
        return lambda x: cut(x, axis, xp=guarded(xp))

    expected = on_numpy(slices, [x], "float64")
    given = backend.asarray(x)
    with carried(backend):
        for function in forms(slices(backend.xp), backend):
            for found, other in zip(function(given), expected, strict=True):
                assert_same_bits(backend.to_numpy(found), other)


def test_the_unit_does_not_hang_on_how_roots_are_rounded(backend):
    """PyTorch's root of 1 - 2**-53 is 1."""
    powers = 2.0 ** np.arange(-40, 40)
    backend = get_backend(backend.name, dtype="float64")
    mu = np.concatenate([powers * c for c in _around_one("float64")])
    x = np.broadcast_to(mu[:, None], (mu.size, 9)).copy()

    def unit(xp):
        return lambda x: [cut(x, 1, xp=guarded(xp))[1]]

    with carried(backend):
        found = unit(backend.xp)(backend.asarray(x))[0]
        assert_same_bits(backend.to_numpy(found), on_numpy(unit, [x], "float64")[0])


def _around_one(dtype):
    u = np.finfo(dtype).eps / 2
    return [1 + i * u for i in range(-8, 9, 1)]


def test_other_dtypes_are_refused():
    with pytest.raises(InputError, match="int64"):
        check(np.arange(20).dtype, numpy_namespace)
