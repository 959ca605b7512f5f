"""Roots are rounded rightly, on libraries that do not."""

import math
from fractions import Fraction

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from arithmetic_support import assert_same_bits, carried, forms
from hypothesis import given
from hypothesis import strategies as st

from portadnn.arithmetic.guards import guarded
from portadnn.arithmetic.roots import sqrt


class Sloppy:
    """NumPy with roots that are off by one unit."""

    def __init__(self, direction):
        self.direction = direction

    def sqrt(self, x):
        return np.nextafter(np.sqrt(x), self.direction)

    def __getattr__(self, name):
        return getattr(numpy_namespace, name)


def hard(dtype):
    """Numbers whose roots lie next to a midpoint, of all exponents, and special ones."""
    info = np.finfo(dtype)
    near = np.concatenate([1 + np.arange(-200, 200) * info.eps / 2, 4 - np.arange(100) * info.eps])
    exponents = np.arange(info.minexp + 1, info.maxexp - 3)
    x = (near[:, None] * 2.0 ** exponents[None, ::7]).ravel()
    special = [0.0, -0.0, np.inf, np.nan, -1.0, info.max, info.tiny, 2.0**-600]
    x = np.concatenate([x, np.random.default_rng(0).random(4000), special])
    return x.astype(dtype)


def test_the_same_roots_everywhere(backend, dtype):
    x = hard(dtype)
    given = backend.asarray(x)
    with carried(backend):
        for function in forms(lambda x: sqrt(x, xp=guarded(backend.xp)), backend):
            found = backend.to_numpy(function(given))
            with np.errstate(invalid="ignore"):
                assert_same_bits(found, np.sqrt(x))


@pytest.mark.parametrize("direction", [np.inf, 0.0])
def test_a_root_that_is_off_by_one_unit_is_put_right(direction, dtype):
    x = hard(dtype)
    with np.errstate(all="ignore"):
        x = x[np.isfinite(x) & (x > 0)]
        assert_same_bits(sqrt(x, xp=Sloppy(direction)), np.sqrt(x))


@given(st.floats(2.0**-1022, allow_infinity=False, allow_nan=False))
def test_no_number_is_nearer(x):
    with np.errstate(over="ignore"):  # in the branch that is not taken
        s = sqrt(np.asarray([x]), xp=numpy_namespace).item()
    half_up = (Fraction(s) + Fraction(math.nextafter(s, math.inf))) / 2
    half_down = (Fraction(s) + Fraction(math.nextafter(s, 0.0))) / 2
    assert half_down**2 <= Fraction(x) <= half_up**2


def test_pytorch_by_itself_does_not(torch):
    x = np.random.default_rng(0).random(4000)
    assert np.any(torch.sqrt(torch.from_numpy(x)).numpy() != np.sqrt(x))
