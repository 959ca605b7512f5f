"""Rows and columns cut into slices of so few bits that products of slices are summed exactly.

A row a_1 .. a_n, with a unit U = L^2 that is a power of four (L a power of two), is written as

    a_k = U (q1_k + q2_k e + q3_k e^2 + r_k e^2),   e = 2^-(w+1),

where q1, q2, q3 are **integers** of absolute value 2^w at most and abs(r_k) <= 1/2 is dropped:
q1 is ``a / U`` rounded to the nearest integer, and every remainder, 1/2 at most, times 2^(w+1) is
rounded in its turn. All of this is exact, since products with powers of two are, and so is the
difference of a number and its nearest integer; a compiler may contract it as it likes.

Two slices of w_1 and w_2 bits have products of integers below 2^(w_1 + w_2). If n of them are added
and w_1 + w_2 + log2(n) <= 53, every partial sum, in whatever order, is an integer that float64
holds: the sum is **exact**, by any BLAS, on any number of threads.

The unit comes from the largest entry, mu = max abs(a_k), rounded to 26 bits: L is the power of two
with L <= sqrt(mu 2^(2-w)) < 2 L, so abs(a_k) / U < 2^w, or 2^w itself. The root keeps L and U far
from the ends of the exponent range for every mu, so nothing overflows or underflows on the way.
With U <= (1 + 2^-26) mu 2^(2-w), the dropped part is, up to that factor,

    abs(a - slices) <= U e^2 / 2 <= 2^-(3w+1) mu.

References
----------
Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix multiplication by using fast
routines of matrix multiplication and its applications, Numerical Algorithms 59 (2012), section 3
(there with floating-point slices); Rump, Zimmermann, Boldo and Melquiond, Computing predecessor and
successor in rounding to nearest, BIT 49 (2009), section 3, for the unit.
"""

from __future__ import annotations

import math
from typing import Any

from portadnn.arithmetic.shared import ALONE, Terms
from portadnn.errors import InputError

PRECISION = 53  # bits of float64
BLOCK = 512  # the longest sum of products; longer ones are cut into blocks
SLICES = 3  # slices of each operand
LONGEST = 2**31  # the longest sum

# mu is kept between these, so that zeros and infinities have a unit; below, accuracy is absolute
SMALLEST, LARGEST = 2.0**-970, 2.0**1023 * (2 - 2.0**-52)
SUCCESSOR = 2.0**-53 * (1 + 2.0**-52)  # v + v * this is the number after v

# (stack, L): the integers (float64) side by side along the free axis, and the root of the unit
Slices = tuple[Any, Any]


def block_length(n: int) -> int:
    """How many of n products are added at a time: n, or the length of nearly equal blocks."""
    return -(-n // -(-n // BLOCK)) if n else 0


def widths(n: int) -> tuple[int, int]:
    """The bits w of the slices of left and right operand whose products are added n at a time.

    >>> widths(209), widths(12288)
    ((22, 23), (22, 22))
    """
    both = PRECISION - (block_length(n) - 1).bit_length()  # 53 - ceil(log2 n)
    return both // 2, both - both // 2


def check(dtype: Any, xp: Any) -> None:
    """Raise InputError for a dtype that has no reproducible arithmetic."""
    if dtype not in (xp.float32, xp.float64):
        raise InputError(f"an array of {dtype} was given: expected float32 or float64")


def largest(x: Any, axis: int | tuple[int, int], xp: Any) -> Any:
    """The largest size along the axis, which is kept; 0 without entries, NaN if one is NaN."""
    extreme = xp.sum if 0 in x.shape else xp.max  # xp.max of an empty array is an error
    return extreme(xp.abs(x), axis=axis, keepdims=True)


def without_zeros(slices: Slices, size: int, axis: int, *, xp: Any) -> Slices:
    """The slices without the last ones if these are all zero; the sums are the same.

    So 8-bit images, and small whole numbers, need one slice. This reads values, which a compiled
    step cannot do.

    Parameters
    ----------
    slices : (stack, L)
        As from ``cut`` over ``axis``.
    size : int
        The length of one slice along the other axis.
    """
    stack, L = slices
    end = stack.shape[1 - axis]
    while end > size:
        last = stack[end - size : end, :] if axis == 1 else stack[:, end - size : end]
        if bool(xp.any(last != 0)):
            break
        end -= size
    return (stack[:end, :] if axis == 1 else stack[:, :end]), L


def cut(x: Any, axis: int, *, xp: Any, terms: Terms = ALONE) -> Slices:
    """The slices of every row (axis 1) or column (axis 0), the axis over which is to be summed.

    Parameters
    ----------
    x : array, shape (m, n) for axis 1, (n, p) for axis 0, float64
    axis : {0, 1}
    xp : namespace
        Guarded, see ``guards.py``.
    terms : Terms
        With several processes, a row with an infinity is treated as if it had a NaN.

    Returns
    -------
    stack : array, float64, shape (3 m, n) for axis 1, (n, 3 p) for axis 0
        The integers q1, q2 and q3 one after the other. Infinities and NaN stay in q1, and q2 and
        q3 have NaN in their place.
    L : array, float64, shape (m, 1) for axis 1, (1, p) for axis 0
        The root of the unit; NaN for a row with a NaN.
    """
    w = widths(terms.number(x, axis))[0 if axis == 1 else 1]
    (mu,) = terms.largest(largest(x, axis, xp))
    if terms is not ALONE:
        mu = xp.where(mu < math.inf, mu, math.nan)
    mu = xp.minimum(xp.maximum(mu, SMALLEST), LARGEST)
    mu = xp.multiply(mu, 2.0 ** (-18 - w))
    # 26 bits of mu, and a little more: then the root is on a known side of every power of two,
    # even if a library does not round it correctly
    big = xp.multiply(mu, 2.0**27 + 1)
    v = xp.multiply(xp.sqrt(big - (big - mu)), 1 + 2.0**-30)
    spacing = (v + xp.multiply(v, SUCCESSOR)) - v  # 2^-52 of the power of two that is <= v
    L = xp.multiply(spacing, 2.0**62)
    inverse = xp.divide(1.0, L)
    rest = xp.multiply(x, xp.multiply(inverse, inverse))
    parts = [xp.round(rest)]
    for _ in range(SLICES - 1):
        # operators, not xp.multiply: a product with a power of two needs no guard
        rest = (rest - parts[-1]) * 2.0 ** (w + 1)
        parts.append(xp.round(rest))
    return xp.concat(parts, axis=1 - axis), L
