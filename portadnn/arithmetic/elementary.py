"""exp, expm1, log, log1p and tanh with the same bits wherever float64 is IEEE 754.

A library's own functions differ in the last bit from each other, and from one processor to the
next. These are made of +, -, * and /, which IEEE 754 rounds in one way, and of ``floor``,
``minimum``, ``maximum``, ``where`` and ``copysign``, which do not round. ``xp`` is a namespace
whose products and quotients a compiler can neither fuse with a sum nor rearrange; sums and
differences are operators, and no constant is added and subtracted again.

The library's ``exp`` and ``log2`` only estimate a power of two and its exponent: even an error of a
tenth would not change the result (``_power_of_two``, ``log``). Its ``sqrt`` also serves only as an
estimate, because not every library rounds it correctly.

| function | largest error | measured | x = 0      | -inf | inf | else                   |
|----------|---------------|----------|------------|------|-----|------------------------|
| exp      | 0.85 ulp      | 0.75     | 1          | 0    | inf | 0 below 2**-1022       |
| expm1    | 0.9 ulp       | 0.82     | x          | -1   | inf |                        |
| log      | 0.95 ulp      | 0.84     | -inf       | NaN  | inf | NaN below 0            |
| log1p    | 0.95 ulp      | 0.85     | x          | NaN  | inf | -inf at -1, NaN below  |
| tanh     | 0.95 ulp      | 0.76     | x          | -1   | 1   |                        |

The errors hold if argument and result are normal numbers or stand in the table. A result x keeps
the sign of a zero, and NaN gives NaN. Results of ``exp`` that would be subnormal are 0, because
some devices make them 0. For the same reason nothing is promised for subnormal arguments; ``log``
takes them as 0. Arrays are float64, of any shape.

The errors are sums of roundings. A result is a large part plus a small one: the large part is
exact, the small one is below a quarter of it and has a few roundings of its own, and the last
addition rounds once more (half an ulp). The comments give the numbers.

References
----------
Sun Microsystems, fdlibm 5.3 (1993), e_exp.c, s_expm1.c, e_log.c: the reductions and the forms of
the approximations. The coefficients are of ``scripts/make_polynomials``.
Dekker, A floating-point technique for extending the available precision (1971): ``_fast_two_sum``
and ``_head``.
Rump, Ogita and Oishi, Fast high precision summation (2010): powers of two by additions.
Muller, Elementary Functions (3rd ed., 2016), chapter 11: range reduction.
"""

from __future__ import annotations

import math
from typing import Any

SMALLEST = 2.0**-1022  # the smallest normal number
LARGEST = 2.0**1023 * (2.0 - 2.0**-52)
LN2 = 0.6931471805599453
LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # 32 bits: exact times any exponent
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")  # ln 2 - LN2_HIGH to 2**-86
PER_LN2 = 1.4426950408889634
SWITCH = 0.4150374992788438  # log2(4/3)
EXP_IS_0 = -708.3964185322642  # the largest x with exp(x) < 2**-1022

# exp(r) = 1 + r + r**2 / 2 + r**3 P(r); exp(r) - 1 to 2**-58 of it for r in [-0.29, 0.41]
EXP = (
    0.16666666666666663,
    0.04166666666666754,
    0.008333333333338404,
    0.0013888888888140254,
    0.00019841269826347425,
    2.4801589503791e-05,
    2.7557326523708886e-06,
    2.755459873369708e-07,
    2.5070329037602166e-08,
    2.2094345477050193e-09,
)
# 2 artanh(s) = 2 s + s z P(z) with z = s**2; to 2**-58 of it for abs(s) <= 1/5
ARTANH = (
    0.666666666666666,
    0.40000000000056957,
    0.28571428555767664,
    0.22222224302860755,
    0.18181665512212278,
    0.15391123357579609,
    0.13173413301440862,
    0.1384426821803854,
)


def exp(x: Any, *, xp: Any) -> Any:
    """The exponential of a float64 array; results below 2**-1022 are 0.

    >>> import array_api_compat.numpy as xp
    >>> exp(xp.asarray([-1000.0, 0.0, 1.0]), xp=xp)
    array([0.        , 1.        , 2.71828183])
    """
    x = xp.minimum(xp.maximum(x, EXP_IS_0), 710.0)
    one = xp.minimum(xp.multiply(x - EXP_IS_0, 2.0**60), 1.0)  # 0 if the result is to be 0
    k, high, low = _reduced(x, xp)
    s, t = _scales(k, xp)
    # the smallest y is 3/4, and then the bracket is 1/4: its rounding is an eighth of an ulp of y,
    # and the five roundings in low, of numbers below 0.05, are another sixth
    y = (high + low) + 1.0
    return xp.multiply(xp.multiply(y, xp.multiply(t, one)), s)


def expm1(x: Any, *, xp: Any) -> Any:
    """``exp(x) - 1``, also if x is so small that exp(x) is 1.

    >>> import array_api_compat.numpy as xp
    >>> expm1(xp.asarray([-1000.0, 1e-20, 1.0]), xp=xp)
    array([-1.00000000e+00,  1.00000000e-20,  1.71828183e+00])
    """
    k, high, low = _reduced(xp.minimum(xp.maximum(x, -40.0), 710.0), xp)
    s, t = _scales(k, xp)
    # (s t - 1) + s t (high + low), divided by s, because s t could overflow
    one = xp.divide(1.0, s)
    a = t - one
    lost = (t - a) - one  # by that difference: not 0 if k >= 54
    y, rest = _fast_two_sum(a, xp.multiply(t, high))
    # low is below 0.1; its two roundings are 0.3 ulp of a result just below 1/2, and 0.35 ulp of
    # one just above, with 2 low and the rounding of r
    y = y + (rest + (xp.multiply(t, low) + lost))
    return xp.copysign(xp.multiply(y, s), x)


def tanh(x: Any, *, xp: Any) -> Any:
    """The hyperbolic tangent, ``(E - 1) / (E + 1)`` with ``E = exp(2 abs(x))``.

    >>> import array_api_compat.numpy as xp
    >>> tanh(xp.asarray([-1e300, 1e-20, 1.0]), xp=xp)
    array([-1.00000000e+00,  1.00000000e-20,  7.61594156e-01])
    """
    small = xp.abs(x)
    a = xp.maximum(xp.minimum(small, 20.0), 2.0**-28)  # tanh(20) rounds to 1
    k, high, low = _reduced(a + a, xp)
    s = _power_of_two(k, xp)
    high, low = _fast_two_sum(high, low)
    high, low = xp.multiply(s, high), xp.multiply(s, low)
    # numerator and denominator as sums of two numbers
    minus, plus = s - 1.0, s + 1.0
    n, n_low = _fast_two_sum(minus, high)
    d, d_low = _fast_two_sum(plus, high)
    n_low = n_low + low
    d_low = (d_low + low) + (2.0 - (plus - minus))  # if k >= 53, s + 1 loses the 1
    # long division: 26 bits of the quotient, whose product with 26 bits of d is exact, and the rest
    d_high = _head(d, xp)
    d_low = (d - d_high) + d_low
    q = _head(xp.divide(n, d), xp)
    rest = ((n - xp.multiply(q, d_high)) - xp.multiply(q, d_low)) + n_low
    y = q + xp.divide(rest, d)
    # below 2**-28, tanh(x) rounds to x, and y is 2**-28
    return xp.copysign(xp.multiply(y, xp.minimum(xp.divide(small, a), 1.0)), x)


def log(x: Any, *, xp: Any) -> Any:
    """The natural logarithm; -inf at 0 and for subnormal numbers, NaN below.

    >>> import array_api_compat.numpy as xp
    >>> log(xp.asarray([0.0, 1.0, 10.0]), xp=xp)
    array([      -inf, 0.        , 2.30258509])
    """
    # x = s**2 (2 p) (1 + f) with powers of two s and p, and f in (-0.3, 0.4]
    m = xp.minimum(xp.maximum(x, SMALLEST), LARGEST)
    s = _power_below(xp.sqrt(m), xp)  # sqrt neither overflows nor underflows
    m = xp.divide(xp.divide(m, s), s)  # in [1, 4]
    p = _power_below(xp.multiply(m, 1 / 1.4), xp)  # 1/2, 1 or 2
    f = xp.divide(m, xp.multiply(p, 2.0)) - 1.0  # exact
    h = xp.floor(xp.log2(s) + 0.5)  # an integer, whatever the last bits of log2 are
    y = _log_1_plus(f, 0.0, h + h + xp.floor(p), xp)
    at_0 = xp.sqrt(xp.minimum(x, 0.0)) - math.inf
    return xp.where(x < SMALLEST, at_0, y + xp.maximum(x - LARGEST, 0.0))


def log1p(x: Any, *, xp: Any) -> Any:
    """``log(1 + x)``, also if x is so small that 1 + x is 1.

    >>> import array_api_compat.numpy as xp
    >>> log1p(xp.asarray([-1.0, 1e-20, 1.0]), xp=xp)
    array([          -inf, 1.00000000e-20, 6.93147181e-01])
    """
    # 1 + x = 2 p (1 + f + f_low) with a power of two p and f in (-0.3, 0.4]
    y = xp.minimum(xp.maximum(x, 2.0**-53 - 1.0), LARGEST)
    p = _power_below(xp.multiply(1.0 + y, 1 / 1.4), xp)
    k = xp.floor(xp.log2(p) + 1.5)
    # exact for p below 2**54; above, the error is smaller than the result's last bit
    a = xp.multiply(xp.divide(1.0, p), 0.5) - 1.0
    f, f_low = _fast_two_sum(a, xp.multiply(xp.divide(y, p), 0.5))
    # f_low is 0, except for x from 0.4 to 0.5: there 1 / (1 + f) is 1.375, give or take 0.05
    y = _log_1_plus(f, xp.multiply(f_low, 1.375), k, xp)
    at_minus_1 = xp.sqrt(xp.minimum(1.0 + x, 0.0)) - math.inf
    y = xp.where(x <= -1.0, at_minus_1, y + xp.maximum(x - LARGEST, 0.0))
    return xp.copysign(y, x)


def _reduced(x, xp):
    """``k, high, low`` with ``exp(x) = 2**k (1 + high + low)``, and low small beside high.

    ``x = k ln 2 + r`` with r from -log(4/3) to log(3/2), -0.288 to 0.406. So k = 0 if the result of
    ``expm1`` is between -1/4 and 1/2, and then r = x has no rounding.
    """
    k = xp.floor(xp.multiply(x, PER_LN2) + SWITCH)
    high = x - xp.multiply(k, LN2_HIGH)  # exact
    low = xp.multiply(k, LN2_LOW)
    r = high - low
    r2 = xp.multiply(r, r)
    r3 = xp.multiply(r2, r)
    bent = xp.multiply(r2, 0.5) + xp.multiply(r3, _polynomial(EXP, r, xp))  # exp(r) - 1 - r
    return k, high, bent - low


def _scales(k, xp):
    """Powers of two ``s, t`` with ``s t = 2**k``, both far from overflow and underflow."""
    h = xp.floor(xp.multiply(k, 0.5))
    s = _power_of_two(h, xp)
    return s, xp.multiply(s, ((k - h) - h) + 1.0)  # s or 2 s


def _power_of_two(k, xp):
    """``2**k`` for integers k, -1022 <= k <= 970, from an estimate within an eighth of it.

    ``big`` lies between 2**(k+52) and 2**(k+53), where the floating-point numbers are 2**k apart:
    ``e + big`` is the one after ``big``, and the difference is exact.
    """
    e = xp.exp(xp.multiply(k, LN2))
    big = xp.multiply(e, 0.75 * 2.0**53)
    return (e + big) - big


def _power_below(x, xp):
    """The largest power of two < x, for x from 2**-969 on.

    ``x (1 - 2**-53)`` lies more than half the spacing of numbers below x, and less than one and a
    half: it rounds to the number before x.
    """
    return xp.multiply(x - xp.multiply(x, 1.0 - 2.0**-53), 2.0**52)


def _log_1_plus(f, low, k, xp):
    """``log(1 + f) + low + k log 2`` for f in [-0.3, 0.4] and low below an ulp of it."""
    # log(1 + f) = f - f f/2 + s (f f/2 + z P(z)) with s = f / (2 + f). The results nearest to 0
    # that are not near f are log(1.4) and log(0.7), 0.35; there f f/2 is 0.08, s times the bracket
    # is 0.016, and all their roundings are 0.4 ulp of the result
    s = xp.divide(f, 2.0 + f)
    z = xp.multiply(s, s)
    half = xp.multiply(xp.multiply(f, f), 0.5)
    r = xp.multiply(s, half + xp.multiply(z, _polynomial(ARTANH, z, xp)))
    y, rest = _fast_two_sum(xp.multiply(k, LN2_HIGH), f)
    return y + ((rest + low) - (half - (r + xp.multiply(k, LN2_LOW))))


def _fast_two_sum(a, b):
    """``a + b`` and what its rounding lost, for ``abs(a) >= abs(b)`` or ``a = 0``."""
    s = a + b
    return s, b - (s - a)


def _head(x, xp):
    """The first 26 bits of x, below 2**996 (Veltkamp)."""
    g = xp.multiply(x, 2.0**27 + 1.0)
    return g - (g - x)


def _polynomial(coefficients, x, xp):
    """A polynomial, by Horner's rule. The constant coefficient comes first."""
    y = xp.multiply(x, coefficients[-1])
    for c in coefficients[-2:0:-1]:
        y += c
        y = xp.multiply(y, x)
    y += coefficients[0]
    return y
