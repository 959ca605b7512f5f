"""Bounds of the update: penalties, clipping, and the step of every optimizer.

The formulas are written again, from their sources and not from ``network/optimizers.py``, in
numbers that carry their rounding. A slot, v or s, is computed again for the step that uses it: a
compiler may fuse the two and round them differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from portadnn.network.optimizers import LEAST, LEAST_SQUARE, Optimizer
from portadnn.parity.bounds import K_DIV, U_SHADOW, Bound, Format, product, within
from portadnn.parity.bounds.elementwise import SECOND_ORDER
from portadnn.parity.bounds.rounded import Rounded
from portadnn.parity.bounds.sums import summed

Arrays: TypeAlias = Mapping[str, np.ndarray]
Made: TypeAlias = dict[str, Rounded]


def dropout(A: np.ndarray, D: np.ndarray, rate: float, form: Format) -> Bound:
    """``A * (1 / (1 - rate))`` where D, else 0: the constant and the product round."""
    kept = Rounded.observed(A, form) * Rounded.constant(1.0 / (1.0 - rate), form)
    return within(
        np.where(D != 0, kept.value, 0.0), np.where(D != 0, kept.error, 0.0), kept.magnitude
    )


def penalty(
    Ws: Sequence[np.ndarray],
    l2: float,
    l1: float,
    form: Format,
    entries: int,
    gram: np.ndarray | None = None,
) -> Bound:
    """``l2 / 2 sum(W^2) + l1 sum(|W|)``: sums of products, added up layer by layer.

    In sample space the first term is ``l2 / 2 sum((K gram) K)``. Each error of ``K gram`` counts
    times its entry of K.
    """
    if gram is None:
        bound = _sum(_penalty_terms(Ws, l2, l1), form, entries, lambda total: total)
        return Bound(*(np.reshape(x, ()) for x in bound))
    K, *Ws = Ws
    inner = product(K, gram, form=form, entries=entries)
    squares = summed((inner.exact * K).reshape(1, -1), form, entries)
    first = []
    for of_inner, of_sum in ((inner.det, squares.det), (inner.stat, squares.stat)):
        error = np.sum(np.abs(K) * of_inner) + of_sum + K.size * form.tiny
        part = Rounded(squares.exact, error, np.max(inner.magnitude) + squares.magnitude, form)
        first.append(part * Rounded.constant(l2 / 2, form))
    terms = _penalty_terms(Ws, l2, l1)
    bound = _sum(terms, form, entries, lambda total: total, first)
    return Bound(*(np.reshape(x, ()) for x in bound))


def _penalty_terms(
    Ws: Sequence[np.ndarray], l2: float, l1: float
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    return [
        (np.abs(W), other, factor)
        for W in Ws
        for factor, other in ((l2 / 2, np.abs(W)), (l1, np.ones_like(W)))
        if factor
    ]


def placed(
    dZ: np.ndarray,
    place: np.ndarray | None,
    layer_dims: Sequence[int],
    divisor: int | None,
    form: Format,
) -> Bound:
    """dW1 in sample space: ``dZ1 / B`` in the columns of the batch, else 0; one division."""
    n_1, size = dZ.shape
    if place is not None:
        dZ = np.concatenate([dZ, np.zeros((n_1, 1))], axis=1)[:, place.astype(int)]
    found = np.concatenate([np.zeros((n_1, layer_dims[0] - dZ.shape[1])), dZ], axis=1)
    found = found / (divisor or size)
    v = form.u + U_SHADOW
    return within(found, SECOND_ORDER * K_DIV * v * np.abs(found) + form.tiny * (found != 0))


def penalized(dW: np.ndarray, W: np.ndarray, l2: float, l1: float, form: Format) -> Bound:
    """``dW + l2 W + l1 sign(W)``; dW may have been divided by m in the same kernel."""
    g = Rounded.observed(dW, form, 3 * form.u * np.abs(dW))
    if l2:
        g = g + Rounded.observed(W, form) * Rounded.constant(l2, form)
    if l1:
        g = g + Rounded.observed(np.sign(W), form) * Rounded.constant(l1, form)
    return g.bound()


def norm(gradients: Sequence[np.ndarray], form: Format, entries: int) -> Bound:
    """The root of the sum of all squares."""
    return _sum([(np.abs(g), np.abs(g), 1.0) for g in gradients], form, entries, Rounded.sqrt)


def _sum(
    terms: Sequence[tuple[np.ndarray, np.ndarray, float]],
    form: Format,
    entries: int,
    function: Callable[[Rounded], Rounded],
    first: Sequence[Rounded] = (),
) -> Bound:
    """``function`` of the sum of ``factor sum(P R)`` over the terms, which are 0 or more.

    ``first`` is added before them: one with the deterministic error, one with the statistical.
    """
    sums = [(summed((P * R).reshape(1, -1), form, entries), factor) for P, R, factor in terms]
    bounds = []
    for i, which in enumerate(("det", "stat")):
        total = first[i] if first else None
        for one, factor in sums:
            # a gradient may be rounded again if its square is fused with its operation: 3 u each
            error = getattr(one, which) + 6 * form.u * one.exact
            part = Rounded(one.exact, error, one.magnitude, form)
            if factor != 1.0:
                part = part * Rounded.constant(factor, form)
            total = part if total is None else total + part
        assert total is not None
        bounds.append(function(total).bound())
    det, stat = bounds
    return det._replace(stat=stat.stat)


def clipped(g: np.ndarray, norm: np.ndarray, clip_norm: float, form: Format) -> Bound:
    """``g clip_norm / norm`` if the norm is larger; at the limit both results are right."""
    scale = np.where(norm > clip_norm, clip_norm / norm, 1.0)
    error = (3 + 1 + K_DIV + 1) * form.u * np.abs(g * scale)
    return within(g * scale, SECOND_ORDER * error + 2 * form.tiny, np.abs(g))


def update(
    optimizer: Optimizer,
    is_weight: bool,
    p: np.ndarray,
    g: Rounded,
    slots: Arrays,
    scalars: Arrays,
    form: Format,
) -> dict[str, Bound]:
    """Bounds of the new parameter, ``"+"``, and of its new slots, ``"v+"`` and ``"s+"``.

    ``p`` is the parameter before, ``g`` the gradient that the optimizer is given; slots and scalars
    are as the step had them. Only a W decays.
    """
    known = {name: Rounded.observed(x, form) for name, x in {**slots, **scalars}.items()}
    step, made = UPDATE[optimizer.name](optimizer, g, known, form)
    before = Rounded.observed(p, form)
    if optimizer.weight_decay and is_weight:
        before = before * known["shrinkage"]
    after = (before - step).settled(LEAST)
    return {name: x.bound() for name, x in {"+": after, **made}.items()}


def _gradient_descent(o: Any, g: Rounded, x: Made, form: Format) -> tuple[Rounded, Made]:
    """``rate g``: Goodfellow, Bengio and Courville, Deep Learning (2016), section 4.3."""
    return x["learning_rate"] * g, {}


def _velocity(o: Any, g: Rounded, x: Made, form: Format) -> Rounded:
    return (Rounded.constant(o.mu, form) * x["v"] + g).settled(LEAST)


def _momentum(o: Any, g: Rounded, x: Made, form: Format) -> tuple[Rounded, Made]:
    """``v = mu v + g``, ``rate v``: Sutskever et al. (2013), section 2, with the rate outside."""
    v = _velocity(o, g, x, form)
    return x["learning_rate"] * v, {"v+": v}


def _nesterov(o: Any, g: Rounded, x: Made, form: Format) -> tuple[Rounded, Made]:
    """``rate (g + mu v)``: Bengio, Boulanger-Lewandowski and Pascanu (2013), equation 7."""
    v = _velocity(o, g, x, form)
    return x["learning_rate"] * (g + Rounded.constant(o.mu, form) * v), {"v+": v}


def _mean(beta: float, old: Rounded, new: Rounded, form: Format) -> Rounded:
    """``beta old + (1 - beta) new``, the second constant rounded from float64."""
    return Rounded.constant(beta, form) * old + Rounded.constant(1 - beta, form) * new


def _rmsprop(o: Any, g: Rounded, x: Made, form: Format) -> tuple[Rounded, Made]:
    """``rate g / (sqrt(s) + eps)``: Hinton, lecture 6e (2012)."""
    s = _mean(o.rho, x["s"], g * g, form).settled(LEAST_SQUARE)
    root = s.sqrt() + Rounded.constant(o.epsilon, form)
    return x["learning_rate"] * g / root, {"s+": s}


def _adam(o: Any, g: Rounded, x: Made, form: Format) -> tuple[Rounded, Made]:
    """``rate v^ / (sqrt(s^) + eps)``: Kingma and Ba (2015), algorithm 1."""
    v = _mean(o.beta1, x["v"], g, form).settled(LEAST)
    s = _mean(o.beta2, x["s"], g * g, form).settled(LEAST_SQUARE)
    v_hat = v * x["correction1"]
    root = s.sqrt() * x["correction2"] + Rounded.constant(o.epsilon, form)
    step = x["learning_rate"] * v_hat / root
    return step, {"v+": v, "s+": s}


# a test fails for an optimizer that is missing here
UPDATE: dict[str, Callable[[Any, Rounded, Made, Format], tuple[Rounded, Made]]] = {
    "gradient_descent": _gradient_descent,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adam,
}
