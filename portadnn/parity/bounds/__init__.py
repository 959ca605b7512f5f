"""How far an operation may lie from the exact result: derived, not chosen."""

from portadnn.parity.bounds.arithmetic import (
    EPSILON,
    K_DIV,
    MATMUL_MODES,
    U_SHADOW,
    Bound,
    Format,
    Operands,
    confidence,
    declared_format,
    exact,
    gamma,
    product,
    within,
)

__all__ = [
    "EPSILON",
    "K_DIV",
    "MATMUL_MODES",
    "U_SHADOW",
    "Bound",
    "Format",
    "Operands",
    "confidence",
    "declared_format",
    "exact",
    "gamma",
    "product",
    "within",
]
