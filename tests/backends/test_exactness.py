"""Reproducible arithmetic starts only where float64 products of integers are exact."""

from dataclasses import replace

import numpy as np
import pytest

from portadnn.arithmetic.guards import Guarded
from portadnn.backends import BackendUnavailableError, get_backend
from portadnn.backends.exactness import BITS, TERMS, _integers


class Rounded:
    """A namespace whose products keep 52 bits of 53, as an emulation of float64 may."""

    def __init__(self, xp):
        self._xp = xp

    def __getattr__(self, name):
        return getattr(self._xp, name)

    def matmul(self, x1, x2, /):
        significand, exponent = np.frexp(np.matmul(x1, x2))
        return np.ldexp(np.round(np.ldexp(significand, 52)), exponent - 52)


def test_the_sums_need_every_bit_of_float64():
    A, B, product = _integers()
    assert A.shape[1] == B.shape[0] == TERMS
    assert max(np.abs(A).max(), np.abs(B).max()) < 2**BITS
    assert product.min() > 2**52
    assert TERMS * (2**BITS - 1) ** 2 < 2**53
    assert product.dtype == np.int64
    # as Python's own integers have it
    assert product[3, 5] == sum(int(a) * int(b) for a, b in zip(A[3], B[:, 5], strict=True))


def test_every_backend_proves_its_ground(backend_name):
    assert get_backend(backend_name, arithmetic="reproducible").arithmetic == "reproducible"


def test_a_backend_that_rounds_its_products_is_refused():
    backend = get_backend("numpy")
    with pytest.raises(BackendUnavailableError) as caught:
        replace(backend, xp=Rounded(backend.xp)).reproducible()
    assert "exact float64 products of 22-bit integers" in caught.value.cause
    assert "on cpu" in caught.value.cause
    assert "CUBLAS_EMULATE_DOUBLE_PRECISION" in caught.value.fix


class Approximate(Rounded):
    """A namespace whose float32 quotients are one unit off in places, as XLA's on an H100 are."""

    matmul = staticmethod(np.matmul)

    def divide(self, x1, x2, /):
        quotient = np.divide(x1, x2)
        if quotient.dtype != np.float32:
            return quotient
        return np.where(quotient * 3 % 1 < 0.3, np.nextafter(quotient, np.float32(9)), quotient)


def test_a_backend_that_rounds_its_quotients_wrongly_is_refused():
    backend = get_backend("numpy")
    with pytest.raises(BackendUnavailableError, match="needs quotients .* of 4,096 differ on cpu"):
        replace(backend, xp=Approximate(backend.xp)).reproducible()


def test_a_compiler_that_rounds_float32_quotients_wrongly_gets_float64_ones():
    x, y = (np.random.default_rng(0).standard_normal(999).astype(np.float32) for _ in range(2))
    raw = Approximate(np)
    assert (raw.divide(x, y) != x / y).any()
    np.testing.assert_array_equal(Guarded(raw).divide(x, y), x / y)
    np.testing.assert_array_equal(Guarded(raw).divide(0.1, y), np.float32(0.1) / y)


def test_one_wrong_entry_is_enough():
    class OneOff(Rounded):
        def matmul(self, x1, x2, /):
            product = np.matmul(x1, x2)
            product[-1, -1] += 1
            return product

    backend = get_backend("numpy")
    with pytest.raises(BackendUnavailableError, match="but 1 of 4,096 entries differ"):
        replace(backend, xp=OneOff(backend.xp)).reproducible()
