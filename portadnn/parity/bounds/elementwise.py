"""Bounds of the activations, which have no matrix product.

Each takes observed inputs in float64 and a Format, and returns a ``Bound``. One rounding makes a
relative error of at most u, a function of the library one of K ulp, or 2 K u. The shadow makes the
same errors with its own u, so every bound is written with ``v = u + U_SHADOW``. A result below
the smallest normal number may be flushed to 0, which costs ``tiny``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from portadnn.parity.bounds import K_DIV, U_SHADOW, Bound, Format, within
from portadnn.parity.bounds.sums import summed

NEGATIVE_SLOPE = 0.01  # declared again here, so that a wrong one in the step is found
MOST_ENTRIES = 10**12  # more than any run checks, for the statistical bounds of sums over units

# Errors of the libraries' elementary functions in ulp, an ulp being at most 2u relative. The
# largest that were measured: exp 3.97 (XLA float32), log 3.83 (NumPy float32), log1p 2.48 (XLA
# float32), tanh 6.55 (XLA float64, 3.5 million points); CUDA publishes 2 or less.
K_EXP = K_LOG = K_LOG1P = 4
K_TANH = 8

SECOND_ORDER = 1.01  # for products of two roundings, which are below a hundredth of the first order


def _flushed(x: np.ndarray, form: Format) -> np.ndarray:
    """tiny where ``x`` is so small that it may be read as 0, else 0: for exact operations."""
    return np.where((np.abs(x) < form.tiny) & (x != 0), form.tiny, 0.0)


def relu(Z: np.ndarray, form: Format) -> Bound:
    """``max(0, Z)`` rounds nothing."""
    return within(np.maximum(Z, 0.0), _flushed(Z, form))


def relu_backward(dA: np.ndarray, Z: np.ndarray, A: np.ndarray, form: Format) -> Bound:
    """``dA`` where the observed Z > 0, else 0, rounds nothing."""
    unsure = np.where(_flushed(Z, form) > 0, np.abs(dA), 0.0)
    return within(np.where(Z > 0, dA, 0.0), _flushed(dA, form) + unsure)


def _scaled(x: np.ndarray, Z: np.ndarray, form: Format) -> Bound:
    """``x`` where Z > 0, else ``0.01 x``: the slope is rounded to the format, then the product."""
    slope = NEGATIVE_SLOPE * x
    bound = np.where(Z > 0, _flushed(x, form), 2 * SECOND_ORDER * roundings(form) * np.abs(slope)
                     + form.tiny)  # fmt: skip
    unsure = np.where(_flushed(Z, form) > 0, np.abs(x), 0.0)
    return within(np.where(Z > 0, x, slope), bound + unsure)


def leaky_relu(Z: np.ndarray, form: Format) -> Bound:
    """``Z`` where Z > 0, else ``0.01 Z`` with two roundings."""
    return _scaled(Z, Z, form)


def leaky_relu_backward(dA: np.ndarray, Z: np.ndarray, A: np.ndarray, form: Format) -> Bound:
    """``dA`` where Z > 0, else ``0.01 dA`` with two roundings."""
    return _scaled(dA, Z, form)


def sigmoid(Z: np.ndarray, form: Format) -> Bound:
    """``1 / (1 + t)`` or ``t / (1 + t)`` with ``t = exp(-|Z|)``.

    A relative error d of t moves the result by (1 - s) d; exp errs by 2 K_EXP u, the sum by u, the
    division by K_DIV u. The shadow's own error is 8 U_SHADOW.
    """
    t = np.exp(-np.abs(Z))
    s = np.where(Z >= 0, 1.0, t) / (1.0 + t)
    relative = ((1 - s) * 2 * K_EXP + 1 + K_DIV) * form.u
    return within(s, SECOND_ORDER * s * relative + form.tiny + 8 * U_SHADOW * s)


def sigmoid_backward(dA: np.ndarray, Z: np.ndarray, A: np.ndarray, form: Format) -> Bound:
    """``dA * (A * (1 - A))``: three roundings; the inner product may underflow before dA scales."""
    result = dA * (A * (1 - A))
    tiny = form.tiny * (1 + np.abs(dA))
    return within(result, SECOND_ORDER * 3 * roundings(form) * np.abs(result) + tiny)


def tanh(Z: np.ndarray, form: Format) -> Bound:
    """The library's function: K_TANH ulp here, 4 in the shadow."""
    A = np.tanh(Z)
    return within(A, SECOND_ORDER * (2 * K_TANH * form.u + 8 * U_SHADOW) * np.abs(A) + form.tiny)


def tanh_backward(dA: np.ndarray, Z: np.ndarray, A: np.ndarray, form: Format) -> Bound:
    """``dA * ((1 - A) * (1 + A))``: four roundings."""
    result = dA * ((1 - A) * (1 + A))
    tiny = form.tiny * (1 + np.abs(dA))
    return within(result, SECOND_ORDER * 4 * roundings(form) * np.abs(result) + tiny)


def identity(Z: np.ndarray, form: Format) -> Bound:
    """A copy."""
    return within(Z, np.zeros_like(Z))


def identity_backward(dA: np.ndarray, Z: np.ndarray, A: np.ndarray, form: Format) -> Bound:
    """A copy."""
    return within(dA, np.zeros_like(dA))


def sum_over_units(terms: np.ndarray, form: Format) -> Bound:
    """The sum of every column, (n, m) -> (1, m); lambda is that of ``MOST_ENTRIES``."""
    return Bound(*(part.T for part in summed(terms.T, form, MOST_ENTRIES)))


def sum_of_exponentials(d: np.ndarray, form: Format) -> Bound:
    """``T = sum(exp(d))`` of every column, with its relative errors in place of absolute ones.

    Rounding d by u |d| and exp by 2 K_EXP u makes a relative error r of t; the sum has the average
    of r, weighted by t / T, and its own rounding.
    """
    t = np.exp(d)
    total = sum_over_units(t, form)
    v = roundings(form)
    # beyond the range of exp, t is below tiny on both sides, and d's rounding no longer matters
    r = v * np.minimum(np.abs(d), 800.0) + 2 * K_EXP * v
    of_terms = np.sum(t / total.exact * r, axis=0, keepdims=True) + len(d) * form.tiny
    det, stat = (of_terms + error / total.exact for error in (total.det, total.stat))
    return total._replace(det=det, stat=stat)


def softmax(Z: np.ndarray, form: Format) -> Bound:
    """``t / T`` with ``t = exp(d)``, ``d = Z - max(Z)`` and T their sum: t errs as in T, the
    division by K_DIV u."""
    d = Z - np.max(Z, axis=0, keepdims=True)
    T = sum_of_exponentials(d, form)
    s = np.exp(d) / T.exact
    v = roundings(form)
    r = v * np.minimum(np.abs(d), 800.0) + (2 * K_EXP + K_DIV) * v
    det, stat = (SECOND_ORDER * s * (r + error) + 2 * form.tiny for error in (T.det, T.stat))
    return Bound(s, det, stat, np.abs(s))


def softmax_backward(dA: np.ndarray, Z: np.ndarray, A: np.ndarray, form: Format) -> Bound:
    """``A * (dA - p)`` with ``p = sum(dA * A)``: n products and sums, a difference, a product."""
    p = sum_over_units(dA * A, form)  # a product's rounding is that of a term in it
    difference = dA - p.exact
    result = A * difference
    v = roundings(form)
    det, stat = (
        SECOND_ORDER * (np.abs(A) * (error + v * np.abs(difference)) + v * np.abs(result))
        + 2 * form.tiny
        for error in (p.det, p.stat)
    )
    magnitude = SECOND_ORDER * (np.abs(dA) + p.magnitude)  # for p and for dA - p
    return Bound(result, det, stat, magnitude)


def roundings(form: Format) -> float:
    """``v``: one rounding here and one in the shadow."""
    return form.u + U_SHADOW


class ActivationBounds(NamedTuple):
    """Bounds of A and of dZ, and the Lipschitz constant, the most that |A - A'| / |Z - Z'| is."""

    forward: Callable[..., Bound]
    backward: Callable[..., Bound]
    lipschitz: float = 1.0


# a test fails for an activation that is missing here
ACTIVATION_BOUNDS = {
    "sigmoid": ActivationBounds(sigmoid, sigmoid_backward, 0.25),
    "relu": ActivationBounds(relu, relu_backward),
    "leaky_relu": ActivationBounds(leaky_relu, leaky_relu_backward),
    "tanh": ActivationBounds(tanh, tanh_backward),
    "identity": ActivationBounds(identity, identity_backward),
    "softmax": ActivationBounds(softmax, softmax_backward),
}
# the activations whose derivative jumps at Z = 0
KINKED = ("relu", "leaky_relu")
