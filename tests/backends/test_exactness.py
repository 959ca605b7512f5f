"""Reproducible arithmetic starts only where every operation has the bits that are known."""

import functools
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from portadnn.arithmetic.guards import Guarded
from portadnn.backends import BackendUnavailableError, get_backend
from portadnn.backends.exactness import BITS, KNOWN, TERMS, _integers, digests


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
    A, B = _integers()
    assert A.shape[1] == B.shape[0] == TERMS
    for x in (A, B):
        assert x.min() >= 2 ** (BITS - 1)
        assert x.max() < 2**BITS
        assert len(np.unique(x)) > 0.95 * x.size  # 32,768 of 2,097,152 numbers
    product = np.matmul(A, B)
    assert product.min() > 2**52
    assert np.any(product % 2 == 1)
    assert TERMS * (2**BITS - 1) ** 2 < 2**53
    np.testing.assert_array_equal(np.matmul(A.astype(float), B.astype(float)), product)


def test_every_backend_proves_its_ground(backend, dtype):
    """Also after it was proved once, which is remembered."""
    assert digests(backend.reproducible()) == {
        name: known[dtype == "float64"] for name, known in KNOWN.items()
    }


def refused(xp, dtype, operation):
    backend = get_backend("numpy", dtype=dtype)
    with pytest.raises(BackendUnavailableError) as caught:
        replace(backend, xp=xp).reproducible()
    assert f"but {operation} in {dtype} has others on cpu" in caught.value.cause
    assert "CUBLAS_EMULATE_DOUBLE_PRECISION" in caught.value.fix


def test_a_backend_that_rounds_its_products_is_refused(dtype):
    refused(Rounded(np), dtype, "an exact product of integers")


class Approximate(Rounded):
    """A namespace whose quotients are one unit off in places, as XLA's are on an H100."""

    matmul = staticmethod(np.matmul)

    def divide(self, x1, x2, /):
        quotient = np.divide(x1, x2)
        next_ = np.nextafter(quotient, np.asarray(9, quotient.dtype))
        return np.where(quotient * 3 % 1 < 0.3, next_, quotient)


def test_a_compiler_that_rounds_float32_quotients_wrongly_gets_float64_ones():
    class Float32(Approximate):
        def divide(self, x1, x2, /):
            x1, x2 = np.asarray(x1), np.asarray(x2)
            return (super() if x2.dtype == np.float32 else np).divide(x1, x2)

    x, y = (np.random.default_rng(0).standard_normal(999).astype(np.float32) for _ in range(2))
    raw = Float32(np)
    assert (raw.divide(x, y) != x / y).any()
    np.testing.assert_array_equal(Guarded(raw).divide(x, y), x / y)
    np.testing.assert_array_equal(Guarded(raw).divide(0.1, y), np.float32(0.1) / y)


def test_one_wrong_entry_is_enough(dtype):
    class OneOff(Rounded):
        def matmul(self, x1, x2, /):
            product = np.array(np.matmul(x1, x2))
            if product.shape == (64, 64):
                product[-1, -1] += 1
            return product

    refused(OneOff(np), dtype, "an exact product of integers")


def planted(name, function):
    """NumPy with another function of that name."""
    xp = Rounded(np)
    xp.matmul = np.matmul
    setattr(xp, name, function)
    return xp


@pytest.mark.parametrize(
    ("name", "operation"),
    [("divide", "a quotient"), ("multiply", "a product and a sum"), ("sum", "a sum")],
)
def test_an_operation_that_rounds_otherwise_is_named(name, operation):
    """By one unit, in places."""
    right = getattr(np, name)

    def wrong(*given, **how):
        found = right(*given, **how)
        if np.asarray(found).dtype != np.float64:
            return found
        return np.where(found * 3 % 1 < 0.3, np.nextafter(found, np.inf), found)

    # the product of matrices uses products and sums as well, so it may be the first that differs
    backend = replace(get_backend("numpy", dtype="float64"), xp=planted(name, wrong))
    with pytest.raises(BackendUnavailableError) as caught:
        backend.reproducible()
    assert any(f"but {x} in float64 has others" in caught.value.cause
               for x in (operation, "a product of matrices"))  # fmt: skip


PROGRAM = """
import sys
from portadnn.backends import BackendUnavailableError, get_backend
{before}
for dtype in ("float32", "float64"):
    try:
        get_backend({name!r}, dtype=dtype, arithmetic="reproducible")
    except BackendUnavailableError as error:
        print("refused:", error.cause)
    else:
        print("accepted")
"""


def answers(name, before="", **settings):
    program = PROGRAM.format(name=name, before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | settings,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_fast_math_of_xla_is_refused(require):
    require("jax")
    found = answers("jax", XLA_FLAGS="--xla_cpu_enable_fast_math=true")
    assert len(found) == 2
    for line in found:
        assert line.startswith("refused: reproducible arithmetic needs the known bits"), line


@functools.cache
def flusher(folder):
    """A library that sets the processor to flush subnormal numbers, as -ffast-math does."""
    source, library = folder / "flush.c", folder / "flush.so"
    source.write_text(
        "#include <xmmintrin.h>\nvoid flush(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }\n"
    )
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


@pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("gcc") is None,
    reason="the library is written for x86-64 and is compiled by gcc",
)
def test_a_process_that_flushes_subnormal_numbers_is_refused(tmp_path):
    before = f"import ctypes; ctypes.CDLL({str(flusher(tmp_path))!r}).flush()"
    for line in answers("numpy", before):
        assert line.startswith("refused: reproducible arithmetic needs numbers below 2.2e-308")
    assert answers("numpy") == ["accepted"] * 2
