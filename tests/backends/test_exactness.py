"""Reproducible arithmetic starts only where float64 products of integers are exact."""

from dataclasses import replace

import numpy as np
import pytest

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


def test_one_wrong_entry_is_enough():
    class OneOff(Rounded):
        def matmul(self, x1, x2, /):
            product = np.matmul(x1, x2)
            product[-1, -1] += 1
            return product

    backend = get_backend("numpy")
    with pytest.raises(BackendUnavailableError, match="but 1 of 4,096 entries differ"):
        replace(backend, xp=OneOff(backend.xp)).reproducible()
