"""Schedules against PyTorch's, and what must hold of all of them."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.errors import InputError
from portadnn.training.recipe import Plan
from portadnn.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    Plateau,
    Schedule,
    Step,
    Tracker,
    as_schedule,
)
from portadnn.training.streams import Batches

EPOCHS = 12


def torch_rates(torch, make, epochs=EPOCHS, costs=None):
    """The rates of PyTorch's scheduler at the start of every epoch, from 0.1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(optimizer)
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*(() if costs is None else (costs[epoch],)))
    return rates


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ("constant", lambda s, o: s.ConstantLR(o, factor=1.0)),
        ("step:every=3,factor=0.5", lambda s, o: s.StepLR(o, 3, 0.5)),
        ("exponential:0.8", lambda s, o: s.ExponentialLR(o, 0.8)),
        ("cosine", lambda s, o: s.CosineAnnealingLR(o, EPOCHS)),
        ("cosine:final=0.2", lambda s, o: s.CosineAnnealingLR(o, EPOCHS, eta_min=0.02)),
    ],
)
@pytest.mark.parametrize("batch_size", [None, 4])
def test_rates_at_the_start_of_every_epoch_are_pytorchs(schedule, make, batch_size, torch):
    plan = Plan(0.1, EPOCHS, Batches(10, batch_size), schedule=schedule)
    found = [plan.rate(epoch * plan.batches.steps_per_epoch) for epoch in range(EPOCHS)]
    expected = torch_rates(torch, lambda o: make(torch.optim.lr_scheduler, o))
    # PyTorch multiplies rate after rate: a rounding an epoch
    assert found == pytest.approx(expected, rel=EPOCHS * 4e-16)


def test_warm_up_is_a_line_that_ends_at_the_whole_rate(torch):
    warmup = 4
    found = [Cosine(warmup, 0.1).factor_at(epoch, EPOCHS) for epoch in range(EPOCHS)]
    line = torch_rates(
        torch,
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / (warmup + 1), 1.0, total_iters=warmup),
        warmup,
    )
    assert [0.1 * factor for factor in found[:warmup]] == pytest.approx(line, rel=1e-14)
    cosine = torch_rates(
        torch,
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS - warmup, eta_min=0.01),
        EPOCHS - warmup,
    )
    assert [0.1 * factor for factor in found[warmup:]] == pytest.approx(cosine, rel=1e-14)


@given(
    costs=st.lists(st.floats(0, 10), min_size=1, max_size=40),
    patience=st.integers(1, 5),
    factor=st.sampled_from([0.1, 0.5]),
    min_delta=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_plateau_is_pytorchs(costs, patience, factor, min_delta, torch):
    schedule, tracker = Plateau(patience, factor, min_delta), Tracker()
    found = []
    for cost in costs:
        found.append(0.1 * tracker.factor)
        tracker = schedule.followed(tracker, cost)
    expected = torch_rates(
        torch,
        # PyTorch waits for more than its patience, and has a smallest change by default
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, factor=factor, patience=patience - 1, threshold=min_delta, threshold_mode="abs",
            eps=0.0,
        ),
        len(costs),
        costs,
    )  # fmt: skip
    assert found == pytest.approx(expected, rel=len(costs) * 4e-16)


FACTORS = st.floats(1e-3, 1)
SCHEDULES = st.one_of(
    st.just(Constant()),
    st.builds(Step, every=st.integers(1, 50), factor=FACTORS),
    st.builds(Exponential, factor=FACTORS),
    st.builds(Cosine, warmup=st.floats(0, 200), final=st.floats(0, 1)),
    st.builds(Plateau, factor=st.floats(1e-3, 0.999)),
)


@given(SCHEDULES, st.integers(1, 100), st.integers(1, 7))
def test_factors_are_in_0_to_1_and_fall_after_the_warm_up(schedule, epochs, per_epoch):
    factors = [schedule.factor_at(step / per_epoch, epochs) for step in range(epochs * per_epoch)]
    assert all(0 <= factor <= 1 + 1e-15 for factor in factors)
    warmup = getattr(schedule, "warmup", 0)
    rising = [f for step, f in enumerate(factors) if step / per_epoch < warmup]
    falling = factors[len(rising) :]
    assert rising == sorted(rising)
    # (1 + cos) / 2 is rounded near its ends, where it is flat
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(falling))
    assert not rising or rising[0] > 0


@given(st.floats(0, 1), st.integers(1, 1000))
def test_a_cosine_starts_at_1_and_ends_at_its_final_factor(final, epochs):
    schedule = Cosine(final=final)
    assert schedule.factor_at(0, epochs) == pytest.approx(1, abs=1e-15)
    assert schedule.factor_at(epochs, epochs) == pytest.approx(final, abs=1e-15)
    assert schedule.factor_at(epochs / 2, epochs) == pytest.approx((1 + final) / 2, abs=1e-15)


def test_a_step_falls_at_the_first_step_of_an_epoch_and_only_there():
    plan = Plan(1.0, 6, Batches(9, 2), schedule=Step(2, 0.5))  # 5 steps an epoch
    assert [plan.rate(step) for step in range(30)] == [1.0] * 10 + [0.5] * 10 + [0.25] * 10


def test_an_exponential_falls_a_little_at_every_step():
    plan = Plan(1.0, 6, Batches(9, 3), schedule=Exponential(0.5))
    assert plan.rate(1) == pytest.approx(0.5 ** (1 / 3), rel=1e-15)
    assert plan.rate(3) == 0.5


def test_a_rate_that_is_too_small_for_a_float_is_0():
    assert Plan(1.0, 10**6, Batches(9), schedule=Step(1, 0.1)).rate(999_999) == 0.0


def test_only_a_plateau_follows_the_costs():
    schedule, tracker = as_schedule("step:1"), Tracker()
    for _ in range(20):
        tracker = schedule.followed(tracker, math.inf)
    assert tracker == Tracker(factor=1.0)
    assert Schedule().factor_at(3, 5) == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Step(factor=0),
        lambda: Step(factor=1.5),
        lambda: Exponential(0),
        lambda: Exponential(float("nan")),
        lambda: Cosine(warmup=-1),
        lambda: Cosine(final=2),
        lambda: Plateau(factor=1),
        lambda: Plateau(min_delta=-1),
    ],
)
def test_values_that_cannot_be_used(make):
    with pytest.raises(InputError, match="of the schedule .*expected a finite number"):
        make()
