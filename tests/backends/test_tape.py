"""A recorded step gives the bits of the plain loop, whatever the step is made of."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from portadnn.backends import get_backend, program, tape
from portadnn.backends.base import Backend
from portadnn.backends.numpy import blas_pool
from portadnn.backends.trees import flatten
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.training.recipe import Plan, Recipe
from portadnn.training.step import Shared, make_step, observed_step, train_step
from portadnn.training.streams import Batches

RECIPES = {
    "gradient descent": Recipe(),
    "momentum": Recipe("momentum:weight_decay=0.1", l2=0.05, clip_norm=0.5, dropout=(0.5, 0.2)),
    "nesterov": Recipe("nesterov", l1=0.01),
    "rmsprop": Recipe("rmsprop", dropout=(0.0, 0.5)),
    "adam": Recipe("adam", l2=0.1, l1=0.1, clip_norm=0.1, dropout=(0.5, 0.0)),
    "adamw": Recipe("adamw"),
}
DIMS, M = (9, 7, 6, 3), 20


def same(ours, theirs):
    found, expected = flatten(ours), flatten(theirs)
    assert found[1] == expected[1]
    for x, y in zip(found[0], expected[0], strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def problem(recipe, head, batch_size, dtype, step, weighted=True):
    """Everything that ``repeat`` takes, for 7 steps."""
    backend = get_backend("numpy", dtype=dtype)
    rng = np.random.default_rng(0)
    X = np.asarray(rng.standard_normal((M, DIMS[0])), dtype).T
    Y = np.eye(3, dtype=dtype)[:, rng.integers(0, 3, M)]
    network = Network(DIMS, ("relu", "tanh"), head)
    plan = Plan(0.1, 7, Batches(M, batch_size, drop_last=True), recipe, "exponential:0.9")
    parameters = {n: p.astype(dtype) for n, p in initialize_parameters_deep(DIMS, rng=rng).items()}
    state = parameters, recipe.optimizer.init(parameters)
    shared = Shared(X, Y, rng.random((1, M)).astype(dtype) if weighted else None)
    if batch_size is not None:
        shared = shared.in_rows()
    inputs = plan.inputs(0, 7, network, backend)
    made = make_step(network, backend.xp, step, recipe)
    if step is observed_step:
        first = {name: x[0] for name, x in inputs.items()}
        (_, seen), _ = made((state, {}), first, shared)
        state = state, {name: np.zeros_like(x) for name, x in seen.items()}
    return backend, made, state, inputs, shared


@pytest.mark.parametrize("block", [program.BLOCK, 5])
@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("head", ["sigmoid", "softmax", "identity"])
@pytest.mark.parametrize("step", [train_step, observed_step])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_training_has_the_bits_of_the_plain_loop(
    recipe, step, head, batch_size, block, dtype, monkeypatch
):
    monkeypatch.setattr(program, "BLOCK", block)
    monkeypatch.setattr(program, "FEWEST_BLOCKS", 1)
    backend, made, *given = problem(recipe, head, batch_size, dtype, step)
    found = tape.repeat(made, *given)
    assert found is not None
    same(found, Backend.repeat(backend, made, *given))


def test_what_goes_in_is_left_alone_and_what_comes_out_belongs_to_the_caller():
    _, made, state, inputs, shared = problem(RECIPES["adam"], "softmax", 8, "float64",
                                                   train_step)  # fmt: skip
    before = [x.copy() for x in flatten((state, inputs, shared[:3]))[0]]
    first = tape.repeat(made, state, inputs, shared)
    kept = [x.copy() for x in flatten(first)[0]]
    tape.repeat(made, first[0], inputs, shared)
    for x, y in zip(flatten((state, inputs, shared[:3]))[0], before, strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(flatten(first)[0], kept, strict=True):
        np.testing.assert_array_equal(x, y)


def test_other_data_of_the_same_shapes_are_not_mixed_up():
    backend, made, state, inputs, shared = problem(Recipe(), "softmax", None, "float64", train_step,
                                                   weighted=False)  # fmt: skip
    tape.repeat(made, state, inputs, shared)
    other = Shared(shared.X + 1, np.roll(shared.Y, 1, axis=1))
    same(
        tape.repeat(made, state, inputs, other), Backend.repeat(backend, made, state, inputs, other)
    )


def test_outputs_between_the_first_and_the_last_may_be_left_out():
    _, made, *given = problem(Recipe(), "sigmoid", None, "float32", train_step)
    (state, costs), (quiet, some) = tape.repeat(made, *given), tape.repeat(made, *given, False)
    same(quiet, state)
    np.testing.assert_array_equal(some[[0, -1]], costs[[0, -1]])
    assert np.isnan(some[1:-1]).all()


def test_buffers_are_freed_without_the_garbage_collector(monkeypatch):
    _, made, *given = problem(Recipe("adam"), "softmax", 8, "float64", train_step)
    made_here = []

    def noted(like):
        made_here.append(weakref.ref(buffer := np.ones_like(like)))
        return buffer

    tape.repeat(made, *given)
    monkeypatch.setattr(tape.np, "empty_like", noted)
    gc.disable()
    try:
        (parameters, slots), _ = tape.repeat(made, *given)
        alive = [ref() for ref in made_here if ref() is not None]
    finally:
        gc.enable()
    assert made_here
    returned = {id(x) for x in (*parameters.values(), *slots.values())}
    assert {id(x) for x in alive} <= returned


def test_nothing_of_the_data_is_kept(monkeypatch):
    monkeypatch.setattr(tape, "_TAPES", type(tape._TAPES)())
    _, made, *given = problem(Recipe("adam"), "softmax", 8, "float64", train_step)
    tape.repeat(made, *given)
    (recorded,) = tape._TAPES.values()
    for like in recorded.recording.likes:
        assert like.base.base.nbytes <= 8  # one entry, for its dtype


def test_a_recording_computes_nothing():
    entry, far = np.ones(1), 2**28
    wide = np.lib.stride_tricks.as_strided(entry, (far, far), (8 * far, 8))  # no such memory

    def step(state, rate, shared):
        Z = np.matmul(state, shared.T) * rate
        return np.maximum(Z, 0.0) + np.sum(shared, axis=1, keepdims=True), np.max(Z)

    made = tape._record(step, wide, np.ones((3, 1, 1)), wide)
    assert np.matmul in [call.function for call in made.recording.calls]
    assert made.recording.likes[made.new_state[0]].shape == (far, far)


def test_states_that_change_places():
    def swap(state, rate, _):
        x, y, z = state
        return (y, x, z), (np.sum(x * rate), y[0, 1], z)

    def turn(state, rate, _):
        x, y, z = state
        return (y, z, x * rate), x

    state = tuple(np.arange(6.0).reshape(2, 3) + 10 * i for i in range(3))
    rates = np.linspace(1, 2, 5).reshape(5, 1, 1)
    backend = get_backend("numpy", dtype="float64")
    for step in (swap, turn):
        found = tape.repeat(step, state, rates, ())
        same(found, Backend.repeat(backend, step, state, rates))


def test_one_recording_serves_any_number_of_steps(monkeypatch):
    monkeypatch.setattr(tape, "_TAPES", type(tape._TAPES)())
    _, made, state, inputs, shared = problem(Recipe("adam"), "softmax", 8, "float64", train_step)
    for n in (1, 2, 7):
        tape.repeat(made, state, {name: x[:n] for name, x in inputs.items()}, shared)
    assert len(tape._TAPES) == 1


def looks(state, rate, _):
    return (state * 2 if state[0, 0] > 0 else state), rate


def takes_out(state, rate, _):
    return np.asarray(state) * rate, rate


def sorts(state, rate, _):
    return np.sort(state) * rate, rate


def picks(state, rate, _):
    return state[[0]] * rate, rate


def adds_in_another_dtype(state, rate, _):
    return state * np.sum(rate, dtype="float32"), rate


def accumulates(state, rate, _):
    return np.add.accumulate(state) * rate, rate


def begins_with_another_structure(state, rate, _):
    return (state * rate,), rate


@pytest.mark.parametrize("step", [looks, takes_out, sorts, picks, adds_in_another_dtype,
                                  accumulates])  # fmt: skip
def test_what_cannot_be_recorded_runs_as_it_is(step):
    backend = get_backend("numpy", dtype="float64")
    state, rates = np.asarray([[1.0, -2.0]]), np.ones((3, 1, 1))
    assert tape.repeat(step, state, rates, ()) is None
    same(backend.repeat(step, state, rates), Backend.repeat(backend, step, state, rates))


def test_a_state_of_another_structure_is_not_recorded():
    step, state = begins_with_another_structure, np.asarray([[1.0, -2.0]])
    assert tape.repeat(step, state, np.ones((1, 1, 1)), ()) is None


@settings(max_examples=60)
@given(st.data())
def test_any_mix_of_calls_has_the_same_bits(data):
    """Random programs of the calls that steps make, some in place on what they made."""
    shape = data.draw(st.sampled_from([(3, 4), (1, 4), (40, 30)]))
    choices = st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 50), st.integers(0, 50)),
        min_size=1,
        max_size=14,
    )
    program = data.draw(choices)

    def step(state, inputs, _):
        x, y = state
        values = [x, y, inputs["r"] * x]
        for kind, i, j in program:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(
                [
                    lambda a, b: a + b,
                    lambda a, b: np.multiply(a, b),
                    lambda a, b: np.maximum(a, 0.0) - 1.0,
                    lambda a, b: np.where(a > 0, b, 0.0),
                    lambda a, b: np.divide(a, 3),
                    lambda a, b: a * np.sum(b, axis=1, keepdims=True),
                    lambda a, b: np.exp(-np.abs(a)),
                    lambda a, b: (a.T + b.T).T,
                    lambda a, b: np.concatenate([a[:, 1:], b[:, :1]], axis=1),
                    lambda a, b: np.tanh(a),
                    lambda a, b: np.where(a > b, a, b),
                    lambda a, b: a[..., ::-1] - b.astype(b.dtype, copy=False),
                    lambda a, b: np.where(a > 0, np.full_like(a, 2), b),
                ][kind](a, b)
            )
            values[-1] += 0.5
        return (np.tanh(values[-1]), np.tanh(values[-2])), np.sum(values[-1])

    rng = np.random.default_rng(0)
    state = rng.standard_normal(shape), rng.standard_normal(shape)
    inputs = {"r": rng.random((3, 1, 1))}
    found = tape.repeat(step, state, inputs, ())
    same(found, Backend.repeat(get_backend("numpy", dtype="float64"), step, state, inputs))


@pytest.mark.parametrize(("side", "threads"), [(64, 1), (256, 2)])
def test_small_products_take_one_thread(side, threads, monkeypatch):
    seen = []

    def noted(self, *arguments):
        seen.append(blas_pool()["num_threads"])
        return repeat(self, *arguments)

    repeat = tape.Tape.repeat
    monkeypatch.setattr(tape.Tape, "repeat", noted)
    x = np.ones((side, side), np.float32)
    with threadpool_limits(2, user_api="blas"):
        before = blas_pool()["num_threads"]
        tape.repeat(lambda x, r, _: (np.matmul(x, x) * r, r[0, 0]), x, np.ones((2, 1, 1)), ())
        assert seen == [min(threads, before)]
        assert blas_pool()["num_threads"] == before


def test_threads_are_given_back_when_the_last_leaves():
    with threadpool_limits(2, user_api="blas"):
        before = blas_pool()["num_threads"]
        tape.one_thread.__enter__()
        with tape.one_thread:
            assert blas_pool()["num_threads"] == 1
        assert blas_pool()["num_threads"] == 1
        tape.one_thread.__exit__()
        assert blas_pool()["num_threads"] == before


def test_calls_on_the_host_are_made_in_the_order_of_the_step():
    """Several ranks make them together: sums of one must not meet those of another."""
    backend, made = get_backend("numpy", dtype="float64"), []

    def told(name, x):
        def on_host(x):
            made.append(name)
            return 2.0 * x

        return backend.on_host(on_host, x.shape, "float64", x)

    def step(state, inputs, shared):
        scaled = state["W"] * inputs["rate"]
        large = told("large", shared + scaled)
        one = told("one", inputs["rate"])  # a single entry of what is given
        two = told("two", inputs["rate"] + 1.0)
        return {"W": scaled + one + two}, told("cost", large)

    given = {"W": np.ones((2, 3))}, {"rate": np.full((4, 1, 1), 0.5)}, np.ones((2, 3))
    tape.repeat(step, *given)
    assert made == ["large", "one", "two", "cost"] * 4
