"""Which steps of a run are checked, and how: all of them, or as many as a budget allows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from portadnn.backends import Backend
from portadnn.parity.certify import certify_step
from portadnn.parity.projection import project_step
from portadnn.parity.run import Run, final_parameters, watch

ALWAYS = (0, 1, 2, 5, 10, 100, 1000)  # and the last
TIMED_STEPS = 20


@dataclass(frozen=True)
class Coverage:
    """Which steps are checked, and how.

    Attributes
    ----------
    full : frozenset of int
        Steps of which every operation is checked at every entry.
    every : int
        Of the rest, every so many-th has its products checked through random +-1 projections; 0
        for none.
    """

    full: frozenset[int]
    every: int = 0

    def steps(self, steps: int) -> list[int]:
        """The steps of a run that are looked at in any way: the masks of all of them are."""
        projected = range(0, steps, self.every) if self.every else ()
        return sorted({step for step in self.full if step < steps} | set(projected))

    def share(self, steps: int) -> float:
        """The share of a run's steps that are looked at."""
        return len(self.steps(steps)) / steps


def full_coverage(steps: int) -> Coverage:
    """Every step in full."""
    return Coverage(frozenset(range(steps)))


def sampled_coverage(steps: int, every: int = 0) -> Coverage:
    """Steps 0, 1, 2, 5, 10, 100, 1,000 and the last in full, projections in between."""
    full = {step for step in ALWAYS if step < steps}
    return Coverage(frozenset(full | {steps - 1}), every)


def affordable_coverage(run: Run, backend: Backend, share: float = 1.0) -> Coverage:
    """The sampled coverage with as many projections as cost ``share`` of the run's own time.

    It times a few steps of the run, a full check and a projection on this machine.

    Parameters
    ----------
    run : Run
    backend : Backend
    share : float
        1 doubles the time of the run.
    """
    few = replace(run, steps=min(TIMED_STEPS, run.steps))
    final_parameters(few, backend)  # compiles
    step_seconds = _seconds(lambda: final_parameters(few, backend)) / few.steps
    records = list(watch(few, backend, [0]))
    watching = _seconds(lambda: list(watch(few, backend, range(few.steps)))) / few.steps
    copying = max(watching - step_seconds, 0.0)
    project_step(run, records[0])
    projection = _seconds(lambda: project_step(run, records[0])) + copying
    full = _seconds(lambda: certify_step(run, records[0])) + copying
    coverage = sampled_coverage(run.steps)
    budget = share * run.steps * step_seconds - len(coverage.full) * full
    affordable = math.floor(budget / projection)
    every = 0 if affordable < 1 else math.ceil(run.steps / affordable)
    return sampled_coverage(run.steps, every)


def _seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
