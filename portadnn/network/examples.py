"""Sums over the examples: code that shares the examples among processes replaces them.

If a namespace has an attribute ``examples``, its ``matmul`` and ``sum`` add over the examples, and
it has their ``number`` and ``gathered`` if processes share them. Any other namespace is used
itself.
"""

from __future__ import annotations

from typing import Any

from portadnn.network.namespace import Array


def over_examples(xp: Any) -> Any:
    """``matmul`` and ``sum`` over the axis of the examples, of all processes together."""
    return getattr(xp, "examples", xp)


def shared_number(xp: Any) -> int | None:
    """The number of all examples, if several processes share them."""
    seam = over_examples(xp)
    return None if seam is xp else getattr(seam, "number", None)


def number_of(A: Array, xp: Any) -> int:
    """How many examples there are, one for each column of ``A``, on all processes together."""
    number = shared_number(xp)
    return A.shape[1] if number is None else number


def all_examples(A: Array, xp: Any) -> Array:
    """The columns of all processes, in the order of the examples."""
    gathered = getattr(over_examples(xp), "gathered", None)
    return A if gathered is None else gathered(A)
