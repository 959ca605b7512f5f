"""Products and sums of float32 matrices, carried out as exact products of float64.

**Units.** Row i of A gets a unit U_i, column j of B a unit V_j, powers of two, and entries are
rounded to whole multiples p_ik of U_i and q_kj of V_j. If the 2-norms of all rows p_i and columns
q_j multiply to at most 2^53, then by Cauchy and Schwarz

    sum_k abs(p_ik q_kj) <= norm(p_i) norm(q_j) <= 2^53,

so every partial sum, in whatever order, is a whole number that float64 holds: the sum over **all**
k is exact, by any BLAS, and however the terms are divided. A norm is
bounded in the same way: entries are rounded to c bits, the sum S of their squares is exact, and the
norm is at most sqrt(S) + sqrt(n) / 2 in units of 2^-c of the power of two above the largest entry.
Because of this bound, and because it is a power of two, a unit is kappa times what the norm needs,
with kappa at most 3.1 (2.3 up to 256 terms, 2.1 beyond 1,024). Or it is the least unit, see below.

**Balance.** Column k of A is multiplied by 1 / d_k and row k of B by d_k, with d_k a power of two,
which is exact. So the entries of a small feature keep their digits.

``product`` (Z = W A and dA = W^T dZ) takes d_k from the largest entry of column k of A alone: a
column of the result does not depend on the other columns of B, nor an example on the others.
Both operands get norms of 2^26.5. With a = A_i / d, b = d B_j, and u = 2^-24::

    abs(error) <= (u + 2^-51) abs(c) + kappa 2^-27.5 (norm(a) sum(abs(b)) + norm(b) sum(abs(a)))
                  + n kappa^2 2^-55 norm(a) norm(b) + 2^-96.

Beyond 2,048 terms B gets two slices, as below. As in an ordinary float32 product, the error is
small beside the norms. It need not be small beside a single entry of C: if the large entries of a
row meet only zeros, the small ones still have the absolute error of the large ones.

``finer_product`` (dW = dZ A^T, whose entries Adam divides by their size) takes d_k near the root
of ``max(abs(B_k)) / max(abs(A_k))``, from both operands. A gets a norm of 2^31.5, and B two slices:
a norm of 2^21.5, and the remainder, in f = 22.5 - log2(n) / 2 more bits (rounded down)::

    abs(error) <= (u + 2^-51) abs(c) + kappa 2^-32.5 norm(a) sum(abs(b))
                  + kappa 2^(-22.5 - f) norm(b) (sum(abs(a)) + n kappa 2^-32.5 norm(a)) + 2^-96.

**Range.** Numbers below 2^-126 are subnormal: some devices read them as 0, and some return 0 for
them. All units are so large that an operand below 2^-126 counts as 0. Results are multiples of
2^-95, so none is subnormal, even after a division by up to 2^31 examples. A row whose largest
entry is below 2^-97 has the absolute accuracy of a row whose largest entry is 2^-97.

**Several processes.** Units are computed from the largest entries and the exact sums of squares of
all processes. In these units the products are whole numbers. So ``shared.py`` adds them exactly,
and the result does not depend on which process has which terms.

**Not finite.** A row with a NaN gives NaN. A row with an infinity gives that infinity, or NaN if
the other operand's entry is 0 or counts as 0, or if there are two products. Other rows and columns
have the accuracy that is proved above, with d_k = 1 for the column of A that is not finite.

References
----------
Ozaki, Ogita, Oishi and Rump (2012), see ``splitting.py``, for the idea; Rump, Zimmermann, Boldo and
Melquiond (2009), there too, for powers of two by additions.
"""

from __future__ import annotations

import math
from typing import Any

from portadnn.arithmetic.shared import ALONE, Terms
from portadnn.arithmetic.splitting import largest

SHIFT = 1.5 * 2.0**52  # x + SHIFT U - SHIFT U is x rounded to a multiple of U, abs(x) < 2^51 U
GRID = 2.0**-95  # results are multiples of it
LEAST_UNIT = 2.0**-124  # subnormal numbers are below half of it
LEAST, MOST = 2.0**-97, 2.0**127  # so that zeros and infinities have a unit
LEAST_SCALE, MOST_SCALE = 2.0**-50, 2.0**60  # limits of the sizes that d_k is made from
LONG = 2048  # terms beyond which B gets two slices
NARROW = 1024  # terms whose norm is summed in float32


def product(A: Any, B: Any, *, xp: Any) -> Any:
    """``A @ B`` in float64, balanced by A alone.

    Parameters
    ----------
    A, B : arrays, shapes (m, n) and (n, p), float32
    xp : namespace
        Guarded.

    Returns
    -------
    array, shape (m, p), float64
        See the bounds at the top of this file.
    """
    d = _power(_scale(A, 0, xp), xp)  # (1, n)
    top = xp.max(d, axis=1, keepdims=True)
    inverse = xp.divide(top, d)  # at least 1, so nothing below overflows or becomes subnormal
    d = xp.divide(d, top).T
    A, B = A * xp.astype(inverse, xp.float32), B * xp.astype(d, xp.float32)
    n = A.shape[1]
    if n > LONG:
        return _two_products(A, B, inverse, d, xp, ALONE)
    U = _shift(A, 1, 26.5, xp.max(inverse, axis=1, keepdims=True) * LEAST_UNIT, xp)
    C = xp.matmul(_rounded(A, U, xp), _rounded(B, _shift(B, 0, 26.5, LEAST_UNIT, xp), xp))
    return _on_grid(C, s=U)


def finer_product(A: Any, B: Any, *, xp: Any, terms: Terms = ALONE) -> Any:
    """``A @ B`` in float64 by two products, balanced by A and B; arguments as for ``product``.

    ``terms`` says which of the n terms the operands have. The result of several processes is
    float32.
    """
    a, b = _scale(A, 0, xp), _scale(B, 1, xp)  # (1, n), (n, 1)
    root = xp.sqrt(xp.divide(_power(b, xp), _power(a.T, xp)))
    d = _power(root, xp, 1 + 2.0**-30)  # (n, 1)
    # entries above MOST_SCALE are multiplied by 1 at most: nothing overflows
    inverse = xp.divide(1.0, d)
    A, B = A * xp.astype(d.T, xp.float32), B * xp.astype(inverse, xp.float32)
    return _two_products(A, B, d, inverse, xp, terms)


def _two_products(A, B, d, e, xp, terms):
    """``A @ B``, where A was multiplied by d and B by e."""
    n = terms.number(A, 1)
    d, e, P, Q = terms.largest(
        largest(d, (0, 1), xp), largest(e, (0, 1), xp), largest(A, 1, xp), largest(B, 0, xp)
    )
    P, Q, least = _above(P, xp), _above(Q, xp), _least(e, xp)
    S, T = terms.summed(_squares(A, 1, P, n, xp), _squares(B, 0, Q, n, xp))
    U, V = _unit(S, P, n, 31.5, _least(d, xp), xp), _unit(T, Q, n, 21.5, least, xp)
    A, B = _rounded(A, U, xp), xp.astype(B, xp.float64)
    first = B + V
    first -= V
    B -= first
    W = xp.maximum(V * 2.0 ** -((45 - (n - 1).bit_length()) // 2), least * SHIFT)
    second = _rounded(B, W, xp)
    return terms.finished((xp.matmul(A, first), xp.matmul(A, second)), _on_grid, U)


def total(x: Any, axis: int, *, xp: Any, terms: Terms = ALONE) -> Any:
    """The sum of float32 over one axis, which stays with length 1, in float64.

    The unit is that at which the largest entry has 52 - log2(n) bits (rounded down), so the sum is
    exact in any order, and ``abs(error) <= n max(abs(x)) 2^-(52 - log2(n)) + 2^-96``. The sum of
    several processes is float32.
    """
    n = terms.number(x, axis)
    (mu,) = terms.largest(largest(x, axis, xp))
    s = xp.maximum(_above(mu, xp, 2.0 ** ((n - 1).bit_length() - 51)), LEAST_UNIT) * SHIFT
    sums = xp.sum(_rounded(x, s, xp), axis=axis, keepdims=True)
    return terms.finished((sums,), _on_grid, s)


def _power(v, xp, factor=1.0):
    """The largest power of two <= v, times ``factor``, a power of two; v is far from 0 and inf.

    The last bit of ``q`` is that power, and ``q (1 - 2^-53)`` rounds to the number before ``q``. If
    v is a root that may be rounded down, the factor is a little more than a power of two.
    """
    q = xp.multiply(v, (2.0**52 + 1) * factor)
    return q - xp.multiply(q, 1 - 2.0**-53)


def _above(mu, xp, factor=2.0):
    """``factor`` times the largest power of two <= mu; by default the power of two above mu."""
    mu = xp.astype(mu, xp.float64)
    return _power(xp.minimum(xp.maximum(mu, LEAST), MOST), xp, factor)


def _scale(x, axis, xp):
    """The largest size along the axis, within limits; 1 if it is not finite."""
    mu = xp.astype(largest(x, axis, xp), xp.float64)
    mu = xp.where(mu < math.inf, mu, 1.0)
    return xp.minimum(xp.maximum(mu, LEAST_SCALE), MOST_SCALE)


def _least(d, xp):
    """The least unit of entries that were multiplied by at most d."""
    return xp.maximum(d, 1.0) * LEAST_UNIT


def _shift(x, axis, bits, least, xp):
    """``SHIFT U`` for every row or column, so that the rounded ``x / U`` has a norm <= 2^bits."""
    n, P = x.shape[axis], _above(largest(x, axis, xp), xp)
    return _unit(_squares(x, axis, P, n, xp), P, n, bits, least, xp)


def _squares(x, axis, P, n, xp):
    """The exact sum of squares of ``x 2^c / P``, rounded; n terms in all processes, abs(x) < P."""
    q = xp.round(x * xp.astype(xp.divide(2.0 ** _bits(n), P), xp.float32))
    q = q if n <= NARROW else xp.astype(q, xp.float64)
    return xp.sum(q * q, axis=axis, keepdims=True)


def _bits(n):
    """The bits c of an entry in the sum of squares."""
    return min(((24 if n <= NARROW else 53) - (n - 1).bit_length()) // 2, 20)


def _unit(S, P, n, bits, least, xp):
    """``SHIFT U`` from the sum of squares."""
    c, S = _bits(n), xp.astype(S, xp.float64)
    # norm(x 2^c / P) <= sqrt(S) + sqrt(n) / 2, squared: at most (1 + e) S + (1 + 1/e) n / 4
    e = 2.0**-3 if n <= NARROW else 2.0**-6
    room = (2.0**bits - 0.5 * math.sqrt(n)) ** 2 * (1 - 2.0**-30)
    T = xp.multiply(xp.minimum(S, n * 4.0**c), (1 + e) / room) + 0.25 * n * (1 + 1 / e) / room
    # h, a power of two, with h^2 > T >= (h / 2)^2
    h = _power(xp.sqrt(_power(T, xp)), xp, (1 + 2.0**-30) * 2.0 ** (1 - c))  # and times 2^-c
    return xp.maximum(xp.multiply(h, P), least) * SHIFT


def _rounded(x, s, xp):
    """x, rounded to a multiple of the unit of ``s``, in float64. A float64 x is overwritten."""
    q = xp.astype(x, xp.float64, copy=False)
    q += s
    q -= s
    return q


def _on_grid(*parts, s):
    """The sum of the parts, a multiple of ``GRID``; a zero is +0."""
    C = parts[0]
    for part in parts[1:]:
        C += part
    s = s * 0.0 + SHIFT * GRID  # not a literal, because a compiler would cancel + and - of one
    C += s
    C -= s
    return C
