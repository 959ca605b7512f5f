"""The square root, rounded as IEEE 754 says, from a root that may be a neighbour of it.

Not every library rounds its root correctly. PyTorch on a CPU takes that of MKL's vector library:
1.3 % of its float64 roots, and 19 % of its float32 roots, are a neighbour of the right one. So the
library's root s is compared with the midpoints beside it. With g the distance to the next number,
and the residual r = x - s^2, which two halves of s give exactly,

    sqrt(x) > s + g/2  <=>  r > s g + g^2/4  <=>  r > s g,

because r and s g are multiples of the square of s's last bit, and no such multiple lies between the
two bounds. Below s the test is ``r <= -s g``. All terms are exact.

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
        A negative entry gives NaN, with the library's sign; -0 gives -0.
    xp : namespace
        Guarded. Its root must be the right one or a neighbour of it.
    """
    if x.dtype == xp.float32:
        # 53 bits of the root are enough to round it to 24: no root is so near a midpoint
        return xp.astype(xp.sqrt(xp.astype(x, xp.float64)), xp.float32)
    below = x < 1.0
    # scale into the middle of the exponent range, so that no part of s^2 underflows
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
    rounded = xp.where(s > 0, rounded, s)  # a root of 0 stays
    return xp.where(below, xp.multiply(rounded, 2.0**-300), xp.multiply(rounded, 2.0**50))
