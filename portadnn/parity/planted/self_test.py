"""What the certificate finds of the planted faults, beside what is customary.

The customary checks compare end results with a chosen tolerance. Here they compare the parameters
after the last step with those of an honest run on the same backend, which is the easiest case for
them: but for the fault, the two are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from portadnn.backends import Backend, get_backend
from portadnn.parity.certify import Check, certify_step, first_failure
from portadnn.parity.coverage import sampled_coverage
from portadnn.parity.planted.faults import FAULTS, HONEST, STEPS, Fault
from portadnn.parity.planted.namespace import FaultyNamespace
from portadnn.parity.run import StepRecord, watch

if TYPE_CHECKING:
    from rich.table import Table

Parameters = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Detection:
    """What became of one fault in one dtype.

    ``flag`` is the first operation that the certificate does not pass. ``customary`` says which of
    the ``CUSTOMARY`` checks tell the parameters after the last step from the honest ones.
    """

    fault: Fault
    dtype: str
    flag: Check | None
    customary: Mapping[str, bool]

    @property
    def located(self) -> bool:
        """Whether the first flag stands at the step, layer and tensor of the fault."""
        return self.flag is not None and self.at == self.fault.place

    @property
    def at(self) -> tuple[int, int, str] | None:
        """Step, layer and tensor of the first flag."""
        flag = self.flag
        return (flag.step, flag.layer, flag.tensor) if flag else None

    @property
    def required(self) -> bool:
        """Whether the fault lies above the rounding level of this dtype."""
        return self.fault.must_show(self.dtype)

    @property
    def passed(self) -> bool:
        """Located if it is required, and never a flag anywhere else."""
        return self.located if self.required or self.flag else True

    @property
    def result(self) -> str:
        """In words."""
        if self.fault.tensor is None:
            return "FALSE ALARM" if self.flag else "not flagged"
        if self.flag is None:
            return "MISSED" if self.required else "below the rounding level"
        return "found" if self.located else "MISPLACED"


def self_test(dtypes: Sequence[str] = ("float32", "float64")) -> list[Detection]:
    """Plant every fault on NumPy in every dtype, and certify every step until the first flag.

    There is a row for each fault and dtype, with honest orders of summation at the end. The checker
    is sound if all of them are ``passed``.

    Examples
    --------
    >>> all(detection.passed for detection in self_test(["float64"]))
    True
    """
    backends = [get_backend("numpy", dtype=dtype) for dtype in dtypes]
    return [detect(fault, backend) for fault in (*FAULTS, *HONEST) for backend in backends]


def detect(fault: Fault, backend: Backend) -> Detection:
    """Plant one fault on a NumPy backend."""
    run = fault.declared_run()
    xp = FaultyNamespace(backend.xp, run, fault.calls, fault.step)
    flag: Check | None = None
    last: StepRecord | None = None
    for record in watch(run, backend, sampled_coverage(run.steps).full, xp=xp):
        start = last.state_after() if last and record.step == last.step + 1 else None
        flag = flag or first_failure(certify_step(run, record, start))
        last = record
    (honest,) = watch(run, backend, [run.steps - 1], jit=False)
    assert last is not None
    with backend.scope():
        ours, theirs = last.after(run.network), honest.after(run.network)
        found = {n: not passes(ours, theirs) for n, passes in CUSTOMARY.items()}
    return Detection(fault, backend.dtype_name, flag, found)


def _all_close(tolerances: Mapping[str, tuple[float, float]]) -> Callable[..., bool]:
    """Whether every entry is close, with the relative and the absolute tolerance of a dtype."""
    return lambda ours, theirs: all(
        np.allclose(ours[name], x, *tolerances[str(x.dtype)]) for name, x in theirs.items()
    )


def _cosine(ours: Parameters, theirs: Parameters) -> bool:
    """Cosine similarity above 0.9999, of all parameters as one vector."""
    a, b = (
        np.concatenate([parameters[name].ravel() for name in theirs]).astype(np.float64)
        for parameters in (ours, theirs)
    )
    return bool(a @ b > 0.9999 * np.linalg.norm(a) * np.linalg.norm(b))


CUSTOMARY: dict[str, Callable[[Parameters, Parameters], bool]] = {
    # numpy.testing.assert_allclose(rtol=1e-5)
    "assert_allclose": _all_close({"float32": (1e-5, 0), "float64": (1e-5, 0)}),
    # torch.testing.assert_close with its defaults, which NumPy can compute
    "assert_close": _all_close({"float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}),
    "cosine": _cosine,
}

_HEADINGS = ("planted", "dtype", "step, layer, tensor", "first flag", "ratio", "result", *CUSTOMARY)
LEGEND = (
    "First flag: step, layer and tensor of the first operation that the certificate does not pass; "
    "ratio: its error over its bound. The customary checks compare the parameters after the last "
    f"step ({STEPS} where nothing else is said) with those of an honest run on the same backend, "
    "equal to the bit but for what is planted: numpy.testing.assert_allclose(rtol=1e-5), "
    "torch.testing.assert_close with its defaults (by NumPy, with the same tolerances), cosine "
    "similarity > 0.9999."
)


def detection_table(rows: Iterable[Detection]) -> Table:
    """The detections for a terminal, with their totals below."""
    from rich import box
    from rich.table import Table

    rows = list(rows)
    table = Table(
        box=box.SIMPLE, caption="\n".join((*totals(rows), LEGEND)), caption_justify="left"
    )
    for heading in ("planted, dtype", *_HEADINGS[2:]):
        table.add_column(heading, justify="right" if heading == "ratio" else "left")
    for row in rows:
        planted, dtype, *cells = _cells(row)
        style = None if row.passed else "bold red"
        table.add_row(f"{planted}, {dtype}", *cells, style=style)
    return table


def detection_markdown(rows: Iterable[Detection]) -> str:
    """The detections as a Markdown table, with their totals below."""
    rows = list(rows)
    lines = [_HEADINGS, ["---:" if h == "ratio" else "---" for h in _HEADINGS], *map(_cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join((table, "", *(f"- {line}" for line in totals(rows)), "", LEGEND, ""))


def totals(rows: Iterable[Detection]) -> list[str]:
    """How many faults were found and how many false alarms raised, a line each per dtype."""
    rows, lines = list(rows), []
    for dtype in dict.fromkeys(row.dtype for row in rows):
        of_dtype = [row for row in rows if row.dtype == dtype]
        faults = [row for row in of_dtype if row.fault.tensor]
        honest = [row for row in of_dtype if not row.fault.tensor]
        required = [row for row in faults if row.required]
        located = sum(row.located for row in required)
        alarms = sum(row.flag is not None for row in honest)
        lines.append(
            f"{dtype}, faults above the rounding level: the certificate finds {located} of "
            f"{len(required)} at their place; of all {len(faults)}, {_customary_counts(faults)}"
        )
        lines.append(
            f"{dtype}, false alarms in {len(honest)} honest runs: the certificate {alarms}, "
            f"{_customary_counts(honest)}"
        )
    return lines


def _customary_counts(rows: list[Detection]) -> str:
    return ", ".join(f"{name} {sum(row.customary[name] for row in rows)}" for name in CUSTOMARY)


def _cells(row: Detection) -> list[str]:
    fault, flag = row.fault, row.flag
    found = "found" if fault.tensor else "FALSE ALARM"
    return [
        fault.name,
        row.dtype,
        *(
            "none" if place is None else ", ".join(map(str, place))
            for place in (fault.place, row.at)
        ),
        f"{flag.ratio:.3g}" if flag else "",
        row.result,
        *(found if differs else "-" for differs in row.customary.values()),
    ]
