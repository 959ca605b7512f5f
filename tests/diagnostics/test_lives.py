"""Deaths and revivals of a run, against runs that are worked out by hand."""

from fractions import Fraction

import numpy as np
import pytest

from portadnn.backends import get_backend
from portadnn.diagnostics import UnitEvent, UnitLives
from portadnn.errors import InputError
from portadnn.network.spec import Network
from portadnn.training.fit import fit
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.streams import Batches

# one number in, layer 1 of one unit, layer 2 of a unit that fires and one that is dead, y = 8
CHAIN = Network((1, 1, 2, 1), "relu", "identity")
START = {"W1": [[1.0]], "b1": [[0.0]], "W2": [[1.0], [1.0]], "b2": [[0.0], [-1.75]],
         "W3": [[0.5, 0.5]], "b3": [[0.0]]}  # fmt: skip
RATE = 1 / 64


def run(lives, network, start, X, Y, *, rate, steps, backend=None, report_every=1, **recipe):
    return fit(
        {name: np.asarray(p) for name, p in start.items()},
        np.asarray(X),
        np.asarray(Y),
        network=network,
        backend=backend or get_backend("numpy", dtype="float64"),
        plan=Plan(rate, steps, Batches(len(X[0])), recipe=Recipe(**recipe)),
        callbacks=[lives],
        report_every=report_every,
    )


def revival_by_hand():
    """The first iteration after which unit 1 of layer 2 fires, in fractions, scalar by scalar."""
    w1, b1, u, c, v, d = (Fraction(x) for x in (1, 0, 1, 0, 0.5, 0))
    rate, x, y = Fraction(RATE), 1, 8
    dead = Fraction(1), Fraction(-1.75)  # the weight and bias of the dead unit stay
    for iteration in range(1, 100):
        a1 = w1 * x + b1
        a2 = u * a1 + c
        error = v * a2 + d - y
        # the dead unit's output is 0, so its weight in layer 3 stays too
        gw1, gu = error * v * u, error * v
        v, d = v - rate * error * a2, d - rate * error
        u, c = u - rate * gu * a1, c - rate * gu
        w1, b1 = w1 - rate * gw1 * x, b1 - rate * gw1
        assert w1 * x + b1 > 0  # the others go on firing
        if dead[0] * (w1 * x + b1) + dead[1] > 0:
            return iteration
    raise AssertionError("it never came back")


def test_a_revival_is_reported_at_its_iteration(backend):
    expected = revival_by_hand()
    assert expected > 2  # not at once
    lives = UnitLives(backend.asarray([[1.0]]))
    run(lives, CHAIN, START, [[1.0]], [[8.0]], rate=RATE, steps=expected + 3, backend=backend)
    assert lives.events == [
        UnitEvent(0, 0, 2, 1, died=True),
        UnitEvent(expected, expected - 1, 2, 1, died=False),
    ]
    assert [row.dead for row in lives.census] == [(0, 1)] * expected + [(0, 0)] * 4
    assert str(lives.events[1]) == f"iteration {expected}: unit 1 of layer 2 revived"
    assert str(lives.events[0]) == "iteration 0: unit 1 of layer 2 was dead from the start"


def test_between_two_reports_the_span_is_said():
    expected = revival_by_hand()
    lives = UnitLives(np.asarray([[1.0]]))
    run(lives, CHAIN, START, [[1.0]], [[8.0]], rate=RATE, steps=100, report_every=50)
    (_, revived) = lives.events
    assert (revived.since, revived.iteration) == (1, 50)
    assert revived.since < expected <= revived.iteration


def test_a_death_by_a_step_that_is_too_large():
    # z = w x + b = 1, a = 1, y = -9: one step of rate 1 takes w and b to -9
    network = Network((1, 1, 1), "relu", "identity")
    start = {"W1": [[1.0]], "b1": [[0.0]], "W2": [[1.0]], "b2": [[0.0]]}
    lives = UnitLives(np.asarray([[1.0]]))
    end = run(lives, network, start, [[1.0]], [[-9.0]], rate=1.0, steps=50)
    assert lives.events == [UnitEvent(1, 0, 1, 0, died=True)]
    assert str(lives.events[0]) == "iteration 1: unit 0 of layer 1 died"
    assert float(end["W1"][0, 0]) == -9.0  # as the first step left it


@pytest.mark.parametrize("seed", range(5))
def test_the_dead_of_the_first_layer_stay_dead_and_as_they_are(seed):
    """Under full-batch descent on the same data, whatever the later layers do."""
    rng = np.random.default_rng(seed)
    network = Network((3, 12, 12, 1))
    start = {name: rng.standard_normal(shape) for name, shape in network.shapes.items()}
    start["b1"] -= 3.0
    X, Y = rng.standard_normal((3, 20)), rng.integers(0, 2, (1, 20)).astype(float)
    lives = UnitLives(X)
    end = run(lives, network, start, X, Y, rate=1.0, steps=200)
    dead = [e.unit for e in lives.events if e.layer == 1 and e.iteration == 0]
    assert dead
    assert not any(e.layer == 1 and not e.died for e in lives.events)
    for name in ("W1", "b1"):
        np.testing.assert_array_equal(end[name][dead], start[name][dead])


def test_decay_can_bring_back_what_descent_cannot():
    """What is said of layer 1 is said of plain descent: decay takes W to 0, and leaves b above."""
    network = Network((1, 1, 1), "relu", "identity")
    start = {"W1": [[-5.0]], "b1": [[1.0]], "W2": [[1.0]], "b2": [[0.0]]}
    X, Y = [[1.0]], [[1.0]]
    plain, decayed = UnitLives(np.asarray(X)), UnitLives(np.asarray(X))
    run(plain, network, start, X, Y, rate=0.25, steps=30)
    assert plain.census[-1].dead == (1,)
    # W is halved by every step: -5, -2.5, -1.25, -0.625
    run(decayed, network, start, X, Y, rate=0.25, steps=3, l2=2.0)
    assert decayed.events[1:] == [UnitEvent(3, 2, 1, 0, died=False)]


def test_a_second_run_starts_anew():
    lives = UnitLives(np.asarray([[1.0]]))
    for _ in range(2):
        run(lives, CHAIN, START, [[1.0]], [[8.0]], rate=RATE, steps=2)
    assert [row.iteration for row in lives.census] == [0, 1, 2]
    assert len(lives.events) == 1


def test_data_of_another_width_are_refused_before_the_first_step():
    lives = UnitLives(np.ones((2, 3)))
    with pytest.raises(InputError, match=r"UnitLives was given X of shape \(2, 3\)"):
        run(lives, CHAIN, START, [[1.0]], [[8.0]], rate=RATE, steps=2)
