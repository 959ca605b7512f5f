"""The bound of a sum of many terms: of a cost, of squares, of a softmax's exponentials."""

from __future__ import annotations

import numpy as np

from portadnn.parity.bounds import Bound, Format, product

REPLAYED = 4  # an honest sum has at most 4 times the worst error of three other orders
LANES = 8


def summed(terms: np.ndarray, form: Format, entries: int, divisor: int = 1) -> Bound:
    """``sum(terms) / divisor`` over the last axis, (rows, n) -> (rows, 1).

    Parameters
    ----------
    terms : array, shape (rows, n)
        In float64. The caller adds the error that the backend's own terms have.
    form : Format
    entries : int
        As in ``bounds.product``.
    divisor : int

    Notes
    -----
    A sum is the product of its terms and ones, so ``bounds.product`` bounds it: no order errs by
    more than ``gamma(n) sum(abs(terms))``. As a martingale, the error of an order that does not
    look at the values has a variance of at most u^2 V, with V the sum of the squares of the partial
    sums. For n terms of one sign and any order V is below ``(1.02 n + 1) S^2``, so the statistical
    bound grows with sqrt(n) and the deterministic one with n.

    The errors of equal terms are not random: every addition rounds to the same side until the sum
    reaches the next power of two. So the sum is made in the backend's own dtype in three orders,
    forward, backward and in eight lanes, and the statistical bound is at least 4 times their worst
    error. ``certify.check_orders`` judges products by the same rule.
    """
    form = form._replace(u_in=0.0, u_sum=form.u, units=False)  # tensor cores do not make plain sums
    bound = product(
        terms, np.ones((terms.shape[1], 1)), form=form, divisor=divisor, entries=entries
    )
    replayed = REPLAYED * _largest_error(terms, form)[:, None] / divisor
    stat = np.fmin(bound.det, np.fmax(bound.stat, replayed))  # NaN from overflow is left out
    return bound._replace(stat=stat)


def _largest_error(terms: np.ndarray, form: Format) -> np.ndarray:
    """The worst error of three orders of summation in the format's own dtype, row by row."""
    x = terms.astype("float32" if form.largest < np.finfo(np.float64).max else "float64")
    exactly = x.sum(axis=1, dtype=np.longdouble)
    filled = np.pad(x, ((0, 0), (0, -x.shape[1] % LANES)))
    lanes = filled.reshape(len(x), -1, LANES)
    sums = (_in_order(x), _in_order(x[:, ::-1]), _in_order(_in_order(lanes)))
    errors = [np.abs(total - exactly).astype(np.float64) for total in sums]
    return np.max(errors, axis=0)


def _in_order(x: np.ndarray) -> np.ndarray:
    """The sum over axis 1, term by term; ``np.sum`` adds in pairs."""
    return np.add.accumulate(x, axis=1)[:, -1]
