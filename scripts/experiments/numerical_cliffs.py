#!/usr/bin/env python3
"""Numerical cliffs: from where on the textbook's formulas fail, and what ours give there.

    scripts/experiments/numerical_cliffs.py [--backend numpy] [--dtype float64]

The largest float64 is about e^709.78, and 1 + x is 1 for x up to 2^-53, about e^-36.7. So
``exp(710)`` overflows, ``1 - sigmoid(37)`` is 0, and a cost that takes the logarithm of it is
infinite where the right one is 37. In float32 the same happens at 88.7 and 16.6.

References
----------
Goldberg, What every computer scientist should know about floating-point arithmetic (1991);
Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax functions (2021).
"""

import argparse
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from portadnn.backends import Backend, get_backend
from portadnn.network.activations import sigmoid, softmax
from portadnn.network.losses import (
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits,
)

FARTHEST = 1000.0  # every formula of the table has failed by then


class Cliff(NamedTuple):
    """A formula that fails, and the one that does not.

    Attributes
    ----------
    quantity : str
    formula : str
        As the textbook writes it.
    at : float
        The first z, of the dtype's numbers, at which it fails.
    naive, ours : float
        What the formula gives there, and what the package gives.
    """

    quantity: str
    formula: str
    at: float
    naive: float
    ours: float


def numerical_cliffs(backend: str | Backend = "numpy", *, dtype: str | None = None) -> list[Cliff]:
    """The table of cliffs, found by trying, on a backend.

    Parameters
    ----------
    backend : str or Backend
    dtype : {"float32", "float64"}, optional
        Default that of a Backend, else float64.

    Returns
    -------
    list of Cliff
    """
    if dtype is None and not isinstance(backend, Backend):
        dtype = "float64"
    chosen = get_backend(backend, dtype=dtype)
    with chosen.scope():
        return [_found(row, chosen) for row in _FORMULAS]


class _Formula(NamedTuple):
    """The failing formula and ours as functions of z (1, 1); it is right where ``fails`` is not."""

    quantity: str
    formula: str
    naive: Callable[[Any, Any], Any]
    ours: Callable[[Any, Any], Any]
    fails: Callable[[float], bool]


def _found(row: _Formula, backend: Backend) -> Cliff:
    """The first z at which it fails, by halving the numbers between one that is right and not."""

    def value(formula: Callable[[Any, Any], Any], z: float) -> float:
        array = backend.asarray([[z]])
        return float(backend.to_numpy(formula(array, backend.xp)).reshape(()))

    precision = float(backend.xp.finfo(backend.dtype).eps)
    right, wrong = 1.0, FARTHEST
    while wrong - right > precision * wrong:
        middle = right + (wrong - right) / 2
        if row.fails(value(row.naive, middle)):
            wrong = middle
        else:
            right = middle
    at = float(backend.to_numpy(backend.asarray([[wrong]]))[0, 0])
    return Cliff(row.quantity, row.formula, at, value(row.naive, at), value(row.ours, at))


def _logit_cost(y: float) -> Callable[[Any, Any], Any]:
    return lambda z, xp: sigmoid_cross_entropy_with_logits(z, xp.full_like(z, y), xp=xp)


def _pair(z: Any, xp: Any) -> Any:
    """The logits z and 0 of two classes, (2, 1)."""
    return xp.concat([z, xp.zeros_like(z)], axis=0)


def _naive_softmax(z: Any, xp: Any) -> Any:
    t = xp.exp(_pair(z, xp))
    return (t / xp.sum(t, axis=0, keepdims=True))[:1, :]


def _softmax_cost(z: Any, xp: Any) -> Any:
    Z = _pair(z, xp)
    second = xp.concat([xp.zeros_like(z), xp.ones_like(z)], axis=0)
    return softmax_cross_entropy_with_logits(Z, second, xp=xp)


def _is_zero(x: float) -> bool:
    return x == 0


def _not_finite(x: float) -> bool:
    return not math.isfinite(x)


_FORMULAS = (
    _Formula(
        "sigmoid(-z)",
        "1 / (1 + exp(z))",
        lambda z, xp: 1.0 / (1.0 + xp.exp(z)),
        lambda z, xp: sigmoid(-z, xp=xp),
        _is_zero,
    ),
    _Formula(
        "sigmoid(z)",
        "exp(z) / (1 + exp(z))",
        lambda z, xp: xp.exp(z) / (1.0 + xp.exp(z)),
        lambda z, xp: sigmoid(z, xp=xp),
        _not_finite,
    ),
    _Formula(
        "probability of 0",
        "1 - sigmoid(z)",
        lambda z, xp: 1.0 - sigmoid(z, xp=xp),
        lambda z, xp: sigmoid(-z, xp=xp),
        _is_zero,
    ),
    _Formula(
        "cost of z, y = 0",
        "-log(1 - sigmoid(z))",
        lambda z, xp: -xp.log(1.0 - sigmoid(z, xp=xp)),
        _logit_cost(0.0),
        _not_finite,
    ),
    _Formula(
        "cost of z, y = 1",
        "-y log(a) - (1 - y) log(1 - a)",
        lambda z, xp: -xp.log(sigmoid(z, xp=xp)) - 0.0 * xp.log(1.0 - sigmoid(z, xp=xp)),
        _logit_cost(1.0),
        _not_finite,
    ),
    _Formula(
        "cost of -z, y = 1",
        "-log(1 / (1 + exp(z)))",
        lambda z, xp: -xp.log(1.0 / (1.0 + xp.exp(z))),
        lambda z, xp: _logit_cost(1.0)(-z, xp),
        _not_finite,
    ),
    _Formula(
        "softmax of (z, 0)",
        "exp(z) / (exp(z) + 1)",
        _naive_softmax,
        lambda z, xp: softmax(_pair(z, xp), xp=xp)[:1, :],
        _not_finite,
    ),
    _Formula(
        "its cost, second class",
        "log(exp(z) + 1)",
        lambda z, xp: xp.log(xp.exp(z) + 1.0),
        _softmax_cost,
        _not_finite,
    ),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--dtype", default="float64", choices=("float32", "float64"))
    arguments = parser.parse_args()
    print("| quantity | formula | fails from z = | formula | ours |")
    print("|---|---|---|---|---|")
    for row in numerical_cliffs(arguments.backend, dtype=arguments.dtype):
        ours = f"{row.ours:.3f}" if row.ours > 1 else f"{row.ours:.2g}"
        print(f"| {row.quantity} | {row.formula} | {row.at:.3f} | {row.naive:.2g} | {ours} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
