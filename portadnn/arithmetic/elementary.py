"""Elementary functions by +, -, *, / alone."""

from __future__ import annotations

import math

TINY = 2.0**-1022
HUGE = 2.0**1023 * (2.0 - 2.0**-52)

LN2 = 0.6931471805599453
LN2_HI = 6.93147180369123816490e-01
LN2_LO = 1.90821492927058770002e-10
PER_LN2 = 1.4426950408889634
EXP_ZERO = -708.3964185322641
EXP = (
    0.16666666666666666,
    -0.002777777777777208,
    6.613756611561113e-05,
    -1.65343876433496e-06,
    4.175002559588023e-08,
    -1.0414313303797463e-09,
)
LOG = (
    0.666666666666666,
    0.40000000000055946,
    0.2857142855600624,
    0.22222224276295743,
    0.18181667083430136,
    0.15391072583091397,
    0.1317425937963968,
    0.13838582993345164,
)


def exp(x, *, xp):
    x = xp.minimum(xp.maximum(x, -746.0), 710.0)
    k, hi, lo = _reduce(x, xp)
    s, cs = _half_powers(k, xp)
    y = (hi + lo) + 1.0
    y = xp.multiply(xp.multiply(y, cs), s)
    return xp.where(x < EXP_ZERO, 0.0, y)


def expm1(x, *, xp):
    k, hi, lo = _reduce(xp.minimum(xp.maximum(x, -40.0), 710.0), xp)
    s, cs = _half_powers(k, xp)
    one = xp.divide(1.0, s)
    a = cs - one
    lost = (cs - a) - one
    y, low = _fast_two_sum(a, xp.multiply(cs, hi))
    y = y + (low + (xp.multiply(cs, lo) + lost))
    return xp.copysign(xp.multiply(y, s), x)


def tanh(x, *, xp):
    t = xp.minimum(xp.abs(x), 20.0)
    k, hi, lo = _reduce(t + t, xp)
    s = _power_of_two(k, xp)
    r, r_lo = _fast_two_sum(hi, lo)
    hi, lo = xp.multiply(s, r), xp.multiply(s, r_lo)
    minus, plus = s - 1.0, s + 1.0
    n, n_lo = _fast_two_sum(minus, hi)
    d, d_lo = _fast_two_sum(plus, hi)
    n_lo = n_lo + lo
    d_lo = (d_lo + lo) + (2.0 - (plus - minus))
    d_hi = _head(d, xp)
    d_lo = (d - d_hi) + d_lo
    q = _head(xp.divide(n, d), xp)
    rest = ((n - xp.multiply(q, d_hi)) - xp.multiply(q, d_lo)) + n_lo
    y = q + xp.divide(rest, d)
    return xp.copysign(xp.where(t < 2.0**-28, t, y), x)


def log(x, *, xp):
    y = xp.minimum(xp.maximum(x, TINY), HUGE)
    s = _power_below(xp.sqrt(y), xp)
    y = xp.divide(xp.divide(y, s), s)
    p = xp.multiply(_power_below(xp.multiply(y, 2 / 3), xp), 2.0)
    f = xp.divide(y, p) - 1.0
    k = xp.floor((xp.log2(s) + xp.log2(xp.multiply(s, p))) + 0.5)
    y = _log_of(k, f, xp)
    at_zero = xp.sqrt(xp.minimum(x, 0.0)) - math.inf
    return xp.where(x < TINY, at_zero, y + xp.maximum(x - HUGE, 0.0))


def log1p(x, *, xp):
    y = xp.minimum(xp.maximum(x, 2.0**-53 - 1.0), HUGE)
    p = _power_below(xp.multiply(1.0 + y, 2 / 3), xp)
    k = xp.floor(xp.log2(p) + 1.5)
    f = xp.multiply(xp.divide(y, p), 0.5) + (xp.multiply(xp.divide(1.0, p), 0.5) - 1.0)
    y = _log_of(k, f, xp)
    at_zero = xp.sqrt(xp.minimum(x + 1.0, 0.0)) - math.inf
    return xp.copysign(xp.where(x <= -1.0, at_zero, y + xp.maximum(x - HUGE, 0.0)), x)


def _reduce(x, xp):
    k = xp.floor(xp.multiply(x, PER_LN2) + 0.415)
    hi = x - xp.multiply(k, LN2_HI)
    lo = xp.multiply(k, LN2_LO)
    r = hi - lo
    t = xp.multiply(r, r)
    c = r - xp.multiply(t, _horner(EXP, t, xp))
    q = xp.divide(xp.multiply(r, c), 2.0 - c)
    return k, hi, q - lo


def _half_powers(k, xp):
    h = xp.floor(xp.multiply(k, 0.5))
    s = _power_of_two(h, xp)
    return s, xp.multiply(s, ((k - h) - h) + 1.0)


def _power_of_two(k, xp):
    e = xp.exp(xp.multiply(k, LN2))
    big = xp.multiply(e, 0.75 * 2.0**53)
    return (e + big) - big


def _power_below(x, xp):
    return xp.multiply(x - xp.multiply(x, 1.0 - 2.0**-53), 2.0**52)


def _log_of(k, f, xp):
    s = xp.divide(f, 2.0 + f)
    z = xp.multiply(s, s)
    half = xp.multiply(xp.multiply(f, f), 0.5)
    r = xp.multiply(s, half + xp.multiply(z, _horner(LOG, z, xp)))
    y, low = _fast_two_sum(xp.multiply(k, LN2_HI), f)
    return y + (low - (half - (r + xp.multiply(k, LN2_LO))))


def _fast_two_sum(a, b):
    s = a + b
    return s, b - (s - a)


def _head(x, xp):
    g = xp.multiply(x, 2.0**27 + 1.0)
    return g - (g - x)


def _horner(coefficients, x, xp):
    y = xp.multiply(x, coefficients[-1])
    for c in coefficients[-2:0:-1]:
        y = xp.multiply(y + c, x)
    return y + coefficients[0]
