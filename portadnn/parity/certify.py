"""Check every operation of a recorded step against the bound that its own inputs allow.

Each operation is checked on the inputs that the backend itself had, so an error shows at the
tensor that made it and nowhere after: the first one that fails is the fault.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from portadnn.errors import InputError
from portadnn.network.names import kind_and_layer, layer_of
from portadnn.parity.bounds import Bound, Format, Operands, exact
from portadnn.parity.run import Run, StepRecord, dtype_of
from portadnn.parity.step.operations import (
    compute,
    factors,
    step_order,
)
from portadnn.parity.step.spread import spread

VACUOUS_ABOVE = 1e30
MOST_REPLAYED = 256  # entries above their statistical bound that are summed again in other orders


class Verdict(enum.Enum):
    """What a check found, from best to worst."""

    EXACT = "EXACT"
    WITHIN_BOUND = "WITHIN BOUND"
    VACUOUS = "VACUOUS"
    SUSPECT = "SUSPECT"
    NON_FINITE = "NON-FINITE"
    DIVERGED = "DIVERGED"

    @property
    def passed(self) -> bool:
        """Whether the operation computed what it should, as far as can be said."""
        return self in (Verdict.EXACT, Verdict.WITHIN_BOUND, Verdict.VACUOUS)


@dataclass(frozen=True)
class Check:
    """One operation of one step, at its worst entry.

    Attributes
    ----------
    ratio : float
        The largest error divided by its (statistical) bound; at most 1 if the check passed, unless
        another order of summation has about the same error.
    flagged : int
        Entries above the bound, of ``entries``.
    bits : float or None
        Effective bits of a matrix product's inputs, ``-log2(rms error / rms sqrt(2 Q))``: about 23
        for float32, 12.4 for TF32, 9 for bfloat16; more if little was lost.
    """

    step: int
    layer: int
    tensor: str
    verdict: Verdict
    ratio: float
    index: tuple[int, ...]
    observed: float
    exact: float
    bound: float
    flagged: int
    entries: int
    bits: float | None = None

    def __str__(self) -> str:
        where = f"step {self.step}, layer {self.layer}, {self.tensor}"
        return f"{self.verdict.value} {where}{self.findings}"

    @property
    def findings(self) -> str:
        """The worst entry, its values and their bound: what follows the name of the tensor."""
        index = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return (
            f"{index}: observed {self.observed!r}, exact {self.exact!r}, "
            f"|error| {abs(self.observed - self.exact):.3g}, "
            f"bound {self.bound:.3g}, ratio {self.ratio:.3g}; {self.flagged:,} of "
            f"{self.entries:,} entries"
        )


def certify_step(
    run: Run,
    record: StepRecord,
    previous: Mapping[str, np.ndarray] | None = None,
    *,
    matmul: str | None = None,
    bounds: Mapping[str, Bound] | None = None,
    factor: float = 1.0,
    bits: bool = True,
) -> list[Check]:
    """Check every tensor of a step, in the order in which it was computed.

    Parameters
    ----------
    run : Run
        The declared run, with the data and the rate that the step should have had.
    record : StepRecord
    previous : dict of arrays, optional
        The parameters and slots that the step must start from, bit for bit: those that the step
        before ended with. At step 0 they are the declared ones.
    matmul : {"float32", "tf32", "bfloat16"}, optional
        The mode that the backend declares for products of float32.
    bounds : dict of Bound, optional
        From ``step_bounds``, if they are known. Only tensors that have one are checked.
    factor : float
        The factor of a plateau schedule on the rate.
    bits : bool
        Whether the effective bits of products are counted.

    Raises
    ------
    InputError
        If an operation of the network has no bound, or a tensor has another shape.
    """
    form = record.form(matmul)
    given = run.declared(record.step, record.dtype, factor)
    if record.step == 0 and previous is None:
        previous = {name: p.astype(record.dtype) for name, p in run.initial_state().items()}
    given |= previous or {}
    t = record.wide
    if bounds is None:
        bounds = step_bounds(run, record, matmul=matmul)
    checks = []
    with np.errstate(all="ignore"):  # infinities are judged: no warnings
        for name, x in given.items():
            bound = exact(np.asarray(x, np.float64))
            checks.append(_check(record, layer_of(name), name, bound, None, form, bits=True))
        for name, found in record.data.items():  # no step may have changed any of it
            bound = exact(getattr(run.data, name).astype(record.dtype).astype(np.float64))
            checks.append(check_tensor(record.step, 0, name, found, bound, form, bits=True))
        for layer, tensor in step_order(run):
            if tensor in bounds:
                operands = factors(run, tensor, t)
                bound = bounds[tensor]
                checks.append(_check(record, layer, tensor, bound, operands, form, counted=bits))
    return checks


def step_bounds(
    run: Run,
    record: StepRecord,
    *,
    matmul: str | None = None,
    kinds: Container[str] | None = None,
) -> dict[str, Bound]:
    """The bounds of all tensors that a step made, each from its own operands.

    ``kinds`` are the kinds of tensors to bound, if the record does not have all of them.
    """
    form = record.form(matmul)
    t = record.wide
    entries = run.entries(record)
    with np.errstate(all="ignore"):  # infinities are judged: no warnings
        return {
            tensor: compute(run, tensor, t, form, entries=entries)
            for _, tensor in step_order(run)
            if kinds is None or kind_and_layer(tensor)[0] in kinds
        }


def certify_program(
    run: Run,
    record: StepRecord,
    made: Mapping[str, np.ndarray],
    bounds: Mapping[str, Bound],
    *,
    fuses: bool,
    matmul: str | None = None,
) -> list[Check]:
    """Check the step of the program that trains, from the state of a watched step.

    Parameters
    ----------
    made : dict of arrays
        The cost and the state after the step, as ``training_step`` names them.
    bounds : dict of Bound
        From ``step_bounds``.
    fuses : bool
        Whether the backend compiles the two programs, so that they may differ by rounding: by no
        more than ``spread`` allows. Otherwise every bit is the same.
    """
    form = record.form(matmul)
    t = record.wide
    allowed = spread(run, t, bounds, form) if fuses else {name: exact(t[name]) for name in made}
    return [
        check_tensor(record.step, layer_of(name), name, x, allowed[name], form, bits=not fuses)
        for name, x in made.items()
    ]


def first_failure(checks: list[Check]) -> Check | None:
    """The first operation that did not compute what it should, or None."""
    return next((check for check in checks if not check.verdict.passed), None)


def _check(
    record: StepRecord,
    layer: int,
    tensor: str,
    bound: Bound,
    operands: Operands | None,
    form: Format,
    *,
    bits: bool = False,
    counted: bool = False,
) -> Check:
    found = record.wide[tensor]
    check = check_tensor(record.step, layer, tensor, found, bound, form, bits=bits)
    if record.tensors[tensor].dtype != dtype_of(tensor, record.dtype):  # for example silent float64
        return replace(check, verdict=Verdict.DIVERGED, ratio=math.inf, flagged=check.entries)
    if operands is None or not (counted or check.verdict is Verdict.SUSPECT):
        return check
    return check_orders(check, found, bound, [operands], record.dtype)


def check_orders(
    check: Check, found: np.ndarray, bound: Bound, operands: Sequence[Operands], dtype: str
) -> Check:
    """The check of a product, or of a stack of them, with its effective bits.

    An entry above only the statistical bound passes if another order of summation has about the
    same error, or if its terms repeat often enough.
    """
    error = np.abs(found - bound.exact).reshape(len(operands), operands[0].P.shape[0], -1)
    ratio = error / bound.stat.reshape(error.shape)
    check = replace(check, bits=_effective_bits(error, operands))
    if check.verdict is Verdict.SUSPECT and all(
        _lawful(*one, dtype) for one in zip(error, ratio, operands, strict=True)
    ):
        check = replace(check, verdict=Verdict.WITHIN_BOUND)
    return check


def check_tensor(
    step: int,
    layer: int,
    tensor: str,
    found: np.ndarray,
    bound: Bound,
    form: Format,
    *,
    bits: bool = False,
) -> Check:
    """Check one tensor against its bound; with ``bits`` the sign of a zero must be right, too.

    A sum of zeros may have either sign, so without ``bits`` the sign only decides about EXACT. All
    NaN count as equal, because no standard says which bits of a NaN an operation returns.
    """
    observed = np.asarray(found, dtype=np.float64)
    if observed.shape != bound.exact.shape:
        raise InputError(
            f"{tensor} of step {step} has shape {observed.shape}: expected {bound.exact.shape}"
        )
    if _same_bits(observed, bound):
        at = (0,) * observed.ndim
        return Check(
            step, layer, tensor, Verdict.EXACT, 0.0, at, float(observed[at]), float(observed[at]),
            float(bound.stat[at]), 0, observed.size,
        )  # fmt: skip
    with np.errstate(all="ignore"):
        same = (observed == bound.exact) | (np.isnan(observed) & np.isnan(bound.exact))
        error = np.where(same, 0.0, np.abs(observed - bound.exact))
        ratio = np.where(error == 0, 0.0, error / bound.stat)
        ratio = np.where(np.isnan(ratio), math.inf, ratio)
        finite = np.isfinite(observed) | same
        beyond = error > bound.det
        if not np.isfinite(error).all():
            lawful = _overflows(observed, bound, form) & ~same
            ratio, beyond = np.where(lawful, 0.0, ratio), beyond & ~lawful
        signs = same & (np.signbit(observed) != np.signbit(bound.exact)) & ~np.isnan(observed)
        if bits:
            ratio = np.where(signs, math.inf, ratio)
            beyond |= signs
    worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    flagged = int(np.sum(ratio > 1))
    if flagged and not finite[worst]:
        verdict = Verdict.NON_FINITE
    elif flagged:
        # DIVERGED if no order of summation explains one of the entries
        verdict = Verdict.DIVERGED if np.any(beyond) else Verdict.SUSPECT
    elif not np.all(bound.det < VACUOUS_ABOVE):
        verdict = Verdict.VACUOUS
    else:
        same_bits = not np.any(error > 0) and not np.any(signs)
        verdict = Verdict.EXACT if same_bits else Verdict.WITHIN_BOUND
    return Check(
        step, layer, tensor, verdict, float(ratio[worst]), tuple(int(i) for i in worst),
        float(observed[worst]), float(bound.exact[worst]), float(bound.stat[worst]),
        flagged, observed.size,
    )  # fmt: skip


def _overflows(observed: np.ndarray, bound: Bound, form: Format) -> np.ndarray:
    """Whether an intermediate result may exceed the format's largest number: lawful overflow.

    The shadow can overflow only if the format is its own.
    """
    own = form.largest == np.finfo(np.float64).max
    known = np.isfinite(bound.exact)
    lawful = ~(np.isfinite(observed) & known) & (~np.isfinite(observed) | own)
    lawful &= np.where(known, bound.magnitude + bound.det, bound.magnitude) > form.largest
    # if the exact result is infinite or NaN, so are inputs: the result must be of the same kind,
    # except for a sum whose finite terms overflow to the other side
    return lawful & (known | own | (np.isnan(observed) & np.isfinite(bound.magnitude)))


def _same_bits(observed: np.ndarray, bound: Bound) -> bool:
    """Whether all numbers are finite and equal to the bit, and no bound is vacuous."""
    ours, theirs = (np.ascontiguousarray(x).view(np.int64) for x in (observed, bound.exact))
    if observed.size == 0 or not np.array_equal(ours, theirs):
        return False
    return bool(np.isfinite(observed).all() and np.all(bound.det < VACUOUS_ABOVE))


def _effective_bits(error: np.ndarray, operands: Sequence[Operands]) -> float:
    Q = [np.square(one.P) @ np.square(one.R) / one.divisor**2 for one in operands]
    size = math.sqrt(float(np.mean(np.multiply(2, Q))))
    rms = math.sqrt(float(np.mean(np.square(error))))
    if not (math.isfinite(rms) and math.isfinite(size)) or size == 0:
        return math.nan
    return math.inf if rms == 0 else -math.log2(rms / size)


def _lawful(error: np.ndarray, ratio: np.ndarray, operands: Operands, dtype_name: str) -> bool:
    """Whether, for every flagged entry, other orders of summation err by a quarter of it or more.

    Structured data (a constant times a constant) rounds the same way in every term, but the
    statistical bound treats it as chance. Equal terms round alike if their partial sums lie between
    the same powers of two. If no term stands there more than c times, the errors of each value add
    up to at most ``sqrt(c)`` times the root of their squares (Cauchy-Schwarz), and so do all: then
    ``sqrt(c)`` times the statistical bound is lawful, whatever the order.
    """
    flagged = np.argwhere(ratio > 1)
    if len(flagged) > MOST_REPLAYED:
        flagged = flagged[np.argsort(-ratio[ratio > 1])][:MOST_REPLAYED]
    dtype = np.dtype(dtype_name)
    for i, j in flagged:
        p, r = operands.P[i].astype(dtype), operands.R[:, j].astype(dtype)
        b = dtype.type(0 if operands.b is None else operands.b[i, 0])
        exactly = (np.longdouble(p) * np.longdouble(r)).sum() + np.longdouble(b)
        products = p * r
        if ratio[i, j] <= math.sqrt(_most_repeated(products)):
            continue
        lanes = np.zeros(-len(products) % 8 + len(products), dtype)
        lanes[: len(products)] = products
        sums = (
            np.add.accumulate(products)[-1],
            np.add.accumulate(products[::-1])[-1],
            np.add.accumulate(np.add.accumulate(lanes.reshape(-1, 8), axis=0)[-1])[-1],
        )
        largest = max(abs(np.longdouble(total + b) - exactly) for total in sums)
        if error[i, j] * operands.divisor > 4 * largest:
            return False
    return True


def _most_repeated(terms: np.ndarray) -> int:
    """How often the most frequent term occurs, rounded like the largest partial sum.

    A zero rounds nothing, so it does not count.
    """
    terms = terms[terms != 0]
    if not terms.size:
        return 0
    last_place = np.spacing(np.max(np.abs(np.add.accumulate(terms))))
    return int(np.unique(np.rint(terms / last_place), return_counts=True)[1].max())
