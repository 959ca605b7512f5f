"""Reproducible arithmetic: the same bits on every library, BLAS, thread count and device."""

from portadnn.arithmetic.namespace import Reproducible, reproducible

__all__ = ["Reproducible", "reproducible"]
