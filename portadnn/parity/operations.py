"""The operation behind a tensor of a step, computed in float64 from any tensors that are given.

``certify`` checks the operations of a whole step in order; this computes a single one, so that it
can be asked what the tensor would have been from other operands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from portadnn.errors import InputError
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
    if kind == "Z":
        W, A_prev, b = x
        return product(W, A_prev, b, form=form, entries=entries)
    if kind == "dA":
        W, dZ = x
        return product(W.T, dZ, form=form, entries=entries)
    if kind == "dW":
        dZ, A_prev = x
        m = divisor or dZ.shape[1]
        return product(dZ, A_prev.T, form=form, divisor=m, entries=entries)
    if kind == "db":
        m = x[0].shape[1]
        # sums alone are not made by tensor cores
        plain = form._replace(u_in=0.0, u_sum=form.u)
        ones = np.ones((m, 1))
        return product(x[0], ones, form=plain, divisor=divisor or m, entries=entries)
    if kind == "A":
        return elementwise.FORWARD[activation](*x, form)
    if kind == "cost":
        return elementwise.COST[network.head](*x, form)
    if kind == "dZ":
        if l == network.L:
            A, Y = x
            return elementwise.output_gradient(A, Y, form)
        return elementwise.BACKWARD[activation](*x, form)
    if kind in ("W+", "b+"):
        rate = run.learning_rate if rate is None else rate
        return elementwise.UPDATE[run.update](*x, rate, form)
    raise InputError(f"{tensor} is given to a step, not computed by it")
