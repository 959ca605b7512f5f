"""The evidence of a watched run: checks of its data and steps, and its certificate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from portadnn.data.digest import digest
from portadnn.network.initializers import Initializer
from portadnn.network.names import after, of
from portadnn.parity import derived
from portadnn.parity.bounds import U_SHADOW, Bound, declared_format, gamma, within
from portadnn.parity.bounds.levels import smallest_fault
from portadnn.parity.certificate import Certificate, data_digests, model_of
from portadnn.parity.certify import (
    Check,
    Verdict,
    certify_program,
    certify_step,
    check_tensor,
    first_failure,
    step_bounds,
)
from portadnn.parity.run import StepRecord, observe
from portadnn.parity.step.operations import final_gradient
from portadnn.parity.step.spread import spread
from portadnn.parity.watched import Watched
from portadnn.training.problem import Problem
from portadnn.training.schedules import Plateau
from portadnn.training.state import RunState

MOST_BYTES = 2**26  # the states beside a certificate take no more


@dataclass(eq=False)
class Evidence:
    """The checks of a watched run and what they found.

    Parameters
    ----------
    seen : Certifier
        The certifier that watched the run.

    Attributes
    ----------
    checks : dict of list of Check
        The checks by the name of the tensor.
    failures : list of str
        One sentence for each failure.
    steps : dict
        The entry in the certificate of every step that was checked in full.
    """

    seen: Any
    checks: dict[str, list[Check]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    smallest: dict[str, float] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
    not_covered: list[str] = field(default_factory=list)
    flagged: int = 0  # how many failures are of a check

    def check(self, watched: Watched) -> None:
        """Check a step in full, and the same step by the program that trains."""
        run, step, backend = self.seen.run, watched.step, self.seen.backend
        given = watched.before
        state = {name: backend.asarray(x) for name, x in given.items()}
        names = run.network.shapes
        before = (
            {name: state[name] for name in names},
            {name: x for name, x in state.items() if name not in names},
        )
        if self.seen.lbfgs:  # made as gradient descent, but only its gradients are checked
            step = 0
        record = observe(run, backend, self.seen.loop.shared, before, step, watched.factor)
        previous = self.seen.start if watched.step == self.seen.first_step else given
        mode = backend.matmul
        bounds = step_bounds(run, record, matmul=mode)
        for name, bound in bounds.items():
            self.smallest[name] = max(self.smallest.get(name, 0.0), smallest_fault(bound))
        checks = certify_step(
            run,
            record,
            previous,
            matmul=mode,
            bounds=bounds,
            factor=watched.factor,
            bits=False,
        )
        made = {after(name): x for name, x in watched.made.items()}
        if self.seen.lbfgs:
            made = {final_gradient(run, name): watched.made[of("d", name)] for name in names}
        made["cost"] = np.asarray(watched.cost).astype(record.dtype)
        fuses = backend.fuses or watched.step < self.seen.moved
        program = certify_program(run, record, made, bounds, fuses=fuses, matmul=mode)
        self.add("", checks)
        self.add("the program that trains, ", program)
        self.watched.append(watched)
        self.steps[watched.step] = {
            "cost": watched.cost,
            "before": watched.digests[0],
            "after": watched.digests[1],
            "random": any(watched is one for one in self.seen.reservoir),
        }
        if watched.step == self.seen.first_step:
            self.steps[watched.step]["cost_within"] = self._reach(record, bounds)
        schedule = self.seen.loop.plan.schedule
        if isinstance(schedule, Plateau) and not self.seen.goes_on:
            per_epoch = self.seen.loop.plan.batches.steps_per_epoch
            rows = [row for row in self.seen.rows if row.epoch * per_epoch <= watched.step]
            costs = [r.cost if r.validation_cost is None else r.validation_cost for r in rows]
            expected = derived.plateau(schedule, costs)
            if derived.agreed(watched.factor, expected) != watched.factor:
                self.failures.append(
                    f"the plateau's factor in step {watched.step} is {watched.factor!r}: expected "
                    f"{expected!r}"
                )

    def _reach(self, record: StepRecord, bounds: dict[str, Bound]) -> float:
        """How far the cost of this step may be from another backend's, from the same state."""
        form = record.form(self.seen.backend.matmul)
        return float(spread(self.seen.run, record.wide, bounds, form)["cost"].det)

    def check_data(self) -> None:
        """Check that the data did not change, and that the run began with the declared weights."""
        names = {"X": "the examples", "Y": "the labels", "S": "the weights of the examples"}
        for name, x in self.seen.given.items():
            if digest({name: x}) != self.seen.data[name]:
                self.failures.append(f"{names[name]} that the run was given changed while it ran")
        if digest(self.seen.held()) != self.seen.held_digest:
            self.failures.append("the data that the backend holds changed while the run went on")
        problem, space = self.seen.problem, self.seen.loop.space
        if problem is None:
            return
        dtype = self.seen.backend.dtype_name
        declared = {name: p.astype(dtype) for name, p in problem.parameters.items()}
        begun = {name: self.seen.start[name] for name in declared}
        if space is not None:  # W1 is K there
            declared["K"] = np.eye(*begun["W1"].shape, dtype=dtype)
            begun |= {"K": begun["W1"], "W1": space.W0}
        if digest(declared) != digest(begun):
            self.failures.append("the run did not start from the declared initial weights")
        self._check_drawn(problem)

    def _check_drawn(self, problem: Problem) -> None:
        """Check the initial draw and the split for validation, which are derived a second time."""
        run, dims = problem.declaration, problem.network.layer_dims
        given = run.init if isinstance(run.init, tuple) else (run.init,) * problem.network.L
        own = not all(isinstance(one, str | Initializer) for one in given)
        if own or not isinstance(run.seeds[0], int | str):
            self.not_covered.append("how an object of your own draws the initial weights")
        else:
            for name, x in derived.initial([*map(str, given)], run.seeds[0], dims).items():
                drawn = problem.parameters[name]
                if np.max(np.abs(drawn - x)) > derived.AGREE * np.max(np.abs(drawn)):
                    self.failures.append(f"the initial {name} is not what init and rng draw")
        if problem.split is not None:
            whole, *parts = problem.split
            held = derived.split(whole, run.given("validation"), run.seeds[1])
            if not all(map(np.array_equal, parts, (whole[~held], whole[held]))):
                self.failures.append("the examples for validation are not the ones that seed draws")

    def check_space(self, state: RunState, parameters: dict[str, np.ndarray]) -> None:
        """Check the change to sample space, by a projection, and W1 after the change back."""
        space = self.seen.loop.space
        if space is None:
            return
        B = np.concatenate([space.W0, self.seen.given["X"].T], dtype=np.float64)
        form = declared_format(self.seen.backend.dtype_name)
        signs = np.asarray(self.seen.random.choices((-1.0, 1.0), k=len(B)))
        largest = np.maximum(np.max(B, axis=1), -np.min(B, axis=1))
        error = gamma(2 * sum(B.shape), U_SHADOW) * largest * np.sum(largest) * B.shape[1]
        found = space.gram @ signs
        self.add("sample space, ", [
            check_tensor(0, 1, "X", found, within(B @ (B.T @ signs), error), form),
        ])  # fmt: skip
        entry = self.seen.reports.get(
            "best" if state.kept is not None else "", (None, state.parameters)
        )
        K = np.asarray(self.seen.backend.to_numpy(entry[1]["W1"]), np.float64)
        W1 = K @ B
        reach = (np.abs(K) @ largest)[:, None]
        error = 2 * gamma(K.shape[1], U_SHADOW) * reach + form.u * np.abs(W1) + form.tiny
        last = self.seen.loop.plan.steps - 1
        self.add(
            "sample space, ",
            [check_tensor(last, 1, "W1", parameters["W1"], within(W1, error), form)],
        )

    def add(self, what: str, checks: Iterable[Check]) -> None:
        for check in checks:
            self.checks.setdefault(f"{what}{check.tensor}", []).append(check)
        failure = first_failure(list(checks))
        if failure is not None:
            self.failures.append(f"{what}{failure}")
            self.flagged += 1

    def _smallest(self, name: str) -> float | None:
        """The share in the step in which it is largest; None if it is not known or not finite."""
        found = self.smallest.get(name)
        return found if found is not None and np.isfinite(found) else None

    def certificate(
        self, state: RunState, parameters: dict[str, np.ndarray], times: tuple[float, float]
    ) -> Certificate:
        problem, plan = self.seen.problem, self.seen.loop.plan
        tensors = {
            name: {
                "checks": len(checks),
                "largest_ratio": max(check.ratio for check in checks),
                "verdicts": sorted({check.verdict.value for check in checks}),
                "smallest_detectable_fault": self._smallest(name),
            }
            for name, checks in self.checks.items()
        }
        data = {"train": self.seen.data}
        if problem is not None and "validation" in problem.examples:
            data["validation"] = data_digests(problem, "validation")
        every = [check for checks in self.checks.values() for check in checks]
        failed = [check for check in every if not check.verdict.passed]
        suspect = all(check.verdict is Verdict.SUSPECT for check in failed)
        outcome = "PARITY" if not self.failures else "DIVERGED"
        if self.failures and len(self.failures) == self.flagged and suspect:
            outcome = "SUSPECT"
        made = state.step - plan.first_step
        earlier = {"earlier_environments": self.seen.earlier} if self.seen.earlier else {}
        return Certificate(earlier | {
            "outcome": outcome,
            "failures": self.failures,
            "backend": self.seen.backend.name,
            "environment": self.seen.environment,
            "declaration": self.seen.settings,
            "network": asdict(self.seen.loop.network),
            "model": {} if problem is None else model_of(problem),
            "data": data,
            "weights": digest(parameters),
            "initial": self.seen.initial,
            "held": self.seen.held_digest,
            "steps": {
                "planned": plan.steps,
                "made": made,
                "kept": state.kept is not None,
                "checked": {str(step): self.steps[step] for step in sorted(self.steps)},
            },
            "tensors": tensors,
            "not_covered": self._not_covered(made),
            "seconds": {"run": times[0], "checks": times[1]},
        }, self._states())  # fmt: skip

    def _states(self) -> list[Watched]:
        """The first step, the last, and as many others as ``MOST_BYTES`` has room for."""
        ends = min(self.steps, default=0), max(self.steps, default=0)
        found, room = [], MOST_BYTES
        for watched in sorted(self.watched, key=lambda watched: watched.step not in ends):
            room -= sum(x.nbytes for x in (*watched.before.values(), *watched.made.values()))
            found += [watched] if room >= 0 else []
        return found if {watched.step for watched in found} >= {*ends} else []

    def _not_covered(self, made: int) -> list[str]:
        found = self.not_covered
        if self.seen.lbfgs:
            found.append("the line search of SciPy, which chooses the iterates of lbfgs")
        if self.seen.problem is None:
            found.append("how data, weights and stopping follow from the settings")
        if self.seen.goes_on:
            found.append("the training before this run")
        if not self.seen.lbfgs and made - 1 not in self.steps:
            found.append("the last step, which another environment made")
        return found
