"""Bounds of the functions that add up: products, sums, means, variances, norms, running sums.

Each takes the arguments of a call on the host, and returns a bound and the operands of its matrix
products, to be summed again in other orders.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from portadnn.errors import InputError
from portadnn.parity.bounds import (
    K_DIV,
    U_SHADOW,
    Bound,
    Format,
    Operands,
    confidence,
    exact,
    product,
)
from portadnn.parity.bounds.elementwise import roundings
from portadnn.parity.bounds.rounded import Rounded
from portadnn.parity.bounds.sums import summed

Found: TypeAlias = tuple[Bound, list[Operands]]
Shape: TypeAlias = tuple[int, ...]


def reduction_bound(
    function: str, arguments: tuple, keywords: dict, form: Format, entries: int, shape: Shape
) -> Found:
    """The bound of a call of one of ``REDUCTIONS`` whose result has this shape."""
    x = np.asarray(arguments[0], np.float64)
    if function in ("matmul", "vecdot", "tensordot"):
        y = np.asarray(arguments[1], np.float64)
        operands = OPERANDS[function](x, y, *arguments[2:], **keywords)
        return _products(operands, form, entries, shape)
    form = form._replace(u_in=0.0, u_sum=form.u, units=False)  # sums are not made as products are
    if function == "cumulative_sum":
        return _cumulative_sum(x, form, entries, **_only(keywords, "axis", "include_initial")), []
    axes = arguments[1] if len(arguments) > 1 else keywords.get("axis")
    axes = range(x.ndim) if axes is None else [axis % x.ndim for axis in np.atleast_1d(axes)]
    n = math.prod(x.shape[axis] for axis in axes)
    rows = np.moveaxis(x, list(axes), range(-len(axes), 0)).reshape(-1, n) if n else None
    if rows is None or not len(rows):  # nothing is added up
        return exact(np.full(shape, math.nan if function in ("mean", "var", "std") else 0.0)), []
    if function in ("sum", "mean"):
        divisor = n if function == "mean" else 1
        return _products([Operands(rows, np.ones((n, 1)), divisor=divisor)], form, entries, shape)
    if function == "vector_norm":
        bound = _norm(rows, form, entries, keywords.get("ord", 2))
    else:
        bound = _variance(rows, form, entries, keywords.get("correction", 0.0), function == "std")
    return Bound(*(np.reshape(part, shape) for part in bound)), []


def _products(operands: list[Operands], form: Format, entries: int, shape: Shape) -> Found:
    if not math.prod(shape) or operands[0].P.shape[1] == 0:
        return exact(np.zeros(shape)), []
    bounds = [
        product(one.P, one.R, form=form, divisor=one.divisor, entries=entries) for one in operands
    ]
    parts = (np.stack(part).reshape(shape) for part in itertools.zip_longest(*bounds))
    return Bound(*parts), operands


def _matmul(P: np.ndarray, R: np.ndarray) -> list[Operands]:
    P = P[None, :] if P.ndim == 1 else P
    R = R[:, None] if R.ndim == 1 else R
    stack = np.broadcast_shapes(P.shape[:-2], R.shape[:-2])
    number = math.prod(stack)
    Ps = np.broadcast_to(P, (*stack, *P.shape[-2:])).reshape(number, *P.shape[-2:])
    Rs = np.broadcast_to(R, (*stack, *R.shape[-2:])).reshape(number, *R.shape[-2:])
    return [Operands(p, r) for p, r in zip(Ps, Rs, strict=True)]


def _vecdot(x: np.ndarray, y: np.ndarray, axis: int = -1) -> list[Operands]:
    x, y = (np.moveaxis(z, axis, -1) for z in np.broadcast_arrays(x, y))
    number = math.prod(x.shape[:-1])
    rows = (z.reshape(number, z.shape[-1]) for z in (x, y))
    return [Operands(p[None, :], r[:, None]) for p, r in zip(*rows, strict=True)]


def _tensordot(x: np.ndarray, y: np.ndarray, axes: Any = 2) -> list[Operands]:
    if isinstance(axes, int):
        axes = range(x.ndim - axes, x.ndim), range(axes)
    of_x, of_y = (list(one) for one in axes)
    n = math.prod(x.shape[axis] for axis in of_x)
    P = np.moveaxis(x, of_x, range(-len(of_x), 0)).reshape(x.size // max(n, 1), n)
    R = np.moveaxis(y, of_y, range(len(of_y))).reshape(n, y.size // max(n, 1))
    return [Operands(P, R)]


OPERANDS: dict[str, Callable[..., list[Operands]]] = {
    "matmul": _matmul,
    "vecdot": _vecdot,
    "tensordot": _tensordot,
}
REDUCTIONS = frozenset(OPERANDS) | {"sum", "mean", "var", "std", "cumulative_sum", "vector_norm"}


def _variance(rows: np.ndarray, form: Format, entries: int, correction: float, root: bool) -> Bound:
    """``sum((x - mean)^2) / (n - correction)``, or its root, row by row.

    Every d = x - mean has the error E of the mean and a rounding, its square one more. Welford's
    running mean has no larger error at any example than the mean of all, so it is lawful too. In
    exact arithmetic the sum of d is 0, so ``2 d E`` cancels; here it does not.
    """
    n = rows.shape[1]
    if n <= correction:
        nothing = np.full((len(rows), 1), math.nan)
        return Bound(nothing, np.full_like(nothing, math.inf), np.full_like(nothing, math.inf),
                     nothing)  # fmt: skip
    mean = product(rows, np.ones((n, 1)), form=form, divisor=n, entries=entries)
    d = rows - mean.exact
    total = summed(np.square(d), form, entries)
    v, found = roundings(form), []
    for of_mean, of_sum in ((mean.det, total.det), (mean.stat, total.stat)):
        e = v * np.abs(d) + of_mean
        of_terms = (2 * np.abs(d) + e) * e + v * np.square(d) + form.tiny
        error = of_sum + np.sum(of_terms, axis=1, keepdims=True)
        magnitude = np.maximum(total.magnitude, np.max(np.abs(rows)))
        made = Rounded(total.exact, error, magnitude, form) / Rounded.constant(n - correction, form)
        found.append((made.sqrt() if root else made).bound())
    det, stat = found
    return det._replace(stat=stat.stat)


def _norm(rows: np.ndarray, form: Format, entries: int, order: float) -> Bound:
    """The norm of every row. A 2-norm may be scaled by the largest entry first: 4 roundings."""
    if math.isinf(order):
        largest = np.max if order > 0 else np.min
        return exact(largest(np.abs(rows), axis=1))
    if order == 1:
        return summed(np.abs(rows), form, entries)
    if order != 2:
        raise InputError(
            f"no bound is derived for vector_norm with ord={order}: expected 1, 2 or inf, or name "
            f"it in unchecked="
        )
    total = summed(np.square(rows), form, entries)
    scaled = 4 * roundings(form) * total.exact + rows.shape[1] * form.tiny
    det, stat = (
        Rounded(total.exact, error + scaled, total.magnitude, form).sqrt().bound()
        for error in (total.det, total.stat)
    )
    return det._replace(stat=stat.stat)


def _cumulative_sum(
    x: np.ndarray,
    form: Format,
    entries: int,
    axis: int | None = None,
    include_initial: bool = False,
) -> Bound:
    """The sums of the first 1, 2, ... n terms, one after the other or as a tree of segments.

    Sum k adds k terms, so ``gamma(k)`` of their magnitudes bounds it. Every partial sum of it is
    the sum of a segment, so at most R_k, the range of the sums up to k. The roundings of k such
    sums have a variance of at most ``k u^2 R_k^2``.
    """
    axis = 0 if axis is None else axis
    terms = np.moveaxis(x, axis, -1)
    start = np.zeros((*terms.shape[:-1], 1))
    sums = np.concatenate([start, np.cumsum(terms, axis=-1)], axis=-1)
    k = np.arange(sums.shape[-1])
    size = np.concatenate([start, np.cumsum(np.abs(terms), axis=-1)], axis=-1)
    widest = np.maximum.accumulate(sums, axis=-1) - np.minimum.accumulate(sums, axis=-1)
    v = roundings(form)
    det = np.where(k * v < 1, k * v / (1 - k * v), np.inf) * size + k * form.tiny  # gamma(k)
    sigma = math.hypot(form.u, U_SHADOW) * np.sqrt(k) * widest + k * form.tiny
    stat = np.fmin(det, confidence(entries) * sigma)
    parts = (np.moveaxis(part if include_initial else part[..., 1:], -1, axis)
             for part in (sums, det, stat, size + det))  # fmt: skip
    return Bound(*parts)


def _only(keywords: dict, *names: str) -> dict:
    return {name: keywords[name] for name in names if name in keywords}


def floored_bound(function: str, x: Any, y: Any, form: Format) -> Bound:
    """``floor(x / y)`` and ``x - y floor(x / y)``.

    If the quotient is within its own rounding of a whole number, the floor may be that or the one
    below, and the remainder may be near 0 or near y. If not, the floor rounds once at most. The
    remainder may be exact, or computed as it is written (CuPy), which rounds the product, of at
    most ``abs(x) + abs(y)``, and the difference.
    """
    x, y = (np.asarray(value, np.float64) for value in (x, y))
    quotient, v = x / y, roundings(form)
    near = np.abs(quotient - np.round(quotient)) <= 2 * K_DIV * v * np.abs(quotient)
    near &= x != 0
    if function == "floor_divide":
        result = np.floor_divide(x, y)
        error = np.where(near, 1.0, 0.0) + 2 * v * np.abs(result)
        return Bound(result, error, error, np.abs(result) + 1)
    result = np.remainder(x, y)
    error = np.where(near, np.abs(y), 0.0) + 2 * v * (np.abs(x) + np.abs(y)) + form.tiny
    return Bound(result, error, error, np.maximum(np.abs(x), np.abs(y)))
