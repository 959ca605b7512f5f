"""Numbers that carry their rounding error: a formula written with them derives its own bound.

This is running error analysis. Every operation computes in float64, and adds up the errors that its
operands and its own rounding may have on the backend. A fused multiply-add rounds less, so the
bounds also hold with it.

References
----------
Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from portadnn.parity.bounds import K_DIV, U_SHADOW, Bound, Format, within

K_SQRT = 4  # XLA takes an approximate root or its reciprocal on a GPU


@dataclass(frozen=True, eq=False)
class Rounded:
    """A value, the error that it may have on the backend, and the largest intermediate value.

    Attributes
    ----------
    value, error, magnitude : arrays that broadcast
    form : Format
    """

    value: Any
    error: Any
    magnitude: Any
    form: Format

    @classmethod
    def observed(cls, x: Any, form: Format, error: Any = 0.0) -> Rounded:
        """A value that the backend itself had, exact up to ``error``."""
        return cls(x, error, np.abs(x), form)

    @classmethod
    def constant(cls, x: float, form: Format) -> Rounded:
        """A Python float, which the backend rounds to its format."""
        return cls(x, form.u * abs(x), abs(x), form)

    def __add__(self, other: Rounded) -> Rounded:
        return self._made(self.value + other.value, self.error + other.error, other)

    def __sub__(self, other: Rounded) -> Rounded:
        return self._made(self.value - other.value, self.error + other.error, other)

    def __mul__(self, other: Rounded) -> Rounded:
        error = (
            np.abs(self.value) * other.error
            + np.abs(other.value) * self.error
            + self.error * other.error
        )
        return self._made(self.value * other.value, error, other)

    def __truediv__(self, other: Rounded) -> Rounded:
        value = self.value / other.value
        least = np.abs(other.value) - other.error
        error = np.where(
            least > 0,
            (self.error + np.abs(value) * other.error) / np.where(least > 0, least, 1.0),
            np.inf,
        )
        return self._made(value, error, other, K_DIV)

    def sqrt(self) -> Rounded:
        """``sqrt(x + e)`` differs from ``sqrt(x)`` by at most ``e / sqrt(x)`` and ``sqrt(e)``."""
        value = np.sqrt(self.value)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.fmin(self.error / value, np.sqrt(self.error))
        return self._made(value, error, self, K_SQRT)

    def settled(self, least: float) -> Rounded:
        """In reproducible float32, 0 if smaller than ``least``; near ``least`` both are allowed."""
        if not self.form.units:
            return self
        small = np.abs(self.value) < least
        near = np.abs(np.abs(self.value) - least) <= self.error
        error = np.where(near, self.error + least, np.where(small, 0.0, self.error))
        return Rounded(np.where(small, 0.0, self.value), error, self.magnitude, self.form)

    def bound(self) -> Bound:
        """The bound of a tensor of this value."""
        return within(self.value, self.error * np.ones_like(self.value), self.magnitude)

    def _made(self, value: Any, error: Any, other: Rounded, roundings: int = 1) -> Rounded:
        v = self.form.u + U_SHADOW
        error = error + roundings * v * (np.abs(value) + error) + self.form.tiny
        # nothing is known about a value that may overflow, nor about one made from it
        sayable = np.isfinite(value) & (np.abs(value) + error <= self.form.largest)
        error = np.where(sayable, error, np.inf)
        magnitude = np.maximum(np.maximum(self.magnitude, other.magnitude), np.abs(value) + error)
        return Rounded(value, error, magnitude, self.form)
