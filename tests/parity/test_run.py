"""A watched run, whose declaration no step can change."""

import dataclasses

import numpy as np
import pytest
from parity_support import make_run

import portadnn.training.step
from portadnn.backends import get_backend
from portadnn.errors import InputError
from portadnn.parity.certify import Verdict
from portadnn.parity.compare import Outcome, compare
from portadnn.parity.planted import declared_run
from portadnn.parity.run import watch
from portadnn.training.declaration import Declaration


@pytest.fixture
def a_step_that_halves_its_data(monkeypatch):
    """At step 1 the real step also halves X (or every row of it) in place."""
    honest, rate = portadnn.training.step.step_tensors, np.float64(0.05)

    def step(state, inputs, shared, **options):
        if float(inputs["learning_rate"][0, 0]) < 0.9 * rate:  # the schedule marks the step
            shared.X[...] *= 0.5
        return honest(state, inputs, shared, **options)

    monkeypatch.setattr(portadnn.training.step, "step_tensors", step)


@pytest.mark.usefixtures("a_step_that_halves_its_data")
@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_step_that_changes_its_data_in_place_is_found(name, batch_size, dtype, require):
    require(name)
    run = make_run(batch_size=batch_size, schedule="exponential:0.5", steps=2)
    X = run.X.copy()
    found = compare(run, [get_backend(name, dtype=dtype)], jit=False)
    assert found.outcome is Outcome.DIVERGED
    check = found.first_divergence[1]
    assert (check.tensor, check.verdict) == ("X", Verdict.DIVERGED)
    np.testing.assert_array_equal(run.X, X)


def test_data_outside_of_every_batch_are_checked_after_the_last_step(monkeypatch):
    run = make_run(m=31, batch_size=8, steps=1)
    batch = set(run.plan.batches.indices(0).tolist())
    other = next(i for i in range(31) if i not in batch)
    honest = portadnn.training.step.step_tensors

    def step(state, inputs, shared, **options):
        shared.X[other, 0] += 1
        return honest(state, inputs, shared, **options)

    monkeypatch.setattr(portadnn.training.step, "step_tensors", step)
    found = compare(run, [get_backend("numpy", dtype="float64")], jit=False)
    check = found.first_divergence[1]
    assert (check.tensor, check.index) == ("X", (0, other))


def test_the_modes_of_a_library_are_its_own_between_two_records(require):
    # two runs in turn cross their scopes; PyTorch's gradients stayed off after them
    require("torch")
    import torch

    run, backend = make_run(steps=3), get_backend("torch")
    for _ in zip(*(watch(run, backend, range(run.steps)) for _ in range(2)), strict=True):
        assert torch.is_grad_enabled()
    next(watch(run, backend, range(run.steps)))  # a run that nobody ends
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.full((96, 40), np.nan)}, "X of shape .* expected 2 axes and finite numbers"),
        ({"X": np.zeros((95, 40))}, r"X has shape \(95, 40\) and Y \(1, 40\): expected \(96, m\)"),
        ({"weights": np.ones((1, 39))}, r"weights have shape \(1, 39\): expected \(1, 40\) or"),
        ({"declaration": Declaration(optimizer="lbfgs")}, "lbfgs searches along lines"),
        ({"declaration": Declaration(schedule="plateau")}, "a plateau schedule follows from the c"),
        ({"steps": 4}, "4 steps are asked for, but the run has 3: expected no more"),
    ],
)
def test_a_run_that_cannot_be_declared(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(declared_run(), **changes)
