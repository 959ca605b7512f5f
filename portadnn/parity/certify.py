"""Checking every operation of a recorded step against what its own inputs allow.

Each operation is checked on the inputs that the backend itself had, so an error shows at the
tensor that made it and nowhere after: the first one that fails is the fault.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from portadnn.errors import InputError
from portadnn.parity import bounds
from portadnn.parity.bounds import FORMATS, Bound, Format
from portadnn.parity.record import StepRecord

VACUOUS_ABOVE = 1e30

# the bounds of each activation and head; an operation that is not here cannot be certified
FORWARD = {"relu": bounds.relu, "sigmoid": bounds.sigmoid}
BACKWARD = {"relu": bounds.relu_backward}
COST = {"sigmoid": bounds.sigmoid_cross_entropy}


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
        """Whether the operation computed what it should."""
        return self in (Verdict.EXACT, Verdict.WITHIN_BOUND)


@dataclass(frozen=True)
class Check:
    """One operation of one step, at its worst entry.

    Attributes
    ----------
    ratio : float
        The largest error over its bound (the statistical one); at most 1 where it passed.
    flagged : int
        Entries above the bound, of ``entries``.
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

    def __str__(self) -> str:
        where = f"{self.tensor}[{', '.join(map(str, self.index))}]" if self.index else self.tensor
        return (
            f"{self.verdict.value} step {self.step}, layer {self.layer}, {where}: observed "
            f"{self.observed!r}, exact {self.exact!r}, "
            f"|error| {abs(self.observed - self.exact):.3g}, "
            f"bound {self.bound:.3g}, ratio {self.ratio:.3g}; {self.flagged} of {self.entries:,} "
            f"entries"
        )


def certify_step(record: StepRecord) -> list[Check]:
    """Check every tensor of a step, in the order in which it was computed.

    Parameters
    ----------
    record : StepRecord

    Returns
    -------
    checks : list of Check

    Raises
    ------
    InputError
        If an operation of the network has no bound.
    """
    form = FORMATS[record.dtype]
    return [
        _check(record, layer, tensor, bound, form)
        for layer, tensor, bound in _operations(record, form)
    ]


def first_failure(checks: list[Check]) -> Check | None:
    """The first operation that did not compute what it should, or None."""
    return next((check for check in checks if not check.verdict.passed), None)


def _operations(record: StepRecord, form: Format) -> Iterator[tuple[int, str, Bound]]:
    """Layer, tensor and bound of every operation, in the order of the step."""
    t = {name: x.astype(np.float64) for name, x in record.tensors.items()}
    network = record.network
    m = t["X"].shape[1]
    activations = (*network.activations, network.head)
    t["A0"] = t["X"]
    with np.errstate(all="ignore"):  # what is not finite is judged, not warned of
        for l, activation in enumerate(activations, start=1):
            yield l, f"Z{l}", bounds.product(t[f"W{l}"], t[f"A{l - 1}"], t[f"b{l}"], form=form)
            yield l, f"A{l}", _bound_of(FORWARD, activation)(t[f"Z{l}"], form)
        L = network.L
        yield L, "cost", _bound_of(COST, network.head)(t[f"Z{L}"], t["Y"], form)
        for l in range(L, 0, -1):
            if l == L:
                yield l, f"dZ{l}", bounds.output_gradient(t[f"A{l}"], t["Y"], form)
            else:
                backward = _bound_of(BACKWARD, activations[l - 1])
                yield l, f"dZ{l}", backward(t[f"dA{l}"], t[f"Z{l}"], form)
            dZ = t[f"dZ{l}"]
            yield l, f"dW{l}", bounds.product(dZ, t[f"A{l - 1}"].T, form=form, divisor=m)
            yield l, f"db{l}", bounds.product(dZ, np.ones((m, 1)), form=form, divisor=m)
            if l > 1:
                yield l, f"dA{l - 1}", bounds.product(t[f"W{l}"].T, dZ, form=form)
        for name in network.shapes:
            bound = bounds.update(t[name], t[f"d{name}"], record.learning_rate, form)
            yield int(name[1:]), f"{name}+", bound


def _bound_of(table, name):
    if name not in table:
        raise InputError(
            f"no bound is derived for {name!r} here: expected one of {', '.join(table)}"
        )
    return table[name]


def _check(record: StepRecord, layer: int, tensor: str, bound: Bound, form: Format) -> Check:
    observed = np.asarray(record.tensors[tensor], dtype=np.float64)
    if observed.shape != bound.exact.shape:
        raise InputError(
            f"{tensor} of step {record.step} has shape {observed.shape}: "
            f"expected {bound.exact.shape}"
        )
    with np.errstate(all="ignore"):
        same = (observed == bound.exact) | (np.isnan(observed) & np.isnan(bound.exact))
        error = np.where(same, 0.0, np.abs(observed - bound.exact))
        ratio = np.where(error == 0, 0.0, error / bound.stat)
        ratio = np.where(np.isnan(ratio), math.inf, ratio)
        # overflow is lawful where the format's largest number lies within the bound
        finite = np.isfinite(observed) | same
        lawful = ~finite & (np.abs(bound.exact) + bound.det > form.largest)
        ratio = np.where(lawful, 0.0, ratio)
    worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    flagged = int(np.sum(ratio > 1))
    if flagged and not finite[worst]:
        verdict = Verdict.NON_FINITE
    elif flagged:
        verdict = Verdict.DIVERGED if np.any(error > bound.det) else Verdict.SUSPECT
    elif not np.all(bound.det < VACUOUS_ABOVE):
        verdict = Verdict.VACUOUS
    else:
        verdict = Verdict.WITHIN_BOUND if np.any(error > 0) else Verdict.EXACT
    return Check(
        step=record.step,
        layer=layer,
        tensor=tensor,
        verdict=verdict,
        ratio=float(ratio[worst]),
        index=tuple(int(i) for i in worst),
        observed=float(observed[worst]),
        exact=float(bound.exact[worst]),
        bound=float(bound.stat[worst]),
        flagged=flagged,
        entries=observed.size,
    )
