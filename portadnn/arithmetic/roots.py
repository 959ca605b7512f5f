"""The square root, rounded as IEEE 754 says, from one that is nearly so.

Not every library's root is: PyTorch's on a CPU is the vector library's of MKL, and 1.3 % of its
roots of float64, 19 % of those of float32, are the neighbour of the right one. So the library's
root s is compared with the midpoints beside it. With g the distance to the next number, and the
residual r = x - s^2, which two halves of s give exactly,

    sqrt(x) > s + g/2  <=>  r > s g + g^2/4  <=>  r > s g,

for r and s g are multiples of the square of s's last bit, and no such multiple is between; below s
in the same way, ``r <= -s g``. All terms are exact.

References
----------
Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18
(1971), for the halves; Markstein, Computation of elementary functions on the IBM RISC System/6000
processor, IBM J. Res. Dev. 34 (1990), for the test of the residual.
"""

from __future__ import annotations

from typing import Any

from portadnn.arithmetic.splitting import SUCCESSOR

_HALVES = 2.0**27 + 1  # halves of a float64 have 26 bits each


def sqrt(x: Any, *, xp: Any) -> Any:
    """The root of x, float32 or float64, rounded once.

    Parameters
    ----------
    x : array of any shape
        NaN, with a library's sign, for a negative entry; -0 for -0.
    xp : namespace
        Guarded. Its root must be a neighbour of the right one at worst.
    """
    if x.dtype == xp.float32:
        # 53 bits of the root decide where it is rounded to 24: no root is that near a midpoint
        return xp.astype(xp.sqrt(xp.astype(x, xp.float64)), xp.float32)
    below = x < 1.0
    # into the middle of the exponent range, where no part of s^2 underflows
    x = xp.where(below, xp.multiply(x, 2.0**600), xp.multiply(x, 2.0**-100))
    s = xp.sqrt(x)
    step = xp.multiply(s, SUCCESSOR)
    up, down = (s + step) - s, s - (s - step)
    big = xp.multiply(s, _HALVES)
    high = big - (big - s)
    low = s - high
    r = x - xp.multiply(high, high)
    r = (r - xp.multiply(high + high, low)) - xp.multiply(low, low)
    rounded = xp.where(r > xp.multiply(s, up), s + up, s)
    rounded = xp.where(r <= -xp.multiply(s, down), s - down, rounded)
    rounded = xp.where(s > 0, rounded, s)  # 0 has no neighbours that count
    return xp.where(below, xp.multiply(rounded, 2.0**-300), xp.multiply(rounded, 2.0**50))
