"""The state of a run, and the view of it that callbacks get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from portadnn.network.spec import Network
from portadnn.training.schedules import Tracker


class EpochRecord(NamedTuple):
    """A report as a row.

    Attributes
    ----------
    epoch : int
        Epochs done.
    cost : float
        The mean cost, with the penalty, of the last epoch's steps, each before its update.
    learning_rate : float
        That of the last step.
    validation_cost, validation_score : float or None
        After that step; the score is the accuracy, or R^2 for the identity head.
    """

    epoch: int
    cost: float
    learning_rate: float
    validation_cost: float | None = None
    validation_score: float | None = None


@dataclass(eq=False)
class RunState:
    """The whole state of a run: ``Loop.run`` goes on from it, and returns a new one.

    Attributes
    ----------
    parameters : dict of arrays
        On the backend, in the form of the run's first layer: in sample space, W1 is K.
    slots : dict of arrays
        What the optimizer keeps, in the same form.
    step : int
        Steps made so far, those before the plan's ``first_step`` included.
    tracker : Tracker
        The tracker of the schedule.
    costs : list of float
        The costs of the steps of the unfinished epoch.
    rows : list of EpochRecord
        All reports.
    callbacks : dict
        The ``state_dict()`` of every callback that has a past, by the name of its class and its
        number among those of that class.
    stopped : str, optional
        Why the run ended before its last epoch: then no step is made any more.
    watched : dict, optional
        What the watcher of a certified run has seen: ``said``, and ``parts``, a dict by names of
        what does not change any more.
    kept : dict of arrays, optional
        Parameters that a callback chose instead of the last; on the host, of the network itself.
        A run that goes on also returns them, unless a callback chooses others.
    """

    parameters: dict[str, Any]
    slots: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    tracker: Tracker = field(default_factory=Tracker)
    costs: list[float] = field(default_factory=list)
    rows: list[EpochRecord] = field(default_factory=list)
    callbacks: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, np.ndarray] | None = None
    stopped: str | None = None
    watched: dict[str, Any] | None = None


@dataclass(eq=False)
class TrainingState:
    """A run as its callbacks see it.

    A callback is any object with some of the methods ``on_train_begin(state)``,
    ``on_progress(state)`` (a few times a second, at no fixed epoch), ``on_epoch_end(state)`` (at
    every report) and ``on_train_end(state)`` (also after Ctrl-C and divergence). What it does with
    the state changes no number of the run. If it has a past that a run which goes on should know,
    it also has ``state_dict()``, which returns it as a dict of numbers and arrays, and
    ``load_state_dict(past)``, which is called after ``on_train_begin``.

    Attributes
    ----------
    network : Network
    epochs, steps_per_epoch : int
        As planned.
    validates : bool
        Whether there is validation data, so that reports have its cost and score.
    steps_done : int
    cost : float
        The cost of the last step done.
    seconds : float
        Since the start.
    record : EpochRecord or None
        The last report.
    rows : list of EpochRecord
        All reports, those before the run went on included.
    stopped : str or None
        Why the run is to stop before its last epoch, or None.
    kept : dict of arrays or None
        The parameters that were last given to ``keep``.
    """

    network: Network
    epochs: int
    steps_per_epoch: int
    validates: bool = False
    steps_done: int = 0
    cost: float = float("nan")
    seconds: float = 0.0
    record: EpochRecord | None = None
    rows: list[EpochRecord] = field(default_factory=list)
    stopped: str | None = None
    kept: dict[str, np.ndarray] | None = field(default=None, repr=False)
    _device: dict[str, Any] = field(default_factory=dict, repr=False)
    _to_host: Callable[[dict[str, Any]], dict[str, np.ndarray]] = field(
        default=lambda arrays: {name: np.array(x) for name, x in arrays.items()}, repr=False
    )
    _host: dict[str, np.ndarray] | None = field(default=None, repr=False)

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return self.steps_done // self.steps_per_epoch

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters now, as read-only copies on the host; made when asked for."""
        if self._host is None:
            self._host = self._to_host(self._device)
            for p in self._host.values():
                p.flags.writeable = False  # another callback may keep them
        return self._host

    def stop(self, reason: str) -> None:
        """Ask the run to stop after this report."""
        self.stopped = reason

    def keep(self, parameters: dict[str, np.ndarray]) -> None:
        """Let the run return these parameters, which it had before, instead of its last ones."""
        self.kept = parameters

    def moved_to(self, parameters: dict[str, Any]) -> None:
        """For the loop: the parameters now, on the device."""
        self._device, self._host = parameters, None


def notify(callbacks: Iterable[Any], method: str, state: TrainingState) -> None:
    """Call the method of every callback that has it; at the end also if one of them raises."""
    failed = None
    for callback in callbacks:
        function = getattr(callback, method, None)
        if function is None:
            continue
        try:
            function(state)
        except Exception as error:
            if method != "on_train_end":
                raise
            failed = failed or error
    if failed is not None:
        raise failed


def with_past(callbacks: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The callbacks that have a past, by the names that a ``RunState`` gives them."""
    counts: Counter[str] = Counter()
    for callback in callbacks:
        if hasattr(callback, "state_dict"):
            name = type(callback).__name__
            counts[name] += 1
            yield f"{name} {counts[name]}", callback


def check_callbacks(callbacks: Iterable[Any]) -> tuple[Any, ...]:
    """The callbacks as a tuple, or a TypeError for one that has none of the methods."""
    methods = ("on_train_begin", "on_progress", "on_epoch_end", "on_train_end")
    callbacks = tuple(callbacks)
    for callback in callbacks:
        if isinstance(callback, type) or not any(hasattr(callback, name) for name in methods):
            raise TypeError(
                f"callback {callback!r}: expected an object with some of the methods "
                f"{', '.join(methods)}"
            )
    return callbacks
