"""Sums and products of matrices with the same bits everywhere.

**Few terms** (n <= 8): products and sums, one after the other, in the order of the terms; every
operation is rounded as IEEE 754 says, so the bits are the same, and the error is at most
``n u abs(A) abs(B)`` with u = 2^-53 (Jeannerod and Rump 2013).

**More terms**: the operands are cut into slices of integers (``splitting.py``); all products of
slices, P_pq = A_p B_q, come from the library's own matmul and are exact, whatever its order. They
are added by Horner's rule, first over q and then over p,

    C = U_A U_B sum_p e_A^(p-1) (sum_q e_B^(q-1) P_pq).

Beyond 512 terms the P_pq are sums of blocks, added in order.

Accuracy (float64, three slices, all nine products kept). Let T = w_A + w_B, mu_i the largest entry
of row i and nu_j that of column j. Dropped are at most ``2^-(3 w_A + 1) mu_i`` of each a_ik and
``2^-(3 w_B + 1) nu_j`` of each b_kj. Horner's rule rounds four times, blocks once more each; every
time the error is at most u times a partial sum of ``sum_k sum_pq abs(A_p) abs(B_q)``. The slices of
an entry add up in absolute value to ``abs(a) + (1 + 2^-w) 2^(2-w) mu`` at most, so in all, with a
d < 2^-20 for that and for what is of higher order in u::

    abs(error_ij) <= (1 + d) sum_k [ (4 + blocks - 1) u (abs(a_ik) + 2^(2-w_A) mu_i)
                                                       (abs(b_kj) + 2^(2-w_B) nu_j)
                                     + 2^-(3 w_A + 1) mu_i abs(b_kj)
                                     + 2^-(3 w_B + 1) nu_j abs(a_ik) ].

Where the entries of the row and of the column that are not zero span at most 2^20,
mu_i <= 2^20 abs(a_ik) for each of them, and the sum is ``bound(n) u abs(A) abs(B)``, with
``bound(n) <= n`` for every n: no worse than the a-priori bound of an ordinary product.
Beyond that span, ``abs(error_ij) <= (blocks + 4) u n mu_i nu_j`` still.

float32, two slices and four products: a float32 has 24 bits, so with a span of 2^20 nothing is
dropped at all; the sum is rounded a few times in float64 and once to float32. Beyond the span at
most ``2^-(2 w) mu`` of an entry is dropped, w >= 22.

Domain. Entries are normal numbers or 0, and the result is as promised where it is a normal number
or 0: subnormal numbers are flushed to zero by some devices. Nothing overflows or underflows before
the result itself does. Rows (columns) whose largest entry is below 2^-970 have the absolute
accuracy of rows with 2^-970 there, and an entry below 2^-1022 counts where its row's largest is
below 2^-920. **Not finite**: a row with a NaN gives NaN; with an infinity it gives that infinity
where IEEE 754 does, or NaN: the other operand's entries below 2^-(w+1) of their column's largest
(all finite ones, where that is infinite) count as 0 there, and ``inf * 0`` is NaN. Other rows are
not touched by it. The result is never -0 for n > 8; a NaN's sign and payload are the library's.

References
----------
Ozaki, Ogita, Oishi and Rump (2012), see ``splitting.py``; Jeannerod and Rump, Improved error bounds
for inner products in floating-point arithmetic, SIAM J. Matrix Anal. Appl. 34 (2013); Higham,
Accuracy and Stability of Numerical Algorithms (2002), section 3.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import device

from portadnn.arithmetic.splitting import BLOCK, LONGEST, Slices, block_length, count, widths
from portadnn.errors import InputError

FEW = 8  # terms that are added one by one
STACKED = 2**18  # entries of a result that may be made nine times at once

Cut = Callable[[Any, int], Slices]


def bound(n: int) -> float:
    """The proven bound of the error of a float64 product, in u abs(A) abs(B), span 2^20.

    >>> round(bound(209), 1), round(bound(12288), 1)
    (84.0, 236.0)
    """
    if n <= FEW:
        return n
    a, b = widths(n)
    blocks = -(-n // BLOCK)
    rounding = (3 + blocks) * (1 + 2.0 ** (22 - a)) * (1 + 2.0 ** (22 - b))
    return (1 + 2.0**-20) * (rounding + 2.0 ** (72 - 3 * a) + 2.0 ** (72 - 3 * b))


def matmul(x: Any, y: Any, *, xp: Any, cut: Cut) -> Any:
    """``x @ y``.

    Parameters
    ----------
    x : array, shape (m, n) or (n,)
    y : array, shape (n, p) or (n,)
        Of the same dtype, float32 or float64.
    xp : namespace
        Guarded.
    cut : callable
        ``cut(operand, axis)``, the slices of a 2-D operand.

    Returns
    -------
    array, shape (m, p), (m,), (p,) or ()
        In the operands' dtype.

    Raises
    ------
    InputError
        If the ranks, shapes or dtypes are others.
    """
    _check_product(x, y)
    count(x.dtype, xp)
    A, B = (x[None, :] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)
    few = A.shape[1] <= FEW or 0 in (A.shape[0], B.shape[1])
    C = _few(A, B, xp) if few else _sliced(A, B, xp, cut)  # (m, p), float64
    if C.dtype != x.dtype:
        C = xp.astype(C, x.dtype)
    if x.ndim == y.ndim == 2:
        return C
    return C[0 if x.ndim == 1 else slice(None), 0 if y.ndim == 1 else slice(None)]


def total(x: Any, axis: int, *, xp: Any, cut: Cut) -> Any:
    """The sum over one axis, which stays with length 1: the product with a vector of ones.

    Parameters
    ----------
    x : array, shape (m, n), float32 or float64
    axis : {0, 1}
    xp, cut
        As for ``matmul``.

    Returns
    -------
    array, shape (1, n) or (m, 1)
        In the dtype of x. The error is at most n u sum(abs(x)) for a span of 2^20.

    Raises
    ------
    InputError
        If there are more than 2^31 terms, or the dtype is another.
    """
    n = x.shape[axis]
    if n > LONGEST:
        raise InputError(f"a sum of {n} terms was asked for: expected {LONGEST} at most")
    if n <= FEW or 0 in x.shape:
        count(x.dtype, xp)
        S = _few_terms(_wide(x, xp), axis, xp)
    else:
        stack, L = cut(x, axis)
        sums = xp.sum(stack, axis=axis, keepdims=True)  # exact
        w = widths(n)[0 if axis == 1 else 1]
        parts = _apart(sums, x.shape[1 - axis], 1 - axis)
        S = _placed(_horner(parts, w), parts[0], L, L, xp)
    return S if x.dtype == S.dtype else xp.astype(S, x.dtype)


def _few(A, B, xp):
    A, B = _wide(A, xp), _wide(B, xp)
    n, shape = A.shape[1], (A.shape[0], B.shape[1])
    if 0 in (n, *shape):
        return xp.zeros(shape, dtype=xp.float64, device=device(A))
    C = xp.multiply(A[:, 0:1], B[0:1, :])  # (m, 1) times (1, p)
    for k in range(1, n):
        C += xp.multiply(A[:, k : k + 1], B[k : k + 1, :])
    return C


def _few_terms(x, axis, xp):
    terms = _apart(x, 1, axis)
    if 0 in x.shape:
        shape = (1, x.shape[1]) if axis == 0 else (x.shape[0], 1)
        return xp.zeros(shape, dtype=xp.float64, device=device(x))
    S = terms[0] * 1.0  # not a view
    for term in terms[1:]:
        S += term
    return S


def _sliced(A, B, xp, cut):
    m, n, p = A.shape[0], A.shape[1], B.shape[1]
    (left, L_A), (right, L_B) = cut(A, 1), cut(B, 0)  # (S m, n), (n, S p)
    w_A, w_B = widths(n)
    # for large results a slice at a time: the same operations, in less memory
    tall = [left] if m * p <= STACKED else _apart(left, m, 0)
    parts, first = [], None
    for piece in tall:
        P = _apart(_exact(piece, right, n, xp), p, 1)  # P_pq, p in the rows
        first = P[0][:m, :] if first is None else first
        parts += _apart(_horner(P, w_B), m, 0)
    return _placed(_horner(parts, w_A), first, L_A, L_A * L_B, xp)


def _exact(left, right, n, xp):
    """The products of all slices; of many terms, the sum of exact blocks in order."""
    step = block_length(n)
    P = xp.matmul(left[:, :step], right[:step, :])
    for k in range(step, n, step):
        end = min(k + step, n)
        P += xp.matmul(left[:, k:end], right[k:end, :])
    return P


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


def _placed(C, first, L, root, xp):
    """``C root^2``, where the first product of slices is finite; else what that product is."""
    C = xp.where(xp.isfinite(first), C, first)
    C += L - L  # +0: a zero has the sign that the library's order of summation gave it
    C *= root  # twice: the unit itself may lie outside the exponent range
    C *= root
    return C


def _wide(x, xp):
    return x if x.dtype == xp.float64 else xp.astype(x, xp.float64)


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
