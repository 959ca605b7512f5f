"""Reproducible arithmetic: the same bits on every library, BLAS, thread count and device."""

from portadnn.arithmetic.namespace import Reproducible, for_one_step, reproducible

# The name of its bits. If a bit of any operation changes, the name must change.
MARK = "reproducible-2"

__all__ = ["MARK", "Reproducible", "for_one_step", "reproducible"]
