"""Why an operation failed: the known faults, tried on the tensors themselves.

Every hypothesis computes the failed tensor again, as its fault would have made it. If the observed
tensor is within the bound of the result, the hypothesis explains it. The cause is the first one of
the table that explains it with about the least error. If none explains it, no cause is named.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from portadnn.network.names import SCALARS, STATE, UPDATED
from portadnn.parity.causes import operations as op
from portadnn.parity.causes import precision, updates
from portadnn.parity.causes.case import Case, Cause, Found
from portadnn.parity.certify import Check
from portadnn.parity.run import Run, StepRecord

__all__ = ["HYPOTHESES", "Cause", "name_cause"]

UNLIKELY = 30  # so many right entries, although both orders of float32 sums make them wrong

# by kind of tensor, the simplest first
_ELEMENTWISE = (precision.narrow_result, op.sign_flip, op.stale, op.permuted)
_GIVEN = (
    precision.wide_input, precision.narrow_result, op.stale, op.sign_flip, op.transposed,
    op.shifted, op.permuted,
)  # fmt: skip
_PRODUCT = (precision.narrow_inputs, *_ELEMENTWISE, op.transposed)
_MEAN = (*_PRODUCT, op.scaled, op.first_column, op.dropped_sample)
_COST = (
    updates.unweighted, precision.narrow_result, op.sign_flip, op.stale, op.scaled,
    op.dropped_sample,
)  # fmt: skip
_UPDATE = (
    op.not_updated, *_ELEMENTWISE, op.first_column, precision.other_rate, op.transposed,
    *updates.STEP,
)  # fmt: skip
HYPOTHESES: dict[str, tuple[Callable[[Case], Found], ...]] = {
    **dict.fromkeys(("X", "Y", "S"), (*_GIVEN, op.other_step)),
    **dict.fromkeys(SCALARS, (precision.narrow_result, op.sign_flip, op.other_step)),
    "D": (op.other_step, op.permuted),
    "place": (op.other_step,),
    **dict.fromkeys(STATE, _GIVEN),
    "Z": (*_PRODUCT, op.bias_dropped),
    "A": (*_ELEMENTWISE, op.other_slope),
    "AD": (*updates.DROPOUT, *_ELEMENTWISE),
    "penalty": (precision.narrow_result, updates.other_penalty),
    "cost": _COST,
    "dZ": (op.wrong_mask, updates.unweighted, *_ELEMENTWISE, op.scaled, op.other_slope),
    "dW": _MEAN,
    "db": _MEAN,
    "dAD": (*_PRODUCT, op.scaled, op.updated_early),
    "dA": (*updates.DROPOUT, *_PRODUCT, op.scaled, op.updated_early),
    "rW": (updates.other_penalty, *_ELEMENTWISE),
    "norm": (precision.narrow_result, updates.not_clipped, updates.penalized_bias),
    **dict.fromkeys(("gW", "gb"), (updates.not_clipped, *_ELEMENTWISE)),
    **dict.fromkeys(UPDATED, (*updates.SLOT, *_ELEMENTWISE)),
    **dict.fromkeys(("W+", "b+"), _UPDATE),
}


def name_cause(
    run: Run,
    record: StepRecord,
    check: Check,
    previous: StepRecord | None = None,
    *,
    matmul: str | None = None,
) -> Cause | None:
    """The cause of a failed operation, if it is a known fault.

    The check is one of ``record`` that failed. If it passed, only one fault is tried: a product in
    float64 although float32 was declared, which makes errors smaller. Without ``previous``, the
    step before, stale tensors are not recognised.
    """
    form = record.form(matmul)
    case = Case(run, record, check.tensor, previous, form)
    with np.errstate(all="ignore"):
        if check.verdict.passed or record.tensors[check.tensor].dtype != record.dtype:
            return _computed_in_float64(case)
        known = case.operands or case.given is not None
        if not known or case.expected.exact.shape != case.observed.shape:
            return None
        found = [
            (case.rms_error(bound.exact), Cause(*cause))
            for hypothesis in HYPOTHESES[case.kind]
            for bound, *cause in hypothesis(case)
            if case.explained_by(bound)
        ]
    least = min((error for error, _ in found), default=0.0)
    return next((cause for error, cause in found if error <= 2 * least), None)


def _computed_in_float64(case: Case) -> Cause | None:
    """The cause, if a product of float32 is rounded as only a sum in float64 would be."""
    dtype = np.dtype(case.record.dtype)
    if dtype == np.float64:
        return None
    if case.record.tensors[case.tensor].dtype == np.float64:
        return Cause(*precision.silent_float64(case))
    if case.kind not in ("Z", "dA"):
        return None
    names = case.operands
    P, R = (case.record.tensors[name] for name in names[:2])
    P = P.T if case.kind == "dA" else P
    b = case.record.tensors[names[2]] if case.kind == "Z" else dtype.type(0)
    right = case.expected.exact.astype(dtype)
    if not np.array_equal(right, case.record.tensors[case.tensor]):
        return None
    # the entries that float32 sums of these numbers, forward and backward, both make wrong
    forward, backward = (
        functools.reduce(lambda S, k: S + P[:, k : k + 1] * R[k : k + 1], order, dtype.type(0))
        for order in (range(P.shape[1]), range(P.shape[1])[::-1])
    )
    shown = (forward + b != right) & (backward + b != right)
    return Cause(*precision.silent_float64(case)) if np.sum(shown) >= UNLIKELY else None
