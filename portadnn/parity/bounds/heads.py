"""Bounds of the heads: what they make of Z, their cost and its gradient.

They are written as those of the activations are, in ``elementwise.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from portadnn.parity.bounds import K_DIV, U_SHADOW, Bound, Format, elementwise, gamma, within
from portadnn.parity.bounds.elementwise import K_EXP, K_LOG, K_LOG1P, SECOND_ORDER, roundings

Weights: TypeAlias = np.ndarray | None


def output_gradient(AL: np.ndarray, Y: np.ndarray, form: Format, S: Weights = None) -> Bound:
    """``dZ[L] = AL - Y`` of every head, one rounding here and one in the shadow; twice with S."""
    difference = AL - Y
    if S is None:
        return within(difference, SECOND_ORDER * roundings(form) * np.abs(difference) + form.tiny)
    result = difference * S
    tiny = form.tiny * (1 + np.abs(S))
    return within(result, SECOND_ORDER * 2 * roundings(form) * np.abs(result) + tiny)


def softmax_gradient(AL: np.ndarray, Y: np.ndarray, form: Format, S: Weights = None) -> Bound:
    """``AL - Y``, of an AL whose last rounding a fused multiply-add may have left out.

    Jitted XLA computes ``t (1 / sum) - Y`` in one. Only a soft label, between 0 and 1, can come so
    close to AL that this shows: A - 0 is A, and the largest A has t = 1.
    """
    bound = output_gradient(AL, Y, form, S)
    left_out = np.where((Y > 0) & (Y < 1), form.u * AL, 0.0) * (1.0 if S is None else S)
    return within(bound.exact, bound.det + SECOND_ORDER * left_out)


def sigmoid_cross_entropy(Z: np.ndarray, Y: np.ndarray, form: Format, S: Weights = None) -> Bound:
    """``sum(max(Z, 0) - Y Z + l) / m`` with ``l = log1p(exp(-|Z|))``.

    Each term makes two roundings of at most a = max(Z, 0) + |Y Z| + l, and the two functions err
    by K ulp of l each; the sum of N terms and the division add gamma(N + K_DIV).
    """
    l = np.log1p(np.exp(-np.abs(Z)))
    a = np.maximum(Z, 0) + np.abs(Y * Z) + l
    t = 2 * form.u * a + 2 * (K_EXP + K_LOG1P) * form.u * l + 4 * form.tiny
    return _mean(np.maximum(Z, 0) - Y * Z + l, t, a, S, Z.shape[1], form)


def softmax_cross_entropy(Z: np.ndarray, Y: np.ndarray, form: Format, S: Weights = None) -> Bound:
    """``sum(log(T) - sum(Y d)) / m`` with ``d = Z - max(Z)`` and ``T = sum(exp(d))`` per example.

    The relative error of T, as in ``softmax``, is an absolute one of log(T), which adds K_LOG ulp;
    ``sum(Y d)`` has d's rounding, the product's and gamma(n) of its sum; the difference one more.
    """
    d = Z - np.max(Z, axis=0, keepdims=True)
    t = np.exp(d)
    total = np.sum(t, axis=0, keepdims=True)
    log_total = np.log(total)
    v = roundings(form)
    n = len(Z)
    r = v * np.minimum(np.abs(d), 800.0) + 2 * K_EXP * v
    total_error = np.sum(t / total * r, axis=0, keepdims=True) + gamma(n - 1, v) + n * form.tiny
    picked = np.sum(np.abs(Y * d), axis=0, keepdims=True)
    a = np.abs(log_total) + picked
    error = total_error + 2 * K_LOG * v * np.abs(log_total) + (2 * v + gamma(n, v)) * picked + v * a
    terms = log_total - np.sum(Y * d, axis=0, keepdims=True)
    # the largest logit and another may differ by more than the format holds
    widest = float(np.max(np.abs(d), initial=0.0))
    return _mean(terms, SECOND_ORDER * error + n * form.tiny, a, S, Z.shape[1], form, widest)


def squared_error(Z: np.ndarray, Y: np.ndarray, form: Format, S: Weights = None) -> Bound:
    """``sum(E * E) / 2m`` with ``E = Z - Y``: a term has E's rounding twice and its own."""
    squares = np.square(Z - Y)
    t = SECOND_ORDER * 3 * roundings(form) * squares + form.tiny
    return _mean(squares, t, squares, S, 2 * Z.shape[1], form)


def exp(Z: np.ndarray, form: Format) -> Bound:
    """The library's function: K_EXP ulp here, 4 in the shadow."""
    A = np.exp(Z)
    return within(A, SECOND_ORDER * (2 * K_EXP * form.u + 8 * U_SHADOW) * A + form.tiny)


def poisson_deviance(Z: np.ndarray, Y: np.ndarray, form: Format, S: Weights = None) -> Bound:
    """``sum(e - Y (Z + 1 - l)) / m`` with ``e = exp(Z)`` and ``l = log(Y)``, 0 where Y is 0.

    Each term makes four roundings of at most a = e + Y (abs(Z) + 1 + abs(l)), and the two functions
    err by K ulp of e and of l.
    """
    v, e, l = roundings(form), np.exp(Z), np.log(np.where(Y > 0, Y, 1.0))
    a = e + Y * (np.abs(Z) + 1 + np.abs(l))
    t = 4 * v * a + 2 * v * (K_EXP * e + K_LOG * Y * np.abs(l)) + (4 + Y) * form.tiny
    return _mean(e - Y * (Z + 1 - l), SECOND_ORDER * t, a, S, Z.shape[1], form)


def _mean(
    terms: np.ndarray,
    errors: np.ndarray,
    magnitudes: np.ndarray,
    S: Weights,
    divisor: int,
    form: Format,
    widest: float = 0.0,
) -> Bound:
    """``sum(S terms) / divisor``, each term with its error; the shadow sums exactly.

    A weight makes one rounding more.

    The division comes last, so the sum may overflow where the mean does not; ``widest`` is the
    largest value before the terms.
    """
    if S is not None:
        terms, magnitudes = terms * S, magnitudes * S
        errors = errors * S + roundings(form) * magnitudes + form.tiny
    total = math.fsum(terms.ravel()) if np.isfinite(terms).all() else np.sum(terms)
    summing = gamma(terms.size + K_DIV, form.u) + 8 * U_SHADOW
    error = SECOND_ORDER * (np.sum(errors) + summing * np.sum(magnitudes))
    return within(
        np.asarray(total / divisor),
        np.asarray(error / divisor + form.tiny),
        np.asarray(np.sum(magnitudes) + error + widest),
    )


class HeadBounds(NamedTuple):
    """A row: bounds of ``A[L]`` from Z, of the cost from Z, Y and S, of dZ[L] from A, Y and S."""

    output: Callable[..., Bound]
    cost: Callable[..., Bound]
    gradient: Callable[..., Bound] = output_gradient


# a test fails for a head that is missing here
HEAD_BOUNDS = {
    "sigmoid": HeadBounds(elementwise.sigmoid, sigmoid_cross_entropy),
    "softmax": HeadBounds(elementwise.softmax, softmax_cross_entropy, softmax_gradient),
    "identity": HeadBounds(elementwise.identity, squared_error),
    "poisson": HeadBounds(exp, poisson_deviance),
}
