"""Certify the recorded calls of a backend, one by one, and compare the masks of two backends."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from portadnn.errors import InputError
from portadnn.parity.bounds import declared_format
from portadnn.parity.calls.functions import KNOWN, bounds_of_call
from portadnn.parity.calls.recording import COMPARISONS, RecordedCall
from portadnn.parity.certify import Check, Verdict, check_orders, check_tensor

CREATION = ("asarray", "full", "arange")


@dataclass(frozen=True, eq=False)
class CertifiedCall:
    """A call with the check of each of its results, and how far each may lie from the exact one.

    A call that was left unchecked has no checks.
    """

    call: RecordedCall
    checks: tuple[Check, ...] = ()
    rounding: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class MaskDifference:
    """An entry in which a comparison has different results on two backends.

    ``first`` and ``second`` are the differences of the compared values, ``rounding`` the error of
    the calls that made these values. Within this error the kink is undecidable. Beyond it, the
    difference came from earlier calls.
    """

    operation: int
    function: str
    index: tuple[int, ...]
    first: float
    second: float
    rounding: float
    backends: tuple[str, str]

    @property
    def undecidable(self) -> bool:
        """Whether both differences are within the rounding of the compared values themselves."""
        return max(abs(self.first), abs(self.second)) <= self.rounding

    def __str__(self) -> str:
        kind = "UNDECIDABLE KINK" if self.undecidable else "CARRIED KINK"
        where = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return (
            f"{kind} operation {self.operation}, {self.function}{where}: the compared values "
            f"differ by {self.first:.3g} on {self.backends[0]} and {self.second:.3g} on "
            f"{self.backends[1]}, rounding {self.rounding:.3g}"
        )


def certify_calls(
    calls: Sequence[RecordedCall],
    dtype: str,
    *,
    matmul: str | None = None,
    arithmetic: str = "fast",
    unchecked: Collection[str] = (),
) -> list[CertifiedCall]:
    """Check every call on its own inputs, except calls of the ``unchecked`` functions.

    Every floating result must have the dtype; ``matmul`` is the mode that the backend declares for
    products of float32, ``arithmetic`` is the backend's. An InputError is raised for a function
    that has no bound.
    """
    form = declared_format(dtype, matmul, arithmetic)
    entries = sum(x.size for call in calls for x in call.results)
    checked = [call for call in calls if call.function not in unchecked]
    unknown = {call.function for call in checked} - KNOWN
    unknown |= {f"{call.function} of complex numbers" for call in checked if _is_complex(call)}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise InputError(
            f"no bound is derived for {names}: write it with functions that have one "
            f"({', '.join(sorted(KNOWN))}), or name it in unchecked="
        )
    certified = []
    for call in calls:
        if call.function in unchecked:
            certified.append(CertifiedCall(call))
            continue
        with np.errstate(all="ignore"):  # infinities are judged: no warnings
            bounds, operands = bounds_of_call(
                call.function, call.arguments, call.keywords, form, entries
            )
            checks = []
            for found, bound in zip(call.results, bounds, strict=True):
                if found.size == 0:
                    continue
                check = check_tensor(call.number, 0, call.function, found, bound, form)
                if operands:
                    check = check_orders(check, found, bound, operands, dtype)
                if found.dtype.kind == "f" and found.dtype != dtype and check.verdict.passed:
                    # the rounding is honest, but not of the declared format
                    check = replace(check, verdict=Verdict.DIVERGED)
                checks.append(check)
        certified.append(CertifiedCall(call, tuple(checks), tuple(b.stat for b in bounds)))
    return certified


def _is_complex(call: RecordedCall) -> bool:
    return any(np.iscomplexobj(x) for x in (*call.arguments, *call.results))


def mask_differences(
    first: Sequence[CertifiedCall],
    second: Sequence[CertifiedCall],
    backends: tuple[str, str],
) -> list[MaskDifference]:
    """The entries in which the comparisons of two recordings differ, in the order of the calls."""
    found: list[MaskDifference] = []
    for ours, theirs in zip(first, second, strict=False):
        if ours.call.function != theirs.call.function:
            break  # from here on the recordings differ
        if ours.call.function not in COMPARISONS.values():
            continue
        (a,), (b,) = ours.call.results, theirs.call.results
        if a.shape != b.shape:
            break
        differences = _difference(ours.call), _difference(theirs.call)
        rounding = np.broadcast_to(_rounding(ours, first) + _rounding(theirs, second), a.shape)
        found += [
            MaskDifference(
                ours.call.number, ours.call.function, index,
                float(differences[0][index]), float(differences[1][index]),
                float(rounding[index]), backends,
            )
            for index in map(tuple, np.argwhere(a != b).tolist())
        ]  # fmt: skip
    return found


def structural_difference(
    first: Sequence[CertifiedCall],
    second: Sequence[CertifiedCall],
    backends: tuple[str, str],
    kinked: bool,
) -> str | None:
    """The first place, in words, at which two recordings have other calls or other data.

    A function may branch on values, so the recordings may differ after a kink. Before a kink every
    call must have the same operands and other arguments, and arrays made from Python's own values
    must have the same bits. If not, the two computed different things, each correctly.
    """
    here, there = backends
    for ours, theirs in zip(first, second, strict=False):
        a, b = ours.call, theirs.call
        if a.function != b.function:
            if kinked:
                return None
            return (
                f"DIFFERENT OPERATIONS: number {a.number} is {a.function} on {here} and "
                f"{b.function} on {there}"
            )
        created = a.function in CREATION and not any(a.origins + b.origins)
        if created and not _same(a.results[0], b.results[0]):
            return (
                f"DIFFERENT DATA: operation {a.number}, {a.function}, makes other values on "
                f"{here} than on {there}"
            )
        if not kinked and (a.origins != b.origins or _plain(a) != _plain(b)):
            return (
                f"DIFFERENT OPERANDS: operation {a.number}, {a.function}, has other operands or "
                f"other arguments on {here} than on {there}"
            )
    if len(first) != len(second) and not kinked:
        return f"DIFFERENT OPERATIONS: {len(first)} on {here} and {len(second)} on {there}"
    return None


def _plain(call: RecordedCall) -> list[Any]:
    """The arguments of a call that are not arrays or dtypes: scalars, axes, slices.

    Empty if numbers in them may come from an array.
    """
    if call.read:
        return []

    def found(x: Any) -> Iterator[str]:
        if isinstance(x, tuple | list):
            yield "("
            for item in x:
                yield from found(item)
            yield ")"
        elif isinstance(x, int | float | slice | None):
            yield repr(x)

    return [*found([call.arguments, [value for _, value in sorted(call.keywords.items())]])]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.array_equal(x, y, equal_nan=True)


def _difference(call: RecordedCall) -> np.ndarray:
    x, y = (np.asarray(value, np.float64) for value in call.arguments)
    return np.asarray(x - y)


def _rounding(certified: CertifiedCall, calls: Sequence[CertifiedCall]) -> np.ndarray:
    """The rounding of the calls that made the compared values; an input is exact."""
    total: np.ndarray = np.zeros(())
    for origin in certified.call.origins:
        if origin is not None and origin[0] > 0 and calls[origin[0] - 1].rounding:
            total = total + calls[origin[0] - 1].rounding[origin[1]]
    return total
