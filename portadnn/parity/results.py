"""Check, for ``Evidence``, what a watched run reports, predicts and ends with."""

from __future__ import annotations

from typing import Any

import numpy as np

from portadnn.backends import Backend, get_backend
from portadnn.data.digest import digest
from portadnn.network.names import named
from portadnn.parity import derived
from portadnn.parity.certify import certify_step, step_bounds
from portadnn.parity.evidence import Evidence
from portadnn.parity.run import Run, StepRecord
from portadnn.training.recipe import Plan
from portadnn.training.state import RunState
from portadnn.training.streams import Batches
from portadnn.training.validation import forward, mean_cost

PREDICTED = 16  # examples


def check_reports(found: Evidence, parameters: dict[str, np.ndarray]) -> None:
    """Check validation in the first, best and last report, and when and why the run stopped."""
    loop, held_back = found.seen.loop, found.seen.loop.validation
    if held_back is None:
        return
    for record, of_report in {id(e): e for e in found.seen.reports.values()}.values():
        given = "validation, ", found.seen.backend, loop.inner, of_report
        sizes, parts = [], []
        for data in held_back.blocks(found.seen.backend):
            made = _forward(found, *given, data)
            sizes.append((float(made["cost"]), made["Y"].shape[1]))
            names = named("A", loop.inner.L), "Y", "S"
            parts.append([made[name] for name in names if name in made])
        arrays = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        score = derived.score(held_back.scored_as or loop.inner.head, *arrays)
        cost = mean_cost(sizes)
        if record.epoch * loop.plan.batches.steps_per_epoch <= found.seen.moved:
            continue  # another environment has other bits
        said, off = record.validation_score, derived.AGREE * (1 + abs(score))
        same = said == score or abs((said or 0.0) - score) <= off
        if cost != record.validation_cost or not same:
            found.failures.append(
                f"validation in epoch {record.epoch} has the cost {record.validation_cost!r} "
                f"and the score {record.validation_score!r}: expected {cost!r}, {score!r}"
            )
    patience = None if found.seen.problem is None else found.seen.problem.declaration.early_stopping
    if not isinstance(patience, int) or not found.seen.rows:
        return
    costs = [row.validation_cost for row in found.seen.rows]
    stop, best = derived.early_stop(costs, patience)
    stopped = len(costs) - 1 if "early stopping" in (found.seen.stopped or "") else None
    if stop != stopped:
        reports = ["no report" if i is None else f"report {i + 1}" for i in (stopped, stop)]
        found.failures.append(
            f"early stopping ended the run after {reports[0]}: expected {reports[1]}"
        )
    kept = found.seen.host(loop._leave(found.seen.reports["best"][1]))
    if found.seen.reports["best"][0].validation_cost != costs[best] or digest(kept) != digest(
        parameters
    ):
        found.failures.append(
            f"the weights are not those of report {best + 1}, the best that early stopping saw"
        )


def check_iterates(found: Evidence, state: RunState) -> None:
    """Check that L-BFGS ends with parameters that it evaluated, and reports their cost."""
    cost = found.seen.iterates.get(digest(found.seen.host(state.parameters)))
    rows, done = found.seen.rows, state.step - found.seen.loop.plan.first_step
    reported = bool(rows) and rows[-1].epoch == done  # Ctrl-C may come before the report
    said = rows[-1].cost if reported else cost
    if cost is None or abs(cost - said) > 1e-12 * abs(cost):  # the report has the mean of one cost
        found.failures.append(
            f"lbfgs ended with weights whose cost is {cost!r}, but reported {said!r}"
        )


def check_prediction(found: Evidence, parameters: dict[str, np.ndarray]) -> None:
    """Check ``predict`` and ``evaluate`` on some examples, on NumPy as by default."""
    m = found.seen.given["X"].shape[1]
    chosen = sorted(found.seen.random.sample(range(m), min(PREDICTED, m)))
    X, Y = (found.seen.given[name][:, chosen] for name in ("X", "Y"))
    on = found.seen.backend
    judge = get_backend("numpy", dtype=on.dtype_name, arithmetic=on.arithmetic)
    _forward(found, "prediction, ", judge, found.seen.loop.network, parameters, (X, Y, None))


def _forward(
    found: Evidence, what: str, backend: Backend, network: Any, parameters: Any, data: Any
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
    found.add(what, certify_step(run, record, matmul=mode, bounds=bounds, bits=False))
    return made
