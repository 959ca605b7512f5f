"""The seam for sums over the examples: whatever shares them among processes replaces it.

A namespace with an attribute ``examples`` has its own ``matmul`` and ``sum`` over their axis, and
their ``number`` if they are shared among processes. Any other namespace is used itself.
"""

from __future__ import annotations

from typing import Any

from portadnn.network.namespace import Array


def over_examples(xp: Any) -> Any:
    """``matmul`` and ``sum`` over the axis of the examples, of all processes together."""
    return getattr(xp, "examples", xp)


def number_of(A: Array, xp: Any) -> int:
    """How many examples there are, one for each column of ``A``, on all processes together."""
    seam = over_examples(xp)
    return A.shape[1] if seam is xp else getattr(seam, "number", A.shape[1])
