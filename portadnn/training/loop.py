"""The loop around the step: chunks of steps, reports, divergence and Ctrl-C."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from portadnn.backends import Backend
from portadnn.choice import check_whole
from portadnn.data.digest import digest
from portadnn.errors import InputError
from portadnn.network.names import of
from portadnn.network.spec import Network
from portadnn.parallel import Ranks, shared_namespace
from portadnn.training.feed import Feed
from portadnn.training.recipe import Plan
from portadnn.training.sample_space import SampleSpace
from portadnn.training.state import (
    EpochRecord,
    RunState,
    TrainingState,
    check_callbacks,
    notify,
    with_past,
)
from portadnn.training.step import Shared, make_step, train_step
from portadnn.training.stops import (
    DivergenceError,
    TrainingInterrupted,
    deferred_interrupt,
    signal_of,
)
from portadnn.training.validation import Validation

CHUNK_SECONDS = 0.25  # so that Ctrl-C and the progress bar wait no longer than this, about
LARGEST_CHUNK = 512
CHUNK_BYTES = 2**25  # dropout masks of a chunk

Parameters: TypeAlias = dict[str, Any]
After: TypeAlias = Callable[..., bool]


class Agreed(KeyboardInterrupt):
    """A signal to one of the ranks that all ranks now know of."""


@dataclass(eq=False)
class Loop:
    """A run over arrays of a backend. Make it inside the backend's scope.

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
    checkpoint : callable, optional
        Called before the first step and after every chunk, with a function that makes the state,
        and whether the run ends there.
    space : SampleSpace, optional
        Set if ``shared`` and the validation data are in sample space. Then states are, too, but
        callbacks see the ordinary W1, and ``parameters`` returns it.
    certified : bool
        Whether the first of several ranks has a watcher. It is given ``whole``, the same run in one
        process, to make steps again.
    watcher : Certifier, optional
        Told of every chunk and report; it may ask for shorter chunks, which changes no bit.
    feed : Feed, optional
        Gives the rows of the batches, if they are not ``shared``.
    ranks : Ranks, optional
        The processes that make the run together. ``shared`` has this one's examples of a whole
        batch. The first of them has checkpoints, the watcher, and the callbacks that decide.
    """

    network: Network
    backend: Backend
    plan: Plan
    shared: Shared
    report_every: int = 1
    validation: Validation | None = None
    callbacks: Iterable[Any] = ()
    on_costs: Callable[[int, np.ndarray], None] | None = None
    checkpoint: Callable[[Callable[[], RunState], bool], None] | None = None
    space: SampleSpace | None = None
    watcher: Any = None
    certified: bool = False
    whole: Loop | None = None
    feed: Feed | None = None
    ranks: Ranks | None = None

    def __post_init__(self) -> None:
        check_whole("report_every", self.report_every, 1)

    def run(self, state: RunState) -> RunState:
        """Run the remaining steps of the plan from ``state``, which is not changed.

        Raises
        ------
        InputError
            If the state does not fit the run.
        DivergenceError, TrainingInterrupted
            They have the parameters to keep.
        """
        callbacks = check_callbacks(self.callbacks)
        progress = TrainingState(
            self.network,
            self.plan.epochs,
            self.plan.batches.steps_per_epoch,
            validates=self.validation is not None,
            steps_done=self._steps_done(state),
            rows=list(state.rows),
            stopped=state.stopped,
            kept=state.kept,
        )
        progress._to_host = self._to_host
        progress.moved_to(state.parameters)
        now = replace(state, costs=list(state.costs), rows=progress.rows, watched=None)

        def pasts() -> dict[str, Any]:
            own = {name: callback.state_dict() for name, callback in with_past(callbacks)}
            return state.callbacks | own

        def state_now() -> RunState:
            kept, stopped = progress.kept, progress.stopped
            watched = None if self.watcher is None else self.watcher.past()
            return replace(now, callbacks=pasts(), kept=kept, stopped=stopped, watched=watched)

        def after(costs: np.ndarray, *, last: bool = False) -> bool:
            """Report and checkpoint after a chunk; returns whether to stop. The last reports."""
            if self.on_costs:
                self.on_costs(progress.steps_done - len(costs), costs)
            now.costs += costs.tolist()
            notify(callbacks, "on_progress", progress)
            reports = last or self._reports_at(progress.steps_done)
            if reports:
                progress.record = self._record(now, progress)
                now.rows.append(progress.record)
                cost = progress.record.validation_cost
                now.tracker = self.plan.schedule.followed(
                    now.tracker, progress.record.cost if cost is None else cost
                )
            if progress.steps_done % progress.steps_per_epoch == 0:
                now.costs.clear()
            if reports:
                notify(callbacks, "on_epoch_end", progress)
            ends = interrupted()
            if self.ranks is not None:
                said = self.ranks.all((ends, progress.stopped))
                ends, progress.stopped = max(number for number, _ in said), said[0][1]
            stops = progress.stopped is not None
            if self.checkpoint is not None:
                done = progress.steps_done == self.plan.steps
                self.checkpoint(state_now, bool(ends) or stops or done)
            if ends:
                raise Agreed(ends)
            return stops

        begun = False
        try:
            try:
                notify(callbacks, "on_train_begin", progress)
                for name, callback in with_past(callbacks):
                    if name in state.callbacks:
                        callback.load_state_dict(state.callbacks[name])
                begun = True
                if self.ranks is not None:
                    progress.stopped = self.ranks.told(progress.stopped)
                with deferred_interrupt() as interrupted:
                    if self.checkpoint is not None:
                        self.checkpoint(state_now, False)
                    # an interrupt may have come before the report of an epoch
                    late = now.costs and progress.steps_done % progress.steps_per_epoch == 0
                    if not (progress.stopped or (late and after(np.empty(0)))):
                        self._descend(now, progress, after)
                    ended = interrupted()  # a signal may have come during the last checkpoint
                    if self.ranks is not None:
                        ended = max(self.ranks.all(ended))
                    if ended:
                        raise Agreed(ended)
            finally:
                if self.feed is not None:
                    self.feed.close()
                notify(callbacks, "on_train_end", progress)
                if self.watcher is not None:
                    self.watcher.stopped = progress.stopped
                now.kept, now.stopped = progress.kept, progress.stopped
                if begun:  # a callback that has not begun may have no past to tell
                    now.callbacks = pasts()
        except DivergenceError as error:
            self._share(now)
            if now.kept is not None:
                error.parameters = self.parameters(now)
            raise
        except KeyboardInterrupt as error:
            if isinstance(error, Agreed):
                self._share(now)
            elif self.ranks is not None:
                raise
            found = self.parameters(now)
            raise TrainingInterrupted(progress.steps_done, found, now, signal_of(error)) from None
        self._share(now)
        return now

    def _share(self, now: RunState) -> None:
        """Tell all ranks what the callbacks of the first one chose."""
        if self.ranks is not None:
            now.kept = self.ranks.told(now.kept)

    def start(self, parameters: Parameters) -> RunState:
        """The state before the first step, from parameters of the network itself."""
        if self.space is not None:
            inside = self.space.enter(parameters)
            parameters = {name: self.backend.asarray(p) for name, p in inside.items()}
        backend = self.backend
        # on the host: JAX would compile a program for the zeros of every shape
        host = {name: backend.to_numpy(p) for name, p in parameters.items()}
        slots = self.plan.recipe.optimizer.init(host, xp=np)
        slots = {name: backend.asarray(x) for name, x in slots.items()}
        return RunState(parameters, slots, self.plan.first_step)

    def parameters(self, state: RunState) -> Parameters:
        """The result of the run: the last parameters, or those kept, with the ordinary W1."""
        if state.kept is None:
            return self._leave(state.parameters)
        return {name: self.backend.asarray(np.array(p)) for name, p in state.kept.items()}

    def left(self, state: RunState) -> RunState:
        """The state with the ordinary W1 and the parameters that are the result."""
        return replace(state, parameters=self.parameters(state), slots=self._leave(state.slots))

    def step(self, done: int = 0, kind: Callable[..., Any] = train_step) -> Callable[..., Any]:
        """The step function to repeat after ``done`` steps."""
        sample = self.space is not None
        return make_step(self.inner, self.namespace(done), kind, self.plan.recipe, sample)

    def namespace(self, done: int) -> Any:
        """The namespace of the step after ``done`` steps."""
        if self.ranks is None:
            return self.backend.xp
        return shared_namespace(self.backend, self.ranks, self.plan.batches.size(done))

    @property
    def inner(self) -> Network:
        """The network that the run computes, in sample space if the run is."""
        return self.network if self.space is None else self.space.network

    def _steps_done(self, state: RunState) -> int:
        """How many steps of the plan a state has made; InputError if it does not fit."""
        self.inner.check(state.parameters)
        done, steps = state.step - self.plan.first_step, self.plan.steps
        if not 0 <= done <= steps:
            raise InputError(
                f"the state is at step {state.step}, but the run has the steps "
                f"{self.plan.first_step} to {self.plan.first_step + steps}: expected one of them"
            )
        recipe = self.plan.recipe
        slots = {of(slot, name) for slot in recipe.slots for name in self.network.shapes}
        if state.slots.keys() != slots:
            raise InputError(
                f"the state has the slots {', '.join(sorted(state.slots)) or 'none'}, but "
                f"{recipe.optimizer.name} keeps {', '.join(sorted(slots)) or 'none'}: give the "
                f"state of a run with the same optimizer"
            )
        return done

    def _descend(self, now: RunState, progress: TrainingState, after: After) -> None:
        """Make the steps, a chunk at a time, and update the state and ``progress``."""
        backend, chunk = self.backend, 1
        started = time.perf_counter()
        while progress.steps_done < self.plan.steps:
            chunk_started = time.perf_counter()
            n = self._chunk_length(progress.steps_done, chunk)
            if self.watcher is not None:
                n = self.watcher.length(progress.steps_done, n)
            if self.certified:
                n = self.ranks.told(n)  # type: ignore[union-attr]
            if self.feed is not None:
                n = self.feed.length(progress.steps_done, n)
            inputs = self.inputs(progress.steps_done, n, now.tracker.factor)
            if self.feed is not None and (ahead := progress.steps_done + n) < self.plan.steps:
                self.feed.prepare(ahead, self._chunk_length(ahead, chunk))
            before, step = (now.parameters, now.slots), self.step(progress.steps_done)
            (parameters, slots), chunk_costs = backend.repeat(
                step,
                before,
                inputs,
                self.shared,
                # for the mean of the epoch; ranks make all calls in all steps
                every_output=self.plan.batches.steps_per_epoch > 1 or self.ranks is not None,
            )
            costs = backend.to_numpy(chunk_costs)
            if not (np.isfinite(costs[[0, -1]]).all() and backend.all_finite(parameters.values())):
                raise self._locate(now, progress.steps_done, n)
            ended = time.perf_counter()
            now.parameters, now.slots, now.step = parameters, slots, now.step + n
            progress.steps_done, progress.cost = progress.steps_done + n, float(costs[-1])
            progress.seconds = ended - started
            progress.moved_to(parameters)
            if self.watcher is not None:
                done = progress.steps_done - n
                self.watcher.saw(done, n, now.tracker.factor, before, (parameters, slots), costs)
            if after(costs):
                break
            spent = ended - chunk_started
            if self.ranks is not None:
                spent = self.ranks.largest(np.asarray([spent])).item()
            if spent < CHUNK_SECONDS / 2:
                chunk = min(2 * chunk, LARGEST_CHUNK)
            elif spent > CHUNK_SECONDS:
                chunk = max(chunk // 2, 1)

    def _leave(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters, or slots, of the network itself, on the backend."""
        if self.space is None:
            return dict(arrays)
        left = self._to_host(arrays)
        return {name: self.backend.asarray(p) for name, p in left.items()}

    def _to_host(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Copies of parameters, or of slots, of the network itself."""
        host = {name: np.array(self.backend.to_numpy(p)) for name, p in arrays.items()}
        return host if self.space is None else self.space.leave(host)

    def inputs(self, start: int, n: int, factor: float = 1.0) -> dict[str, Any]:
        """The inputs of n steps; ``factor`` is the tracker's factor on the rate."""
        sample = self.space is not None
        form: dict[str, Any] = {"sample": sample, "feed": self.feed}
        if self.ranks is not None:
            form["own"] = self.ranks.own(self.plan.batches.size(start))
        return self.plan.inputs(start, start + n, self.network, self.backend, factor, **form)

    def _chunk_length(self, done: int, chunk: int) -> int:
        """How many steps may be made in one go: of one batch size, and before a report."""
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

    def _record(self, now: RunState, progress: TrainingState) -> EpochRecord:
        batches, last = self.plan.batches, progress.steps_done - 1
        costs = now.costs[-batches.steps_per_epoch :]
        sizes = [batches.size(last - i) for i in range(len(costs))][::-1]
        mean = math.fsum(c * n for c, n in zip(costs, sizes, strict=True)) / sum(sizes)
        if self.ranks is not None:
            held = {name: self.backend.to_numpy(p) for name, p in now.parameters.items()}
            self.ranks.check_same({f"the SHA-256 after step {now.step}": digest(held)})
        scores = (None, None) if self.validation is None else self.validation.score(
            now.parameters, self.inner, self.backend, self.ranks
        )  # fmt: skip
        rate = self.plan.rate(last, now.tracker.factor)
        record = EpochRecord(progress.epoch, mean, rate, *scores)
        if self.watcher is not None:
            self.watcher.reported(record, now.parameters)
        return record

    def _locate(self, now: RunState, done: int, n: int) -> DivergenceError:
        """Replay a chunk step by step, from the state it started from, to name the step."""
        iteration, factor = done, now.tracker.factor
        step = self.step(done)
        state: Any = (now.parameters, now.slots)
        while True:
            inputs = self.inputs(iteration, 1, factor)
            after, costs = self.backend.repeat(step, state, inputs, self.shared)
            cost = float(self.backend.to_numpy(costs)[0])
            finite = math.isfinite(cost) and self.backend.all_finite(after[0].values())
            if not finite or iteration == done + n - 1:
                rate = self.plan.rate(iteration, factor)
                return DivergenceError(iteration, cost, rate, self._leave(state[0]))
            state, iteration = after, iteration + 1
