"""Reproducible arithmetic: the same bits on every library, BLAS, thread count and device."""

from portadnn.arithmetic.namespace import Reproducible, for_one_step, reproducible

# The name of its bits. Whoever changes a bit of any operation gives them another name.
MARK = "reproducible-2"

__all__ = ["MARK", "Reproducible", "for_one_step", "reproducible"]
