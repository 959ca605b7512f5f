"""Sums and products of matrices with the same bits everywhere.

**Few terms** (n <= 8, which are not examples) are multiplied and added one after the other, in
their order. IEEE 754 says how every operation is rounded, so the bits are the same, and the error
is at most ``n u abs(A) abs(B)`` with u = 2^-53 (Jeannerod and Rump 2013).

**More terms of float32** are an exact float64 product of balanced integers, see ``balanced.py``.

**More terms of float64**: the operands are cut into slices of integers (``splitting.py``); all
products of slices, P_pq = A_p B_q, come from the library's own matmul and are exact, whatever its
order. They are added by Horner's rule, first over q and then over p,

    C = U_A U_B sum_p e_A^(p-1) (sum_q e_B^(q-1) P_pq).

Beyond 512 terms each P_pq is a sum of exact blocks. The error of each addition is added too, and
the sum is rounded once. So P_pq and C do not depend on how the terms are divided and ordered.

Accuracy (float64, three slices, all nine products kept). Let mu_i be the largest entry of row i and
nu_j that of column j. The slices drop at most ``2^-(3 w_A + 1) mu_i`` of each a_ik and
``2^-(3 w_B + 1) nu_j`` of each b_kj. Horner's rule rounds four times, a sum of blocks once more;
every time the error is at most u times a partial sum of ``sum_k sum_pq abs(A_p) abs(B_q)``. The
slices of an entry add up in absolute value to ``abs(a) + (1 + 2^-w) 2^(2-w) mu`` at most, so in
all, with a d < 2^-20 for that and for terms of higher order in u::

    abs(error_ij) <= (1 + d) sum_k [ (4 + (blocks > 1)) u (abs(a_ik) + 2^(2-w_A) mu_i)
                                                       (abs(b_kj) + 2^(2-w_B) nu_j)
                                     + 2^-(3 w_A + 1) mu_i abs(b_kj)
                                     + 2^-(3 w_B + 1) nu_j abs(a_ik) ].

If the nonzero entries of the row and of the column span at most 2^20, then
mu_i <= 2^20 abs(a_ik) for each of them, and the sum is ``bound(n) u abs(A) abs(B)``, with
``bound(n) <= n`` for every n: no worse than the a-priori bound of an ordinary product.
Beyond that span, ``abs(error_ij) <= 6 u n mu_i nu_j`` still holds.

Domain of float64. Entries are normal numbers or 0, and the result is as promised if it is a normal
number or 0: subnormal numbers are flushed to zero by some devices. (In float32 they count as 0.)
For more than 8 terms nothing overflows or underflows before the result itself does. Rows (columns)
whose largest entry is below 2^-970 have the absolute accuracy of rows with a largest entry of
2^-970, and an entry below 2^-1022 counts if the largest of its row is below 2^-920. **Not finite**:
a row with a NaN gives NaN. A row with an infinity gives that infinity if IEEE 754 does, or NaN: in
the other operand, entries below 2^-(w+1) of the largest in their column (if that is infinite, all
finite ones) count as 0, and ``inf * 0`` is NaN. Other rows do not change. The result is never -0
for n > 8; a NaN's sign and payload are the library's.

References
----------
Ozaki, Ogita, Oishi and Rump (2012), see ``splitting.py``; Jeannerod and Rump, Improved error bounds
for inner products in floating-point arithmetic, SIAM J. Matrix Anal. Appl. 34 (2013); Higham,
Accuracy and Stability of Numerical Algorithms (2002), section 3.5.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from portadnn.arithmetic import balanced
from portadnn.arithmetic.shared import ALONE, Terms
from portadnn.arithmetic.splitting import LONGEST, SLICES, Slices, block_length, check, widths
from portadnn.errors import InputError

FEW = 8  # terms that are added one by one
STACKED = 2**18  # entries of a result that may be made nine times at once

Cut = Callable[..., Slices]


def bound(n: int) -> float:
    """The proven bound of the error of a float64 product, in u abs(A) abs(B), span 2^20.

    >>> round(bound(209), 1), round(bound(12288), 1)
    (84.0, 148.0)
    """
    if n <= FEW:
        return n
    a, b = widths(n)
    blocks = -(-n // block_length(n))
    rounding = (4 + (blocks > 1)) * (1 + 2.0 ** (22 - a)) * (1 + 2.0 ** (22 - b))
    return (1 + 2.0**-20) * (rounding + 2.0 ** (72 - 3 * a) + 2.0 ** (72 - 3 * b))


def matmul(x: Any, y: Any, *, xp: Any, cut: Cut, terms: Terms | None = None) -> Any:
    """``x @ y``.

    Parameters
    ----------
    x : array, shape (m, n) or (n,)
    y : array, shape (n, p) or (n,)
        Of the same dtype, float32 or float64.
    xp : namespace
        Guarded.
    cut : callable
        ``cut(operand, axis, terms)``, the slices of a 2-D operand of float64.
    terms : Terms, optional
        Given if the terms belong to examples, which several processes may share. Then few terms
        are also summed exactly, and float32 uses ``balanced.finer_product``.

    Returns
    -------
    array, shape (m, p), (m,), (p,) or ()
        In the operands' dtype.

    Raises
    ------
    InputError
        If the number of axes, the shapes or the dtypes do not fit.
    """
    _check_product(x, y)
    check(x.dtype, xp)
    A, B = (x[None, :] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)
    if 0 in (A.shape[0], B.shape[1]) or (A.shape[1] == 0 and terms in (None, ALONE)):
        C = xp.matmul(A, B)  # no entries, or zeros
    elif A.shape[1] <= FEW and terms is None:
        C = _few(A, B, xp)
        C = C if x.dtype == xp.float64 else _normal(C, balanced.GRID, xp)
    elif x.dtype == xp.float64:
        C = _sliced(A, B, xp, cut, terms or ALONE)
    elif terms is None:
        C = balanced.product(A, B, xp=xp)
    else:
        C = balanced.finer_product(A, B, xp=xp, terms=terms)
    if C.dtype != x.dtype:
        C = xp.astype(C, x.dtype)
    if x.ndim == y.ndim == 2:
        return C
    return C[0 if x.ndim == 1 else slice(None), 0 if y.ndim == 1 else slice(None)]


def total(x: Any, axis: int, *, xp: Any, cut: Cut, terms: Terms | None = None) -> Any:
    """The sum over one axis, which stays with length 1.

    Parameters
    ----------
    x : array, shape (m, n), float32 or float64
    axis : {0, 1}
    xp, cut, terms
        As for ``matmul``.

    Returns
    -------
    array, shape (1, n) or (m, 1)
        In the dtype of x. The error is at most n u sum(abs(x)), of float64 for a span of 2^20.

    Raises
    ------
    InputError
        If there are more than 2^31 terms, or the dtype is not float32 or float64.
    """
    shared = terms or ALONE
    n = shared.number(x, axis)
    if n > LONGEST:
        raise InputError(f"a sum of {n} terms was asked for: expected {LONGEST} at most")
    check(x.dtype, xp)
    if x.shape[1 - axis] == 0 or n == 0:
        return xp.sum(x, axis=axis, keepdims=True)
    if x.dtype == xp.float32:
        return xp.astype(balanced.total(x, axis, xp=xp, terms=shared), xp.float32)
    if n <= FEW and terms is None:
        addends = _apart(x, 1, axis)
        S = addends[0] * 1.0  # not a view
        for addend in addends[1:]:
            S += addend
        return S
    stack, L = cut(x, axis, shared)
    sums = xp.sum(stack, axis=axis, keepdims=True)  # exact
    w = widths(n)[0 if axis == 1 else 1]
    parts = _apart(sums, x.shape[1 - axis], 1 - axis)
    if shared is ALONE:
        return _placed(_finite(_horner(parts, w), parts[0], xp), L, L)
    return _placed(shared.finished(tuple(parts), functools.partial(_nested, (w,)), L), L, L)


def _few(A, B, xp):
    if A.dtype == xp.float32:
        # some devices read a subnormal number as 0
        A, B = (xp.astype(_normal(x, 2.0**-126, xp), xp.float64) for x in (A, B))
    C = xp.multiply(A[:, 0:1], B[0:1, :])  # (m, 1) times (1, p)
    for k in range(1, A.shape[1]):
        C += xp.multiply(A[:, k : k + 1], B[k : k + 1, :])
    return C


def _sliced(A, B, xp, cut, terms):
    m, n, p = A.shape[0], terms.number(A, 1), B.shape[1]
    (left, L_A), (right, L_B) = cut(A, 1, terms), cut(B, 0, terms)  # (S m, n), (n, S p)
    w_A, w_B = widths(n)
    if terms is not ALONE:
        columns = [_apart(P, m, 0) for P in _apart(_whole(left, right, n, xp), p, 1)]  # [q][p]
        P = tuple(P for row in zip(*columns, strict=True) for P in row)
        C = terms.finished(P, functools.partial(_nested, (w_A, w_B)), L_A)
        return _placed(C, L_A, L_A * L_B)
    # for large results a slice at a time: the same operations, in less memory
    tall = [left] if m * p <= STACKED else _apart(left, m, 0)
    parts, first = [], None
    for piece in tall:
        P = _apart(_exact(piece, right, n, xp), p, 1)  # P_pq, p in the rows
        first = P[0][:m, :] if first is None else first
        parts += _apart(_horner(P, w_B), m, 0)
    return _placed(_finite(_horner(parts, w_A), first, xp), L_A, L_A * L_B)


def _whole(left, right, n, xp):
    """The products of all slices, for the terms of this process: whole numbers of any size."""
    step = block_length(n)
    if n <= step:
        return xp.matmul(left, right)
    P: Any = 0
    here = left.shape[1]
    for k in range(0, max(here, 1), step):  # a product of no terms is 0
        end = min(k + step, here)
        block = xp.matmul(left[:, k:end], right[k:end, :])
        P = xp.astype(block, xp.int64) + P
    return P


def _exact(left, right, n, xp):
    """The products of all slices: exact, or rounded once if there are several blocks."""
    step = block_length(n)
    P, lost = xp.matmul(left[:, :step], right[:step, :]), None
    for k in range(step, n, step):
        end = min(k + step, n)
        block = xp.matmul(left[:, k:end], right[k:end, :])
        whole = P + block  # rest is what this rounding loses (Knuth)
        part = whole - P
        rest = (P - (whole - part)) + (block - part)
        P, lost = whole, rest if lost is None else lost + rest
    return P if lost is None else xp.where(xp.isfinite(P), P + lost, P)


def _apart(x, size, axis):
    """The pieces of a stack."""
    starts = range(0, x.shape[axis], size) if size else ()
    if axis == 0:
        return [x[i : i + size, :] for i in starts]
    return [x[:, i : i + size] for i in starts]


def _horner(parts, w):
    """``parts[0] + e (parts[1] + e (...))``, e = 2^-(w+1): the products are exact."""
    if len(parts) == 1:
        return parts[0]
    C = parts[-1] * 2.0 ** -(w + 1)
    for part in parts[-2:0:-1]:
        C += part
        C *= 2.0 ** -(w + 1)
    C += parts[0]
    return C


def _nested(widths, *parts, s):
    """Add the parts, arrays of NumPy, by Horner's rule, over the last index first."""
    C = [1.0 * part for part in parts]  # rounded here, if they are sums of several blocks
    for w in widths[::-1]:
        C = [_horner(C[i : i + SLICES], w) for i in range(0, len(C), SLICES)]
    return C[0] + s


def _finite(C, first, xp):
    """C, with each entry of ``first``, the first product of slices, that is not finite."""
    return xp.where(xp.isfinite(first), C, first)


def _placed(C, L, root):
    """``C root^2``."""
    C += L - L  # adds +0: the order of summation decides the sign of a zero
    C *= root  # twice: the unit itself may lie outside the exponent range
    C *= root
    return C


def _normal(x, least, xp):
    """x, with 0 for what is smaller than ``least``."""
    return xp.where(xp.abs(x) < least, 0.0, x)


def _check_product(x, y):
    shapes = f"operands of shapes {tuple(x.shape)} and {tuple(y.shape)} were given"
    if x.ndim not in (1, 2) or y.ndim not in (1, 2):
        raise InputError(f"{shapes}: reproducible matmul takes 1 or 2 axes each")
    if x.shape[-1] != y.shape[0]:
        raise InputError(f"{shapes}: expected (m, n) and (n, p)")
    if x.dtype != y.dtype:
        raise InputError(
            f"operands of {x.dtype} and {y.dtype} were given: expected the same, convert one"
        )
