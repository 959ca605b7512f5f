"""Numbers with the rounding that they carry: a formula written with them derives its own bound.

Running error analysis: every operation computes in float64 and adds what the backend's arithmetic
may err by, its own rounding and that of its operands. The bounds hold with a fused multiply-add as
well, which rounds less.

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
    """A value, how far the backend's may be from it, and the largest value on the way to it.

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
        """What the backend had itself, exact but for ``error``."""
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
        """0 if it is smaller than ``least``, in reproducible float32; either if it may be so."""
        if not self.form.units:
            return self
        small = np.abs(self.value) < least
        near = np.abs(np.abs(self.value) - least) <= self.error
        error = np.where(near, self.error + least, np.where(small, 0.0, self.error))
        return Rounded(np.where(small, 0.0, self.value), error, self.magnitude, self.form)

    def bound(self) -> Bound:
        """As the bound of a tensor."""
        return within(self.value, self.error * np.ones_like(self.value), self.magnitude)

    def _made(self, value: Any, error: Any, other: Rounded, roundings: int = 1) -> Rounded:
        v = self.form.u + U_SHADOW
        error = error + roundings * v * (np.abs(value) + error) + self.form.tiny
        # nothing can be said of a value that may overflow, nor of one made from it
        sayable = np.isfinite(value) & (np.abs(value) + error <= self.form.largest)
        error = np.where(sayable, error, np.inf)
        magnitude = np.maximum(np.maximum(self.magnitude, other.magnitude), np.abs(value) + error)
        return Rounded(value, error, magnitude, self.form)
