"""The evidence of a run that was watched: its steps, data, reports and predictions, checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from portadnn.backends import Backend, get_backend
from portadnn.data.digest import digest
from portadnn.network.initializers import Initializer
from portadnn.network.names import after, named, of
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
from portadnn.parity.run import Run, StepRecord, observe
from portadnn.parity.step.operations import final_gradient
from portadnn.parity.step.spread import spread
from portadnn.parity.watched import Watched
from portadnn.training.problem import Problem
from portadnn.training.recipe import Plan
from portadnn.training.schedules import Plateau
from portadnn.training.state import RunState
from portadnn.training.streams import Batches
from portadnn.training.validation import forward, mean_cost

PREDICTED = 16  # examples
MOST_BYTES = 2**26  # the states beside a certificate take no more


@dataclass(eq=False)
class Evidence:
    """What is found of a run.

    Parameters
    ----------
    seen : Certifier
        What was seen of it while it went on.

    Attributes
    ----------
    checks : dict of list of Check
        By what was checked.
    failures : list of str
        Sentences.
    steps : dict
        What the certificate has of every step that was checked in full.
    """

    seen: Any
    checks: dict[str, list[Check]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    smallest: dict[str, float] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
    not_covered: list[str] = field(default_factory=list)
    flagged: int = 0  # failures that are of a check

    def check(self, watched: Watched) -> None:
        """A step in full, and what the program that trains made of it."""
        run, step, backend = self.seen.run, watched.step, self.seen.backend
        given = watched.before
        state = {name: backend.asarray(x) for name, x in given.items()}
        names = run.network.shapes
        before = (
            {name: state[name] for name in names},
            {name: x for name, x in state.items() if name not in names},
        )
        if self.seen.lbfgs:  # gradient descent, of which only the gradients count
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
        self._add("", checks)
        self._add("the program that trains, ", program)
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
        """The data are still what they were, and the run began with the declared weights."""
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
        """The initial draw and the split for validation, derived a second time."""
        run, dims = problem.declaration, problem.network.layer_dims
        given = run.init if isinstance(run.init, tuple) else (run.init,) * problem.network.L
        own = not all(isinstance(one, str | Initializer) for one in given)
        if own or not isinstance(run.seeds[0], int | str):
            self.not_covered.append("how the initial weights are drawn, by an object of your own")
        else:
            for name, x in derived.initial([*map(str, given)], run.seeds[0], dims).items():
                drawn = problem.parameters[name]
                if np.max(np.abs(drawn - x)) > derived.AGREE * np.max(np.abs(drawn)):
                    self.failures.append(f"{name} is not drawn at first as init and rng declare")
        if problem.split is not None:
            whole, *parts = problem.split
            held = derived.split(whole, run.given("validation"), run.seeds[1])
            if not all(map(np.array_equal, parts, (whole[~held], whole[held]))):
                self.failures.append("other examples are held back for validation than seed draws")

    def check_space(self, state: RunState, parameters: dict[str, np.ndarray]) -> None:
        """The way into sample space, by a projection, and W1 on the way back."""
        space = self.seen.loop.space
        if space is None:
            return
        B = np.concatenate([space.W0, self.seen.given["X"].T], dtype=np.float64)
        form = declared_format(self.seen.backend.dtype_name)
        signs = np.asarray(self.seen.random.choices((-1.0, 1.0), k=len(B)))
        largest = np.maximum(np.max(B, axis=1), -np.min(B, axis=1))
        error = gamma(2 * sum(B.shape), U_SHADOW) * largest * np.sum(largest) * B.shape[1]
        found = space.gram @ signs
        self._add("sample space, ", [
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
        self._add(
            "sample space, ",
            [check_tensor(last, 1, "W1", parameters["W1"], within(W1, error), form)],
        )

    def check_reports(self, parameters: dict[str, np.ndarray]) -> None:
        """Validation in the first, the best and the last report; where the run stopped and why."""
        loop, held_back = self.seen.loop, self.seen.loop.validation
        if held_back is None:
            return
        for record, of_report in {id(e): e for e in self.seen.reports.values()}.values():
            given = "validation, ", self.seen.backend, loop.inner, of_report
            sizes, parts = [], []
            for data in held_back.blocks(self.seen.backend):
                made = self._forward(*given, data)
                sizes.append((float(made["cost"]), made["Y"].shape[1]))
                names = named("A", loop.inner.L), "Y", "S"
                parts.append([made[name] for name in names if name in made])
            arrays = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
            score = derived.score(held_back.scored_as or loop.inner.head, *arrays)
            cost = mean_cost(sizes)
            if record.epoch * loop.plan.batches.steps_per_epoch <= self.seen.moved:
                continue  # another environment has other bits
            said, off = record.validation_score, derived.AGREE * (1 + abs(score))
            same = said == score or abs((said or 0.0) - score) <= off
            if cost != record.validation_cost or not same:
                self.failures.append(
                    f"validation in epoch {record.epoch} has the cost {record.validation_cost!r} "
                    f"and the score {record.validation_score!r}: expected {cost!r}, {score!r}"
                )
        patience = (
            None if self.seen.problem is None else self.seen.problem.declaration.early_stopping
        )
        if not isinstance(patience, int) or not self.seen.rows:
            return
        costs = [row.validation_cost for row in self.seen.rows]
        stop, best = derived.early_stop(costs, patience)
        stopped = len(costs) - 1 if "early stopping" in (self.seen.stopped or "") else None
        if stop != stopped:
            reports = ["no report" if i is None else f"report {i + 1}" for i in (stopped, stop)]
            self.failures.append(
                f"early stopping ended the run after {reports[0]}: expected {reports[1]}"
            )
        kept = self.seen.host(loop._leave(self.seen.reports["best"][1]))
        if self.seen.reports["best"][0].validation_cost != costs[best] or digest(kept) != digest(
            parameters
        ):
            self.failures.append(
                f"the weights are not those of report {best + 1}, the best that early stopping saw"
            )

    def check_iterates(self, state: RunState) -> None:
        """The run of L-BFGS ends with parameters that were evaluated, at the cost that it says."""
        cost = self.seen.iterates.get(digest(self.seen.host(state.parameters)))
        rows, done = self.seen.rows, state.step - self.seen.loop.plan.first_step
        reported = bool(rows) and rows[-1].epoch == done  # Ctrl-C may come before the report
        said = rows[-1].cost if reported else cost
        if cost is None or abs(cost - said) > 1e-12 * abs(cost):  # a mean of one
            self.failures.append(
                f"lbfgs ended with weights whose cost is {cost!r}, but reported {said!r}"
            )

    def check_prediction(self, parameters: dict[str, np.ndarray]) -> None:
        """What ``predict`` and ``evaluate`` make of some examples, on NumPy as by default."""
        m = self.seen.given["X"].shape[1]
        chosen = sorted(self.seen.random.sample(range(m), min(PREDICTED, m)))
        X, Y = (self.seen.given[name][:, chosen] for name in ("X", "Y"))
        on = self.seen.backend
        judge = get_backend("numpy", dtype=on.dtype_name, arithmetic=on.arithmetic)
        self._forward("prediction, ", judge, self.seen.loop.network, parameters, (X, Y, None))

    def _forward(
        self, what: str, backend: Backend, network: Any, parameters: Any, data: Any
    ) -> dict[str, np.ndarray]:
        """Check a forward pass, and return its tensors."""
        X, Y, S = data
        host = backend.to_numpy
        AL, Z, A, cost = forward(network, backend)(X, parameters, Y, S)
        tensors = {"X": X, "Y": Y, **parameters, named("A", network.L): AL, "cost": cost}
        tensors |= {} if S is None else {"S": S}
        tensors |= {named("Z", l): x for l, x in enumerate(Z, start=1)}
        tensors |= {named("A", l): x for l, x in enumerate(A, start=1)}
        made = {name: np.asarray(host(x)) for name, x in tensors.items()}
        plan = Plan(1.0, 1, Batches(made["X"].shape[1]))
        run = Run(
            network, {name: made[name] for name in network.shapes}, made["X"], made["Y"],
            None, 1, made.get("S"), given_plan=plan,  # type: ignore[arg-type]
        )  # fmt: skip
        dtype = backend.dtype_name
        made |= {"learning_rate": np.ones((1, 1), dtype)}
        record = StepRecord(0, dtype, made, arithmetic=backend.arithmetic)
        mode = backend.matmul
        bounds = step_bounds(run, record, matmul=mode, kinds=("Z", "A", "cost"))
        self._add(what, certify_step(run, record, matmul=mode, bounds=bounds, bits=False))
        return made

    def _add(self, what: str, checks: Iterable[Check]) -> None:
        for check in checks:
            self.checks.setdefault(f"{what}{check.tensor}", []).append(check)
        failure = first_failure(list(checks))
        if failure is not None:
            self.failures.append(f"{what}{failure}")
            self.flagged += 1

    def _smallest(self, name: str) -> float | None:
        """A share of the tensor, in the step where it is largest; None if nothing can be said."""
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
        """Of the first step, the last, and as many others as there is room for."""
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
            found.append("what the run had become before")
        if not self.seen.lbfgs and made - 1 not in self.steps:
            found.append("the last step, which another environment made")
        return found
