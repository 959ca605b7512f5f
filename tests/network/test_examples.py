"""Sums over the examples go through one seam, and nothing else does."""

from types import SimpleNamespace

import numpy as np
import pytest

from portadnn.network.examples import number_of, over_examples
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.losses import HEADS
from portadnn.network.spec import Network
from portadnn.training.recipe import Recipe
from portadnn.training.step import Shared, gradients, make_step

M = 7
# everything that adds up what is not examples: a softmax, penalties, the norm of the gradients
RECIPE = Recipe("adam", l2=0.1, l1=0.01, clip_norm=0.5)


def seam(number=M, factor=1.0):
    """NumPy with a seam of its own, and the shapes of what went through it."""
    calls = []

    def matmul(x, y):
        calls.append(("matmul", x.shape, y.shape))
        return factor * np.matmul(x, y)

    def total(x, **options):
        calls.append(("sum", x.shape, options))
        return factor * np.sum(x, **options)

    names = {name: getattr(np, name) for name in dir(np) if not name.startswith("_")}
    own = SimpleNamespace(matmul=matmul, sum=total, number=number)
    return SimpleNamespace(**names, examples=own), calls


def problem(head):
    rng = np.random.default_rng(0)
    network = Network((4, 6, 5, 3), "tanh", head)
    labels = np.eye(3)[:, rng.integers(0, 3, M)]
    shared = Shared(rng.standard_normal((4, M)), labels, rng.random((1, M)))
    return network, initialize_parameters_deep(network.layer_dims, rng=rng), shared


def test_in_one_process_it_is_the_namespace_itself(backend):
    assert over_examples(backend.xp) is backend.xp
    assert number_of(backend.asarray(np.ones((2, M))), backend.xp) == M


@pytest.mark.parametrize("head", HEADS)
def test_what_is_added_over_the_examples_goes_through_it_and_nothing_else(head):
    network, parameters, shared = problem(head)
    inputs = {name: np.full((1, 1), 0.1) for name in RECIPE.scalar_names}
    state = parameters, RECIPE.optimizer.init(parameters)
    expected = make_step(network, np, recipe=RECIPE)(state, inputs, shared)
    xp, calls = seam()
    step = make_step.__wrapped__(network, xp, recipe=RECIPE)  # a SimpleNamespace has no hash
    (found, slots), cost = step(state, inputs, shared)
    assert cost == expected[1]
    for name, p in (found | slots).items():
        np.testing.assert_array_equal(p, {**expected[0][0], **expected[0][1]}[name])
    terms = (1 if head == "softmax" else 3, M)
    assert calls[0] == ("sum", terms, {})  # the cost
    layers = [(n, n_prev) for n_prev, n in zip((4, 6, 5), (6, 5, 3), strict=True)][::-1]
    assert calls[1:] == [
        call
        for n, n_prev in layers
        for call in (
            ("matmul", (n, M), (M, n_prev)),
            ("sum", (n, M), {"axis": 1, "keepdims": True}),
        )
    ]


@pytest.mark.parametrize("head", HEADS)
def test_a_seam_decides_the_sums_and_the_number(head):
    """Four times every sum over half as many examples: eight times cost and gradients, exactly."""
    network, parameters, shared = problem(head)
    found, tensors = gradients(parameters, {}, shared, network=network, xp=np)
    xp, _ = seam(number=M / 2, factor=4.0)
    changed, others = gradients(parameters, {}, shared, network=network, xp=xp)
    assert others["cost"] == 8 * tensors["cost"]
    for name, dp in found.items():
        np.testing.assert_array_equal(changed[name], 8 * dp)
