"""How far an operation may lie from the exact result, given the inputs that it had.

Every function takes observed inputs as float64 arrays on the host, computes the operation there
(the shadow) and returns what the backend's arithmetic may differ from it by. ``u`` is the unit
roundoff of that arithmetic, ``U_SHADOW`` the shadow's own. Nothing is chosen: each bound follows
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
from typing import NamedTuple

import numpy as np

U_SHADOW = 2.0**-53
EPSILON = 1e-6  # chance that any of the entries of a run exceeds its statistical bound

# Errors of the libraries' elementary functions in ulp, 1 ulp being at most 2u relative. The largest
# measured: NumPy's float32 exp 2.43 and log 3.83, XLA's exp 3.97 and log1p 2.48; CUDA publishes 2.
K_EXP = K_LOG = K_LOG1P = 4
K_DIV = 4  # XLA does not round division correctly on a GPU
SECOND_ORDER = 1.01  # covers the products of two roundings, below u * 1e4 of the first


class Format(NamedTuple):
    """The arithmetic that a backend declares.

    ``u`` is the unit roundoff, ``tiny`` the smallest normal number, ``u_in`` the rounding that
    the inputs of a matrix product get (0 for plain float32 and float64).
    """

    u: float
    tiny: float
    largest: float
    u_in: float = 0.0


FORMATS = {
    "float32": Format(2.0**-24, 2.0**-126, float(np.finfo(np.float32).max)),
    "float64": Format(2.0**-53, 2.0**-1022, float(np.finfo(np.float64).max)),
}


class Bound(NamedTuple):
    """The shadow's result and two bounds on a backend's distance from it, entry by entry.

    No order of summation exceeds ``det``; an honest one exceeds ``stat`` with a chance of
    ``EPSILON`` in the whole run. An operation without a sum has only one, and both are it.
    """

    exact: np.ndarray
    det: np.ndarray
    stat: np.ndarray


def gamma(k: float, u: float) -> float:
    """``k u / (1 - k u)``: k roundings in a row; infinite where k u reaches 1."""
    return k * u / (1 - k * u) if k * u < 1 else math.inf


def product(
    P: np.ndarray,
    R: np.ndarray,
    b: np.ndarray | None = None,
    *,
    form: Format,
    divisor: int = 1,
    entries: int | None = None,
) -> Bound:
    """``S = (P R + b) / divisor`` by any blocking, order, FMA or none.

    Parameters
    ----------
    P : array, shape (rows, n)
    R : array, shape (n, columns)
    b : array, shape (rows, 1), optional
    divisor : int
        1, or the number of examples.
    entries : int, optional
        Entries that the whole run checks, for the statistical bound; default those of S.

    Notes
    -----
    Deterministic: n products and n - 1 sums, and e more roundings for the bias (1) and a division
    (1 + K_DIV), make ``gamma(n + e) (|P||R| + |b|)`` for any order (Higham 2002, section 3.1);
    inputs rounded by u_in add ``2 u_in + u_in^2``. Every operation may underflow by tiny.

    Statistical: as a martingale, the error's variance is at most u^2 V, where V sums the squares of
    the products and of the partial sums. Partial sums are taken at the edges of nb blocks of k,
    from the front and from the back; between edges each is within the larger of the two ends, up
    to the block's own products, which ``Q n / (2 nb)`` covers.
    """
    n = P.shape[1]
    extra = (b is not None) + (1 + K_DIV) * (divisor != 1)
    u, u_in = form.u, form.u_in
    S = P @ R
    M = np.abs(P) @ np.abs(R)
    Q = np.square(P) @ np.square(R)
    blocks = min(32, n)
    edges = np.linspace(0, n, blocks + 1).astype(int)
    V = Q * (1 + n / (2 * blocks))
    before = np.zeros_like(S)
    for start, stop in itertools.pairwise(edges):
        after = before + P[:, start:stop] @ R[start:stop]
        largest = np.maximum.reduce([np.abs(before), np.abs(after),
                                     np.abs(S - before), np.abs(S - after)])  # fmt: skip
        V += (stop - start) * np.square(largest)
        before = after
    magnitude = np.abs(S)
    if b is not None:
        S = S + b
        M = M + np.abs(b)
        magnitude = magnitude + np.abs(b)
    V += extra * np.square(magnitude)
    input_error = 2 * u_in + u_in**2
    underflow = (2 * n + 2) * form.tiny
    det = (
        gamma(n + extra, u) * (1 + input_error) + input_error + gamma(n + extra, U_SHADOW)
    ) * M + underflow
    sigma = np.sqrt((u**2 + U_SHADOW**2) * V + 2 * u_in**2 * Q) + underflow
    count = S.size if entries is None else entries
    stat = np.minimum(det, math.sqrt(2 * math.log(2 * count / EPSILON)) * sigma)
    return Bound(S / divisor, det / divisor, stat / divisor)


def exact(result: np.ndarray) -> Bound:
    """An operation that rounds nothing: selection and comparison."""
    zero = np.zeros_like(result)
    return Bound(result, zero, zero)


def relu(Z: np.ndarray, form: Format) -> Bound:
    """``max(0, Z)`` rounds nothing."""
    return exact(np.maximum(Z, 0.0))


def relu_backward(dA: np.ndarray, Z: np.ndarray, form: Format) -> Bound:
    """``dA`` where the observed Z > 0, else 0, rounds nothing."""
    return exact(np.where(Z > 0, dA, 0.0))


def sigmoid(Z: np.ndarray, form: Format) -> Bound:
    """``1 / (1 + t)`` or ``t / (1 + t)`` with ``t = exp(-|Z|)``.

    A relative error d of t moves the result by (1 - s) d; exp errs by 2 K_EXP u, the sum by u, the
    division by K_DIV u. The shadow's own error is 8 U_SHADOW.
    """
    t = np.exp(-np.abs(Z))
    s = np.where(Z >= 0, 1.0, t) / (1.0 + t)
    relative = ((1 - s) * 2 * K_EXP + 1 + K_DIV) * form.u
    return _one(s, SECOND_ORDER * s * relative + form.tiny + 8 * U_SHADOW * s)


def output_gradient(AL: np.ndarray, Y: np.ndarray, form: Format) -> Bound:
    """``dZ[L] = AL - Y``: one rounding here and one in the shadow."""
    difference = AL - Y
    return _one(difference, 1.01 * (form.u + U_SHADOW) * np.abs(difference) + form.tiny)


def sigmoid_cross_entropy(Z: np.ndarray, Y: np.ndarray, form: Format) -> Bound:
    """``mean(max(Z, 0) - Y Z + l)`` with ``l = log1p(exp(-|Z|))``.

    Each term makes two roundings of at most a = max(Z, 0) + |Y Z| + l, and the two functions err by
    K ulp of l each; the sum of m terms and the division add gamma(m + 2).
    """
    m = Z.shape[1]
    l = np.log1p(np.exp(-np.abs(Z)))
    terms = np.maximum(Z, 0) - Y * Z + l
    a = np.maximum(Z, 0) + np.abs(Y * Z) + l
    t = 2 * form.u * a + 2 * (K_EXP + K_LOG1P) * form.u * l + 4 * form.tiny
    bound = (t.sum() + (gamma(Z.size + 2, form.u) + 8 * U_SHADOW) * a.sum()) / m
    return _one(np.asarray(math.fsum(terms.ravel()) / m), np.asarray(bound))


def update(W: np.ndarray, g: np.ndarray, learning_rate: float, form: Format) -> Bound:
    """``W - learning_rate g``, the rate rounded to the format, with FMA or without.

    The step ``st`` has two roundings (of the rate, of the product), the difference one more.
    """
    st = learning_rate * g
    difference = W - st
    step_error = 2 * form.u * np.abs(st)
    bound = SECOND_ORDER * (step_error + form.u * (np.abs(difference) + step_error))
    return _one(difference, bound + 2 * form.tiny + 4 * U_SHADOW * np.abs(W))


def _one(result: np.ndarray, bound: np.ndarray) -> Bound:
    return Bound(result, bound, bound)
