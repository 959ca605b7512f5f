"""A quick look at a step: its products through random signs, all else in full.

For ``S = P R + b`` and a vector r of random signs, ``S r`` must equal ``P (R r) + b sum(r)``: two
matrix-vector products instead of one of matrices. It bounds gross errors, not lower precision: the
error of every entry adds up, and so does its bound.

References
----------
Freivalds, Probabilistic machines can use less running time (1977).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from portadnn.network.names import before
from portadnn.parity.bounds import K_DIV, U_SHADOW, declared_format, gamma, within
from portadnn.parity.certify import Check, certify_step, check_tensor
from portadnn.parity.run import Run, StepRecord
from portadnn.parity.step.operations import factors, is_matrix_product, step_order


def project_step(
    run: Run,
    record: StepRecord,
    previous: Mapping[str, np.ndarray] | None = None,
    *,
    matmul: str | None = None,
) -> list[Check]:
    """What fails of a step: the products of two matrices by projections, all else in full.

    The arguments are those of ``certify_step``.
    """
    form = declared_format(record.dtype, matmul)
    t = record.tensors
    rng = np.random.default_rng(record.step)
    checks = certify_step(run, record, previous, matmul=matmul, products=False)
    with np.errstate(all="ignore"):
        for layer, tensor in step_order(run):
            o = factors(run, tensor, t) if is_matrix_product(run, tensor) else None
            if o is None:
                continue
            P, R, b, divisor = o.P, o.R, o.b, o.divisor
            r = rng.choice((-1.0, 1.0), (R.shape[1], 1))
            b_sum = 0.0 if b is None else b.astype(np.float64) * r.sum()
            expected = (_times(P, _times(R, r)) + b_sum) / divisor
            # |S| r sums to at most |P| (|R| 1): the bound of every entry of S, added up
            M = _times(np.abs(P), _times(np.abs(R), np.ones_like(r)))
            if b is not None:
                M = M + np.abs(b) * R.shape[1]
            n = P.shape[1] + 1 + K_DIV
            relative = gamma(n, form.u_sum) * (1 + form.u_in) ** 2 + form.u_in * (2 + form.u_in)
            shadow = gamma(n + 2 * R.shape[1], U_SHADOW)
            bound = within(expected, (relative + shadow) * M / divisor + n * R.shape[1] * form.tiny)
            observed = _times(t[tensor], r)
            checks.append(check_tensor(record.step, layer, tensor, observed, bound, form))
    failures = [check for check in checks if not check.verdict.passed]
    # the updates come last
    return sorted(failures, key=lambda check: check.tensor != before(check.tensor))


def _times(P: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A matrix times a vector, in float64."""
    return P.astype(np.float64, copy=False) @ v
