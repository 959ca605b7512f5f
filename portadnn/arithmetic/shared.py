"""Sums over several processes: what an exact sum must know about the terms of the others.

``portadnn.parallel`` has the ``Terms`` of several processes. ``Alone`` is for one process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Terms(Protocol):
    """The terms of a sum. The operands of this process have all or some of them."""

    @property
    def count(self) -> int | None:
        """The number of terms of all processes; None if this process has them all."""
        ...

    def number(self, x: Any, axis: int) -> int:
        """The number of terms of all processes; those of ``x`` lie along ``axis``."""
        ...

    def largest(self, *sizes: Any) -> tuple[Any, ...]:
        """The entrywise maximum over all processes, of sizes >= 0; NaN if one is NaN."""
        ...

    def summed(self, *sums: Any) -> tuple[Any, ...]:
        """The entrywise sums over all processes, of whole numbers that add up exactly."""
        ...

    def gathered(self, A: Any) -> Any:
        """The columns of all processes, in the order of the terms."""
        ...

    def finished(self, parts: tuple[Any, ...], finish: Callable[..., Any], s: Any) -> Any:
        """``finish(*sums, s=s)``, in which ``sums`` are ``parts`` added over all processes.

        ``s`` is an array that a compiler does not treat as a constant. If there are several
        processes, ``finish`` gets arrays of NumPy and s = 0, and NaN for values not finite.
        """
        ...


class Alone:
    """One process that has all terms."""

    count: int | None = None

    def number(self, x: Any, axis: int) -> int:
        """The length of the axis."""
        return x.shape[axis]

    def largest(self, *sizes: Any) -> tuple[Any, ...]:
        """The sizes themselves."""
        return sizes

    def summed(self, *sums: Any) -> tuple[Any, ...]:
        """The sums themselves."""
        return sums

    def gathered(self, A: Any) -> Any:
        """A itself."""
        return A

    def finished(self, parts: tuple[Any, ...], finish: Callable[..., Any], s: Any) -> Any:
        """The parts are the sums."""
        return finish(*parts, s=s)


ALONE = Alone()
