"""How far two programs of one step may differ: the one that trains and the one that is watched.

A compiler fuses the two differently, so each tensor may differ by the bounds of both. This moves
every tensor that is computed from it, by first-order terms with the other program's operands, and
in full if a derivative jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portadnn.network.activations import ACTIVATIONS
from portadnn.network.losses import get_head
from portadnn.network.names import UPDATED, kind_and_layer, named
from portadnn.parity.bounds import Bound, Format, updates
from portadnn.parity.bounds.elementwise import ACTIVATION_BOUNDS, KINKED
from portadnn.parity.run import Run
from portadnn.parity.step.operations import operands, step_order, updated

BOTH = 2.02  # two bounds, and a little for the other program's operands


def spread(
    run: Run, t: Mapping[str, np.ndarray], bounds: Mapping[str, Bound], form: Format
) -> dict[str, Bound]:
    """Bounds of all tensors of a step, for another program than the watched one.

    Parameters
    ----------
    run : Run
    t : dict of arrays, float64
        The tensors of the watched step.
    bounds : dict of Bound
        The bound of every tensor that the step makes, from its own operands.
    form : Format
    """
    D: dict[str, np.ndarray] = {}
    found: dict[str, Bound] = {}
    with np.errstate(all="ignore"):
        for _, tensor in step_order(run):
            if kind_and_layer(tensor)[0] in UPDATED:
                found[tensor] = updated(run, tensor, t, form, D)
            else:
                total = _moved(run, tensor, t, D, form) + BOTH * bounds[tensor].stat
                D[tensor] = total = np.asarray(total)
                found[tensor] = bounds[tensor]._replace(exact=t[tensor], det=total, stat=total)
    return found


def through(function: Callable[..., Any], Z: np.ndarray, A: np.ndarray, d: Any) -> np.ndarray:
    """How far ``A = function(Z)``, of an activation or a head, moves if Z moves by d."""
    if function is ACTIVATIONS["softmax"].forward:
        # the derivative is A (dZ - sum(A dZ)), and A grows by exp(2 dZ) at most; no share moves by
        # more than 1, also if exp(2 dZ) overflows
        A = A * np.exp(2 * np.max(d, axis=0, keepdims=True))
        return np.fmin(A * (d + np.sum(A * d, axis=0, keepdims=True)), 1.0)
    ends = (function(Z + sign * d, xp=np) for sign in (-1, 1))
    return np.maximum(*(np.abs(end - A) for end in ends))  # monotone


def _moved(
    run: Run,
    tensor: str,
    t: Mapping[str, np.ndarray],
    D: Mapping[str, np.ndarray],
    form: Format,
) -> np.ndarray | float:
    """How far a tensor moves if its operands move. Tensors given to the step do not move."""
    kind, l = kind_and_layer(tensor)
    network, recipe = run.network, run.recipe
    names = operands(run, tensor)
    x = [np.abs(t[name]) for name in names]
    d = [D[name] if name in D else np.zeros_like(t[name]) for name in names]
    last = l == network.L
    match kind:
        case "Z":
            return x[0] @ d[1]
        case "A":
            function = get_head(network.head).activation
            function = function if last else ACTIVATIONS[network.activations[l - 1]].forward
            return through(function, t[names[0]], t[tensor], d[0])
        case "AD" | "dA" if l in recipe.dropped_layers():
            return d[0] * x[1] / (1 - recipe.dropout[l - 1])
        case "cost":  # convex in Z, with the gradient A - Y
            A, Y = t[named("A", network.L)], t["Y"]
            terms = (np.abs(A - Y) + D[named("A", network.L)]) * d[0] * t.get("S", 1.0)
            return np.sum(terms) / A.shape[1] + D.get("penalty", 0.0)
        case "dZ" if last:
            return d[0] * t.get("S", 1.0)
        case "dZ":
            Z, A = (t[name] for name in names[1:])
            return _through(network.activations[l - 1], Z, A, x, d, form)
        case "dW" if l == 1 and run.sample:
            return updates.placed(d[0], t.get("place"), network.layer_dims, None, form).exact
        case "dW":
            return (d[0] @ (x[1] + d[1]).T + x[0] @ d[1].T) / d[0].shape[1]
        case "db":
            return np.mean(d[0], axis=1, keepdims=True)
        case "dA" | "dAD":
            return x[0].T @ d[1]
        case "rW":
            return d[0]
        case "norm":
            return np.sqrt(sum(np.sum(np.square(one)) for one in d))
        case "gW" | "gb":
            return d[0] + x[0] * d[1] / x[1]
    return 0.0  # the penalty, which only the weights decide


def _through(
    activation: str,
    Z: np.ndarray,
    A: np.ndarray,
    x: list[np.ndarray],
    d: list[np.ndarray],
    form: Format,
) -> np.ndarray:
    """How far dZ moves if dA, Z and A do; ``x`` and ``d`` have this order."""
    dA = x[0] + d[0]
    if activation == "softmax":  # A (dA - sum(A dA))
        A = A + d[2]
        inner = np.sum(A * d[0] + d[2] * dA, axis=0, keepdims=True)
        return A * (d[0] + inner) + d[2] * (dA + np.sum(A * dA, axis=0, keepdims=True))
    slope = ACTIVATION_BOUNDS[activation].backward(np.ones_like(Z), Z, A, form).exact
    if activation in KINKED:
        return np.where(np.abs(Z) <= d[1], dA, slope * d[0])
    # no second derivative of tanh and sigmoid exceeds 1
    return slope * d[0] + (activation != "identity") * d[1] * dA
