"""How far an operation may lie from the exact result, given the inputs that it had.

Every function takes observed inputs as float64 arrays on the host, computes the operation there
(the shadow) and returns how far the backend's arithmetic may be from it. ``u`` is the unit
roundoff of that arithmetic, ``U_SHADOW`` the shadow's own. Nothing is tuned: each bound follows
from the standard model of floating point, ``fl(x op y) = (x op y)(1 + d)``, ``|d| <= u``.

References
----------
Higham, Accuracy and Stability of Numerical Algorithms (2002), sections 2.2 and 3.1;
Higham and Mary, A new approach to probabilistic rounding error analysis (2019);
Ipsen and Zhou, Probabilistic error analysis for inner products, arXiv 1906.10465 (2020).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from portadnn.arithmetic.splitting import BLOCK, SMALLEST, widths
from portadnn.choice import known_name
from portadnn.errors import InputError
from portadnn.parity.bounds.balanced import GRID, units_error

U_SHADOW = 2.0**-53
EPSILON = 1e-6  # chance that any of the entries of a run exceeds its statistical bound

SMALLEST_SQUARE = 2.0**-1022  # the shadow's squares may underflow by so much

K_DIV = 4  # XLA does not round division correctly on a GPU


class Format(NamedTuple):
    """The arithmetic that a backend declares.

    Attributes
    ----------
    u : float
        Unit roundoff of every operation.
    tiny, largest : float
        The smallest normal and the largest number; smaller ones may be flushed to 0.
    u_in : float
        The rounding that the inputs of a matrix product get: 0, 2^-11 in TF32, 2^-8 in bfloat16.
    u_sum : float
        Unit roundoff of a matrix product's sums. Tensor cores do not round to nearest (Fasi,
        Higham, Mikaitis and Pranesh 2021), so theirs is 2^-23 and has no statistical bound.
    slices : bool
        Whether sums are made of slices, in reproducible arithmetic of float64.
    units : bool
        Whether products are made in reproducible arithmetic of float32, see ``balanced.py``.
    """

    u: float
    tiny: float
    largest: float
    u_in: float
    u_sum: float
    slices: bool = False
    units: bool = False

    @property
    def rounds_to_nearest(self) -> bool:
        """Whether the sums of a product round to nearest, so that errors may cancel."""
        return self.u_sum == self.u


MATMUL_MODES = {"float32": 0.0, "float64": 0.0, "tf32": 2.0**-11, "bfloat16": 2.0**-8}


def declared_format(dtype: str, matmul: str | None = None, arithmetic: str = "fast") -> Format:
    """The format of a dtype with its matrix products in the mode ``matmul``, by default plain.

    Raises
    ------
    InputError
        If the mode is unknown, or is not one that products of this dtype can have.
    """
    info = np.finfo(dtype)
    u = float(info.eps) / 2
    matmul = known_name("matmul mode", matmul or dtype, MATMUL_MODES)
    if matmul != dtype and "float64" in (dtype, matmul):
        raise InputError(f"products of {dtype} are never {matmul}: expected {dtype}")
    u_sum = u if matmul == dtype else 2.0**-23
    tiny, slices, units = float(info.smallest_normal), False, False
    if arithmetic == "reproducible":
        slices, units = dtype == "float64", dtype == "float32"
        tiny = GRID if units else tiny  # results are whole multiples of GRID
    return Format(u, tiny, float(info.max), MATMUL_MODES[matmul], u_sum, slices, units)


class Bound(NamedTuple):
    """The shadow's result and two bounds on a backend's distance from it, entry by entry.

    No order of summation exceeds ``det``; an honest one exceeds ``stat`` with a chance of
    ``EPSILON`` in the whole run. An operation without a sum has one bound, so both are equal.
    ``magnitude`` is that of the largest intermediate result: if it and the bound together exceed
    the format's largest number, the backend may overflow lawfully.
    """

    exact: np.ndarray
    det: np.ndarray
    stat: np.ndarray
    magnitude: np.ndarray


def gamma(k: float, u: float) -> float:
    """``k u / (1 - k u)``: k roundings in a row; infinite if k u reaches 1."""
    return k * u / (1 - k * u) if k * u < 1 else math.inf


def confidence(entries: int) -> float:
    """lambda: any of so many Gaussian entries exceeds lambda sigma with a chance of EPSILON."""
    return math.sqrt(2 * math.log(2 * entries / EPSILON))


@dataclass(frozen=True, eq=False)
class Operands:
    """``(P R + b) / divisor``, kept to sum it in other orders and to count its effective bits."""

    P: np.ndarray
    R: np.ndarray
    b: np.ndarray | None = None
    divisor: int = 1


def product(
    P: np.ndarray,
    R: np.ndarray,
    b: np.ndarray | None = None,
    *,
    form: Format,
    divisor: int = 1,
    entries: int | None = None,
    finer: bool = False,
) -> Bound:
    """The bound of ``S = (P R + b) / divisor`` for any blocking and order, with FMA or without.

    Parameters
    ----------
    P : array, shape (rows, n)
    R : array, shape (n, columns)
    b : array, shape (rows, 1), optional
    divisor : int
        1, or the number of examples.
    entries : int, optional
        Entries that the whole run checks, for the statistical bound; default those of S.
    finer : bool
        Whether it is dW, whose units are finer in reproducible arithmetic.

    Notes
    -----
    Deterministic: n products and n - 1 sums, and e more roundings for the bias (1) and a division
    (1 + K_DIV), make ``gamma(n + e) (|P||R| + |b|)`` for any order (Higham 2002, section 3.1);
    inputs rounded by u_in add ``2 u_in + u_in^2``. Every operation may underflow by tiny.

    Statistical: as a martingale, the error's variance is at most u^2 V, where V sums the squares of
    the products and of the partial sums. Partial sums are taken at the edges of nb blocks of k,
    from the front and from the back; between edges each is within the larger of the two ends, up
    to the block's own products, which ``Q n / (2 nb)`` covers.

    Reproducible arithmetic also drops the digits that its slices do not hold, see ``_dropped``.
    """
    n = P.shape[1]
    extra = (b is not None) + (1 + K_DIV) * (divisor != 1)
    u, u_in = form.u_sum, form.u_in
    S = P @ R
    M = np.abs(P) @ np.abs(R)
    Q = np.square(P) @ np.square(R)
    blocks = min(32, n)
    V = Q * (1 + n / (2 * blocks))
    partial = np.zeros_like(S)
    at_start = np.abs(S)  # max(|p|, |S - p|) at an edge: what is summed from either side
    at_stop, room = np.empty_like(S), np.empty_like(S)
    for start, stop in itertools.pairwise(np.linspace(0, n, blocks + 1).astype(int)):
        partial += np.matmul(P[:, start:stop], R[start:stop], out=room)
        np.abs(np.subtract(S, partial, out=room), out=room)
        np.maximum(np.abs(partial, out=at_stop), room, out=at_stop)
        np.square(np.maximum(at_start, at_stop, out=room), out=room)
        V += np.multiply(room, stop - start, out=room)
        at_start, at_stop = at_stop, at_start
    magnitude = np.abs(S)
    if b is not None:
        S = S + b
        M = M + np.abs(b)
        magnitude = magnitude + np.abs(b)
    V += extra * np.square(magnitude)
    V += (n * (2 + n / (2 * blocks)) + extra) * SMALLEST_SQUARE
    input_error = 2 * u_in + u_in**2
    underflow = (2 * n + 2) * form.tiny
    det = (
        gamma(n + extra, u) * (1 + input_error) + input_error + gamma(n + extra, U_SHADOW)
    ) * M + underflow
    # the square roots first: u^2 V may underflow if V does not
    sigma = np.hypot(math.hypot(u, U_SHADOW) * np.sqrt(V), math.sqrt(2) * u_in * np.sqrt(Q))
    sigma = sigma + underflow
    if form.units:
        error, deviation = units_error(P, R, finer)
        det, sigma = det + error, sigma + deviation
    count = S.size if entries is None else entries
    dropped = _dropped(P, R) if form.slices else 0.0
    det = det + dropped
    # if the squares overflow, only the deterministic bound is left
    stat = np.fmin(det, confidence(count) * sigma + dropped) if form.rounds_to_nearest else det
    largest = M + det
    if not np.isfinite(S).all():
        # in a sum with an infinite term the finite ones count: if they overflow to the
        # other side, the sum is NaN
        finite = (np.where(np.isfinite(x), np.abs(x), 0.0) for x in (P, R))
        largest = np.where(np.isfinite(S), largest, np.matmul(*finite))
        if form.units or form.slices:  # inf times what counts as 0, or in two products
            largest = np.where(np.isinf(S), 2 * form.largest, largest)
    return Bound(S / divisor, det / divisor, stat / divisor, largest)


def _dropped(P: np.ndarray, R: np.ndarray) -> np.ndarray:
    """The error of slices, which drop digits of entries far below the largest in a row or column.

    ``arithmetic.products`` derives it for three slices. Its terms in ``abs(P) abs(R)`` are those of
    an ordinary product, and are left out here.
    """
    n = P.shape[1]
    A, B = np.abs(P), np.abs(R)
    mu, nu = np.max(A, axis=1, keepdims=True), np.max(B, axis=0, keepdims=True)
    mu, nu = np.fmax(mu, SMALLEST), np.fmax(nu, SMALLEST)
    a, b = np.sum(A, axis=1, keepdims=True), np.sum(B, axis=0, keepdims=True)
    w_a, w_b = widths(n)
    rounded = (4 + (n > BLOCK)) * U_SHADOW
    of_a = 2.0 ** -(3 * w_a + 1) + rounded * 2.0 ** (2 - w_a)
    of_b = 2.0 ** -(3 * w_b + 1) + rounded * 2.0 ** (2 - w_b)
    both = n * rounded * 2.0 ** (4 - w_a - w_b)
    # twice, because a sum over two axes is made of two sums
    return 2 * (1 + 2.0**-20) * (of_a * mu * b + of_b * nu * a + both * mu * nu)


def exact(result: np.ndarray) -> Bound:
    """An operation that rounds nothing: a copy, a selection, a comparison."""
    zero = np.zeros_like(result)
    return Bound(result, zero, zero, np.abs(result))


def within(result: np.ndarray, bound: np.ndarray, magnitude: np.ndarray | None = None) -> Bound:
    """An operation without a sum: one bound serves for both, and no step exceeds the result."""
    return Bound(result, bound, bound, np.abs(result) if magnitude is None else magnitude)
