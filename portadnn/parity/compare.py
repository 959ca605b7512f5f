"""Several backends over the same run: the verdict, the first divergence, and the kinks."""

from __future__ import annotations

import enum
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from portadnn.backends import Backend, environment
from portadnn.data.digest import digest
from portadnn.errors import InputError
from portadnn.parity.causes import Cause, name_cause
from portadnn.parity.certify import (
    Check,
    Verdict,
    certify_program,
    certify_step,
    first_failure,
    step_bounds,
)
from portadnn.parity.run import Run, StepRecord, final_parameters, training_step, watch
from portadnn.parity.step.kinks import Kink, find_kinks


class Outcome(enum.Enum):
    """The result of a comparison or a certificate."""

    PARITY = "PARITY"
    SUSPECT = "SUSPECT"
    DIVERGED = "DIVERGED"

    @property
    def exit_code(self) -> int:
        """0 for parity, 1 for the rest."""
        return 0 if self is Outcome.PARITY else 1


@dataclass(eq=False)
class BackendResult:
    """The results of one backend.

    Attributes
    ----------
    backend, dtype, matmul : str
    environment : dict of str
        Versions, device, threads, BLAS, matmul mode.
    checks : list of Check
        The checks of every checked step, in the order of computation.
    program : list of Check
        The checks of the program that trains, for a step from the state of every checked step.
    mode_mismatch : bool or None
        Whether an unwatched run ended with other weights; None if that was not tried.
    fuses : bool
        Whether the backend compiles its steps: then a mismatch is lawful within the bounds that
        ``program`` was held against, otherwise it is a failure.
    failed : bool
        Whether any check failed.
    cause : Cause or None
        The cause of the first failure, if it is a known fault.
    seconds : float
        The time of the checks.
    """

    backend: str
    dtype: str
    matmul: str
    environment: dict[str, str]
    checks: list[Check] = field(default_factory=list)
    full: int = 0
    program: list[Check] = field(default_factory=list)
    mode_mismatch: bool | None = None
    fuses: bool = False
    failed: bool = False
    cause: Cause | None = None
    seconds: float = 0.0

    @property
    def failed_checks(self) -> list[Check]:
        """All failed checks, also those of the program that trains."""
        return [check for check in self.checks + self.program if not check.verdict.passed]

    @property
    def first_failure(self) -> Check | None:
        """The first operation that did not compute what it should, or None."""
        return min(self.failed_checks, key=lambda check: check.step, default=None)

    @property
    def outcome(self) -> Outcome:
        """DIVERGED if any operation is beyond every order of summation."""
        if self.mode_mismatch and not self.fuses:
            return Outcome.DIVERGED
        failed = self.failed_checks
        if not failed:
            return Outcome.PARITY
        suspect = all(check.verdict is Verdict.SUSPECT for check in failed)
        return Outcome.SUSPECT if suspect else Outcome.DIVERGED

    @property
    def largest(self) -> Check | None:
        """The check with the largest ratio of error to bound."""
        return max(self.checks, key=lambda check: check.ratio, default=None)

    @property
    def mode(self) -> str:
        """How the program that trains agrees with the watched one, in words."""
        if self.mode_mismatch is None:
            return "not tried"
        failure = first_failure(self.program)
        if failure is not None:
            return f"MODE MISMATCH: the program that trains, {failure}"
        if not self.mode_mismatch:
            return "bit for bit"
        if not self.fuses:
            return "MODE MISMATCH: an unwatched run ended with other weights"
        worst = max(self.program, key=lambda check: check.ratio)
        return (
            f"other bits, within the bounds of a step: ratio {worst.ratio:.3g} "
            f"({worst.tensor}, step {worst.step})"
        )

    @property
    def unsaid(self) -> int:
        """How many checks say nothing, because the bound or the number is not finite."""
        return sum(
            check.verdict is Verdict.VACUOUS or not math.isfinite(check.observed)
            for check in self.checks
        )

    @property
    def fewest_bits(self) -> float | None:
        """The fewest effective bits of any product's inputs, or None if none was counted."""
        counted = [c.bits for c in self.checks if c.bits is not None and math.isfinite(c.bits)]
        return min(counted, default=None)


@dataclass(frozen=True)
class Reference:
    """The program that trains: a step from the state of a record, and the whole run."""

    step: Callable[[StepRecord], Mapping[str, np.ndarray]]
    run: Callable[[], Mapping[str, np.ndarray]]
    fuses: bool


@dataclass(eq=False)
class Comparison:
    """Several backends over the same run."""

    run: Run
    checked: set[int]  # steps
    certificates: list[BackendResult]
    kinks: list[Kink] = field(default_factory=list)
    noise: dict[str, dict[str, float | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """The worst of the certificates; a mask that no kink explains is DIVERGED."""
        outcomes = {certificate.outcome for certificate in self.certificates}
        if not self.certificates:
            raise InputError("no step was checked, so there is no outcome")
        if Outcome.DIVERGED in outcomes or not all(kink.undecidable for kink in self.kinks):
            return Outcome.DIVERGED
        return Outcome.SUSPECT if Outcome.SUSPECT in outcomes else Outcome.PARITY

    @property
    def first_mask_disagreement(self) -> Kink | None:
        """Where two backends first took different sides of a kink."""
        return self.kinks[0] if self.kinks else None

    @property
    def first_divergence(self) -> tuple[str, Check] | None:
        """The backend and the operation that failed first."""
        failures = [(c.backend, c.first_failure) for c in self.certificates if c.first_failure]
        return min(failures, key=lambda failure: failure[1].step, default=None)


def sampled_steps(steps: int) -> frozenset[int]:
    """Steps 0, 1, 2, 5, 10, 100, 1,000 and the last of so many."""
    return frozenset({0, 1, 2, 5, 10, 100, 1000, steps - 1} & {*range(steps)})


def compare(
    run: Run,
    backends: Sequence[Backend],
    *,
    checked: Iterable[int] | None = None,
    matmul: str | None = None,
    jit: bool = True,
    check_mode: bool = True,
) -> Comparison:
    """Make the run on every backend in lockstep, certify each, and compare all with the first.

    Parameters
    ----------
    run : Run
    backends : sequence of Backend
        A single one is only certified against the float64 shadow.
    checked : iterable of int, optional
        The steps to check; default all.
    matmul : {"float32", "tf32", "bfloat16"}, optional
        The mode that is declared for products of float32; default that of each backend.
    jit : bool
        False runs op by op also if a backend would compile.
    check_mode : bool
        Make every checked step again with the program that trains, and the whole run unwatched.
        A MODE MISMATCH fails; if the program is compiled, only beyond the bounds.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If no backend is given, or an operation of the network has no bound.
    """
    if not backends:
        raise InputError("no backend to compare was given: expected one or more")
    watched = range(run.steps) if checked is None else sorted(set(checked))
    streams = [watch(run, backend, watched, jit=jit) for backend in backends]
    return judge(
        run,
        [backend.name for backend in backends],
        [environment(backend) for backend in backends],
        streams,
        modes=[matmul or backend.matmul for backend in backends],
        references=[
            Reference(
                training_step(run, backend),
                functools.partial(final_parameters, run, backend),
                backend.fuses,
            )
            if check_mode and jit
            else None
            for backend in backends
        ],
    )


def judge(
    run: Run,
    names: Sequence[str],
    environments: Sequence[dict[str, str]],
    streams: Sequence[Iterable[StepRecord | None]],
    *,
    modes: Sequence[str | None],
    references: Sequence[Reference | None] = (),
) -> Comparison:
    """Certify and compare streams of records, wherever they come from: backends, or a file.

    ``modes`` are the declared modes of each one's products; None is plain. A stream has None for a
    step that only the others have.
    """
    found: dict[int, BackendResult] = {}
    result = Comparison(run, set(), [])
    before: Sequence[StepRecord | None] = [None] * len(names)
    for records in zip(*streams, strict=True):
        steps = [record.step for record in records if record is not None]
        step = steps[0]
        if set(steps) != {step}:
            raise InputError(f"the records are of steps {steps}")
        result.checked.add(step)
        for i, (record, last) in enumerate(zip(records, before, strict=True)):
            if record is None:
                continue
            if i not in found:
                mode = modes[i] or record.dtype
                found[i] = BackendResult(names[i], record.dtype, mode, environments[i])
            previous = last if last is not None and last.step == step - 1 else None
            reference = references[i] if references else None
            _certify(run, record, previous, modes[i], found[i], reference)
        first = records[0]
        for other, record in enumerate(records[1:], start=1):
            if first is None or record is None:
                continue
            pair = names[0], names[other]
            result.kinks += find_kinks(run, first, record, pair, (modes[0], modes[other]))
        before = records
    result.certificates = [found[i] for i in sorted(found)]
    for certificate, last, reference in zip(result.certificates, before, references, strict=False):
        if reference is not None and last is not None and last.step == run.steps - 1:
            unwatched, watched = reference.run(), last.after(run.network)
            certificate.mode_mismatch = digest(unwatched) != digest(watched)
    return result


def _certify(
    run: Run,
    record: StepRecord,
    before: StepRecord | None,
    matmul: str | None,
    certificate: BackendResult,
    reference: Reference | None,
) -> None:
    started = time.perf_counter()
    previous = before.state_after() if before else None
    bounds = step_bounds(run, record, matmul=matmul)
    checks = certify_step(run, record, previous, matmul=matmul, bounds=bounds)
    certificate.checks += checks
    if reference is not None:
        certificate.fuses = reference.fuses
        made = reference.step(record)
        certificate.program += certify_program(
            run, record, made, bounds, fuses=reference.fuses, matmul=matmul
        )
    certificate.full += 1
    failure = first_failure(checks)
    if failure is not None and not certificate.failed:
        certificate.failed = True
        certificate.cause = name_cause(run, record, failure, before, matmul=matmul)
    certificate.seconds += time.perf_counter() - started
