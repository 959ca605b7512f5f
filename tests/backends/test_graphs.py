"""The buffers around a CUDA graph, with a step that runs again in the place of the graph."""

import contextlib
import functools
import gc
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from graph_support import repeated

from portadnn.backends import get_backend, graphs
from portadnn.backends.base import Backend
from portadnn.backends.trees import flatten
from portadnn.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("torch")
STEPS = 9


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch):
    monkeypatch.setattr(graphs, "_GRAPHS", type(graphs._GRAPHS)())


def again(run):
    """What a graph does: the same calls on the same memory."""
    run()
    return run


def problem(
    recipe, batch_size=None, steps=STEPS, head="softmax", activation="relu", arithmetic="fast"
):
    backend = get_backend("torch", dtype="float64", arithmetic=arithmetic)
    return repeated(backend, recipe, batch_size, steps, head, activation)


def same(ours, theirs):
    (found, structure), (expected, other) = flatten(ours), flatten(theirs)
    assert structure == other
    for x, y in zip(found, expected, strict=True):
        assert type(x) is type(y)
        np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("recipe", [Recipe(), Recipe("adam", l2=0.1, dropout=(0.5,))])
def test_it_makes_the_steps_of_the_plain_loop(recipe, batch_size):
    backend, step, state, inputs, shared = problem(recipe, batch_size)
    before = [x.clone() for x in flatten((state, inputs, shared[:2]))[0]]
    found = graphs.repeat(step, state, inputs, shared, again)
    same(found, Backend.repeat(backend, step, state, inputs, shared))
    after = graphs.repeat(step, found[0], inputs, shared, again)
    same(after, Backend.repeat(backend, step, found[0], inputs, shared))
    same(found, Backend.repeat(backend, step, state, inputs, shared))  # left alone by the second
    for x, y in zip(flatten((state, inputs, shared[:2]))[0], before, strict=True):
        assert bool((x == y).all())
    assert len(graphs._GRAPHS) == 1


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
def test_what_is_recorded_copies_nothing_from_the_host(torch, monkeypatch, arithmetic):
    """PyTorch can record no such copy, and makes one for each number that becomes an array."""
    from torch.overrides import TorchFunctionMode

    class Refusing(TorchFunctionMode):
        calls = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            Refusing.calls += 1
            makers = torch.asarray, torch.as_tensor, torch.tensor, torch.from_numpy
            assert function not in makers or isinstance(args[0], torch.Tensor), args
            return function(*args, **kwargs or {})

    cuda = mock.MagicMock(stream=lambda _: contextlib.nullcontext(), graph=lambda _: Refusing())
    monkeypatch.setattr(torch, "cuda", cuda)
    for recipe, head, activation in (
        (Recipe("adam", 0.1, 0.1, 0.5, (0.5,)), "softmax", "relu"),
        (Recipe("rmsprop"), "sigmoid", "leaky_relu"),
        (Recipe("nesterov"), "poisson", "tanh"),
    ):
        _, *given = problem(recipe, 4, head=head, activation=activation, arithmetic=arithmetic)
        with mock.patch.object(graphs.Graph, "_check"):
            graphs.Graph(*given, graphs.capture_by_torch)
    assert Refusing.calls > 100


def test_a_few_steps_are_made_without_a_graph():
    _, *given = problem(Recipe(), steps=graphs.FEWEST_STEPS - 1)
    assert graphs.repeat(*given, again) is None


def test_a_graph_that_gives_other_bits_is_not_used():
    _, *given = problem(Recipe())

    def forgetful(run):
        return lambda: None

    assert graphs.repeat(*given, forgetful) is None
    assert list(graphs._GRAPHS.values()) == [None]
    assert graphs.repeat(*given, again) is None  # no second try


def test_what_cannot_be_recorded_runs_step_by_step():
    _, *given = problem(Recipe())

    def refuse(run):
        raise RuntimeError("operation not permitted when stream is capturing")

    assert graphs.repeat(*given, refuse) is None


def test_a_state_that_changes_places_is_refused():
    torch = pytest.importorskip("torch")
    state = torch.zeros(2), torch.ones(2)
    inputs = {"a": torch.ones((STEPS, 1))}

    def swap(state, given, _):
        return (state[1], state[0]), state[0].sum()

    assert graphs.repeat(swap, state, inputs, (), again) is None


def test_more_steps_than_the_buffers_hold(monkeypatch):
    monkeypatch.setattr(graphs, "MOST_STEPS", graphs.FEWEST_STEPS)
    backend, *given = problem(Recipe("adam", dropout=(0.5,)), 4, steps=2 * graphs.FEWEST_STEPS + 1)
    same(graphs.repeat(*given, again), Backend.repeat(backend, *given))


def test_it_is_forgotten_with_the_data():
    _, step, state, inputs, shared = problem(Recipe())
    graphs.repeat(step, state, inputs, shared, lambda run: lambda: None)
    assert len(graphs._GRAPHS) == 1
    del shared
    gc.collect()
    assert not graphs._GRAPHS


def test_only_a_gpu_has_graphs(monkeypatch):
    backend, *given = problem(Recipe())
    monkeypatch.setattr(graphs, "repeat", lambda *_: pytest.fail("a graph on a CPU"))
    same(backend.repeat(*given), Backend.repeat(backend, *given))


def test_a_step_that_calls_other_processes_is_not_tried_out():
    def never(state, inputs, shared, *, xp):
        raise AssertionError("called")

    shared = SimpleNamespace(examples=SimpleNamespace(number=3))
    state, inputs = {"W1": np.zeros((2, 2))}, {"rate": np.zeros((100, 1, 1))}
    step = functools.partial(never, xp=shared)
    assert graphs.repeat(step, state, inputs, (), None, rounds=True) is None
