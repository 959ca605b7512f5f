"""Powers that do not depend on the C library."""

import math
import os
import random
import subprocess
import sys

import mpmath
import pytest

from portadnn.network.powers import half_cosine, power


def test_powers_are_rounded_as_mpmath_rounds_them():
    draw = random.Random(0)
    with mpmath.workprec(200):
        for _ in range(2000):
            base = draw.random()
            exponent = draw.choice([float(draw.randrange(1, 300)), 40 * draw.random()])
            assert power(base, exponent) == float(mpmath.mpf(base) ** mpmath.mpf(exponent))


@pytest.mark.parametrize("exponent", [1, 2.0, 0.5, 3.7, 1e9])
def test_the_ends(exponent):
    assert power(1.0, exponent) == 1.0
    assert power(0.0, exponent) == 0.0
    assert power(0.3, 0) == 1.0
    assert power(0.1, 1000 * exponent) == pytest.approx(0.0, abs=1e-300)


def test_half_a_cosine():
    draw = random.Random(0)
    with mpmath.workprec(200):
        for x in (0.0, 0.25, 0.5, 0.75, 1.0, math.nextafter(0.5, 0), math.nextafter(0.5, 1),
                  math.nextafter(1.0, 0), *(draw.random() for _ in range(2000))):  # fmt: skip
            exact = mpmath.cospi(mpmath.mpf(x) / 2) ** 2
            assert abs(half_cosine(x) - exact) <= 4 * math.ulp(float(exact))


def test_a_processor_without_fma_finds_the_same():
    program = (
        "from portadnn.network.powers import half_cosine, power\n"
        "print([power(b, t / 7).hex() for b in (0.9, 0.95, 0.99) for t in range(2000)],"
        "[half_cosine(t / 2000).hex() for t in range(2001)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True,
            env=os.environ | {"GLIBC_TUNABLES": tunables},
        ).stdout
        for tunables in ("", "glibc.cpu.hwcaps=-FMA,-AVX2")
    }  # fmt: skip
    assert len(found) == 1
