"""Reproducible arithmetic: the same bits on every library, BLAS, thread count and device."""

from portadnn.arithmetic.namespace import Reproducible, for_one_step, reproducible

__all__ = ["Reproducible", "for_one_step", "reproducible"]
