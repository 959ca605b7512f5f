"""The operations of a step by the tensors they make, each computed in float64 from its operands.

This file alone says what a step is: its order, the operands of each tensor, and how far a backend
may be from it. ``certify`` compares a record with it, ``causes`` computes from other operands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from portadnn.errors import InputError
from portadnn.network.names import (
    UPDATED,
    after,
    is_weight,
    kind_and_layer,
    layer_of,
    named,
    of,
    slot_and_parameter,
)
from portadnn.network.optimizers import LEAST_GRADIENT
from portadnn.parity.bounds import U_SHADOW, Bound, Format, Operands, product, updates
from portadnn.parity.bounds.elementwise import ACTIVATION_BOUNDS
from portadnn.parity.bounds.heads import HEAD_BOUNDS, cost
from portadnn.parity.bounds.rounded import Rounded
from portadnn.parity.run import Run


def operands(run: Run, tensor: str) -> tuple[str, ...]:
    """The names of the operands of a tensor; none if the tensor is given to the step.

    ``dA1``, for example, is computed from ``W2`` and ``dZ2``.
    """
    kind, l = kind_and_layer(tensor)
    network, recipe = run.network, run.recipe
    L, dropped = network.L, recipe.dropped_layers()
    A_prev = "X" if l <= 1 else named("AD", l - 1) if l - 1 in dropped else named("A", l - 1)
    S = () if run.weights is None else ("S",)
    place = () if run.batch_size is None else ("place",)
    if kind in UPDATED:
        _, name = slot_and_parameter(tensor)
        # dW too: a backend may fuse it with the gradient that the optimizer takes
        gradients = dict.fromkeys((final_gradient(run, name), of("d", name)))
        slots = (of(slot, name) for slot in recipe.slots)
        norm = () if recipe.clip_norm is None else ("norm",)
        return (name, *gradients, *norm, *slots, *recipe.scalar_names)
    if kind == "norm":
        return tuple(_penalized_gradient(run, name) for name in network.shapes)
    Z, A, dZ, dA = (named(kind, l) for kind in ("Z", "A", "dZ", "dA"))
    passed_back = named("W", l + 1), named("dZ", l + 1)
    return {
        "Z": (named("W", l), A_prev, named("b", l)),
        "A": (Z,),
        "AD": (A, named("D", l)),
        "penalty": tuple(named("W", i) for i in range(1, L + 1)),
        "cost": (named("Z", L), "Y", *S, *(("penalty",) if recipe.penalized else ())),
        "dZ": (A, "Y", *S) if l == L else (dA, Z, A),
        "dW": (dZ, *place) if l == 1 and run.sample else (dZ, A_prev),
        "db": (dZ,),
        "dAD": passed_back,
        "dA": (named("dAD", l), named("D", l)) if l in dropped else passed_back,
        "rW": (named("dW", l), named("W", l)),
        "gW": (_penalized_gradient(run, named("W", l)), "norm"),
        "gb": (_penalized_gradient(run, named("b", l)), "norm"),
    }.get(kind, ())


def final_gradient(run: Run, name: str) -> str:
    """The gradient of a parameter that the optimizer is given."""
    return _penalized_gradient(run, name) if run.recipe.clip_norm is None else of("g", name)


def _penalized_gradient(run: Run, name: str) -> str:
    return of("r", name) if run.recipe.penalized and is_weight(name) else of("d", name)


def step_order(run: Run) -> Iterator[tuple[int, str]]:
    """Layer and name of every tensor that a step makes, in the order in which it makes them."""
    network, recipe = run.network, run.recipe
    L, dropped = network.L, recipe.dropped_layers()
    for l in range(1, L + 1):
        yield l, named("Z", l)
        yield l, named("A", l)
        if l in dropped:
            yield l, named("AD", l)
    if recipe.penalized:
        yield L, "penalty"
    yield L, "cost"
    for l in range(L, 0, -1):
        yield l, named("dZ", l)
        yield l, named("dW", l)
        yield l, named("db", l)
        if l > 1:
            if l - 1 in dropped:
                yield l, named("dAD", l - 1)
            yield l, named("dA", l - 1)
    if recipe.penalized:
        yield from ((l, named("rW", l)) for l in range(1, L + 1))
    if recipe.clip_norm is not None:
        yield 1, "norm"
        yield from ((layer_of(name), of("g", name)) for name in network.shapes)
    for name in network.shapes:
        for slot in recipe.slots:
            yield layer_of(name), after(of(slot, name))
        yield layer_of(name), after(name)


def is_matrix_product(run: Run, tensor: str) -> bool:
    """Whether the tensor is a product of two matrices; db, a mean, is not."""
    kind, l = kind_and_layer(tensor)
    if kind == "dW":
        return l > 1 or not run.sample
    return kind in ("Z", "dAD") or (kind == "dA" and l not in run.recipe.dropped_layers())


def factors(run: Run, tensor: str, t: Mapping[str, np.ndarray]) -> Operands | None:
    """The operands of a product or a mean, from the tensors ``t``; None if it is neither."""
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

    ``divisor`` is that of dW and db, instead of the number of columns of dZ; ``entries`` as in
    ``bounds.product``.
    """
    network, recipe = run.network, run.recipe
    kind, l = kind_and_layer(tensor)
    if kind in UPDATED:
        return updated(run, tensor, t, form)
    x = [t[name] for name in operands(run, tensor)]
    o = factors(run, tensor, t)
    if o is not None:
        if kind == "db":  # tensor cores do not make plain sums
            form = form._replace(u_in=0.0, u_sum=form.u, units=False)
        divisor, finer = divisor or o.divisor, kind == "dW"
        return product(o.P, o.R, o.b, form=form, divisor=divisor, entries=entries, finer=finer)
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
            _bounds_of(HEAD_BOUNDS, network.head)
            bound = cost(network.head, x[0], x[1], form, S, entries or 1)
            if not recipe.penalized:
                return bound
            whole = bound.exact + t["penalty"]
            error = 2 * (form.u + U_SHADOW) * np.abs(whole)
            magnitude = bound.magnitude + np.abs(t["penalty"])
            return Bound(whole, error + bound.det, error + bound.stat, magnitude)
        case "dW":  # the first layer's, in sample space
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


def updated(
    run: Run,
    tensor: str,
    t: Mapping[str, np.ndarray],
    form: Format,
    moved: Mapping[str, np.ndarray] | None = None,
) -> Bound:
    """A parameter or a slot after the step; ``moved`` is a further error of its gradient.

    The gradient is uncertain because a compiler may fuse it. Jitted XLA computes ``S (rate c)``
    with ``c = 1 / m``, but the observed dW is ``S c``. That is three roundings: of ``rate c``, of
    c, and dW's own, which the step never saw. A penalty adds three for each of its terms, clipping
    eight. A dW that was flushed to 0 may not be 0 in the fused step: ``tiny`` more.
    """
    recipe = run.recipe
    slot, name = slot_and_parameter(tensor)
    gradient = final_gradient(run, name)
    g = t[gradient]
    if form.units and not recipe.optimizer.linear:
        g = np.where(np.abs(g) < LEAST_GRADIENT, 0.0, g)
    unsure = 3 * np.abs(t[of("d", name)])
    if recipe.penalized and is_weight(name):
        unsure = unsure + 3 * (recipe.l2 * np.abs(t[name]) + recipe.l1)
    if recipe.clip_norm is not None:
        unsure = unsure * np.minimum(recipe.clip_norm / t["norm"], 1.0) + 8 * np.abs(g)
    _bounds_of(updates.UPDATE, recipe.optimizer.name)
    made = updates.update(
        recipe.optimizer,
        is_weight(name),
        t[name],
        Rounded.observed(g, form, form.u * unsure + form.tiny + (moved or {}).get(gradient, 0.0)),
        {slot: t[of(slot, name)] for slot in recipe.slots},
        {scalar: t[scalar] for scalar in recipe.scalar_names},
        form,
    )
    return made[after(slot)]


def _bounds_of(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise InputError(
            f"no bound is derived for {name!r}: it cannot be certified. Known: {', '.join(table)}"
        )
    return table[name]
