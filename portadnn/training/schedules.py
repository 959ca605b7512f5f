"""Learning-rate schedules: the rate of every step from the one that was given.

Their unit is the epoch; with the whole batch an epoch is one iteration. A step's epoch is a
fraction, its number over the steps of an epoch.

References
----------
Loshchilov and Hutter, SGDR (2017); Goyal et al., Accurate, large minibatch SGD (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from portadnn.choice import as_text, check_number, check_whole, choose
from portadnn.network.powers import half_cosine, power


class Tracker(NamedTuple):
    """A second factor on the rate, and what it follows from: the costs of the run so far."""

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0  # reports since the best


@dataclass(frozen=True)
class Schedule:
    """A factor on the learning rate, as a function of the epoch."""

    name: ClassVar[str]
    needs_total: ClassVar[bool] = True  # whether the rates depend on the number of epochs

    def factor_at(self, epoch: float, epochs: int) -> float:
        """What the rate is multiplied by at ``epoch``, which is a fraction, of ``epochs``."""
        return 1.0

    def followed(self, tracker: Tracker, cost: float) -> Tracker:
        """The tracker after a report with this cost, the validation cost if there is one."""
        return tracker

    def _check(self, field: str, low: float, high: float = math.inf, **limits: bool) -> None:
        kind = f"{field} of the schedule {self.name}"
        value = check_number(kind, getattr(self, field), low, high, **limits)
        object.__setattr__(self, field, value)

    def _check_whole(self, field: str, low: int) -> None:
        kind = f"{field} of the schedule {self.name}"
        object.__setattr__(self, field, check_whole(kind, getattr(self, field), low))

    def __str__(self) -> str:
        return as_text(self.name, self)


@dataclass(frozen=True)
class Constant(Schedule):
    """The rate that was given."""

    name: ClassVar[str] = "constant"
    needs_total: ClassVar[bool] = False


@dataclass(frozen=True)
class Step(Schedule):
    """Multiplies the rate by ``factor`` after every ``every`` epochs."""

    every: int = 30
    factor: float = 0.1
    name: ClassVar[str] = "step"
    needs_total: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._check_whole("every", 1)
        self._check("factor", 0.0, 1.0, low_open=True)

    def factor_at(self, epoch: float, epochs: int) -> float:
        return power(self.factor, epoch // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Multiplies the rate by ``factor`` in every epoch, a little at every step."""

    factor: float = 0.99
    name: ClassVar[str] = "exponential"
    needs_total: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._check("factor", 0.0, 1.0, low_open=True)

    def factor_at(self, epoch: float, epochs: int) -> float:
        return power(self.factor, epoch)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Up in a line for ``warmup`` epochs, then down half a cosine to ``final`` times the rate."""

    warmup: float = 0.0
    final: float = 0.0
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        self._check("warmup", 0.0)
        self._check("final", 0.0, 1.0)

    def factor_at(self, epoch: float, epochs: int) -> float:
        if epoch < self.warmup:
            return (epoch + 1) / (self.warmup + 1)  # not 0 at the first step
        done = (epoch - self.warmup) / max(epochs - self.warmup, 1)
        return self.final + (1 - self.final) * half_cosine(min(done, 1.0))


@dataclass(frozen=True)
class Plateau(Schedule):
    """Times ``factor`` if the cost has not fallen by ``min_delta`` for ``patience`` reports.

    The cost is that of the validation data if there are any.
    """

    patience: int = 10
    factor: float = 0.1
    min_delta: float = 1e-4
    name: ClassVar[str] = "plateau"
    needs_total: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._check_whole("patience", 1)
        self._check("factor", 0.0, 1.0, low_open=True, high_open=True)
        self._check("min_delta", 0.0)

    def followed(self, tracker: Tracker, cost: float) -> Tracker:
        if cost < tracker.best - self.min_delta:
            return tracker._replace(best=cost, waited=0)
        if tracker.waited + 1 < self.patience:
            return tracker._replace(waited=tracker.waited + 1)
        return tracker._replace(factor=tracker.factor * self.factor, waited=0)


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule for schedule in (Constant, Step, Exponential, Cosine, Plateau)
}


def as_schedule(schedule: str | Schedule) -> Schedule:
    """``schedule`` itself, or the one that a text names: ``name[:value | :field=value,...]``.

    >>> as_schedule("step:every=100,factor=0.5")
    Step(every=100, factor=0.5)

    Raises
    ------
    InputError
        If the text names no schedule, or a value cannot be used.
    """
    return choose("schedule", schedule, SCHEDULES, Schedule)
