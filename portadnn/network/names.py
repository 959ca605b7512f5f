"""The names of tensors: built and taken apart here, and nowhere else.

A kind and a layer make a name. ``W`` and ``b`` are parameters, ``Z`` and ``A`` go forward, ``D`` is
a dropout mask and ``AD`` is A after it; ``d`` before one of these is a gradient. Before the name of
a parameter, ``r`` is its gradient with that of the penalty, ``g`` the clipped one, ``v`` and ``s``
are what the optimizer keeps. ``+`` at the end is the state after the step.
"""

from __future__ import annotations

import re

from portadnn.errors import InputError

SCALARS = ("learning_rate", "shrinkage", "correction1", "correction2")
WITHOUT_LAYER = ("X", "Y", "S", "place", "penalty", "cost", "norm", *SCALARS)
STATE = ("W", "b", "vW", "vb", "sW", "sb")
UPDATED = tuple(f"{kind}+" for kind in STATE)
OF_LAYER = (
    *STATE, *UPDATED, "Z", "A", "D", "AD", "dZ", "dA", "dAD", "dW", "db", "rW", "gW", "gb",
)  # fmt: skip


def named(kind: str, l: int) -> str:
    """The name of a layer's tensor.

    >>> named("dW", 3), named("W+", 2)
    ('dW3', 'W2+')
    """
    return f"{kind[:-1]}{l}+" if kind[-1] == "+" else f"{kind}{l}"


def kind_and_layer(name: str) -> tuple[str, int]:
    """The kind and layer that ``named`` made a name of; a tensor of no layer has layer 0.

    >>> kind_and_layer("W2+"), kind_and_layer("cost")
    (('W+', 2), ('cost', 0))
    """
    if name in WITHOUT_LAYER:
        return name, 0
    match = re.fullmatch(r"([A-Za-z]+)([1-9][0-9]*)(\+?)", name)
    if match is None or match[1] + match[3] not in OF_LAYER:
        raise InputError(f"unknown tensor {name!r}: expected X, Y, cost, or one such as dW3, W2+")
    return match[1] + match[3], int(match[2])


def layer_of(name: str) -> int:
    """The layer of a tensor, 0 for what belongs to none."""
    return kind_and_layer(name)[1]


def of(prefix: str, parameter: str) -> str:
    """The name of a tensor that belongs to a parameter: ``of("d", "W3")`` is ``dW3``."""
    return prefix + parameter


def after(name: str) -> str:
    """The name of a parameter or a slot after the step."""
    return f"{name}+"


def before(name: str) -> str:
    """The name before the step: the inverse of ``after``; other names stay as they are."""
    return name.removesuffix("+")


def slot_and_parameter(name: str) -> tuple[str, str]:
    """The slot's letter (``""`` for the parameter itself) and the parameter, also after a step.

    >>> slot_and_parameter("vW2+"), slot_and_parameter("b1")
    (('v', 'W2'), ('', 'b1'))
    """
    bare = before(name)
    return bare[: bare[0] in "vs"], bare[bare[0] in "vs" :]


def is_weight(parameter: str) -> bool:
    """Whether a parameter is a W, which is penalized and decays; a b is not."""
    return parameter.startswith("W")


def is_mask(name: str) -> bool:
    """Whether a tensor or an input is the dropout mask of a layer."""
    return name.startswith("D")
