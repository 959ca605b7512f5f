"""Bounds of the heads: their output from Z, their cost and its gradient.

They are written like those of the activations in ``elementwise.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from portadnn.parity.bounds import U_SHADOW, Bound, Format, elementwise, within
from portadnn.parity.bounds.elementwise import K_EXP, K_LOG, K_LOG1P, SECOND_ORDER, roundings
from portadnn.parity.bounds.sums import summed

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
    """``AL - Y``, in which a fused multiply-add may leave out the last rounding of AL.

    Jitted XLA rounds ``t (1 / sum) - Y`` once. Only a soft label, between 0 and 1, can come so
    close to AL that this shows: A - 0 is A, and the largest A has t = 1.
    """
    bound = output_gradient(AL, Y, form, S)
    left_out = np.where((Y > 0) & (Y < 1), form.u * AL, 0.0) * (1.0 if S is None else S)
    return within(bound.exact, bound.det + SECOND_ORDER * left_out)


class Terms(NamedTuple):
    """The terms of a cost, in float64, and how far the backend's own may be from them.

    ``det`` and ``stat`` are as in ``Bound``, entry by entry; ``widest`` is the largest
    intermediate value.
    """

    value: np.ndarray
    det: np.ndarray
    stat: np.ndarray
    widest: float = 0.0


def sigmoid_cross_entropy(Z: np.ndarray, Y: np.ndarray, form: Format) -> Terms:
    """``max(Z, 0) + l - Y Z`` with ``l = log1p(exp(-|Z|))``.

    The sum and the difference round once each, the product unless Y is 0 or 1, and the two
    functions err by K ulp of l each.
    """
    l = np.log1p(np.exp(-np.abs(Z)))
    softplus = np.maximum(Z, 0) + l
    value = softplus - Y * Z
    multiplied = np.where((Y == 0) | (Y == 1), 0.0, np.abs(Y * Z))
    error = form.u * (softplus + multiplied + np.abs(value))
    error = SECOND_ORDER * (error + 2 * (K_EXP + K_LOG1P) * form.u * l) + 4 * form.tiny
    error = error + 8 * U_SHADOW * (softplus + np.abs(Y * Z))
    return Terms(value, error, error)


def softmax_cross_entropy(Z: np.ndarray, Y: np.ndarray, form: Format) -> Terms:
    """``log(T) - sum(Y d)`` with ``d = Z - max(Z)`` and ``T = sum(exp(d))`` per example.

    The relative error of T, as in ``softmax``, is an absolute one of log(T), which adds K_LOG ulp;
    ``sum(Y d)`` has d's rounding, the product's and that of its sum; the difference one more.
    """
    d = Z - np.max(Z, axis=0, keepdims=True)
    T = elementwise.sum_of_exponentials(d, form)
    picked = elementwise.sum_over_units(Y * d, form)
    v, size = roundings(form), np.sum(np.abs(Y * d), axis=0, keepdims=True)
    log_total = np.log(T.exact)
    value = log_total - picked.exact
    error = 2 * K_LOG * v * np.abs(log_total) + 2 * v * size + v * (np.abs(log_total) + size)
    det, stat = (
        SECOND_ORDER * (total + error + of_picked) + len(Z) * form.tiny
        for total, of_picked in ((T.det, picked.det), (T.stat, picked.stat))
    )
    # the largest logit and another may differ by more than the format holds
    return Terms(value, det, stat, float(np.max(np.abs(d), initial=0.0)))


def squared_error(Z: np.ndarray, Y: np.ndarray, form: Format) -> Terms:
    """``E * E / 2`` with ``E = Z - Y``: two roundings of E, one of E E; the half is exact."""
    half = np.square(Z - Y) / 2
    error = SECOND_ORDER * 3 * roundings(form) * half + form.tiny
    return Terms(half, error, error, float(np.sum(half)))  # the backend sums E * E


def exp(Z: np.ndarray, form: Format) -> Bound:
    """The library's function: K_EXP ulp here, 4 in the shadow."""
    A = np.exp(Z)
    return within(A, SECOND_ORDER * (2 * K_EXP * form.u + 8 * U_SHADOW) * A + form.tiny)


def poisson_deviance(Z: np.ndarray, Y: np.ndarray, form: Format) -> Terms:
    """``e - Y (Z + 1 - l)`` with ``e = exp(Z)`` and ``l = log(Y)``, 0 where Y is 0.

    A term makes four roundings of at most a = e + Y (abs(Z) + 1 + abs(l)), and the two functions
    err by K ulp of e and of l.
    """
    v, e, l = roundings(form), np.exp(Z), np.log(np.where(Y > 0, Y, 1.0))
    a = e + Y * (np.abs(Z) + 1 + np.abs(l))
    error = 4 * v * a + 2 * v * (K_EXP * e + K_LOG * Y * np.abs(l)) + (4 + Y) * form.tiny
    error = SECOND_ORDER * error
    subtracted = float(np.max(Y * (np.abs(Z) + 1 + np.abs(l)), initial=0.0))
    return Terms(e - Y * (Z + 1 - l), error, error, subtracted)


def cost(
    head: str, Z: np.ndarray, Y: np.ndarray, form: Format, S: Weights = None, entries: int = 1
) -> Bound:
    """``sum(S terms) / m``: the terms' errors added up, and the error of their sum.

    The errors of the terms may all have the same sign, so their sizes are added up: a multiple of
    u for any number of terms. Only the error of the sum has a statistical bound, see
    ``sums.summed``. A weight makes one rounding more. The division comes last, so the sum may
    overflow although the mean does not.
    """
    terms = HEAD_BOUNDS[head].terms(Z, Y, form)
    value, errors = terms.value, (terms.det, terms.stat)
    if S is not None:
        value = value * S
        rounding = roundings(form) * np.abs(value) + form.tiny
        errors = tuple(error * S + rounding for error in errors)
    m = Z.shape[1]
    total = summed(value.reshape(1, -1), form, entries, m)
    det, stat = (
        SECOND_ORDER * (np.sum(error) / m + of_sum.ravel()[0]) + form.tiny
        for error, of_sum in zip(errors, (total.det, total.stat), strict=True)
    )
    # if exp(Z) overflows, the finite part may also overflow: then inf - inf is NaN
    reach = det * m if np.isfinite(det) else 0.0
    magnitude = total.magnitude.ravel()[0] + reach + terms.widest
    return Bound(*map(np.asarray, (total.exact.ravel()[0], det, stat, magnitude)))


class HeadBounds(NamedTuple):
    """The bound of ``A[L]`` from Z, the terms of the cost, the bound of dZ[L] from A, Y, S."""

    output: Callable[..., Bound]
    terms: Callable[..., Terms]
    gradient: Callable[..., Bound] = output_gradient


# a test fails for a head that is missing here
HEAD_BOUNDS = {
    "sigmoid": HeadBounds(elementwise.sigmoid, sigmoid_cross_entropy),
    "softmax": HeadBounds(elementwise.softmax, softmax_cross_entropy, softmax_gradient),
    "identity": HeadBounds(elementwise.identity, squared_error),
    "poisson": HeadBounds(exp, poisson_deviance),
}
