"""Products, quotients and roots that a compiler does not rewrite.

XLA compiles a whole step, and on the way it contracts ``a * b + c`` into one rounding (FMA) and
rewrites ``x / 209`` as ``x * (1 / 209)``, ``(a / b) / c`` as ``a / (b * c)``, ``(x * 0.1) * 0.3``
as ``x * 0.03``, ``a / sqrt(b)`` as ``a * rsqrt(b)``: each rounds differently. The compiler makes no
such change across ``where(p == p, p, nan)``, which is ``p`` itself for every p, NaN included. A
test over compiled programs checks that. Code must still not add or subtract two literals in a row,
as in ``(x + 0.1) + 0.3``.

References
----------
Figueroa, When is double rounding innocuous?, ACM SIGNUM Newsletter 30 (1995); IEEE 754-2019,
section 10.4 (literal meaning and value-changing optimizations); OpenXLA,
``hlo/transforms/simplifiers/algebraic_simplifier.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import is_jax_namespace

from portadnn.errors import InputError


@dataclass(frozen=True)
class Guarded:
    """A namespace for compiled code, with guards around the results of three functions.

    Attributes
    ----------
    raw : namespace
        All other functions are its own.
    """

    raw: Any

    def multiply(self, x: Any, y: Any, /) -> Any:
        """``x * y``, rounded once."""
        return self._kept(self.raw.multiply(x, y))

    def divide(self, x: Any, y: Any, /) -> Any:
        """``x / y``, rounded once; ``y`` is an array, and not made from a literal."""
        if isinstance(y, int | float):
            raise InputError(
                f"a division by the literal {y!r} is compiled into a product: multiply by its "
                f"reciprocal"
            )
        if not isinstance(x, int | float):
            # a quotient by a row or column is compiled into a product with its reciprocals, so the
            # divisor gets the shape of x
            y = self.raw.where(x == x, y, float("nan"))
        if y.dtype != self.raw.float32:
            return self._kept(self.raw.divide(x, y))
        # on a GPU, XLA often does not round a quotient of float32 correctly, but it does in
        # float64, and rounding these 53 bits to 24 gives the right float32
        x, y = (self.raw.asarray(v, dtype=y.dtype).astype(self.raw.float64) for v in (x, y))
        return self._kept(self.raw.divide(x, y)).astype(self.raw.float32)

    def sqrt(self, x: Any, /) -> Any:
        """The root, rounded once."""
        return self._kept(self.raw.sqrt(x))

    def _kept(self, p):
        if not self.raw.isdtype(p.dtype, "real floating"):
            return p  # integers are exact
        return self.raw.where(p == p, p, float("nan"))

    def __getattr__(self, name: str) -> Any:
        if name == "raw":  # while it is being copied
            raise AttributeError(name)
        return getattr(self.raw, name)


def guarded(xp: Any) -> Any:
    """``xp`` itself if it is eager, because then every call rounds by itself; else ``Guarded``."""
    return Guarded(xp) if is_jax_namespace(xp) else xp
