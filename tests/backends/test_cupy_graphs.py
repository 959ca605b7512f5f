"""CuPy's steps as CUDA graphs, captured and launched on the stand-in for CUDA, or on a GPU."""

import logging

import numpy as np
import pytest
from fake_cuda.events import recorded
from graph_support import repeated

from portadnn.backends import get_backend, graphs
from portadnn.backends.base import Backend
from portadnn.backends.cublas import WithProducts
from portadnn.backends.trees import flatten
from portadnn.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("cupy")
STEPS = 2 * graphs.FEWEST_STEPS + 1
EVERYTHING = Recipe("adamw", 0.1, 0.1, 0.5, (0.5,))


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch):
    monkeypatch.setattr(graphs, "_GRAPHS", type(graphs._GRAPHS)())


def problem(recipe, batch_size, head="softmax", activation="relu", **how):
    return repeated(get_backend("cupy", **how), recipe, batch_size, STEPS, head, activation)


def same(ours, theirs):
    (found, structure), (expected, other) = flatten(ours), flatten(theirs)
    assert structure == other
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x.get(), y.get())


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
@pytest.mark.parametrize(
    ("recipe", "head", "activation"),
    [
        (Recipe(), "softmax", "relu"),
        (EVERYTHING, "sigmoid", "leaky_relu"),
        (Recipe("rmsprop"), "poisson", "tanh"),
        (Recipe("nesterov"), "identity", "sigmoid"),
    ],
)
def test_a_graph_makes_the_steps_of_the_plain_loop(
    recipe, head, activation, arithmetic, batch_size, dtype
):
    backend, *given = problem(
        recipe, batch_size, head, activation, dtype=dtype, arithmetic=arithmetic
    )
    found = backend.repeat(*given)
    assert [type(graph) for graph in graphs._GRAPHS.values()] == [graphs.Graph]
    same(found, Backend.repeat(backend, *given))
    step, _, inputs, shared = given
    after = backend.repeat(step, found[0], inputs, shared)
    same(after, Backend.repeat(backend, step, found[0], inputs, shared))


@pytest.mark.usefixtures("stand_in")
def test_nothing_happens_between_the_launches_of_a_chunk():
    backend, *given = problem(EVERYTHING, 4)
    backend.repeat(*given)
    with recorded() as events:
        backend.repeat(*given)
    names = [event.kind for event in events]
    first = names.index("graph")
    assert names[first : first + STEPS] == ["graph"] * STEPS
    assert events.synchronisations == 0, events.summary()
    assert not {e.name for e in events if e.kind == "copy"} - {"d2d"}, events.summary()


def test_memory_of_a_graph_is_its_own(cupy):
    """Neither a pool that is emptied nor arrays of others may take it."""
    backend, *given = problem(Recipe("adam"), 4)
    expected = Backend.repeat(backend, *given)
    backend.repeat(*given)
    cupy.get_default_memory_pool().free_all_blocks()
    others = [cupy.full(n, cupy.nan) for n in range(1, 200)]
    same(backend.repeat(*given), expected)
    assert all(bool(cupy.isnan(x).all()) for x in others)


def test_a_step_that_waits_runs_without_a_graph(cupy, caplog):
    backend, _, state, inputs, shared = problem(Recipe(), 4)

    def waiting(state, given, shared):
        return state, given["learning_rate"] * float(given["learning_rate"][0, 0])

    with caplog.at_level(logging.INFO, "portadnn"):
        found = backend.repeat(waiting, state, inputs, shared)
    assert "the step runs without a CUDA graph" in caplog.text
    same(found, Backend.repeat(backend, waiting, state, inputs, shared))


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_products_of_matrices_in_any_order_of_memory(cupy, shape, turned, dtype):
    m, k, n = shape
    rng, xp = np.random.default_rng(0), get_backend("cupy").xp
    assert isinstance(xp, WithProducts)

    def matrix(rows, columns, turn):
        # products of small integers are exact, whatever algorithm cuBLAS takes
        x = cupy.asarray(rng.integers(-9, 9, (rows, columns)).astype(dtype))
        return cupy.asarray(x.T, order="C").T if turn else x

    x, y = matrix(m, k, turned[0]), matrix(k, n, turned[1])
    np.testing.assert_array_equal(xp.matmul(x, y).get(), cupy.matmul(x, y).get())
    wide = cupy.zeros((m, 2 * k), dtype)  # a part of a matrix, and every other column of one
    for part in (wide[:, :k], wide[:, ::2]):
        part[...] = x
        np.testing.assert_array_equal(xp.matmul(part, y).get(), cupy.matmul(x, y).get())


def test_other_products_are_those_of_cupy(cupy):
    xp = get_backend("cupy").xp
    for x, y in (
        (np.ones((2, 3, 4)), np.ones((2, 4, 5))),
        (np.ones((2, 3), np.float32), np.ones((3, 2))),
        (np.ones((0, 3)), np.ones((3, 2))),
    ):
        np.testing.assert_array_equal(xp.matmul(*map(cupy.asarray, (x, y))).get(), x @ y)
    with pytest.raises(ValueError, match="mismatch"):
        xp.matmul(cupy.ones((2, 3)), cupy.ones((2, 3)))
