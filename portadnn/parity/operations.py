"""The operations of a step by the tensors they make, each computed in float64 from its operands.

One home for what a step is: its order, what each tensor is made from, and how far a backend may be
from it. ``certify`` holds a record against them, ``projection`` projects their products, ``causes``
asks what a tensor would have been from other operands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.parity import elementwise
from portadnn.parity.bounds import Bound, Format, product
from portadnn.parity.run import Run

_NAME = re.compile(r"(dZ|dW|db|dA|Z|A|W|b)(\d+)(\+?)")

PRODUCTS = ("Z", "dW", "db", "dA")


def kind_and_layer(tensor: str) -> tuple[str, int]:
    """``"dW3"`` is of the kind ``"dW"`` and layer 3; ``"W2+"`` of ``"W+"``; ``"cost"`` of layer 0.

    Examples
    --------
    >>> kind_and_layer("W2+")
    ('W+', 2)
    """
    if tensor in ("X", "Y", "learning_rate", "cost"):
        return tensor, 0
    match = _NAME.fullmatch(tensor)
    if match is None:
        raise InputError(f"unknown tensor {tensor!r}: expected X, Y, cost, or one such as dW3, W2+")
    return match[1] + match[3], int(match[2])


def operands(tensor: str, L: int) -> tuple[str, ...]:
    """The names of what a tensor is computed from; none for what a step is given.

    Examples
    --------
    >>> operands("dA1", L=2)
    ('W2', 'dZ2')
    """
    kind, l = kind_and_layer(tensor)
    return {
        "Z": (f"W{l}", f"A{l - 1}" if l > 1 else "X", f"b{l}"),
        "A": (f"Z{l}",),
        "cost": (f"Z{L}", "Y"),
        "dZ": (f"A{l}", "Y") if l == L else (f"dA{l}", f"Z{l}", f"A{l}"),
        "dW": (f"dZ{l}", f"A{l - 1}" if l > 1 else "X"),
        "db": (f"dZ{l}",),
        "dA": (f"W{l + 1}", f"dZ{l + 1}"),
        "W+": (f"W{l}", f"dW{l}"),
        "b+": (f"b{l}", f"db{l}"),
    }.get(kind, ())


@dataclass(frozen=True, eq=False)
class Operands:
    """``(P R + b) / divisor``, to be summed again in other orders and to have its bits counted."""

    P: np.ndarray
    R: np.ndarray
    b: np.ndarray | None = None
    divisor: int = 1


def step_order(network: Network) -> Iterator[tuple[int, str]]:
    """Layer and name of every tensor that a step makes, in the order in which it makes them."""
    L = network.L
    for l in range(1, L + 1):
        yield l, f"Z{l}"
        yield l, f"A{l}"
    yield L, "cost"
    for l in range(L, 0, -1):
        yield l, f"dZ{l}"
        yield l, f"dW{l}"
        yield l, f"db{l}"
        if l > 1:
            yield l, f"dA{l - 1}"
    for name in network.shapes:
        yield int(name[1:]), f"{name}+"


def is_matrix_product(tensor: str) -> bool:
    """Whether the tensor is a product of two matrices; db, a mean, is not."""
    return kind_and_layer(tensor)[0] in ("Z", "dW", "dA")


def factors(tensor: str, t: Mapping[str, np.ndarray], L: int) -> Operands | None:
    """The operands of a product or a mean, from the tensors ``t``; None for what is neither."""
    kind, _ = kind_and_layer(tensor)
    if kind not in PRODUCTS:
        return None
    x = [t[name] for name in operands(tensor, L)]
    if kind == "Z":
        W, A_prev, b = x
        return Operands(W, A_prev, b)
    if kind == "dA":
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
    rate: float | None = None,
    divisor: int | None = None,
    entries: int | None = None,
) -> Bound:
    """A tensor from the operands in ``t``, and how far a backend may be from it.

    Parameters
    ----------
    run : Run
        Its network, update rule and rate.
    tensor : str
        Any but what a step is given.
    t : dict of float64 arrays
        The operands.
    form : Format
    rate : float, optional
        Instead of the declared learning rate.
    divisor : int, optional
        Of dW and db, instead of the number of columns of dZ.
    entries : int, optional
        As in ``bounds.product``.
    """
    network = run.network
    kind, l = kind_and_layer(tensor)
    x = [t[name] for name in operands(tensor, network.L)]
    activation = "" if l == 0 else (*network.activations, network.head)[l - 1]
    o = factors(tensor, t, network.L)
    if o is not None:
        if kind == "db":  # sums alone are not made by tensor cores
            form = form._replace(u_in=0.0, u_sum=form.u)
        return product(o.P, o.R, o.b, form=form, divisor=divisor or o.divisor, entries=entries)
    if kind == "A":
        return _bound_of("FORWARD", activation)(*x, form)
    if kind == "cost":
        return _bound_of("COST", network.head)(*x, form)
    if kind == "dZ":
        if l == network.L:
            A, Y = x
            return elementwise.output_gradient(A, Y, form)
        return _bound_of("BACKWARD", activation)(*x, form)
    if kind in ("W+", "b+"):
        rate = run.learning_rate if rate is None else rate
        return _bound_of("UPDATE", run.update)(*x, rate, form)
    raise InputError(f"{tensor} is given to a step, not computed by it")


def _bound_of(table: str, name: str):
    bounds = getattr(elementwise, table)
    if name not in bounds:
        raise InputError(
            f"no bound is derived for {name!r}: it cannot be certified. Known: {', '.join(bounds)}"
        )
    return bounds[name]
