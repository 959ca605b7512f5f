"""The certificate of a run that trains: it is watched, and its steps are checked when it has ended.

A watched step is cut out of its chunk, so that the states before and after it are known. Then
``observed_step`` makes it again from the same state. Every tensor is checked against its bound, and
the program's next state against the watched one.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portadnn.backends import environment
from portadnn.data.digest import digest
from portadnn.data.foreign import reading
from portadnn.errors import InputError
from portadnn.network.names import of
from portadnn.parity.certificate import Certificate
from portadnn.parity.evidence import Evidence
from portadnn.parity.results import check_iterates, check_prediction, check_reports
from portadnn.parity.run import Run, weights_again
from portadnn.parity.watched import Watched, check_arrays
from portadnn.training.problem import Problem
from portadnn.training.state import EpochRecord, RunState
from portadnn.training.step import Shared

SPARE = 10  # steps that were kept for a while, and are checked if time allows


@dataclass(eq=False)
class Certifier:
    """Watch one run of ``train`` or of an estimator, and make its ``certificate`` at the end.

    Parameters
    ----------
    share : float
        The share of the run's time for checks of more steps. The first two steps, the last, and
        ``random_steps`` random steps are checked in any case.
    random_steps : int
        How many steps are drawn, with the system's entropy, from those that were made.
    steps : sequence of int, optional
        Check these steps instead, and the first and the last.

    Attributes
    ----------
    certificate : Certificate or None
    """

    share: float = 0.4
    random_steps: int = 10
    steps: Sequence[int] | None = None
    certificate: Certificate | None = field(default=None, init=False)
    problem: Problem | None = field(default=None, init=False)
    settings: dict[str, Any] = field(default_factory=dict, init=False)
    given: dict[str, np.ndarray] = field(default_factory=dict, init=False)
    stopped: str | None = field(default=None, init=False)

    def begin(self, loop: Any, start: RunState) -> None:
        """For the loop: the run begins. With ranks, ``loop`` could make it in one process."""
        self.began, self.certificate = time.perf_counter(), None
        self.loop, self.backend, self.random = loop, loop.backend, secrets.SystemRandom()
        self.data = {name: digest({name: x}) for name, x in self.given.items()}
        held = self.held()
        self.held_digest = digest(held)
        self.first_step = done = start.step - loop.plan.first_step
        self.start = self.host(start.parameters) | self.host(start.slots)
        self.start_digest = digest(self.start)
        self.environment = environment(self.backend)
        self.moved: float = 0  # steps before this one may have other bits here
        self.earlier: list[dict[str, Any]] = []
        self.lbfgs = hasattr(loop, "solver")
        self._fixed: dict[int, Watched] = {}
        self.reservoir: list[Watched] = []
        self.spare: deque[Watched] = deque(maxlen=SPARE)
        self._last: Any = None
        self.iterates: dict[str, float] = {}  # the costs of lbfgs by the parameters' SHA-256
        self.goes_on = bool(start.rows) and start.watched is None
        self.rows: list[EpochRecord] = [] if start.watched is None else list(start.rows)
        self.reports: dict[str, tuple[EpochRecord, Any]] = {}
        if start.watched is not None:
            with reading("what was watched of the run before"):
                self._go_on(start, **start.watched)
        if loop.certified and self.backend.arithmetic == "fast":
            self.moved = loop.plan.steps  # the ranks add in another order
        rows = {} if loop.space is None else {"W0": loop.space.W0}  # K does not show them
        self.initial = digest(self.start | rows)
        again = None
        if self.problem is not None:
            _, again = weights_again(self.problem)
            self.settings = self.problem.declaration.values()
        as_rows = loop.plan.batches.batch_size is not None
        self.run = Run(
            loop.inner,
            {name: self.start[name] for name in loop.inner.shapes},
            held["X"].T if as_rows else held["X"],
            self.given["Y"],
            None,  # type: ignore[arg-type]
            loop.plan.steps,
            self.given.get("S"),
            sample=loop.space is not None,
            gram=held.get("gram"),
            declared_weights=again,
            given_plan=loop.plan,
        )
        self._next = self._draw(max(done, self.first_step + 2))

    def past(self) -> dict[str, Any] | None:
        """For a checkpoint: what was seen so far, which ``begin`` goes on from."""
        if self.lbfgs or self.steps is not None:
            return None
        fixed, drawn = list(self._fixed.values()), self.reservoir
        parts: dict[str, Any] = {watched.name: watched.part() for watched in (*fixed, *drawn)}
        start = f"start-{self.start_digest[:16]}"
        last = None
        if self._last is not None:
            done, n, factor, (parameters, slots), _, cost = self._last
            before = self.host(parameters) | self.host(slots)
            last = Watched(done, factor, before, before, cost).part() | {"made": n}
        held_back = self.reports if self.loop.validation is not None else {}
        said = {
            "start": start,
            "fixed": [watched.name for watched in fixed],
            "drawn": [watched.name for watched in drawn],
            "last": last,
            "reports": {name: (row, self.host(p)) for name, (row, p) in held_back.items()},
            "data": self.data,
            "held": self.held_digest,
            "environment": self.environment,
            "earlier": self.earlier,
            "moved": self.moved,
            "seconds": time.perf_counter() - self.began,
        }
        return {"said": said, "parts": parts | {start: self.start}}

    def _go_on(self, now: RunState, said: dict[str, Any], parts: dict[str, Any]) -> None:
        """Go on from what a process before saw of the run; InputError if it saw another run."""
        device, like = self.backend.asarray, self.start
        states = now.parameters, now.slots

        def on_device(arrays: dict[str, Any], names: Any) -> dict[str, Any]:
            return {name: device(arrays[name]) for name in names}

        self.first_step, self.start = 0, check_arrays(parts[said["start"]], like)
        self.start_digest = digest(self.start)
        fixed, self.reservoir = (
            [Watched.read(parts[name], like) for name in said[kind]] for kind in ("fixed", "drawn")
        )
        self._fixed = {watched.step: watched for watched in fixed}
        if (last := said["last"]) is not None:
            n = last["made"]
            last = Watched.read(last | {"made": last["before"]}, like)
            began = tuple(on_device(last.before, part) for part in states)
            self._last = last.step, int(n), last.factor, began, states, last.cost
        for name, (row, parameters) in said["reports"].items():
            parameters = check_arrays(parameters, {p: like[p] for p in now.parameters})
            self.reports[name] = row, on_device(parameters, parameters)
        self.data = {name: str(x) for name, x in said["data"].items()}
        self.began -= float(said["seconds"])
        self.earlier, self.moved = [dict(one) for one in said["earlier"]], int(said["moved"])
        before = {str(name): str(x) for name, x in said["environment"].items()}
        if before != self.environment:
            self.earlier.append({"until_step": now.step, "environment": before})
            if self.backend.arithmetic == "fast":
                self.moved = now.step
        if self.moved and self.held_digest != said["held"]:
            raise InputError(
                "the data in sample space have other bits in this environment than in the "
                "environment of the steps before: go on there, or without a certificate"
            )
        self.held_digest = said["held"]

    def length(self, done: int, n: int) -> int:
        """For the loop: how many of n steps to make in one go."""
        ahead = [step for step in self._marks() if step >= done]
        nearest = min(ahead, default=done + n)
        return 1 if nearest == done else min(n, nearest - done)

    def saw(
        self, done: int, n: int, factor: float, before: Any, state: Any, costs: np.ndarray
    ) -> None:
        """For the loop: a chunk of n steps, and the states before and after it."""
        self._last = done, n, factor, before, state, float(costs[-1])
        if n == 1 and done in self._marks():
            self._keep(self._watched(done, factor, before, state, float(costs[0])))

    def evaluated(self, number: int, parameters: Any, found: Any, cost: float) -> None:
        """For L-BFGS: a cost, and the gradients by their names."""
        found = {name: found[name] for name in (of("d", p) for p in parameters)}
        self._last = self._watched(number, 1.0, (parameters, {}), (found, {}), cost)
        self.iterates[self._last.digests[0]] = cost
        if number in self._marks():
            self._keep(self._last)

    def reported(self, record: EpochRecord, parameters: Any) -> None:
        """For the loop: a report, and its parameters."""
        self.rows.append(record)
        entry = record, parameters
        self.reports.setdefault("first", entry)
        best = self.reports.setdefault("best", entry)[0].validation_cost
        if (
            best is not None
            and record.validation_cost is not None
            and record.validation_cost < best
        ):
            self.reports["best"] = entry
        self.reports["last"] = entry

    def finish(self, state: RunState) -> None:
        """For the loop: the run has ended in this state. Now its steps are checked, if any."""
        if self._last is None:
            return
        ended = time.perf_counter()
        evidence = Evidence(self)
        last = self._last_step()
        least = [*self._fixed.values(), *last, *self.reservoir]
        for watched in {one.step: one for one in least}.values():
            evidence.check(watched)
        parameters = self.host(self.loop.parameters(state))
        evidence.check_data()
        evidence.check_space(state, parameters)
        check_reports(evidence, parameters)
        check_prediction(evidence, parameters)
        if self.lbfgs:
            check_iterates(evidence, state)
        for watched in self.spare:
            spent = time.perf_counter() - ended
            if spent * (1 + 1 / len(evidence.steps)) > self.share * (ended - self.began):
                break
            evidence.check(watched)
        times = ended - self.began, time.perf_counter() - ended
        self.certificate = evidence.certificate(state, parameters, times)

    def _marks(self) -> tuple[int, ...]:
        """The steps to watch that are known by now."""
        ends = self.first_step, self.loop.plan.steps - 1
        if self.steps is not None:
            return (*self.steps, *ends)
        return (*ends, self.first_step + 1, self._next)

    def _keep(self, watched: Watched) -> None:
        if watched.step != self._next or self.steps is not None:
            self._fixed[watched.step] = watched
            return
        self.reservoir.append(watched)
        if len(self.reservoir) > (most := self.random_steps + 1):  # one may be the last step
            self.spare.append(self.reservoir.pop(self.random.randrange(most)))
        self._next = self._draw(watched.step + 1)

    def _draw(self, step: int) -> int:
        """The next step for the reservoir, which keeps every step with the same chance."""
        last = math.inf if self.lbfgs else self.loop.plan.steps - 1
        while step < last:
            seen = step - self.first_step - 1  # from the third step on
            if self.random.random() * seen < self.random_steps + 1:
                return step
            step += 1
        return -1

    def _last_step(self) -> list[Watched]:
        """The last step of the run; if it is in a chunk, the chunk is made again up to it.

        Empty if that chunk was made in another environment, whose bits cannot be made here.
        """
        if self.lbfgs:
            return [self._last]
        done, n, factor, before, state, cost = self._last
        if n > 1 and done < self.moved:
            return []
        if n > 1:
            inputs = self.loop.inputs(done, n - 1, factor)
            before, _ = self.backend.repeat(self.loop.step(), before, inputs, self.loop.shared)
        return [self._watched(done + n - 1, factor, before, state, cost)]

    def _watched(self, step: int, factor: float, before: Any, made: Any, cost: float) -> Watched:
        states = [self.host(part[0] | part[1]) for part in (before, made)]
        return Watched(step, float(factor), states[0], states[1], cost)

    def held(self) -> dict[str, np.ndarray]:
        """The arrays that every step reads, as the backend has them."""
        arrays = zip(Shared._fields[:4], self.loop.shared, strict=False)
        return self.host({name: x for name, x in arrays if x is not None})

    def host(self, arrays: Any) -> dict[str, np.ndarray]:
        return {name: np.asarray(self.backend.to_numpy(x)) for name, x in arrays.items()}
