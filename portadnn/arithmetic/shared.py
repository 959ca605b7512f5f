"""Sums whose terms several processes share: what an exact sum needs to know of the terms elsewhere.

``portadnn.parallel`` has the ``Terms`` of several processes. Here are those of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Terms(Protocol):
    """The terms of a sum, of which the operands here have all or some."""

    @property
    def count(self) -> int | None:
        """How many there are in all; None if the operands have them all."""
        ...

    def number(self, x: Any, axis: int) -> int:
        """How many terms there are in all; those of ``x`` lie along ``axis``."""
        ...

    def largest(self, *sizes: Any) -> tuple[Any, ...]:
        """The entrywise largest of all processes, of sizes >= 0; NaN if one is NaN."""
        ...

    def summed(self, *sums: Any) -> tuple[Any, ...]:
        """The entrywise sums over all processes, of whole numbers that add up exactly."""
        ...

    def gathered(self, A: Any) -> Any:
        """The columns of all processes, in the order of the terms."""
        ...

    def finished(self, parts: tuple[Any, ...], finish: Callable[..., Any], s: Any) -> Any:
        """``finish(*sums, s=s)`` of the sums of all processes, of which ``parts`` are those here.

        ``s`` is an array that a compiler takes for no constant. What is not finite becomes NaN of
        several processes, which give ``finish`` arrays of NumPy and the number 0.
        """
        ...


class Alone:
    """All terms are here."""

    count: int | None = None

    def number(self, x: Any, axis: int) -> int:
        """The length of the axis."""
        return x.shape[axis]

    def largest(self, *sizes: Any) -> tuple[Any, ...]:
        """They themselves."""
        return sizes

    def summed(self, *sums: Any) -> tuple[Any, ...]:
        """They themselves."""
        return sums

    def gathered(self, A: Any) -> Any:
        """A itself."""
        return A

    def finished(self, parts: tuple[Any, ...], finish: Callable[..., Any], s: Any) -> Any:
        """What ``finish`` makes of the parts."""
        return finish(*parts, s=s)


ALONE = Alone()
