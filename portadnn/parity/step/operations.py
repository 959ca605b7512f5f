"""The operations of a step by the tensors they make, each computed in float64 from its operands.

One home for what a step is: its order, what each tensor is made from, and how far a backend may be
from it. ``certify`` holds a record against them, ``projection`` projects their products, ``causes``
asks what a tensor would have been from other operands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.errors import InputError
from portadnn.parity.bounds import U_SHADOW, Bound, Format, product, updates, within
from portadnn.parity.bounds.elementwise import ACTIVATION_BOUNDS
from portadnn.parity.bounds.heads import HEAD_BOUNDS
from portadnn.parity.bounds.rounded import Rounded
from portadnn.parity.run import Run

_NAME = re.compile(r"(dAD|dZ|dW|db|dA|AD|A|Z|D|W|b|rW|gW|gb|vW|vb|sW|sb)(\d+)(\+?)")
_SINGLE = ("X", "Y", "S", "place", "penalty", "cost", "norm")

UPDATED = ("W+", "b+", "vW+", "vb+", "sW+", "sb+")
SCALARS = ("learning_rate", "shrinkage", "correction1", "correction2")


def kind_and_layer(tensor: str) -> tuple[str, int]:
    """``"dW3"`` is of the kind ``"dW"`` and layer 3; ``"W2+"`` of ``"W+"``; ``"cost"`` of layer 0.

    Examples
    --------
    >>> kind_and_layer("W2+")
    ('W+', 2)
    """
    if tensor in _SINGLE or tensor in SCALARS:
        return tensor, 0
    match = _NAME.fullmatch(tensor)
    if match is None:
        raise InputError(f"unknown tensor {tensor!r}: expected X, Y, cost, or one such as dW3, W2+")
    return match[1] + match[3], int(match[2])


def operands(run: Run, tensor: str) -> tuple[str, ...]:
    """The names of what a tensor is computed from; none for what a step is given.

    ``dA1``, for example, is computed from ``W2`` and ``dZ2``.
    """
    kind, l = kind_and_layer(tensor)
    network, recipe = run.network, run.recipe
    L, dropped = network.L, recipe.dropped_layers()
    A_prev = "X" if l <= 1 else f"AD{l - 1}" if l - 1 in dropped else f"A{l - 1}"
    S = () if run.weights is None else ("S",)
    place = () if run.batch_size is None else ("place",)
    if kind in UPDATED:
        name = tensor.lstrip("vs")[:-1]
        # dW as well: what the optimizer is given may be fused with what made it
        gradients = dict.fromkeys((final_gradient(run, name), f"d{name}"))
        slots = (f"{slot}{name}" for slot in recipe.slots)
        norm = () if recipe.clip_norm is None else ("norm",)
        return (name, *gradients, *norm, *slots, *recipe.scalar_names)
    return {
        "Z": (f"W{l}", A_prev, f"b{l}"),
        "A": (f"Z{l}",),
        "AD": (f"A{l}", f"D{l}"),
        "penalty": tuple(f"W{i}" for i in range(1, L + 1)),
        "cost": (f"Z{L}", "Y", *S, *(("penalty",) if recipe.penalized else ())),
        "dZ": (f"A{l}", "Y", *S) if l == L else (f"dA{l}", f"Z{l}", f"A{l}"),
        "dW": ("dZ1", *place) if l == 1 and run.sample else (f"dZ{l}", A_prev),
        "db": (f"dZ{l}",),
        "dAD": (f"W{l + 1}", f"dZ{l + 1}"),
        "dA": (f"dAD{l}", f"D{l}") if l in dropped else (f"W{l + 1}", f"dZ{l + 1}"),
        "rW": (f"dW{l}", f"W{l}"),
        "norm": tuple(_penalized_gradient(run, name) for name in network.shapes),
        "gW": (_penalized_gradient(run, f"W{l}"), "norm"),
        "gb": (_penalized_gradient(run, f"b{l}"), "norm"),
    }.get(kind, ())


def final_gradient(run: Run, name: str) -> str:
    """The gradient of a parameter that the optimizer is given."""
    return _penalized_gradient(run, name) if run.recipe.clip_norm is None else f"g{name}"


def _penalized_gradient(run: Run, name: str) -> str:
    return f"r{name}" if run.recipe.penalized and name.startswith("W") else f"d{name}"


@dataclass(frozen=True, eq=False)
class Operands:
    """``(P R + b) / divisor``, to be summed again in other orders and to have its bits counted."""

    P: np.ndarray
    R: np.ndarray
    b: np.ndarray | None = None
    divisor: int = 1


def step_order(run: Run) -> Iterator[tuple[int, str]]:
    """Layer and name of every tensor that a step makes, in the order in which it makes them."""
    network, recipe = run.network, run.recipe
    L, dropped = network.L, recipe.dropped_layers()
    for l in range(1, L + 1):
        yield l, f"Z{l}"
        yield l, f"A{l}"
        if l in dropped:
            yield l, f"AD{l}"
    if recipe.penalized:
        yield L, "penalty"
    yield L, "cost"
    for l in range(L, 0, -1):
        yield l, f"dZ{l}"
        yield l, f"dW{l}"
        yield l, f"db{l}"
        if l > 1:
            if l - 1 in dropped:
                yield l, f"dAD{l - 1}"
            yield l, f"dA{l - 1}"
    if recipe.penalized:
        yield from ((l, f"rW{l}") for l in range(1, L + 1))
    if recipe.clip_norm is not None:
        yield 1, "norm"
        yield from ((int(name[1:]), f"g{name}") for name in network.shapes)
    for name in network.shapes:
        for slot in recipe.slots:
            yield int(name[1:]), f"{slot}{name}+"
        yield int(name[1:]), f"{name}+"


def is_matrix_product(run: Run, tensor: str) -> bool:
    """Whether the tensor is a product of two matrices; db, a mean, is not."""
    kind, l = kind_and_layer(tensor)
    if kind == "dW":
        return l > 1 or not run.sample
    return kind in ("Z", "dAD") or (kind == "dA" and l not in run.recipe.dropped_layers())


def factors(run: Run, tensor: str, t: Mapping[str, np.ndarray]) -> Operands | None:
    """The operands of a product or a mean, from the tensors ``t``; None for what is neither."""
    kind, _ = kind_and_layer(tensor)
    if kind != "db" and not is_matrix_product(run, tensor):
        return None
    x = [t[name] for name in operands(run, tensor)]
    if kind == "Z":
        W, A_prev, b = x
        return Operands(W, A_prev, b)
    if kind in ("dA", "dAD"):
        W, dZ = x
        return Operands(W.T, dZ)
    m = x[0].shape[1]
    return Operands(x[0], np.ones((m, 1)) if kind == "db" else x[1].T, divisor=m)


def compute(
    run: Run,
    tensor: str,
    t: Mapping[str, np.ndarray],
    form: Format,
    *,
    divisor: int | None = None,
    entries: int | None = None,
) -> Bound:
    """A tensor from the operands in ``t``, and how far a backend may be from it.

    Parameters
    ----------
    run : Run
        Its network and recipe.
    tensor : str
        Any but what a step is given.
    t : dict of float64 arrays
        The operands.
    form : Format
    divisor : int, optional
        Of dW and db, instead of the number of columns of dZ.
    entries : int, optional
        As in ``bounds.product``.
    """
    network, recipe = run.network, run.recipe
    kind, l = kind_and_layer(tensor)
    if kind in UPDATED:
        return _updated(run, tensor, t, form)
    x = [t[name] for name in operands(run, tensor)]
    o = factors(run, tensor, t)
    if o is not None:
        if kind == "db":  # sums alone are not made by tensor cores
            form = form._replace(u_in=0.0, u_sum=form.u)
        return product(o.P, o.R, o.b, form=form, divisor=divisor or o.divisor, entries=entries)
    S = t["S"] if run.weights is not None else None
    match kind:
        case "A" if l == network.L:
            return _bounds_of(HEAD_BOUNDS, network.head).output(*x, form)
        case "A":
            return _bounds_of(ACTIVATION_BOUNDS, network.activations[l - 1]).forward(*x, form)
        case "AD" | "dA":
            A, D = x
            return updates.dropout(A, D, recipe.dropout[l - 1], form)
        case "penalty":
            gram = None
            if run.gram is not None:
                # as the backend was given it
                dtype = "float32" if form.largest < 1e300 else "float64"
                gram = run.gram.astype(dtype).astype(np.float64)
            return updates.penalty(x, recipe.l2, recipe.l1, form, entries or 1, gram)
        case "cost":
            bound = _bounds_of(HEAD_BOUNDS, network.head).cost(x[0], x[1], form, S)
            if not recipe.penalized:
                return bound
            whole = bound.exact + t["penalty"]
            error = 2 * (form.u + U_SHADOW) * np.abs(whole) + bound.det
            return within(whole, error, bound.magnitude + np.abs(t["penalty"]))
        case "dW":  # of the first layer, in sample space
            return updates.placed(x[0], t.get("place"), network.layer_dims, divisor, form)
        case "dZ" if l == network.L:
            return _bounds_of(HEAD_BOUNDS, network.head).gradient(x[0], x[1], form, S)
        case "dZ":
            return _bounds_of(ACTIVATION_BOUNDS, network.activations[l - 1]).backward(*x, form)
        case "rW":
            dW, W = x
            return updates.penalized(dW, W, recipe.l2, recipe.l1, form)
        case "norm":
            return updates.norm(x, form, entries or 1)
        case "gW" | "gb" if recipe.clip_norm is not None:
            g, norm = x
            return updates.clipped(g, norm, recipe.clip_norm, form)
    raise InputError(f"{tensor} is given to a step, not computed by it")


def _updated(run: Run, tensor: str, t: Mapping[str, np.ndarray], form: Format) -> Bound:
    """A parameter or a slot after the step.

    The gradient is uncertain by what fusing may change of it: jitted XLA computes ``S (rate c)``
    with ``c = 1 / m`` where the observed dW is ``S c``. That is three roundings: of ``rate c``, of
    c, and dW's own, which the step never saw; as many more of each that a penalty adds, and eight
    of a clipped one.
    """
    recipe = run.recipe
    slot = tensor[0] if tensor[0] in "vs" else ""
    name = tensor[len(slot) : -1]
    g = t[final_gradient(run, name)]
    unsure = 3 * np.abs(t[f"d{name}"])
    if recipe.penalized and name.startswith("W"):
        unsure = unsure + 3 * (recipe.l2 * np.abs(t[name]) + recipe.l1)
    if recipe.clip_norm is not None:
        unsure = unsure * np.minimum(recipe.clip_norm / t["norm"], 1.0) + 8 * np.abs(g)
    _ = _bounds_of(updates.UPDATE, recipe.optimizer.name)
    made = updates.update(
        recipe.optimizer,
        name[0],
        t[name],
        Rounded.observed(g, form, form.u * unsure),
        {slot: t[f"{slot}{name}"] for slot in recipe.slots},
        {scalar: t[scalar] for scalar in recipe.scalar_names},
        form,
    )
    return made[f"{slot}+"]


def _bounds_of(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise _no_bound(name, table)
    return table[name]


def _no_bound(name: str, known: Mapping[str, object]) -> InputError:
    return InputError(
        f"no bound is derived for {name!r}: it cannot be certified. Known: {', '.join(known)}"
    )
