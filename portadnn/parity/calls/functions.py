"""Bounds of single functions of the array API standard, for other people's code.

A call is computed again in float64 from the inputs that the backend itself had. A function is in
one of three tables: it rounds nothing (a selection, a comparison, a change of shape), it is
elementwise and rounds its result, or it adds up, see ``reductions.py``. Any other function has no
bound, and is not certified. ``linalg.matmul`` is ``matmul``, and so on.

References
----------
Python array API standard, version 2024.12.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import array_api_compat.numpy as reference
import numpy as np

from portadnn.parity.bounds import K_DIV, U_SHADOW, Bound, Format, Operands, within
from portadnn.parity.bounds.elementwise import K_EXP, K_LOG, K_LOG1P, K_TANH, SECOND_ORDER
from portadnn.parity.calls.reductions import REDUCTIONS, floored_bound, reduction_bound

EXACT = frozenset({
    "abs", "all", "any", "arange", "argmax", "argmin", "asarray", "astype", "bitwise_and",
    "bitwise_invert", "bitwise_or", "bitwise_xor", "broadcast_arrays", "broadcast_to", "ceil",
    "clip", "concat", "copysign", "count_nonzero", "equal", "expand_dims", "eye", "flip",
    "floor", "full", "full_like", "getitem", "greater", "greater_equal", "isfinite", "isinf",
    "isnan", "less", "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor",
    "matrix_transpose", "max", "maximum", "meshgrid", "min", "minimum", "moveaxis",
    "negative", "not_equal", "ones", "ones_like", "permute_dims", "positive", "repeat",
    "reshape", "roll", "round", "sign", "signbit", "sort", "squeeze", "stack", "take",
    "take_along_axis", "tile", "tril", "triu", "trunc", "unstack", "where", "zeros",
    "zeros_like",
})  # fmt: skip

# Elementary functions and their errors in ulp, an ulp being at most 2u relative. The largest that
# were measured over NumPy, PyTorch and XLA on the CPU: sqrt 0.75, expm1 5.42 (XLA float32), log2
# 2.02, log10 2.14, sin and cos 1.41, pow 1.0; CUDA publishes 1, 1, 1, 2, 2 and 4. The others as
# for the activations.
ULPS = {"exp": K_EXP, "log": K_LOG, "log1p": K_LOG1P, "tanh": K_TANH, "sqrt": 2, "expm1": 8,
        "log2": 4, "log10": 4, "sin": 4, "cos": 4, "pow": 8}  # fmt: skip
K_LOG1P_NEGATIVE = 256  # XLA's log1p errs by 128 ulp in float64 near -0.414

# arithmetic and the roundings that it makes
ROUNDINGS = {"add": 1, "subtract": 1, "multiply": 1, "square": 1, "divide": K_DIV,
             "reciprocal": K_DIV}  # fmt: skip

EXACT_OF_INTEGERS = frozenset({"matmul", "vecdot", "tensordot", "sum", "cumulative_sum"})
FLOORED = frozenset({"floor_divide", "remainder"})

# functions of xp.linalg that xp also has, and vector_norm, which only xp.linalg has
ALIASES = {f"linalg.{name}": name for name in ("matmul", "matrix_transpose", "tensordot", "vecdot",
                                               "vector_norm")}  # fmt: skip

KNOWN = (
    EXACT | ULPS.keys() | ROUNDINGS.keys() | FLOORED | ALIASES.keys()
    | (REDUCTIONS - {"vector_norm"})
)  # fmt: skip


def bounds_of_call(
    function: str, arguments: tuple, keywords: dict[str, Any], form: Format, entries: int
) -> tuple[list[Bound], Sequence[Operands]]:
    """A bound for each array that a call returns, and the operands of its matrix products.

    ``function`` is one of ``KNOWN``. Arguments and keywords are as the backend had them, but on the
    host. ``entries`` counts those that the whole recording checks, for the statistical bound.
    """
    floating = any(_is_floating(x) for x in (*arguments, *keywords.values()))
    function, called = ALIASES.get(function, function), function
    if function in REDUCTIONS and (floating or function not in EXACT_OF_INTEGERS):
        shape = np.shape(_compute(called, _read(arguments), _read(keywords)))
        bound, operands = reduction_bound(function, arguments, keywords, form, entries, shape)
        return [bound], operands
    if function in FLOORED and floating:
        x, y = _read(arguments)
        bound = floored_bound(function, x, y, form)
        slack = _unsure(function, arguments, keywords, [bound.exact], form)[0]
        return [bound._replace(det=bound.det + slack, stat=bound.stat + slack)], ()
    if function in ROUNDINGS and floating:
        relative: Any = ROUNDINGS[function] * form.u + K_DIV * U_SHADOW
    elif function in ULPS:
        K: Any = ULPS[function]
        if function == "log1p":
            K = np.where(np.asarray(arguments[0]) < 0, K_LOG1P_NEGATIVE, K)
        relative = 2 * K * form.u + 8 * U_SHADOW
    else:
        # Nothing is rounded here, so the results are equal unless inputs are read differently
        results = _results(_compute(function, _read(arguments), _read(keywords)))
        unsure = _unsure(function, arguments, keywords, results, form)
        return [within(*pair) for pair in zip(results, unsure, strict=True)], ()
    result = np.asarray(_compute(function, _read(arguments), _read(keywords)), np.float64)
    bound = SECOND_ORDER * relative * np.abs(result) + form.tiny
    bound = bound + _unsure(function, arguments, keywords, [result], form)[0]
    return [within(result, bound)], ()


def _unsure(
    function: str, arguments: tuple, keywords: dict, results: list[np.ndarray], form: Format
) -> list[np.ndarray]:
    """How far each result moves if the same inputs are read in another lawful way.

    A Python number may be rounded to the format or not, and a subnormal may be read as 0 (XLA, and
    some GPUs). A comparison or a selection may go either way there.
    """
    slack = [np.zeros_like(result) for result in results]
    for rounded, flushed in ((True, False), (False, True)):
        ways = [_read(x, form, rounded, flushed) for x in (arguments, keywords)]
        for total, result, other in zip(
            slack, results, _results(_compute(function, *ways)), strict=True
        ):
            same = (result == other) | (np.isnan(result) & np.isnan(other))
            moved = np.where(same, 0.0, np.abs(result - other))
            total += np.where(np.isnan(moved), math.inf, moved)
    return slack


def _read(x: Any, form: Format | None = None, rounded: bool = False, flushed: bool = False) -> Any:
    """Arguments as the shadow computes with them: floating arrays in float64."""
    if isinstance(x, tuple | list):
        return type(x)(_read(y, form, rounded, flushed) for y in x)
    if isinstance(x, dict):
        return {key: _read(y, form, rounded, flushed) for key, y in x.items()}
    if isinstance(x, np.dtype):
        return np.dtype(np.float64) if x.kind == "f" else x
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f":
        x = np.asarray(x, np.float64)
        return np.where(np.abs(x) < form.tiny, 0.0, x) if form and flushed else x
    if isinstance(x, float) and form and rounded:
        return float(np.float32(x)) if form.u > U_SHADOW else x
    return x


def _compute(function: str, arguments: Any, keywords: Any) -> Any:
    if function == "getitem":
        return arguments[0][arguments[1]]
    return operator.attrgetter(function)(reference)(*arguments, **keywords)


def _results(result: Any) -> list[np.ndarray]:
    """The arrays of a result, as float64: integers and masks are compared as numbers."""
    many = result if isinstance(result, tuple | list) else [result]
    return [np.asarray(x, np.float64) for x in many]


def _is_floating(x: Any) -> bool:
    return isinstance(x, float) or (hasattr(x, "dtype") and np.dtype(x.dtype).kind == "f")
