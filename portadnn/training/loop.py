"""The loop around the step: chunks of steps, reports, divergence and Ctrl-C."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from portadnn.backends import Backend
from portadnn.network.choice import check_whole
from portadnn.network.spec import Network
from portadnn.training.recipe import Plan
from portadnn.training.sample_space import SampleSpace
from portadnn.training.state import EpochRecord, TrainingState, check_callbacks, notify
from portadnn.training.step import Shared, make_step
from portadnn.training.stops import DivergenceError, TrainingInterrupted, deferred_interrupt
from portadnn.training.validation import Validation

CHUNK_SECONDS = 0.25  # so that Ctrl-C and the progress bar wait no longer than this, about
LARGEST_CHUNK = 128
CHUNK_BYTES = 2**25  # of dropout masks

Parameters: TypeAlias = dict[str, Any]
State: TypeAlias = tuple[Parameters, dict[str, Any]]
After: TypeAlias = Callable[..., bool]


@dataclass(eq=False)
class Loop:
    """A run over arrays of a backend, inside whose scope it is made.

    Parameters
    ----------
    network : Network
    backend : Backend
    plan : Plan
    shared : Shared
    report_every : int
        Epochs between two reports; the first and the last epoch have one as well.
    validation : Validation, optional
        Scored at every report.
    callbacks : iterable
        See ``TrainingState``.
    on_costs : callable, optional
        Called with the number of the first step of a chunk and the costs of its steps.
    slots : dict, optional
        What the optimizer keeps, to start from where it is not empty; it ends as that of the end.
    space : SampleSpace, optional
        Where ``shared`` and the validation data are in its terms. What goes in and comes out, to
        callbacks too, is not.
    """

    network: Network
    backend: Backend
    plan: Plan
    shared: Shared
    report_every: int = 1
    validation: Validation | None = None
    callbacks: Iterable[Any] = ()
    on_costs: Callable[[int, np.ndarray], None] | None = None
    slots: dict[str, Any] | None = None
    space: SampleSpace | None = None
    _factor: float = field(default=1.0, init=False)  # on the rate, of a plateau schedule

    def __post_init__(self) -> None:
        check_whole("report_every", self.report_every, 1)

    def run(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Train, and return the parameters after it, or those that a callback kept.

        Raises
        ------
        DivergenceError, TrainingInterrupted
            With the parameters to keep, likewise.
        """
        state = TrainingState(
            self.network,
            self.plan.epochs,
            self.plan.batches.steps_per_epoch,
            validates=self.validation is not None,
        )
        try:
            last = self._run(parameters, state)
        except (DivergenceError, TrainingInterrupted) as error:
            error.parameters = self._kept_or(error.parameters, state)
            raise
        return self._kept_or(last, state)

    def _kept_or(self, last: Parameters, state: TrainingState) -> Parameters:
        if state.kept is None:
            return last
        return {name: self.backend.asarray(np.array(p)) for name, p in state.kept.items()}

    def _run(self, parameters: Parameters, state: TrainingState) -> Parameters:
        callbacks = check_callbacks(self.callbacks)
        parameters = self.entered(parameters)
        state._to_host = self._to_host
        state.moved_to(parameters)
        tracker = self.plan.schedule.tracker()
        epoch_costs: list[float] = []

        def after(parameters: dict[str, Any], costs: np.ndarray, *, last: bool = False) -> bool:
            """What follows a chunk of steps; whether the run shall stop. The last has a report."""
            if self.on_costs:
                self.on_costs(state.steps_done - len(costs), costs)
            epoch_costs.extend(costs.tolist())
            notify(callbacks, "on_progress", state)
            if last or self._reports_at(state.steps_done):
                state.record = self._record(state, epoch_costs, parameters)
                cost = state.record.validation_cost
                tracker.observe(state.record.cost if cost is None else cost)
                self._factor = tracker.factor
                notify(callbacks, "on_epoch_end", state)
            if state.steps_done % state.steps_per_epoch == 0:
                epoch_costs.clear()
            if interrupted():
                raise TrainingInterrupted(state.steps_done, self._leave(parameters))
            return state.stopped is not None

        try:
            notify(callbacks, "on_train_begin", state)
            with deferred_interrupt() as interrupted:
                parameters = self._descend(parameters, state, after)
        except KeyboardInterrupt as error:
            if isinstance(error, TrainingInterrupted):
                raise
            raise TrainingInterrupted(state.steps_done, self._leave(state._device)) from None
        finally:
            notify(callbacks, "on_train_end", state)
        return parameters

    def entered(self, parameters: Parameters) -> Parameters:
        """Parameters of the network itself in the terms of the run's data."""
        if self.space is None:
            return parameters
        inside = self.space.enter(parameters)
        return {name: self.backend.asarray(p) for name, p in inside.items()}

    def step_and_state(self, parameters: Parameters) -> tuple[Callable[..., Any], State]:
        """The step that is repeated, and the state before the first; of parameters ``entered``."""
        recipe, xp = self.plan.recipe, self.backend.xp
        network = self.network if self.space is None else self.space.network
        step = make_step(network, xp, recipe=recipe, sample=self.space is not None)
        return step, (parameters, self.slots or recipe.optimizer.init(parameters, xp=xp))

    def _descend(self, parameters: Parameters, progress: TrainingState, after: After) -> Parameters:
        """Make the steps, and return the last parameters."""
        last = parameters
        for last, costs in self._chunks(parameters, progress):
            if after(last, costs):
                break
        return self._leave(last)

    def _leave(self, parameters: Parameters) -> Parameters:
        """The parameters of the network itself, on the backend."""
        if self.space is None:
            return parameters
        left = self._to_host(parameters)
        return {name: self.backend.asarray(p) for name, p in left.items()}

    def _to_host(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Copies of parameters, or of slots, of the network itself."""
        host = {name: np.array(self.backend.to_numpy(p)) for name, p in arrays.items()}
        return host if self.space is None else self.space.leave(host)

    def _chunks(
        self, parameters: dict[str, Any], progress: TrainingState
    ) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Parameters after a chunk of steps, and the steps' costs; ``progress`` is kept up."""
        backend = self.backend
        step, state = self.step_and_state(parameters)
        started = time.perf_counter()
        done, chunk = 0, 1
        while done < self.plan.steps:
            chunk_started = time.perf_counter()
            n = self._chunk_length(done, chunk)
            after, chunk_costs = backend.repeat(
                step,
                state,
                self.inputs(done, n),
                self.shared,
                every_output=self.plan.batches.steps_per_epoch > 1,  # for the mean of the epoch
            )
            costs = backend.to_numpy(chunk_costs)
            if not (np.isfinite(costs[[0, -1]]).all() and backend.all_finite(after[0].values())):
                raise self._locate(step, state, done, n)
            now = time.perf_counter()
            state, done = after, done + n
            progress.steps_done, progress.cost = done, float(costs[-1])
            progress.seconds = now - started
            progress.moved_to(state[0])
            yield state[0], costs
            if now - chunk_started < CHUNK_SECONDS / 2:
                chunk = min(2 * chunk, LARGEST_CHUNK)
            elif now - chunk_started > CHUNK_SECONDS:
                chunk = max(chunk // 2, 1)
        if self.slots is not None:
            self.slots.update(self._leave(state[1]))

    def inputs(self, start: int, n: int) -> dict[str, Any]:
        """What changes from step to step, of n steps."""
        return self.plan.inputs(
            start,
            start + n,
            self.network,
            self.backend,
            self._factor,
            sample=self.space is not None,
        )

    def _chunk_length(self, done: int, chunk: int) -> int:
        """As many steps as may be made in one go from here: of one batch size, before a report."""
        batches, per_epoch = self.plan.batches, self.plan.batches.steps_per_epoch
        epoch, i = divmod(done, per_epoch)
        if per_epoch > 1:
            n = per_epoch - i
            if n > 1 and batches.size(done + n - 1) != batches.size(done):
                n -= 1
        else:
            next_report = epoch + 1
            if not self._reports_at(next_report):
                next_report += self.report_every - next_report % self.report_every
            n = min(next_report, self.plan.epochs) - epoch
        widths = [self.network.layer_dims[l] for l in self.plan.recipe.dropped_layers()]
        mask_bytes = sum(widths) * batches.size(done)
        return min(n, chunk, max(CHUNK_BYTES // mask_bytes, 1) if mask_bytes else n)

    def _reports_at(self, done: int) -> bool:
        epoch, rest = divmod(done, self.plan.batches.steps_per_epoch)
        wanted = epoch == 1 or epoch == self.plan.epochs or epoch % self.report_every == 0
        return rest == 0 and wanted

    def _record(
        self, state: TrainingState, epoch_costs: list[float], parameters: dict[str, Any]
    ) -> EpochRecord:
        batches, last = self.plan.batches, state.steps_done - 1
        costs = epoch_costs[-batches.steps_per_epoch :]
        sizes = [batches.size(last - i) for i in range(len(costs))][::-1]
        mean = math.fsum(c * n for c, n in zip(costs, sizes, strict=True)) / sum(sizes)
        scores = (None, None) if self.validation is None else self.validation.score(
            parameters, self.space.network if self.space else self.network, self.backend
        )  # fmt: skip
        return EpochRecord(state.epoch, mean, self.plan.rate(last, self._factor), *scores)

    def _locate(self, step: Callable[..., Any], state: State, done: int, n: int) -> DivergenceError:
        """Replay a chunk step by step, from the state it started from, to name the step."""
        iteration = done
        while True:
            after, costs = self.backend.repeat(step, state, self.inputs(iteration, 1), self.shared)
            cost = float(self.backend.to_numpy(costs)[0])
            finite = math.isfinite(cost) and self.backend.all_finite(after[0].values())
            if not finite or iteration == done + n - 1:
                rate = self.plan.rate(iteration, self._factor)
                return DivergenceError(iteration, cost, rate, self._leave(state[0]))
            state, iteration = after, iteration + 1
