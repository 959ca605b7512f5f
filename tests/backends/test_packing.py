"""Small calls that do not need each other are made as one, with the same bits."""

import numpy as np
import pytest

from portadnn.backends import get_backend, tape
from portadnn.backends.base import Backend
from portadnn.backends.packing import SMALL

BACKEND = get_backend("numpy", dtype="float64")
RATES = np.linspace(0.5, 2, 3).reshape(3, 1, 1)


def chain(x, rate, constant):
    """Calls of each kind that is packed, which begin and end with one that is not."""
    top = np.max(np.abs(x), axis=1, keepdims=True)  # (m, 1)
    y = np.maximum(top.T * constant, 0.25)  # (1, m)
    y += constant
    y = np.where(y < 3.0, y, 0.0) - rate
    y = np.divide(1.0, np.sqrt(y * y + 1.0)).astype(np.float32)
    return np.sum(x * y.astype(np.float64).T, axis=0, keepdims=True)


def calls(step, state):
    """How many calls a step takes, whose results are those of the plain loop."""
    made = tape.tape_for(step, state, RATES, ())
    found, expected = (
        tape.repeat(step, state, RATES, ()),
        Backend.repeat(BACKEND, step, state, RATES),
    )
    for x, y in zip((*found[0], found[1]), (*expected[0], expected[1]), strict=True):
        np.testing.assert_array_equal(x, y)
    return len(made.recording.calls)


@pytest.fixture(autouse=True)
def own_tapes(monkeypatch):
    monkeypatch.setattr(tape, "_TAPES", type(tape._TAPES)())


def matrices(*rows):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((m, 4)) for m in rows)


def test_calls_on_what_does_not_depend_on_each_other_are_one():
    def one(state, rate, _):
        (x,) = state
        return (x,), chain(x, rate, 0.5)

    def three(state, rate, _):
        x, y, z = state
        return state, chain(x, rate, 0.5) + chain(y, rate, 0.75) - chain(z, rate, 1.5)

    alone = calls(one, matrices(5))
    # what is not packed: absolute values of the state, largest entries, products with it, sums
    assert calls(three, matrices(5, 3, 1)) == alone + 2 * 4 + 2


def test_calls_on_what_depends_on_each_other_are_not():
    def two(state, rate, _):
        (x,) = state
        first = chain(x, rate, 0.5)
        return (x,), chain(x * first, rate, 0.5)

    def one(state, rate, _):
        (x,) = state
        return (x,), chain(x, rate, 0.5)

    assert calls(two, matrices(5)) == 2 * calls(one, matrices(5)) + 1


@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
def test_large_arrays_stay_alone(size):
    def step(state, rate, _):
        x, y = state
        return (-x, -y), np.sum((np.abs(x) + 1.0) * 2.0) * np.sum((np.abs(y) + 3.0) * 4.0) * rate

    assert calls(step, matrices(size // 4, 1)) <= 12
    x = np.ones((1, size))
    tape._TAPES.clear()
    packed = calls(step, (x, x)) < 12
    assert packed == (size <= SMALL)


def test_what_is_overwritten_is_read_before():
    def step(state, rate, _):
        x, y = state
        a, b = np.max(x, axis=1, keepdims=True), np.max(y, axis=1, keepdims=True)
        c = a * 2.0  # reads what the next call writes, and may be packed with the last
        a *= 3.0
        d = b * 5.0
        b *= c[:1]
        return (x * a, y * b), np.sum(c) + np.sum(d) + np.sum(a) * rate

    calls(step, matrices(6, 6))


def test_functions_of_the_host_keep_their_order():
    """They may wait for other processes, which have other shares, so other small arrays."""
    seen = []

    def told(name, x):
        def function(x):
            seen.append(name)
            return x

        return BACKEND.on_host(function, x.shape, "float64", x)

    def step(state, rate, _):
        x, y = state
        a = np.abs(np.max(x, axis=1, keepdims=True)) * 2.0  # could be one call with that of b
        a = told("first", a)
        b = np.max(told("second", y), axis=1, keepdims=True) * 3.0
        return (x * rate, y), np.sum(a) + np.sum(b)

    tape.repeat(step, matrices(6, 5), RATES, ())
    assert seen == ["first", "second"] * 3


def test_a_reproducible_step_takes_fewer_calls(monkeypatch):
    """Of the units of five products of weights and of three gradients; the gain is a third."""
    from portadnn.network.initializers import initialize_parameters_deep
    from portadnn.network.spec import Network
    from portadnn.training.recipe import Recipe
    from portadnn.training.step import Shared, make_step

    dims, backend = (
        (20, 15, 12, 10),
        get_backend("numpy", dtype="float32", arithmetic="reproducible"),
    )
    parameters = initialize_parameters_deep(dims, rng=np.random.default_rng(0))
    state = {n: p.astype(np.float32) for n, p in parameters.items()}, {}
    step = make_step(Network(dims, head="softmax"), backend.xp, recipe=Recipe())
    shared = Shared(np.ones((20, 30), np.float32), np.ones((10, 30), np.float32))
    inputs = {"learning_rate": RATES.astype(np.float32)}
    packed = len(tape.tape_for(step, state, inputs, shared).recording.calls)
    tape._TAPES.clear()
    monkeypatch.setattr(tape, "packed", lambda recording, given: recording.calls)
    assert packed < 0.7 * len(tape.tape_for(step, state, inputs, shared).recording.calls)
