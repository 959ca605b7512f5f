"""How far a product of float32 in reproducible arithmetic may be from the sum of its terms.

That arithmetic rounds entries to units of their rows and columns, so norms bound the error. See
``portadnn/arithmetic/balanced.py`` for the derivation. Here the units are bounded, not computed.
"""

from __future__ import annotations

import math

import numpy as np

KAPPA = 3.1  # how much larger a unit may be than the norm needs
LEAST_UNIT, GRID = 2.0**-124, 2.0**-95


def units_error(P: np.ndarray, R: np.ndarray, finer: bool) -> tuple[np.ndarray, np.ndarray]:
    """The error that the units add to the deterministic bound of ``P R``, and one sigma of it.

    The error of a rounding to a unit is at most half a unit to either side. So the sigma of each
    independent term of a sum is at most half a unit (Hoeffding).

    Parameters
    ----------
    P : array, shape (m, n)
    R : array, shape (n, p)
    finer : bool
        For dW: balanced by both operands, in two products.

    Returns
    -------
    error, sigma : arrays, shape (m, p)
    """
    n = P.shape[1]
    p, r = _sizes(P, 0), _sizes(R, 1).T  # (1, n)
    d = _power(p) if not finer else _power(np.sqrt(_power(p) / _power(r)))
    if not finer:
        d = d / np.max(d, initial=0.0)
    a, b = np.abs(P) / d, np.abs(R) * d.T
    bits, f = (31.5, (45 - (n - 1).bit_length()) // 2) if finer else (26.5, 0)
    least = LEAST_UNIT * np.maximum(np.max(1 / d, initial=0.0), 1.0)
    U = np.maximum(KAPPA * 2.0**-bits * _norm(a, 1), least) / 2
    least = LEAST_UNIT * np.maximum(np.max(d, initial=0.0), 1.0)
    V = np.maximum(KAPPA * 2.0 ** (bits - 53) * _norm(b, 0), least) * 2.0**-f / 2
    error = U * np.sum(b, axis=0) + np.sum(a, axis=1, keepdims=True) * V + n * U * V + GRID
    sigma = np.hypot(U * _norm(b, 0), _norm(a, 1) * V) + math.sqrt(n) * U * V + GRID
    return error, sigma


def _sizes(x: np.ndarray, axis: int) -> np.ndarray:
    """The largest entries along an axis, within the limits of the arithmetic."""
    size = np.max(np.abs(x), axis=axis, keepdims=True)
    return np.clip(np.where(size < np.inf, size, 1.0), 2.0**-50, 2.0**60)


def _power(x: np.ndarray) -> np.ndarray:
    return np.exp2(np.floor(np.log2(x)))


def _norm(x: np.ndarray, axis: int) -> np.ndarray:
    return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=True))
